"""Answer only where it may be relied on, and notice when that no longer holds.

python examples/selective_prediction.py
"""

import numpy as np

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.selective import SelectivePredictor, ShiftMonitor


def main() -> None:
    data = load_digits_vlm()
    # Three parts: one to fit the scorer, one to find the threshold, one that plays later use.
    new = np.arange(len(data.labels_test)) % 2 == 0
    z_calibration, labels_calibration = data.z_img_test[~new], data.labels_test[~new]
    z_new, labels_new = data.z_img_test[new], data.labels_test[new]

    vilu = ViLUEstimator(logit_scale=data.logit_scale, random_state=0)
    vilu.fit(data.z_img_fit, data.z_txt, data.labels_fit)

    # At most 5 % errors among the answers, with 95 % confidence; for comparison by MCM, which learns nothing.
    for name, scorer in (("MCM", MCMScorer(logit_scale=data.logit_scale)), ("ViLU", vilu)):
        selective = SelectivePredictor(scorer, target_risk=0.05, confidence=0.95)
        selective.fit(z_calibration, data.z_txt, labels_calibration)
        print(f"\n{name}: {selective.report_}")
        answer = selective.predict(z_new, data.z_txt)
        answered = answer != -1
        wrong = (answer != labels_new)[answered]
        print(f"  on new images: answered {100 * answered.mean():.0f} %, {wrong.sum()} of them wrongly")

    # The promise holds for images like those of the calibration set. Are they still?
    monitor = ShiftMonitor(vilu, random_state=0).fit(z_calibration, data.z_txt)
    rng = np.random.default_rng(0)
    noisy = z_new + rng.normal(scale=0.1, size=z_new.shape)
    print(f"\nNew images: {monitor.check(z_new)}\n\nWith noise: {monitor.check(noisy)}")


if __name__ == "__main__":
    main()
