"""Text files with one value for each row: the lines of a ``.txt``, a column of a ``.csv`` or ``.tsv``."""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.arrays import choose
from vilu_sdk.inputs.foreign import LINE_CHARACTERS, TEXT_BYTES, TEXTS, check_count, read_bytes
from vilu_sdk.inputs.names import plain
from vilu_sdk.inputs.stored import kind

#: The marks with which other encodings than UTF-8 begin; the longer ones first.
MARKS = {
    **{codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"},
    **{codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"},
}
SUFFIXES = (".csv", ".tsv", ".txt")


def text_vector(path: Path, column: str | None) -> NDArray[Any]:
    """Read one text for each row, (n,), without the blanks around it; empty lines at the end are none."""
    text = decoded(path)
    check_count(path, max(map(text.count, "\n\r")), TEXTS, "texts")
    found = _lines(path, text, column) if kind(path) == ".txt" else _column(path, text, column)
    while found and not found[-1]:
        found.pop()
    if "" in found:
        raise ValueError(f"{path} has no value in row {found.index('')}; write one for each row.")
    return np.array(found, dtype=object)


def text_table(path: Path) -> list[list[str]]:
    """Read a ``.csv`` or ``.tsv`` as rows of texts, the header first, without the blanks around them."""
    return [[cell.strip() for cell in row] for row in _rows(path, decoded(path))]


def decoded(path: Path) -> str:
    """Read a file in UTF-8, or in an encoding that its first bytes name."""
    data = read_bytes(path, TEXT_BYTES, "save so many values in .npy or .parquet")
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8-sig")
    try:
        text = data.decode(encoding)
        at = data.find(b"\0") if encoding == "utf-8-sig" else -1  # UTF-16 without its mark
    except UnicodeDecodeError as error:
        text, at = "", error.start
    if at >= 0:
        line = data[:at].count(b"\n") + 1
        name = encoding.removesuffix("-sig").upper()
        raise ValueError(f"{path} is not in {name}: byte {at}, in line {line}, is no text; save it as UTF-8.")
    return text


def _lines(path: Path, text: str, column: str | None) -> list[str]:
    if column is not None:
        raise ValueError(f"{path} has lines and no columns; leave out column={column!r}, or name it .csv.")
    # Not splitlines(), which also cuts at form feeds and at separators that names may hold.
    lines = io.StringIO(text, newline=None).readlines()
    if max(map(len, lines), default=0) > LINE_CHARACTERS:
        list(_short_lines(path, lines))  # which says where
    return [line.strip() for line in lines]


def _short_lines(path: Path, lines: Iterable[str]) -> Iterator[str]:
    """Yield lines, each with its end, none of which is too long to be one of values."""
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_CHARACTERS:
            raise ValueError(
                f"{path} has {len(line):,} characters in line {number}, at most {LINE_CHARACTERS:,} are "
                "read; write one value for each row."
            )
        yield line


def _column(path: Path, text: str, column: str | None) -> list[str]:
    rows = _rows(path, text)
    header = [plain(name) for name in next(rows)]
    if not any(header):
        raise ValueError(f"{path} begins with no header; write one, and a value for each row below it.")
    column = choose(path, "column", None if column is None else plain(column), [one for one in header if one])
    position = header.index(column)
    found = []
    for row, values in enumerate(rows):
        if any(value.strip() for value in values[len(header) :]):
            raise ValueError(
                f"{path} has {len(values)} values in row {row} under a header of {len(header)}; put quotes "
                "around values that hold the separator."
            )
        found.append(values[position].strip() if position < len(values) else "")
    return found


def _rows(path: Path, text: str) -> Iterator[list[str]]:
    """Yield the header and the rows of a text, cut by what its header is cut by."""
    rows = _table(path, text, "\t" if kind(path) == ".tsv" else ",")
    header = next(rows)
    if kind(path) == ".csv" and len(header) == 1:  # spreadsheets of many countries write semicolons
        other = next((mark for mark in ";\t" if mark in header[0]), None)
        if other:
            rows = _table(path, text, other)
            header = next(rows)
    yield header
    yield from rows


def _table(path: Path, text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the header and the rows of a text; an empty file has an empty header."""
    lines = _short_lines(path, io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    empty = True
    try:
        for row in reader:
            empty = False
            yield row
    except csv.Error as error:
        raise ValueError(
            f"{path} is no table in line {reader.line_num} ({error}); check the quotes there."
        ) from error
    if empty:
        yield []
