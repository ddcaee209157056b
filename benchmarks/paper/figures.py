"""Figures 3 to 9 of the paper as tables: one function each, which plans the rows."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from _core import Bench
from _data import CAPTION_SETS, CLASS_SETS, Data
from _entry import AUC, FPR95, Column, Job, Row, Values, entry
from _fits import METHODS, Fitted
from numpy.typing import NDArray
from tables import CIFAR10, IMAGENET, among_captions

from vilu_sdk import MCMScorer
from vilu_sdk.displays import ReliabilityOverAccuracyDisplay

LEARNERS = ("mcm", "lvu", "vilu", "auto")
SHARES = (2.5, 5, 10, 25, 50, 100)
# Hidden widths of the authors' scripts, by the number of linear layers.
DEPTHS = {
    2: (512,),
    3: (512, 128),
    4: (512, 256, 128),
    5: (512, 512, 256, 128),
    6: (512, 512, 512, 256, 128),
}
QUANTILES = (10, 50, 90)
EXAMPLES = 3
DISTRIBUTION = (
    AUC,
    *(
        Column(f"{side}_{q}", f"{side} {q} %", compared=False)
        for side in ("right", "wrong")
        for q in QUANTILES
    ),
)
RELIABILITY = (Column("accuracy", "accuracy %", compared=False), AUC, FPR95)
DISAGREEMENT = (
    FPR95,
    Column("wrong", "wrong", compared=False, decimals=0),
    Column("missed", "MCM and LVU accept", compared=False, decimals=0),
    Column("found", "of these it refuses", compared=False, decimals=0),
    Column("refused", "MCM and LVU refuse", compared=False, decimals=0),
    Column("lost", "of these it accepts", compared=False, decimals=0),
)


@entry("figure3", DISAGREEMENT, title="Failures that ViLU finds and the baselines do not")
def figure3(bench: Bench) -> Iterator[Job]:
    """Wrong predictions on which ViLU and both baselines differ, when each accepts 95 % of the right ones.

    The paper shows some images with the scores of the methods. Embeddings cannot give the images; here are
    their rows, classes and scores, chosen as in the authors' notebooks, and how many there are.
    """
    for data in bench.sets(list(CLASS_SETS)):
        for key in bench.methods("vilu", "auto"):
            yield bench.job("table1", data, key, partial(_disagreement, bench, data, key))


@entry("figure4", (AUC,), title="AUC among more and more captions")
def figure4(bench: Bench) -> Iterator[Job]:
    """The AUCs of table 6 up to 8192 captions, which is what the figure draws of CC12M."""
    yield from among_captions(bench, [128, 512, 1024, 2048, 4096, 8192])


@entry("figure5", title="How many labels it takes")
def figure5(bench: Bench) -> Iterator[Job]:
    """Learned from random shares of the train rows, with as many epochs for all.

    The paper draws curves; the only figures that it prints are those of table 1, for all labels.
    """
    for data in bench.sets(list(CLASS_SETS)):
        for key in bench.methods(*LEARNERS):
            for share in (100,) if key == "mcm" else SHARES:
                setting = "" if key == "mcm" else f"{share:g} % of the labels"
                entry_name = "table1" if share == 100 else "figure5"
                yield bench.job(
                    entry_name, data, key, partial(_from_share, bench, data, key, share), shown=setting
                )


@entry("figure6", DISTRIBUTION, title="Uncertainty of right and of wrong predictions")
def figure6(bench: Bench) -> Iterator[Job]:
    """Deciles of the uncertainty of right and of wrong predictions, in percent.

    Where they overlap, no threshold tells them apart. The paper draws densities; what it prints is table 1.
    `vilu_sdk.displays.ScoreDistributionDisplay` draws them.
    """
    for data in bench.sets(list(CLASS_SETS)):
        for key in bench.methods(*LEARNERS):
            yield bench.job("table1", data, key, partial(_distribution, bench, data, key))


@entry("figure7")
def figure7(bench: Bench) -> Iterator[Job]:
    """Layers are linear layers, the output's among them; the widths are those of the authors' scripts.

    The paper's figures are points of a picture, in whole percent.
    """
    for data in bench.varied([CIFAR10, IMAGENET]):
        for key in bench.methods("vilu"):
            for layers, hidden in DEPTHS.items():
                measure = partial(bench.evaluate, data, key, hidden=hidden)
                yield bench.job("figure7", data, key, measure, setting=f"{layers} layers")


def draw_over_accuracy(rows: Sequence[Row]) -> Iterator[tuple[str, Any]]:
    """Draw each metric over the accuracy, a dot for each data set and a tendency for each method."""
    for metric in ("auc", "fpr95"):
        ax = None
        for method in dict.fromkeys(row.method for row in rows):
            own = [row.values for row in rows if row.method == method]
            display = ReliabilityOverAccuracyDisplay(
                accuracy=[values["accuracy"] / 100 for values in own],
                values=[values[metric] / 100 for values in own],
                metric=metric,
                name=method,
            ).plot(ax)
            ax = display.ax_
        if ax is not None:
            yield f"figure8_{metric}", ax.figure


@entry("figure8", RELIABILITY, title="Reliability over zero-shot accuracy", draw=draw_over_accuracy)
def figure8(bench: Bench) -> Iterator[Job]:
    """AUC and FPR95 of each method over the accuracy of the model, a dot for each data set (supplement C.3).

    `vilu_sdk.displays.ReliabilityOverAccuracyDisplay` draws them, with a tendency curve for each method, into
    the folder of --pictures. The paper draws its dots; what it prints is table 1.
    """
    for data in bench.sets(list(CLASS_SETS)):
        for key in bench.methods("mcm", "lvu", "bayesvlm", "vilu", "auto"):
            yield bench.job("table1", data, key, partial(_over_accuracy, bench, data, key))


@entry("figure9", DISTRIBUTION, title="Uncertainty of right and of wrong captions")
def figure9(bench: Bench) -> Iterator[Job]:
    """As figure 6, among the captions of a batch; what the paper prints of them is table 2."""
    for data in bench.sets(list(CAPTION_SETS)):
        for key in bench.methods(*LEARNERS):
            yield bench.job("table2", data, key, partial(_distribution, bench, data, key))


def _from_share(bench: Bench, data: Data, key: str, share: float, seed: int) -> Values:
    """Metrics after a fit of a random share of the train rows, in percent."""
    if share == 100:
        return bench.evaluate(data, key, seed)
    images, text, labels = data.train
    n = max(2, round(len(labels) * share / 100))
    rows = np.sort(np.random.default_rng(seed).permutation(len(labels))[:n])
    scorer = bench.fits.build(key, data.logit_scale, seed).fit(images[rows], text, labels[rows])
    return bench.score([Fitted(scorer, data.folds[0].test)]).metrics()


def _distribution(bench: Bench, data: Data, key: str, seed: int) -> Values:
    """AUC, and quantiles of the uncertainty of right and of wrong predictions."""
    scored = bench.score(bench.fits.of(data, key, seed))
    values = scored.metrics()
    for side, rows in (("right", ~scored.failure), ("wrong", scored.failure)):
        found = (
            np.percentile(scored.uncertainty[rows], QUANTILES) if rows.any() else [np.nan] * len(QUANTILES)
        )
        values |= {f"{side}_{q}": 100 * float(value) for q, value in zip(QUANTILES, found, strict=True)}
    return values


def _over_accuracy(bench: Bench, data: Data, key: str, seed: int) -> Values:
    """Metrics, and the share of right predictions."""
    scored = bench.score(bench.fits.of(data, key, seed))
    return scored.metrics() | {"accuracy": 100 * float(1 - scored.failure.mean())}


def _disagreement(bench: Bench, data: Data, key: str, seed: int) -> Values:
    """Count the wrong predictions on which a method and both baselines decide differently."""
    scored = {name: bench.score(bench.fits.of(data, name, seed)) for name in ("mcm", "lvu", key)}
    failure = scored[key].failure
    refused = {name: one.decision > _threshold(one.decision, failure) for name, one in scored.items()}
    missed = failure & ~refused["mcm"] & ~refused["lvu"]
    both = failure & refused["mcm"] & refused["lvu"]
    found = missed & refused[key]
    if seed == 0:
        scores = {name: one.uncertainty for name, one in scored.items()}
        bench.notes += _examples(data, key, np.flatnonzero(found), scored[key].decision, scores)
    counts = {
        "wrong": failure,
        "missed": missed,
        "found": found,
        "refused": both,
        "lost": both & ~refused[key],
    }
    return scored[key].metrics() | {name: float(rows.sum()) for name, rows in counts.items()}


def _threshold(decision: NDArray[np.float64], failure: NDArray[np.bool_]) -> float:
    """Return the value up to which 95 % of the right predictions are accepted."""
    return float(np.quantile(decision[~failure], 0.95)) if not failure.all() else -np.inf


def _examples(
    data: Data,
    key: str,
    rows: NDArray[np.int64],
    decision: NDArray[np.float64],
    scores: dict[str, NDArray[np.float64]],
) -> list[str]:
    """Name the wrong predictions that a method doubts most, of those that the baselines accept."""
    images, text, labels = data.folds[0].test
    names = data.class_names
    rows = rows[np.argsort(-decision[rows], kind="stable")][:EXAMPLES]
    predicted = MCMScorer().predict(images[rows], text) if len(rows) else []
    found = [
        f"{names[labels[row]]} taken for {names[column]} (test row {row}; uncertainty "
        + ", ".join(f"{METHODS[name].label} {u[row]:.3f}" for name, u in scores.items())
        + ")"
        for row, column in zip(rows, predicted, strict=True)
    ]
    return [f"{data.label}, found by {METHODS[key].label}: {'; '.join(found)}"] if found else []
