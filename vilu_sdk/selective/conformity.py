"""How little each candidate fits an image, and the value that enough of the right ones do not exceed.

A score is a fixed function of an image and a candidate, so that calibration images and new ones are
exchangeable; higher = fits less. All are read from log-probabilities, which keep what a probability near 0
or 1 loses, and each comes with its slope: by how much an error of one nat moves it.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.inputs.names import NONE
from vilu_sdk.metrics.vectors import FloatVector
from vilu_sdk.scorers.base.fit_rows import hashes

Matrix = NDArray[np.float64]
METHODS = ("lac", "aps", "raps")


def conformity(
    method: str,
    log_p: Matrix,
    uniform: FloatVector,
    *,
    penalty: float = 0.0,
    free: int = 0,
    size_limit: int | None = None,
    keep_top: bool = False,
) -> tuple[Matrix, Matrix]:
    """Return the scores (n, K) of all candidates, and their slopes (n, K).

    With p sorted from the likeliest candidate to the least likely one:

    * "lac": −log p_y;
    * "aps": p_1 + … + p_y − u p_y, less 1;
    * "raps": that, and `penalty` for each rank of y beyond the first `free` ones.

    u (n,) are `uniform`. Candidates beyond the `size_limit` likeliest fit infinitely little, and with
    `keep_top` the likeliest fits infinitely well.
    """
    if method == "lac" and size_limit is None and not keep_top:
        return -log_p, np.ones_like(log_p)
    order = np.argsort(-log_p, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None], axis=1)
    if method == "lac":
        scores, slopes = -log_p, np.ones_like(log_p)
    else:
        p = np.exp(log_p)
        tail = np.cumsum(np.take_along_axis(p, order, axis=1)[:, ::-1], axis=1)[:, ::-1]
        # What is left of the probability behind y, and u of its own: exact where next to nothing is left.
        slopes = np.take_along_axis(tail, rank, axis=1) - (1 - uniform[:, None]) * p
        scores = (penalty * np.maximum(rank + 1 - free, 0) if method == "raps" else 0.0) - slopes
    if size_limit is not None:
        scores[rank >= size_limit] = np.inf
    if keep_top:
        scores[rank == 0] = -np.inf
    return scores, slopes


def uniform_of(z: Tensor) -> FloatVector:
    """Return a number in [0, 1) for each unit row (n, d), always the same for the same image.

    A function of the image leaves the scores one of image and candidate, and so exchangeable; drawn for each
    call, an image would get another set each time.
    """
    return np.asarray(hashes(z).view(np.uint64) / 2.0**64)


def rank_needed(n: float, coverage: float) -> int:
    """Return which smallest of n scores is the threshold; beyond n there is none."""
    return math.ceil((n + 1) * coverage - 1e-9)


def threshold(scores: FloatVector, coverage: float) -> float:
    """Return the value that a new score does not exceed with probability `coverage` at least."""
    k = rank_needed(len(scores), coverage)
    return math.inf if k > len(scores) else float(np.partition(scores, k - 1)[k - 1])


def sizes_of(
    found: Iterator[tuple[NDArray[Any], ...]], truth: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Return the sizes of sets (n,), whether each holds the right candidate, and the predictions.

    `found` yields rows, their sets as members (m, K), anything, and their predictions.
    """
    n = len(truth)
    sizes, inside, predicted = np.empty(n, np.int64), np.empty(n, bool), np.empty(n, np.int64)
    for rows, members, _, said in found:
        sizes[rows], predicted[rows] = members.sum(axis=1), said
        inside[rows] = members[np.arange(len(rows)), truth[rows]] & (truth[rows] != NONE)
    return sizes, inside, predicted
