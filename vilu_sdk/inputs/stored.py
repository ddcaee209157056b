"""Bytes of a file: whether it is the one that was opened, and what lies where its rows are stored."""

import hashlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

# Bytes that are read at a time.
BUFFER = 1 << 22
# Seconds for which a file that is to be replaced may be held by somebody else, and between two tries.
HELD_SECONDS, PAUSE = 2.0, 0.02


def kind(path: Path) -> str:
    """Return the suffix of a file, in small letters, by which it is known how to read it."""
    return path.suffix.lower()


def replace(source: Path, target: Path) -> None:
    """Give a file its final name, in the place of what has it.

    Windows refuses that while somebody reads the target, a virus scanner for instance, which takes a moment.
    """
    until = time.monotonic() + HELD_SECONDS
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if os.name != "nt" or time.monotonic() > until:
                error.filename, error.filename2 = str(target), None  # and not the hidden name
                raise
        time.sleep(PAUSE)


class Stamp(NamedTuple):
    """By what a file is known while a job reads it: any write to it changes the last of these."""

    size: int
    modified: int  # in nanoseconds, as `changed`
    changed: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Look at a file."""
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True)
class Stored(ABC):
    """A file of rows, with the stamp that it had before its header was read."""

    path: Path
    stamp: Stamp

    @property
    @abstractmethod
    def span(self) -> tuple[int, int]:
        """Where in the file all that is read of it begins and ends, in bytes."""

    @abstractmethod
    def ranges(self, rows: range) -> list[tuple[int, int]]:
        """Where some rows begin and end, or the smallest parts of the file that hold them."""

    def check(self) -> None:
        """Raise where the file is not the one that was opened."""
        if Stamp.of(self.path) != self.stamp:
            raise ValueError(f"{self.path} has changed since it was opened; start again.")

    def content(self, *ranges: tuple[int, int]) -> Iterator[bytes]:
        """Yield the bytes of these ranges, by default of all rows, some at a time."""
        with self.path.open("rb") as file:
            for start, stop in ranges or [self.span]:
                file.seek(start)
                while start < stop and (found := file.read(min(BUFFER, stop - start))):
                    yield found
                    start += len(found)

    def checksum(self, rows: range) -> str:
        """Return the SHA-256 of the bytes of some rows."""
        found = hashlib.sha256()
        for part in self.content(*self.ranges(rows)):
            found.update(part)
        return found.hexdigest()


class Descriptor:
    """A file that is open for as long as something reads it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._number = os.dup(file.fileno())

    def __del__(self) -> None:
        os.close(self._number)

    def size(self) -> int:
        """Return the bytes of the file as it is now."""
        return os.fstat(self._number).st_size

    def fill(self, values: NDArray[Any], start: int) -> bool:
        """Read an array from a place in the file; False where the file ends before."""
        left = memoryview(cast(Any, values.reshape(-1).view(np.uint8)))
        while len(left):
            done = os.preadv(self._number, [left], start)
            if not done:
                return False
            left, start = left[done:], start + done
        return True
