"""A table of printed cells, and the forms in which it leaves: text, Markdown, HTML, LaTeX.

`column_cells` formats the values of a column and finds the best, a `Sheet` lays cells out. Values of any
table leave as frames and CSV through `frame` and `csv_text`.
"""

import csv
import io
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from vilu_sdk.inputs import escape
from vilu_sdk.metrics.significance import OF_GIVEN_FAILURES
from vilu_sdk.metrics.text import align, lines
from vilu_sdk.persistence.storage import whole_file


class Column(NamedTuple):
    """How one value of a row is printed; `better` is +1 if higher is better, -1 if lower, 0 if neither."""

    key: str
    header: str
    scale: float = 100.0
    decimals: int = 2
    better: int = 0


#: What a comparison prints without being asked.
COLUMNS = (
    Column("auc", "AUC % ↑", better=1),
    Column("fpr95", "FPR95 % ↓", better=-1),
    Column("aupr_error", "AUPR-error % ↑", better=1),
    Column("aurc", "AURC % ↓", better=-1),
    Column("augrc", "AUGRC % ↓", better=-1),
    Column("ece", "ECE % ↓", better=-1),
    Column("answered_at_5", "answered at 5 %", better=1),
    Column("accuracy", "accuracy %"),
    Column("answer_accuracy", "answers right %"),
    Column("fit_seconds", "fit s", scale=1, decimals=3),
    Column("score_seconds", "score s", scale=1, decimals=3),
)
_OTHERS = (
    Column("fpr95_conservative", "FPR95 % ↓, conservative", better=-1),
    Column("fpr95_error", "FPR95 % ↓, of errors", better=-1),
    Column("aupr_success", "AUPR-success % ↑", better=1),
    Column("e_aurc", "E-AURC % ↓", better=-1),
    Column("e_augrc", "E-AUGRC % ↓", better=-1),
    Column("brier", "Brier % ↓", better=-1),
    Column("nll", "NLL ↓", scale=1, decimals=3, better=-1),
    Column("answered_at_1", "answered at 1 %", better=1),
    Column("answered_at_10", "answered at 10 %", better=1),
    Column("error_rate", "errors %"),
    Column("zero_shot_accuracy", "zero-shot right %"),
    Column("unknown_auc", "unknown AUC % ↑", better=1),
    Column("unknown_fpr95", "unknown FPR95 % ↓", better=-1),
    Column("novelty_auc", "novelty AUC % ↑", better=1),
    Column("novelty_fpr95", "novelty FPR95 % ↓", better=-1),
    Column("known_auc", "AUC % ↑ among known", better=1),
    Column("unknown_share", "unknown %"),
    Column("n", "rows", scale=1, decimals=0),
    Column("n_fitted", "rows fitted", scale=1, decimals=0),
)
#: Every metric that a table can print, by its key.
KNOWN = {column.key: column for column in (*COLUMNS, *_OTHERS)}
#: Those that are about the failures that a scorer is given, and compare none that predict otherwise.
OF_FAILURES = (*OF_GIVEN_FAILURES, "known_auc")
MISSING = "–"
BEST = "*"
EQUAL = "≈"


class Cell(NamedTuple):
    """A printed value, its interval, whether it is among the best, like the reference, or second."""

    text: str
    interval: str = ""
    best: bool = False
    equal: bool = False
    second: bool = False

    def mark(self, best: str = "") -> str:
        """Return the marks, with one for the best where it cannot be bold."""
        return best * self.best + EQUAL * self.equal


def choose_columns(
    columns: Sequence[str] | None, known: Sequence[Column], shown: Sequence[Column], digits: int | None
) -> list[Column]:
    """Return the columns of these keys, by default those shown, with so many decimals.

    Raises
    ------
    ValueError
        If a key is none of a known column, or `digits` is negative.
    """
    by_key = KNOWN | {column.key: column for column in known}
    if isinstance(columns, str):
        columns = [columns]
    unknown = [key for key in columns or () if key not in by_key]
    if unknown:
        raise ValueError(f"columns has no {unknown[0]!r}; there are {', '.join(by_key)}.")
    if digits is not None and not (isinstance(digits, int) and digits >= 0):
        raise ValueError(f"digits must be an integer of at least 0, got {digits!r}.")
    chosen = list(shown) if columns is None else [by_key[key] for key in columns]
    return chosen if digits is None else [column._replace(decimals=digits) for column in chosen]


def column_cells(
    column: Column, rows: Sequence[dict[str, Any]], alpha: float | None, kinds: Sequence[Any]
) -> list[Cell]:
    """Format one column; without tests (alpha is None) the best of a kind are the best as printed."""
    texts = [_number(column, row, column.key) for row in rows]
    tested = alpha is not None and column.better != 0
    values = [math.nan if text == MISSING else column.better * float(text) for text in texts]
    ranked: dict[Any, list[float]] = {}
    for kind, value in zip(kinds, values, strict=True):
        ranked.setdefault(kind, []).extend([] if math.isnan(value) else [value])
    if tested:
        best = [row.get(f"{column.key}_p_best", math.nan) > alpha for row in rows]
    else:
        top = {kind: max(own) for kind, own in ranked.items() if column.better and len(own) > 1}
        best = [value == top.get(kind) for kind, value in zip(kinds, values, strict=True)]
    behind = {
        kind: max(
            (v for own, v, is_best in zip(kinds, values, best, strict=True) if own == kind and not is_best),
            default=math.nan,
            key=lambda v: -math.inf if math.isnan(v) else v,
        )
        for kind, own in ranked.items()
        if column.better and len(own) > 1 and any(best)  # none are where values differ by no test
    }
    return [
        Cell(
            _spread(column, row, text),
            _interval(column, row),
            is_best,
            tested and row.get(f"{column.key}_p", math.nan) > alpha,
            not is_best and value == behind.get(kind),
        )
        for row, text, value, kind, is_best in zip(rows, texts, values, kinds, best, strict=True)
    ]


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
    with whole_file(Path(path).expanduser()) as file:
        file.write(buffer.getvalue().encode("utf-8"))
    return None


def _number(column: Column, row: dict[str, Any], key: str, less: int = 0) -> str:
    """Format one value, with some decimals `less`; `MISSING` if there is none."""
    value = column.scale * row.get(key, math.nan)
    return MISSING if math.isnan(value) else f"{value:.{max(0, column.decimals - less)}f}"


def _spread(column: Column, row: dict[str, Any], text: str) -> str:
    """Put the standard deviation over splits behind a rate."""
    spread = _number(column, row, f"{column.key}_std")
    return text if spread == MISSING or not column.better else f"{text} ± {spread}"


def _interval(column: Column, row: dict[str, Any]) -> str:
    """Format the interval with one decimal less than the value."""
    ends = [_number(column, row, f"{column.key}_{end}", less=1) for end in ("low", "high")]
    return "" if MISSING in ends else "–".join(ends)
