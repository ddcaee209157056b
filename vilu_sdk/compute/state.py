"""The door of every verb: torch's global state changes no number inside, and nothing is warned of twice.

What torch was set to belongs to the caller, and is left as it was found.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from vilu_sdk.compute.device import CPU
from vilu_sdk.exceptions import one_call

P = ParamSpec("P")
T = TypeVar("T")
# Types in which embeddings and networks keep what they know.
EXACT = (torch.float32, torch.float64)
DEVICES = ("cpu", "cuda")


def plain_torch(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function compute as in a fresh process, whatever its caller is in the middle of.

    Autocast, `no_grad` and inference mode, and a default device count for nothing inside, nor does a default
    dtype of half precision. One of float64 stays: it says that everything is to be computed in it.
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
        and torch.get_default_dtype() in EXACT
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
        if (dtype := torch.get_default_dtype()) not in EXACT:
            torch.set_default_dtype(torch.float32)
            restored.callback(torch.set_default_dtype, dtype)
        yield
