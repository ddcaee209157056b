"""One file of embeddings or of one value for each row, of the kind that its suffix names."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.arrays import HEADERS, ArrayFile, array_header, array_names
from vilu_sdk.inputs.parquet import ParquetFile, parquet_header, parquet_names, parquet_vector

#: What every kind of file has: `path`, `column`, `shape`, `dtype`, `embeddings` (their name in the tables),
#: `blocks` and `pieces` to cut its rows, `open` to read rows, and `tables` to read them with their columns.
File = ArrayFile | ParquetFile

SUFFIXES = (*HEADERS, ".parquet")


def kind(path: Path) -> str:
    """Return the suffix of a file, in small letters."""
    return path.suffix.lower()


def read_header(path: Path, column: str | None) -> File:
    """Return the file of embeddings at a path, or raise where it is damaged or holds no (n, d) array."""
    return array_header(path, column, 2) if kind(path) in HEADERS else parquet_header(path, column)


def names_in(path: Path) -> list[str]:
    """Return the names of the arrays or columns in a file; a ``.npy`` and a folder have none."""
    if not path.is_file() or kind(path) not in SUFFIXES:
        return []
    return array_names(path) if kind(path) in HEADERS else parquet_names(path)


def read_vector(path: Path, column: str | None) -> NDArray[Any]:
    """Read one number, boolean or string for each row, (n,), from an array or a column of a file."""
    if kind(path) not in HEADERS:
        return parquet_vector(path, column)
    file = array_header(path, column, 1)
    return file.open()(np.arange(file.shape[0]))
