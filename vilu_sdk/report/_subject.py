"""What a report is about: the scores of all scorers on the same rows, and names for everything."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilu_sdk.displays._classes import check_names
from vilu_sdk.evaluation import ComparisonTable, compare
from vilu_sdk.evaluation.problem import Problem, check_problem
from vilu_sdk.inputs.names import NONE, name_of
from vilu_sdk.metrics.vectors import BoolVector, FloatVector
from vilu_sdk.scorers.base.contract import FailureScorer
from vilu_sdk.selective import SelectionReport
from vilu_sdk.selective.arrangement import Calibrated

# More curves than this cannot be told apart in one picture.
MOST_CURVES = 5


@dataclass(frozen=True)
class Subject:
    """Scores and predictions, all (N,), under the names that the page shows."""

    scorers: Mapping[str, FailureScorer]
    table: ComparisonTable
    problem: Problem
    failure: BoolVector
    predicted: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    candidates: list[str]
    focus: str
    # The one in focus first, then the one to compare it with, then the best.
    curves: list[str]
    selective: list[tuple[str, Any]]

    @property
    def row(self) -> dict[str, Any]:
        """What the table has of the scorer in focus."""
        return next(row for row in self.table.rows if row["scorer"] == self.focus)

    @property
    def decision(self) -> FloatVector:
        """Decision values of the scorer in focus."""
        return self.table.scores[self.focus]

    @property
    def probability(self) -> FloatVector | None:
        """Its probabilities of failure, if it has them."""
        return self.table.probabilities.get(self.focus)

    @property
    def unknown(self) -> BoolVector:
        """Which images show none of the candidates."""
        return np.zeros(len(self.failure), bool) if self.labels is None else self.labels == NONE

    @property
    def novelty(self) -> FloatVector | None:
        """Its novelties, if it has them and there are images of none of the candidates beside others."""
        unknown = self.unknown
        return self.table.novelties.get(self.focus) if unknown.any() and not unknown.all() else None

    @property
    def promises(self) -> list[tuple[str, SelectionReport]]:
        """What single thresholds promise, under the names of their scorers."""
        return [
            (name, found)
            for name, found in self.selective
            if isinstance(found, SelectionReport) and not found.groups
        ]

    def true_name(self, row: int) -> str:
        """Return the true class of a row."""
        return str(name_of(self.candidates, row if self.labels is None else int(self.labels[row])))


def gather(
    scorers: FailureScorer | Mapping[str, FailureScorer],
    z_img: ArrayLike,
    z_txt: ArrayLike,
    labels: ArrayLike | None,
    class_names: Sequence[str] | None,
    focus: str | None,
    reference: str | None,
    selective: Any,
    batch_size: int | None,
) -> Subject:
    """Check the arguments together and score all rows once."""
    if not isinstance(scorers, Mapping):
        scorers = {type(scorers).__name__: scorers}
    scorers = {str(name): scorer for name, scorer in scorers.items()}
    if focus is not None and focus not in scorers:
        raise ValueError(f"focus is {focus!r}, but the scorers are {', '.join(scorers) or 'none'}.")
    problem = check_problem(z_img, z_txt, labels, batch_size)
    k = len(problem.text)
    class_names = problem.names if class_names is None else class_names
    if class_names is None and problem.labels is None:
        class_names = [f"caption {index}" for index in range(k)]
    candidates = check_names(class_names, k)
    promises = _named(selective, scorers)
    table = compare(scorers, z_img, z_txt, labels, fit=False, batch_size=batch_size, reference=reference)
    if not table.scores:
        raise ValueError("No scorer could score these rows: " + "; ".join(map(str, table.to_dicts())))
    auc = {row["scorer"]: -math.inf if math.isnan(row["auc"]) else row["auc"] for row in table.rows}
    ranked = sorted(table.scores, key=lambda name: auc[name], reverse=True)
    focus = ranked[0] if focus is None else focus
    if focus not in table.scores:
        raise ValueError(f"focus is {focus!r}, which has no values on these rows.")
    baseline = next(iter(table.scores))
    if reference is not None and reference in table.scores:
        baseline = reference
    return Subject(
        scorers=scorers,
        table=table,
        problem=problem,
        failure=table.failures[focus],
        predicted=table.predictions[focus],
        labels=problem.labels,
        candidates=candidates,
        focus=focus,
        curves=list(dict.fromkeys([focus, baseline, *ranked]))[:MOST_CURVES],
        selective=promises,
    )


def _named(selective: Any, scorers: Mapping[str, FailureScorer]) -> list[tuple[str, Any]]:
    """Find out whose thresholds the selective predictors have."""
    if selective is None:
        return []
    predictors = selective if isinstance(selective, list | tuple) else [selective]
    found = []
    for predictor in predictors:
        if not isinstance(predictor, Calibrated):
            raise TypeError(
                f"selective must be thresholds or sets, one or several, got {type(predictor).__name__}."
            )
        names = [name for name, scorer in scorers.items() if scorer is predictor.scorer_in_use]
        if not names:
            raise ValueError("The scorer of a selective predictor is none of the scorers of the report.")
        if not hasattr(predictor, "report_"):
            raise ValueError("A selective predictor was not fitted: fit it on a calibration set first.")
        found.append((names[0], predictor.report_))
    return found
