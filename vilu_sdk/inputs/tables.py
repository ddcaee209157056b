"""Tables of rows: embeddings out of one of their columns, and new columns in its place.

Only here do pandas, pyarrow and dicts of numpy arrays differ. Neither library is imported before a table of
its kind is given.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.containers import is_row, stack
from vilu_sdk.inputs.lists import from_arrow, numbers_of, unpack
from vilu_sdk.inputs.places import shown

#: From new columns by name to a table of the same kind that has them in place of the embeddings.
Rebuild = Callable[[Mapping[str, NDArray[Any]]], Any]


class Parts(NamedTuple):
    """A table in two parts: its embeddings, and how to put new columns in their place."""

    #: The embeddings (m, d) of all rows, or of those in a mask.
    values: Callable[[NDArray[np.bool_] | None], NDArray[Any]]
    #: How many numbers each row has (n,), -1 where it has no embedding.
    widths: Callable[[], NDArray[np.int64]]
    rebuild: Rebuild


def split(rows: Any, column: str | None, new: Sequence[str]) -> Parts:
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


def keep(rows: Any, mask: NDArray[np.bool_]) -> Any:
    """Return the rows of a table that are in a mask."""
    if isinstance(rows, Mapping):
        return {name: np.asarray(values)[mask] for name, values in rows.items()}
    if hasattr(rows, "assign"):
        return rows[mask]
    import pyarrow as pa

    return rows.filter(pa.array(mask))


def _split_arrays(rows: Mapping[str, Any], column: str | None, new: Sequence[str]) -> Parts:
    arrays = {name: np.asarray(values) for name, values in rows.items()}
    column = _choose([name for name, values in arrays.items() if _is_nested(values)], column, [*rows], new)
    found = arrays[column]
    rest = {name: values for name, values in rows.items() if name != column}

    def values(mask: NDArray[np.bool_] | None) -> NDArray[Any]:
        some = found if mask is None else found[mask]
        return some if some.ndim == 2 else _stack(some, column)

    def widths() -> NDArray[np.int64]:
        return np.full(len(found), found.shape[1]) if found.ndim == 2 else _widths(found)

    return Parts(values, widths, lambda added: {**rest, **added})


def _split_pandas(rows: Any, column: str | None, new: Sequence[str]) -> Parts:
    kinds = dict(zip(rows.columns, rows.dtypes, strict=True))
    nested = [
        name
        for name, kind in kinds.items()
        if (getattr(kind, "kind", "") == "O" and _is_nested(rows[name].to_numpy()))
        or numbers_of(getattr(kind, "pyarrow_dtype", None)) is not None
    ]
    column = _choose(nested, column, list(rows.columns), new)
    found = rows[column]
    rest = rows.drop(columns=[column])
    if hasattr(found.dtype, "pyarrow_dtype"):
        return _of_arrow(found.array.__arrow_array__(), column, lambda added: rest.assign(**added))
    objects = found.to_numpy()

    def values(mask: NDArray[np.bool_] | None) -> NDArray[Any]:
        return _stack(objects if mask is None else objects[mask], column)

    return Parts(values, lambda: _widths(objects), lambda added: rest.assign(**added))


def _split_arrow(rows: Any, column: str | None, new: Sequence[str]) -> Parts:
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

    return _of_arrow(rows.column(column), column, rebuild)


def _of_arrow(found: Any, column: Any, rebuild: Rebuild) -> Parts:
    def values(mask: NDArray[np.bool_] | None) -> NDArray[Any]:
        import pyarrow as pa

        return from_arrow(found if mask is None else found.filter(pa.array(mask)), _named(column))

    return Parts(values, lambda: unpack(found)[0], rebuild)


def _choose(nested: list[Any], column: str | None, names: list[Any], new: Sequence[str]) -> Any:
    """Return the name of the column of embeddings, or raise if a new name is taken."""
    if column is None:
        if len(nested) != 1:
            raise ValueError(
                f"rows must have one column of embeddings, or column must name it; of lists of numbers are "
                f"{', '.join(map(repr, nested)) or 'none'} among {', '.join(map(repr, names)) or 'none'}."
            )
        column = nested[0]
    if not isinstance(column, Hashable):
        raise TypeError(f"column must be the name of a column, got {shown(column)}.")
    if (found := Counter(names)[column]) != 1:
        has = "more than one" if found else "no"
        raise ValueError(f"rows has {has} column {column!r}; it has {', '.join(map(repr, names)) or 'none'}.")
    for name in new:
        if name in names and name != column:
            raise ValueError(f"rows already has a column {name!r}, which scoring adds; rename or drop it.")
    return column


def _is_nested(values: NDArray[Any]) -> bool:
    """Return whether each entry of an array is a row of numbers; an empty object array may be."""
    if values.ndim != 1 or values.dtype != object or not len(values):
        return values.ndim == 2 or (values.ndim == 1 and values.dtype == object)
    first = next((_only(value) for value in values if is_row(value)), None)
    return first is not None and np.asarray(first).dtype.kind in "fiu"


def _only(value: Any) -> Any:
    """Return the list in a list of one, anything else as it is."""
    while is_row(value) and len(value) == 1 and is_row(first := next(iter(value))):
        value = first
    return value


def _stack(values: NDArray[Any], column: Any) -> NDArray[Any]:
    return stack([_only(value) for value in values], _named(column))


def _widths(values: NDArray[Any]) -> NDArray[np.int64]:
    rows = map(_only, values)
    return np.array([len(np.asarray(row)) if is_row(row) else -1 for row in rows], dtype=np.int64)


def _named(column: Any) -> str:
    return f"the column {column!r}"
