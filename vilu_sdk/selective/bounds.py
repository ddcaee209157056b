"""How many of the most certain rows may be accepted, and the bounds that hold for them."""

import math

import numpy as np
from scipy.special import bdtr

from vilu_sdk.metrics.binomial import risk_upper_bound
from vilu_sdk.metrics.ranking import Ranking

# Shares of the rows, most certain first, whose risk is bounded when the target is out of reach.
FALLBACK_SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
# A start so early that chance decides would waste large calibration sets.
START_SHARE = 0.1
# Beyond so many labels "about how many" is no advice.
MOST_LABELS = 10**7


def rows_needed(errors: int, target: float, delta: float) -> int:
    """Return the fewest rows with so many errors that reject "the risk is above the target"."""
    low, high = errors, errors + 1
    while bdtr(errors, high, target) > delta:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bdtr(errors, middle, target) <= delta else (middle, high)
    return high


def sequence_start(n: int, target: float, delta: float) -> int:
    """Return how many rows the first test of a fixed sequence accepts; a function of nothing observed."""
    tolerant = rows_needed(1, target, delta)
    fewest = tolerant if tolerant <= n / 2 else rows_needed(0, target, delta)
    return max(fewest, math.ceil(START_SHARE * n))


def fixed_sequence(ranking: Ranking, target: float, delta: float) -> int:
    """Return how many of the most certain rows may be accepted, by Learn-then-Test; 0 if none.

    The hypotheses "the risk of what this threshold accepts exceeds the target" are tested from a start
    that is fixed in advance, one row more at a time, up to the first that is not rejected. Each test is at
    the full level: to accept too much, the first true hypothesis on the way must be rejected.
    """
    n, start = len(ranking), sequence_start(len(ranking), target, delta)
    if start > n:
        return 0
    m = np.arange(start, n + 1)
    rejected = bdtr(ranking.cumulative_errors[start:], m, target) <= delta
    last = start - 1 + (len(m) if rejected.all() else int(rejected.argmin()))
    last = ranking.uncut(last)
    return last if last >= start else 0


def sgr(ranking: Ranking, target: float, delta: float) -> tuple[int, float]:
    """Return how many rows may be accepted and the bound on their risk, by SGR's binary search.

    Each of the ⌈log₂ n⌉ bounds that are looked at is given an equal part of delta.
    """
    low, high = 1, len(ranking)
    rounds = max(1, math.ceil(math.log2(high)))
    best, bound = 0, math.nan
    for _ in range(rounds):
        middle = (low + high + 1) // 2
        m = ranking.uncut(middle)
        b = risk_upper_bound(int(ranking.cumulative_errors[m]), m, 1 - delta / rounds)
        if b <= target:
            low = middle
            if m > best:
                best, bound = m, b
        else:
            high = middle - 1
        if low > high:
            break
    return best, bound


def smallest_risk(ranking: Ranking, delta: float) -> tuple[float, float]:
    """Return the smallest risk that can be promised and the share of rows it is promised for.

    Clopper-Pearson bounds at a few shares fixed in advance, which hold together by Bonferroni.
    """
    bounds = []
    for share in FALLBACK_SHARES:
        m = ranking.uncut(math.ceil(share * len(ranking)))
        errors = int(ranking.cumulative_errors[m])
        bounds.append((risk_upper_bound(errors, m, 1 - delta / len(FALLBACK_SHARES)), m / len(ranking)))
    return min(bounds)


def labels_needed(ranking: Ranking, target: float, delta: float) -> int | None:
    """Extrapolate how many calibration rows would certify the target; None if no number would.

    At each of `FALLBACK_SHARES`, the error rate that was seen is taken to stay what it is.
    """
    m = np.unique(np.geomspace(1, MOST_LABELS, 3000).astype(np.int64))
    needed = []
    for share in FALLBACK_SHARES:
        seen = math.ceil(share * len(ranking))
        rate = ranking.cumulative_errors[seen] / seen
        enough = np.flatnonzero(bdtr(np.ceil(rate * m), m, target) <= delta)
        if rate < target and len(enough):
            needed.append(math.ceil(m[enough[0]] / share))
    return min(needed, default=None)


def uniform_slack(n: int, delta: float) -> float:
    """By how much a distribution function of n values is too small anywhere, at most (Massart)."""
    # The inequality is proved for a delta of at most one half.
    return math.sqrt(math.log(1 / min(delta, 0.5)) / (2 * n))


def coverage_bound(m: int, n: int, delta: float) -> float:
    """Bound the accepted share of new rows from below, whichever threshold was chosen."""
    return 1.0 if m == n else max(0.0, m / n - uniform_slack(n, delta))
