"""The findings of a set predictor on its calibration set, and its promise."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from vilu_sdk.metrics.text import align, lines
from vilu_sdk.persistence.encoding import storable
from vilu_sdk.selective.conformity import rank_needed
from vilu_sdk.selective.report import Findings, SelectionReport, percent, rows_said

# Share of calibration sets whose coverage lies in the interval that is printed.
MOST = 0.9


@storable
@dataclass(frozen=True, eq=False)
class SetReport(Findings):
    """Findings on the calibration set, for all rows or for one group; prints as a few lines.

    Attributes
    ----------
    coverage : float
        Guaranteed share of later images whose set contains the right candidate.
    method : str
        How the threshold was found.
    n : int
        Calibration rows.
    candidates : int
        K, how many candidates there are.
    threshold : float
        Candidates of a score of at most this are in a set; infinity where there are too few rows for a
        threshold, and NaN where groups or candidates have their own.
    covered : int
        Calibration rows whose set holds the right candidate.
    sizes : tuple of int
        How many calibration rows have a set of 0, 1, 2, ... candidates.
    coverage_bound : float
        What is promised: `coverage`, on average over calibration sets. Where a limit of the size, or images
        of none of the candidates, forbid that, what the sets reach with 95 % confidence.
    size_limit : int or None
        Most candidates of a set.
    allow_empty : bool
        Whether a set may be empty. If not, the likeliest one alone can be right more often than is promised.
    fit_rows : int
        Rows of the same labelled set that `fit` has fitted the scorer on; 0 where it came fitted.
    siblings : int
        Rows that are not counted, because another one of their unit calibrates.
    folds : int
        Of cross-conformal sets, how many scorers were fitted, each without one of them; then `coverage_bound`
        is what is proved, and mostly coverage is about `coverage`. Counts of rows are by these scorers.
    group : int, float, str or None
        The group of this report.
    groups : tuple of SetReport
        One for each group, each with its own promise.
    answers : SelectionReport or None
        Of the threshold on whose abstentions the sets are. All else here is about those.
    """

    coverage: float
    method: str
    n: int
    candidates: int
    threshold: float
    covered: int
    sizes: tuple[int, ...]
    coverage_bound: float
    size_limit: int | None = None
    allow_empty: bool = True
    fit_rows: int = 0
    siblings: int = 0
    folds: int = 0
    group: int | float | str | None = None
    groups: "tuple[SetReport, ...]" = ()
    answers: SelectionReport | None = None

    @property
    def sentence(self) -> str:
        """The conclusion for later images, in one sentence."""
        kept = f"with the right one guaranteed to be among them for {percent(self.coverage_bound)}"
        if self.answers is None:
            size = f"{self.mean_size:.1f} of {self.candidates} candidates"
            return f"Names {size} on average, {kept} of the images."
        return (
            f"{self.answers.sentence.removesuffix('.')}; the others have {self.mean_size:.1f} candidates on "
            f"average, {kept}."
        )

    @property
    def observed_coverage(self) -> float:
        """Share of the calibration rows whose set holds the right candidate."""
        return self.covered / self.n

    @property
    def mean_size(self) -> float:
        """Candidates in the set of a calibration row, on average."""
        return float(np.dot(self.sizes, np.arange(len(self.sizes)))) / self.n

    @property
    def single_share(self) -> float:
        """Share of the calibration rows whose set is one candidate."""
        return sum(self.sizes[1:2]) / self.n

    @property
    def empty_share(self) -> float:
        """Share of the calibration rows whose set is empty: no candidate fits well enough."""
        return self.sizes[0] / self.n

    @property
    def rows_needed(self) -> int:
        """Fewest calibration rows for a threshold, of each group where there are any."""
        n = max(1, math.ceil(self.coverage / (1 - self.coverage) - 1e-6))
        return n if rank_needed(n, self.coverage) <= n else n + 1

    def __str__(self) -> str:
        found = [
            self.sentence,
            f"Sets that contain the right candidate for {100 * self.coverage:g} % of the images "
            f"({self.method})",
            f"  calibration rows   {rows_said(self)}",
            f"  candidates         {self.mean_size:.1f} of {self.candidates} on average, one alone for "
            f"{percent(self.single_share)}, none for {percent(self.empty_share)}",
            f"  right one inside   {percent(self.observed_coverage)} of the rows",
        ]
        if self.groups:
            lacking = sum(part.threshold == math.inf and part.n < self.rows_needed for part in self.groups)
            if lacking:
                found.append(
                    f"  no threshold       {lacking} of {len(self.groups)}, which have fewer than "
                    f"{self.rows_needed} rows"
                )
            return "\n".join([*found, "", *self._group_lines()])
        if self.folds and self.coverage_bound < self.coverage:
            least, mostly = percent(self.coverage_bound), percent(self.coverage)
            found[-1] += f"; of later images {least} at least, mostly about {mostly}"
        elif self.coverage_bound < self.coverage:
            reason = (
                "Too many images show none of the candidates to guarantee that"
                if self.size_limit is None
                else f"Sets of at most {self.size_limit} cannot guarantee that"
            )
            found.append(
                f"  {reason}, but at least {percent(self.coverage_bound)} of later images, with 95 % "
                "confidence."
            )
        elif self.threshold == math.inf:
            found.append(
                f"  {self.n} rows give no threshold, it takes {self.rows_needed}: sets hold all candidates."
            )
        elif not self.allow_empty:
            found[-1] += f"; of at least {percent(self.coverage)} of later images"
        elif not math.isnan(self.threshold):
            k = rank_needed(self.n, self.coverage)
            low, high = beta.ppf([(1 - MOST) / 2, (1 + MOST) / 2], k, self.n + 1 - k)
            found[-1] += (
                f"; in {100 * MOST:g} % of draws of them, {percent(low)} to {percent(high)} of later images"
            )
        return "\n".join(found)

    def _group_lines(self) -> list[str]:
        header = ("group", "rows", "candidates", "right inside", "threshold")
        body = [
            (
                str(part.group),
                str(part.n),
                f"{part.mean_size:.1f}",
                percent(part.observed_coverage),
                f"{part.threshold:.4g}" if math.isfinite(part.threshold) else "none",
            )
            for part in self.groups
        ]
        return lines(align([header, *body]))
