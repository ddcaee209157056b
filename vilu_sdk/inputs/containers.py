"""Containers in: lists, frames, columns, masks and tensors of any kind, each read as one plain array.

Only here do they differ. What has no plain meaning is refused with the way to an array.
"""

import os
from collections.abc import Iterator, Mapping, Set, ValuesView
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.inputs.lists import check_widths, from_arrow, is_column
from vilu_sdk.inputs.places import shown

# What outputs of `transformers` call embeddings, and what its processors return for a model to embed.
EMBEDDINGS = ("image_embeds", "text_embeds", "pooler_output", "last_hidden_state")
UNEMBEDDED = ("pixel_values", "input_ids")
NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


def plain(values: Any, name: str) -> NDArray[Any] | Tensor:
    """Return a numpy array, or a dense tensor without a graph, that holds the same values.

    What is one already is not copied. Objects become numbers, booleans or strings where all are of that
    kind, and are stacked where each is a row; others stay objects, for the caller to refuse.
    """
    if type(values) is np.ndarray and values.dtype.kind != "O":
        return values
    if isinstance(values, Tensor):
        return _dense(values, name)
    if not isinstance(values, np.ndarray):
        values = _open(values, name)
    if isinstance(values, np.ma.MaskedArray):
        _refuse_masked(values, name)
        values = values.data
    if values.dtype.kind == "T":  # numpy's strings of any length
        values = values.astype(str)
    if values.dtype.kind == "O" and values.ndim:
        return _narrow(values, name)
    return values if isinstance(values, np.memmap) else np.asarray(values)


def to_numpy(values: Any, name: str) -> NDArray[Any]:
    """Return the numpy array that `plain` would, also of a tensor; bfloat16 and the like as float32."""
    array = plain(values, name)
    if not isinstance(array, Tensor):
        return array
    narrow = array.dtype.is_floating_point and array.dtype not in NUMPY_FLOATS
    found: NDArray[Any] = (array.float() if narrow else array).cpu().numpy()
    return found


def vector(values: Any, name: str, n: int | None = None, k: int | None = None) -> NDArray[Any]:
    """Return a vector of numbers, booleans, strings or other objects.

    There are n images and k candidates, where that is known: then it has n entries.
    """
    if isinstance(values, str | bytes | os.PathLike):
        raise TypeError(
            f"{name} must hold one value for each row, got {str(values)[:60]!r}; read files first."
        )
    try:
        array = to_numpy(values, name)
    except ValueError as error:
        if any(map(is_row, values)):
            raise ValueError(f"{name} is not a vector: {error}") from error
        raise
    if array.ndim != 1:
        remedy = ""
        if array.size and array.size == max(array.shape, default=0):
            remedy = f" A single column or row can be flattened with numpy.ravel({name})."
        elif array.shape == (n, k):
            remedy = f" Of one column for each class, pass {name}.argmax(axis=1)."
        raise ValueError(
            f"{name} must be one-dimensional, one value for each row, got an array of shape "
            f"{array.shape}.{remedy}"
        )
    if n is not None and len(array) != n:
        swapped = f" Are z_img and z_txt swapped? z_txt has {k} rows." if len(array) == k else ""
        raise ValueError(
            f"{name} has {len(array)} entries but z_img has {n} rows; pass one for each image.{swapped}"
        )
    return array


def dimensions(values: Any) -> int | None:
    """Return how many dimensions values have, None where they make no array."""
    try:
        return plain(values, "").ndim
    except (ValueError, TypeError):
        return None


def refuse_missing(array: NDArray[Any], name: str) -> None:
    """Raise for the first NaN of a vector."""
    if array.dtype.kind in "fcmM" and (array != array).any():
        row = np.flatnonzero(array != array)[0]
        raise ValueError(f"{name}[{row}] is missing ({array.flat[row]}); fill it in, or leave out its row.")


