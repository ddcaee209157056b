"""How far `ViLUEstimator.adapt` can be trusted, on real embeddings, as Markdown tables.

    python benchmarks/adaptation.py --embeddings FOLDER [--sets dtd,imagenet] [--seeds 3]

Every figure is the AUC on test images after adapting minus that before, in points: the mean over seeds
and, in brackets, the worst run.

1. Without labels, on train images of a class set, with skews that train and test share: all images; 100 of
   them; only half of the classes, or a fifth; class frequencies by Zipf's law.
2. Without labels, on image-caption pairs: on the images that are scored, or on others.
3. With a few labels of a set, upon an estimator fitted on another set.

FOLDER holds .npz files as `benchmarks/_sets.py` reads them. Only sets of one logit scale, which
here means one backbone, are fitted on one another.
"""

import copy
import warnings
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import _sets
import numpy as np
import torch
from _sets import EmbeddingSet, open_sets
from numpy.typing import NDArray

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.evaluation import failure_metrics

SETS = ("dtd", "stanford_cars", "imagenet", "cifar10_tower", "flickr8k_pairs", "fashion_pairs")
SKEWS = ("all images", "100 images", "half of the classes", "a fifth", "Zipf")
PAIR_SKEWS = ("all images", "half of the images", "a fifth", "Zipf, repeated")
LABELS = (50, 100, 200, 500)

Rows = NDArray[np.int64]


class ClassSet(NamedTuple):
    """A class set in memory."""

    z_img: NDArray[np.float32]
    labels: Rows
    z_img_test: NDArray[np.float32]
    labels_test: Rows
    z_txt: NDArray[np.float32]
    logit_scale: float

    @classmethod
    def of(cls, data: EmbeddingSet) -> "ClassSet":
        """Name the parts of a class set."""
        (z_img, z_txt, labels), (z_img_test, _, labels_test), scale = data
        return cls(z_img, labels, z_img_test, labels_test, z_txt, scale)

    def estimator(self, seed: int) -> ViLUEstimator:
        """Return an unfitted estimator for these embeddings."""
        return ViLUEstimator(logit_scale=self.logit_scale, random_state=seed)

    def sources(self, sets: "dict[str, ClassSet]") -> list[str]:
        """Name the sets of the same backbone."""
        return [name for name, other in sets.items() if other.logit_scale == self.logit_scale]


