"""Exact bounds on error rates, from counts of errors."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from vilu_sdk.inputs.values import share, whole
from vilu_sdk.metrics.vectors import FloatVector


def risk_upper_bound(errors: int, n: int, confidence: float) -> float:
    """Bound an error rate from above, by Clopper and Pearson.

    Parameters
    ----------
    errors : int
        Errors seen.
    n : int
        Independent rows they were seen in.
    confidence : float
        Probability with which the bound is to hold, in (0, 1).

    Returns
    -------
    float
        In (0, 1]; 1 without rows.

    Raises
    ------
    ValueError, TypeError
        If the counts are no integers of at least 0, `errors` is above `n`, or the confidence not in (0, 1].

    References
    ----------
    Clopper & Pearson, "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26(4), 1934.

    Examples
    --------
    >>> round(risk_upper_bound(0, 59, 0.95), 3)
    0.05
    """
    if whole(errors, "errors", 0) > whole(n, "n", 0):
        raise ValueError(f"errors must be at most n, got {errors} of {n}.")
    return float(_upper_end(errors, n, share(confidence, "confidence")))


def rate_interval(
    errors: npt.NDArray[np.int64], n: npt.NDArray[np.int64], confidence: float
) -> tuple[FloatVector, FloatVector]:
    """Return the two-sided intervals of Clopper and Pearson of error rates, both ends (k,)."""
    level = (1 + confidence) / 2
    return 1 - _upper_end(n - errors, n, level), _upper_end(errors, n, level)


def _upper_end(errors: Any, n: Any, level: float) -> FloatVector:
    all_wrong = np.equal(errors, n)
    return np.where(all_wrong, 1.0, betaincinv(errors + 1, np.where(all_wrong, 1, n - errors), level))
