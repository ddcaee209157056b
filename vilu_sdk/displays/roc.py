"""ROC curve with the 95 % point."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import auc

from vilu_sdk.displays._base import ScoreDisplay, label_with
from vilu_sdk.displays._style import LIGHT, SQUARE_HEIGHT, frame_rates, next_look, tone
from vilu_sdk.metrics.failure import false_positive_rate
from vilu_sdk.metrics.ranking import rank
from vilu_sdk.metrics.vectors import FloatVector, check_scores


@dataclass(kw_only=True, repr=False, eq=False)
class ROCDisplay(ScoreDisplay):
    """ROC curve of accepting predictions, with the point where 95 % of the right ones are accepted.

    Right predictions are the positives, as in the ViLU paper: a threshold accepts some of the right
    predictions and, by mistake, some of the wrong ones.

    Parameters
    ----------
    wrong_accepted, right_accepted : ndarray of shape (T,)
        Share of the wrong and of the right predictions accepted at each threshold, as fractions.
    auc : float
        Area under the curve.
    fpr95 : float
        Share of the wrong predictions accepted when 95 % of the right ones are, see `fpr95`.

    Attributes
    ----------
    line_, point_ : matplotlib Line2D
        The curve and the point at 95 %.

    Examples
    --------
    >>> display = ROCDisplay.from_scores([0.1, 0.2, 0.7, 0.4], [0, 0, 1, 0], name="MCM")
    >>> display.auc, display.fpr95
    (1.0, 0.0)
    """

    height = SQUARE_HEIGHT

    wrong_accepted: FloatVector
    right_accepted: FloatVector
    auc: float
    fpr95: float

    @classmethod
    def from_scores(
        cls,
        uncertainty: ArrayLike,
        failure: ArrayLike,
        *,
        name: str | None = None,
        ax: Any = None,
        **line: Any,
    ) -> Self:
        """Draw the curve of given scores.

        Parameters
        ----------
        uncertainty, failure : array-like of shape (N,)
            As in `failure_metrics`.
        name : str, optional
            For the legend.
        ax : matplotlib Axes, optional
            By default those of a new figure.
        **line
            Of the curve, for `matplotlib.axes.Axes.plot`.

        Raises
        ------
        ValueError, TypeError
            As in `failure_metrics`; also if all predictions are right or all are wrong.
        """
        u, y = check_scores(uncertainty, failure)
        if y.all() or not y.any():
            raise ValueError(
                f"failure is the same in all {len(y)} rows; a ROC curve needs right and wrong predictions."
            )
        ranking = rank(u, y)
        rows, errors = np.append(0, ranking.rows), np.append(0, ranking.errors)
        wrong, right = errors / errors[-1], (rows - errors) / (rows[-1] - errors[-1])
        return cls(
            wrong_accepted=wrong,
            right_accepted=right,
            auc=float(auc(wrong, right)),
            fpr95=false_positive_rate(ranking, "official"),
            name=name,
        ).plot(ax, **line)

    def _draw(self, ax: Any, name: str | None, **line: Any) -> None:
        is_first = not ax.lines
        frame_rates(ax, "wrong accepted (%)", "right accepted (%)")
        if is_first:
            ax.axhline(0.95, color=tone(ax, LIGHT), linewidth=0.8, linestyle=":", zorder=1)
        look = next_look(ax)
        label = label_with(name, f"AUC {100 * self.auc:.1f}, FPR95 {100 * self.fpr95:.1f} %")
        style = {"color": look.color, "linestyle": look.linestyle, "linewidth": 1.5, "label": label} | line
        (self.line_,) = ax.plot(self.wrong_accepted, self.right_accepted, **style)
        (self.point_,) = ax.plot(
            self.fpr95, 0.95, color=self.line_.get_color(), marker=look.marker, markersize=5, zorder=3
        )
