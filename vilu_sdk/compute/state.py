"""The door of every verb: torch's global state changes no number inside, and nothing is warned of twice.

What torch was set to belongs to the caller, and is left as it was found.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from vilu_sdk.compute.device import CPU
from vilu_sdk.exceptions import one_call
from vilu_sdk.inputs.precision import working

P = ParamSpec("P")
T = TypeVar("T")
DEVICES = ("cpu", "cuda")


def plain_torch(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function compute as in a fresh process, whatever its caller is in the middle of.

    Autocast, `no_grad` and inference mode, a default device and a default dtype count for nothing inside.
    """

    @wraps(function)
    def plain(*args: P.args, **kwargs: P.kwargs) -> T:
        with one_call():
            if _is_plain():
                return function(*args, **kwargs)
            with _made_plain():
                return function(*args, **kwargs)

    return plain


def _is_plain() -> bool:
    return (
        torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
        and not any(map(torch.is_autocast_enabled, DEVICES))
        and _dtype.is_plain()
        and torch.empty(0).device == CPU  # which says sooner than torch's default where tensors are made
    )


@contextmanager
def _made_plain() -> Iterator[None]:
    with ExitStack() as restored:
        if torch.is_inference_mode_enabled():
            restored.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            restored.enter_context(torch.enable_grad())
        for device in DEVICES:
            if torch.is_autocast_enabled(device):
                restored.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            restored.enter_context(torch.device("cpu"))
        restored.enter_context(_dtype)
        yield


class _PlainDtype:
    """The default dtype that everything is computed in: one for all threads, so the last puts it back."""

    def __init__(self) -> None:
        self.depth = 0
        self._callers = torch.float32
        self._lock = threading.Lock()

    def is_plain(self) -> bool:
        """Whether the caller's own default is that dtype."""
        with self._lock:
            return not self.depth and torch.get_default_dtype() == working()

    def __enter__(self) -> None:
        with self._lock:
            if not self.depth:
                self._callers = torch.get_default_dtype()
                torch.set_default_dtype(working())
            self.depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.depth -= 1
            if not self.depth:
                torch.set_default_dtype(self._callers)


_dtype = _PlainDtype()
