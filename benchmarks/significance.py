"""What the intervals and tests of `compare` say on real embeddings.

    python benchmarks/significance.py --embeddings FOLDER [--sets dtd,imagenet]

On class sets (files as `benchmarks/probabilistic.py` reads them): the table with the logistic head as the
reference, standard errors of the AUC by DeLong and by a bootstrap of 2,000 resamples, and the processor time
of `compare` with and without intervals. How far intervals and tests can be trusted: `benchmarks/coverage.py`.
"""

import time
from typing import Any

import _sets
import numpy as np
import torch
from _sets import EmbeddingSet, open_sets
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from vilu_sdk import DoctorScorer, EntropyScorer, MCMScorer, ViLUEstimator
from vilu_sdk.evaluation import compare
from vilu_sdk.metrics.bootstrap import draw_weights
from vilu_sdk.metrics.significance import delong

SETS = ("dtd", "stanford_cars", "imagenet")
REFERENCE = "logistic head"


class LogisticHead(BaseEstimator):
    """Logistic regression of failure on image, predicted text, their product and the softmax."""

    is_probability = True

    def __init__(self, logit_scale: float = 100.0) -> None:
        self.logit_scale = logit_scale

    def features(self, z_img: Any, z_txt: Any) -> NDArray[Any]:
        """What the regression sees, (N, 3 d + 5)."""
        z, text = (normalize(np.asarray(rows, dtype=np.float64)) for rows in (z_img, z_txt))
        logits = self.logit_scale * z @ text.T
        best, top = text[logits.argmax(axis=1)], np.sort(logits, axis=1)[:, -2:]
        softmax = [MCMScorer(logit_scale=self.logit_scale), EntropyScorer(logit_scale=self.logit_scale)]
        statistics = [scorer.decision_function(z_img, z_txt) for scorer in softmax]
        return np.column_stack([z, best, z * best, top, top[:, 1] - top[:, 0], *statistics])

    def fit(self, z_img: Any, z_txt: Any, labels: Any) -> "LogisticHead":
        """Learn where the zero-shot prediction is wrong."""
        wrong = self.predict(z_img, z_txt) != labels
        head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        folds = StratifiedKFold(3, shuffle=True, random_state=0)
        grid = {"logisticregression__C": np.logspace(-5, -1, 5)}
        self.head_ = GridSearchCV(head, grid, cv=folds, scoring="roc_auc").fit(
            self.features(z_img, z_txt), wrong
        )
        return self

    def decision_function(self, z_img: Any, z_txt: Any) -> Any:
        """Log-odds of failure."""
        return self.head_.decision_function(self.features(z_img, z_txt))

    def predict_uncertainty(self, z_img: Any, z_txt: Any) -> Any:
        """Probability of failure."""
        return self.head_.predict_proba(self.features(z_img, z_txt))[:, 1]

    def predict(self, z_img: Any, z_txt: Any) -> Any:
        """Zero-shot prediction."""
        return MCMScorer().predict(z_img, z_txt)


def measure(name: str, data: EmbeddingSet) -> None:
    """Print what is distinguishable on the test rows of a class set."""
    scale = data.logit_scale
    scorers = {
        "MCM": MCMScorer(logit_scale=scale),
        "entropy": EntropyScorer(logit_scale=scale),
        "DOCTOR": DoctorScorer(logit_scale=scale),
        REFERENCE: LogisticHead(scale),
        "ViLU": ViLUEstimator(logit_scale=scale, random_state=0),
    }
    for scorer in scorers.values():
        scorer.fit(*data.train)
    seconds = {}
    for confidence in (None, 0.95):
        start = time.process_time()
        reference = None if confidence is None else REFERENCE
        table = compare(scorers, *data.test, fit=False, confidence=confidence, reference=reference)
        seconds[confidence] = time.process_time() - start
    print(f"\n## {name}\n\n{table.to_markdown(intervals=True)}\n")
    for row in table.to_dicts():
        if row["scorer"] != REFERENCE:
            low, high = 100 * row["auc_difference_low"], 100 * row["auc_difference_high"]
            difference = f"{100 * row['auc_difference']:+.2f} ({low:+.2f} to {high:+.2f})"
            print(f"AUC of {row['scorer']} minus that of the head: {difference}, p = {row['auc_p']:.2g}")
    failure, scores = table.failure, np.stack(list(table.scores.values()))
    weights = draw_weights(len(failure), 2000, np.random.default_rng(1))
    by_bootstrap = [100 * weighted_auc(u, failure, weights).std(ddof=1) for u in scores]
    by_delong = 100 * np.sqrt(np.diag(delong(scores, failure)[1]))
    pairs = (f"{a:.3f} / {b:.3f}" for a, b in zip(by_delong, by_bootstrap, strict=True))
    print(f"\nStandard error of the AUC, DeLong / bootstrap, points: {', '.join(pairs)}")
    print(f"compare without / with intervals: {seconds[None]:.2f} / {seconds[0.95]:.2f} s")


def weighted_auc(u: NDArray[Any], failure: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """AUC of each resample, ties counted half, from the rows below each value."""
    levels, level = np.unique(u, return_inverse=True)
    counts = np.zeros((2, len(levels), weights.shape[1]))
    np.add.at(counts, (failure.astype(int), level), weights)
    below = counts[0].cumsum(axis=0) - counts[0] / 2
    return (counts[1] * below).sum(axis=0) / (counts[0].sum(axis=0) * counts[1].sum(axis=0))


if __name__ == "__main__":
    parser = _sets.parser(__doc__, SETS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, data in open_sets(arguments.embeddings, arguments.sets).items():
        measure(name, data)
