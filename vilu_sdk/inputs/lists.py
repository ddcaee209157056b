"""Columns of pyarrow whose rows are embeddings: lists of numbers, in each of the forms that they come in.

Beside lists, large lists, lists of fixed size and list views these are tensors of fixed shape, which store
lists, dictionaries of lists, and lists that hold one such list each.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.places import BadRowError, shown


def numbers_of(kind: Any) -> Any:
    """Return the type of the numbers where a type of pyarrow is a form of lists of numbers, else None."""
    if kind is None or not is_list(kind):
        return None
    import pyarrow.types as types

    value = _plain(kind).value_type
    if is_list(value):
        return numbers_of(value)
    return value if types.is_floating(value) or types.is_integer(value) else None


def is_column(values: Any) -> bool:
    """Return whether an object is a column of pyarrow whose rows are lists of numbers."""
    pa = sys.modules.get("pyarrow")
    return (
        pa is not None
        and isinstance(values, pa.Array | pa.ChunkedArray)
        and numbers_of(values.type) is not None
    )


def is_list(kind: Any) -> bool:
    """Return whether a type of pyarrow is a form of lists of anything."""
    import pyarrow.types as types

    forms = (
        *(types.is_list, types.is_large_list, types.is_fixed_size_list),
        *(types.is_list_view, types.is_large_list_view),
    )
    return any(form(_plain(kind)) for form in forms)


def unpack(values: Any) -> tuple[NDArray[np.int64], Any]:
    """Return how many numbers each row has (n,), -1 where it is no embedding, and all numbers."""
    import pyarrow as pa
    import pyarrow.types as types

    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if types.is_dictionary(values.type):
        return unpack(values.dictionary_decode())
    lengths = values.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    inner = values.flatten()
    if not is_list(values.type.value_type):
        return lengths, inner
    own, numbers = unpack(inner)
    found, at = np.full(len(lengths), -1), np.cumsum(lengths.clip(0)) - 1
    found[lengths == 1] = own[at[lengths == 1]]
    return found, numbers


def first_embedding(lengths: NDArray[np.int64]) -> int | None:
    """Return the first row that has numbers, whose width the others should have, or None."""
    rows = np.flatnonzero(lengths > 0)
    return int(rows[0]) if len(rows) else None


def check_widths(widths: NDArray[np.int64], name: str, value: Callable[[int], Any]) -> None:
    """Raise where a row has no embedding (width -1) or one of another width than the first that has any."""
    first = first_embedding(widths) or 0
    wrong = np.flatnonzero((widths != widths[first : first + 1]) | (widths < 0))
    if not len(wrong):
        return
    row = int(wrong[0])
    if widths[row] >= 0:
        raise BadRowError(
            f"{name} has an embedding of width {widths[row]} in",
            row,
            f" but of width {widths[first]} elsewhere (rows of different lengths); remove it or embed it "
            "again.",
        )
    raise BadRowError(
        f"{name} has {shown(value(row))} in",
        row,
        " where an embedding belongs; remove the row, embed it again, or name another column.",
    )


def from_arrow(values: Any, name: str) -> NDArray[Any]:
    """Return the rows (n, d) of a column of pyarrow, chunked or not."""
    if numbers_of(values.type) is None:
        raise TypeError(f"{name} holds {values.type}, expected lists of numbers.")
    widths, numbers = unpack(values)
    check_widths(widths, name, lambda row: values[row].as_py())
    if not len(widths):
        return np.empty((0, 1), np.float32)
    flat: NDArray[Any] = numbers.to_numpy(zero_copy_only=False)
    return flat.reshape(len(widths), -1)


def _plain(kind: Any) -> Any:
    """Look through an extension and a dictionary."""
    import pyarrow.types as types

    kind = getattr(kind, "storage_type", kind)
    return kind.value_type if types.is_dictionary(kind) else kind
