"""The candidates that a prediction is chosen from."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.inputs.rows import Rows


class Candidates:
    """Checked candidates, `text` (K, d) with rows of norm 1, known again by the values that were given."""

    def __init__(self, z_txt_set: Any, d: int | None = None, *, name: str = "z_txt_set") -> None:
        given = _view(z_txt_set)
        self.text: Tensor = Rows(z_txt_set, name, d=d).read()
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
    """View an array or a tensor as numpy, None where that takes a copy."""
    if isinstance(values, Tensor):
        viewable = values.device.type == "cpu" and values.dtype != torch.bfloat16
        return values.detach().numpy() if viewable else None
    return values if type(values) is np.ndarray else None
