"""Failure rates of the classes, beside their mean uncertainties."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilu_sdk.displays._base import ScoreDisplay
from vilu_sdk.displays._classes import check_classes, check_names, how_many, name_classes
from vilu_sdk.displays._style import BLACK, WHITE, WRONG, bars, height_of_bars, percent, shorten, tone
from vilu_sdk.evaluation.problem import Answers, Problem
from vilu_sdk.inputs.names import name_of
from vilu_sdk.inputs.values import is_word
from vilu_sdk.metrics.binomial import rate_interval
from vilu_sdk.metrics.vectors import FloatVector, check_scores


@dataclass(kw_only=True, repr=False, eq=False)
class ClassFailureDisplay(ScoreDisplay):
    """The classes with the highest failure rates, and their mean uncertainties.

    Where the mean uncertainty lies far from the failure rate, the scorer misjudges the class. Whiskers are
    95 % Clopper-Pearson intervals.

    Parameters
    ----------
    classes : ndarray of shape (C,)
        The classes that occur, from the highest failure rate on.
    n, wrong : ndarray of shape (C,)
        How many predictions they have, and how many of those are wrong.
    mean_uncertainty : ndarray of shape (C,), optional
        Mean probability of failure of each class, if the uncertainty is one.
    class_names : list of str
        Of all classes.

    Attributes
    ----------
    bars_ : matplotlib BarContainer
        Failure rates.
    mean_uncertainty_ : matplotlib Line2D or None
        Mean uncertainties.

    Examples
    --------
    >>> display = ClassFailureDisplay.from_scores(
    ...     [0.1, 0.2, 0.7, 0.4], [0, 0, 1, 0], [0, 0, 1, 1], class_names=["cat", "dog"], probability=True
    ... )
    >>> display.classes.tolist(), display.wrong.tolist(), display.mean_uncertainty.round(2).tolist()
    ([1, 0], [1, 0], [0.55, 0.15])
    """

    #: What is counted, and what of it the bars are.
    counted: ClassVar[tuple[str, str]] = ("predictions", "wrong predictions")

    classes: NDArray[np.int64]
    n: NDArray[np.int64]
    wrong: NDArray[np.int64]
    mean_uncertainty: FloatVector | None
    class_names: list[str]

    @classmethod
    def from_scores(
        cls,
        uncertainty: ArrayLike,
        failure: ArrayLike,
        classes: ArrayLike,
        *,
        class_names: Sequence[str] | None = None,
        probability: bool = False,
        top: int | None = 15,
        name: str | None = None,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Draw the classes of given scores.

        Parameters
        ----------
        uncertainty, failure : array-like of shape (N,)
            As in `failure_metrics`.
        classes : array-like of shape (N,)
            The class of each row, true or predicted: an integer in [0, K) or one of `class_names`, or -1 for
            none of them.
        class_names : sequence of K str, optional
            By default "class 0", "class 1" and so on.
        probability : bool, default=False
            Read the uncertainty as the probability of failure and mark its mean.
        top : int or None, default=15
            How many classes to show, those of the highest failure rates; None for all.
        name, ax
            As in `ROCDisplay.from_scores`.
        **options
            Further options of `plot`.

        Raises
        ------
        ValueError, TypeError
            As in `failure_metrics`, or if the classes are no integers in [0, K).
        """
        u, y = check_scores(uncertainty, failure)
        index = check_classes(classes, "classes", len(u), class_names)
        names = name_classes(class_names, classes=index)
        present, place, n = np.unique(index, return_inverse=True, return_counts=True)
        wrong = np.bincount(place, y).astype(np.int64)
        # Of equal rates the one with more predictions is the worse.
        ranked = np.lexsort((-n, -wrong / n))
        return cls(
            classes=present[ranked],
            n=n[ranked],
            wrong=wrong[ranked],
            mean_uncertainty=np.bincount(place, u)[ranked] / n[ranked] if probability else None,
            class_names=names,
            name=name,
        ).plot(ax, top=top, **options)

    @classmethod
    def _from_answers(
        cls, answers: Answers, problem: Problem, *, by: Literal["true", "predicted"] = "true", **options: Any
    ) -> Self:
        if not is_word(by, ("true", "predicted")):
            raise ValueError(f'by must be "true" or "predicted", got {by!r}.')
        if problem.labels is None:
            raise ValueError("A caption task has no classes: pass labels, or draw another picture.")
        options.setdefault("class_names", check_names(problem.names, len(problem.text)))
        classes = problem.labels if by == "true" else answers.predicted
        known = answers.is_probability
        u = answers.uncertainty if known else answers.decision
        return cls.from_scores(u, answers.failure, classes, probability=known, **options)

    def _height(self, *, top: int | None = 15) -> float:
        return height_of_bars(how_many(top, len(self.classes)))

    def _draw(self, ax: Any, name: str | None, *, top: int | None = 15) -> str | None:
        shown = slice(how_many(top, len(self.classes)))
        n, wrong = self.n[shown], self.wrong[shown]
        rate, rows = wrong / n, np.arange(len(n))
        low, high = rate_interval(wrong, n, 0.95)
        whiskers = np.maximum(0, [rate - low, high - rate])
        counted, of = self.counted
        self.bars_ = ax.barh(rows, rate, 0.7, color=WRONG, alpha=0.6, label=f"{of}, 95 % interval")
        ax.errorbar(rate, rows, xerr=whiskers, fmt="none", ecolor=tone(ax, BLACK), elinewidth=0.7)
        self.mean_uncertainty_ = None
        if self.mean_uncertainty is not None:
            label = "mean uncertainty" + (f", {shorten(name, 20)}" if name else "")
            (self.mean_uncertainty_,) = ax.plot(
                *(self.mean_uncertainty[shown], rows),
                linestyle="none",
                marker="D",
                color=tone(ax, BLACK),
                markerfacecolor=tone(ax, WHITE),
                markersize=4.5,
                label=label,
            )
        names = [shorten(str(name_of(self.class_names, index))) for index in self.classes[shown]]
        bars(ax, [f"{text} ({count})" for text, count in zip(names, n, strict=True)])
        ax.set(xlabel=f"{counted} (%)", xlim=(0, 1.01))
        percent(ax.xaxis)
        return None
