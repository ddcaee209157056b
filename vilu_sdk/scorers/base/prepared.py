"""What scoring needs of the candidates alone, kept while the candidates and the scorer stay the same."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.inputs.rows import candidates


class Texts(NamedTuple):
    """Checked and normalised candidates (K, d), and a copy of what was given, by which it is known again."""

    text: Tensor
    given: NDArray[Any] | None

    @classmethod
    def read(cls, z_txt_set: Any, d: int) -> Self:
        """Check candidates; only arrays in memory are known again."""
        given = _in_memory(z_txt_set)
        return cls(candidates(z_txt_set, d), None if given is None else given.copy())

    def are(self, z_txt_set: Any, d: int) -> bool:
        """Whether these are the candidates that are given now, by their values."""
        given = _in_memory(z_txt_set)
        return (
            given is not None
            and self.given is not None
            and given.dtype == self.given.dtype
            and self.text.dtype == torch.get_default_dtype()
            and self.text.shape[1] == d
            and np.array_equal(given, self.given)  # several times as fast as torch.equal
        )


class Prepared(NamedTuple):
    """What a scorer has computed from candidates, and for which state of it that holds."""

    text: Tensor
    state: dict[str, Any]
    decide: Callable[[Tensor], Tensor]

    def serves(self, text: Tensor, state: dict[str, Any]) -> bool:
        """Whether it holds for these candidates and this state, whose values must be the same objects."""
        return (
            self.state.keys() == state.keys()
            and all(self.state[name] is value for name, value in state.items())
            and (self.text is text or (self.text.dtype == text.dtype and torch.equal(self.text, text)))
        )


def _in_memory(values: Any) -> NDArray[Any] | None:
    """View an array or a tensor as numpy, None where that takes a copy."""
    if isinstance(values, Tensor):
        viewable = values.device.type == "cpu" and values.dtype != torch.bfloat16
        return values.detach().numpy() if viewable else None
    return values if type(values) is np.ndarray else None
