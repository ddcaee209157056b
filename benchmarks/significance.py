"""How far the intervals and tests of `compare` can be trusted, and what they say on real embeddings.

    python benchmarks/significance.py --embeddings FOLDER [--sets dtd,imagenet] [--draws 1000]

1. By simulation: how often intervals hold the truth, and how often equal scorers are told apart. Scores are
   normal, with a shift for failures.
2. On class sets (files as `benchmarks/probabilistic.py` reads them): the table with the logistic head as the
   reference, standard errors of the AUC by DeLong and by a bootstrap of 2,000 resamples, and the processor
   time of `compare` with and without intervals.
"""

import math
import time
from typing import Any, NamedTuple

import _sets
import numpy as np
import torch
from _sets import EmbeddingSet, open_sets
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from vilu_sdk import DoctorScorer, EntropyScorer, MCMScorer, ViLUEstimator
from vilu_sdk.evaluation import compare, failure_metrics
from vilu_sdk.metrics.bootstrap import draw_weights
from vilu_sdk.metrics.significance import DIRECTIONS, delong, of_rows, pairwise_tests

SETS = ("dtd", "stanford_cars", "imagenet")
REFERENCE = "logistic head"


class Draw(NamedTuple):
    """Numbers of failures and correct rows, shifts of two scorers, slope of their probabilities."""

    n_wrong: int
    n_right: int
    shifts: tuple[float, float]
    slope: float = 1.0

    def sample(self, rng: np.random.Generator, times: int = 1) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return probabilities (2, N) and failures (N,)."""
        failure = np.repeat([True, False], [times * self.n_wrong, times * self.n_right])
        shifts = np.array(self.shifts)[:, None]
        u = shifts * failure + 0.8 * rng.normal(size=len(failure)) + 0.6 * rng.normal(size=(2, len(failure)))
        log_odds = shifts * u - shifts**2 / 2 + math.log(self.n_wrong / self.n_right)
        return expit(self.slope * log_odds), failure


DRAWS = (
    Draw(80, 120, (1.0, 1.5)),
    Draw(80, 120, (1.0, 1.0), slope=2.0),
    Draw(700, 900, (1.5, 1.5), slope=1.5),
    Draw(30, 300, (2.0, 2.0)),
    Draw(10, 30, (1.5, 1.5)),
)


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


def values(p: NDArray[Any], failure: NDArray[Any]) -> dict[str, NDArray[Any]]:
    metrics = [failure_metrics(u, failure, probability=True) for u in p]
    return {name: np.array([row[name] for row in metrics]) for name in DIRECTIONS}


def simulate(draws: int) -> None:
    """Print coverage of intervals, and rejections where the two scorers are equal, in percent."""
    rng = np.random.default_rng(0)
    names = list(DIRECTIONS)
    print("| failures + correct, shifts, slope | of 100 | " + " | ".join(names) + " |")
    print("|---|---|" + "---:|" * len(names))
    for one in DRAWS:
        truth = values(*one.sample(rng, 400_000 // (one.n_wrong + one.n_right)))
        held, told = np.zeros(len(names)), np.zeros(len(names))
        for _ in range(draws):
            p, failure = one.sample(rng)
            found = of_rows(values(p, failure), p, failure, dict(enumerate(p)), 0.95, 200)
            row = pairwise_tests(found, 0, 0.95)[1]
            held += [found[name].low[0] <= truth[name][0] <= found[name].high[0] for name in names]
            told += [row[f"{name}_p"] < 0.05 for name in names]
        setting = f"{one.n_wrong} + {one.n_right}, {one.shifts}, {one.slope:g}"
        shares = [f"{100 * share / draws:.0f}" for share in held]
        shares[names.index("ece")] = "–"
        print(f"| {setting} | intervals that hold the truth | {' | '.join(shares)} |")
        if one.shifts[0] == one.shifts[1]:
            told_apart = " | ".join(f"{100 * share / draws:.0f}" for share in told)
            print(f"| | equal scorers told apart at 5 % | {told_apart} |")


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
    weights = draw_weights(failure, 2000, np.random.default_rng(1))
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
    parser.add_argument("--draws", type=int, default=1000, help="of each simulation, 0 for none")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.draws:
        simulate(arguments.draws)
    for name, data in open_sets(arguments.embeddings, arguments.sets).items():
        measure(name, data)
