"""Print what was measured beside the paper's figures, as Markdown or for machines."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from _core import Bench
from _entry import Column, Entry, Job, Row
from _published import FIGURES

from vilu_sdk.compute.progress import track

NONE = "–"


def print_markdown(entry: Entry, bench: Bench) -> None:
    """Print the rows as they are measured, then what they are and what is missing."""
    plan = list(entry.plan(bench))
    with_setting = any(job.setting for job in plan)
    print(f"## {entry.heading}\n")
    if plan:
        headers = _headers(entry.columns)
        print(f"| {' | '.join(['data', 'method', *['setting'] * with_setting, *headers])} |")
        print(f"|{'---|' * (2 + with_setting)}{'---:|' * len(headers)}")
    rows = []
    for row in _measure(entry, bench, plan):
        rows.append(row)
        print(_line(row, entry.columns, with_setting), flush=True)
    for row in averages(rows, entry.columns) if entry.averages else []:
        print(_line(row, entry.columns, with_setting))
    _draw(entry, bench, rows)
    for title, items in _notes(entry, bench, plan).items():
        print(f"\n{title.capitalize()}:\n\n" + "\n".join(f"- {item}" for item in items))
    print(flush=True)


def as_dict(entry: Entry, bench: Bench) -> dict[str, Any]:
    """Return all that is printed, with NaN as None."""
    plan = list(entry.plan(bench))
    rows = list(_measure(entry, bench, plan))
    _draw(entry, bench, rows)
    found = [_row_as_dict(row, entry.columns) for row in rows]
    return {"entry": entry.name, "title": entry.title, "rows": found, **_notes(entry, bench, plan)}


def averages(rows: Sequence[Row], columns: Sequence[Column]) -> Iterator[Row]:
    """Yield means, of ours and of the paper's, over the data sets that can be compared."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.paper and not row.stands_in:
            groups.setdefault((row.method, row.setting), []).append(row)
    for (method, setting), group in groups.items():
        if len(group) > 1:
            ours, paper = (
                {
                    column.key: float(np.mean([getattr(row, side)[column.key] for row in group]))
                    for column in columns
                }
                for side in ("values", "paper")
            )
            yield Row(f"mean of {len(group)} sets", "", "", False, method, setting, ours, {}, paper)


def _draw(entry: Entry, bench: Bench, rows: Sequence[Row]) -> None:
    """Draw the pictures of an entry that has some, if a folder is there for them, and note where they are."""
    if entry.draw is None or bench.pictures is None or not rows:
        return
    bench.pictures.mkdir(parents=True, exist_ok=True)
    for name, figure in entry.draw(rows):
        path = bench.pictures / f"{name}.pdf"
        figure.savefig(path)
        bench.notes.append(f"drawn in {path}")


def _measure(entry: Entry, bench: Bench, plan: Sequence[Job]) -> Iterator[Row]:
    """Yield the rows that can be measured."""
    for job in track(plan, entry.name):
        if (row := bench.run(job)) is not None:
            yield row


def _notes(entry: Entry, bench: Bench, plan: Sequence[Job]) -> dict[str, list[str]]:
    """Say what the rows are, by kind of note."""
    data = {job.data.path: job.data for job in plan}
    settings = bench.fits.settings
    rate = "" if settings.learning_rate is None else f", learning rate {settings.learning_rate:g}"
    rate += f", view noise {settings.view_noise:g}" if settings.view_noise else ""
    rate += ", rate and batch of each set chosen on train rows left out" if settings.grid else ""
    epochs = f"Epochs of LVU and of the published recipe: {settings.epochs}{rate}. Seeds: {settings.seeds}."
    remark = FIGURES["notes"].get(entry.name)
    notes = {
        "data": [bench.describe(one) for one in data.values()],
        "missing": [f"{', '.join(what)}: {reason}." for reason, what in bench.missing.items()],
        "found": bench.notes,
        "measured": [entry.about, epochs],
        "the paper's figures": [remark] if remark else [],
    }
    return {title: items for title, items in notes.items() if items}


def _headers(columns: Sequence[Column]) -> list[str]:
    headers = []
    for column in columns:
        headers += [column.header, "paper", "difference"] if column.compared else [column.header]
    return headers


def _line(row: Row, columns: Sequence[Column], with_setting: bool) -> str:
    data = f"{row.data} ({row.classes})" if row.classes else row.data
    cells = [data, row.method, *([row.setting] if with_setting else [])]
    for column in columns:
        ours = _number(row.values.get(column.key), column.decimals)
        spread = _number(row.spread.get(column.key), column.decimals)
        cells.append(ours if NONE in (ours, spread) else f"{ours} ± {spread}")
        if column.compared:
            cells += [_number(row.paper.get(column.key), 1), _number(row.difference(column.key), 1, sign="+")]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, decimals: int, sign: str = "") -> str:
    if value is None or math.isnan(value):
        return NONE
    return f"{round(value, decimals) + 0.0:{sign}.{decimals}f}"  # adding zero turns -0.0 into 0.0


def _row_as_dict(row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "data": row.data,
        "file": row.file,
        "classes": row.classes,
        "stands_in": row.stands_in,
        "method": row.method,
        "setting": row.setting,
    }
    for column in columns:
        key = column.key
        found[key] = row.values.get(key)
        if key in row.spread:
            found[f"{key}_std"] = row.spread[key]
        if column.compared:
            found |= {f"{key}_paper": row.paper.get(key), f"{key}_difference": row.difference(key)}
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value for key, value in found.items()
    }
