"""A device that is not there: its tensors lie on the CPU, but are refused beside those that say so.

It stands for a GPU where there is none: what mixes devices fails as it would on one, and what does not gives
the numbers of the CPU. torch knows the name "lazy" and has nothing behind it.
"""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "lazy:0"
# Operations that real devices allow to mix tensors: copies, and an index from the CPU.
MIXING = {
    torch.ops.aten._to_copy.default,
    torch.ops.aten.copy_.default,
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put_.default,
}


class Far(Tensor):
    """A tensor on the device, with its numbers in `near`."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, near):
        far = Tensor._make_wrapper_subclass(
            cls, near.shape, strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype,
            device=NAME,
        )  # fmt: skip
        far.near = near
        return far

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class FarDevice(TorchDispatchMode):
    """While it is entered, tensors can be made on the device."""

    def __init__(self):
        super().__init__()
        self.ran = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        there = any(isinstance(value, Far) for value in tree_leaves((args, kwargs)))
        if there:
            self.ran.add(func.name().split(".")[0].removeprefix("aten::"))
        if there or _names_device(kwargs):
            return _run(func, args, kwargs)
        return func(*args, **kwargs)


def _run(func, args, kwargs):
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    far = [value for value in tensors if isinstance(value, Far)]
    if far and func not in MIXING:
        strangers = [value for value in tensors if not isinstance(value, Far) and value.ndim]
        if strangers:
            raise RuntimeError(f"Expected all tensors to be on the same device in {func}.")
    if func is torch.ops.aten.copy_.default:
        _near(args[0]).copy_(_near(args[1]))
        return args[0]
    stays_far = _names_device(kwargs) if kwargs.get("device") is not None else bool(far)
    result = func(*tree_map(_near, args), **tree_map(_near, kwargs))
    known = {id(value.near): value for value in far}  # in place, the tensor itself comes back

    def wrap(value):
        if not isinstance(value, Tensor) or not stays_far:
            return value
        return known[id(value)] if id(value) in known else Far(value)

    return tree_map(wrap, result)


def _names_device(kwargs):
    return kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "lazy"


def _near(value):
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return value.near if isinstance(value, Far) else value
