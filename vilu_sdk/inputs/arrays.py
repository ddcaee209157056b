"""Arrays in ``.npy``, ``.npz`` and ``.safetensors`` files: their headers, and their rows by memory maps."""

import errno
import io
import math
import mmap
import os
import shutil
import struct
import tempfile
import tokenize
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.foreign import JSON_BYTES, NPY_HEADER_BYTES, check_values, opened_zip, parse_json
from vilu_sdk.inputs.places import LISTED, brief, shown
from vilu_sdk.inputs.slices import cut
from vilu_sdk.inputs.stored import Descriptor, Stamp, Stored, kind

#: Columns of the tables that arrays are read as.
ROW, EMBEDDING = "row", "embedding"
# Types of safetensors and their numpy form; bfloat16, which numpy lacks, is read as integers and widened.
SAFETENSORS = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "|b1"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1"},
}
# By the number of dimensions: the shape, the kinds of numpy, and what is expected, in words.
EXPECTED = {
    1: ("one value for each row (.ravel())", "fiubSU", "numbers, booleans or strings (.astype(str))"),
    2: ("two dimensions (rows, d)", "fiu", "real numbers (.astype(numpy.float32))"),
}

CUT = "was cut while it was read; copy it, and start again."
# From ascending row numbers to an array that shares no memory.
Reader = Callable[[NDArray[np.intp]], NDArray[Any]]


