"""In which type everything is computed. It is no setting of torch, whose default belongs to the caller."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_dtype = torch.float32


def working() -> torch.dtype:
    """Return the type of embeddings, and of what is learned from them: float32."""
    return _dtype


@contextmanager
def in_float64() -> Iterator[None]:
    """Let everything be computed in float64, for comparisons with exact numbers; for a whole process.

    Examples
    --------
    >>> with in_float64():
    ...     working(), torch.get_default_dtype()
    (torch.float64, torch.float64)
    >>> working()
    torch.float32
    """
    global _dtype
    before = _dtype, torch.get_default_dtype()
    _dtype = torch.float64
    torch.set_default_dtype(_dtype)
    try:
        yield
    finally:
        _dtype = before[0]
        torch.set_default_dtype(before[1])
