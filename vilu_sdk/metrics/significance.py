"""How sure a comparison is: intervals, paired differences, and what cannot be told apart.

Every quantity is an estimate with a standard error: from the structural components of DeLong for the AUC
(and the AUGRC, which at a given accuracy is a linear function of it), from the bootstrap for the other
metrics, and from the corrected variance of Nadeau and Bengio over several splits. One rule makes intervals
of them, and one rule tests.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, stdtr, stdtrit
from scipy.stats import rankdata

from vilu_sdk.metrics.bootstrap import bootstrap
from vilu_sdk.metrics.vectors import BoolVector, FloatVector, Matrix

# The metrics with tests, and whether higher is better.
DIRECTIONS = {"auc": 1, "fpr95": -1, "aupr_error": 1, "aurc": -1, "augrc": -1, "ece": -1, "brier": -1}
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


def of_rows(
    values: Mapping[str, FloatVector],
    scores: Matrix,
    failure: BoolVector,
    probabilities: Mapping[int, FloatVector],
    confidence: float,
    n_bootstrap: int,
    groups: NDArray[np.int64] | None = None,
) -> dict[str, Estimates]:
    """Return the estimates of S scorers on the same rows; NaN with fewer than two rows of a class.

    Rows of groups (N,), numbered, depend on each other.
    """
    if groups is not None and len(np.unique(groups)) == len(groups):
        groups = None
    n, n_wrong = len(failure), int(failure.sum())
    unknown = np.full((len(scores), len(scores)), math.nan)
    covariances = dict.fromkeys(DIRECTIONS, unknown)
    covariances["auc"] = delong(scores, failure, groups)[1]
    if min(n_wrong, n - n_wrong) >= 2:
        # Always the same resamples, so that the same scores always get the same intervals.
        drawn = bootstrap(scores, failure, probabilities, n_bootstrap, np.random.default_rng(0), groups)
        covariances |= {name: np.atleast_2d(np.cov(resamples)) for name, resamples in drawn.items()}
    found = {}
    for name, covariance in covariances.items():
        low, high = _logit_interval(values[name], np.sqrt(np.diag(covariance)), confidence)
        found[name] = Estimates(values[name], low, high, _errors_of_differences(covariance))
    # Noise pushes an ECE up and resampling pushes it up again, so an interval around it would mislead.
    found["ece"] = found["ece"]._replace(low=np.diag(unknown), high=np.diag(unknown))
    auc, rate = found["auc"], n_wrong / n
    scale, base = rate * (1 - rate), rate**2 / 2
    found["augrc"] = Estimates(
        values["augrc"], (1 - auc.high) * scale + base, (1 - auc.low) * scale + base, auc.error * scale
    )
    return found


def of_splits(values: Mapping[str, Matrix], test_share: float, confidence: float) -> dict[str, Estimates]:
    """Return the estimates of S scorers from their values (J, S) on J random splits.

    `test_share` is test rows over training rows: splits overlap, and the variance of their mean is
    (1 / J + test_share) times the variance between them (Nadeau & Bengio, "Inference for the
    generalization error", Machine Learning 52, 2003).
    """
    found = {}
    for name in DIRECTIONS:
        n_splits = len(values[name])
        factor, df = 1 / n_splits + test_share, n_splits - 1
        mean = values[name].mean(axis=0)
        covariance = np.atleast_2d(np.cov(values[name].T)) * factor
        half = stdtrit(df, (1 + confidence) / 2) * np.sqrt(np.diag(covariance))
        low, high = np.clip(mean - half, 0, 1), np.clip(mean + half, 0, 1)
        found[name] = Estimates(mean, low, high, _errors_of_differences(covariance), df)
    return found


def pairwise_tests(
    estimates: Mapping[str, Estimates], reference: int | None, confidence: float
) -> list[dict[str, float]]:
    """Return for each scorer its intervals, its p-values, and its differences to the reference."""
    count = len(estimates["auc"].value)
    rows: list[dict[str, float]] = [{} for _ in range(count)]
    for name, direction in DIRECTIONS.items():
        given = estimates[name]
        columns = {f"{name}_low": given.low, f"{name}_high": given.high}
        columns[f"{name}_p_best"] = _p_best(given, direction)
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
    value: FloatVector, error: FloatVector, confidence: float
) -> tuple[FloatVector, FloatVector]:
    """Interval on the logit scale, inside (0, 1); NaN where the value is 0 or 1 or the error is unknown."""
    inside = np.where((value > 0) & (value < 1) & (error > ROUNDING), value, math.nan)
    half = stdtrit(math.inf, (1 + confidence) / 2) * error / (inside * (1 - inside))
    return expit(logit(inside) - half), expit(logit(inside) + half)


def _errors_of_differences(covariance: Matrix) -> Matrix:
    """Standard errors (S, S) of the differences between estimates of this covariance."""
    variances = np.diag(covariance)
    return np.sqrt(np.maximum(variances[:, None] + variances - covariance - covariance.T, 0))


def _p_values(difference: FloatVector, error: FloatVector, df: float) -> FloatVector:
    """Two-sided p-values; 1 for equal values, NaN where they differ and the error is unknown."""
    known = np.where(error > ROUNDING, error, math.nan)
    p = 2 * stdtr(df, -np.abs(difference) / known)
    return np.where((error <= ROUNDING) & (np.abs(difference) <= ROUNDING), 1.0, p)


def _p_best(given: Estimates, direction: int) -> FloatVector:
    """P-values against the best value, corrected for all pairs because the data choose the best."""
    count = len(given.value)
    corrected = np.full((count, count), math.nan)
    if count < 2 or np.isnan(given.value).all():
        return np.diag(corrected)
    first, second = np.triu_indices(count, 1)
    p = _p_values(given.value[first] - given.value[second], given.error[first, second], given.df)
    corrected[first, second] = corrected[second, first] = holm(p)
    best = int(np.nanargmax(direction * given.value))
    if not np.isnan(corrected[best]).all():
        corrected[best, best] = 1.0
    return np.asarray(corrected[best])


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
