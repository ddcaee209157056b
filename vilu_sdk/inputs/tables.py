"""Tables of rows: embeddings out of one of their columns, and new columns in its place.

Only here do pandas, pyarrow and dicts of numpy arrays differ. Neither library is imported before a table of
its kind is given.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.containers import is_row, stack
from vilu_sdk.inputs.lists import from_arrow, numbers_of

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
    return values if values.ndim == 2 else _stack(values, column), lambda added: {**rest, **added}


def _split_pandas(rows: Any, column: str | None, new: Sequence[str]) -> tuple[NDArray[Any], Rebuild]:
    kinds = dict(zip(rows.columns, rows.dtypes, strict=True))
    nested = [
        name
        for name, kind in kinds.items()
        if (getattr(kind, "kind", "") == "O" and _is_nested(rows[name].to_numpy()))
        or numbers_of(getattr(kind, "pyarrow_dtype", None)) is not None
    ]
    column = _choose(nested, column, list(rows.columns), new)
    values = rows[column]
    rest = rows.drop(columns=[column])
    if hasattr(values.dtype, "pyarrow_dtype"):
        return from_arrow(values.array.__arrow_array__(), _named(column)), lambda added: rest.assign(**added)
    return _stack(values.to_numpy(), column), lambda added: rest.assign(**added)


def _split_arrow(rows: Any, column: str | None, new: Sequence[str]) -> tuple[NDArray[Any], Rebuild]:
    import pyarrow as pa

    nested = [field.name for field in rows.schema if numbers_of(field.type) is not None]
    column = _choose(nested, column, rows.schema.names, new)

    def rebuild(added: Mapping[str, NDArray[Any]]) -> Any:
        kept = rows.select([i for i, name in enumerate(rows.schema.names) if name != column])
        columns, schema = kept.columns, kept.schema
        for name, values in added.items():
            columns.append(pa.array(values))
            schema = schema.append(pa.field(name, columns[-1].type))
        return type(rows).from_arrays(columns, schema=schema)

    return from_arrow(rows.column(column), _named(column)), rebuild


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
    first = next((_only(value) for value in values if is_row(value)), None)
    return first is not None and np.asarray(first).dtype.kind in "fiu"


def _only(value: Any) -> Any:
    """Return the list in a list of one, anything else as it is."""
    while is_row(value) and len(value) == 1 and is_row(first := next(iter(value))):
        value = first
    return value


def _stack(values: NDArray[Any], column: Any) -> NDArray[Any]:
    return stack([_only(value) for value in values], _named(column))


def _named(column: Any) -> str:
    return f"the column {column!r}"
