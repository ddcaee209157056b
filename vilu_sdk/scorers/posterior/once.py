"""What models make of candidates alone: computed once while a set is prepared, however many ask for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")

# What is known of the set that is being prepared, by who was asked what of which texts; None outside.
_known: ContextVar[dict[tuple[int, int, str], tuple[Any, ...]] | None] = ContextVar("known", default=None)


@contextmanager
def one_set() -> Iterator[None]:
    """Keep inside what is said of texts, which nobody changes meanwhile."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def once(method: Callable[[Any, Tensor], T]) -> Callable[[Any, Tensor], T]:
    """Ask a method of texts (K, d) once inside `one_set`; nobody may change what it returns."""

    @wraps(method)
    def asked(self: Any, text: Tensor) -> T:
        known = _known.get()
        if known is None:
            return method(self, text)
        key = id(self), id(text), method.__qualname__
        if key not in known:
            known[key] = method(self, text), self, text  # which keep their ids as long as they are kept
        found: T = known[key][0]
        return found

    return asked
