"""Fit and score the probabilistic baselines beside MCM on real embeddings, and print a table.

    python benchmarks/probabilistic.py --embeddings FOLDER [--sets dtd,flickr8k_pairs] [--epochs 100]

FOLDER holds .npz files. One with `labels_train` is a class set (z_img_train, labels_train, z_img_test,
labels_test, z_txt), scored on its test rows. One with z_img and z_txt alone is a set of pairs: four
contiguous folds, each scored by a scorer fitted on the others, with the captions of the fold as candidates;
the scores are pooled.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import _sets
import numpy as np
from _sets import FOLDS, EmbeddingSet, folds, open_sets

from vilu_sdk import BayesVLMScorer, MCMScorer, ProbVLMScorer
from vilu_sdk.evaluation import compare, failure_metrics

SETS = ("dtd", "stanford_cars", "imagenet", "flickr8k_pairs", "fashion_pairs")


class Result(NamedTuple):
    """One row of the table, metrics as fractions."""

    dataset: str
    method: str
    auc: float
    fpr95: float
    fit_seconds: float
    score_seconds: float


def methods(epochs: int, seed: int) -> dict[str, Callable[[], Any]]:
    return {
        "MCM": MCMScorer,
        "BayesVLM (identity head)": lambda: BayesVLMScorer(random_state=seed),
        "BayesVLM (identity head), n_p = 10": lambda: BayesVLMScorer(
            pseudo_data_count=10.0, random_state=seed
        ),
        "ProbVLM": lambda: ProbVLMScorer(epochs=epochs, random_state=seed),
    }


def readouts(name: str, scorer: Any) -> dict[str, Any]:
    """Return the scorers of one fit under the names of the table: two read-outs of ProbVLM, else one."""
    if not isinstance(scorer, ProbVLMScorer):
        return {name: scorer}
    cross = ProbVLMScorer(**{**scorer.get_params(), "readout": "cross_modal"})
    for key, value in vars(scorer).items():
        if key.endswith("_"):
            setattr(cross, key, value)
    return {f"{name}, visual aleatoric": scorer, f"{name}, cross-modal": cross}


def fit(make: Callable[[], Any], *arguments: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    scorer = make().fit(*arguments)
    return scorer, time.perf_counter() - start


def class_set(dataset: str, data: EmbeddingSet, makers: dict[str, Callable[[], Any]]) -> Iterator[Result]:
    for name, make in makers.items():
        scorer, seconds = fit(make, *data.train)
        for row in compare(readouts(name, scorer), *data.test, fit=False).to_dicts():
            yield Result(dataset, row["scorer"], row["auc"], row["fpr95"], seconds, row["score_seconds"])


def pairs(dataset: str, data: EmbeddingSet, makers: dict[str, Callable[[], Any]]) -> Iterator[Result]:
    z_img, z_txt = data.train
    for name, make in makers.items():
        decisions: dict[str, list[Any]] = {}
        failures: list[Any] = []
        fit_seconds = score_seconds = 0.0
        for rest, held in folds(len(z_img)):
            scorer, seconds = fit(make, z_img[rest], z_txt[rest])
            fit_seconds += seconds / FOLDS
            failures.append(scorer.predict(z_img[held], z_txt[held]) != np.arange(len(held)))
            start = time.perf_counter()
            views = readouts(name, scorer)
            for view, viewed in views.items():
                decisions.setdefault(view, []).append(viewed.decision_function(z_img[held], z_txt[held]))
            score_seconds += (time.perf_counter() - start) / len(views)
        for view, values in decisions.items():
            metrics = failure_metrics(np.concatenate(values), np.concatenate(failures))
            yield Result(dataset, view, metrics["auc"], metrics["fpr95"], fit_seconds, score_seconds)


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--epochs", type=int, default=100, help="of ProbVLM")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    makers = methods(arguments.epochs, arguments.seed)
    sets = open_sets(arguments.embeddings, arguments.sets)

    print("| data | method | AUC % | FPR95 % | fit s | score s |\n|---|---|---:|---:|---:|---:|")
    for dataset, data in sets.items():
        for row in (class_set if data.test else pairs)(dataset, data, makers):
            print(
                f"| {row.dataset} | {row.method} | {100 * row.auc:.2f} | {100 * row.fpr95:.2f} "
                f"| {row.fit_seconds:.1f} | {row.score_seconds:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
