"""Frequent confusions, and the share of them that the uncertainty flags."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilu_sdk.displays._base import ScoreDisplay
from vilu_sdk.displays._classes import check_classes, check_names, how_many, name_classes
from vilu_sdk.displays._style import SKY, WHITE, WRONG, bars, height_of_bars, shorten, tone
from vilu_sdk.evaluation.problem import Answers, Problem
from vilu_sdk.inputs.names import name_of
from vilu_sdk.metrics.vectors import as_vector, check_scores


@dataclass(kw_only=True, repr=False, eq=False)
class ConfusionDisplay(ScoreDisplay):
    """The most frequent confusions, and how many of them the uncertainty flags.

    A mistake counts as flagged if its uncertainty is above the threshold.

    Parameters
    ----------
    pairs : ndarray of shape (P, 2)
        True and predicted class, the most frequent mistakes first; of equally frequent ones those first of
        which more are let through.
    flagged, missed : ndarray of shape (P,)
        Mistakes of each pair above the threshold, and at or below it.
    threshold : float
        In the units of the uncertainty.
    class_names : list of str
        Of all classes.

    Attributes
    ----------
    flagged_, missed_ : matplotlib BarContainer
        The two parts of the bars.

    Examples
    --------
    >>> display = ConfusionDisplay.from_scores(
    ...     [0.1, 0.2, 0.7, 0.9], [0, 1, 0, 0], [0, 1, 1, 1], threshold=0.8, class_names=["cat", "dog"]
    ... )
    >>> display.pairs.tolist(), display.flagged.tolist(), display.missed.tolist()
    ([[0, 1]], [1], [1])
    """

    pairs: NDArray[np.int64]
    flagged: NDArray[np.int64]
    missed: NDArray[np.int64]
    threshold: float
    class_names: list[str]

    @classmethod
    def from_scores(
        cls,
        uncertainty: ArrayLike,
        labels: ArrayLike,
        predicted: ArrayLike,
        *,
        threshold: float | None = None,
        class_names: Sequence[str] | None = None,
        top: int | None = 12,
        name: str | None = None,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Draw the confusions of given predictions.

        Parameters
        ----------
        uncertainty : array-like of shape (N,)
            Scores, higher = more likely wrong.
        labels, predicted : array-like of shape (N,)
            True and predicted class of each row, integers in [0, K) or some of `class_names`; a true one of
            -1 is none of them.
        threshold : float, optional
            Above it a mistake is flagged. By default the one that accepts 95 % of the right predictions.
        top : int or None, default=12
            How many pairs to show; None for all.
        class_names, name, ax
            As in `ClassFailureDisplay.from_scores`.
        **options
            Further options of `plot`.

        Raises
        ------
        ValueError, TypeError
            If the vectors are malformed or differ in length, classes are no integers in [0, K), all
            predictions are right, or all are wrong and no threshold is given.
        """
        n = len(as_vector(uncertainty, "uncertainty"))
        true = check_classes(labels, "labels", n, class_names)
        guess = check_classes(predicted, "predicted", n, class_names, 0)
        u, y = check_scores(uncertainty, true != guess)
        names = name_classes(class_names, labels=true, predicted=guess)
        if not y.any():
            raise ValueError("All predictions are right: there is no confusion to show.")
        if threshold is None:
            if y.all():
                raise ValueError("All predictions are wrong: no threshold accepts right ones, so pass one.")
            threshold = float(np.quantile(u[~y], 0.95, method="higher"))
        found, inverse = np.unique(np.stack([true, guess], 1)[y], axis=0, return_inverse=True)
        above = u[y] > threshold
        inverse = inverse.ravel()  # numpy 2.0 gave it another shape
        flagged = np.bincount(inverse, above, len(found)).astype(np.int64)
        missed = np.bincount(inverse, ~above, len(found)).astype(np.int64)
        order = np.lexsort((flagged, -(flagged + missed)))
        return cls(
            pairs=found[order].astype(np.int64),
            flagged=flagged[order],
            missed=missed[order],
            threshold=threshold,
            class_names=names,
            name=name,
        ).plot(ax, top=top, **options)

    @classmethod
    def _from_answers(cls, answers: Answers, problem: Problem, **options: Any) -> Self:
        if problem.labels is None:
            raise ValueError(
                "A caption task has no classes to confuse: pass labels, or draw another picture."
            )
        options.setdefault("class_names", check_names(problem.names, len(problem.text)))
        return cls.from_scores(answers.decision, problem.labels, answers.predicted, **options)

    def _height(self, *, top: int | None = 12) -> float:
        return height_of_bars(how_many(top, len(self.pairs)))

    def _draw(self, ax: Any, name: str | None, *, top: int | None = 12) -> None:
        shown = slice(how_many(top, len(self.pairs)))
        flagged, missed = self.flagged[shown], self.missed[shown]
        rows = np.arange(len(flagged))
        by = f" by {shorten(name, 20)}" if name else ""
        self.flagged_ = ax.barh(rows, flagged, 0.7, color=tone(ax, SKY), hatch="////", label=f"flagged{by}")
        self.missed_ = ax.barh(rows, missed, 0.7, left=flagged, color=WRONG, label="let through")
        for patch in self.flagged_:
            patch.set(edgecolor=tone(ax, WHITE), linewidth=0)
        names = [
            [shorten(str(name_of(self.class_names, index)), 16) for index in pair]
            for pair in self.pairs[shown]
        ]
        bars(ax, [" → ".join(pair) for pair in names])
        ax.set_xlabel("mistakes, true → predicted class", loc="right")
        ax.xaxis.get_major_locator().set_params(integer=True)
