"""The distribution of the uncertainty, and its calibration."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from vilu_sdk.displays._base import ScoreDisplay, label_with
from vilu_sdk.displays._style import (
    RIGHT,
    SQUARE_HEIGHT,
    WRONG,
    frame_rates,
    next_look,
    percent,
    shorten,
    tone,
)
from vilu_sdk.evaluation.problem import Answers, Problem
from vilu_sdk.inputs.values import flag, whole
from vilu_sdk.metrics.binomial import rate_interval
from vilu_sdk.metrics.calibration import expected_calibration_error
from vilu_sdk.metrics.vectors import BoolVector, FloatVector, check_probabilities, check_scores

PROBABILITY = "probability of failure (%)"


@dataclass(kw_only=True, repr=False, eq=False)
class ScoreDistributionDisplay(ScoreDisplay):
    """How the uncertainty is distributed over right and over wrong predictions.

    The less both overlap, the better the scorer. Each histogram sums to 100 %.

    Parameters
    ----------
    edges : ndarray of shape (B + 1,)
        Of the bins.
    right, wrong : ndarray of shape (B,)
        Share of the right and of the wrong predictions in each bin, as fractions; zeros if there are none.
    xlabel : str
        What the uncertainty is, with its unit.

    Attributes
    ----------
    right_, wrong_ : matplotlib StepPatch
        The histograms.

    References
    ----------
    Lafon et al., "ViLU: learning vision-language uncertainties for failure prediction", ICCV 2025,
    Figures 6, 9 and 10.

    Examples
    --------
    >>> display = ScoreDistributionDisplay.from_scores([0.1, 0.3, 0.9], [0, 0, 1], bins=2)
    >>> display.right.tolist(), display.wrong.tolist()
    ([1.0, 0.0], [0.0, 1.0])
    """

    # What the two histograms are of, and both together.
    kinds: ClassVar[tuple[str, str]] = ("right predictions", "wrong predictions")
    both: ClassVar[str] = "predictions"

    edges: FloatVector
    right: FloatVector
    wrong: FloatVector
    xlabel: str = "uncertainty"

    @classmethod
    def from_scores(
        cls,
        uncertainty: ArrayLike,
        failure: ArrayLike,
        *,
        probability: bool = False,
        bins: int = 25,
        xlabel: str = "uncertainty",
        name: str | None = None,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Draw the distributions of given scores.

        Parameters
        ----------
        uncertainty, failure : array-like of shape (N,)
            As in `failure_metrics`.
        probability : bool, default=False
            Read the uncertainty as the probability of failure: it lies in [0, 1], is shown in percent, and
            the bins cover it all.
        bins : int, default=25
            Number of bins of equal width.
        xlabel : str, default="uncertainty"
            What the uncertainty is, if it is no probability.
        name, ax
            As in `ROCDisplay.from_scores`; the name is a title.
        **options
            Further options of `plot`.

        Raises
        ------
        ValueError, TypeError
            As in `failure_metrics`, or if `bins` is not an integer of at least 1.
        """
        flag(probability, "probability")
        u, y = (check_probabilities if probability else check_scores)(uncertainty, failure)
        xlabel = PROBABILITY if probability else xlabel
        found = histograms(u, y, bins, (0, 1) if probability else None)
        return cls(**found, xlabel=xlabel, name=name).plot(ax, **options)

    @classmethod
    def _from_answers(cls, answers: Answers, problem: Problem, **options: Any) -> Self:
        if answers.is_probability:
            return cls.from_scores(answers.uncertainty, answers.failure, probability=True, **options)
        return cls.from_scores(
            answers.decision, answers.failure, **{"xlabel": "log uncertainty (nats)"} | options
        )

    def _draw(self, ax: Any, name: str | None) -> str | None:
        right, wrong = self.kinds
        self.right_ = ax.stairs(
            self.right, self.edges, fill=True, color=tone(ax, RIGHT), alpha=0.35, label=right
        )
        self.wrong_ = ax.stairs(self.wrong, self.edges, color=WRONG, linewidth=1.5, hatch="////", label=wrong)
        # Hatches in full strength would hide the other histogram.
        self.wrong_.set(facecolor="none", edgecolor=WRONG)
        ax.set(xlabel=self.xlabel, ylabel=f"share of {self.both} (%)", xlim=(self.edges[0], self.edges[-1]))
        ax.autoscale(axis="y")
        ax.set_ylim(bottom=0)
        percent(ax.yaxis, *([ax.xaxis] if self.xlabel == PROBABILITY else []))
        # Inside the figure and above the legend, which has the place of a title.
        return shorten(name, 36) if name else None


