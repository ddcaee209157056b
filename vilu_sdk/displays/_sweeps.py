"""What curves over a number of labels or of candidates share."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilu_sdk.compute.progress import track
from vilu_sdk.compute.random import check_random_state
from vilu_sdk.displays._base import Display
from vilu_sdk.displays._legend import entry
from vilu_sdk.displays._style import next_look, percent, shorten
from vilu_sdk.evaluation.problem import Problem, ask
from vilu_sdk.exceptions import ScorerFailedWarning, warn
from vilu_sdk.inputs.values import whole
from vilu_sdk.metrics.failure import ranking_metrics
from vilu_sdk.scorers.base.contract import FailureScorer

RandomState = int | np.random.RandomState | None


class SweepDisplay(Display):
    """AUC over a number that varies: the mean of some draws, and one standard deviation around it."""

    xlabel: str

    def __init__(
        self, *, sizes: ArrayLike, auc: ArrayLike, name: str | None = None, ylabel: str = "AUC (%)"
    ) -> None:
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
        self.ylabel = ylabel

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
        ax.set(xscale="log", xlabel=self.xlabel, ylabel=self.ylabel)
        # Curves that were drawn before have their own sizes.
        ticks = np.unique(np.concatenate([line.get_xdata() for line in ax.lines]))
        ax.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
        if "%" in self.ylabel:
            percent(ax.yaxis)


def auc_of(scorer: FailureScorer, problem: Problem) -> float:
    """Return the AUC, NaN if all predictions are right or all are wrong."""
    answers = ask(scorer, problem)
    return ranking_metrics(answers.decision, answers.failure)["auc"]


def draw_orders(
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
    orders = [random.permutation(n) for _ in range(whole(n_draws, "n_draws", 1))]
    return [int(size) for size in wanted], orders


def sweep(
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
