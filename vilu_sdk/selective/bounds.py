"""How many of the most certain rows may be accepted, and the bounds that hold for them."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import bdtr, bdtrik, betaincc, betaincinv, betaln, expit, logit, logsumexp

from vilu_sdk.metrics.binomial import risk_upper_bound
from vilu_sdk.metrics.ranking import Ranking
from vilu_sdk.metrics.vectors import FloatVector

# Shares of the rows, most certain first, whose risk is bounded when the target is out of reach.
FALLBACK_SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
# A start so early that chance decides would waste large calibration sets.
START_SHARE = 0.1
# Beyond so many labels "about how many" is no advice.
MOST_LABELS = 10**7
# How likely the labels that are advised are to be enough, and how finely they are searched for.
LIKELY = 0.7
LABEL_STEPS = 120
# How likely a ranking is to say nothing, so that the most certain rows err as all do, before a look at them.
ONE_RATE = 0.35
# Of an error rate that is known from few rows, and of the rank of a share, in standard deviations.
QUANTILES = (np.arange(40) + 0.5) / 40
RANK_ERRORS = np.array([-1.3, -0.5, 0.0, 0.5, 1.3])
# Log-odds ratios of the bets for the interval of a mean risk.
TILTS = np.geomspace(0.02, 4.0, 24)

Rates = tuple[FloatVector, FloatVector]


def rows_needed(errors: int, target: float, delta: float) -> int:
    """Return the fewest rows with so many errors that reject "the risk is above the target"."""
    low, high = errors, errors + 1
    while bdtr(errors, high, target) > delta:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bdtr(errors, middle, target) <= delta else (middle, high)
    return high


def errors_allowed(rows: int, target: float, delta: float) -> int:
    """Return the most errors with which so many rows reject "the risk is above the target"; -1 if none do."""
    if rows < 1 or bdtr(0, rows, target) > delta:
        return -1
    errors = int(bdtrik(delta, rows, target))
    return errors - bool(bdtr(errors, rows, target) > delta)


def sequence_start(n: int, target: float, delta: float) -> int:
    """Return how many rows the first test of a fixed sequence accepts; a function of nothing observed.

    A number with which the errors allowed grow by one: with a row less, the test would be as strict as with
    far fewer.
    """
    return rows_needed(errors_allowed(math.ceil(START_SHARE * n) - 1, target, delta) + 1, target, delta)


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


def first_tests(n: int, target: float, delta: float, method: str) -> list[tuple[int, float]]:
    """Return the tests, as rows and levels, of which one must reject for a method to accept anything."""
    if method == "fixed_sequence":
        return [(sequence_start(n, target, delta), delta)]
    rounds = max(1, math.ceil(math.log2(n)))
    return [(math.ceil(n / 2**k), delta / rounds) for k in range(1, rounds)]


def labels_needed(
    ranking: Ranking, target: float, delta: float, method: str = "fixed_sequence"
) -> int | None:
    """Return how many calibration rows would certify the target with probability `LIKELY`.

    Whether n rows certify it depends on the method's first tests, each of a share of them, and on what is
    known of the error rate of that share. None if no number is that likely to do, or if even more rows would
    not.
    """
    seen = len(ranking)
    start = max(1, round(START_SHARE * seen))
    if method == "fixed_sequence" and ranking.cumulative_errors[start] >= target * start:
        return None  # many rows would be tested at this share
    known = cache(lambda m: _rates(ranking, m))
    some = np.unique(np.geomspace(1, seen, LABEL_STEPS).astype(np.int64)).tolist()
    # How likely the error rate of a share is below the target, more than which no number of rows can do.
    if max(_below(*known(m), target) for m in some) < LIKELY:
        return None
    for n in np.unique(np.geomspace(seen + 1, MOST_LABELS, LABEL_STEPS).astype(np.int64)).tolist():
        tests = first_tests(n, target, delta, method)
        if max(_rejection(ranking, known, m, m / n, target, level) for m, level in tests) >= LIKELY:
            return int(n)
    return None


def _rejection(
    ranking: Ranking, known: Callable[[int], Rates], rows: int, share: float, target: float, level: float
) -> float:
    """Return the probability that a test of so many rows, the most certain share, rejects; 0 if too small."""
    if share > 1 or bdtr(0, rows, target) > level:
        return 0.0
    n = len(ranking)
    # The share of all images that is tested ends at one of these rows of those that were seen.
    ends = share * n + math.sqrt(n * share * (1 - share)) * RANK_ERRORS
    ends = np.clip(ends.round(), 1, n).astype(np.int64).tolist()
    if np.mean([_below(*known(end), target) for end in ends]) + level < LIKELY:
        return 0.0
    errors = errors_allowed(rows, target, level)

    def rejected(m: int) -> float:
        rates, weights = known(m)
        return float(weights @ bdtr(errors, rows, rates))

    # Ties are accepted together, so the tests up to the end of one must reject too.
    return float(np.mean([min(rejected(end), rejected(ranking.uncut(end, +1))) for end in ends]))


def _below(rates: FloatVector, weights: FloatVector, target: float) -> float:
    return float(weights[rates < target].sum())


def _rates(ranking: Ranking, m: int) -> Rates:
    """Return what the error rate of the share that m rows are may be, and how likely each is.

    Either they err at a rate of their own, at most that of the rows behind them, or as all do: by the
    likelihood of their errors, with Jeffreys's prior for each rate.
    """
    n, wrong, all_wrong = len(ranking), ranking.cumulative_errors[m], ranking.cumulative_errors[-1]

    def likelihood(e: Any, rows: Any) -> Any:
        return betaln(e + 0.5, rows - e + 0.5) - betaln(0.5, 0.5)

    own = betaincinv(wrong + 0.5, m - wrong + 0.5, QUANTILES)
    behind = all_wrong - wrong
    ordered = betaincc(behind + 0.5, n - m - behind + 0.5, own)
    two = likelihood(wrong, m) + likelihood(behind, n - m) + math.log(max(2 * ordered.mean(), 1e-300))
    one = float(expit(likelihood(all_wrong, n) - two + logit(ONE_RATE)))
    shared = betaincinv(all_wrong + 0.5, n - all_wrong + 0.5, QUANTILES)
    weights = (1 - one) * ordered / max(ordered.sum(), 1e-300)
    return np.append(own, shared), np.append(weights, np.full(len(shared), one / len(shared)))


def uniform_slack(n: int, delta: float) -> float:
    """By how much a distribution function of n values is too small anywhere, at most (Massart)."""
    # The inequality is proved for a delta of at most one half.
    return math.sqrt(math.log(1 / min(delta, 0.5)) / (2 * n))


def coverage_bound(m: int, n: int, delta: float) -> float:
    """Bound the accepted share of new rows from below, whichever threshold was chosen."""
    return 1.0 if m == n else max(0.0, m / n - uniform_slack(n, delta))


def interval(errors: int, n: int, alpha: float) -> tuple[float, float]:
    """Return between what the mean risk of n audits lies, with probability 1 - alpha for all n at once.

    For each log-odds ratio λ, exp(λ errors - n log(1 - r + r e^λ)) does not grow on average if r is the mean
    of the risks so far, whatever each of them was, since the logarithm is concave; nor does the mean over λ.
    """
    if not n:
        return 0.0, 1.0

    def excess(r: float, tilts: FloatVector) -> float:
        wealth = tilts * errors - n * np.log1p(r * np.expm1(tilts))
        return float(logsumexp(wealth)) - math.log(len(tilts)) - math.log(2 / alpha)

    mean, end = errors / n, 1e-12
    low = brentq(excess, end, mean, (TILTS,)) if mean > end and excess(end, TILTS) > 0 else 0.0
    high = brentq(excess, mean, 1 - end, (-TILTS,)) if mean < 1 - end and excess(1 - end, -TILTS) > 0 else 1.0
    return float(low), float(high)
