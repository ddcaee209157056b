"""What a benchmark found: its tables, ranks and what they prove, learning curves."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vilu_sdk.evaluation.layout import sheet
from vilu_sdk.evaluation.over_sets import Cells, Ranking
from vilu_sdk.evaluation.sheet import chosen, csv_text, frame
from vilu_sdk.inputs.values import fraction
from vilu_sdk.metrics.ranking import COVERAGES
from vilu_sdk.metrics.ranks import wins
from vilu_sdk.metrics.vectors import FloatVector


@dataclass(frozen=True, repr=False, eq=False)
class Benchmark(Cells):
    """Result of `benchmark`.

    Prints the AUC in percent, a row for each set, then means and mean ranks. Means cover the sets on which at
    least one scorer has a value, and the scorers that have a value on all of these.

    Parameters
    ----------
    records : sequence of dict
        A dict for each set, scorer, number of labels and run.
    own : sequence of Column
        How your own metrics are printed.
    """

    def select(self, sets: Sequence[str] | None = None, scorers: Sequence[str] | None = None) -> "Benchmark":
        """Return the part on some sets and of some scorers, in the order given.

        Raises
        ------
        ValueError
            If there is none of such a name.
        """
        wanted = {"set": sets or self.sets, "scorer": scorers or self.scorers}
        for what, there in (("set", self.sets), ("scorer", self.scorers)):
            if unknown := [name for name in wanted[what] if name not in there]:
                raise ValueError(f"{what}s has no {unknown[0]!r}; there are {', '.join(there)}.")
        found = [r for r in self.records if all(r[what] in names for what, names in wanted.items())]
        found.sort(key=lambda r: (wanted["set"].index(r["set"]), wanted["scorer"].index(r["scorer"])))
        return Benchmark(found, self.own)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a dict for each set, scorer and number of labels.

        Returns
        -------
        list of dict
            ``set``, ``scorer``, ``labels`` (text, "100" or "all"), ``n_fitted``, the metrics of
            `failure_metrics` and one's own as means over the runs, and with several runs their standard
            deviations (``auc_std``); ``note``: why there are none, or "".
        """
        return [
            dict(self.rows[name, scorer, budget])
            for name in self.sets
            for scorer in self.scorers
            for budget in self.labels
        ]

    def to_pandas(self, columns: Sequence[str] | None = None) -> Any:
        """Return the values as a data frame; needs pandas.

        Parameters
        ----------
        columns : sequence of str, optional
            Keys of `to_dicts`: the frame is wide, with a column for each. By default it is tidy, with a row
            for each metric.

        Returns
        -------
        pandas.DataFrame
            Wide: indexed by ``set``, ``scorer`` and ``labels``. Tidy: these as columns, with ``metric``,
            ``value`` and ``std``.
        """
        return frame(self._chosen(columns), [] if columns is None else ["set", "scorer", "labels"])

    def to_csv(
        self, path: str | os.PathLike[str] | None = None, columns: Sequence[str] | None = None
    ) -> str | None:
        """Return the values of `to_pandas` as CSV, or write them into a file."""
        return csv_text(self._chosen(columns), path)

    def to_markdown(
        self,
        columns: Sequence[str] | None = None,
        *,
        layout: str = "sets",
        labels: int | str | None = None,
        digits: int | None = None,
    ) -> str:
        """Return a table in Markdown, the best in bold.

        Parameters
        ----------
        columns : sequence of str, optional
            The metrics to print, by default the AUC; in the layout "means" all usual ones.
        layout : {"sets", "scorers", "means"}, default="sets"
            - "sets": a row for each set and a column for each scorer, then means and mean ranks;
            - "scorers": a row for each scorer and a column for each set, mean and mean rank;
            - "means": a row for each scorer and a column for each metric, means over sets.
        labels : int or "all", optional
            Of which number of labels; by default the largest.
        digits : int, optional
            Decimals of metrics; by default each has its own.

        Returns
        -------
        str
            The table, then what was measured and the notes.

        Raises
        ------
        ValueError
            If a column, a layout or a number of labels is not known.
        """
        return sheet(self, columns, layout, labels, digits).markdown()

    def to_text(
        self,
        columns: Sequence[str] | None = None,
        *,
        layout: str = "sets",
        labels: int | str | None = None,
        digits: int | None = None,
    ) -> str:
        """Return a table as aligned text; the parameters are those of `to_markdown`."""
        return sheet(self, columns, layout, labels, digits).text()

    def to_html(
        self,
        columns: Sequence[str] | None = None,
        *,
        layout: str = "sets",
        labels: int | str | None = None,
        digits: int | None = None,
    ) -> str:
        """Return a table in HTML, the best in bold; the parameters are those of `to_markdown`."""
        return sheet(self, columns, layout, labels, digits).html()

    def to_latex(
        self,
        columns: Sequence[str] | None = None,
        *,
        layout: str = "sets",
        labels: int | str | None = None,
        digits: int | None = None,
    ) -> str:
        """Return a table for LaTeX with booktabs, the best in bold, the second underlined, ± over the runs.

        The parameters are those of `to_markdown`.
        """
        return sheet(self, columns, layout, labels, digits).latex()

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def ranks(
        self, metric: str = "auc", *, labels: int | str | None = None, confidence: float = 0.95
    ) -> Ranking:
        """Rank the scorers over the sets by a metric, and test which differences of ranks are significant.

        Parameters
        ----------
        metric : str, default="auc"
            One of which higher, or lower, is better.
        labels : int or "all", optional
            As in `to_markdown`.
        confidence : float, default=0.95
            Of the critical difference.

        Returns
        -------
        Ranking

        References
        ----------
        Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006.
        """
        level = fraction(confidence, "confidence")
        return self.ranking(self.ranked(metric), self.budget(labels), level)

    def wins(
        self, metric: str = "auc", *, labels: int | str | None = None, within: float = 0.0
    ) -> dict[str, dict[str, tuple[int, int, int]]]:
        """Count on how many sets each scorer wins against, ties with and loses to each other one.

        Parameters
        ----------
        metric, labels
            As in `ranks`.
        within : float, default=0
            Differences up to this much are ties.

        Returns
        -------
        dict of str to dict
            ``wins()["MCM"]["entropy"]`` is (won, tied, lost), over the sets on which both have a value.
        """
        column = self.ranked(metric)
        values = self.values(column.key, self.budget(labels), self.sets, self.scorers)
        counts = wins(column.better * values, within)
        return {
            one: {
                other: (int(counts[i, j, 0]), int(counts[i, j, 1]), int(counts[i, j, 2]))
                for j, other in enumerate(self.scorers)
                if i != j
            }
            for i, one in enumerate(self.scorers)
        }

    def learning_curves(self, metric: str = "auc") -> dict[str, list[tuple[int | str, float]]]:
        """Return for each scorer the mean of a metric over sets, for each number of labels.

        Parameters
        ----------
        metric : str, default="auc"

        Returns
        -------
        dict of str to list of (labels, value)
            The fewest labels first; NaN of scorers without a value on some of the sets.
        """
        column = self.column(metric)
        found: dict[str, list[tuple[int | str, float]]] = {name: [] for name in self.scorers}
        for budget in self.labels:
            for scorer, mean in zip(self.scorers, self.means(column, budget), strict=True):
                found[scorer].append((budget, mean.get(column.key, math.nan)))
        return found

    def coverage_curves(self, *, labels: int | str | None = None) -> dict[str, FloatVector]:
        """Return for each scorer the accuracy of its most certain predictions, mean over sets.

        Parameters
        ----------
        labels : int or "all", optional
            As in `to_markdown`.

        Returns
        -------
        dict of str to ndarray of shape (100,)
            Of the surest 1 %, 2 % and so on to all; NaN of scorers without a value on some of the sets. Of
            predictions of equal uncertainty that a share cuts through, a random part.
        """
        budget = self.budget(labels)
        sets = self.complete(self.column("accuracy"), budget).sets
        found = {name: np.full(COVERAGES.shape, math.nan) for name in self.scorers}
        for name, curve in found.items() if sets else ():
            curve[:] = self.over_sets("kept_right", budget, name, sets).mean(axis=0)
        return found

    def pareto(
        self,
        metric: str = "auc",
        seconds: Sequence[str] = ("fit_seconds", "score_seconds"),
        *,
        labels: int | str | None = None,
    ) -> list[tuple[str, float, float]]:
        """Return the scorers than which no other is both as good and as fast.

        Parameters
        ----------
        metric, labels
            As in `ranks`.
        seconds : sequence of str
            The times to add up; a scorer that learns nothing takes none for its fit.

        Returns
        -------
        list of (scorer, seconds, value)
            Means over sets, the fastest first.
        """
        column, budget = self.ranked(metric), self.budget(labels)
        front: list[tuple[str, float, float]] = []
        for one in self.timed(column, budget, seconds):
            if not front or column.better * one[2] > column.better * front[-1][2]:
                front.append(one)
        return front

    def _chosen(self, columns: Sequence[str] | None) -> list[dict[str, Any]]:
        """Return the rows of a frame, wide where columns are chosen."""
        rows, names, keys = self.to_dicts(), ("set", "scorer", "labels"), self.keys
        if columns is not None:
            return chosen(rows, names, columns)
        return [
            {name: row[name] for name in names}
            | {"metric": key, "value": row[key], "std": row.get(f"{key}_std", math.nan)}
            for row in rows
            for key in keys
        ]
