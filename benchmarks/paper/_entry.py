"""What a table or figure of the paper is here: columns, rows to measure, and rows measured."""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from _data import Data
from _published import FIGURES


class Column(NamedTuple):
    """A measured value and its header; whether the paper's stands beside it; its decimals."""

    key: str
    header: str
    compared: bool = True
    decimals: int = 1


AUC = Column("auc", "AUC %")
FPR95 = Column("fpr95", "FPR95 %")


Values = dict[str, float]


class Job(NamedTuple):
    """One row to measure: what it says, what the paper prints, and the function from a seed to values."""

    data: Data
    key: str
    method: str
    setting: str
    paper: Values
    measure: Callable[[int], Values]


class Row(NamedTuple):
    """A measured row: means over seeds, their standard deviations, and the paper's values, in percent."""

    data: str
    file: str
    classes: str
    stands_in: bool
    method: str
    setting: str
    values: Values
    spread: Values
    paper: Values

    def difference(self, key: str) -> float:
        """Our value minus the paper's, NaN where that would mean nothing."""
        return math.nan if self.stands_in else self.values.get(key, math.nan) - self.paper.get(key, math.nan)


# Yields the rows that an entry wants of a bench.
Plan = Callable[[Any], Iterator[Job]]


@dataclass(frozen=True)
class Entry:
    """A table or figure of the paper.

    Parameters
    ----------
    name : str
        As on the command line, ``table1``.
    title : str
        What it shows.
    columns : sequence of Column
        What is printed of each row.
    plan : callable
        Takes a bench and yields the jobs; its docstring says how it is measured.
    averages : bool
        Whether to print means over the data sets.
    draw : callable, optional
        Takes the measured rows, and yields names and figures of matplotlib.
    """

    name: str
    title: str
    columns: Sequence[Column]
    plan: Plan
    averages: bool
    draw: Callable[[Sequence[Row]], Iterator[tuple[str, Any]]] | None = None

    @property
    def heading(self) -> str:
        """What it is called in the paper, with its title; of our own entries the title alone."""
        kind, number = self.name[:-1], self.name[-1]
        return f"{kind.capitalize()} {number}: {self.title}" if number.isdigit() else self.title

    @property
    def about(self) -> str:
        """How it is measured here, and what embeddings cannot give."""
        return " ".join((inspect.getdoc(self.plan) or "").split())


ENTRIES: dict[str, Entry] = {}


def entry(
    name: str,
    columns: Sequence[Column] = (AUC, FPR95),
    *,
    title: str = "",
    averages: bool = False,
    draw: Callable[[Sequence[Row]], Iterator[tuple[str, Any]]] | None = None,
) -> Callable[[Plan], Plan]:
    """Register the function that plans an entry."""

    def register(plan: Plan) -> Plan:
        found = title or FIGURES["entries"][name]["title"]
        ENTRIES[name] = Entry(name, found, columns, plan, averages, draw)
        return plan

    return register
