"""Thresholds of conformal scores, and the sets that follow from them, shared by all kinds of sets."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.compute.progress import track
from vilu_sdk.inputs.rows import CHUNK_ELEMENTS, Rows
from vilu_sdk.inputs.slices import cut
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import check_groups
from vilu_sdk.metrics.binomial import risk_upper_bound
from vilu_sdk.metrics.vectors import FloatVector
from vilu_sdk.persistence.persistent import Persistent
from vilu_sdk.scorers.base.contract import read_posterior
from vilu_sdk.selective._base import thresholds_of
from vilu_sdk.selective.alone import NEAR, score_near
from vilu_sdk.selective.arrangement import OneSet
from vilu_sdk.selective.conformity import Matrix, conformity, rank_needed, threshold, uniform_of
from vilu_sdk.selective.set_report import SetReport

# Of "raps": the penalties that are tried, and the share of the calibration rows that chooses among them, of
# which there are enough at some point.
PENALTIES = (0.001, 0.01, 0.1, 0.2, 0.5)
TUNING_SHARE, TUNING_ROWS = 0.2, 2000
# With which confidence it is said what sets of limited size reach.
CONFIDENCE = 0.95


class SetsByThreshold(OneSet, Persistent):
    """Puts into a set what scores at most a threshold; a subclass has the parameters and the verbs."""

    coverage: float
    method: str
    per_class: bool
    per_label: bool
    size_limit: int | None
    allow_empty: bool
    penalty: float | None
    free_ranks: int | None

    def _kinds(self, groups: Any, n: int) -> NDArray[Any] | None:
        """Return the groups (n,) that were passed, checked."""
        if groups is None:
            return None
        if self.per_class or self.per_label:
            kind = "predicted" if self.per_class else "true"
            raise ValueError(f"the {kind} classes are the groups here; leave groups out.")
        return check_groups(groups, n)

    def _calibrate(self, task: Task, z_txt_set: Any, rows: NDArray[np.int64], groups: Any) -> None:
        """Find the thresholds on some rows of a task, and report what the sets of these rows are."""
        images, n = Rows(task.images.source, "z_img"), len(task.images)
        fit_rows = n - len(rows)
        labels = np.arange(n) if task.labels is None else task.labels.numpy()
        kinds = labels if self.per_label else self._kinds(groups, n)
        regular = self.method == "raps"
        self.penalty_, self.free_ranks_ = (self.penalty or 0.0, self.free_ranks or 0) if regular else (0.0, 0)
        if regular and (self.penalty is None or self.free_ranks is None):
            order = np.random.default_rng(0).permutation(len(rows))
            most = min(TUNING_ROWS, max(1, round(TUNING_SHARE * len(rows))))
            tuning, rows = np.sort(rows[order[:most]]), np.sort(rows[order[most:]])
            self._tune(images, z_txt_set, labels, tuning)
        own, slope, nats = np.full((3, n), np.nan)
        predicted = np.empty(n, dtype=np.int64)

        def score(some: NDArray[np.int64]) -> None:
            predicted[some], log_p = self._ask(images.source[some], z_txt_set)
            scores, slopes = self._conformity(log_p, images, some)
            at = np.arange(len(some)), labels[some]
            own[some], slope[some], nats[some] = scores[at], slopes[at], log_p[at]

        for part in self._parts(rows, images, len(task.texts)):
            score(part)
        self.near_ = NEAR * float(nats[rows].std())
        settled = np.zeros(n, dtype=bool)
        while True:
            found = predicted if self.per_class else kinds
            self.report_ = self._choose(own[rows], None if found is None else found[rows], len(task.texts))
            limit = thresholds_of(self.report_, found, unseen=math.inf)
            doubtful = rows[(self._is_near(own, limit, slope) & ~settled)[rows]]
            if not len(doubtful):
                break
            for row in doubtful:
                score(np.array([row]))
            settled[doubtful] = True
        given = None if groups is None else np.asarray(found)[rows]
        self._count(images.source[rows], z_txt_set, labels[rows], given, fit_rows)

    def _choose(self, own: FloatVector, kinds: NDArray[Any] | None, k: int) -> SetReport:
        """Find the threshold, or that of each kind, for the scores (n,) of right candidates."""

        def report(scores: FloatVector, kind: Any = None) -> SetReport:
            limit, bound = threshold(scores, self.coverage), self.coverage
            if (
                self.size_limit is not None
                and math.isinf(limit)
                and rank_needed(len(scores), bound) <= len(scores)
            ):
                bound = 1 - risk_upper_bound(int(np.isinf(scores).sum()), len(scores), CONFIDENCE)
            return SetReport(
                self.coverage, self.method, len(scores), k, limit, 0, (), bound, self.size_limit, group=kind
            )

        whole = report(own)
        if kinds is None:
            return whole
        parts = tuple(report(own[kinds == kind], kind.item()) for kind in np.unique(kinds))
        bound = min(part.coverage_bound for part in parts)
        return replace(whole, threshold=math.nan, coverage_bound=bound, groups=parts)

    def _count(
        self, z_img: Any, z_txt_set: Any, labels: NDArray[np.int64], groups: Any, fit_rows: int
    ) -> None:
        """Put into the report how large the sets of its rows are, and which hold the right candidate."""
        n = len(labels)
        sizes, inside = np.empty(n, dtype=np.int64), np.empty(n, dtype=bool)
        kinds = np.empty(n, dtype=np.int64) if self.per_class else labels if self.per_label else groups
        for rows, members, _, predicted in self._sets(z_img, z_txt_set, groups):
            sizes[rows], inside[rows] = members.sum(axis=1), members[np.arange(len(rows)), labels[rows]]
            if self.per_class:
                kinds[rows] = predicted

        def counted(report: SetReport, rows: Any) -> SetReport:
            counts = tuple(np.bincount(sizes[rows], minlength=1).tolist())
            return replace(report, covered=int(inside[rows].sum()), sizes=counts)

        parts = tuple(counted(part, kinds == part.group) for part in self.report_.groups)
        self.report_ = replace(counted(self.report_, slice(None)), groups=parts, fit_rows=fit_rows)

    def _tune(self, images: Rows, z_txt_set: Any, labels: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Choose the penalty with the smallest sets on some rows, and the free ranks."""
        log_p = self._ask(images.source[rows], z_txt_set)[1]
        at = np.arange(len(rows)), labels[rows]
        if self.free_ranks is None:
            ranks = 1.0 + (log_p > log_p[at][:, None]).sum(axis=1)
            self.free_ranks_ = int(min(threshold(ranks, self.coverage), log_p.shape[1]))
        best = math.inf
        for penalty in PENALTIES if self.penalty is None else (self.penalty,):
            before, self.penalty_ = self.penalty_, penalty
            scores = self._conformity(log_p, images, rows)[0]
            size = float((scores <= threshold(scores[at], self.coverage)).sum(axis=1).mean())
            if size < best:
                best = size
            else:
                self.penalty_ = before

    def _sets(
        self, z_img: Any, z_txt_set: Any, groups: Any
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_], Matrix, NDArray[np.int64]]]:
        """Yield rows (m,), their sets (m, K), log-probabilities (m, K) and predictions (m,)."""
        images = Rows(z_img, "z_img", d=self.n_features_in_)
        kinds = self._kinds(groups, len(images))
        by_group = bool(self.report_.groups) and not (self.per_class or self.per_label)
        if (kinds is not None) != by_group:
            raise ValueError(
                "groups must be passed to predict_sets if, and only if, they were passed to fit."
            )
        k = len(Rows(z_txt_set, "z_txt_set"))
        of_candidates = thresholds_of(self.report_, np.arange(k), unseen=math.inf) if self.per_label else None
        for rows in self._parts(np.arange(len(images)), images, k):
            z = images.source[rows]
            said = self._ask(z, z_txt_set)
            for settled in (False, True):
                predicted, log_p = said
                scores, slopes = self._conformity(log_p, images, rows)
                if of_candidates is not None:
                    limit = np.reshape(of_candidates, (1, -1))
                else:
                    found = predicted if self.per_class else None if kinds is None else kinds[rows]
                    limit = np.reshape(thresholds_of(self.report_, found, unseen=math.inf), (-1, 1))
                near = np.any(self._is_near(scores, limit, slopes), axis=1)
                if settled or not near.any():
                    break
                said = score_near(lambda some: self._ask(some, z_txt_set), z, said, near)
            members = (scores <= limit) & (scores < np.inf)
            yield rows, members, log_p, predicted

    def _parts(self, rows: NDArray[np.int64], images: Rows, k: int) -> Iterator[NDArray[np.int64]]:
        """Yield the rows some at a time, so that arrays of them and all candidates stay small."""
        most = max(1, CHUNK_ELEMENTS // max(images.d, 4 * k))
        for part in track(cut(len(rows), most), "sets"):
            yield rows[part]

    def _ask(self, z: Any, z_txt_set: Any) -> tuple[NDArray[Any], ...]:
        return read_posterior(self.scorer_in_use, z, z_txt_set)

    def _conformity(self, log_p: Matrix, images: Rows, rows: NDArray[np.int64]) -> tuple[Matrix, Matrix]:
        uniform = np.zeros(len(rows)) if self.method == "lac" else uniform_of(images.read(rows))
        return conformity(
            self.method,
            log_p,
            uniform,
            penalty=self.penalty_,
            free=self.free_ranks_,
            size_limit=self.size_limit,
            keep_top=not self.allow_empty,
        )

    def _is_near(self, scores: Any, limit: Any, slopes: Any) -> NDArray[np.bool_]:
        """Whether rounding could move scores across thresholds."""
        with np.errstate(invalid="ignore"):  # between two infinities
            return np.asarray(np.abs(scores - limit) <= self.near_ * slopes)