@dataclass(frozen=True)
class ArrayFile(Stored):
    """A block of numbers in a file, or in a compressed member of an archive. Holds nothing open."""

    column: str | None
    shape: tuple[int, ...]
    stored: np.dtype[Any]
    offset: int
    order: Any = "C"
    is_bfloat16: bool = False
    #: Of a compressed member its name, and where its bytes begin and end.
    member: str | None = None
    compressed: tuple[int, int] = (0, 0)
    #: Name of the embeddings in the tables.
    embeddings: ClassVar[str] = EMBEDDING

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the rows that are read."""
        return np.dtype(np.float32) if self.is_bfloat16 else self.stored

    @property
    def span(self) -> tuple[int, int]:
        """Where in the file the numbers begin and end, in bytes."""
        if self.member is not None:
            return self.compressed
        return self.offset, self.offset + self.stored.itemsize * math.prod(self.shape)

    def ranges(self, rows: range) -> list[tuple[int, int]]:
        """Where some rows are: in one place, column by column, or in all of a compressed member."""
        n, d = self.shape
        if self.member is not None or len(rows) == n:
            return [self.span]
        step = self.stored.itemsize * (d if self.order == "C" else 1)
        starts = [self.offset] if self.order == "C" else range(*self.span, step * n)
        return [(start + step * rows.start, start + step * rows.stop) for start in starts]

    def blocks(self, size: int) -> list[slice]:
        """Cut the rows into blocks of `size`, each of which is read without those before it."""
        return cut(self.shape[0], size)

    def pieces(self, size: int) -> list[slice]:
        """Cut the rows into blocks for separate readers: of a compressed array, all rows."""
        return cut(self.shape[0], size if self.member is None else max(1, self.shape[0]))

    def tables(self, rows: range, size: int, first: int) -> Iterator[Any]:
        """Yield rows as dicts of their numbers, counted from `first` on, and their embeddings, by `size`."""
        read = self.open()
        for part in cut(len(rows), size):
            found = np.arange(rows.start + part.start, rows.start + part.stop)
            yield {ROW: found + (first - rows.start), EMBEDDING: read(found)}

    def open(self) -> Reader:
        """Return the function from ascending row numbers to rows."""
        with self._file() as file:
            self.check_size(file.seek(0, 2))
            self.check()
            opened = Descriptor(file)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        array = np.ndarray(self.shape, self.stored, mapped, self.offset, order=self.order)
        end = self.offset + array.nbytes
        in_blocks = self.order == "C" and hasattr(os, "preadv")

        def read(rows: NDArray[np.intp]) -> NDArray[Any]:
            consecutive = len(rows) > 0 and bool((np.diff(rows) == 1).all())
            if consecutive and in_blocks:
                # Not from the map: of a file that is cut meanwhile, that would end the process (SIGBUS).
                values = np.empty((len(rows), *self.shape[1:]), self.stored)
                start = self.offset + int(rows[0]) * (values.nbytes // len(rows))
                if not opened.fill(values, start):
                    raise ValueError(f"{self.path} {CUT}")
            else:
                # The map is looked into where rows lie apart; nobody can keep others from cutting it then.
                if opened.size() < end:
                    raise ValueError(f"{self.path} {CUT}")
                values = np.array(array[rows[0] : rows[-1] + 1] if consecutive else array[rows], order="C")
                if hasattr(mmap, "MADV_DONTNEED"):  # or a scan of the file would stay in memory
                    mapped.madvise(mmap.MADV_DONTNEED)
            return (values.astype(np.uint32) << 16).view(np.float32) if self.is_bfloat16 else values

        return read

    def check_size(self, size: int) -> None:
        """Raise where the file is too short for what its header promises."""
        expected = self.offset + self.stored.itemsize * math.prod(self.shape)
        if size < expected:
            raise ValueError(
                f"{self.path} is truncated: its header promises {expected} bytes, it has {size}; "
                "copy it again."
            )

    def _file(self) -> IO[bytes]:
        if self.member is None:
            return self.path.open("rb")
        # Rows of a compressed member cannot be read at random; those of a decompressed copy on the disk can.
        size = self.offset + self.stored.itemsize * math.prod(self.shape)
        if size > shutil.disk_usage(tempfile.gettempdir()).free:
            what = f"no room for the {size:,} bytes that {self.path} decompresses to"
            raise OSError(errno.ENOSPC, what, tempfile.gettempdir())
        copy = tempfile.TemporaryFile()  # noqa: SIM115, the caller closes it
        with opened_zip(self.path) as archive, archive.open(self.member) as member:
            shutil.copyfileobj(member, copy, 1 << 20)
        copy.flush()
        return copy


def array_header(path: Path, column: str | None, ndim: int) -> ArrayFile:
    """Read the header of an array of so many dimensions, and check that the file holds what it says."""
    file = HEADERS[kind(path)](path, Stamp.of(path), column)
    dimensions, kinds, numbers = EXPECTED[ndim]
    if len(file.shape) != ndim:
        raise ValueError(f"{path} holds an array of shape {file.shape}, expected {dimensions}.")
    if file.stored.kind not in kinds:
        raise ValueError(f"{path} holds {file.stored}, expected {numbers}.")
    if min(file.shape) < 0 or 0 in file.shape[1:]:
        raise ValueError(f"{path} says that its array has the shape {shown(file.shape)}; write it again.")
    if ndim == 1:
        check_values(path, file.shape[0], file.stored.itemsize if file.stored.kind in "SU" else 0)
    if file.member is None:
        file.check_size(path.stat().st_size)
    return file


def _npy_header(path: Path, stamp: Stamp, column: str | None) -> ArrayFile:
    if column is not None:
        raise ValueError(f"{path} holds one array without a name; leave out column={column!r}.")
    with path.open("rb") as file:
        return _npy_block(file, path, stamp, None)


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays in a file; none of one without names."""
    if kind(path) == ".safetensors":
        return list(_safetensors_entries(path)[0])
    if kind(path) == ".npy":
        return []
    with opened_zip(path) as archive:
        return list(_npz_members(archive))


def _npz_members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}


def _npz_header(path: Path, stamp: Stamp, column: str | None) -> ArrayFile:
    with opened_zip(path) as archive, path.open("rb") as file:
        members = _npz_members(archive)
        column = choose(path, "array", column, list(members))
        info = members[column]
        with archive.open(info) as member:
            found = _npy_block(member, path, stamp, column)
        size = found.offset + found.stored.itemsize * math.prod(found.shape)
        if size != info.file_size:
            raise ValueError(
                f"{path} is damaged: the header of {shown(column)} promises {size:,} bytes, and the archive "
                f"has {info.file_size:,}; write it again."
            )
        # The member's own header has a name and extra fields, whose lengths stand at byte 26.
        file.seek(info.header_offset + 26)
        start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
        if info.compress_type != zipfile.ZIP_STORED:
            compressed = start, start + info.compress_size
            return replace(found, member=info.filename, compressed=compressed)
        return replace(found, offset=start + found.offset)