def histograms(
    u: FloatVector, y: BoolVector, bins: Any, span: tuple[float, float] | None = None
) -> dict[str, FloatVector]:
    """Return the edges of bins, by default over all values, and the share of each kind in them."""
    edges = np.histogram_bin_edges(u, whole(bins, "bins", 1), span or _span(u))
    right, wrong = (np.histogram(of, edges)[0] / max(1, len(of)) for of in (u[~y], u[y]))
    return {"edges": edges, "right": right, "wrong": wrong}


def _span(u: FloatVector) -> tuple[float, float]:
    """Return what the bins cover: all values, and some room around values that are equal but for rounding."""
    low, high = float(u.min()), float(u.max())
    room = 0.5 * max(1.0, 1e-6 * abs(low))
    return (low, high) if high - low > max(1e-300, 1e-9 * abs(low)) else (low - room, high + room)


@dataclass(kw_only=True, repr=False, eq=False)
class ReliabilityDisplay(ScoreDisplay):
    """Failure rate of the predictions, over the probability of failure that the scorer gives them.

    On the diagonal the uncertainty is calibrated. Bins hold equally many predictions; bars are
    95 % Clopper-Pearson intervals of the failure rate of a bin.

    Parameters
    ----------
    mean_uncertainty, observed : ndarray of shape (B,)
        Mean uncertainty and failure rate of each bin, as fractions.
    low, high : ndarray of shape (B,)
        Ends of the interval of each failure rate.
    ece : float
        `expected_calibration_error` of all rows, with its own 15 bins of equal width.

    Attributes
    ----------
    errorbar_ : matplotlib ErrorbarContainer
        The curve and its intervals.

    Examples
    --------
    >>> display = ReliabilityDisplay.from_scores([0.25, 0.25, 0.25, 0.25], [0, 0, 0, 1], n_bins=1)
    >>> display.mean_uncertainty.tolist(), display.observed.tolist()
    ([0.25], [0.25])
    """

    height = SQUARE_HEIGHT

    mean_uncertainty: FloatVector
    observed: FloatVector
    low: FloatVector
    high: FloatVector
    ece: float

    @classmethod
    def from_scores(
        cls,
        uncertainty: ArrayLike,
        failure: ArrayLike,
        *,
        n_bins: int = 10,
        name: str | None = None,
        ax: Any = None,
        **line: Any,
    ) -> Self:
        """Draw the diagram of given probabilities.

        Parameters
        ----------
        uncertainty, failure : array-like of shape (N,)
            As in `expected_calibration_error`, with the same errors.
        n_bins : int, default=10
            Number of bins; equal uncertainties share a bin, so there can be fewer.
        name, ax
            As in `ROCDisplay.from_scores`.
        **line
            For `matplotlib.axes.Axes.errorbar`.
        """
        ece = expected_calibration_error(uncertainty, failure)
        u, y = check_probabilities(uncertainty, failure)
        whole(n_bins, "n_bins", 1)
        edges = np.unique(np.quantile(u, np.arange(1, n_bins) / n_bins))
        bins = np.searchsorted(edges, u, side="left")
        counts = np.bincount(bins)
        full = np.flatnonzero(counts)
        n, wrong = counts[full], np.bincount(bins, y)[full]
        mean = np.bincount(bins, u)[full] / n
        low, high = rate_interval(wrong.astype(np.int64), n, 0.95)
        return cls(mean_uncertainty=mean, observed=wrong / n, low=low, high=high, ece=ece, name=name).plot(
            ax, **line
        )

    @classmethod
    def _from_answers(cls, answers: Answers, problem: Problem, **options: Any) -> Self:
        if not answers.is_probability:
            raise ValueError(
                f"The uncertainty of {options.get('name')} is no probability of failure, so there is nothing "
                "to compare with failure rates: recalibrate it first."
            )
        return cls.from_scores(answers.uncertainty, answers.failure, **options)

    def _draw(self, ax: Any, name: str | None, **line: Any) -> None:
        frame_rates(ax, f"uncertainty: {PROBABILITY}", "observed failures (%)")
        look = next_look(ax)
        style: dict[str, Any] = {**look._asdict(), "markersize": 4, "linewidth": 1.2, "elinewidth": 0.8}
        style["label"] = label_with(name, f"ECE {100 * self.ece:.1f} %")
        # Rounding must not make a bar negative.
        bars = np.maximum(0, [self.observed - self.low, self.high - self.observed])
        self.errorbar_ = ax.errorbar(self.mean_uncertainty, self.observed, yerr=bars, **style | line)
