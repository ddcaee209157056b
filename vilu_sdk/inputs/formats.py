"""One file of embeddings or of one value for each row, of the kind that its suffix names."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.arrays import HEADERS, ArrayFile, array_header
from vilu_sdk.inputs.parquet import ParquetFile, parquet_header, parquet_vector

#: What every kind of file has: `path`, `column`, `shape`, `dtype`, `embeddings` (their name in the tables),
#: `blocks` and `pieces` to cut its rows, `open` to read rows, and `tables` to read them with their columns.
File = ArrayFile | ParquetFile

SUFFIXES = (*HEADERS, ".parquet")


def read_header(path: Path, column: str | None) -> File:
    """Return the file of embeddings at a path, or raise where it is damaged or holds no (n, d) array."""
    return array_header(path, column, 2) if path.suffix in HEADERS else parquet_header(path, column)


def read_vector(path: Path, column: str | None) -> NDArray[Any]:
    """Read one number, boolean or string for each row, (n,), from an array or a column of a file."""
    if path.suffix not in HEADERS:
        return parquet_vector(path, column)
    file = array_header(path, column, 1)
    return file.open()(np.arange(file.shape[0]))
