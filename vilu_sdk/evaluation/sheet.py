"""A table of printed cells, and the forms in which it leaves: text, Markdown, HTML, LaTeX.

Values of any table leave as frames and CSV through `chosen`, `frame` and `csv_text`.
"""

import csv
import io
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from vilu_sdk.evaluation.columns import BEST, Cell
from vilu_sdk.inputs import escape
from vilu_sdk.inputs.values import as_path
from vilu_sdk.metrics.text import align, lines
from vilu_sdk.persistence.files import whole_file


@dataclass(frozen=True)
class Sheet:
    """Cells ready to print.

    Parameters
    ----------
    header : sequence of str
        Of each column, that of names first.
    rows : sequence of sequences of Cell
        The cells of each row, its name first.
    caption : str
        What was measured, in a line.
    notes : callable
        From the word or sign for "best" to the lines below.
    star : str
        The sign of the best in plain text.
    groups : sequence of str
        What is above the header of each column; nothing if empty.
    last : int
        How many rows at the end are set apart, since they are means of the others.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    notes: Callable[[str], Sequence[str]] = lambda best: ()
    star: str = BEST
    groups: Sequence[str] = ()
    last: int = 0

    @property
    def headers(self) -> list[str]:
        """The header in one line."""
        groups = self.groups or [""] * len(self.header)
        both = zip(groups, self.header, strict=True)
        return [" ".join(filter(None, [group, header])) for group, header in both]

    def text(self) -> str:
        """Return aligned text; marks get a place of their own, so that digits stay below digits."""
        columns = list(zip(*self.rows, strict=True))
        places = [max((len(cell.mark(self.star)) for cell in cells), default=0) for cells in columns]
        rows = [
            [cell.text + cell.mark(self.star).ljust(place) for cell, place in zip(row, places, strict=True)]
            for row in self.rows
        ]
        header, *body = align([self.headers, *rows], left=1)
        rule = ["-" * len(cell) for cell in header]
        apart = [rule] if self.last else []
        body = body[: len(body) - self.last] + apart + body[len(body) - self.last :]
        notes = map(escape.line, self.notes(self.star))
        return "\n".join(filter(None, [self.caption, *lines([header, rule, *body]), *notes]))

    def markdown(self, intervals: bool = False) -> str:
        """Return a pipe table of aligned columns, then the caption, then the notes."""
        rows = self._grid(escape.markdown, "**{}**", "{}", " ({})" if intervals else "")
        header, *body = align([[escape.markdown(header) for header in self.headers], *rows], left=1, least=3)
        first, *numbers = (len(cell) - 1 for cell in header)
        rule = [":" + "-" * first, *("-" * width + ":" for width in numbers)]
        table = "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *body))
        notes = "\n".join(f"- {escape.markdown(note)}" for note in self.notes("Bold"))
        return "\n\n".join(filter(None, [table, self.caption, notes]))

    def html(self, intervals: bool = True) -> str:
        """Return a `table` element, and a `p` for each note."""
        body = self._grid(escape.html, "<b>{}</b>", "{}", "<br><small>{}</small>" if intervals else "")

        def tr(row: Sequence[str], tag: str) -> str:
            left, right = "text-align: left", "text-align: right"
            cells = (f'<{tag} style="{right if i else left}">{text}</{tag}>' for i, text in enumerate(row))
            return f"<tr>{''.join(cells)}</tr>"

        caption = f"<caption>{escape.html(self.caption)}</caption>" if self.caption else ""
        notes = "".join(f"<p>{escape.html(note)}</p>" for note in self.notes("Bold"))
        return (
            f"<table>{caption}<thead>{tr([escape.html(header) for header in self.headers], 'th')}</thead>"
            f"<tbody>{''.join(tr(row, 'td') for row in body)}</tbody></table>{notes}"
        )

    def latex(self, intervals: bool = False) -> str:
        """Return a `tabular` for the package booktabs, caption and notes as comments below it."""
        rows = self._grid(
            escape.latex, r"\textbf{{{}}}", r"\underline{{{}}}", r" {{\scriptsize ({})}}" if intervals else ""
        )
        header = [" & ".join(map(escape.latex, self.header)) + r" \\"]
        if any(self.groups):
            header = [*self._latex_groups(), *header]
        body = [" & ".join(row) + r" \\" for row in rows]
        apart = [r"\midrule"] if self.last else []
        comments = [self.caption, *self.notes("Bold")]
        return "\n".join(
            [
                r"\begin{tabular}{l" + "r" * (len(self.header) - 1) + "}",
                r"\toprule",
                *header,
                r"\midrule",
                *body[: len(body) - self.last],
                *apart,
                *body[len(body) - self.last :],
                r"\bottomrule",
                r"\end{tabular}",
                *(f"% {escape.line(comment)}" for comment in comments if comment),
            ]
        )

    def _latex_groups(self) -> list[str]:
        cells, rules, at = [], [], 1
        for group, members in groupby(self.groups):
            width = len(list(members))
            name = escape.latex(group)
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{name}}}" if group else " & " * (width - 1))
            if group:
                rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
            at += width
        return [" & ".join(cells) + r" \\", " ".join(rules)]

    def _grid(self, escaped: Callable[[str], str], best: str, second: str, interval: str) -> list[list[str]]:
        """Return rows as strings, by templates of the best and second cells and of intervals."""

        def show(cell: Cell) -> str:
            text = escaped(cell.text)
            text = best.format(text) if cell.best else second.format(text) if cell.second else text
            text += escaped(cell.mark())
            return text + interval.format(escaped(cell.interval)) if cell.interval else text

        return [[show(cell) for cell in row] for row in self.rows]


def chosen(
    rows: Sequence[dict[str, Any]], names: Sequence[str], columns: Sequence[str] | str
) -> list[dict[str, Any]]:
    """Return of each row what names it, and these columns.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    columns = [columns] if isinstance(columns, str) else list(columns)
    if unknown := [key for key in columns if key not in rows[0]]:
        raise ValueError(f"columns has no {unknown[0]!r}; there are {', '.join(rows[0])}.")
    return [{key: row[key] for key in (*names, *columns)} for row in rows]


def frame(rows: Sequence[dict[str, Any]], index: Sequence[str] = ()) -> Any:
    """Return rows as a frame of pandas, with these columns for the index."""
    import pandas as pd

    found = pd.DataFrame(list(rows))
    return found.set_index(list(index)) if index and len(found) else found


def csv_text(
    rows: Sequence[dict[str, Any]], path: str | os.PathLike[str] | None, raw: bool = False
) -> str | None:
    """Return rows as CSV, or write them whole into a file; `raw` leaves texts that look like formulas."""
    names = list(rows[0]) if rows else []
    cells = {name: [row[name] for row in rows] for name in names}
    if not raw:
        cells = {escape.line(name): list(escape.csv_cells(values)) for name, values in cells.items()}
    shown = (
        ["" if isinstance(value, float) and math.isnan(value) else value for value in row]
        for row in zip(*cells.values(), strict=True)
    )
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(list(cells))
    writer.writerows(shown)
    if path is None:
        return buffer.getvalue()
    with whole_file(as_path(path, "path")) as file:
        file.write(buffer.getvalue().encode("utf-8"))
    return None
