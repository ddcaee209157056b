"""One file of embeddings or of one value for each row, of the kind that its suffix names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.arrays import ArrayFile, npy_header, npz_header, safetensors_header
from vilu_sdk.inputs.parquet import ParquetFile, parquet_header, parquet_vector

#: What every kind of file has: `path`, `column`, `shape`, `dtype`, `embeddings` (their name in the tables),
#: `blocks` and `pieces` to cut its rows, `open` to read rows, and `tables` to read them with their columns.
File = ArrayFile | ParquetFile

ARRAYS: dict[str, Callable[[Path, str | None, int], ArrayFile]] = {
    ".npy": npy_header,
    ".npz": npz_header,
    ".safetensors": safetensors_header,
}
SUFFIXES = (*ARRAYS, ".parquet")


def read_header(path: Path, column: str | None) -> File:
    """Return the file of embeddings at a path.

    Raises
    ------
    ValueError
        If the file is damaged or truncated, has no two-dimensional array of real numbers, or `column` does
        not name one.
    ImportError
        If the format needs an extra that is not installed.
    """
    if path.suffix not in ARRAYS:
        return parquet_header(path, column)
    return ARRAYS[path.suffix](path, column, 2)


def read_vector(path: Path, column: str | None) -> NDArray[Any]:
    """Read one value for each row: a one-dimensional array or a column of single values, (n,).

    Raises
    ------
    ValueError, ImportError
        As in `read_header`, for an array of one dimension; numbers, booleans and strings are read.
    """
    if path.suffix not in ARRAYS:
        return parquet_vector(path, column)
    file = ARRAYS[path.suffix](path, column, 1)
    return file.open()(np.arange(file.shape[0]))
