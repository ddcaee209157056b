"""The table of a comparison: plain text, Markdown, HTML and dicts of the same numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs import escape
from vilu_sdk.metrics.significance import OF_GIVEN_FAILURES
from vilu_sdk.metrics.text import align, lines
from vilu_sdk.metrics.vectors import BoolVector, FloatVector


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
    Column("answered_at_5", "answered at 5 %", better=1),
    Column("accuracy", "accuracy %"),
    Column("answer_accuracy", "answers right %"),
    Column("fit_seconds", "fit s", scale=1, decimals=3),
    Column("score_seconds", "score s", scale=1, decimals=3),
)
MISSING = "–"
BEST = "*"
EQUAL = "≈"


class Cell(NamedTuple):
    """A printed value, its interval, whether it is among the best, and like the reference."""

    text: str
    interval: str = ""
    best: bool = False
    equal: bool = False

    def mark(self, best: str = "") -> str:
        """Return the marks, with one for the best where it cannot be bold."""
        return best * self.best + EQUAL * self.equal


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
        Where the prediction of the first scorer with values is wrong; None if no scorer has values.
    probabilities : mapping of str to ndarray of shape (N,)
        The `predict_uncertainty` of the scorers for which it is a probability of failure.
    confidence : float or None
        Of the intervals and tests in the rows; None if there are none.
    reference : str or None
        The scorer to which differences were taken.
    n_splits : int
        Over how many splits the rows are means. `scores`, `failure`, `probabilities` and `predicted` are
        those of the first split.
    predicted : ndarray of shape (N,) or None
        The predictions of the first scorer with values, rows of the candidates; None if none has.
    failures, predictions : mapping of str to ndarray of shape (N,)
        Where the prediction of each scorer is wrong, and which it is, on the first split. The same for all
        that judge the zero-shot prediction.
    """

    rows: Sequence[dict[str, Any]]
    scores: Mapping[str, FloatVector] = field(default_factory=dict)
    failure: BoolVector | None = None
    probabilities: Mapping[str, FloatVector] = field(default_factory=dict)
    confidence: float | None = None
    reference: str | None = None
    n_splits: int = 1
    predicted: NDArray[np.int64] | None = None
    failures: Mapping[str, BoolVector] = field(default_factory=dict)
    predictions: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dicts, ready for `pandas.DataFrame`.

        Returns
        -------
        list of dict
            ``scorer``: the name. The metrics of `failure_metrics`, as fractions; ``ece``, ``brier`` and
            ``nll`` are NaN for a scorer whose uncertainty is not a probability. ``zero_shot_accuracy`` and
            ``answer_accuracy``, of the posterior's answers: NaN for a scorer that has none of its own.
            ``fit_seconds`` (NaN if it was not fitted here), ``score_seconds``. ``note``: why a scorer has no
            values, that it is judged on predictions of its own, or "".
            With a confidence, for each metric of auc, fpr95, aupr_error, aurc, augrc, ece, brier, accuracy:
            ``auc_low``, ``auc_high``: the interval (NaN for ``ece`` on one split).
            ``auc_p_best``: p-value of the difference to the best value of the table, corrected for all
            pairs; 1 for the best itself.
            With a reference too: ``auc_difference``: this scorer minus the reference.
            ``auc_difference_low``, ``auc_difference_high``: its interval, of this one difference.
            ``auc_p``: its p-value, corrected for all comparisons with the reference. NaN in the row of the
            reference. Of auc, fpr95 and aupr_error, p-values and intervals of differences are NaN between
            scorers that fail on other rows.
            With several splits: ``auc_std``, of every metric, between the splits.
        """
        return [dict(row) for row in self.rows]

    def to_markdown(self, *, intervals: bool = False) -> str:
        """Return the table in Markdown, the best of each column and what is not distinguishable in bold.

        Parameters
        ----------
        intervals : bool, default=False
            Put the interval behind each value.

        Returns
        -------
        str
            A pipe table of aligned columns, then what was scored, then the notes.
        """
        grid = self._grid(escape.markdown, "**{}**", " ({})" if intervals else "")
        header, *body = align(grid, left=1, least=3)
        first, *numbers = (len(cell) - 1 for cell in header)
        rule = [":" + "-" * first, *("-" * width + ":" for width in numbers)]
        table = "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *body))
        notes = "\n".join(f"- {escape.markdown(note)}" for note in self._notes("Bold"))
        return "\n\n".join(filter(None, [table, self._summary(), notes]))

    def to_html(self, *, intervals: bool = True) -> str:
        """Return the table in HTML, the best of each column and what is not distinguishable in bold.

        Parameters
        ----------
        intervals : bool, default=True
            Put the interval under each value.

        Returns
        -------
        str
            A `table` element, and a `p` for each note. Names are escaped.
        """
        interval = "<br><small>{}</small>" if intervals else ""
        header, *body = self._grid(escape.html, "<b>{}</b>", interval)

        def tr(row: list[str], tag: str) -> str:
            left, right = "text-align: left", "text-align: right"
            cells = (f'<{tag} style="{right if i else left}">{text}</{tag}>' for i, text in enumerate(row))
            return f"<tr>{''.join(cells)}</tr>"

        summary = self._summary()
        caption = f"<caption>{escape.html(summary)}</caption>" if summary else ""
        notes = "".join(f"<p>{escape.html(note)}</p>" for note in self._notes("Bold"))
        return (
            f"<table>{caption}<thead>{tr(header, 'th')}</thead>"
            f"<tbody>{''.join(tr(row, 'td') for row in body)}</tbody></table>{notes}"
        )

    _repr_html_ = to_html

    def __str__(self) -> str:
        columns = self._columns()
        star = "" if self.confidence is None else BEST
        # Marks get a place of their own, so that digits stay below digits.
        places = [max(len(cell.mark(star)) for cell in cells) for cells in columns]
        rows = [
            [cell.text + cell.mark(star).ljust(place) for cell, place in zip(row, places, strict=True)]
            for row in zip(*columns, strict=True)
        ]
        header, *body = align([self._header(), *rows], left=1)
        rule = ["-" * len(cell) for cell in header]
        return "\n".join(
            filter(
                None, [self._summary(), *lines([header, rule, *body]), *map(escape.line, self._notes(star))]
            )
        )

    __repr__ = __str__

    def _columns(self) -> list[list[Cell]]:
        alpha = None if self.confidence is None else 1 - self.confidence
        names = [Cell(row["scorer"]) for row in self.rows]
        shown = self._shown()
        return [names, *(column_cells(column, self.rows, alpha, self._kinds(column)) for column in shown)]

    def _shown(self) -> list[Column]:
        """Return the columns that some scorer has a value in; one accuracy for all is in the summary."""
        held = {column.key: {row.get(column.key, math.nan) for row in self.rows} for column in COLUMNS}
        known = {key: {value for value in values if not math.isnan(value)} for key, values in held.items()}
        return [column for column in COLUMNS if len(known[column.key]) > (column.key == "accuracy")]

    def _header(self) -> list[str]:
        return ["scorer", *(column.header for column in self._shown())]

    def _kinds(self, column: Column) -> list[Any]:
        """Return for each row what tells it from those that it is not comparable with in a column."""
        if column.key not in OF_GIVEN_FAILURES:
            return [None] * len(self.rows)
        failures = (self.failures.get(row["scorer"]) for row in self.rows)
        return [None if failure is None else failure.tobytes() for failure in failures]

    def _grid(self, escaped: Callable[[str], str], best: str, interval: str) -> list[list[str]]:
        """Return header and rows as strings, by templates of the best cells and of intervals."""

        def show(cell: Cell) -> str:
            text = escaped(cell.text)
            text = (best.format(text) if cell.best else text) + cell.mark()
            return text + interval.format(cell.interval) if cell.interval else text

        return [
            self._header(),
            *([show(cell) for cell in cells] for cells in zip(*self._columns(), strict=True)),
        ]

    def _summary(self) -> str:
        scored = [row for row in self.rows if not math.isnan(row["n"])]
        if not scored:
            return ""
        rates = list(dict.fromkeys(f"{100 * row['accuracy']:.1f}" for row in scored))
        if len(rates) == 1:
            accuracy = f"zero-shot accuracy {rates[0]} %"
        else:
            accuracy = f"accuracy {min(rates, key=float)} to {max(rates, key=float)} %"
        if self.n_splits > 1:
            return (
                f"mean ± standard deviation over {self.n_splits} random splits, {scored[0]['n']} rows scored "
                f"in each, {accuracy}"
            )
        return f"{scored[0]['n']} rows scored, {accuracy}"

    def _notes(self, best: str) -> list[str]:
        cells = [cell for column in self._columns() for cell in column]
        notes = []
        if self.confidence is not None:
            notes += self._without_intervals()
            level = f"{100 * self.confidence:g} %"
            if any(cell.best for cell in cells):
                notes.append(
                    f"{best}: the best of its column or not distinguishable from it at {level} "
                    f"(Holm, all pairs){self._among_their_own()}"
                )
            if any(cell.equal for cell in cells):
                notes.append(f"{EQUAL}: not distinguishable from {self.reference} at {level} (Holm)")
        return notes + [f"{row['scorer']}: {row['note']}" for row in self.rows if row["note"]]

    def _among_their_own(self) -> str:
        """Say which columns compare scorers of the same failures alone, where there are others."""
        kinds = {failure.tobytes() for failure in self.failures.values()}
        return (
            "; in AUC, FPR95 and AUPR-error among scorers of the same predictions" if len(kinds) > 1 else ""
        )

    def _without_intervals(self) -> list[str]:
        """Say which scorers have too few rows of a kind."""
        notes: dict[str, list[str]] = {}
        for name, failure in self.failures.items() if self.n_splits == 1 else ():
            wrong = int(failure.sum())
            if min(wrong, len(failure) - wrong) < 2:
                notes.setdefault(f"{wrong} of {len(failure)} predictions are wrong", []).append(name)
        return [
            f"{', '.join(names)}: no intervals and tests, since {found}; they take two wrong and two right"
            for found, names in notes.items()
        ]


def column_cells(
    column: Column, rows: Sequence[dict[str, Any]], alpha: float | None, kinds: Sequence[Any]
) -> list[Cell]:
    """Format one column; without tests (alpha is None) the best of a kind are the best as printed."""
    texts = [_number(column, row, column.key) for row in rows]
    tested = alpha is not None and column.better != 0
    if tested:
        best = [row.get(f"{column.key}_p_best", math.nan) > alpha for row in rows]
    else:
        ranked: dict[Any, list[float]] = {}
        for kind, text in zip(kinds, texts, strict=True):
            ranked.setdefault(kind, []).extend([column.better * float(text)] if text != MISSING else [])
        top = {kind: max(own) for kind, own in ranked.items() if column.better and len(own) > 1}
        best = [
            text != MISSING and column.better * float(text) == top.get(kind)
            for kind, text in zip(kinds, texts, strict=True)
        ]
    return [
        Cell(
            _spread(column, row, text),
            _interval(column, row),
            is_best,
            tested and row.get(f"{column.key}_p", math.nan) > alpha,
        )
        for row, text, is_best in zip(rows, texts, best, strict=True)
    ]


def _number(column: Column, row: dict[str, Any], key: str, less: int = 0) -> str:
    """Format one value, with some decimals `less`; `MISSING` if there is none."""
    value = column.scale * row.get(key, math.nan)
    return MISSING if math.isnan(value) else f"{value:.{column.decimals - less}f}"


def _spread(column: Column, row: dict[str, Any], text: str) -> str:
    """Put the standard deviation over splits behind a rate."""
    spread = _number(column, row, f"{column.key}_std")
    return text if spread == MISSING or not column.better else f"{text} ± {spread}"


def _interval(column: Column, row: dict[str, Any]) -> str:
    """Format the interval with one decimal less than the value."""
    ends = [_number(column, row, f"{column.key}_{end}", less=1) for end in ("low", "high")]
    return "" if MISSING in ends else "–".join(ends)
