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


Said = tuple[NDArray[Any], ...]


class Alone:
    """Asks of images one by one, of equal ones once."""

    def __init__(self, ask: Callable[[Any], Said], z_img: Any) -> None:
        self._ask = ask
        self._images = Rows(z_img, "z_img", normalise=False)
        self._known: dict[bytes, Said] = {}

    def __call__(self, row: int) -> Said:
        """Return what is said of one image, arrays (1, ...)."""
        key = self._images.read(np.array([row])).numpy().tobytes()
        if key not in self._known:
            self._known[key] = self._ask(self._images.source[row : row + 1])
        return self._known[key]


def settle(alone: Callable[[int], Said], said: Said, near: Callable[..., NDArray[np.bool_]]) -> Said:
    """Return what was said of images, arrays (n, ...), of those near a threshold as if each were alone.

    `alone` says it of one of them, arrays (1, ...); `near` is given what was said, and says which (n,) are
    near. What changes of these can move a threshold, so it is asked until no other is near.
    """
    settled = np.zeros(len(said[0]), dtype=bool)
    while (doubtful := near(*said) & ~settled).any():
        if len(settled) == 1:  # which was alone
            break
        said = tuple(values.copy() for values in said)
        for row in np.flatnonzero(doubtful):
            for values, (value,) in zip(said, alone(int(row)), strict=True):
                values[row] = value
        settled |= doubtful
    return said
