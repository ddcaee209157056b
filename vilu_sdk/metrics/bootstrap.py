"""Metrics of bootstrap resamples, as weights on rows that are sorted once.

A resample that draws row i w_i times has the metrics of the rows weighted by w. So a scorer is sorted
once, and each resample costs a few passes over the rows, for many resamples at a time. Rows are drawn from
all rows, as another sample would be: the error rate varies too.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.compute.progress import track
from vilu_sdk.inputs.slices import cut
from vilu_sdk.metrics.vectors import BoolVector, FloatVector, Matrix

RANKING = ("fpr95", "aupr_error", "aurc", "augrc")
CALIBRATION = ("ece", "brier")
# Elements of a block of rows × resamples: 512 KB, so that a few stay in the caches.
BLOCK_ELEMENTS = 1 << 16


def draw_weights(
    n: int, n_resamples: int, rng: np.random.Generator, groups: NDArray[np.int64] | None = None
) -> Matrix:
    """Draw n of n rows with replacement, or as many groups (n,) as there are; (n, n_resamples) counts."""
    units = n if groups is None else int(groups.max()) + 1
    drawn = rng.integers(units, size=(n_resamples, units)) + units * np.arange(n_resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=units * n_resamples)
    weights = counts.reshape(n_resamples, units).T.astype(np.float64)
    return weights if groups is None else weights[groups]


class SortedRows:
    """The rows of one scorer from the most confident on, ready for any weights."""

    def __init__(self, uncertainty: FloatVector, failure: BoolVector) -> None:
        self.order = np.argsort(uncertainty, kind="stable")
        self.failure = failure[self.order]
        ranked = uncertainty[self.order]
        # Rows that tie are accepted together: a group begins where the value changes.
        self.starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))

    def metrics(self, weights: Matrix) -> Matrix:
        """Return the metrics of `RANKING`, (4, R), of weights (N, R) with both classes in each column."""
        rows = weights[self.order]
        errors = rows * self.failure[:, None]
        if len(self.starts) < len(self.order):
            rows, errors = (np.add.reduceat(counts, self.starts, axis=0) for counts in (rows, errors))
        accepted, accepted_errors = rows.cumsum(axis=0), errors.cumsum(axis=0)
        return np.stack(
            [
                _fpr95(accepted - accepted_errors, accepted_errors),
                _aupr_error(rows, errors, accepted, accepted_errors),
                _aurc(rows, errors, accepted, accepted_errors),
                _augrc(rows, errors, accepted, accepted_errors),
            ]
        )


def _fpr95(correct: Matrix, errors: Matrix) -> FloatVector:
    """FPR95 by the official convention, from running counts (T, R)."""
    need = 0.95 * correct[-1]
    columns = np.arange(correct.shape[1])
    # In integers, 20 tp <= 19 P, "at 95 %" is exact.
    following = (20 * correct <= 19 * correct[-1]).sum(axis=0)
    at = np.maximum(following - 1, 0)
    have, wrong = (np.where(following > 0, counts[at, columns], 0.0) for counts in (correct, errors))
    share = (need - have) / (correct[following, columns] - have)
    return np.asarray((wrong + share * (errors[following, columns] - wrong)) / errors[-1])


def _aupr_error(rows: Matrix, errors: Matrix, accepted: Matrix, accepted_errors: Matrix) -> FloatVector:
    """Average precision of failures: precision among what is not accepted before a group."""
    left = accepted[-1] - accepted + rows
    precision = (accepted_errors[-1] - accepted_errors + errors) / np.maximum(left, 1)
    return np.asarray(np.einsum("tr,tr->r", errors, precision) / accepted_errors[-1])


def _aurc(rows: Matrix, errors: Matrix, accepted: Matrix, accepted_errors: Matrix) -> FloatVector:
    """Trapezoid rule, the risk of the first group that is drawn at all carried back to coverage 0."""
    risk = accepted_errors / np.maximum(accepted, 1)
    first = (rows > 0).argmax(axis=0)
    total = np.einsum("tr,tr->r", rows, risk) + np.einsum("tr,tr->r", rows[1:], risk[:-1])
    return np.asarray((total + errors[first, np.arange(rows.shape[1])]) / (2 * accepted[-1]))


def _augrc(rows: Matrix, errors: Matrix, accepted: Matrix, accepted_errors: Matrix) -> FloatVector:
    """Trapezoid rule from no rows and no errors on."""
    middle = accepted_errors - errors / 2
    return np.asarray(np.einsum("tr,tr->r", rows, middle) / np.square(accepted[-1]))


class Gaps:
    """How far probabilities are from the outcomes; the metrics of `CALIBRATION` are linear or nearly so."""

    def __init__(self, probability: FloatVector, failure: BoolVector) -> None:
        n_bins = 15
        # (lo, hi] as in `expected_calibration_error`.
        bins = np.searchsorted(np.arange(1, n_bins) / n_bins, probability, side="left")
        gap = probability - failure
        self.sums = np.zeros((n_bins + 1, len(gap)))
        self.sums[bins, np.arange(len(gap))] = gap
        self.sums[-1] = np.square(gap)

    def metrics(self, weights: Matrix) -> Matrix:
        """Return the metrics of `CALIBRATION`, (2, R), of weights (N, R)."""
        sums = self.sums @ weights / weights.sum(axis=0)
        return np.stack([np.abs(sums[:-1]).sum(axis=0), sums[-1]])


def bootstrap(
    scores: Matrix,
    failures: NDArray[np.bool_],
    probabilities: Mapping[int, FloatVector],
    n_resamples: int,
    rng: np.random.Generator,
    groups: NDArray[np.int64] | None = None,
) -> dict[str, Matrix]:
    """Return metrics (S, R) of resamples of scores and failures (S, N); NaN without probabilities.

    All scorers see the same resamples, so that their differences are paired. Resamples in which a scorer has
    no failure or no correct row are left out, so R can be less than was asked for. Rows of groups (N,),
    numbered, are drawn together.
    """
    ranking = [SortedRows(u, failure) for u, failure in zip(scores, failures, strict=True)]
    calibration = {i: Gaps(probability, failures[i]) for i, probability in probabilities.items()}
    names, n = (*RANKING, *CALIBRATION), scores.shape[1]
    kinds = np.unique(failures, axis=0).astype(np.float64)
    blocks = []
    for columns in track(cut(n_resamples, max(1, BLOCK_ELEMENTS // n)), "resampling"):
        weights = draw_weights(n, columns.stop - columns.start, rng, groups)
        wrong = kinds @ weights
        weights = weights[:, ((wrong > 0) & (wrong < weights.sum(axis=0))).all(axis=0)]
        block = np.full((len(names), len(scores), weights.shape[1]), np.nan)
        for i, rows in enumerate(ranking):
            block[: len(RANKING), i] = rows.metrics(weights)
        for i, gaps in calibration.items():
            block[len(RANKING) :, i] = gaps.metrics(weights)
        blocks.append(block)
    return dict(zip(names, np.concatenate(blocks, axis=2), strict=True))
