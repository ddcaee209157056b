"""The table of a comparison: its rows, what they were computed from, and the forms in which it leaves."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.evaluation.columns import (
    BEST,
    COLUMNS,
    EQUAL,
    OF_FAILURES,
    Cell,
    Column,
    choose_columns,
    column_cells,
)
from vilu_sdk.evaluation.sheet import Sheet, chosen, csv_text, frame
from vilu_sdk.metrics.vectors import BoolVector, FloatVector


@dataclass(frozen=True, repr=False, eq=False)
class ComparisonTable:
    """Result of `compare`: one row for each scorer, in the given order.

    Prints as aligned text in a terminal and as a table in a notebook. Printed rates are in percent, those
    of `to_dicts` are fractions.

    Parameters
    ----------
    rows : sequence of dict
        The values of each scorer, as `to_dicts` returns them.
    scores : mapping of str to ndarray of shape (N,)
        The `decision_function` of each scorer that has values, from which the rows were computed.
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
    novelties : mapping of str to ndarray of shape (N,)
        The `novelty` of each scorer that has one, where some images are labelled -1, on the first split.
    columns : sequence of Column
        The columns to print by default, if they hold values: the usual metrics and your own.
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
    columns: Sequence[Column] = COLUMNS
    novelties: Mapping[str, FloatVector] = field(default_factory=dict)

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

    def to_markdown(
        self, columns: Sequence[str] | None = None, *, intervals: bool = False, digits: int | None = None
    ) -> str:
        """Return the table in Markdown, the best of each column and what is not distinguishable in bold.

        Parameters
        ----------
        columns : sequence of str, optional
            Keys of `to_dicts` to print, in this order; by default the usual ones that hold values.
        intervals : bool, default=False
            Put the interval behind each value.
        digits : int, optional
            Decimals of each number; by default each column has its own.

        Returns
        -------
        str
            A pipe table of aligned columns, then what was scored, then the notes.

        Raises
        ------
        ValueError
            If a column is unknown, or `digits` is negative.
        """
        return self._sheet(columns, digits).markdown(intervals)

    def to_text(self, columns: Sequence[str] | None = None, *, digits: int | None = None) -> str:
        """Return the table as aligned text; the parameters are those of `to_markdown`."""
        return self._sheet(columns, digits).text()

    def to_html(
        self, columns: Sequence[str] | None = None, *, intervals: bool = True, digits: int | None = None
    ) -> str:
        """Return the table in HTML, the best of each column and what is not distinguishable in bold.

        Parameters
        ----------
        columns, digits
            As in `to_markdown`.
        intervals : bool, default=True
            Put the interval under each value.

        Returns
        -------
        str
            A `table` element, and a `p` for each note. Names are escaped.
        """
        return self._sheet(columns, digits).html(intervals)

    def to_latex(
        self, columns: Sequence[str] | None = None, *, intervals: bool = False, digits: int | None = None
    ) -> str:
        """Return the table in LaTeX: the best of a column in bold, the second underlined, ± its spread.

        Parameters
        ----------
        columns, digits
            As in `to_markdown`.
        intervals : bool, default=False
            Put the interval behind each value.

        Returns
        -------
        str
            A `tabular` for the package booktabs; what was scored and the notes are comments below it. Names
            are escaped; where they are not in Latin letters, XeLaTeX or LuaLaTeX prints them.
        """
        return self._sheet(columns, digits).latex(intervals)

    def to_csv(
        self, path: str | os.PathLike[str] | None = None, columns: Sequence[str] | None = None
    ) -> str | None:
        """Return the values as CSV, or write them into a file.

        Parameters
        ----------
        path : str or path, optional
            The file, which appears whole or not at all.
        columns : sequence of str, optional
            As in `to_pandas`.

        Returns
        -------
        str or None
            The text, if there is no path. A missing value is empty; a text that a spreadsheet would take for
            a formula gets an apostrophe before it.
        """
        return csv_text(self._chosen(columns), path)

    def to_pandas(self, columns: Sequence[str] | None = None) -> Any:
        """Return the values as a data frame; needs pandas.

        Parameters
        ----------
        columns : sequence of str, optional
            Keys of `to_dicts`: the frame is wide, a row for each scorer and a column for each key. By default
            it is tidy, a row for each scorer and metric.

        Returns
        -------
        pandas.DataFrame
            Wide: indexed by ``scorer``. Tidy: columns ``scorer``, ``metric``, ``value``, ``low``, ``high``
            and ``std``, NaN where there is none.
        """
        return frame(self._chosen(columns), ["scorer"] if columns is not None else [])

    _repr_html_ = to_html

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def _chosen(self, columns: Sequence[str] | None) -> list[dict[str, Any]]:
        """Return the rows of a frame, wide where columns are chosen."""
        if columns is None:
            ends = ("low", "high", "std")
            derived = tuple(f"_{end}" for end in (*ends, "difference", "p", "best"))
            keys = [
                key for key in self.rows[0] if key not in ("scorer", "note") and not key.endswith(derived)
            ]
            return [
                {"scorer": row["scorer"], "metric": key, "value": row[key]}
                | {end: row.get(f"{key}_{end}", math.nan) for end in ends}
                for row in self.rows
                for key in keys
            ]
        return chosen(self.rows, ["scorer"], columns)

    def _sheet(self, columns: Sequence[str] | None, digits: int | None) -> Sheet:
        shown = choose_columns(columns, self.columns, self._shown(), digits)
        cells = self._cells(shown)
        return Sheet(
            ["scorer", *(column.header for column in shown)],
            list(zip(*cells, strict=True)),
            self._summary(),
            lambda best: self._notes(best, cells),
            "" if self.confidence is None else BEST,
        )

    def _cells(self, shown: Sequence[Column]) -> list[list[Cell]]:
        alpha = None if self.confidence is None else 1 - self.confidence
        names = [Cell(row["scorer"]) for row in self.rows]
        return [names, *(column_cells(column, self.rows, alpha, self._kinds(column)) for column in shown)]

    def _shown(self) -> list[Column]:
        """Return the columns that some scorer has a value in; one accuracy for all is in the summary."""
        held = {column.key: {row.get(column.key, math.nan) for row in self.rows} for column in self.columns}
        known = {key: {value for value in values if not math.isnan(value)} for key, values in held.items()}
        return [column for column in self.columns if len(known[column.key]) > (column.key == "accuracy")]

    def _kinds(self, column: Column) -> list[Any]:
        """Return for each row what tells it from those that it is not comparable with in a column."""
        if column.key not in OF_FAILURES:
            return [None] * len(self.rows)
        failures = (self.failures.get(row["scorer"]) for row in self.rows)
        return [None if failure is None else failure.tobytes() for failure in failures]

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

    def _notes(self, best: str, columns: Sequence[Sequence[Cell]]) -> list[str]:
        cells = [cell for column in columns for cell in column]
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
