"""Tables as text."""

from collections.abc import Iterable, Sequence

from vilu_sdk.inputs.escape import line


def align(rows: Iterable[Sequence[str]], left: int = 0, least: int = 0) -> list[list[str]]:
    """Pad the cells of each column to one width, at `least` this one: text on the left in the first columns.

    The first `left` columns hold words, the others numbers, which end at the right.
    """
    padded = []
    for number, cells in enumerate(zip(*rows, strict=True)):
        column = [line(cell) for cell in cells]
        width = max(least, *map(len, column))
        padded.append([cell.ljust(width) if number < left else cell.rjust(width) for cell in column])
    return [list(row) for row in zip(*padded, strict=True)]


def lines(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return aligned rows as lines of text."""
    return ["  ".join(row).rstrip() for row in rows]
