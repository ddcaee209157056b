"""Answer with the zero-shot class where it may be relied on, and abstain elsewhere.

    python examples/zero_shot_abstention.py
    python examples/zero_shot_abstention.py --files z_img.npy z_txt.npy labels.npy --logit-scale 100

Three rules say where to draw the line, each for MCM, which learns nothing, and for ViLU: a promised error
rate, a share to be answered, the costs of an error and of an abstention. Prints how much each answers, and
how often wrongly.
"""

import argparse
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.selective import CostPredictor, CoveragePredictor, SelectivePredictor


def main(
    z_img: Any, z_txt: Any, labels: Any, logit_scale: float
) -> dict[tuple[str, str], tuple[float, float]]:
    # Three parts: to fit the scorer, to find the threshold, and one that plays later use. A threshold that is
    # found on images which the scorer was fitted on would promise too much.
    fit, others = train_test_split(np.arange(len(labels)), train_size=0.4, random_state=0)
    calibration, new = train_test_split(others, train_size=0.5, random_state=0)

    mcm = MCMScorer(logit_scale=logit_scale)
    vilu = ViLUEstimator(logit_scale=logit_scale, random_state=0).fit(z_img[fit], z_txt, labels[fit])

    right = vilu.predict(z_img[new], z_txt) == labels[new]
    print(f"{len(new)} new images, of which {100 * right.mean():.1f} % are classified rightly\n")
    print(f"{'scorer':8}{'rule':32}{'answered':>10}{'of them wrong':>16}")
    results = {}
    for name, scorer in (("MCM", mcm), ("ViLU", vilu)):
        rules = {
            "at most 5 % errors, promised": SelectivePredictor(scorer, target_risk=0.05, confidence=0.95),
            "answer 80 %": CoveragePredictor(scorer, target_coverage=0.8),
            "an error costs 10 abstentions": CostPredictor(scorer, error_cost=10, abstention_cost=1),
        }
        for rule, predictor in rules.items():
            predictor.fit(z_img[calibration], z_txt, labels[calibration])
            answer = predictor.predict(z_img[new], z_txt)  # a class, or -1
            answered = answer != -1
            coverage, errors = answered.mean(), (answered & (answer != labels[new])).sum()
            risk = errors / max(1, answered.sum())
            results[name, rule] = float(coverage), float(risk)
            print(f"{name:8}{rule:32}{100 * coverage:8.1f} %{100 * risk:14.1f} %")

    # What the first rule promises, and what it would take to promise more, stands in its report.
    selective = SelectivePredictor(vilu, target_risk=0.01).fit(z_img[calibration], z_txt, labels[calibration])
    print(f"\n{selective.report_}")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Zero-shot classification with abstention.")
    parser.add_argument("--files", nargs=3, metavar=("IMAGES", "TEXTS", "LABELS"), help=".npy files")
    parser.add_argument("--logit-scale", type=float, default=100.0, help="of the model behind the files")
    options = parser.parse_args()
    if options.files:
        main(*map(np.load, options.files), options.logit_scale)
    else:
        data = load_digits_vlm()
        images = np.concatenate([data.z_img_fit, data.z_img_test])
        main(images, data.z_txt, np.concatenate([data.labels_fit, data.labels_test]), data.logit_scale)
