"""Allow or block images automatically, with a certified error rate, and leave the rest to people.

    python examples/image_moderation.py
    python examples/image_moderation.py --files z_img.npy z_txt.npy labels.npy --block 0 6 8

The classes are what images may show, and some of them are blocked. What must be rare is a wrong decision, not
a wrong class. Of the images allowed automatically, and of those blocked, at most 5 % may be wrong, with 95 %
confidence for both together. A monitor notices when new images are no longer like those it rests on.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from vilu_sdk import ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.selective import SelectivePredictor, ShiftMonitor


def main(
    z_img: Any, z_txt: Any, labels: Any, logit_scale: float, blocked: Sequence[int]
) -> tuple[SelectivePredictor, dict[str, tuple[float, float]]]:
    is_blocked = np.isin(np.arange(len(z_txt)), blocked)
    fit, others = train_test_split(np.arange(len(labels)), train_size=0.4, random_state=0)
    calibration, new = train_test_split(others, train_size=0.5, random_state=0)
    vilu = ViLUEstimator(logit_scale=logit_scale, random_state=0).fit(z_img[fit], z_txt, labels[fit])

    def decide(images: Any) -> np.ndarray:
        return np.where(is_blocked[vilu.predict(images, z_txt)], "block", "allow")

    # What people decided on the calibration images; these must not be images that the scorer was fitted on.
    truth = np.where(is_blocked[labels], "block", "allow")
    z_calibration, decision = z_img[calibration], decide(z_img[calibration])
    # `correct` says whether the decision, not the class, is right. Each kind of decision gets a threshold.
    policy = SelectivePredictor(vilu, target_risk=0.05, confidence=0.95, simultaneous=True)
    policy.fit(z_calibration, z_txt, correct=decision == truth[calibration], groups=decision)
    print(policy.report_)

    # A new day.
    z_new = z_img[new]
    decision = decide(z_new)
    automatic = policy.accept(z_new, z_txt, groups=decision)
    print(f"\n{len(new)} new images:")
    results = {}
    for kind in ("allow", "block"):
        mine = automatic & (decision == kind)
        share, errors = mine.mean(), (decision != truth[new])[mine].sum()
        results[kind] = float(share), float(errors / max(1, mine.sum()))
        print(f"  {kind} automatically {100 * share:5.1f} %, {errors} of {mine.sum()} wrongly")
    print(f"  shown to people     {100 * (1 - automatic.mean()):5.1f} %")

    # What is certified holds for images like those of the calibration set. Compare each day's with them.
    monitor = ShiftMonitor(vilu, alpha=0.01, random_state=0).fit(z_calibration, z_txt)
    print(f"\nToday: {monitor.check(z_new)}")
    only_blocked = z_new[truth[new] == "block"]
    print(f"\nA day of uploads to be blocked: {monitor.check(only_blocked)}")
    return policy, results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Image moderation with a certified error rate.")
    parser.add_argument("--files", nargs=3, metavar=("IMAGES", "TEXTS", "LABELS"), help=".npy files")
    parser.add_argument("--logit-scale", type=float, default=100.0, help="of the model behind the files")
    parser.add_argument("--block", type=int, nargs="+", default=[0, 6, 8], help="rows of the texts to block")
    options = parser.parse_args()
    if options.files:
        main(*map(np.load, options.files), options.logit_scale, options.block)
    else:
        data = load_digits_vlm()
        images = np.concatenate([data.z_img_fit, data.z_img_test])
        digits = np.concatenate([data.labels_fit, data.labels_test])
        main(images, data.z_txt, digits, data.logit_scale, options.block)
