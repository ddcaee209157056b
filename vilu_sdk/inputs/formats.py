"""One file of embeddings: what its header says, and its rows on demand.

``.npy``, ``.npz``, ``.safetensors`` and ``.parquet`` differ only here. All but the last are a block of
numbers at some offset of a file, which is mapped into memory and given back after each read.
"""

import json
import mmap
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

# Elements of the batches in which parquet is decoded, and bytes of it read at a time.
BATCH_ELEMENTS = 1 << 20
BUFFER_BYTES = 1 << 20
# Types of safetensors and their numpy form; bfloat16, which numpy lacks, is read as integers and widened.
SAFETENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "<i1", "U8": "<u1"}

# Takes ascending row numbers, returns an array of its own.
Reader = Callable[[NDArray[np.intp]], NDArray[Any]]


@dataclass(frozen=True)
class ArrayFile:
    """A block of numbers in a file, or in a compressed member of an archive. Holds nothing open."""

    path: Path
    shape: tuple[int, int]
    stored: np.dtype[Any]
    offset: int
    order: Any = "C"
    is_bfloat16: bool = False
    member: str | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the rows that are read."""
        return np.dtype(np.float32) if self.is_bfloat16 else self.stored

    def blocks(self, size: int) -> list[slice]:
        """Cut the rows into blocks of about `size` that can be read without what is before them."""
        n = self.shape[0]
        return [slice(start, min(start + size, n)) for start in range(0, n, size)]

    def open(self) -> Reader:
        """Return the function from ascending row numbers to rows."""
        with self._file() as file:
            self.check_size(file)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        array = np.ndarray(self.shape, self.stored, mapped, self.offset, order=self.order)

        def read(rows: NDArray[np.intp]) -> NDArray[Any]:
            consecutive = len(rows) > 0 and bool((np.diff(rows) == 1).all())
            values = np.array(array[rows[0] : rows[-1] + 1] if consecutive else array[rows], order="C")
            if hasattr(mapped, "madvise"):  # or a scan of the file would stay in memory
                mapped.madvise(mmap.MADV_DONTNEED)
            return (values.astype(np.uint32) << 16).view(np.float32) if self.is_bfloat16 else values

        return read

    def check_size(self, file: IO[bytes]) -> None:
        """Raise where the file is too short for what its header promises."""
        size, expected = file.seek(0, 2), self.offset + self.stored.itemsize * self.shape[0] * self.shape[1]
        if size < expected:
            raise ValueError(
                f"{self.path} is truncated: its header promises {expected} bytes, it has {size}; "
                "copy it again."
            )

    def _file(self) -> IO[bytes]:
        if self.member is None:
            return self.path.open("rb")
        # A compressed member has no rows to jump to; its decompressed form on the disk has.
        copy = tempfile.TemporaryFile()  # noqa: SIM115, the caller closes it
        with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as member:
            shutil.copyfileobj(member, copy, 1 << 20)
        copy.flush()
        return copy


@dataclass(frozen=True)
class ParquetFile:
    """A column of lists, of which one batch is decoded at a time. Holds nothing open."""

    path: Path
    column: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    starts: tuple[int, ...]

    def blocks(self, size: int) -> list[slice]:
        """Cut the rows into row groups, which are decoded from their starts, so that no less is cheaper."""
        return [slice(start, stop) for start, stop in pairwise(self.starts) if start < stop]

    def open(self) -> Reader:
        """Return the function from ascending row numbers to rows."""
        n, d = self.shape
        # Read ahead, it would hold the whole row group.
        file = pyarrow_parquet().ParquetFile(self.path, buffer_size=BUFFER_BYTES, pre_buffer=False)
        if file.metadata.num_rows != n:
            raise ValueError(f"{self.path} has changed since it was opened; open it again.")
        first, values = 0, np.empty((0, d), self.dtype)
        batches: Iterator[Any] = iter(())

        def seek(row: int) -> None:
            """Decode the batch that holds a row: ahead in the row group, or from the row's group on."""
            nonlocal first, values, batches
            group = int(np.searchsorted(self.starts, row, side="right")) - 1
            # The batch in hand may be from any earlier row of the group, where reading goes on.
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

    def _decode(self, column: Any, first: int) -> NDArray[Any]:
        """Return the lists of a batch as rows, having looked for missing and ragged ones."""
        lengths = column.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(lengths != self.shape[1])
        if len(wrong):
            has = "none" if lengths[wrong[0]] < 0 else f"one of width {lengths[wrong[0]]}"
            raise ValueError(
                f"{self.path} should have an embedding of width {self.shape[1]} in each row of the column "
                f"{self.column!r}, but row {first + wrong[0]} has {has}; remove the row or embed it again."
            )
        values: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(column), self.shape[1])


File = ArrayFile | ParquetFile


