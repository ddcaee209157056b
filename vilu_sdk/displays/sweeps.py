"""AUC over the number of labels, and over the number of candidates."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from vilu_sdk.compute.progress import track
from vilu_sdk.compute.random import check_random_state
from vilu_sdk.displays._base import Display
from vilu_sdk.displays._style import entry, next_look, percent, shorten
from vilu_sdk.evaluation.problem import Problem, ask, check_problem
from vilu_sdk.exceptions import ScorerFailedWarning, warn
from vilu_sdk.inputs.names import NONE
from vilu_sdk.metrics.failure import ranking_metrics
from vilu_sdk.metrics.vectors import check_count
from vilu_sdk.scorers.base.contract import FailureScorer

RandomState = int | np.random.RandomState | None


class SweepDisplay(Display):
    """AUC over a number that varies: the mean of some draws, and one standard deviation around it."""

    xlabel: str

    def __init__(self, *, sizes: ArrayLike, auc: ArrayLike, name: str | None = None) -> None:
        self.sizes = np.asarray(sizes)
        self.auc = np.asarray(auc, dtype=np.float64)
        if self.auc.ndim != 2 or self.sizes.shape != self.auc.shape[:1]:
            raise ValueError(
                f"auc must have a row for each of the sizes and a column for each draw, got shape "
                f"{self.auc.shape} for sizes of shape {self.sizes.shape}."
            )
        if not np.isfinite(self.auc).any():
            raise ValueError(
                "There is no AUC to draw: wherever something was scored, all predictions are right or all "
                "are wrong."
            )
        self.name = name

    def _draw(self, ax: Any, name: str | None, **line: Any) -> None:
        from matplotlib.ticker import NullLocator

        look = next_look(ax)
        known = np.isfinite(self.auc).any(axis=1)
        sizes, auc = self.sizes[known], self.auc[known]
        mean, spread = np.nanmean(auc, axis=1), np.nanstd(auc, axis=1)
        style = {
            **look._asdict(),
            "markersize": 4,
            "linewidth": 1.3,
            "label": entry(shorten(name or "")),
        } | line
        if np.ptp(mean) == 0:
            style["marker"] = "none"
        (self.line_,) = ax.plot(sizes, mean, **style)
        self.band_ = None
        if spread.any():
            colour = self.line_.get_color()
            self.band_ = ax.fill_between(
                sizes, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0
            )
        ax.set(xscale="log", xlabel=self.xlabel, ylabel="AUC (%)")
        # Curves that were drawn before have their own sizes.
        ticks = np.unique(np.concatenate([line.get_xdata() for line in ax.lines]))
        ax.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
        percent(ax.yaxis)


class LearningCurveDisplay(SweepDisplay):
    """AUC against the number of labels that a scorer learns from, as in the ViLU paper's Figure 5.

    It shows the mean of some draws, and one standard deviation around it.

    Parameters
    ----------
    sizes : array-like of shape (S,)
        The numbers, above 0.
    auc : array-like of shape (S, R)
        AUC of each draw, as a fraction; NaN where there is none.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The mean; a line without markers if it is the same for every number.
    band_ : matplotlib PolyCollection or None
        The spread, if there is any.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Examples
    --------
    >>> display = LearningCurveDisplay(sizes=[10, 100], auc=[[0.7, 0.8], [0.9, 0.9]], name="ViLU").plot()
    >>> display.line_.get_ydata().round(2).tolist()
    [0.75, 0.9]
    """

    xlabel = "labelled images"

    @classmethod
    def from_estimator(
        cls,
        scorer: FailureScorer,
        z_img: ArrayLike,
        z_txt: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        test: Sequence[Any],
        sizes: Sequence[int] | None = None,
        n_draws: int = 3,
        random_state: RandomState = 0,
        name: str | None = None,
        ax: Any = None,
        **line: Any,
    ) -> Self:
        """Fit clones on more and more of the images, score the same test images, and draw.

        A scorer that does not learn is scored once, and drawn as a level line.

        Parameters
        ----------
        scorer : scorer
            It is cloned, never changed.
        z_img, z_txt, labels : array-like of shape (N, d), (K, d) and (N,)
            As in `compare`; in a caption task without labels.
        test : tuple (z_img, z_txt, labels) or (z_img, z_txt)
            The rows to score, as in `compare`.
        sizes : sequence of int, optional
            Numbers of images to fit; by default five from 1/16 of them to all, doubling.
        n_draws : int, default=3
            How many random orders of the images to take. Within an order the images of a size are among
            those of the next.
        random_state : int, RandomState instance or None, default=0
            Of the orders.
        name, ax, **line
            As in `ROCDisplay.from_scores`; the name is by default the scorer's class.

        Raises
        ------
        ValueError, TypeError
            As in `compare`, or if a size or `n_draws` is out of range.

        Warns
        -----
        ScorerFailedWarning
            If the scorer cannot learn from a draw, which then does not count.
        """
        problem = check_problem(z_img, z_txt, labels, None)
        images, text, classes = (*test, None)[:3]
        held = check_problem(images, text, classes, None)
        sizes, orders = _draw_orders(len(problem.images), cls.xlabel, sizes, n_draws, random_state)

        def draw(size: int, order: NDArray[np.int64]) -> float:
            # Sorted, because files are read in order and the order of the rows does not matter.
            fitted = clone(scorer).fit(*problem.take(np.sort(order[:size])))
            return auc_of(fitted, held)

        if getattr(scorer, "learns", True):
            auc = _sweep(draw, sizes, orders, "learning curve")
        else:
            auc = np.full((len(sizes), 1), auc_of(scorer, held))
        name = type(scorer).__name__ if name is None else name
        return cls(sizes=sizes, auc=auc, name=name).plot(ax, **line)


class CandidatesDisplay(SweepDisplay):
    """AUC against the number of candidates to choose from, as in the ViLU paper's Figure 4.

    Parameters and attributes are those of `LearningCurveDisplay`.
    """

    xlabel = "candidates"

    @classmethod
    def from_estimator(
        cls,
        scorer: FailureScorer,
        z_img: ArrayLike,
        z_txt: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        sizes: Sequence[int] | None = None,
        n_draws: int = 3,
        random_state: RandomState = 0,
        name: str | None = None,
        ax: Any = None,
        **line: Any,
    ) -> Self:
        """Score with fewer and more candidates, and draw.

        With labels, some of the classes are drawn, and their images scored among them. Without labels, a
        caption task, images are shuffled and put in batches, and the captions of a batch are the candidates.

        Parameters
        ----------
        scorer : scorer
            Fitted, if it is one that learns.
        z_img, z_txt, labels : array-like of shape (N, d), (K, d) and (N,)
            As in `evaluate`.
        sizes : sequence of int, optional
            Numbers of candidates; by default five up to all, doubling.
        n_draws : int, default=3
            How many random draws of candidates.
        random_state : int, RandomState instance or None, default=0
            Of the draws.
        name, ax, **line
            As in `LearningCurveDisplay.from_estimator`.

        Raises
        ------
        ValueError, TypeError, sklearn.exceptions.NotFittedError
            As in `evaluate`, or if a size or `n_draws` is out of range.

        Warns
        -----
        ScorerFailedWarning
            If the scorer cannot score a number of candidates, which is then left out.
        """
        problem = check_problem(z_img, z_txt, labels, None)
        k = len(problem.text)
        sizes, orders = _draw_orders(k, cls.xlabel, sizes, n_draws, random_state)

        def draw(size: int, order: NDArray[np.int64]) -> float:
            if problem.labels is None:
                part = check_problem(problem.images[order], problem.text[order], None, size)
            else:
                place = np.full(k + 1, NONE)  # and of -1 itself, which is the last
                place[order[:size]] = np.arange(size)
                rows = np.flatnonzero((place[problem.labels] != NONE) | (problem.labels == NONE))
                if not len(rows):
                    return math.nan
                part = check_problem(
                    problem.images[rows], problem.text[order[:size]], place[problem.labels[rows]], None
                )
            return auc_of(scorer, part)

        name = type(scorer).__name__ if name is None else name
        return cls(sizes=sizes, auc=_sweep(draw, sizes, orders, "candidates"), name=name).plot(ax, **line)


def auc_of(scorer: FailureScorer, problem: Problem) -> float:
    """Return the AUC, NaN if all predictions are right or all are wrong."""
    answers = ask(scorer, problem)
    return ranking_metrics(answers.decision, answers.failure)["auc"]


def _draw_orders(
    n: int, what: str, sizes: Any, n_draws: Any, random_state: RandomState
) -> tuple[list[int], list[NDArray[np.int64]]]:
    """Return the sizes, distinct and increasing, and for each draw a random order of all n."""
    random = check_random_state(random_state)
    if n < 2:
        raise ValueError(f"A curve over the number of {what} needs at least 2, got {n}.")
    doubling = [max(2, n >> shift) for shift in (4, 3, 2, 1, 0)]
    wanted = np.unique(doubling if sizes is None else np.asarray(sizes))
    if wanted.dtype.kind not in "iu" or not len(wanted) or wanted[0] < 2 or wanted[-1] > n:
        raise ValueError(f"sizes must be integers from 2 to {n}, got {sizes!r}.")
    orders = [random.permutation(n) for _ in range(check_count(n_draws, "n_draws"))]
    return [int(size) for size in wanted], orders


def _sweep(
    draw: Callable[[int, NDArray[np.int64]], float],
    sizes: Sequence[int],
    orders: Sequence[NDArray[np.int64]],
    what: str,
) -> NDArray[np.float64]:
    """Return the AUC of every size and order."""
    auc = np.full((len(sizes), len(orders)), math.nan)
    for row, column in track(list(np.ndindex(auc.shape)), what):
        try:
            auc[row, column] = draw(sizes[row], orders[column])
        except (ValueError, NotImplementedError) as error:
            warn(f"no AUC with {sizes[row]}: {error}", ScorerFailedWarning)
    return auc
