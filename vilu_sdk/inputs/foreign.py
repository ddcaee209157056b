"""Files that nobody vouches for: which are opened, how much of them is read, and what an archive may be.

The limits are those of docs/security.md. What is within them takes memory in proportion to the file.
"""

import json
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

#: Bytes of a JSON text: a configuration or the header of a safetensors file; and of a manifest, with a line
#: for each file of the source.
JSON_BYTES, MANIFEST_BYTES = 4 << 20, 16 << 20
#: Bytes of a text file, characters of a line in it, of one value, and of the name of a group.
TEXT_BYTES, LINE_CHARACTERS, NAME_CHARACTERS, GROUP_CHARACTERS = 64 << 20, 1 << 20, 10_000, 250
#: Values, one for each row, of a file: numbers, and texts, each of which is an object.
VALUES, TEXTS = 1 << 26, 1 << 22
#: Bytes of an array of texts, each of which takes as much as the longest.
ARRAY_BYTES = 256 << 20
#: Bytes of the header of a ``.npy`` file, and of the list of contents of an archive.
NPY_HEADER_BYTES, DIRECTORY_BYTES = 1 << 16, 4 << 20
# How archives store a member: as it is, or deflated. bzip2 and LZMA make gigabytes out of a kilobyte.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Where the list of contents of an archive ends, and how much of the end of a file may follow that.
DIRECTORY_END, DIRECTORY_END_64, TAIL = b"PK\5\6", b"PK\6\6", (1 << 16) + 128
KINDS = {
    **{stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"},
    **{stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"},
}


def kind_of(mode: int) -> str | None:
    """Say what a path with this mode is, None for a file of bytes."""
    return None if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "something")


def check_file(path: str | os.PathLike[str]) -> int:
    """Return the size of a file, or raise where reading would wait for somebody or never end."""
    found = os.stat(path)
    if (what := kind_of(found.st_mode)) is not None:
        raise ValueError(f"{path} is {what} and no file; copy what it holds into a file, and pass that.")
    return found.st_size


def read_bytes(path: Path, most: int, remedy: str) -> bytes:
    """Read a whole file of at most so many bytes."""
    size = check_file(path)
    if size <= most:
        data = path.read_bytes()
        if len(data) <= most:
            return data
        size = len(data)
    raise ValueError(f"{path} has {size:,} bytes, at most {most:,} are read; {remedy}.")


def check_count(path: Path, n: int, most: int, what: str = "values") -> None:
    """Raise where a file has more values than are read: a kilobyte can promise a billion."""
    if n > most:
        raise ValueError(f"{path} has {n:,} rows, at most {most:,} {what} are read; save fewer, or numbers.")


def check_values(path: Path, n: int, size: int) -> None:
    """Raise where an array has more values than are read; a text takes `size` bytes, a number 0."""
    check_count(path, n, *((TEXTS, "texts") if size else (VALUES,)))
    if n * size > ARRAY_BYTES:
        raise ValueError(
            f"{path} has {n * size:,} bytes of texts, at most {ARRAY_BYTES:,} are read; numpy stores all as "
            "long as the longest: save them in .txt or .parquet."
        )


def parse_json(data: bytes) -> Any:
    """Parse JSON, whose errors are all of one kind."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeDecodeError:
        raise ValueError("it is no text in UTF-8") from None


@contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose members are stored or deflated, and together no larger than they could be."""
    size = check_file(path)
    with path.open("rb") as file:
        _check_directory(file, size, path)
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if info.compress_type not in METHODS or info.flag_bits & 1:
                    how = "is encrypted" if info.flag_bits & 1 else "is neither stored nor deflated"
                    raise ValueError(f"{path} has a member that {how}; write it again with numpy or torch.")
                if not 0 <= info.header_offset < size:
                    raise ValueError(f"{path} has a member outside of it; copy or write it again.")
            if sum(info.compress_size for info in archive.infolist()) > size:
                raise ValueError(f"{path} has members that overlap; write it again with numpy or torch.")
            yield archive


def _check_directory(file: IO[bytes], size: int, path: Path) -> None:
    """Raise where the list of contents is too long to be read, each entry of which takes many objects."""
    file.seek(max(0, size - TAIL))
    tail = file.read()
    for mark, at, width in ((DIRECTORY_END, 12, 4), (DIRECTORY_END_64, 40, 8)):
        found = tail.rfind(mark)
        length = int.from_bytes(tail[found + at : found + at + width], "little") if found >= 0 else 0
        if DIRECTORY_BYTES < length != (1 << 32) - 1:
            raise ValueError(f"{path} lists too many members ({length:,} bytes); write fewer arrays a file.")
    file.seek(0)
