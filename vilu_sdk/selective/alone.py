"""Images near a threshold, each scored alone, so that a decision depends on nothing else in the call.

The value of an image moves by its rounding with the images that are scored with it. Where a block of equal
images, such as placeholders, lies at a threshold, that would turn all of them from rejected to accepted.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.rows import Rows

# How near is near, in standard deviations of the decision values. The images scored with it move a value by
# up to a sixth of this: 4e-4 for sums of large terms that cancel, 1e-5 for a softmax.
NEAR = 2e-3


def score_near(
    ask: Callable[[Any], tuple[NDArray[Any], ...]],
    z_img: Any,
    said: tuple[NDArray[Any], ...],
    near: NDArray[np.bool_],
) -> tuple[NDArray[Any], ...]:
    """Return what was said of images, arrays (n, ...), of those that are `near` (n,) as if each were alone.

    `ask` is given images and says it again.
    """
    rows = np.flatnonzero(near)
    if len(near) == 1 or not len(rows):
        return said
    said = tuple(values.copy() for values in said)
    images = Rows(z_img, "z_img", normalise=False)
    known: dict[bytes, tuple[NDArray[Any], ...]] = {}
    for row in rows:
        image = images.source[row : row + 1]
        key = images.read(np.array([row])).numpy().tobytes()
        if key not in known:  # equal images are scored once
            known[key] = ask(image)
        for values, (value,) in zip(said, known[key], strict=True):
            values[row] = value
    return said
