"""Tables of rows: embeddings out of one of their columns, and new columns in its place.

Only here do pandas, pyarrow and dicts of numpy arrays differ. Neither library is imported before a table of
its kind is given.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.containers import check_widths, is_row, stack

#: From new columns by name to a table of the same kind that has them in place of the embeddings.
Rebuild = Callable[[Mapping[str, NDArray[Any]]], Any]


def split(rows: Any, column: str | None, new: Sequence[str]) -> tuple[NDArray[Any], Rebuild]:
    """Take the embeddings (n, d) out of a table, and return how to put columns with `new` names there."""
    if isinstance(rows, Mapping):
        return _split_arrays(rows, column, new)
    if hasattr(rows, "assign") and hasattr(rows, "columns"):
        return _split_pandas(rows, column, new)
    if hasattr(rows, "schema") and hasattr(rows, "num_rows"):
        return _split_arrow(rows, column, new)
    raise TypeError(
        "rows must be a pandas.DataFrame, a pyarrow.Table or RecordBatch, or a dict of numpy arrays, got "
        f"{type(rows).__module__}.{type(rows).__qualname__}."
    )


def count_rows(rows: Any) -> int:
    """Return the number of rows of a table that `split` takes."""
    return len(next(iter(rows.values())) if isinstance(rows, Mapping) else rows)


def _split_arrays(
    rows: Mapping[str, Any], column: str | None, new: Sequence[str]
) -> tuple[NDArray[Any], Rebuild]:
    arrays = {name: np.asarray(values) for name, values in rows.items()}
    column = _choose([name for name, values in arrays.items() if _is_nested(values)], column, [*rows], new)
    values = arrays[column]
    rest = {name: values for name, values in rows.items() if name != column}
    return values if values.ndim == 2 else stack(values, f"the column {column!r}"), lambda added: {
        **rest,
        **added,
    }


def _split_pandas(rows: Any, column: str | None, new: Sequence[str]) -> tuple[NDArray[Any], Rebuild]:
    kinds = dict(zip(rows.columns, rows.dtypes, strict=True))
    nested = [
        name
        for name, kind in kinds.items()
        if (getattr(kind, "kind", "") == "O" and _is_nested(rows[name].to_numpy()))
        or _is_list_of_numbers(getattr(kind, "pyarrow_dtype", None))
    ]
    column = _choose(nested, column, list(rows.columns), new)
    values = rows[column]
    rest = rows.drop(columns=[column])
    if hasattr(values.dtype, "pyarrow_dtype"):
        return _from_arrow(values.array.__arrow_array__(), column), lambda added: rest.assign(**added)
    return stack(values.to_numpy(), f"the column {column!r}"), lambda added: rest.assign(**added)


def _split_arrow(rows: Any, column: str | None, new: Sequence[str]) -> tuple[NDArray[Any], Rebuild]:
    import pyarrow as pa

    nested = [field.name for field in rows.schema if _is_list_of_numbers(field.type)]
    column = _choose(nested, column, rows.schema.names, new)

    def rebuild(added: Mapping[str, NDArray[Any]]) -> Any:
        kept = rows.select([i for i, name in enumerate(rows.schema.names) if name != column])
        columns, schema = kept.columns, kept.schema
        for name, values in added.items():
            columns.append(pa.array(values))
            schema = schema.append(pa.field(name, columns[-1].type))
        return type(rows).from_arrays(columns, schema=schema)

    return _from_arrow(rows.column(column), column), rebuild


def _choose(nested: list[Any], column: str | None, names: list[Any], new: Sequence[str]) -> Any:
    """Return the name of the column of embeddings, or raise if a new name is taken."""
    if column is None:
        if len(nested) != 1:
            raise ValueError(
                f"rows must have one column of embeddings, or column must name it; of lists of numbers are "
                f"{', '.join(map(repr, nested)) or 'none'} among {', '.join(map(repr, names)) or 'none'}."
            )
        column = nested[0]
    if names.count(column) != 1:
        has = "no" if column not in names else "more than one"
        raise ValueError(f"rows has {has} column {column!r}; it has {', '.join(map(repr, names)) or 'none'}.")
    for name in new:
        if name in names and name != column:
            raise ValueError(f"rows already has a column {name!r}, which scoring adds; rename or drop it.")
    return column


def _is_nested(values: NDArray[Any]) -> bool:
    """Return whether each entry of an array is a row of numbers; an empty object array may be."""
    if values.ndim != 1 or values.dtype != object or not len(values):
        return values.ndim == 2 or values.dtype == object
    first = next((value for value in values if is_row(value)), None)
    return first is not None and np.asarray(first).dtype.kind in "fiu"


def _is_list_of_numbers(kind: Any) -> bool:
    """Return whether a type of pyarrow is a list of numbers, or an extension that stores such lists."""
    if kind is None:
        return False
    import pyarrow.types as types

    kind = getattr(kind, "storage_type", kind)
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)))


def _from_arrow(values: Any, column: str) -> NDArray[Any]:
    """Join lists of an array of pyarrow, chunked or not."""
    if hasattr(values, "combine_chunks"):
        values = values.combine_chunks()
    if not _is_list_of_numbers(values.type):
        raise TypeError(f"the column {column!r} holds {values.type}, expected lists of numbers.")
    values = getattr(values, "storage", values)
    widths = values.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
    check_widths(widths, f"the column {column!r}", lambda row: values[row].as_py())
    flat: NDArray[Any] = values.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(widths), -1) if len(widths) else np.empty((0, 1), np.float32)