def _npy_block(file: IO[bytes], path: Path, stamp: Stamp, column: str | None) -> ArrayFile:
    """Read a header of numpy, after which the numbers follow in the same file or member."""
    shape, dtype, offset, order = npy_header(file, path)
    return ArrayFile(path, stamp, column, shape, dtype, offset, order)


def npy_header(file: IO[bytes], what: Any) -> tuple[tuple[int, ...], np.dtype[Any], int, Literal["C", "F"]]:
    """Return shape, type, where the numbers begin and their order, as the header of an array says."""
    head = io.BytesIO(file.read(NPY_HEADER_BYTES))  # its length comes from the file
    try:
        first = np.lib.format.read_magic(head) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(head)
    except (
        ValueError,
        SyntaxError,
        RecursionError,
        MemoryError,
        tokenize.TokenError,
    ) as error:  # of numpy, and of what it parses by
        said = brief(error)
        raise ValueError(f"{what} is damaged or not in numpy's format ({said}); write it again.") from error
    return shape, dtype, head.tell(), "F" if is_fortran else "C"


def _safetensors_entries(path: Path) -> tuple[dict[str, Any], int]:
    """Return what is said of each tensor, and where the numbers begin."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size
        if JSON_BYTES < length <= size:
            raise ValueError(f"{path} has a header of {length:,} bytes, at most {JSON_BYTES:,} are read.")
        try:
            header = parse_json(file.read(length)) if length <= size else None
        except ValueError:
            header = None
    if not isinstance(header, dict):
        raise ValueError(f"{path} is truncated or not a safetensors file; copy or write it again.")
    header.pop("__metadata__", None)
    return header, 8 + length


def _safetensors_header(path: Path, stamp: Stamp, column: str | None) -> ArrayFile:
    entries, start = _safetensors_entries(path)
    column = choose(path, "tensor", column, list(entries))
    entry = entries[column]
    entry = entry if isinstance(entry, dict) else {}
    name, shape, offsets = (cast(Any, entry.get(key)) for key in ("dtype", "shape", "data_offsets"))
    if not (isinstance(name, str) and _are_counts(shape) and _are_counts(offsets) and len(offsets) == 2):
        raise ValueError(f"{path} says of {shown(column)} {shown(entry)}, which no safetensors file does.")
    if name not in SAFETENSORS:
        raise ValueError(f"{path} holds {brief(name)}, expected one of {', '.join(SAFETENSORS)}.")
    dtype = np.dtype(SAFETENSORS[name])
    if offsets[1] - offsets[0] != dtype.itemsize * math.prod(shape):
        raise ValueError(
            f"{path} has {offsets[1] - offsets[0]} bytes for {shown(column)}, whose shape {shown(shape)} "
            f"takes {shown(dtype.itemsize * math.prod(shape))}; write it again."
        )
    is_bfloat16 = name == "BF16"
    return ArrayFile(path, stamp, column, tuple(shape), dtype, start + offsets[0], is_bfloat16=is_bfloat16)


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


HEADERS: dict[str, Callable[[Path, Stamp, str | None], ArrayFile]] = {
    ".npy": _npy_header,
    ".npz": _npz_header,
    ".safetensors": _safetensors_header,
}


#: What to do where a file holds several arrays.
PASS_COLUMN = "pass column, the name of one"


def choose(path: Path, what: str, name: str | None, names: list[str]) -> str:
    """Return the name that was asked for, or the only one there is."""
    if name is None and len(names) == 1:
        return names[0]
    if name is not None and names.count(name) == 1:
        return name
    twice = len(set(names)) < len(names) and max(names, key=names.count)
    if twice and name in (None, twice):
        n = names.count(twice)
        raise ValueError(f"{path} has {n} of the name {shown(twice)}; rename all but one {what}.")
    if not names:
        raise ValueError(f"{path} has no {what}; write one into it, or name another file.")
    asked = PASS_COLUMN if name is None else f"none is called {shown(name)}"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    has = ", ".join(map(brief, names[:LISTED])) + more
    raise ValueError(f"{path} must have one {what}; {asked}. It has: {has}.")
