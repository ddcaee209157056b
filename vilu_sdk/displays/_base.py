"""What the displays share: a scorer is asked once, and every picture is drawn from the answers."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilu_sdk.displays._style import shorten
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
    """Something that can be drawn, and remembers where.

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

    def _drawn(self, ax: Any) -> Self:
        self.ax_, self.figure_ = ax, ax.figure
        return self


class ScoreDisplay(Display):
    """A picture of how the uncertainty of one scorer relates to the failures."""

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
            Whatever `from_scores` takes, `ax` among it.

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
