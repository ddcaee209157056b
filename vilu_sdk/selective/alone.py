"""Images near a threshold, each scored alone, so that a decision depends on nothing else in the call.

The value of an image moves by its rounding with the images that are scored with it. Where a block of equal
images, such as placeholders, lies at a threshold, that would turn all of them from rejected to accepted.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.rows import Rows
from vilu_sdk.scorers.base.contract import FailureScorer, read

# How near is near, in standard deviations of the decision values. The images scored with it move a value by
# up to a sixth of this: 4e-4 for sums of large terms that cancel, 1e-5 for a softmax.
NEAR = 2e-3


def score_near(
    scorer: FailureScorer,
    z_img: Any,
    z_txt_set: Any,
    predicted: NDArray[np.int64],
    decision: NDArray[np.float64],
    near: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return predictions and decision values (n,), of images that are `near` (n,) as if each were alone."""
    rows = np.flatnonzero(near)
    if len(decision) == 1 or not len(rows):
        return predicted, decision
    predicted, decision = predicted.copy(), decision.copy()
    images = Rows(z_img, "z_img", normalise=False)
    known: dict[bytes, tuple[NDArray[Any], ...]] = {}
    for row in rows:
        image = images.source[row : row + 1]
        key = images.read(np.array([row])).numpy().tobytes()
        if key not in known:  # equal images are scored once
            known[key] = read(scorer, image, z_txt_set, "prediction", "decision")
        (predicted[row],), (decision[row],) = known[key]
    return predicted, decision
