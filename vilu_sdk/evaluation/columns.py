"""The columns of tables: which metrics there are, how values are printed, and which of them are best."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from vilu_sdk.inputs.names import by_place
from vilu_sdk.inputs.values import is_word, whole
from vilu_sdk.metrics.significance import OF_GIVEN_FAILURES


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
    if columns is not None:
        columns = by_place(columns, "columns", "of metrics")
    unknown = [key for key in columns or () if not is_word(key, by_key)]
    if unknown:
        raise ValueError(f"columns has no {unknown[0]!r}; there are {', '.join(by_key)}.")
    chosen = list(shown) if columns is None else [by_key[key] for key in columns]
    if digits is None:
        return chosen
    decimals = whole(digits, "digits", 0)
    return [column._replace(decimals=decimals) for column in chosen]


def column_cells(
    column: Column, rows: Sequence[dict[str, Any]], alpha: float | None, kinds: Sequence[Any]
) -> list[Cell]:
    """Format one column; without tests (alpha is None) the best of a kind are the best as printed."""
    texts = [_number(column, row, column.key) for row in rows]
    tested = alpha is not None and column.better != 0
    # What is infinite, as 1 / 0 is, is no better than what is not.
    values = [column.better * float(text) if _is_finite(text) else math.nan for text in texts]
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


def _number(column: Column, row: dict[str, Any], key: str, less: int = 0) -> str:
    """Format one value, with some decimals `less`; `MISSING` if there is none."""
    value = column.scale * row.get(key, math.nan)
    return MISSING if math.isnan(value) else f"{value:.{max(0, column.decimals - less)}f}"


def _is_finite(text: str) -> bool:
    return text != MISSING and math.isfinite(float(text))


def _spread(column: Column, row: dict[str, Any], text: str) -> str:
    """Put the standard deviation over splits behind a rate."""
    spread = _number(column, row, f"{column.key}_std")
    return text if spread == MISSING or not column.better else f"{text} ± {spread}"


def _interval(column: Column, row: dict[str, Any]) -> str:
    """Format the interval with one decimal less than the value."""
    ends = [_number(column, row, f"{column.key}_{end}", less=1) for end in ("low", "high")]
    return "" if MISSING in ends else "–".join(ends)