def what_it_holds(array: NDArray[Any] | Tensor) -> str:
    """Return in words what an array holds, for messages."""
    if isinstance(array, Tensor):
        return f"dtype {array.dtype}"
    if array.dtype.names:
        return "records of several fields"
    if array.dtype.kind in "US":
        return f"strings, such as {str(array.flat[0])[:40]!r}" if array.size else "strings"
    if array.dtype.kind != "O":
        return f"dtype {array.dtype}"
    kinds = " and ".join(sorted({type(value).__name__ for value in array.flat}))
    return f"objects: {kinds}"


def stack(values: Any, name: str) -> NDArray[Any]:
    """Join rows that are lists, arrays, tensors or columns, all as wide as the first."""
    rows = [
        to_numpy(value, f"row {row} of {name}") if is_row(value) else None for row, value in enumerate(values)
    ]
    widths = np.array([row.shape[-1] if row is not None and row.ndim else -1 for row in rows], np.int64)
    check_widths(widths, name, lambda row: values[row])
    if len({row.shape for row in rows if row is not None}) > 1:
        raise ValueError(
            f"{name} holds arrays of several rows each; join them with numpy.concatenate({name})."
        )
    return np.stack(rows) if rows else np.empty((0, 1), np.float32)  # type: ignore[arg-type]


def _dense(tensor: Tensor, name: str) -> Tensor:
    """Return a tensor's values without its graph, or say what they have to be made of first."""
    is_other = (tensor.is_nested, tensor.layout is not torch.strided, tensor.is_quantized, tensor.is_meta)
    if any(is_other):
        what, remedy = (
            ("a nested tensor", f"torch.stack({name}.unbind())"),
            ("a sparse tensor", f"{name}.to_dense()"),
            ("a quantized tensor", f"{name}.dequantize()"),
            ("a tensor on the meta device, which has no values", "one of a loaded model"),
        )[is_other.index(True)]
        raise TypeError(f"{name} is {what}; pass {remedy}.")
    tensor = tensor.detach()
    if type(tensor) is not Tensor:
        tensor = tensor.as_subclass(Tensor)
    if tensor.is_conj() or tensor.is_neg():  # views that numpy does not know
        tensor = tensor.resolve_conj().resolve_neg()
    return tensor


def _open(values: Any, name: str) -> NDArray[Any]:
    """Read what is no array and no tensor as an array, perhaps of objects."""
    if is_column(values):
        return from_arrow(values, name)
    if is_column_of_data_set(values):
        values = values[:]  # a list, or what the format of the data set makes of it
        return to_numpy(values, name)
    if is_output(values) and _has_one_embedding(values):
        return to_numpy(values["pooler_output"], f"{name}.pooler_output")
    _refuse_others(values, name)
    is_list = isinstance(values, list | tuple)
    if is_list:
        values = [_entry(value, row, name) for row, value in enumerate(values)]
    try:
        array: NDArray[Any] = np.asanyarray(values)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        if is_list and any(map(is_row, values)):
            return stack(values, name)
        kind = type(values).__name__
        what = f"a {kind} of {type(values[0]).__name__}" if is_list else f"{kind} ({error})"
        raise TypeError(f"{name} must hold real numbers, but numpy makes no array of {what}.") from error
    if array.ndim == 0 and array.dtype.kind == "O":
        raise TypeError(f"{name} must be an array that holds real numbers, got {type(values).__name__}.")
    if (
        is_list
        and array.dtype.kind == "U"
        and array.ndim == 1
        and not all(isinstance(v, str) for v in values)
    ):
        return np.array(values, dtype=object)  # numpy has made texts of numbers
    return array


def _entry(value: Any, row: int, name: str) -> Any:
    """Return an entry of a list as numpy reads it, where it would read it wrongly, slowly or not at all."""
    if value is np.ma.masked:
        return None
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise ValueError(f"{name} is masked in row {row}; leave out masked rows.")
    if isinstance(value, Tensor | np.ma.MaskedArray):
        return to_numpy(value, f"row {row} of {name}")
    return value.as_py() if hasattr(value, "as_py") else value  # a scalar of pyarrow


