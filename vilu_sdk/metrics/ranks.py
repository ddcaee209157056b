"""Several scorers over several data sets: mean ranks, whether they differ at all, and by how much they must.

Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata, studentized_range

from vilu_sdk.inputs.slices import cut
from vilu_sdk.metrics.vectors import FloatVector, IntVector, Matrix

# Shuffles that a p-value is computed from, and by how much equal sums of squares differ.
DRAWS, ROUNDING = 9999, 1e-9
# Ranks that are shuffled at a time.
ELEMENTS = 1_000_000


class Ranks(NamedTuple):
    """Mean ranks (S,) of scorers over sets, 1 is best; p-value that all are equal; critical difference."""

    mean: FloatVector
    p: float
    critical_difference: float


def rank_over_sets(values: Matrix, confidence: float = 0.95) -> Ranks:
    """Rank scorers on each set and test their mean ranks.

    Parameters
    ----------
    values : ndarray of shape (N, S)
        Of S scorers on N sets, higher is better, all finite. Equal values share their ranks.
    confidence : float, default=0.95
        Of the critical difference.

    Returns
    -------
    Ranks
        The p-value is that of Friedman's test: how often ranks that are shuffled within each set lie as far
        apart, in 9,999 draws, which holds for few sets and ties too, where χ² and F do not. The critical
        difference is Nemenyi's: two mean ranks that lie further apart differ. Both are NaN for fewer than two
        sets or scorers.
    """
    n, count = values.shape
    ranks = rankdata(-values, axis=1) if values.size else values
    mean = ranks.mean(axis=0) if n else np.full(count, math.nan)
    if min(n, count) < 2:
        return Ranks(mean, math.nan, math.nan)
    rng, as_far = np.random.default_rng(0), 0
    for part in cut(DRAWS, max(1, ELEMENTS // ranks.size)):
        drawn = rng.permuted(np.tile(ranks, (part.stop - part.start, 1, 1)), axis=2).mean(axis=1)
        as_far += int((np.square(drawn).sum(axis=1) >= np.square(mean).sum() - ROUNDING).sum())
    p = float((1 + as_far) / (1 + DRAWS))
    return Ranks(mean, p, critical_difference(count, n, confidence))


def critical_difference(count: int, n: int, confidence: float = 0.95) -> float:
    """Return Nemenyi's critical difference of the mean ranks of `count` scorers over `n` sets.

    Examples
    --------
    >>> round(critical_difference(4, 14, 0.9), 2)  # Demšar's own example
    1.12
    """
    q = studentized_range.ppf(confidence, count, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(count * (count + 1) / (6 * n)))


def cliques(ranks: FloatVector, difference: float) -> list[list[int]]:
    """Return the longest groups of scorers whose mean ranks lie within `difference`, best ranks first."""
    order = np.argsort(ranks, kind="stable")
    sorted_ranks = ranks[order]
    found: list[list[int]] = []
    end = 0
    for start in range(len(order)):
        stop = int(np.searchsorted(sorted_ranks, sorted_ranks[start] + difference, side="right"))
        if stop - start > 1 and stop > end:
            found.append(order[start:stop].tolist())
            end = stop
    return found


def wins(values: Matrix, within: float = 0.0) -> IntVector:
    """Count sets (S, S, 3) on which the first scorer wins against, ties with and loses to the second.

    Parameters
    ----------
    values : ndarray of shape (N, S)
        Higher is better. A set on which one of two has no value counts for neither.
    within : float, default=0
        Differences up to this much are ties.
    """
    gaps = values[:, :, None] - values[:, None, :]
    known = ~np.isnan(gaps)
    won, lost = gaps > within, gaps < -within
    tied = known & ~won & ~lost
    return np.stack([won.sum(axis=0), tied.sum(axis=0), lost.sum(axis=0)], axis=-1)
