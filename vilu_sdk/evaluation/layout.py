"""Where the cells of a benchmark stand in its tables, and what is said below them."""

import math
from collections.abc import Sequence

from vilu_sdk.evaluation.columns import BEST, COLUMNS, Cell, Column, choose_columns, column_cells
from vilu_sdk.evaluation.over_sets import ALL, Cells
from vilu_sdk.evaluation.sheet import Sheet
from vilu_sdk.inputs.values import is_word

LAYOUTS = ("sets", "scorers", "means")
RANK = Column("rank", "mean rank", scale=1, better=-1)
# What stands behind the sets.
MEAN = "mean"


def sheet(
    cells: Cells, columns: Sequence[str] | None, layout: str, labels: int | str | None, digits: int | None
) -> Sheet:
    """Lay the cells out as `Benchmark.to_markdown` describes it."""
    if not is_word(layout, LAYOUTS):
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}.")
    budget = cells.budget(labels)
    usual = [column for column in (*COLUMNS, *cells.own) if column.key in cells.keys]
    shown = choose_columns(columns, cells.own, usual if layout == "means" else COLUMNS[:1], digits)
    printed = [_printed(cells, column, budget) for column in shown]
    names = [Cell(name) for name in cells.scorers]
    many = len(shown) > 1
    lines = [*cells.sets, MEAN, *([RANK.header] if any(column.better for column in shown) else [])]
    headers = [column.header for column in shown]
    blank = [Cell("")] * len(names)
    groups: list[str] = []
    last = 0
    if layout == "means":
        first = next((i for i, column in enumerate(shown) if column.better), None)
        by_column = [names, *(of_column[MEAN] for of_column in printed)]
        header = ["scorer", *headers]
        if first is not None:
            by_column.append(printed[first][RANK.header])
            header.append(f"{RANK.header} by {shown[first].key}" if many else RANK.header)
        rows = list(zip(*by_column, strict=True))
    elif layout == "scorers":
        of = [(line, i) for line in lines for i in range(len(shown)) if line in printed[i]]
        rows = list(zip(names, *(printed[i][line] for line, i in of), strict=True))
        header = ["scorer", *(headers[i] if many else line for line, i in of)]
        groups = ["", *(line for line, _ in of)] if many else []
    else:
        rows = [
            (Cell(line), *(cell for block in printed for cell in block.get(line, blank))) for line in lines
        ]
        header = ["set", *(cells.scorers * len(shown))]
        groups = ["", *(header for header in headers for _ in names)] if many else []
        last = len(lines) - len(cells.sets)
    caption = _caption(cells, shown, layout, budget)
    return Sheet(header, rows, caption, lambda best: notes(cells, shown, budget, best), BEST, groups, last)


def notes(cells: Cells, shown: Sequence[Column], budget: int | str, best: str) -> list[str]:
    """Say what the sets prove by the first metric, who is left out of it, and why values are missing."""
    found = [f"{best}: the best"] if best == BEST else []
    column = next((column for column in shown if column.better), None)
    if column is not None:
        ranking = cells.ranking(column, budget)
        if not math.isnan(ranking.p):
            said = f"= {ranking.p:.2g}" if ranking.p > 1e-4 else "≤ 0.0001"
            alike = "; ".join(", ".join(group) for group in ranking.alike)
            found.append(
                f"mean ranks by {column.key} over {ranking.n_sets} sets: p {said} that all are "
                f"equally good (Friedman), critical difference {ranking.critical_difference:.2f} "
                f"(Nemenyi, 95 %)" + (f"; not told apart: {alike}" if alike else "")
            )
        _, sets, comparable = cells.complete(column, budget)
        if left := [name for name in cells.sets if name not in sets]:
            found.append(f"nobody has a value of {column.key} on {', '.join(left)}; means leave it out")
        if left := [name for name in cells.scorers if name not in comparable]:
            found.append(
                f"without a rank by {column.key}, since they lack a finite value on a set or predict "
                f"otherwise than {comparable[0] if comparable else 'each other'}: {', '.join(left)}"
            )
    by_reason: dict[tuple[str, str], list[str]] = {}
    for (name, scorer, labels), row in cells.rows.items():
        if row["note"] and labels == budget:
            by_reason.setdefault((scorer, row["note"]), []).append(name)
    return found + [f"{scorer} on {', '.join(sets)}: {note}" for (scorer, note), sets in by_reason.items()]


def _printed(cells: Cells, column: Column, budget: int | str) -> dict[str, list[Cell]]:
    """Return the cells of all scorers on each set, in the mean and in the mean rank."""
    found = {}
    for name in cells.sets:
        rows = [cells.rows[name, scorer, budget] for scorer in cells.scorers]
        found[name] = column_cells(column, rows, None, cells.kinds(column, budget, [name]))
    kinds = cells.kinds(column, budget, cells.complete(column, budget).sets)
    found[MEAN] = column_cells(column, cells.means(column, budget), None, kinds)
    if column.better:
        ranking = cells.ranking(column, budget)
        ranks = dict(zip(ranking.scorers, ranking.mean_ranks.tolist(), strict=True))
        rows = [{RANK.key: ranks.get(scorer, math.nan)} for scorer in cells.scorers]
        found[RANK.header] = column_cells(RANK, rows, None, [None] * len(rows))
    return found


def _caption(cells: Cells, shown: Sequence[Column], layout: str, budget: int | str) -> str:
    def count(n: int, what: str) -> str:
        return f"{n} {what}" + "s" * (n != 1)

    what = "" if layout == "means" or len(shown) > 1 else f"{shown[0].header} of "
    given = "" if budget == ALL else f", {budget} labels"
    where = f"on {count(len(cells.sets), 'set')}{given}, {count(len(cells.runs), 'run')}"
    return f"{what}{count(len(cells.scorers), 'scorer')} {where}"
