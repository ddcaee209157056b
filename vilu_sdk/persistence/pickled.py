"""Checkpoints of torch, read by a reader of our own: what its pickle may name is a list, and nothing is run.

The pickle is looked through before it is read: what it names, how long it is, and how deep it can nest. Of
torch's own kinds there are plain tensors; anything else that it may name becomes a placeholder.
"""

import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vilu_sdk.inputs.foreign import opened_zip

#: Bytes and operations of a pickle, and how many of these can nest one thing in another. The authors'
#: checkpoints have 3 KB, 900 and 180.
PICKLE_BYTES, OPERATIONS, NESTINGS = 4 << 20, 50_000, 5_000
# Operations that put what was read last into something.
NESTING = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "REDUCE", "BUILD", "LIST", "DICT", "APPEND", "APPENDS"}
NESTING |= {"SETITEM", "SETITEMS", "BINPERSID", "NEWOBJ", "OBJ", "INST", "FROZENSET", "ADDITEMS"}
# How numbers are stored: by the name of the storage in torch.
STORAGES = {
    **{"FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16},
    **{"BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32},
    **{"ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8},
    **{"BoolStorage": torch.bool, "ComplexFloatStorage": torch.complex64},
    **{"ComplexDoubleStorage": torch.complex128},
}
# What else it may name: numbers of numpy 1 and 2, and kinds of tensors that hold no plain numbers.
OTHERS = {
    *(("numpy", "dtype"), ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar")),
    *(("_codecs", "encode"), ("torch", "Size"), ("torch", "device"), ("torch.serialization", "_get_layout")),
    *(("torch._utils", f"_rebuild_{kind}_tensor") for kind in ("sparse", "wrapper_subclass")),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"),
    *(("torch", str(dtype).removeprefix("torch.")) for dtype in STORAGES.values()),
}


class UnknownNameError(ValueError):
    """The pickle names something that it may not."""


class State(dict[Any, Any]):
    """A dict; what is said of its attributes is left out."""

    def __setstate__(self, _: Any) -> None:
        pass


class Placeholder:
    """Stands for what is named but not needed."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def read_pickled(path: Path) -> Any:
    """Return what `torch.save` wrote: tensors, numbers, texts, lists and dicts.

    Raises
    ------
    UnknownNameError
        If the pickle names something else; the message is its name.
    Exception
        Of any kind, if the file is damaged.
    """
    with opened_zip(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        data = [name for name in members if name.endswith("/data.pkl")]
        if len(data) != 1 or len(members) != len(archive.infolist()):
            raise ValueError("it has no one data.pkl")
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise ValueError("its members are compressed, which torch.save does not do")
        if members[data[0]].file_size > PICKLE_BYTES:
            raise ValueError(f"its data.pkl has more than {PICKLE_BYTES:,} bytes")
        folder = data[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in members and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are in another byte order")
        content = archive.read(data[0])
        _look_through(content)
        return _Reader(content, archive, folder).load()


def _look_through(content: bytes) -> None:
    """Raise where a pickle is longer than any checkpoint's, before anything of it is made."""
    nestings = 0
    for number, (operation, argument, _) in enumerate(pickletools.genops(content), 1):
        nestings += operation.name in NESTING
        if number > OPERATIONS or nestings > NESTINGS:
            raise ValueError(f"its data.pkl has more than {OPERATIONS:,} operations or {NESTINGS:,} nestings")
        # The memo is an array as long as the largest number in it.
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > OPERATIONS:
            raise ValueError("its data.pkl numbers its parts too high")
    if _largest(content) > OPERATIONS:
        raise ValueError(f"its data.pkl says more than {OPERATIONS:,} things by naming the same one again")


def _largest(content: bytes) -> int:
    """Return of how many parts the largest thing is, each counted as often as it is named.

    To look up a tuple of tuples of the same tuple takes as long as there are ways through it.
    """
    stack: list[int] = []  # how many parts the things have that wait to be put together; 0 for a mark
    memo: dict[int, int] = {}
    largest = 0
    for operation, argument, _ in pickletools.genops(content):
        before, parts = operation.stack_before, 1
        if pickletools.markobject in before:
            while stack and (size := stack.pop()):
                parts += size
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            parts += stack.pop() if stack else 0
        if "GET" in operation.name:
            parts = memo.get(int(argument or 0), 1)
        largest = max(largest, parts)
        if largest > OPERATIONS:
            break
        stack += [0 if made is pickletools.markobject else parts for made in operation.stack_after]
        if stack and operation.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else int(argument)] = stack[-1]
    return largest


class _Reader(pickle.Unpickler):
    """Reads a pickle that names nothing but what is listed here."""

    def __init__(self, content: bytes, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(content))
        self._archive, self._folder = archive, folder
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name stands for; nothing is imported."""
        if (module, name) == ("collections", "OrderedDict"):
            return State
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) in OTHERS:
            return Placeholder
        raise UnknownNameError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        """Return the numbers that lie beside the pickle, (n,), each member read once."""
        kind, dtype, key, _, n = pid
        member = f"{self._folder}data/{key}"
        size = self._archive.getinfo(member).file_size
        if kind != "storage" or not isinstance(dtype, torch.dtype) or size != n * dtype.itemsize:
            raise ValueError(f"the member {member} has {size} bytes, which is not what data.pkl says of it")
        if member not in self._storages:
            data = bytearray(self._archive.read(member))
            self._storages[member] = torch.frombuffer(data, dtype=torch.uint8) if size else torch.empty(0)
        found = self._storages[member]
        return found.view(dtype) if size else torch.empty(0, dtype=dtype)


def _tensor(numbers: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """Return a view of numbers; torch refuses one that reaches beyond them."""
    return numbers.as_strided(size, stride, offset)


def _parameter(value: Any, *_: Any) -> Any:
    return value
