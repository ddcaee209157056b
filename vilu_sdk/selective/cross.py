"""Sets of several scorers, each fitted without a fold of the labelled rows (cross-conformal, CV+).

The score of a candidate is how many calibration rows fit better than it does: each is compared by the scorer
that has not seen it, so that every row is fitted on and calibrates too. The promise is weaker for that.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.candidates import Opened
from vilu_sdk.inputs.names import NONE
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.task import Task
from vilu_sdk.metrics.binomial import risk_upper_bound
from vilu_sdk.metrics.vectors import FloatVector
from vilu_sdk.scorers.base.contract import FailureScorer, in_parts, read_posterior
from vilu_sdk.scorers.base.folds import fits_without
from vilu_sdk.scorers.base.groups import independent_units, one_of_each
from vilu_sdk.selective._sets_base import CONFIDENCE, SetsByThreshold
from vilu_sdk.selective.alone import NEAR
from vilu_sdk.selective.arrangement import as_frequent, lacks_fit, strata_of
from vilu_sdk.selective.conformity import Matrix, rank_needed, threshold
from vilu_sdk.selective.set_report import SetReport


class CrossedSets(SetsByThreshold):
    """Sets by one scorer, or with `cv` by one of each fold; a subclass has the parameters and the verbs."""

    cv: int | None
    # One of each fold: a scorer that has not seen it, and the scores of its rows, sorted.
    folds_: list[FailureScorer]
    fold_scores_: list[FloatVector]

    @property
    def scorer_in_use(self) -> Any:
        """The scorer that scores; of several, the first."""
        return self.folds_[0] if hasattr(self, "folds_") else super().scorer_in_use

    def _check_folds(self, task: Task, groups: Any) -> None:
        """Raise where folds are asked for and something else that they do not take."""
        others = {
            "groups": groups is not None,
            "per_class": self.per_class,
            "per_label": self.per_label,
            "size_limit": self.size_limit is not None,
            "allow_empty": not self.allow_empty,
        }
        if given := [name for name, is_given in others.items() if is_given]:
            raise ValueError(f"cv counts rows of all folds, and takes no {given[0]}; leave one of them out.")
        if self.method == "raps" and (self.penalty is None or self.free_ranks is None):
            raise ValueError("cv has no rows apart that choose: with 'raps', give penalty and free_ranks.")
        if self.threshold_in_use is not None or not lacks_fit(self.scorer, task):
            raise ValueError(
                "cv fits the scorer on folds: pass one that learns and has no fit, and no threshold; with a "
                "fit, all rows calibrate without cv."
            )

    def _calibrate_folds(self, task: Task, opened: Opened, frequencies: Any) -> None:
        """Fit a scorer without each fold, and keep how well the rows of the fold fit under it."""
        labels, images, k = task.truth, Rows(task.images.source, "z_img"), len(opened)
        self.penalty_, self.free_ranks_ = self.penalty or 0.0, self.free_ranks or 0
        units, folds, held = independent_units(task), [], []
        for out, scorer in fits_without(self.scorer, task, strata_of(task), self.cv or 0, 0):
            folds.append(scorer)
            held.append(one_of_each(units, out))
        every = np.sort(np.concatenate(held))
        rows = as_frequent(every, task, opened, frequencies)
        held = [some[np.isin(some, rows)] for some in held]
        own, nats = np.full((2, len(task.images)), np.nan)

        def scored() -> Iterator[tuple[NDArray[np.int64], Matrix, Matrix]]:
            """Yield rows (m,), and of all candidates what the one scorer says that has not seen them."""
            for scorer, some in zip(folds, held, strict=True):
                for part, z in in_parts(images, k, some):
                    log_p = read_posterior(scorer, z, opened)[1]
                    yield part, log_p, self._conformity(log_p, images, part)[0]

        for part, log_p, scores in scored():
            at, shown = (np.arange(len(part)), labels[part]), labels[part] != NONE
            own[part] = np.where(shown, scores[at], np.inf)
            nats[part] = np.where(shown, log_p[at], np.nan)
        known = nats[rows][labels[rows] != NONE]
        if not len(known):
            raise ValueError("no image shows a candidate: all labels are -1; pass images of candidates too.")
        limit, sizes = threshold(own[rows], self.coverage), np.zeros(len(rows), dtype=np.int64)
        for part, _, scores in scored():
            sizes[np.searchsorted(rows, part)] = (scores <= limit).sum(axis=1)
        n, never = len(rows), len(rows) - len(known)
        needed, bound = rank_needed(n, self.coverage), crossed_bound(n, self.coverage, len(folds))
        if needed > n - never:  # sets hold all candidates, and not what is none of them
            bound = 1 - risk_upper_bound(never, n, CONFIDENCE) if never else self.coverage
        self.folds_, self.fold_scores_ = folds, [np.sort(own[some]) for some in held]
        self.near_ = NEAR * float(known.std())
        self.report_ = SetReport(
            coverage=self.coverage,
            method=f"{self.method}, cross-conformal in {len(folds)} folds",
            n=n,
            candidates=k,
            threshold=np.inf if needed > n else needed - 0.5,
            covered=int(((own[rows] <= limit) & (own[rows] < np.inf)).sum()),
            sizes=tuple(np.bincount(sizes, minlength=1).tolist()),
            coverage_bound=bound,
            siblings=len(task.images) - len(every),
            folds=len(folds),
        )

    def _ask(self, z: Any, z_txt_set: Any) -> tuple[NDArray[Any], ...]:
        if not hasattr(self, "folds_"):
            return super()._ask(z, z_txt_set)
        found = np.stack([read_posterior(scorer, z, z_txt_set)[1] for scorer in self.folds_], axis=1)
        return found.mean(axis=1).argmax(axis=1), found

    def _conformity(self, log_p: Matrix, images: Rows, rows: NDArray[np.int64]) -> tuple[Matrix, Matrix]:
        """Return how many calibration rows fit better than candidates, and how far rounding moves that."""
        if log_p.ndim == 2:
            return super()._conformity(log_p, images, rows)
        counts = np.zeros((3, log_p.shape[0], log_p.shape[2]))
        for fold, own in enumerate(self.fold_scores_):
            scores, slopes = super()._conformity(log_p[:, fold], images, rows)
            for count, moved in zip(counts, (-1.0, 0.0, 1.0), strict=True):
                count += np.searchsorted(own, scores + moved * self.near_ * slopes, side="left")
        low, count, high = counts
        moves = np.maximum(high - count, count - low)
        return count, moves / self.near_ if self.near_ else moves


def crossed_bound(n: int, coverage: float, folds: int) -> float:
    """Return the coverage that is proved of sets of several folds (Romano, Sesia & Candès, theorem 2)."""
    lost = min(2 * (1 - 1 / folds) / (n / folds + 1), (1 - folds / n) / (folds + 1))
    return max(0.0, 1 - 2 * (1 - coverage) - lost)
