"""The base of all displays, and of those that are drawn from the scores of one scorer."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from numpy.typing import ArrayLike

from vilu_sdk.displays._legend import check_legend, entry, put_legend
from vilu_sdk.displays._style import HEIGHT, axes_for, shorten
from vilu_sdk.evaluation.problem import Answers, Problem, ask, check_problem
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.places import shown
from vilu_sdk.scorers.base.contract import FailureScorer


@dataclass(kw_only=True, repr=False, eq=False)
class Display:
    """A picture that can be drawn again; each method that draws returns the display.

    Parameters
    ----------
    name : str, optional
        Of the scorer, for the legend, of a histogram for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the picture.
    figure_ : matplotlib Figure
        The figure of the axes.
    """

    # Of a figure without its legend, in inches.
    height: ClassVar[float] = HEIGHT

    name: str | None = None

    def plot(
        self, ax: Any = None, *, name: str | None = None, legend: str | None = "above", **options: Any
    ) -> Self:
        """Draw; curves can be drawn onto axes that have others already.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default those of a new figure; of bars, a figure as high as its rows need. Histograms of
            several scorers belong on several axes.
        name : str, optional
            For the legend, of a histogram for the title, instead of `self.name`.
        legend : {"above", "inside"} or None, default="above"
            "above": above the axes, clear of data, title and neighbours; the axes shrink for it unless a
            constrained layout makes room. "inside": where matplotlib finds the most room. None: no legend.
        **options
            Of a curve, its style, for `matplotlib.axes.Axes.plot` (of a `ReliabilityDisplay` for
            `matplotlib.axes.Axes.errorbar`). Of bars, `top`: how many rows to show, None for all. By default
            15 classes or 12 confusions.
        """
        where, options = check_legend(legend), _in_full(options)
        for given in (name, self.name):
            if not isinstance(given, str | None):
                raise TypeError(f"name must be a text, got {shown(given)}.")
        name = name or self.name
        name = name if name and name.strip() else None
        ax = axes_for(ax, self._height(**options))
        put_legend(ax, where, self._draw(ax, name, **options))
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _height(self, *_: Any, **options: Any) -> float:
        return self.height

    def _draw(self, ax: Any, name: str | None, *_: Any, **options: Any) -> str | None:
        """Draw all but the legend, and return the title of the legend if it has one."""
        raise NotImplementedError


class ScoreDisplay(Display):
    """A picture of how the uncertainty of one scorer is related to its failures."""

    @classmethod
    def from_scores(cls, *scores: Any, **options: Any) -> Self:
        """Draw given scores."""
        raise NotImplementedError

    @classmethod
    def from_estimator(
        cls,
        scorer: Any,
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
        z_img, z_txt, labels : array-like
            As in `evaluate`; without labels a caption task.
        batch_size : int, optional
            Rows of a batch in a caption task, as in `evaluate`.
        name : str, optional
            For the legend, by default the scorer's class.
        **options
            Further arguments of `from_scores`, such as `ax`.

        Raises
        ------
        ValueError, TypeError, sklearn.exceptions.NotFittedError
            As in `evaluate`, or if the scorer or the task cannot be drawn like this.
        ImportError
            If matplotlib is missing.
        """
        scorer, known = cls._unwrap(scorer)
        problem = check_problem(z_img, z_txt, labels, batch_size)
        name = type(scorer).__name__ if name is None else name
        return cls._from_answers(ask(scorer, problem), problem, name=name, **known | options)

    @classmethod
    def _unwrap(cls, scorer: Any) -> tuple[FailureScorer, dict[str, Any]]:
        """Return the scorer, and arguments of `from_scores` that come with it."""
        return scorer, {}

    @classmethod
    def _from_answers(cls, answers: Answers, problem: Problem, **options: Any) -> Self:
        """Draw from the answers of one scorer, by default from its ranking."""
        return cls.from_scores(answers.decision, answers.failure, **options)


def _in_full(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of a line under their full names, such as linewidth for lw."""
    cbook, lines = (require(f"matplotlib.{name}", "plot") for name in ("cbook", "lines"))
    return dict(cbook.normalize_kwargs(options, lines.Line2D))


def label_with(name: str | None, metric: str) -> str:
    """Return a legend entry: the name with what was measured."""
    return entry(f"{shorten(name, 18)} ({metric})") if name else metric
