"""A parquet file: embeddings in a column of lists, and its other columns. It needs the extra ``data``."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.arrays import Reader, choose
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.foreign import TEXT_BYTES, VALUES, check_count
from vilu_sdk.inputs.lists import first_embedding, is_list, numbers_of, unpack
from vilu_sdk.inputs.places import BadRowError
from vilu_sdk.inputs.stored import Stamp, Stored

# Elements of the batches in which parquet is decoded.
BATCH_ELEMENTS = 1 << 20
# How it is read: pre-buffered, as in some versions by default, the whole row group would be in memory.
IN_PARTS = {"buffer_size": 1 << 20, "pre_buffer": False}
# Rows that are looked at together for the first that has an embedding.
FIRST_ROWS = 16


@dataclass(frozen=True)
class ParquetFile(Stored):
    """A column of lists, of which one batch is decoded at a time. Holds nothing open."""

    column: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    #: Numbers of the first rows of row groups, and where these begin in the file, in bytes.
    starts: tuple[int, ...]
    offsets: tuple[int, ...]

    @property
    def embeddings(self) -> str:
        """Name of the embeddings in the tables."""
        return self.column

    @property
    def span(self) -> tuple[int, int]:
        """All of the file: scoring carries over the other columns."""
        return 0, self.stamp.size

    def ranges(self, rows: range) -> list[tuple[int, int]]:
        """Where the row groups that hold these rows begin and end, with all their columns."""
        first, last = np.searchsorted(self.starts, (rows.start, rows.stop - 1), side="right")
        return [(self.offsets[first - 1], self.offsets[last])]

    def blocks(self, size: int) -> list[slice]:
        """Cut the rows into row groups: to read a part of one, all rows before it are decoded."""
        return [slice(start, stop) for start, stop in pairwise(self.starts) if start < stop]

    def pieces(self, size: int) -> list[slice]:
        """Join row groups into pieces of at most `size` rows, or of one row group."""
        pieces: list[slice] = []
        for block in self.blocks(size):
            if pieces and block.stop - pieces[-1].start <= size:
                block = slice(pieces.pop().start, block.stop)
            pieces.append(block)
        return pieces

    def tables(self, rows: range, size: int, first: int) -> Iterator[Any]:
        """Yield whole row groups as record batches of all columns, at most `size` rows at a time."""
        bounds = enumerate(pairwise(self.starts))
        groups = [group for group, (start, stop) in bounds if rows.start <= start < stop <= rows.stop]
        yield from self._file().iter_batches(size, row_groups=groups, use_threads=False)

    def open(self) -> Reader:
        """Return the function from ascending row numbers to rows."""
        d = self.shape[1]
        file = self._file()
        first, values = 0, np.empty((0, d), self.dtype)
        batches: Iterator[Any] = iter(())

        def seek(row: int) -> None:
            """Decode the batch that holds a row, going on from the batch in hand if the row is after it."""
            nonlocal first, values, batches
            group = int(np.searchsorted(self.starts, row, side="right")) - 1
            # A batch of an earlier row of the same group is where reading goes on.
            if not (len(values) and self.starts[group] <= first <= row):
                first, values = self.starts[group], values[:0]
                batches = file.iter_batches(
                    max(1, BATCH_ELEMENTS // d), row_groups=[group], columns=[self.column], use_threads=False
                )
            while row >= first + len(values):
                first += len(values)
                values = self._decode(next(batches).column(0), first)

        def read(rows: NDArray[np.intp]) -> NDArray[Any]:
            out = np.empty((len(rows), d), self.dtype)
            done = 0
            while done < len(rows):
                seek(int(rows[done]))
                stop = int(np.searchsorted(rows, first + len(values)))
                out[done:stop] = values[rows[done:stop] - first]
                done = stop
            return out

        return read

    def _file(self) -> Any:
        file = _opened(self.path, **IN_PARTS)
        self.check()
        return file

    def _decode(self, column: Any, first: int) -> NDArray[Any]:
        """Return the lists of a batch as rows, or raise if one is missing or ragged."""
        lengths, numbers = unpack(column)
        wrong = np.flatnonzero(lengths != self.shape[1])
        if len(wrong):
            has = "none" if lengths[wrong[0]] < 0 else f"one of width {lengths[wrong[0]]}"
            raise BadRowError(
                f"{self.path} should have an embedding of width {self.shape[1]} in each row of the column "
                f"{self.column!r}, but",
                int(first + wrong[0]),
                f" has {has}; remove the row or embed it again.",
            )
        if numbers.null_count and self.dtype.kind in "iu":  # numpy has no integer for it
            row = first + numbers.is_null().index(True).as_py() // self.shape[1]
            raise BadRowError(
                f"{self.path} lacks a number of the embedding in",
                row,
                f" of the column {self.column!r}; remove the row or embed it again.",
            )
        values: NDArray[Any] = numbers.to_numpy(zero_copy_only=False)
        return values.reshape(len(column), self.shape[1])


def parquet_header(path: Path, column: str | None) -> ParquetFile:
    """Find the column of lists of numbers, and read its shape and type."""
    stamp = Stamp.of(path)
    file = _opened(path, **IN_PARTS)
    kinds = {field.name: field.type for field in file.schema_arrow}
    numeric = [name for name, kind in kinds.items() if numbers_of(kind) is not None]
    lists = numeric or [name for name, kind in kinds.items() if is_list(kind)]
    column = choose(path, "column of lists", column, lists)
    value = numbers_of(kinds[column])
    if value is None:
        raise ValueError(f"{path} has {kinds[column]} in the column {column!r}, expected lists of numbers.")
    width = 0
    for batch in file.iter_batches(FIRST_ROWS, columns=[column], use_threads=False):
        lengths, _ = unpack(batch.column(0))
        if (row := first_embedding(lengths)) is not None:
            width = int(lengths[row])
            break
    if not width and file.metadata.num_rows:
        raise ValueError(f"{path} has no embedding in any row of the column {column!r}; embed again.")
    groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    starts = tuple(int(start) for start in np.cumsum([0, *(group.num_rows for group in groups)]))
    offsets = (*(_first_byte(group) for group in groups), stamp.size)
    shape = starts[-1], width
    return ParquetFile(path, stamp, column, shape, np.dtype(value.to_pandas_dtype()), starts, offsets)


def _first_byte(group: Any) -> int:
    """Return where a row group begins in its file."""
    columns = [group.column(number) for number in range(group.num_columns)]
    pages = [(column.dictionary_page_offset, column.data_page_offset) for column in columns]
    return int(min((page for both in pages for page in both if page), default=0))


def parquet_names(path: Path) -> list[str]:
    """Return the names of the columns."""
    return list(_opened(path).schema_arrow.names)


def parquet_vector(path: Path, column: str | None) -> NDArray[Any]:
    """Read a column of single values, (n,)."""
    file = _opened(path)
    check_count(path, file.metadata.num_rows, VALUES)
    plain = [field.name for field in file.schema_arrow if not field.type.num_fields]
    column = choose(path, "column of single values", column, plain)
    size = _text_bytes(file, column)
    if size > TEXT_BYTES:
        raise ValueError(
            f"{path} has {size:,} bytes of texts in the column {column!r}, at most {TEXT_BYTES:,} are read; "
            "save fewer or shorter ones."
        )
    # Texts as a dictionary, or one that stands in many rows would be as many texts.
    found = _opened(path, read_dictionary=[column] if size else None).read([column]).column(0)
    if found.null_count:
        row = found.is_null().index(True).as_py()
        raise BadRowError(f"{path} has no value in", row, f" of {column!r}; write one for each row.")
    parts = [_shared(chunk) for chunk in found.chunks]
    return np.concatenate(parts) if parts else found.to_numpy()


def _text_bytes(file: Any, column: str) -> int:
    """Return how many bytes a column takes if it is of texts, of which each that differs is stored once."""
    number = file.schema_arrow.get_field_index(column)
    groups = [file.metadata.row_group(group).column(number) for group in range(file.num_row_groups)]
    return sum(part.total_uncompressed_size for part in groups if part.physical_type == "BYTE_ARRAY")


def _shared(values: Any) -> NDArray[Any]:
    """Return values as numpy has them, of a dictionary with one object for equal texts."""
    if not hasattr(values, "dictionary"):
        return np.asarray(values.to_numpy(zero_copy_only=False))
    texts = values.dictionary.to_numpy(zero_copy_only=False)
    return np.asarray(texts[values.indices.to_numpy(zero_copy_only=False)])


def _opened(path: Path, **options: Any) -> Any:
    return require("pyarrow.parquet", "data").ParquetFile(path, **options)