def read_header(path: Path, column: str | None) -> File:
    """Return what a file holds, by its suffix.

    Raises
    ------
    ValueError
        If the file is damaged or truncated, has no two-dimensional array of real numbers, or `column` does
        not name one.
    ImportError
        If the format needs an extra that is not installed.
    """
    return HEADERS[path.suffix](path, column)


def _npy(path: Path, column: str | None) -> File:
    if column is not None:
        raise ValueError(f"{path} holds one array without a name; leave out column={column!r}.")
    with path.open("rb") as file:
        found = ArrayFile(path, *_npy_header(file, path))
        found.check_size(file)
        return found


def _npz(path: Path, column: str | None) -> File:
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            info = members[_choose(path, "array", column, list(members))]
            with archive.open(info) as member:
                shape, dtype, offset, order = _npy_header(member, path)
            if info.compress_type != zipfile.ZIP_STORED:
                return ArrayFile(path, shape, dtype, offset, order, member=info.filename)
            # The member's own header repeats its name and has extra fields, both of a length it tells.
            file.seek(info.header_offset + 26)
            offset += info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
            found = ArrayFile(path, shape, dtype, offset, order)
            found.check_size(file)
            return found
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged or truncated ({error}); copy or write it again.") from error


def _npy_header(file: IO[bytes], path: Path) -> tuple[tuple[int, int], np.dtype[Any], int, str]:
    """Return shape, dtype, offset of the numbers, and their order."""
    try:
        first = np.lib.format.read_magic(file) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
    except ValueError as error:
        raise ValueError(f"{path} is damaged or not in numpy's format ({error}); write it again.") from error
    return _check_array(path, shape, dtype), dtype, file.tell(), "F" if is_fortran else "C"


def _safetensors(path: Path, column: str | None) -> File:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length)) if length <= path.stat().st_size else None
        except ValueError:
            header = None
        if not isinstance(header, dict):
            raise ValueError(f"{path} is truncated or not a safetensors file; copy or write it again.")
        header.pop("__metadata__", None)
        entry = header[_choose(path, "tensor", column, list(header))]
        if entry["dtype"] not in SAFETENSORS:
            raise ValueError(f"{path} holds {entry['dtype']}, expected one of {', '.join(SAFETENSORS)}.")
        dtype = np.dtype(SAFETENSORS[entry["dtype"]])
        found = ArrayFile(
            path,
            _check_array(path, tuple(entry["shape"]), dtype),
            dtype,
            8 + length + entry["data_offsets"][0],
            is_bfloat16=entry["dtype"] == "BF16",
        )
        found.check_size(file)
        return found


def _parquet_column(path: Path, column: str | None) -> File:
    parquet = pyarrow_parquet()
    import pyarrow as pa

    try:
        file = parquet.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is damaged or truncated ({error}); copy or write it again.") from error
    kinds = {field.name: field.type for field in file.schema_arrow}
    # A dictionary type has a value_type and no fields: it holds categories, not lists.
    lists = [name for name, kind in kinds.items() if kind.num_fields and hasattr(kind, "value_type")]
    column = _choose(path, "column of lists", column, lists)
    value = kinds[column].value_type
    if not (pa.types.is_floating(value) or pa.types.is_integer(value)):
        raise ValueError(f"{path} has {value} in the column {column!r}, expected lists of numbers.")
    width = getattr(kinds[column], "list_size", 0)
    for batch in file.iter_batches(1, columns=[column], use_threads=False) if not width else ():
        width = batch.column(0).value_lengths()[0].as_py() or 0
        break
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    starts = tuple(int(start) for start in np.cumsum([0, *sizes]))
    return ParquetFile(path, column, (starts[-1], width), np.dtype(value.to_pandas_dtype()), starts)


def pyarrow_parquet() -> Any:
    """Import what reads parquet, or say which extra it comes with."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError('parquet files need pyarrow: pip install "vilu-sdk[data]".') from error
    return pyarrow.parquet


#: The reader of each suffix.
HEADERS: dict[str, Callable[[Path, str | None], File]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".parquet": _parquet_column,
}


def _choose(path: Path, what: str, name: str | None, names: list[str]) -> str:
    """Return the name that was asked for, or the only one there is."""
    if name is None and len(names) == 1:
        return names[0]
    if name in names:
        return name
    asked = "pass column, the name of one" if name is None else f"none is called {name!r}"
    raise ValueError(
        f"{path} must have one {what} of embeddings; {asked}. It has: {', '.join(names) or 'none'}."
    )


def _check_array(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, int]:
    if len(shape) != 2:
        raise ValueError(f"{path} holds an array of shape {shape}, expected two dimensions (rows, d).")
    if dtype.kind not in "fiu":
        raise ValueError(f"{path} holds {dtype}, expected real numbers.")
    return shape[0], shape[1]
