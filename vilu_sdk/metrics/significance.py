"""How sure a comparison is: intervals, paired differences, and what cannot be told apart.

Every quantity is an estimate with a standard error: from the structural components of DeLong for the AUC,
from the bootstrap for the other metrics, and from the corrected variance of Nadeau and Bengio over several
splits. One rule tests. Few failures make standard errors themselves uncertain, and intervals of values allow
for that.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, stdtr, stdtrit
from scipy.stats import rankdata

from vilu_sdk.metrics.binomial import rate_interval
from vilu_sdk.metrics.bootstrap import bootstrap
from vilu_sdk.metrics.vectors import FloatVector, IntVector, Matrix

# The metrics with tests, and whether higher is better.
DIRECTIONS = {
    "auc": 1,
    "fpr95": -1,
    "aupr_error": 1,
    "aurc": -1,
    "augrc": -1,
    "ece": -1,
    "brier": -1,
    "accuracy": 1,
}
# Those that say how well given failures are found: nothing to compare where scorers fail on other rows.
OF_GIVEN_FAILURES = ("auc", "fpr95", "aupr_error")
# How many rows of the rarer class the variance of an AUC under a model of the scores counts for, beside the
# one that was seen. By simulation (`benchmarks/coverage.py`): 8 and 16 hold, 2 and 4 are too few.
MODEL_ROWS = 8
# Equal rankings differ by rounding, in the value and in the standard error.
ROUNDING = 1e-9


class Estimates(NamedTuple):
    """One metric of S scorers: values, their intervals, standard errors (S, S) of the differences."""

    value: FloatVector
    low: FloatVector
    high: FloatVector
    error: Matrix
    df: float = math.inf


def delong(
    scores: ArrayLike, failure: ArrayLike, groups: NDArray[np.int64] | None = None
) -> tuple[FloatVector, Matrix]:
    """Return the AUC (S,) of scores (S, N) of the same rows, and the covariance (S, S) of these AUCs.

    DeLong's estimator (Biometrics 44(3), 1988) by midranks, in O(S N log N) (Sun & Xu, IEEE Signal
    Processing Letters 21(11), 2014); ties count half. Both are NaN without a failure or a correct
    prediction, the covariance also with one. It is zero for an AUC of 0 or 1: unknown. With groups (N,),
    numbered, what the rows of one add is summed first (Obuchowski, Biometrics 53(2), 1997).
    """
    u, y = np.asarray(scores, dtype=np.float64), np.asarray(failure, dtype=bool)
    wrong, right = u[:, y], u[:, ~y]
    m, n = wrong.shape[1], right.shape[1]
    if min(m, n) == 0:
        return np.full(len(u), math.nan), np.full((len(u), len(u)), math.nan)
    ranks = rankdata(u, axis=1)
    # The share of correct rows below each failure, and of failures above each correct row.
    above = (ranks[:, y] - rankdata(wrong, axis=1)) / n
    below = 1 - (ranks[:, ~y] - rankdata(right, axis=1)) / m
    auc = above.mean(axis=1)
    if min(m, n) == 1:
        return auc, np.full((len(u), len(u)), math.nan)
    if groups is not None:
        count = int(groups.max()) + 1
        shares = np.zeros((len(u), count))
        for part, at, size in ((above, y, m), (below, ~y, n)):
            for row, gaps in zip(shares, (part - auc[:, None]) / size, strict=True):
                row += np.bincount(groups[at], gaps, count)
        return auc, shares @ shares.T * count / max(count - 1, 1)
    return auc, np.atleast_2d(np.cov(above)) / m + np.atleast_2d(np.cov(below)) / n


def _count(which: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Count rows (S, N) for each scorer, or the groups (N,) that they are of."""
    if groups is None:
        return np.asarray(which.sum(axis=1))
    return np.array([len(np.unique(groups[row])) for row in which])


