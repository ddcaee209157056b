"""Risk over coverage with the certified point."""

from dataclasses import dataclass
from typing import Any, Self

from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from vilu_sdk.displays._base import ScoreDisplay, label_with
from vilu_sdk.displays._style import BLACK, GREY, next_look, percent, tone
from vilu_sdk.metrics.ranking import rank
from vilu_sdk.metrics.vectors import FloatVector, check_scores
from vilu_sdk.scorers.base.contract import FailureScorer
from vilu_sdk.selective._base import ThresholdPredictor


@dataclass(kw_only=True, repr=False, eq=False)
class RiskCoverageDisplay(ScoreDisplay):
    """Error rate of the predictions one keeps, over the share one keeps.

    `from_estimator` also takes a fitted `SelectivePredictor`: it draws the scorer, and marks the threshold
    with its bound. A predictor with a threshold for each group is a ValueError.

    Parameters
    ----------
    coverage, risk : ndarray of shape (T,)
        As `risk_coverage_curve` gives them.
    aurc : float
        Area under the curve.
    certified : tuple (coverage, risk, bound), optional
        Of a threshold with a guarantee: the share of the rows that it accepts, the error rate among them
        as observed here, and the error rate that it promises not to exceed. None if it accepts no row.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.
    certified_ : tuple of matplotlib Line2D, or None
        The certified point, and the line from it up to its bound.

    Examples
    --------
    >>> display = RiskCoverageDisplay.from_scores(
    ...     [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], threshold=0.25, bound=0.05, name="MCM"
    ... )
    >>> display.certified
    (0.5, 0.0, 0.05)
    """

    coverage: FloatVector
    risk: FloatVector
    aurc: float
    certified: tuple[float, float, float] | None = None

    @classmethod
    def from_scores(
        cls,
        uncertainty: ArrayLike,
        failure: ArrayLike,
        *,
        threshold: float | None = None,
        bound: float | None = None,
        name: str | None = None,
        ax: Any = None,
        **line: Any,
    ) -> Self:
        """Draw the curve of given scores.

        Parameters
        ----------
        uncertainty, failure : array-like of shape (N,)
            As in `failure_metrics`.
        threshold : float, optional
            A threshold with a guarantee, in the units of `uncertainty`: rows below it are accepted, none if
            it is minus infinity.
        bound : float, optional
            The error rate that `threshold` promises not to exceed, as a fraction.
        name, ax, **line
            As in `ROCDisplay.from_scores`.

        Raises
        ------
        ValueError, TypeError
            As in `failure_metrics`; also if only one of `threshold` and `bound` is given.
        """
        u, y = check_scores(uncertainty, failure)
        if (threshold is None) != (bound is None):
            raise ValueError("threshold and bound belong together: pass both or neither.")
        ranking = rank(u, y)
        certified = None
        if threshold is not None and bound is not None and (u < threshold).any():
            kept = u < threshold
            certified = (float(kept.mean()), float(y[kept].mean()), float(bound))
        return cls(
            coverage=ranking.rows / len(u),
            risk=ranking.errors / ranking.rows,
            aurc=ranking.aurc,
            certified=certified,
            name=name,
        ).plot(ax, **line)

    @classmethod
    def _unwrap(cls, scorer: Any) -> tuple[FailureScorer, dict[str, Any]]:
        if not isinstance(scorer, ThresholdPredictor):
            return scorer, {}
        check_is_fitted(scorer)
        report = scorer.report_
        if report.groups:
            raise ValueError(
                "The predictor has a threshold for each group: draw the scores of a group with its threshold."
            )
        return scorer.scorer_in_use, {"threshold": report.threshold, "bound": report.risk_bound}

    def _draw(self, ax: Any, name: str | None, **line: Any) -> None:
        look = next_look(ax)
        label = label_with(name, f"AURC {100 * self.aurc:.1f} %")
        style = {"color": look.color, "linestyle": look.linestyle, "linewidth": 1.5, "label": label} | line
        (self.line_,) = ax.plot(self.coverage, self.risk, **style)
        self.certified_ = None
        if self.certified is not None:
            coverage, risk, bound = self.certified
            (way,) = ax.plot(
                [coverage, coverage], [risk, bound], color=tone(ax, GREY), linewidth=1, marker="_"
            )
            (point,) = ax.plot(
                *(coverage, risk),
                color=self.line_.get_color(),
                marker="*",
                markeredgecolor=tone(ax, BLACK),
                markersize=9,
                linestyle="none",
                zorder=4,
                clip_on=False,  # without errors it lies on the axis
                label=f"certified: risk ≤ {100 * bound:.1f} % (keeps {100 * coverage:.0f} %)",
            )
            self.certified_ = (point, way)
        ax.set(xlabel="coverage: predictions kept (%)", ylabel="risk: errors (%)")
        ax.set_xlim(-0.01, 1.01)
        # The error rate of the first few predictions varies widely and would set the scale.
        settled = [line.get_ydata()[line.get_xdata() >= 0.1].max(initial=0) for line in ax.lines]
        ax.set_ylim(0, 1.05 * max(settled) or 1)
        percent(ax.xaxis, ax.yaxis)
