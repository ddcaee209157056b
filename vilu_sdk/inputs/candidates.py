"""The candidates that a prediction is chosen from: the one door for all that users hold as such.

An array (K, d); an array (K, P, d) or a list of K arrays (P_k, d), several prompts each; a mapping from
names to either; a pandas frame or series whose index names them. `open_candidates` makes of each the same
two things, an array (K, d) and names or None, and no other room asks what candidates were.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.inputs.containers import (
    NUMPY_FLOATS,
    is_column_of_data_set,
    is_output,
    is_row,
    plain,
    to_numpy,
)
from vilu_sdk.inputs.names import Names, check_names
from vilu_sdk.inputs.places import BadRowError, listed, shown
from vilu_sdk.inputs.precision import working
from vilu_sdk.inputs.rows import CHANNELS, Rows
from vilu_sdk.inputs.shards import Shards

# Candidates whose mean stands for that of all.
LOOK = 256
# Below this norm a mean of unit vectors is what rounding left of vectors that cancel.
SMALLEST_MEAN = 1e-6


@dataclass(frozen=True, eq=False)
class Opened:
    """Candidates as all rooms read them.

    Attributes
    ----------
    values : array-like of shape (K, d)
        As they came, or of several prompts the unit means of their unit vectors.
    names : Names or None
        What they are called, if anything.
    prompts : int
        The most prompts that one has.
    argument : str
        What errors call them.
    """

    values: Any
    names: Names | None
    prompts: int
    argument: str

    def __len__(self) -> int:
        return len(Rows(self.values, self.argument))

    def in_order(self, given: Any, name: str) -> Any:
        """Return one value for each candidate in their order, of a mapping or a series found by name."""
        if not isinstance(given, Mapping) and not hasattr(given, "iloc"):
            return given
        keys, values = list(given.keys()), list(given.values() if isinstance(given, Mapping) else given)
        if not all(isinstance(key, str) for key in keys):
            if isinstance(given, Mapping):
                raise TypeError(f"{name} must have the names of {self.argument} for keys, or be a list.")
            return given
        if self.names is None:
            raise ValueError(f"{name} has names, but {self.argument} has none; pass a list in its order.")
        rows = self.names.rows(keys, name)
        if sorted(rows) != list(range(len(self))):
            wrong = f"{name} must have each of the {len(self)} candidates once, got {len(keys)}"
            lacking = [self.names[row] for row in sorted({*range(len(self))} - {*rows.tolist()})]
            raise ValueError(f"{wrong}{f'; it lacks {listed(lacking)}' if lacking else ''}.")
        return [values[at] for at in np.argsort(rows)]

    def called(self, names: Sequence[str] | None = None) -> Sequence[str] | None:
        """Return `names` where some are given, one for each, else the candidates' own, else None."""
        if names is None:
            return None if self.names is None else self.names.written
        check_names(names, len(self), self.argument)
        return list(names)  # by place: a series has an index of its own


def open_candidates(z_txt_set: Any, name: str = "z_txt_set", d: int | None = None) -> Opened:
    """Return candidates in any of their forms as an array (K, d) and names.

    Parameters
    ----------
    z_txt_set : array-like, mapping, frame or Opened
        In one of the forms above. What is open already is returned as it is.
    name : str
        What errors call them.
    d : int, optional
        Width of the images, where it is known.

    Raises
    ------
    ValueError
        If a name is empty or given twice, a candidate has no prompts or such that cancel, or a prompt is no
        embedding.
    TypeError
        If names are not text, or candidates are none of these.

    Examples
    --------
    >>> opened = open_candidates({"cat": [[1.0, 0.0], [0.0, 1.0]], "dog": [0.0, 1.0]})
    >>> opened.values.shape, list(opened.names), opened.prompts
    ((2, 2), ['cat', 'dog'], 2)
    """
    if isinstance(z_txt_set, Opened):
        return z_txt_set
    kind = type(z_txt_set)
    if kind is np.ndarray or isinstance(z_txt_set, Tensor | Shards):
        if z_txt_set.ndim != 3:
            return Opened(z_txt_set, None, 1, name)
        if d is not None and z_txt_set.shape[2] != d and z_txt_set.shape[2] in CHANNELS[1:]:
            return Opened(z_txt_set, None, 1, name)  # an image, which is refused as one
    names, given = _named(z_txt_set, name)
    values, prompts = _one_row_each(given, name, names)
    return Opened(values, names, prompts, name)


