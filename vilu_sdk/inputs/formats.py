"""One file of embeddings or of one value for each row, of the kind that its suffix names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs import text
from vilu_sdk.inputs.arrays import HEADERS, ArrayFile, Reader, array_header, array_names
from vilu_sdk.inputs.foreign import check_file
from vilu_sdk.inputs.parquet import ParquetFile, parquet_header, parquet_names, parquet_vector
from vilu_sdk.inputs.places import reading
from vilu_sdk.inputs.stored import kind

#: What every kind of file has: `path`, `column`, `shape`, `dtype`, `embeddings` (their name in the tables),
#: `blocks` and `pieces` to cut its rows, `open` to read rows, and `tables` to read them with their columns.
File = ArrayFile | ParquetFile

SUFFIXES = (*HEADERS, ".parquet")
#: Of files with one value for each row.
VECTOR_SUFFIXES = (*SUFFIXES, *text.SUFFIXES)


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Refuse what is no file, and let no error of a library leave as it is, see `reading`."""
    with reading(path):
        check_file(path)
        yield


def read_header(path: Path, column: str | None) -> File:
    """Return the file of embeddings at a path, or raise where it is damaged or holds no (n, d) array."""
    with opening(path):
        return array_header(path, column, 2) if kind(path) in HEADERS else parquet_header(path, column)


def read_vector(path: Path, column: str | None) -> NDArray[Any]:
    """Read one number, boolean or text for each row, (n,), from an array, a column or lines of a file."""
    with opening(path):
        if kind(path) in text.SUFFIXES:
            return text.text_vector(path, column)
        if kind(path) not in HEADERS:
            return parquet_vector(path, column)
        file = array_header(path, column, 1)
        return file.open()(np.arange(file.shape[0]))


def names_in(path: Path) -> list[str]:
    """Return the names of the arrays or columns in a file; a ``.npy``, a text and a folder have none."""
    if kind(path) not in SUFFIXES or path.is_dir():
        return []
    with opening(path):
        return array_names(path) if kind(path) in HEADERS else parquet_names(path)


def reader(file: File) -> Reader:
    """Return the function from ascending row numbers to rows of a file."""
    with opening(file.path):
        read = file.open()

    def checked(rows: NDArray[np.intp]) -> NDArray[Any]:
        with reading(file.path):
            return read(rows)

    return checked


def tables(file: File, rows: range, size: int, first: int) -> Iterator[Any]:
    """Yield rows as small tables, `File.tables`."""
    with reading(file.path):
        yield from file.tables(rows, size, first)
