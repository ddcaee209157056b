"""The effect of each threshold: predictions kept, errors let through, right ones rejected."""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from vilu_sdk.metrics.risk_coverage import count_accepted
from vilu_sdk.metrics.vectors import BoolVector, FloatVector
from vilu_sdk.report._html import number, percent
from vilu_sdk.selective import risk_upper_bound

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.25)
HEADER = (
    "aim",
    "accept below",
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
    """Count the predictions and errors that have decision values below `threshold`."""
    kept = decision < threshold
    return Effect(threshold, int(kept.sum()), int(failure[kept].sum()), int(failure.sum()), len(decision))


def usual_thresholds(decision: FloatVector, failure: BoolVector) -> dict[str, float]:
    """Return thresholds for usual aims, under the names of the aims."""
    counts = count_accepted(decision, failure)
    # Accepted is what lies below, so the threshold is the first value that is not accepted.
    above = np.append(counts.threshold[1:], np.inf)
    share = counts.rows / len(decision)
    aims = {f"keep {percent(aim, 0)}": float(above[np.searchsorted(share, aim)]) for aim in COVERAGES}
    right = counts.rows - counts.errors
    if right[-1]:
        enough = int(np.searchsorted(20 * right, 19 * right[-1]))
        aims[f"keep {percent(0.95, 0)} of the right ones"] = float(above[enough])
    if counts.errors[-1]:
        # The last threshold below which no more than one error in twenty is let through.
        few = int(np.searchsorted(20 * counts.errors, counts.errors[-1], side="right"))
        aims[f"catch {percent(0.95, 0)} of the errors"] = float(np.append(counts.threshold, np.inf)[few])
    return aims


def cells(aim: str, done: Effect, is_probability: bool) -> list[str]:
    """Return a row of the table."""
    below = "everything" if done.threshold == math.inf else number(done.threshold)
    if is_probability and math.isfinite(done.threshold):
        below += f" ({percent(float(expit(done.threshold)))})"
    if not done.kept:
        below = "nothing"
    errors, right = done.errors, done.n - done.errors
    return [
        aim,
        below,
        f"{done.kept} ({percent(done.kept / done.n)})",
        percent(done.risk),
        percent(done.bound),
        f"{done.let_through} ({percent(done.let_through / errors, 0)})" if errors else "0",
        f"{done.rejected} ({percent(done.rejected / right, 0)})" if right else "0",
    ]
