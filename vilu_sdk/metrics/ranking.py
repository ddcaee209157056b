"""Rows in the order of their uncertainty, and the errors among the first of them."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import auc

from vilu_sdk.metrics.vectors import FloatVector, IntVector, check_scores

#: Shares of rows at which curves are compared.
COVERAGES = np.arange(1, 101) / 100


@dataclass(frozen=True, eq=False)
class Ranking:
    """Rows from the most to the least certain one, and the errors among the first of them.

    `uncertainty` (n,) is sorted, ties shuffled independently of their errors. `cumulative_errors` (n + 1,)
    are those among the first m rows, m = 0, ..., n. `rows` (T,) are the values of m above 0 that cut through
    no tie: the counts that thresholds can accept.
    """

    uncertainty: FloatVector
    cumulative_errors: IntVector
    rows: IntVector

    def __len__(self) -> int:
        return len(self.uncertainty)

    @property
    def errors(self) -> IntVector:
        """Errors among the accepted, for each of `rows`."""
        return self.cumulative_errors[self.rows]

    @property
    def distinct(self) -> FloatVector:
        """The distinct uncertainties (T,), each the smallest threshold that accepts its `rows`."""
        return self.uncertainty[self.rows - 1]

    @property
    def aurc(self) -> float:
        """Area under the risk; that of the first point is carried back to coverage 0."""
        risk = self.errors / self.rows
        return float(auc(np.append(0, self.rows) / len(self), np.append(risk[0], risk)))

    @property
    def e_aurc(self) -> float:
        """AURC minus that of a perfect ranking of infinitely many rows."""
        error_rate = float(self.errors[-1] / len(self))
        if error_rate == 1.0:
            return self.aurc - 1.0
        return self.aurc - (error_rate + (1.0 - error_rate) * math.log1p(-error_rate))

    @property
    def augrc(self) -> float:
        """Area under the generalised risk."""
        n = len(self)
        return float(auc(np.append(0, self.rows) / n, np.append(0, self.errors) / n))

    def answered_at(self, risk: float) -> float:
        """Return the largest share of rows that can be accepted at this error rate; 0 if none."""
        reached = self.rows[self.errors / self.rows <= risk]
        return float(reached[-1] / len(self)) if reached.size else 0.0

    def risk_at(self, coverage: npt.ArrayLike) -> FloatVector:
        """Return the error rate among shares of the rows (C,), in a tie that of a random part of it."""
        # 0.07 * 100 is 7.000000000000001 in floating point, and must still accept 7 rows.
        wanted = np.maximum(1, np.ceil(np.asarray(coverage) * len(self) * (1 - 1e-12)))
        # Between the ends of a tie the expected errors grow linearly.
        expected = np.interp(wanted, np.append(0, self.rows), np.append(0, self.errors))
        return np.asarray(expected / wanted)

    def threshold(self, m: int) -> float:
        """Return the largest threshold that accepts the first m rows and no others; m cuts through no tie."""
        if m in (0, len(self)):
            return math.inf if m else -math.inf
        # Right below the first rejected row and not at the last accepted one: only then are the accepted
        # rows an independent sample of all that is accepted, as exact bounds need.
        return float(np.nextafter(self.uncertainty[m], -math.inf))

    def uncut(self, m: int, step: int = -1) -> int:
        """Move m down (or up, with ``step=1``) until it cuts through no tie."""
        while 0 < m < len(self) and self.uncertainty[m - 1] == self.uncertainty[m]:
            m += step
        return m


def rank(uncertainty: npt.ArrayLike, failure: npt.ArrayLike) -> Ranking:
    """Sort rows by their uncertainty (n,), and count the failures (n,) among the most certain ones."""
    u, y = check_scores(uncertainty, failure)
    order = np.argsort(u)
    if (u[order[1:]] == u[order[:-1]]).any():
        shuffled = np.random.default_rng(0).permutation(len(u))
        order = shuffled[np.argsort(u[shuffled], kind="stable")]
    ranked = u[order]
    rows = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) + 1
    return Ranking(ranked, np.append(0, np.cumsum(y[order], dtype=np.int64)), rows)
