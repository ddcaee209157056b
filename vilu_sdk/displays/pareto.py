"""Quality against time: which scorers are beaten on neither."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from vilu_sdk.displays._base import Display
from vilu_sdk.displays._legend import entry
from vilu_sdk.displays._style import GREY, nth_look, percent, shorten, tone
from vilu_sdk.evaluation import Benchmark


class ParetoDisplay(Display):
    """A metric over seconds, a mark for each scorer; a line joins those that no other beats on both.

    Parameters
    ----------
    scorers : sequence of str
        Their names.
    seconds, values : array-like of shape (S,)
        Seconds and metric of each scorer.
    higher_is_better : bool, default=True
        Of the metric.
    ylabel : str, default="AUC (%)"
        What `values` are; with a "%" in it, fractions are drawn in percent.

    Attributes
    ----------
    best : list of str
        The scorers than which no other is both as good and as fast, the fastest first.
    dots_ : list of matplotlib Line2D
        The scorers.
    front_ : matplotlib Line2D
        The line.

    Raises
    ------
    ValueError
        If there is no scorer, or the shapes do not fit together.

    Examples
    --------
    >>> display = ParetoDisplay(
    ...     scorers=["MCM", "ViLU", "slow"], seconds=[0.1, 9.0, 20.0], values=[0.83, 0.93, 0.9]
    ... ).plot()
    >>> display.best
    ['MCM', 'ViLU']
    """

    def __init__(
        self,
        *,
        scorers: Sequence[str],
        seconds: ArrayLike,
        values: ArrayLike,
        higher_is_better: bool = True,
        ylabel: str = "AUC (%)",
    ) -> None:
        self.scorers = [str(scorer) for scorer in scorers]
        self.seconds, self.values = np.asarray(seconds, np.float64), np.asarray(values, np.float64)
        shape = (len(self.scorers),)
        if not self.scorers or self.seconds.shape != shape or self.values.shape != shape:
            raise ValueError(
                f"scorers, seconds and values must have one entry for each scorer, and one at least; got "
                f"{len(self.scorers)} scorers and shapes {self.seconds.shape} and {self.values.shape}."
            )
        self.higher_is_better = higher_is_better
        self.ylabel = ylabel
        quality = self.values if higher_is_better else -self.values
        order = np.lexsort((-quality, self.seconds))
        ahead = np.append(-np.inf, np.fmax.accumulate(quality[order])[:-1])
        self._front = order[quality[order] > ahead]
        self.best = [self.scorers[i] for i in self._front]

    @classmethod
    def from_benchmark(
        cls,
        benchmark: Benchmark,
        *,
        metric: str = "auc",
        seconds: Sequence[str] = ("fit_seconds", "score_seconds"),
        labels: int | str | None = None,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Draw the means over the sets of a benchmark.

        Parameters
        ----------
        benchmark : Benchmark
        metric, seconds, labels
            As in `Benchmark.pareto`.
        ax, **options
            As in `plot`.

        Raises
        ------
        ValueError
            If there is no such metric, or no scorer has a value on each set.
        """
        column = benchmark.ranked(metric)
        found = benchmark.timed(column, benchmark.budget(labels), seconds)
        found.sort(key=lambda one: benchmark.scorers.index(one[0]))  # colours are those of other pictures
        scorers, times, values = zip(*found, strict=True) if found else ((), (), ())
        return cls(
            scorers=scorers,
            seconds=times,
            values=values,
            higher_is_better=column.better > 0,
            ylabel=column.header,
        ).plot(ax, **options)

    def _draw(self, ax: Any, name: str | None, **dots: Any) -> None:
        from matplotlib.ticker import LogLocator

        front = self.seconds[self._front], self.values[self._front]
        (self.front_,) = ax.plot(*front, drawstyle="steps-post", color=tone(ax, GREY), linewidth=1, zorder=1)
        self.dots_ = []
        for i, scorer in enumerate(self.scorers):
            look = nth_look(ax, i)
            style = {"color": look.color, "marker": look.marker, "linestyle": "none", "markersize": 5}
            style["label"] = entry(shorten(scorer))
            self.dots_ += ax.plot(self.seconds[i], self.values[i], **style | dots)
        ax.set(xlabel="seconds", ylabel=self.ylabel)
        if self.seconds.min() > 0:  # none at all has no place on a logarithmic scale
            ax.set_xscale("log")
            many = self.seconds.max() > 30 * self.seconds.min()
            ax.xaxis.set_major_locator(LogLocator(subs=(1,) if many else (1, 2, 5)))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.set_minor_formatter("")
        if "%" in self.ylabel:
            percent(ax.yaxis)
