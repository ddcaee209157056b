"""Find out whether a scorer of this package is better than the confidence score your pipeline has.

    python examples/compare_scorers.py
    python examples/compare_scorers.py --files z_img.npy z_txt.npy labels.npy --logit-scale 100

Puts a score of your own beside ours: once in `compare`, which says what is distinguishable, and once inside a
scikit-learn pipeline under cross-validation.
"""

import argparse
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from vilu_sdk import EntropyScorer, MCMScorer, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.evaluation import ComparisonTable, compare, failure_auc_scorer, neg_aurc_scorer


class Margin(BaseEstimator):
    """Your own score, here how little the best cosine leads the second. These four verbs are all it needs."""

    def fit(self, z_img: Any, z_txt: Any, labels: Any = None) -> "Margin":
        """Learn nothing."""
        return self

    def predict(self, z_img: Any, z_txt: Any) -> np.ndarray:
        """Return the zero-shot classes (N,)."""
        return self._cosines(z_img, z_txt).argmax(axis=1)

    def predict_uncertainty(self, z_img: Any, z_txt: Any) -> np.ndarray:
        """Return the scores (N,), higher = more likely wrong."""
        second, best = np.sort(self._cosines(z_img, z_txt), axis=1)[:, -2:].T
        return second - best

    decision_function = predict_uncertainty

    def _cosines(self, z_img: Any, z_txt: Any) -> np.ndarray:
        unit = Normalizer().transform
        return unit(np.float32(z_img)) @ unit(np.float32(z_txt)).T


def main(
    z_img: Any, z_txt: Any, labels: Any, logit_scale: float
) -> tuple[ComparisonTable, dict[str, dict[str, float]]]:
    ours = {
        "MCM": MCMScorer(logit_scale=logit_scale),
        "entropy": EntropyScorer(logit_scale=logit_scale),
        "ViLU": ViLUEstimator(logit_scale=logit_scale, random_state=0),
    }
    # Half of the images is fitted, the other half scored. All scorers are judged by the same failures.
    table = compare({"margin": Margin(), **ours}, z_img, z_txt, labels, reference="margin", random_state=0)
    print(table)

    # In scikit-learn, `bind` fixes the texts: what is left is a classifier over images, the last step of any
    # pipeline. Its scores see through the pipeline.
    print("\nfive folds   AUC              AURC")
    scoring = {"auc": failure_auc_scorer, "aurc": neg_aurc_scorer}
    folds = {}
    for name, scorer in ours.items():
        pipeline = make_pipeline(Normalizer(), scorer.bind(z_txt))
        found = cross_validate(pipeline, z_img, labels, cv=5, scoring=scoring)
        auc, aurc = found["test_auc"], -found["test_aurc"]
        folds[name] = {"auc": float(auc.mean()), "aurc": float(aurc.mean())}
        print(f"{name:12} {auc.mean():.3f} ± {auc.std():.3f}    {aurc.mean():.4f} ± {aurc.std():.4f}")
    return table, folds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Your own score beside those of this package.")
    parser.add_argument("--files", nargs=3, metavar=("IMAGES", "TEXTS", "LABELS"), help=".npy files")
    parser.add_argument("--logit-scale", type=float, default=100.0, help="of the model behind the files")
    options = parser.parse_args()
    if options.files:
        main(*map(np.load, options.files), options.logit_scale)
    else:
        data = load_digits_vlm()
        main(data.z_img_test, data.z_txt, data.labels_test, data.logit_scale)