def _named(given: Any, name: str) -> tuple[Names | None, Any]:
    """Return the names, if there are any, and what is named, in their order."""
    if isinstance(given, Mapping) and not is_output(given):
        return _check_keys(given, name), list(given.values())
    if hasattr(given, "iloc"):  # of pandas
        _refuse_text(given, name)
        return _check_keys(given.index, name), given
    return None, given


def _refuse_text(frame: Any, name: str) -> None:
    """Raise where a frame has names in a column, among embeddings."""
    for at, kind in enumerate(getattr(frame, "dtypes", ()) if hasattr(frame, "columns") else ()):
        if getattr(kind, "kind", "O") not in "fiub" and len(frame) and isinstance(frame.iloc[0, at], str):
            column = frame.columns[at]
            index = f"{name}.set_index({column!r})"
            raise TypeError(
                f"{name} has text in its column {column!r}. Pass its columns of numbers, or its one column "
                f"of embeddings, alone; where the text is what candidates are called, pass {index}."
            )


def _check_keys(keys: Iterable[Any], name: str) -> Names | None:
    """Return names, none where candidates are numbered as their rows are anyway."""
    keys = list(keys)
    if all(isinstance(key, str) for key in keys):
        try:
            return Names(keys, name)
        except BadRowError:
            raise
        except ValueError as error:
            remedy = "Prompts of one candidate go together, into a mapping from its name to all of them."
            raise ValueError(f"{error} {remedy}") from None
    if all(isinstance(key, int | np.integer) for key in keys) and keys == list(range(len(keys))):
        return None
    kinds = " and ".join(sorted({type(key).__name__ for key in keys}))
    raise TypeError(
        f"{name} has names of type {kinds}, such as {shown(keys[0])}. Names are text: write them as str. "
        "Candidates without names are a list of their embeddings, or a frame after .reset_index(drop=True); "
        "then labels are their row numbers."
    )


def _one_row_each(given: Any, name: str, names: Names | None) -> tuple[Any, int]:
    """Return an array-like (K, d), with prompts averaged, and the most that a candidate has."""
    if isinstance(given, np.ndarray | Tensor) and given.ndim == 3:
        k, each, d = given.shape
        if k == 1 and each > 1:
            raise ValueError(
                f"{name} must be two-dimensional (K, d), or (K, P, d) with P prompts each, got shape "
                f"{tuple(given.shape)}, which is one candidate. Drop the first axis with {name}[0]."
            )
        if each == 1:
            return given[:, 0], 1
        return _unit_means(plain(given, name).reshape(-1, d), [each] * k, name, names), each
    parts = _entries(given)
    if parts is None or not any(_holds_rows(part) for part in parts):
        return given, 1
    arrays = [_prompts(part, name, row, names) for row, part in enumerate(parts)]
    sizes = [len(array) for array in arrays]
    for row, array in enumerate(arrays):
        if array.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                f"{_where(row, name, names)} has rows of width {array.shape[1]}, but "
                f"{_where(0, name, names)} of width {arrays[0].shape[1]}; embed all texts by one model."
            )
    flat = np.concatenate(arrays)
    most = max(sizes)
    return (flat if most == 1 else _unit_means(flat, sizes, name, names)), most


def _entries(given: Any) -> Sequence[Any] | None:
    """Return one entry for each candidate, None of what holds one row each anyway."""
    if isinstance(given, list | tuple):
        return given
    if isinstance(given, np.ndarray):
        return list(given) if given.dtype.kind == "O" and given.ndim == 1 else None
    if is_column_of_data_set(given):
        return given[:] if len(given) and _holds_rows(given[0]) else None
    if hasattr(given, "iloc"):
        columns = getattr(given, "columns", None)
        if columns is None:
            return list(given)
        return list(given.iloc[:, 0]) if len(columns) == 1 else None
    return None


