"""The candidates that a prediction is chosen from."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.inputs.containers import NUMPY_FLOATS
from vilu_sdk.inputs.rows import Rows


class Candidates:
    """Checked candidates, `text` (K, d) with rows of norm 1, known again by the values that were given."""

    def __init__(self, z_txt_set: Any, d: int | None = None, *, name: str = "z_txt_set") -> None:
        self.text: Tensor = Rows(z_txt_set, name, d=d).read()
        given = _view(z_txt_set)
        self._given = None if given is None else given.copy()

    def __len__(self) -> int:
        return len(self.text)

    @cached_property
    def first(self) -> NDArray[np.int64] | None:
        """The first row that is equal to each, (K,); None where all rows differ."""
        places: dict[bytes, int] = {}
        first = np.array([places.setdefault(row.tobytes(), at) for at, row in enumerate(self.text.numpy())])
        return None if len(places) == len(first) else first

    def are(self, z_txt_set: Any, d: int) -> bool:
        """Whether these candidates, of width `d`, are given again; only arrays in memory are known again."""
        given = _view(z_txt_set)
        return (
            given is not None
            and self._given is not None
            and given.dtype == self._given.dtype
            and self.text.dtype == torch.get_default_dtype()
            and self.text.shape[1] == d
            and np.array_equal(given, self._given)  # several times as fast as torch.equal
        )


def _view(values: Any) -> NDArray[Any] | None:
    """View an array or a tensor of floats as numpy, None where that takes more than a look."""
    if type(values) is np.ndarray:
        return values if values.dtype.kind == "f" else None
    viewable = isinstance(values, Tensor) and values.device.type == "cpu" and values.layout is torch.strided
    if not viewable or values.dtype not in NUMPY_FLOATS or values.is_nested or values.is_neg():
        return None
    view: NDArray[Any] = values.detach().numpy()
    return view
