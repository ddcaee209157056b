"""Quality of an uncertainty that is meant as the probability of failure."""

import numpy as np
import numpy.typing as npt

from vilu_sdk.inputs.values import whole
from vilu_sdk.metrics.vectors import check_probabilities


def expected_calibration_error(uncertainty: npt.ArrayLike, failure: npt.ArrayLike, n_bins: int = 15) -> float:
    """Compute the expected calibration error of the uncertainty as P(failure), lower is better.

    Bins of equal width ``(lo, hi]``, 0 in the first; the sum over bins of
    ``n_b / N * |mean uncertainty - failure rate|``.

    Parameters
    ----------
    uncertainty : array-like of shape (N,)
        Probabilities of failure, in [0, 1].
    failure : array-like of shape (N,)
        As in `failure_metrics`.
    n_bins : int, default=15
        Number of bins.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError, TypeError
        If `n_bins` is not an integer of at least 1, or as in `failure_metrics` with `probability`.

    References
    ----------
    Guo et al., "On calibration of modern neural networks", ICML 2017.

    Examples
    --------
    >>> expected_calibration_error([0.25, 0.25, 0.25, 0.25], [0, 0, 0, 1])
    0.0
    """
    whole(n_bins, "n_bins", 1)
    u, y = check_probabilities(uncertainty, failure)
    # Edges as correctly rounded quotients, so that 0.3 lies on the edge 3/10 and not beside it.
    # `left` puts a value that equals an edge into the bin below it: bins are (lo, hi].
    edges = np.arange(1, n_bins) / n_bins
    bins = np.searchsorted(edges, u, side="left")
    return float(np.abs(np.bincount(bins, u - y)).sum() / len(u))


def brier_score(uncertainty: npt.ArrayLike, failure: npt.ArrayLike) -> float:
    """Mean squared error of the uncertainty as P(failure), lower is better.

    Parameters
    ----------
    uncertainty, failure : array-like of shape (N,)
        As in `expected_calibration_error`, with the same errors.

    Returns
    -------
    float
        In [0, 1].

    References
    ----------
    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review
    78(1), 1950.

    Examples
    --------
    >>> brier_score([0.5, 0.5], [0, 1])
    0.25
    """
    u, y = check_probabilities(uncertainty, failure)
    return float(np.square(u - y).mean())


def negative_log_likelihood(uncertainty: npt.ArrayLike, failure: npt.ArrayLike) -> float:
    """Mean log loss of the uncertainty as P(failure) in nats, lower is better.

    Probabilities are clipped to [1e-12, 1 - 1e-12], so one confident mistake costs at most 27.6.

    Parameters
    ----------
    uncertainty, failure : array-like of shape (N,)
        As in `expected_calibration_error`, with the same errors.

    Returns
    -------
    float
        Non-negative.

    Examples
    --------
    >>> round(negative_log_likelihood([0.5, 0.5], [0, 1]), 4)
    0.6931
    """
    u, y = check_probabilities(uncertainty, failure)
    p = np.clip(np.where(y, u, 1 - u), 1e-12, 1 - 1e-12)
    return float(-np.log(p).mean())
