"""Text files with one value for each row: the lines of a ``.txt``, a column of a ``.csv`` or ``.tsv``."""

import codecs
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.arrays import choose
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
    found = _lines(path, text, column) if kind(path) == ".txt" else _column(path, text, column)
    while found and not found[-1]:
        found.pop()
    if "" in found:
        raise ValueError(f"{path} has no value in row {found.index('')}; write one for each row.")
    return np.array(found, dtype=object)


def decoded(path: Path) -> str:
    """Read a file in UTF-8, or in an encoding that its first bytes name."""
    data = path.read_bytes()
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
    return [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


def _column(path: Path, text: str, column: str | None) -> list[str]:
    delimiter = "\t" if kind(path) == ".tsv" else ","
    table = _table(path, text, delimiter)
    if kind(path) == ".csv" and len(table[0]) == 1:  # spreadsheets of many countries write semicolons
        other = next((mark for mark in ";\t" if mark in table[0][0]), None)
        table = _table(path, text, other) if other else table
    header, *rows = table
    header = [plain(name) for name in header]
    column = choose(path, "column", None if column is None else plain(column), [one for one in header if one])
    position = header.index(column)
    for row, values in enumerate(rows):
        if any(value.strip() for value in values[len(header) :]):
            raise ValueError(
                f"{path} has {len(values)} values in row {row} under a header of {len(header)}; put quotes "
                "around values that hold the separator."
            )
    return [values[position].strip() if position < len(values) else "" for values in rows]


def _table(path: Path, text: str, delimiter: str) -> list[list[str]]:
    """Cut text into the header and the rows; an empty file has an empty header."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return list(reader) or [[]]
    except csv.Error as error:
        raise ValueError(
            f"{path} is no table in line {reader.line_num} ({error}); check the quotes there."
        ) from error
