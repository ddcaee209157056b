"""The cells of a benchmark, and what they come to over runs and over sets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.evaluation.columns import OF_FAILURES, Column, choose_columns
from vilu_sdk.metrics.ranks import cliques, rank_over_sets

#: All labels that there are.
ALL = "all"
#: What names a cell, or says why it is empty.
NAMES = ("set", "scorer", "labels", "run", "note", "failures", "kept_right")


class Ranking(NamedTuple):
    """How scorers rank over sets, best first.

    Attributes
    ----------
    scorers : list of str
        Those that have a value on every set.
    mean_ranks : ndarray of shape (S,)
        From 1, the best on every set, to S.
    p : float
        P-value that all are equally good, by Friedman's test; NaN for fewer than two sets or scorers.
    critical_difference : float
        Two mean ranks that lie further apart than this differ (Nemenyi's test); NaN likewise.
    alike : list of lists of str
        The longest groups of scorers that these sets cannot tell apart.
    n_sets : int
        How many sets there are.
    """

    scorers: list[str]
    mean_ranks: NDArray[np.float64]
    p: float
    critical_difference: float
    alike: list[list[str]]
    n_sets: int


class Complete(NamedTuple):
    """Values (N, S) of scorers that are comparable on all sets on which anybody has a value."""

    values: NDArray[np.float64]
    sets: list[str]
    scorers: list[str]


@dataclass(frozen=True)
class Cells:
    """A record for each set, scorer, number of labels and run; `own` are columns of one's own metrics."""

    records: Sequence[dict[str, Any]]
    own: Sequence[Column] = field(default_factory=tuple)

    @cached_property
    def sets(self) -> list[str]:
        """The names of the sets, in their order."""
        return list(dict.fromkeys(record["set"] for record in self.records))

    @cached_property
    def scorers(self) -> list[str]:
        """The names of the scorers, in their order."""
        return list(dict.fromkeys(record["scorer"] for record in self.records))

    @cached_property
    def labels(self) -> list[int | str]:
        """The numbers of labels, the fewest first, "all" last."""
        found = dict.fromkeys(record["labels"] for record in self.records)
        return sorted(found, key=lambda budget: math.inf if budget == ALL else budget)

    @cached_property
    def runs(self) -> list[int]:
        """The numbers of the runs."""
        return list(dict.fromkeys(record["run"] for record in self.records))

    @cached_property
    def keys(self) -> list[str]:
        """The metrics that some cell has."""
        return [key for key in dict.fromkeys(k for r in self.records for k in r) if key not in NAMES]

    @cached_property
    def rows(self) -> dict[tuple[str, str, int | str], dict[str, Any]]:
        """Means over the runs of each cell, and with several runs their deviations."""
        return {key: self._row(key, runs) for key, runs in self._by_cell.items()}

    @cached_property
    def _by_cell(self) -> dict[tuple[str, str, int | str], list[dict[str, Any]]]:
        found: dict[tuple[str, str, int | str], list[dict[str, Any]]] = {}
        for record in self.records:
            found.setdefault((record["set"], record["scorer"], record["labels"]), []).append(record)
        return found

    def _row(self, key: tuple[str, str, int | str], runs: list[dict[str, Any]]) -> dict[str, Any]:
        # Numbers and "all" in one column would be of two types.
        row: dict[str, Any] = dict(zip(("set", "scorer", "labels"), map(str, key), strict=True))
        for metric in self.keys:
            values = np.array([run.get(metric, math.nan) for run in runs], dtype=np.float64)
            row[metric] = float(values.mean())
            if len(self.runs) > 1:
                row[f"{metric}_std"] = float(values.std(ddof=1))
        return row | {"note": next((run["note"] for run in runs if run["note"]), "")}

    def column(self, metric: str) -> Column:
        """Return how a metric is printed, or raise where it is not known."""
        return choose_columns([metric], self.own, (), None)[0]

    def ranked(self, metric: str) -> Column:
        """Return the column of a metric, or raise where it has no better and worse."""
        column = self.column(metric)
        if not column.better:
            raise ValueError(f"{metric} has no better and worse; give it as Metric(…, higher_is_better=…).")
        return column

    def budget(self, labels: int | str | None) -> int | str:
        """Return a number of labels that there is, by default the largest."""
        if labels is None:
            return self.labels[-1]
        if labels not in self.labels:
            raise ValueError(f"labels has no {labels!r}; there are {', '.join(map(str, self.labels))}.")
        return labels

    def values(
        self, key: str, budget: int | str, sets: Sequence[str], scorers: Sequence[str]
    ) -> NDArray[np.float64]:
        """Means over the runs (N, S) of a metric."""
        found = [[self.rows[name, scorer, budget].get(key, math.nan) for scorer in scorers] for name in sets]
        return np.array(found, dtype=np.float64).reshape(len(sets), len(scorers))

    def kinds(self, column: Column, budget: int | str, sets: Sequence[str]) -> list[Any]:
        """Return for each scorer what tells it from those that it is not comparable with in a column."""
        if column.key not in OF_FAILURES:
            return [None] * len(self.scorers)
        return [
            tuple(run["failures"] for name in sets for run in self._by_cell[name, scorer, budget])
            for scorer in self.scorers
        ]

    def complete(self, column: Column, budget: int | str) -> Complete:
        """Return the sets on which anybody has a value, and the scorers that are comparable there.

        These have a finite value on each set and, for metrics of given failures, fail as the first does.
        """
        values = self.values(column.key, budget, self.sets, self.scorers)
        used = np.flatnonzero(~np.isnan(values).all(axis=1))
        sets = [self.sets[i] for i in used]
        known = np.isfinite(values[used]).all(axis=0) & (len(used) > 0)
        kinds = self.kinds(column, budget, sets)
        first = next((kinds[i] for i in np.flatnonzero(known)), None)
        chosen = [i for i in np.flatnonzero(known) if kinds[i] == first]
        return Complete(values[np.ix_(used, chosen)], sets, [self.scorers[i] for i in chosen])

    def over_sets(self, key: str, budget: int | str, scorer: str, sets: Sequence[str]) -> NDArray[np.float64]:
        """Return the mean over sets of what each run has under a key (R, …), NaN where it has nothing."""
        cells = [self._by_cell[name, scorer, budget] for name in sets]
        filled = next((run[key] for cell in cells for run in cell if key in run), math.nan)
        none = np.full(np.shape(filled), math.nan)
        found = np.array([[run.get(key, none) for run in cell] for cell in cells], dtype=np.float64)
        return np.asarray(found.mean(axis=0))

    def means(self, column: Column, budget: int | str) -> list[dict[str, Any]]:
        """Return for each scorer its mean over sets, and the deviation of that mean between runs."""
        sets, found = self.complete(column, budget).sets, []
        for scorer in self.scorers:
            row = {}
            if sets:
                runs = self.over_sets(column.key, budget, scorer, sets)
                row[column.key] = float(runs.mean())
                if len(runs) > 1:
                    row[f"{column.key}_std"] = float(runs.std(ddof=1))
            found.append(row)
        return found

    def known(self, scorer: str) -> str:
        """Return the name of a scorer that there is."""
        if scorer not in self.scorers:
            raise ValueError(f"scorer has no {scorer!r}; there are {', '.join(self.scorers)}.")
        return scorer

    def learned(self, column: Column, scorer: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return for each number of labels how many rows are fitted (L,), and a scorer's values (L, R).

        Both are means over the sets on which anybody has a value.
        """
        scorer, sizes, values = self.known(scorer), [], []
        for budget in self.labels:
            sets = self.complete(column, budget).sets
            if sets:
                fitted = [self.over_sets("n_fitted", budget, name, sets).mean() for name in self.scorers]
                sizes.append(max(fitted))
                values.append(self.over_sets(column.key, budget, scorer, sets))
        if not sizes or not min(sizes):
            raise ValueError("No scorer learns from labels, so there is no curve over their number.")
        return np.array(sizes).round().astype(np.int64), np.array(values)

    def timed(
        self, column: Column, budget: int | str, seconds: Sequence[str]
    ) -> list[tuple[str, float, float]]:
        """Return comparable scorers, their seconds and their values, means over sets, the fastest first."""
        values, sets, scorers = self.complete(column, budget)
        times = np.zeros(len(scorers))
        for key in [seconds] if isinstance(seconds, str) else seconds:
            clock = self.values(self.column(key).key, budget, sets, scorers)
            times += np.nan_to_num(clock).mean(axis=0)
        means = values.mean(axis=0)
        order = np.lexsort((-column.better * means, times))
        return [(scorers[i], float(times[i]), float(means[i])) for i in order]

    def ranking(self, column: Column, budget: int | str, confidence: float = 0.95) -> Ranking:
        """Rank the comparable scorers over the sets."""
        values, sets, scorers = self.complete(column, budget)
        found = rank_over_sets(column.better * values, confidence)
        order = np.argsort(found.mean, kind="stable")
        groups = [] if math.isnan(found.p) else cliques(found.mean, found.critical_difference)
        return Ranking(
            [scorers[i] for i in order],
            found.mean[order],
            found.p,
            found.critical_difference,
            [[scorers[i] for i in group] for group in groups],
            len(sets),
        )