def _holds_rows(part: Any) -> bool:
    """Whether an entry is several rows, and not one."""
    if not is_row(part):
        return False
    if getattr(part, "ndim", 1) != 1:
        return True
    is_numbers = getattr(getattr(part, "dtype", None), "kind", "O") != "O" or isinstance(part, Tensor)
    return not is_numbers and len(part) > 0 and is_row(next(iter(part)))


def _prompts(part: Any, name: str, row: int, names: Names | None) -> NDArray[Any]:
    """Return the prompts of one candidate, (P, d)."""
    where = _where(row, name, names)
    array = to_numpy(part, where)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"{where} has shape {array.shape}, where one embedding (d,) or several of prompts (P, d) belong."
        )
    return array


def _unit_means(
    flat: NDArray[Any] | Tensor, sizes: list[int], name: str, names: Names | None
) -> NDArray[Any]:
    """Average the unit vectors of each candidate's prompts, in a row, and normalise, (K, d)."""
    rows = Rows(flat, name)
    means = torch.empty(len(sizes), rows.d, dtype=working(), device="cpu")
    start = 0
    for row, size in enumerate(sizes):
        try:
            mean = rows.read(slice(start, start + size)).double().mean(dim=0)
        except BadRowError as error:
            prompt = f"prompt {error.row - start} of {_where(row, name, names)}"
            raise error.moved(0, prompt) from None
        norm = torch.linalg.vector_norm(mean)
        if norm < SMALLEST_MEAN:
            raise ValueError(
                f"the prompts of {_where(row, name, names)} cancel, so that their mean has no direction; "
                "embed others."
            )
        means[row] = mean / norm
        start += size
    return means.numpy()


def _where(row: int, name: str, names: Names | None) -> str:
    return f"{name}[{row if names is None else shown(names[row])}]"


class Candidates:
    """Checked candidates, `text` (K, d) with rows of norm 1, known again by the values that were given."""

    def __init__(self, z_txt_set: Any, d: int | None = None, *, name: str = "z_txt_set") -> None:
        values = open_candidates(z_txt_set, name, d).values
        self.text: Tensor = Rows(values, name, d=d).read()
        given = _view(values)
        self._given = None if given is None else given.copy()

    def __len__(self) -> int:
        return self.text.shape[0]

    @cached_property
    def sample_mean(self) -> Tensor:
        """Mean (d,) of some of them, evenly chosen, about `LOOK` of many."""
        return self.text[:: max(1, len(self.text) // LOOK)].mean(dim=0)

    @cached_property
    def first(self) -> NDArray[np.int64] | None:
        """The first row that is equal to each, (K,); None where all rows differ."""
        rows = self.text.numpy()
        sums = rows.view(f"u{rows.itemsize}").sum(axis=1, dtype=np.uint64)  # of their bits, in any order
        if len(np.unique(sums)) == len(rows):
            return None
        places: dict[bytes, int] = {}
        first = np.array([places.setdefault(row.tobytes(), at) for at, row in enumerate(rows)])
        return None if len(places) == len(first) else first

    def are(self, z_txt_set: Any, d: int) -> bool:
        """Whether these candidates, of width `d`, are given again; only arrays in memory are known again."""
        given = _view(open_candidates(z_txt_set, d=d).values)
        return (
            given is not None
            and self._given is not None
            and given.dtype == self._given.dtype
            and self.text.dtype == working()
            and self.text.shape[1] == d
            and given.shape == self._given.shape
            and np.count_nonzero(given == self._given) == given.size  # several times as fast as torch.equal
        )


def _view(values: Any) -> NDArray[Any] | None:
    """View an array or a tensor of floats as numpy, None where that takes more than a look."""
    if type(values) is np.ndarray:
        return values if values.dtype.kind == "f" else None
    viewable = isinstance(values, Tensor) and values.device.type == "cpu" and values.layout is torch.strided
    if not viewable or values.dtype not in NUMPY_FLOATS or values.is_nested or values.is_neg():
        return None
    view: NDArray[Any] = values.detach().numpy()
    return view