def _covariance_of_means(values: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> Matrix:
    """Covariance (S, S) of the means of values (S, N) over rows, or over the rows of groups (N,)."""
    n = values.shape[1]
    if groups is None:
        groups = np.arange(n)
    sums = np.stack([np.bincount(groups, row - row.mean()) for row in values])
    units = sums.shape[1]
    return np.asarray(sums @ sums.T * (units / (units - 1) if units > 1 else math.nan) / n**2)


def of_rows(
    values: Mapping[str, FloatVector],
    scores: Matrix,
    failures: NDArray[np.bool_],
    probabilities: Mapping[int, FloatVector],
    confidence: float,
    n_bootstrap: int,
    groups: NDArray[np.int64] | None = None,
) -> dict[str, Estimates]:
    """Return the estimates of S scorers on the same rows, of failures (S, N) or, if they share them, (N,).

    Those of a scorer with fewer than two failures or two correct rows are NaN, but its accuracy. Rows of
    groups (N,), numbered, depend on each other.
    """
    if groups is not None and len(np.unique(groups)) == len(groups):
        groups = None
    failures = np.broadcast_to(failures, scores.shape)
    n = scores.shape[1]
    wrong, right = (_count(which, groups) for which in (failures, ~failures))
    shared = same_rows(failures)
    rarer = np.minimum(wrong, right)
    known = np.flatnonzero(rarer >= 2)
    covariances = {name: np.full(shared.shape, math.nan) for name in DIRECTIONS}
    covariances["accuracy"] = _covariance_of_means(failures, groups)
    for i in np.flatnonzero(shared.argmax(axis=1) == np.arange(len(shared))):  # the first of each kind
        kind = np.flatnonzero(shared[i])
        covariances["auc"][np.ix_(kind, kind)] = delong(scores[kind], failures[i], groups)[1]
    if len(known):
        known_probabilities = {
            at: probabilities[i] for at, i in enumerate(known.tolist()) if i in probabilities
        }
        # Always the same resamples, so that the same scores always get the same intervals.
        rng = np.random.default_rng(0)
        drawn = bootstrap(scores[known], failures[known], known_probabilities, n_bootstrap, rng, groups)
        for name, resamples in drawn.items():
            if resamples.shape[1] >= 2:
                covariances[name][np.ix_(known, known)] = np.cov(resamples)
    found = {}
    for name, covariance in covariances.items():
        error = np.sqrt(np.diag(covariance))
        low, high = _logit_interval(values[name], error, confidence, np.maximum(rarer - 1, 1))
        differences = _errors_of_differences(covariance, shared if name in OF_GIVEN_FAILURES else None)
        found[name] = Estimates(values[name], low, high, differences)
    variances = np.diag(covariances["auc"])
    low, high = _auc_interval(values["auc"], variances, rarer, np.maximum(wrong, right), confidence)
    found["auc"] = found["auc"]._replace(low=low, high=high)
    # Noise pushes an ECE up and resampling pushes it up again, so an interval around it would mislead.
    unknown = np.full(len(scores), math.nan)
    found["ece"] = found["ece"]._replace(low=unknown, high=unknown)
    # Of rows that depend on each other as many count as would vary so much by themselves.
    alone = np.var(failures, axis=1) / np.maximum(np.diag(covariances["accuracy"]), 1e-12)
    alone = np.clip(np.nan_to_num(np.round(alone), nan=1.0), 1, n).astype(int)
    size = np.full(len(wrong), n) if groups is None else alone
    low, high = rate_interval(np.round(size * (1 - failures.mean(axis=1))).astype(int), size, confidence)
    found["accuracy"] = found["accuracy"]._replace(low=low, high=high)
    return found


def same_rows(failures: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which scorers fail on the same rows, (S, S), from their failures (S, N)."""
    kind = np.unique(failures, axis=0, return_inverse=True)[1].ravel()
    return np.asarray(kind[:, None] == kind)


def of_splits(
    values: Mapping[str, Matrix],
    test_share: float,
    confidence: float,
    shared: NDArray[np.bool_] | None = None,
    directions: Mapping[str, int] = DIRECTIONS,
) -> dict[str, Estimates]:
    """Return the estimates of S scorers from their values (J, S) on J random splits.

    `shared` (S, S) says which of them fail on the same rows, all if it is None. Metrics that are not of
    `DIRECTIONS` can be any numbers, and others are rates.

    `test_share` is test rows over training rows: splits overlap, and the variance of their mean is
    (1 / J + test_share) times the variance between them (Nadeau & Bengio, "Inference for the
    generalization error", Machine Learning 52, 2003).
    """
    found = {}
    for name in directions:
        n_splits = len(values[name])
        factor, df = 1 / n_splits + test_share, n_splits - 1
        mean = values[name].mean(axis=0)
        covariance = np.atleast_2d(np.cov(values[name].T)) * factor
        half = stdtrit(df, (1 + confidence) / 2) * np.sqrt(np.diag(covariance))
        least, most = (0, 1) if name in DIRECTIONS else (-math.inf, math.inf)
        low, high = np.clip(mean - half, least, most), np.clip(mean + half, least, most)
        differences = _errors_of_differences(covariance, shared if name in OF_GIVEN_FAILURES else None)
        found[name] = Estimates(mean, low, high, differences, df)
    return found


def pairwise_tests(
    estimates: Mapping[str, Estimates],
    reference: int | None,
    confidence: float,
    shared: NDArray[np.bool_] | None = None,
    directions: Mapping[str, int] = DIRECTIONS,
) -> list[dict[str, float]]:
    """Return for each scorer its intervals, its p-values, and its differences to the reference.

    `shared` (S, S) says which scorers fail on the same rows, all if it is None. A metric of direction 0 has
    no best.
    """
    count = len(estimates["auc"].value)
    rows: list[dict[str, float]] = [{} for _ in range(count)]
    for name, direction in directions.items():
        given = estimates[name]
        columns = {f"{name}_low": given.low, f"{name}_high": given.high}
        comparable = shared if name in OF_GIVEN_FAILURES else None
        columns[f"{name}_p_best"] = (
            _p_best(given, direction, comparable) if direction else np.full(count, math.nan)
        )
        if reference is not None:
            columns |= _differences(name, given, reference, confidence)
        for row, entries in zip(rows, zip(*columns.values(), strict=True), strict=True):
            row.update(zip(columns, map(float, entries), strict=True))
    return rows


def holm(p: Sequence[float] | FloatVector) -> FloatVector:
    """Correct p-values (T,) by Holm's step-down rule (Scandinavian Journal of Statistics 6(2), 1979).

    NaN are no tests. Of those at most α, all are wrong with probability at most α, however the tests depend.
    """
    corrected = np.array(p, dtype=np.float64)
    tests = np.flatnonzero(~np.isnan(corrected))
    order = tests[np.argsort(corrected[tests])]
    steps = corrected[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def _logit_interval(
    value: FloatVector, error: FloatVector, confidence: float, df: IntVector
) -> tuple[FloatVector, FloatVector]:
    """Interval on the logit scale, inside (0, 1); NaN where the value is 0 or 1 or the error is unknown."""
    inside = np.where((value > 0) & (value < 1) & (error > ROUNDING), value, math.nan)
    half = stdtrit(df, (1 + confidence) / 2) * error / (inside * (1 - inside))
    return expit(logit(inside) - half), expit(logit(inside) + half)


def _auc_interval(
    auc: FloatVector, variance: FloatVector, rarer: IntVector, others: IntVector, confidence: float
) -> tuple[FloatVector, FloatVector]:
    """Wilson's interval of an AUC, at as many independent rows as have its variance; NaN below two failures.

    With few failures, DeLong's variance is often far too small, and 0 for an AUC of 1. So the variance under
    exponential scores is mixed in, which depends on the AUC alone, that of one failure more, half of it
    found (Hanley & McNeil, Radiology 143(1), 1982, as in Newcombe, Statistics in Medicine 25(4), 2006).
    """
    rarer = np.where(rarer >= 2, rarer, np.nan)
    drawn_in = (auc * rarer + 0.5) / (rarer + 1)
    spread = (1 - drawn_in) / (2 - drawn_in) + drawn_in / (1 + drawn_in)
    model = drawn_in * (1 - drawn_in) * (1 + ((rarer + others) / 2 - 1) * spread) / (rarer * others)
    df = rarer - 1 + MODEL_ROWS
    variance = ((rarer - 1) * variance + MODEL_ROWS * model) / df
    centre = np.where((auc > 0) & (auc < 1), auc, drawn_in)
    z = stdtrit(df, (1 + confidence) / 2)
    share = z**2 * variance / (centre * (1 - centre))  # z² over the number of rows
    middle = (centre + share / 2) / (1 + share)
    half = np.sqrt(share * centre * (1 - centre) + share**2 / 4) / (1 + share)
    return np.minimum(middle - half, auc), np.maximum(middle + half, auc)


def _errors_of_differences(covariance: Matrix, comparable: NDArray[np.bool_] | None = None) -> Matrix:
    """Standard errors (S, S) of differences between estimates of this covariance; NaN if not comparable."""
    variances = np.diag(covariance)
    errors = np.sqrt(np.maximum(variances[:, None] + variances - covariance - covariance.T, 0))
    return errors if comparable is None else np.where(comparable, errors, math.nan)


def _p_values(difference: FloatVector, error: FloatVector, df: float) -> FloatVector:
    """Two-sided p-values; 1 for equal values, NaN where they differ and the error is unknown."""
    known = np.where(error > ROUNDING, error, math.nan)
    p = 2 * stdtr(df, -np.abs(difference) / known)
    return np.where((error <= ROUNDING) & (np.abs(difference) <= ROUNDING), 1.0, p)


def _p_best(given: Estimates, direction: int, comparable: NDArray[np.bool_] | None = None) -> FloatVector:
    """P-values against the best value among those that are comparable with it.

    They are corrected for all pairs, because the data choose the best.
    """
    count = len(given.value)
    corrected, found = np.full((count, count), math.nan), np.full(count, math.nan)
    first, second = np.triu_indices(count, 1)
    p = _p_values(given.value[first] - given.value[second], given.error[first, second], given.df)
    corrected[first, second] = corrected[second, first] = holm(p)
    for kind in np.ones((1, count), bool) if comparable is None else np.unique(comparable, axis=0):
        values = np.where(kind & np.isfinite(given.value), direction * given.value, math.nan)
        if not np.isnan(values).all():
            best = int(np.nanargmax(values))
            if not np.isnan(corrected[best, kind]).all():
                found[kind] = corrected[best, kind]
                found[best] = 1.0
    return found


def _differences(name: str, given: Estimates, reference: int, confidence: float) -> dict[str, FloatVector]:
    """Differences to the reference with intervals of one and p-values corrected for all of them."""
    difference, error = given.value - given.value[reference], given.error[reference]
    half = stdtrit(given.df, (1 + confidence) / 2) * error
    p = _p_values(difference, error, given.df)
    others = np.arange(len(p)) != reference
    columns = {
        f"{name}_difference": difference,
        f"{name}_difference_low": difference - half,
        f"{name}_difference_high": difference + half,
        f"{name}_p": p,
    }
    columns = {key: np.where(others, column, math.nan) for key, column in columns.items()}
    return columns | {f"{name}_p": holm(columns[f"{name}_p"])}
