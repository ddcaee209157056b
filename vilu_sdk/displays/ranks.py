"""Mean ranks of scorers over data sets, and which of them differ."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from vilu_sdk.displays._base import Display
from vilu_sdk.displays._style import BLUE, LIGHT, bars, height_of_bars, shorten, tone
from vilu_sdk.evaluation import Benchmark, Ranking


@dataclass(kw_only=True, repr=False, eq=False)
class CriticalDifferenceDisplay(Display):
    """Mean ranks over data sets, the best on top, each with half the critical difference to both sides.

    Two scorers differ if their bars do not overlap: their mean ranks then lie further apart than Nemenyi's
    critical difference. With fewer than two sets or scorers there are no bars.

    Parameters
    ----------
    ranking : Ranking
        From `Benchmark.ranks`.

    Attributes
    ----------
    dots_ : matplotlib Line2D
        The mean ranks.
    bars_ : matplotlib LineCollection or None
        The bars.

    Raises
    ------
    ValueError
        If no scorer has a rank.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk.evaluation import Ranking
    >>> ranking = Ranking(["ViLU", "MCM"], np.array([1.0, 2.0]), 0.002, 0.6, [], 12)
    >>> display = CriticalDifferenceDisplay(ranking=ranking).plot()
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['ViLU', 'MCM']
    """

    ranking: Ranking

    def __post_init__(self) -> None:
        if not self.ranking.scorers:
            raise ValueError("No scorer has a rank: none has a value on each of the sets.")

    @classmethod
    def from_benchmark(
        cls,
        benchmark: Benchmark,
        *,
        metric: str = "auc",
        labels: int | str | None = None,
        confidence: float = 0.95,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Draw the ranks of the scorers of a benchmark.

        Parameters
        ----------
        benchmark : Benchmark
        metric, labels, confidence
            As in `Benchmark.ranks`, with the same errors.
        ax, **options
            As in `plot`.
        """
        ranking = benchmark.ranks(metric, labels=labels, confidence=confidence)
        return cls(ranking=ranking).plot(ax, **options)

    def _height(self, *_: Any, **options: Any) -> float:
        return height_of_bars(len(self.ranking.scorers))

    def _draw(self, ax: Any, name: str | None, **dots: Any) -> None:
        ranks, difference = self.ranking.mean_ranks, self.ranking.critical_difference
        rows = np.arange(len(ranks))
        self.bars_ = None
        if np.isfinite(difference):
            half = difference / 2
            label = f"± half the critical difference, {difference:.2f}"
            self.bars_ = ax.hlines(
                rows, ranks - half, ranks + half, color=tone(ax, LIGHT), linewidth=4, label=label
            )
        style = {"color": tone(ax, BLUE), "marker": "o", "linestyle": "none", "markersize": 4}
        (self.dots_,) = ax.plot(ranks, rows, **style | dots)
        bars(ax, [shorten(scorer, 20) for scorer in self.ranking.scorers])
        over = f"{self.ranking.n_sets} data set" + "s" * (self.ranking.n_sets != 1)
        ax.set_xlabel(f"mean rank over {over}, 1 is best", loc="right")