def skewed(data: ClassSet, skew: str, seed: int) -> tuple[Rows, Rows]:
    """Rows of the train and of the test images under a skew."""
    rng = np.random.default_rng(seed)
    k, train, test = len(data.z_txt), np.arange(len(data.labels)), np.arange(len(data.labels_test))
    if skew == "100 images":
        return rng.choice(train, 100, replace=False), test
    if skew in ("half of the classes", "a fifth"):
        present = rng.permutation(k)[: k // (2 if skew == "half of the classes" else 5)]
        return train[np.isin(data.labels, present)], test[np.isin(data.labels_test, present)]
    if skew == "Zipf":
        # The most frequent eighth of the classes keeps all of its images, which keeps enough to measure on.
        share = np.minimum(1.0, k / 8 / (1 + rng.permutation(k)))
        kept = [rng.random(len(y)) < share[y] for y in (data.labels, data.labels_test)]
        return train[kept[0]], test[kept[1]]
    return train, test


def auc(scorer: Any, z_img: Any, z_txt: Any, labels: Rows) -> float:
    failure = scorer.predict(z_img, z_txt) != labels
    return 100 * failure_metrics(scorer.decision_function(z_img, z_txt), failure)["auc"]


class Gains:
    """Differences of AUC, gathered by row and column of a table."""

    def __init__(self, columns: tuple[Any, ...]) -> None:
        self.columns = columns
        self.runs: dict[str, dict[Any, list[float]]] = {}

    def add(self, row: str, column: Any, gain: float) -> None:
        """Take in a run."""
        self.runs.setdefault(row, {}).setdefault(column, []).append(gain)

    def show(self, title: str) -> None:
        """Print the table, if there is anything in it."""
        if not self.runs:
            return
        print(f"\n{title}\n\n| | {' | '.join(map(str, self.columns))} |\n|---|{'---:|' * len(self.columns)}")
        for row, found in self.runs.items():
            # Adding zero turns -0.0 into 0.0.
            cells = [
                f"{round(np.mean(found[c]), 1) + 0.0:+.1f} ({round(min(found[c]), 1) + 0.0:+.1f})"
                for c in self.columns
            ]
            print(f"| {row} | {' | '.join(cells)} |", flush=True)


def fit_all(sets: dict[str, ClassSet], seed: int) -> dict[str, ViLUEstimator]:
    """Fit an estimator on all labels of each set."""
    return {name: on.estimator(seed).fit(on.z_img, on.z_txt, on.labels) for name, on in sets.items()}


def without_labels(sets: dict[str, ClassSet], fitted: list[dict[str, ViLUEstimator]]) -> dict[str, Gains]:
    """Adapt to unlabelled images of each set, from nothing, from other sets and from itself."""
    tables = {start: Gains(SKEWS) for start in ("unfitted", "another set", "the same set")}
    for (seed, estimators), (target, data) in product(enumerate(fitted), sets.items()):
        # What is adapted, and what it scores like before.
        starts = [("unfitted", data.estimator(seed), MCMScorer(logit_scale=data.logit_scale))]
        for source in data.sources(sets):
            estimator = estimators[source]
            starts.append(("the same set" if source == target else "another set", estimator, estimator))
        for skew in SKEWS:
            train, test = skewed(data, skew, seed)
            problem = data.z_img_test[test], data.z_txt, data.labels_test[test]
            for (start, estimator, scorer), balanced in product(starts, (False, True)):
                moved = copy.copy(estimator).adapt(
                    data.z_img[train], data.z_txt, frequencies="balanced" if balanced else None
                )
                row = f"{target}, balanced" if balanced else target
                tables[start].add(row, skew, auc(moved, *problem) - auc(scorer, *problem))
    return tables


def skewed_pairs(rows: Rows, skew: str, rng: np.random.Generator) -> Rows:
    """Some of the rows, in a random order; under Zipf's law with repetitions."""
    if skew == "Zipf, repeated":
        law = 1 / (1 + rng.permutation(len(rows)))
        return rng.choice(rows, len(rows), p=law / law.sum())
    parts = {"all images": 1, "half of the images": 2, "a fifth": 5}
    return rng.permutation(rows)[: len(rows) // parts[skew]]


def pair_cases(m: int, rng: np.random.Generator) -> Iterator[tuple[str, str, Rows, Rows, Rows]]:
    """Yield what is adapted to, the skew, and the rows of images scored, images seen and candidates."""
    half, other = np.array_split(rng.permutation(m), 2)
    for skew in PAIR_SKEWS:
        scored = skewed_pairs(np.arange(m), skew, rng)
        yield "the images scored", skew, scored, scored, np.arange(m)
        yield "other images", skew, skewed_pairs(half, skew, rng), skewed_pairs(other, skew, rng), half


def pairs_without_labels(sets: dict[str, EmbeddingSet], seeds: int) -> Gains:
    """Adapt to images of each of four folds that was left out; AUC over the pooled folds.

    Skews leave captions without an image, or with several. Other images are those of the fold's other
    half, whose captions are no candidates.
    """
    table = Gains(PAIR_SKEWS)
    for name, ((z_img, z_txt), _, scale) in sets.items():
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            pooled: dict[tuple[str, str], list[tuple[Any, Any, Any]]] = {}
            for rest, held in _sets.folds(len(z_img)):
                fitted = ViLUEstimator(random_state=seed, logit_scale=scale).fit(z_img[rest], z_txt[rest])
                starts = {"unfitted": ViLUEstimator(random_state=seed, logit_scale=scale), "fitted": fitted}
                for on, skew, scored, seen, among in pair_cases(len(held), rng):
                    images, text = z_img[held[scored]], z_txt[held[among]]
                    own = (scored[:, None] == among).argmax(axis=1)
                    for start in starts:
                        scorer = MCMScorer(logit_scale=scale) if start == "unfitted" else fitted
                        before = scorer.decision_function(images, text)
                        failure = scorer.predict(images, text) != own
                        for balanced in (False, True):
                            moved = copy.copy(starts[start])
                            moved.adapt(z_img[held[seen]], text, frequencies="balanced" if balanced else None)
                            row = f"{name}, {start}, on {on}{', balanced' if balanced else ''}"
                            result = before, moved.decision_function(images, text), failure
                            pooled.setdefault((row, skew), []).append(result)
            for (row, skew), results in pooled.items():
                before, after, failure = (np.concatenate(part) for part in zip(*results, strict=True))
                gain = failure_metrics(after, failure)["auc"] - failure_metrics(before, failure)["auc"]
                table.add(row, skew, 100 * gain)
    return table


def with_few_labels(sets: dict[str, ClassSet], fitted: list[dict[str, ViLUEstimator]]) -> tuple[Gains, Gains]:
    """Adapt with labels upon another set's estimator, against what it was and against a plain fit."""
    over_before, over_fit = Gains(LABELS), Gains(LABELS)
    for (seed, estimators), (target, data) in product(enumerate(fitted), sets.items()):
        problem = data.z_img_test, data.z_txt, data.labels_test
        order = np.random.default_rng(seed).permutation(len(data.labels))
        mcm = auc(MCMScorer(logit_scale=data.logit_scale), *problem)
        before = {name: auc(estimators[name], *problem) for name in data.sources(sets) if name != target}
        for n in LABELS:
            known = data.z_img[order[:n]], data.z_txt, data.labels[order[:n]]
            plain = auc(data.estimator(seed).fit(*known), *problem)
            over_before.add(f"{target}: plain fit, over MCM", n, plain - mcm)
            for source in before:
                after = auc(copy.copy(estimators[source]).adapt(*known), *problem)
                row = f"{target}: fitted on {source}, then adapted"
                over_before.add(row, n, after - before[source])
                over_fit.add(row, n, after - plain)
    return over_before, over_fit


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "ViLUEstimator learned nothing")

    files = open_sets(arguments.embeddings, arguments.sets)
    classes = {name: ClassSet.of(found) for name, found in files.items() if found.test}
    pairs = {name: found for name, found in files.items() if name not in classes}
    fitted = [fit_all(classes, seed) for seed in range(arguments.seeds)]
    for start, table in without_labels(classes, fitted).items():
        start = start if start == "unfitted" else f"fitted on {start}"
        table.show(f"Without labels, {start}: AUC over before")
    pairs_without_labels(pairs, arguments.seeds).show("Image-caption pairs without labels: AUC over before")
    over_before, over_fit = with_few_labels(classes, fitted)
    over_before.show("Few labels: AUC over before")
    over_fit.show("Few labels: AUC over a plain fit with the same labels")


if __name__ == "__main__":
    main()
