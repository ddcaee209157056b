"""Thresholds of conformal scores, and the sets that follow from them, shared by all kinds of sets."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.exceptions import PromiseWarning, warn
from vilu_sdk.inputs.candidates import Opened
from vilu_sdk.inputs.names import NONE
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import check_groups
from vilu_sdk.metrics.binomial import risk_upper_bound
from vilu_sdk.metrics.vectors import FloatVector
from vilu_sdk.scorers.base.contract import in_parts, read_posterior
from vilu_sdk.selective._base import ThresholdPredictor
from vilu_sdk.selective.alone import NEAR, Alone, Said, settle
from vilu_sdk.selective.arrangement import Calibrated, thresholds_of
from vilu_sdk.selective.conformity import Matrix, conformity, sizes_of, threshold, uniform_of
from vilu_sdk.selective.set_report import SetReport

# Of "raps": the penalties that are tried, and the share of the calibration rows that chooses among them, of
# which there are enough at some point.
PENALTIES = (0.001, 0.01, 0.1, 0.2, 0.5)
TUNING_SHARE, TUNING_ROWS = 0.2, 2000
# With which confidence it is said what sets of limited size reach.
CONFIDENCE = 0.95


class SetsByThreshold(Calibrated):
    """Puts into a set what scores at most a threshold; a subclass has the parameters and the verbs."""

    called = "Sets"
    what_fails = "the sets lack the right candidate"
    _card_use = (
        "sets",
        "names = sets.predict_names(z_img, z_txt_set)  # a list of candidates for each image",
    )
    used_later = ("per_class", "per_label", "method", "size_limit", "allow_empty")

    report_: SetReport
    coverage: float
    method: str
    size_limit: int | None
    allow_empty: bool
    penalty: float | None
    free_ranks: int | None

    @property
    def threshold_in_use(self) -> ThresholdPredictor | None:
        """The threshold on whose abstentions the sets are, if there is one."""
        given = getattr(self, "scorer_", self.scorer)
        return given if isinstance(given, ThresholdPredictor) else None

    @property
    def scorer_in_use(self) -> Any:
        """The scorer that scores: the one given, that of a threshold, or a clone that `fit` has fitted."""
        threshold = self.threshold_in_use
        return super().scorer_in_use if threshold is None else threshold.scorer_in_use

    def _check_unchanged(self) -> None:
        """Raise as thresholds do, and warn where the threshold that these sets stand on was fitted again."""
        super()._check_unchanged()
        threshold = self.threshold_in_use
        if threshold is not None and getattr(threshold, "report_", None) != self.report_.answers:
            warn(
                "The threshold was fitted again after the sets for the images it abstains on, so their "
                "guarantee no longer holds; fit the sets again.",
                PromiseWarning,
            )

    def _risks(self) -> list[float]:
        answers = self.report_.answers
        # The sets of what is answered are the answers.
        return [1 - self.report_.coverage_bound, *([] if answers is None else answers.risks)]

    def _calibrate(self, task: Task, opened: Opened, rows: NDArray[np.int64], groups: Any) -> None:
        """Find the thresholds on some rows of a task, and report what the sets of these rows are."""
        images, labels = Rows(task.images.source, "z_img"), task.truth
        if self.threshold_in_use is not None:
            rows = rows[~self.threshold_in_use._read(images.source[rows], opened, "accepted")[0]]
            if not len(rows):
                raise ValueError("the threshold accepts all of these images: there is nothing left for sets.")
        if self.per_label:  # whose promise is about images of each candidate
            rows = rows[labels[rows] != NONE]
        if not (labels[rows] != NONE).any():
            raise ValueError("no image shows a candidate: all labels are -1; pass images of candidates too.")
        regular = self.method == "raps"
        self.penalty_, self.free_ranks_ = (self.penalty or 0.0, self.free_ranks or 0) if regular else (0.0, 0)
        if regular and (self.penalty is None or self.free_ranks is None):
            order = np.random.default_rng(0).permutation(len(rows))
            most = min(TUNING_ROWS, max(1, round(TUNING_SHARE * len(rows))))
            tuning, rows = np.sort(rows[order[:most]]), np.sort(rows[order[most:]])
            if not len(rows):
                raise ValueError("method='raps' chooses on some rows and calibrates on others; pass more.")
            self._tune(images, opened, labels, tuning)
        given = None if groups is None else check_groups(groups, len(images))[rows]

        def right(some: NDArray[np.int64], said: Said) -> Said:
            """Return of some rows (m,) predictions, the score of the right candidate, slope and nats."""
            predicted, log_p = said
            scores, slopes = self._conformity(log_p, images, some)
            at, shown = (np.arange(len(some)), labels[some]), labels[some] != NONE
            # No set holds what is none of the candidates.
            own, nats = np.where(shown, scores[at], np.inf), np.where(shown, log_p[at], np.nan)
            return predicted, own, slopes[at], nats

        def look(predicted: Any, own: FloatVector, slopes: FloatVector, _: Any) -> NDArray[np.bool_]:
            """Choose the thresholds, and say which rows are near theirs."""
            keys = self._keys(labels[rows] if self.per_label else predicted, given, opened.called())
            self.report_ = self._choose(own, keys, len(opened))
            return self._is_near(own, thresholds_of(self.report_, keys, unseen=math.inf), slopes)

        parts = [right(some, self._ask(z, opened)) for some, z in in_parts(images, len(opened), rows)]
        said = tuple(map(np.concatenate, zip(*parts, strict=True)))
        known = said[-1][labels[rows] != NONE]
        self.near_ = NEAR * float(known.std()) if len(known) else 0.0
        alone = Alone(lambda z: self._ask(z, opened), images.source)
        settle(lambda i: right(rows[[i]], alone(int(rows[i]))), said, look)
        self._count(images.source[rows], opened, labels[rows], given)

    def _choose(self, own: FloatVector, kinds: NDArray[Any] | None, k: int) -> SetReport:
        """Find the threshold, or that of each kind, for the scores (n,) of right candidates."""

        def report(scores: FloatVector, kind: Any = None) -> SetReport:
            limit, bound = threshold(scores, self.coverage), self.coverage
            never = int((scores == math.inf).sum())  # in no set
            if limit == math.inf and (never or self.size_limit is not None):
                bound = 1 - risk_upper_bound(never, len(scores), CONFIDENCE)
            return SetReport(
                *(self.coverage, self.method, len(scores), k, limit, 0, (), bound),
                *(self.size_limit, self.allow_empty),
                group=kind,
            )

        whole = report(own)
        if kinds is None:
            return whole
        parts = tuple(report(own[kinds == kind], kind.item()) for kind in np.unique(kinds))
        bound = min(part.coverage_bound for part in parts)
        return replace(whole, threshold=math.nan, coverage_bound=bound, groups=parts)

    def _count(self, z_img: Any, opened: Opened, labels: NDArray[np.int64], groups: Any) -> None:
        """Put into the report how large the sets of its rows are, and which hold the right candidate."""
        found = self._sets(z_img, opened, groups, opened.called())
        sizes, inside, predicted = sizes_of(found, labels)
        keys = self._keys(labels if self.per_label else predicted, groups, opened.called())

        def counted(report: SetReport, rows: Any) -> SetReport:
            counts = tuple(np.bincount(sizes[rows], minlength=1).tolist())
            return replace(report, covered=int(inside[rows].sum()), sizes=counts)

        parts = tuple(counted(part, keys == part.group) for part in self.report_.groups)
        answers = None if self.threshold_in_use is None else self.threshold_in_use.report_
        self.report_ = replace(counted(self.report_, slice(None)), groups=parts, answers=answers)

    def _tune(self, images: Rows, z_txt_set: Any, labels: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Choose the penalty with the smallest sets on some rows, and the free ranks."""
        rows = rows[labels[rows] != NONE]
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
        self, z_img: Any, opened: Opened, groups: Any, names: Sequence[str] | None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_], Matrix, NDArray[np.int64]]]:
        """Yield rows (m,), their sets (m, K), log-probabilities (m, K) and predictions (m,)."""
        images, k = Rows(z_img, "z_img"), len(opened)
        kinds = None if groups is None else self._keys(np.zeros(len(images), np.int64), groups, names)
        of_candidates: Any = None
        if self.per_label:
            of_candidates = thresholds_of(self.report_, self._keys(np.arange(k), None, names), math.inf)
        for rows, z in in_parts(images, k):

            def score(predicted: Any, log_p: Matrix, rows: Any = rows) -> tuple[Matrix, Matrix, Any]:
                """Return scores (m, K), their slopes, and the limit of each that its set has."""
                scores, slopes = self._conformity(log_p, images, rows)
                if of_candidates is not None:
                    return scores, slopes, of_candidates[None]
                keys = self._keys(predicted, None, names) if kinds is None else kinds[rows]
                return scores, slopes, np.reshape(thresholds_of(self.report_, keys, math.inf), (-1, 1))

            def near(predicted: Any, log_p: Matrix) -> NDArray[np.bool_]:
                scores, slopes, limit = score(predicted, log_p)
                return np.asarray(np.any(self._is_near(scores, limit, slopes), axis=1))

            alone = Alone(lambda some: self._ask(some, opened), z)
            predicted, log_p = settle(alone, self._ask(z, opened), near)
            scores, _, limit = score(predicted, log_p)
            members = (scores <= limit) & (scores < np.inf)
            if self.threshold_in_use is not None:
                (answered,) = self.threshold_in_use._read(z, opened, "accepted")
                members[answered] = predicted[answered, None] == np.arange(k)
            yield rows, members, log_p, predicted

    def _ask(self, z: Any, z_txt_set: Any) -> tuple[NDArray[Any], ...]:
        return read_posterior(self.scorer_in_use, z, z_txt_set)

    def _conformity(self, log_p: Matrix, images: Rows, rows: NDArray[np.int64]) -> tuple[Matrix, Matrix]:
        """Return the scores of candidates, and how far an error of one nat moves them."""
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
