"""Where in files something is wrong, in words: the file, the row, and the row of the whole source."""

import os
import reprlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from vilu_sdk.inputs.escape import line, masked

#: Characters of a value, and of the message of another library, that an error shows.
SHOWN, QUOTED = 60, 160
#: Names that an error lists.
LISTED = 20
#: Characters of an error that comes of a file: its beginning, and its end, which says what to do.
BEGINNING, END = 700, 200


class BadRowError(ValueError):
    """A row that cannot be used: the words before it and after it, and where it is in files."""

    def __init__(self, before: str, row: int, after: str, where: str | None = None) -> None:
        super().__init__(before, row, after, where)
        self.row = row

    def __str__(self) -> str:
        before, row, after, where = self.args
        return f"{before} {where or f'row {row}'}{after}"

    def moved(self, first: int, where: str) -> Self:
        """Return the error of a batch as one of its source, in which the batch begins with row `first`."""
        before, row, after, _ = self.args
        return type(self)(before, first + row, after, where)


def place(row: int, paths: Sequence[Path], starts: Sequence[int]) -> str:
    """Name a row of files that begin with the rows `starts`, also by its number in its file.

    A file goes by its path inside the folder around all of them.

    Examples
    --------
    >>> place(103, [Path("z_0.npy"), Path("z_1.npy")], [0, 100])
    'row 103 (row 3 of z_1.npy)'
    """
    if len(paths) == 1:
        return f"row {row}"
    folder = os.path.commonpath([path.parent for path in paths])
    number = bisect_right(list(starts[: len(paths)]), row) - 1
    return f"row {row} (row {row - starts[number]} of {os.path.relpath(paths[number], folder)})"


def shown(value: Any) -> str:
    """Quote a value, of a long one its beginning and its end, of an address no secret."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = SHOWN
    try:
        said = line(short.repr(masked(value) if isinstance(value, str) else value))
    except ValueError:  # of integers with thousands of digits
        return f"a long {type(value).__name__}"
    return said if len(said) <= QUOTED else f"{said[:QUOTED]} …"


def brief(value: Any, most: int = QUOTED) -> str:
    """Return a text, or what an error of a library says, in one line of at most so many characters."""
    said = line(" ".join(str(value).split())) or type(value).__name__
    return said if len(said) <= most else f"{said[:most]} …"


def listed(names: Iterable[Any], most: int = LISTED) -> str:
    """Return the first of some names in their order, and how many more there are.

    Examples
    --------
    >>> listed(["b", "a", "c"], 2)
    'a, b and 1 more'
    """
    found = sorted(map(brief, names))
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def cut(said: str) -> str:
    """Return what an error says in one line; of a long one its beginning, and its end, with the remedy."""
    said = line(" ".join(said.split()))
    return said if len(said) <= BEGINNING + END + 3 else f"{said[:BEGINNING]} … {said[-END:]}"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Let no error of a library leave without the file that it is of, and what to do, in one line.

    Errors that name the file pass, and so do those of the operating system, with the file added.
    """
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        said = str(error)
        if isinstance(error, BadRowError):
            raise
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = error.filename or str(path)
            raise
        if str(path) in said:
            if said == cut(said) or not isinstance(error, ValueError):
                raise
            raise ValueError(cut(said)) from error
        said = brief(error)
        raise ValueError(f"{path} is damaged or truncated ({said}); copy or write it again.") from error
