"""The base of all displays, and of those that are drawn from the scores of one scorer."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilu_sdk.displays._style import HEIGHT, axes_for, legend_above, shorten
from vilu_sdk.evaluation.problem import FailureScorer, check_problem, zero_shot_failures
from vilu_sdk.metrics.vectors import BoolVector, FloatVector


@dataclass(frozen=True)
class Answers:
    """What a scorer says of some images: decision values, probabilities if it has them, all (N,)."""

    decision: FloatVector
    probability: FloatVector | None
    failure: BoolVector
    predicted: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    n_candidates: int


def ask(
    scorer: FailureScorer,
    z_img: ArrayLike,
    z_txt: ArrayLike,
    labels: ArrayLike | None,
    batch_size: int | None,
) -> Answers:
    """Score images and find out where the prediction is wrong."""
    problem = check_problem(z_img, z_txt, labels, batch_size)
    is_probability = getattr(scorer, "is_probability", False)
    return Answers(
        decision=problem.pool(scorer.decision_function),
        probability=problem.pool(scorer.predict_uncertainty) if is_probability else None,
        failure=zero_shot_failures(scorer, problem),
        predicted=problem.pool(scorer.predict).astype(np.int64),
        labels=problem.labels,
        n_candidates=len(problem.text),
    )


class Display:
    """A picture that can be drawn again.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of the axes.
    """

    name: str | None
    ax_: Any
    figure_: Any

    def plot(self, ax: Any = None, *, name: str | None = None, **options: Any) -> Self:
        """Draw; curves can be drawn onto axes that have others already.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default those of a new figure; of bars, a figure as high as its rows need. Histograms of
            several scorers belong on several axes.
        name : str, optional
            For the legend, of a histogram for the title, instead of `self.name`.
        **options
            Of a curve, its style, for `matplotlib.axes.Axes.plot` (of a `ReliabilityDisplay` for
            `matplotlib.axes.Axes.errorbar`). Of bars, `top`: how many rows to show, None for all. By default
            15 classes or 12 confusions.

        Returns
        -------
        self
        """
        ax = axes_for(ax, self._height(**options))
        legend_above(ax, self._draw(ax, name or self.name, **options))
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _height(self, *_: Any, **options: Any) -> float:
        """Return the height of a figure without its legend, in inches."""
        return HEIGHT

    def _draw(self, ax: Any, name: str | None, *_: Any, **options: Any) -> str | None:
        """Draw all but the legend, and return the title of the legend if it has one."""
        raise NotImplementedError


class ScoreDisplay(Display):
    """A picture of how the uncertainty of one scorer is related to its failures."""

    @classmethod
    def from_estimator(
        cls,
        scorer: FailureScorer,
        z_img: ArrayLike,
        z_txt: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        batch_size: int | None = None,
        name: str | None = None,
        **options: Any,
    ) -> Self:
        """Score labelled images and draw.

        Parameters
        ----------
        scorer : scorer
            Fitted, if it is one that learns.
        z_img : array-like of shape (N, d)
            Image embeddings.
        z_txt : array-like of shape (K, d)
            Candidate texts.
        labels : array-like of shape (N,), optional
            True class of each image; without labels a caption task, as in `evaluate`.
        batch_size : int, optional
            Rows of a batch in a caption task, as in `evaluate`.
        name : str, optional
            For the legend, by default the scorer's class.
        **options
            Further arguments of `from_scores`, such as `ax`.

        Returns
        -------
        display
            Drawn, with the axes as `ax_`.

        Raises
        ------
        ValueError, TypeError, sklearn.exceptions.NotFittedError
            As in `evaluate`, or if the scorer or the task cannot be drawn like this.
        ImportError
            If matplotlib is missing.
        """
        answers = ask(scorer, z_img, z_txt, labels, batch_size)
        return cls._from_answers(answers, name=type(scorer).__name__ if name is None else name, **options)

    @classmethod
    def _from_answers(cls, answers: Answers, **options: Any) -> Self:
        """Draw from the scores of one scorer."""
        raise NotImplementedError


def label_with(name: str | None, metric: str) -> str:
    """Return a legend entry: the name with what was measured."""
    return metric if name is None else f"{shorten(name, 18)} ({metric})"
