"""The table of a comparison: plain text, Markdown, HTML and dicts of the same numbers."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vilu_sdk.checks import BoolVector, FloatVector


class Column(NamedTuple):
    """How one value of a row is printed; `better` is +1 if higher is better, -1 if lower, 0 if neither."""

    key: str
    header: str
    scale: float = 100.0
    decimals: int = 2
    better: int = 0


COLUMNS = (
    Column("auc", "AUC % ↑", better=1),
    Column("fpr95", "FPR95 % ↓", better=-1),
    Column("aupr_error", "AUPR-error % ↑", better=1),
    Column("aurc", "AURC % ↓", better=-1),
    Column("augrc", "AUGRC % ↓", better=-1),
    Column("ece", "ECE % ↓", better=-1),
    Column("fit_seconds", "fit s", scale=1, decimals=3),
    Column("score_seconds", "score s", scale=1, decimals=3),
)
MISSING = "–"


class Cell(NamedTuple):
    """A printed value and whether it is the best of its column."""

    text: str
    best: bool = False


def column_cells(column: Column, rows: Sequence[dict[str, Any]]) -> list[Cell]:
    """Format one column and mark its best values, ties at the printed precision included."""
    values = [column.scale * row[column.key] for row in rows]
    texts = [MISSING if math.isnan(v) else f"{v:.{column.decimals}f}" for v in values]
    ranked = [column.better * float(text) for text in texts if text != MISSING]
    best = max(ranked) if column.better and len(ranked) > 1 else None
    return [Cell(text, text != MISSING and column.better * float(text) == best) for text in texts]


@dataclass(frozen=True, repr=False, eq=False)
class ComparisonTable:
    """What `compare` returns: one row for each scorer, in the order they were given.

    Prints as aligned text in a terminal and as a table in a notebook. Printed rates are in percent, those
    of `to_dicts` are fractions.

    Parameters
    ----------
    rows : sequence of dict
        The values of each scorer, as `to_dicts` returns them.
    scores : mapping of str to ndarray of shape (N,)
        What the rows were computed from: the `decision_function` of each scorer that has values.
    failure : ndarray of shape (N,) or None
        Where the zero-shot prediction is wrong; None if no scorer has values.
    probabilities : mapping of str to ndarray of shape (N,)
        The `predict_uncertainty` of the scorers for which it is a probability of failure.
    """

    rows: Sequence[dict[str, Any]]
    scores: Mapping[str, FloatVector] = field(default_factory=dict)
    failure: BoolVector | None = None
    probabilities: Mapping[str, FloatVector] = field(default_factory=dict)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dicts, ready for `pandas.DataFrame`.

        Returns
        -------
        list of dict
            ``scorer``: the name. The metrics of `failure_metrics`, as fractions; ``ece``, ``brier`` and
            ``nll`` are NaN for a scorer whose uncertainty is not a probability. ``fit_seconds`` (NaN if it
            was not fitted here), ``score_seconds``. ``note``: why a scorer has no values, or "".
        """
        return [dict(row) for row in self.rows]

    def to_markdown(self) -> str:
        """Return the table in Markdown, the best value of each column in bold.

        Returns
        -------
        str
            A pipe table of aligned columns, then what was scored, then the notes.
        """

        def show(cell: Cell) -> str:
            text = cell.text.replace("\\", "\\\\").replace("|", "\\|")
            return f"**{text}**" if cell.best else text

        header, *body = self._grid(show)
        widths = self._widths([header, *body], least=3)
        rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = [f"| {' | '.join(self._pad(row, widths))} |" for row in (header, rule, *body)]
        notes = [f"- {note}" for note in self._notes()]
        return "\n\n".join(part for part in ("\n".join(lines), self._summary(), "\n".join(notes)) if part)

    def __str__(self) -> str:
        header, *body = self._grid(lambda cell: cell.text)
        widths = self._widths([header, *body])
        rule = ["-" * width for width in widths]
        lines = ["  ".join(self._pad(row, widths)).rstrip() for row in (header, rule, *body)]
        return "\n".join(filter(None, [self._summary(), *lines, *self._notes()]))

    __repr__ = __str__

    def to_html(self) -> str:
        """Return the table in HTML, the best value of each column in bold.

        Returns
        -------
        str
            A `table` element, and a `p` for each note. Names are escaped.
        """

        def show(cell: Cell) -> str:
            text = html.escape(cell.text)
            return f"<b>{text}</b>" if cell.best else text

        header, *body = self._grid(show)

        def tr(row: list[str], tag: str) -> str:
            left, right = "text-align: left", "text-align: right"
            cells = (f'<{tag} style="{right if i else left}">{text}</{tag}>' for i, text in enumerate(row))
            return f"<tr>{''.join(cells)}</tr>"

        summary = self._summary()
        caption = f"<caption>{html.escape(summary)}</caption>" if summary else ""
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self._notes())
        return (
            f"<table>{caption}<thead>{tr(header, 'th')}</thead>"
            f"<tbody>{''.join(tr(row, 'td') for row in body)}</tbody></table>{notes}"
        )

    _repr_html_ = to_html

    def _grid(self, show: Callable[[Cell], str]) -> list[list[str]]:
        """Return header and rows as strings."""
        names = [Cell(row["scorer"]) for row in self.rows]
        columns = [names, *(column_cells(column, self.rows) for column in COLUMNS)]
        headers = ["scorer", *(column.header for column in COLUMNS)]
        return [headers, *([show(cell) for cell in cells] for cells in zip(*columns, strict=True))]

    @staticmethod
    def _widths(rows: list[list[str]], least: int = 0) -> list[int]:
        return [max(least, *map(len, column)) for column in zip(*rows, strict=True)]

    @staticmethod
    def _pad(row: list[str], widths: list[int]) -> list[str]:
        """Names to the left, numbers to the right."""
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        return [row[0].ljust(widths[0]), *cells[1:]]

    def _summary(self) -> str:
        scored = [row for row in self.rows if not math.isnan(row["n"])]
        if not scored:
            return ""
        return f"{scored[0]['n']} rows scored, zero-shot accuracy {100 * scored[0]['accuracy']:.1f} %"

    def _notes(self) -> list[str]:
        return [f"{row['scorer']}: {row['note']}" for row in self.rows if row["note"]]
