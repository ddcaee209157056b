"""Columns of Hugging Face data sets: read batch by batch, never loaded whole, and the classes they name."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vilu_sdk.inputs.containers import is_column_of_data_set, to_numpy
from vilu_sdk.inputs.places import BadRowError


class Column:
    """A column of embeddings of a data set, as an array of shape (n, d) that is read on indexing.

    Parameters
    ----------
    column : datasets.Column
        What ``dataset["name"]`` returns.
    name : str
        The argument that it came as, for errors.
    """

    ndim = 2

    def __init__(self, column: Any, name: str) -> None:
        self._column = column
        self._name = name
        n = len(column)
        first = self._read(np.arange(min(n, 1)))
        self.dtype: np.dtype[Any] = first.dtype
        self.shape: tuple[int, int] = (n, first.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return int(self.shape[0] * self.shape[1] * self.dtype.itemsize)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        if isinstance(index, int | np.integer):
            return self._read(np.array([index]))[0, :]
        if isinstance(index, tuple):  # how scikit-learn splits data
            index = index[0]
        return self._read(np.arange(len(self))[index])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read rows in any order; consecutive ones as the slice that they are."""
        if not len(rows):
            return np.empty((0, getattr(self, "shape", (0, 1))[1]), np.float32)
        first = int(rows[0])
        is_slice = bool((np.diff(rows) == 1).all())
        batch = self._column[first : first + len(rows)] if is_slice else self._column[rows.tolist()]
        try:
            values = to_numpy(batch, self._name)
        except BadRowError as error:
            row = int(rows[error.row])
            raise error.moved(row - error.row, f"row {row}") from None
        if values.ndim != 2:
            raise TypeError(
                f"{self._name} must hold lists of numbers, got an entry of shape {values.shape[1:]}."
            )
        return values


def opened(values: Any, name: str) -> Any:
    """Return a column of a data set as one that is read batch by batch, anything else as it is."""
    is_array = type(values) is np.ndarray
    return Column(values, name) if not is_array and is_column_of_data_set(values) else values


def class_names(values: Any) -> list[str] | None:
    """Return the names of the classes that a column of integers stands for (`ClassLabel`), None of others."""
    if not is_column_of_data_set(values):
        return None
    features = getattr(values.source, "features", None) or {}
    names = getattr(features.get(values.column_name), "names", None)
    return None if names is None else list(names)
