"""The effect of each threshold: predictions kept, errors let through, right ones rejected."""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from vilu_sdk.metrics.binomial import risk_upper_bound
from vilu_sdk.metrics.ranking import rank
from vilu_sdk.metrics.vectors import BoolVector, FloatVector
from vilu_sdk.report._html import number, percent

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.25)
HEADER = (
    "aim",
    "accept up to",
    "kept",
    "errors among them",
    f"at most ({percent(0.95, 0)})",
    "errors let through",
    "right ones rejected",
)


class Effect(NamedTuple):
    """The effect of a threshold on N predictions, as counts."""

    threshold: float
    kept: int
    let_through: int
    errors: int
    n: int

    @property
    def risk(self) -> float:
        """Error rate among the kept."""
        return self.let_through / self.kept if self.kept else math.nan

    @property
    def bound(self) -> float:
        """Upper 95 % Clopper-Pearson bound of that rate."""
        return risk_upper_bound(self.let_through, self.kept, 0.95) if self.kept else math.nan

    @property
    def rejected(self) -> int:
        """Right predictions rejected."""
        return (self.n - self.errors) - (self.kept - self.let_through)


def effect(decision: FloatVector, failure: BoolVector, threshold: float) -> Effect:
    """Count the predictions and errors that have decision values up to `threshold`."""
    kept = decision <= threshold
    return Effect(threshold, int(kept.sum()), int(failure[kept].sum()), int(failure.sum()), len(decision))


def usual_thresholds(decision: FloatVector, failure: BoolVector) -> dict[str, float]:
    """Return thresholds for usual aims, under the names of the aims."""
    ranking = rank(decision, failure)
    rows, errors = ranking.rows, ranking.errors
    right, share = rows - errors, rows / len(ranking)
    accepted = {f"keep {percent(aim, 0)}": int(rows[np.searchsorted(share, aim)]) for aim in COVERAGES}
    if right[-1]:
        enough = np.searchsorted(20 * right, 19 * right[-1])
        accepted[f"keep {percent(0.95, 0)} of the right ones"] = int(rows[enough])
    if errors[-1]:
        # The most rows of which no more than one error in twenty is let through.
        few = np.searchsorted(20 * errors, errors[-1], side="right")
        accepted[f"catch {percent(0.95, 0)} of the errors"] = int(np.append(0, rows)[few])
    return {aim: ranking.threshold(m) for aim, m in accepted.items()}


def cells(aim: str, done: Effect, is_probability: bool) -> list[str]:
    """Return a row of the table."""
    limit = "everything" if done.threshold == math.inf else number(done.threshold)
    if is_probability and math.isfinite(done.threshold):
        limit += f" ({percent(float(expit(done.threshold)))})"
    if not done.kept:
        limit = "nothing"
    errors, right = done.errors, done.n - done.errors
    return [
        aim,
        limit,
        f"{done.kept} ({percent(done.kept / done.n)})",
        percent(done.risk),
        percent(done.bound),
        f"{done.let_through} ({percent(done.let_through / errors, 0)})" if errors else "0",
        f"{done.rejected} ({percent(done.rejected / right, 0)})" if right else "0",
    ]
