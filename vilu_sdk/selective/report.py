"""The findings of a selective predictor on its calibration set, and its promises."""

import math
from dataclasses import dataclass, fields
from typing import Any

from vilu_sdk.metrics.text import align, lines
from vilu_sdk.persistence.encoding import storable


class Findings:
    """A report whose fields can be NaN: two are equal if all their fields are, NaN being equal to NaN."""

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, type(self))
        return self._values() == other._values() if same else NotImplemented  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[Any, ...]:
        """Values of the fields, in which NaN, unequal to itself, is a word."""
        values = (getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
        return tuple("nan" if isinstance(value, float) and math.isnan(value) else value for value in values)


@storable
@dataclass(frozen=True, eq=False)
class SelectionReport(Findings):
    """Findings on the calibration set, for all rows or for one group; prints as a few lines.

    Two reports are equal if all their fields are, NaN being equal to NaN.

    Attributes
    ----------
    goal : str
        The goal, in words.
    method : str
        How the threshold was found.
    confidence : float
        Probability, over calibration sets, with which each bound holds.
    n : int
        Calibration rows.
    accepted : int
        Calibration rows that the threshold accepts; 0 if everything is abstained on.
    errors : int
        Wrong predictions among them.
    threshold : float
        Predictions with a decision value of at most this are accepted: infinity accepts everything, minus
        infinity nothing; NaN where every group has its own.
    risk_bound : float
        The error rate among accepted predictions is at most this; NaN if nothing is promised.
    coverage_bound : float
        The share of accepted predictions is at least this.
    cost, cost_bound : float
        Mean cost of an image on the calibration set, and its upper bound on later images; NaN without costs.
    smallest_risk, smallest_risk_coverage : float
        The smallest error rate that can be guaranteed on these data, and the share of the most certain rows
        for which it can; NaN without a target risk.
    labels_needed : int or None
        If the target was missed, the number of calibration rows that would reach it with a probability of
        70 %, estimated from the error rates of the most certain rows; None if no number is that likely to.
    has_answers : bool
        Whether the scorer has answers of its own that are not used (``predicts="posterior"``).
    fit_rows : int
        Rows of the same labelled set that `fit` has fitted the scorer on; 0 where it came fitted.
    siblings : int
        Rows that are not counted, because another one of their unit calibrates.
    group : int, float, str or None
        The group of this report.
    groups : tuple of SelectionReport
        One for each group; the counts above are then their sums, and nothing is promised of the
        whole, unless the groups' promises hold simultaneously.
    """

    goal: str
    method: str
    confidence: float
    n: int
    accepted: int
    errors: int
    threshold: float
    risk_bound: float
    coverage_bound: float
    cost: float = math.nan
    cost_bound: float = math.nan
    smallest_risk: float = math.nan
    smallest_risk_coverage: float = math.nan
    labels_needed: int | None = None
    has_answers: bool = False
    fit_rows: int = 0
    siblings: int = 0
    group: int | float | str | None = None
    groups: "tuple[SelectionReport, ...]" = ()

    @property
    def accepted_share(self) -> float:
        """Share of the calibration rows that is accepted."""
        return self.accepted / self.n

    @property
    def observed_risk(self) -> float:
        """Error rate among accepted calibration rows, NaN if there are none."""
        return self.errors / self.accepted if self.accepted else math.nan

    @property
    def risks(self) -> list[float]:
        """Bounds of the risk, of each group where there are any, that accepts something."""
        return [part.risk_bound for part in self.groups or (self,) if part.accepted]

    @property
    def sentence(self) -> str:
        """The conclusion for later images, in one sentence."""
        if not self.accepted:
            return "Answers nothing by itself."
        if math.isnan(self.risk_bound):
            wrong = "each group with a promise of its own"
        else:
            wrong = f"at most {percent(self.risk_bound)} of them wrong"
        return f"Answers {percent(self.accepted_share)} of the images by itself, {wrong}."

    def __str__(self) -> str:
        found = [
            self.sentence,
            f"{self.goal}, with {100 * self.confidence:g} % confidence ({self.method})",
            f"  calibration rows   {rows_said(self)}",
            f"  accepted           {self.accepted} ({percent(self.accepted_share)})",
        ]
        if self.accepted and math.isfinite(self.coverage_bound):
            found[-1] += f", of new images at least {percent(self.coverage_bound)}"
        if self.accepted:
            found.append(f"  errors among them  {self.errors} ({percent(self.observed_risk)})")
        if self.accepted and math.isfinite(self.risk_bound):
            found[-1] += f", of new images at most {percent(self.risk_bound)}"
        if math.isfinite(self.cost):
            found.append(f"  cost of an image   {self.cost:.3g}, of new images at most {self.cost_bound:.3g}")
        if self.groups:
            return "\n".join([*found, "", *self._group_lines()])
        if self.accepted:
            found.append(f"  accepted where     decision_function <= {self.threshold:.6g}")
        else:
            found.append("  No threshold can guarantee this, so it abstains on every image.")
        if not self.accepted and math.isfinite(self.smallest_risk):
            least, part = percent(self.smallest_risk), percent(self.smallest_risk_coverage)
            found.append(f"  can guarantee      {least} for the most certain {part} of the images")
            found.append(f"  labels needed      {self._labels()}")
        if not self.accepted and self.has_answers:
            found.append(
                '  another way        the answers of the scorer err less often: predicts="posterior"'
            )
        return "\n".join(found)

    def _labels(self) -> str:
        if self.labels_needed is None:
            return (
                "no number is likely to be enough: the most certain rows err too often, or there are too few"
            )
        return f"about {self.labels_needed}, enough with a probability of 70 %"

    def _group_lines(self) -> list[str]:
        header = ["group", "rows", "accepted", "errors", "threshold"]
        lacking = any(not part.accepted for part in self.groups)
        if lacking:
            header.append("labels needed")
        body = [
            [
                str(part.group),
                str(part.n),
                str(part.accepted),
                str(part.errors),
                f"{part.threshold:.4g}" if part.accepted else "abstains",
                *["" if part.accepted else str(part.labels_needed or "unknown")][:lacking],
            ]
            for part in self.groups
        ]
        return lines(align([header, *body]))


def rows_said(report: Any) -> str:
    """Return how many rows calibrated, and what became of the others."""
    said = str(report.n)
    if report.siblings:
        said += f", each of a unit of its own; {report.siblings} more of these units do not count"
    if report.fit_rows:
        said += f"; the scorer was fitted on the other {report.fit_rows}"
    return said


def percent(share: float) -> str:
    """Return a share as text."""
    return f"{100 * share:.1f} %"