def _refuse_others(values: Any, name: str) -> None:
    """Raise for what people pass instead of an array."""
    kind = type(values).__name__
    if isinstance(values, str | bytes | os.PathLike):
        raise TypeError(
            f"{name} must hold real numbers, got the {kind} {shown(str(values))}; open files of embeddings "
            "with vilu_sdk.inputs.open_embeddings, and embed texts."
        )
    if isinstance(values, Iterator | Set | ValuesView):
        raise TypeError(f"{name} is a {kind}, which has no rows; pass a list or an array.")
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise TypeError(f"{name} is a sparse matrix; pass {name}.toarray().")
    if hasattr(values, "columns"):  # a frame, which has what its columns are called as attributes
        return
    has = values.__contains__ if isinstance(values, Mapping) else lambda key: hasattr(values, key)
    found = [key for key in EMBEDDINGS if has(key)]
    if found:
        key = min(found, key=lambda key: "txt" in name and key == "image_embeds")
        place = f".{key}" if hasattr(values, key) else f"[{key!r}]"
        raise TypeError(f"{name} is all that a model returned ({kind}); pass {name}{place}.")
    if any(map(has, UNEMBEDDED)):
        raise TypeError(f"{name} is what a model takes ({kind}); embed it first.")
    if isinstance(values, Mapping):
        keys = ", ".join(map(repr, list(values)[:4])) or "nothing"
        raise TypeError(f"{name} is a {kind} of {keys}; pass one of its arrays.")


def _narrow(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Find the type of objects: real numbers, booleans, strings, or rows to be stacked."""
    flat = array.ravel()
    kinds = {type(value) for value in flat}
    if array.size == len(array) and any(map(is_row, flat)):
        return stack(flat, name)
    are_floats = all(issubclass(kind, float | np.floating) for kind in kinds)
    missing = None if are_floats else next((at for at, value in enumerate(flat) if _is_missing(value)), None)
    if missing is not None:
        raise ValueError(
            f"{name} has a missing value ({flat[missing]}) in row {missing * len(array) // array.size}; "
            "fill it in, or leave out its row."
        )
    if all(issubclass(kind, str) for kind in kinds):
        return array.astype(str)
    if any(issubclass(kind, str | bytes) for kind in kinds):
        return array
    try:
        found = np.array(flat.tolist())
        found = found.astype(np.float64) if found.dtype.kind == "O" else found
    except (TypeError, ValueError, OverflowError):
        return array
    return found.reshape(array.shape) if found.size == array.size else array


def is_row(value: Any) -> bool:
    """Whether an object is a row of values and no value."""
    if isinstance(value, str | bytes | Mapping | Set):
        return False
    return bool(getattr(value, "ndim", 1)) and hasattr(value, "__len__") and hasattr(value, "__getitem__")


def is_output(values: Any) -> bool:
    """Whether a mapping is what a model returned, or what it takes, by what its entries are called."""
    return isinstance(values, Mapping) and any(key in values for key in (*EMBEDDINGS, *UNEMBEDDED))


def _has_one_embedding(values: Any) -> bool:
    """Whether an output of `transformers` is what ``get_image_features`` and ``get_text_features`` return."""
    own_class = hasattr(values, "to_tuple")
    return own_class and values.get("pooler_output") is not None and not {*EMBEDDINGS[:2]} & {*values}


def is_column_of_data_set(values: Any) -> bool:
    """Whether an object is a column of a Hugging Face data set, which is read row by row unless sliced."""
    has = ("column_name", "source", "__getitem__", "__len__")  # a stream has no length
    return all(hasattr(values, name) for name in has)


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _refuse_masked(values: Any, name: str) -> None:
    mask = np.atleast_1d(np.ma.getmaskarray(values))
    rows = np.flatnonzero(mask.any(axis=tuple(range(1, mask.ndim))))
    if len(rows):
        raise ValueError(f"{name} is masked in row {rows[0]}; leave out masked rows.")
