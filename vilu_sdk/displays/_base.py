"""What the displays share: a scorer is asked once, and every picture is drawn from the answers."""

from typing import Any, Self

from numpy.typing import ArrayLike

from vilu_sdk.displays._style import shorten
from vilu_sdk.evaluation.problem import Answers, Problem, ask, check_problem
from vilu_sdk.scorers.base.contract import FailureScorer


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
        problem = check_problem(z_img, z_txt, labels, batch_size)
        name = type(scorer).__name__ if name is None else name
        return cls._from_answers(ask(scorer, problem), problem, name=name, **options)

    @classmethod
    def _from_answers(cls, answers: Answers, problem: Problem, **options: Any) -> Self:
        """Draw from the scores of one scorer."""
        raise NotImplementedError


def label_with(name: str | None, metric: str) -> str:
    """Return a legend entry: the name with what was measured."""
    return metric if name is None else f"{shorten(name, 18)} ({metric})"
