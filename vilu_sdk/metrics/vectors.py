"""Checks of score and failure vectors, shared by every metric."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vilu_sdk.inputs.containers import vector, what_it_holds

FloatVector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
IntVector = npt.NDArray[np.int64]
BoolVector = npt.NDArray[np.bool_]


def as_vector(values: Any, name: str) -> FloatVector:
    """Return `values` as a finite float64 vector with at least one entry."""
    array = vector(values, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must hold real numbers, got {what_it_holds(array)}. "
            f"Convert it first, for example with numpy.asarray({name}, dtype=float)."
        )
    if array.size == 0:
        raise ValueError(f"{name} is empty: a metric needs at least one row.")
    found = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(found))
    if bad.size:
        raise ValueError(
            f"{name} has {bad.size} value(s) that are not finite, the first in row {bad[0]} "
            f"({found[bad[0]]}). Find out why the score failed there, or drop those rows from "
            "both vectors."
        )
    return found


class Names(NamedTuple):
    """What is said in errors of scores and of what they rank."""

    score: str
    event: str
    meaning: str
    remedy: str


FAILURES = Names("uncertainty", "failure", "the prediction is wrong", "predictions != labels")
UNKNOWN = Names("novelty", "unknown", "the image shows none of the candidates", "labels == -1")


def check_scores(uncertainty: Any, failure: Any, names: Names = FAILURES) -> tuple[FloatVector, BoolVector]:
    """Return the scores as float64 and the failures as bool, both of shape (N,)."""
    u = as_vector(uncertainty, names.score)
    y = as_vector(failure, names.event)
    if len(u) != len(y):
        raise ValueError(
            f"{names.score} has {len(u)} rows and {names.event} has {len(y)}: "
            "both need one value per image, in the same order."
        )
    bad = np.flatnonzero((y != 0) & (y != 1))
    if bad.size:
        raise ValueError(
            f"{names.event} must be boolean or 0/1 (1 = {names.meaning}), got {y[bad[0]]:g} "
            f"in row {bad[0]}. Pass `{names.remedy}`."
        )
    return u, y.astype(bool)


def check_probabilities(uncertainty: Any, failure: Any) -> tuple[FloatVector, BoolVector]:
    """Like `check_scores`, for scores that are read as P(failure)."""
    u, y = check_scores(uncertainty, failure)
    bad = np.flatnonzero((u < 0) | (u > 1))
    if bad.size:
        raise ValueError(
            f"uncertainty must lie in [0, 1] to be read as a probability of failure, got "
            f"{u[bad[0]]} in row {bad[0]}. Entropies, log-odds and other unbounded scores have "
            "no calibration error: recalibrate them first, or use the ranking metrics only."
        )
    return u, y
