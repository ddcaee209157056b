"""Fit, accept and predict, shared by all ways of choosing a threshold."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from vilu_sdk.compute.state import plain_torch
from vilu_sdk.exceptions import PromiseWarning, warn
from vilu_sdk.inputs.candidates import Candidates, Opened, open_candidates
from vilu_sdk.inputs.task import check_task
from vilu_sdk.inputs.values import check_groups
from vilu_sdk.metrics.ranking import Ranking, rank
from vilu_sdk.persistence.persistent import Persistent
from vilu_sdk.scorers.base.contract import FailureScorer, read, require_scorer
from vilu_sdk.selective.alone import NEAR, score_near
from vilu_sdk.selective.arrangement import OneSet
from vilu_sdk.selective.report import SelectionReport

ABSTAIN = -1


class ThresholdPredictor(OneSet, Persistent):
    """Answers where the decision value is at most a threshold, abstains elsewhere.

    A subclass chooses the threshold in `_report`.
    """

    scorer: FailureScorer
    confidence: float
    per_class: bool
    simultaneous: bool

    @plain_torch
    def fit(
        self,
        z_img: ArrayLike,
        z_txt_set: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        correct: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Find the threshold on a calibration set.

        **A fitted scorer must not have been fitted on these rows**: it is more certain of what it has seen,
        and the promise would be void. It is used as it is. Of one that learns and has no fit, a clone is
        fitted on a half of the rows, with an equal share of each class, and the other half calibrates.

        Parameters
        ----------
        z_img : array-like of shape (n, d)
            Image embeddings of the calibration set.
        z_txt_set : array-like of shape (K, d)
            Candidate texts, those of later use.
        labels : array-like of shape (n,), optional
            True classes, rows of `z_txt_set`, or -1 for none of them, whose prediction is always wrong.
            Without labels (and without `correct`) image i pairs with caption i.
        correct : array-like of shape (n,), optional
            Whether each prediction, or the decision that follows from it, was right, as booleans.
        groups : array-like of shape (n,), optional
            Integers or strings; each group gets a threshold of its own. These are slices of the images, such
            as sites, and not the groups of `Scorer.fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As in `Scorer.fit`; also if a parameter is out of its range or the scorer is not one.
        """
        require_scorer(self.scorer)
        self._check()
        opened = open_candidates(z_txt_set)
        task = check_task(z_img, opened, labels, correct)
        names = opened.called()
        rows = self._arrange(task, "what the threshold promises will not hold")

        def ask(z: Any) -> tuple[NDArray[Any], ...]:
            return read(self.scorer_in_use, z, opened, "prediction", "decision")

        predicted, decision = ask(z_img)
        self.near_ = NEAR * float(decision[rows].std())
        doubtful = np.isin(np.arange(len(decision)), rows)
        while True:
            keys = self._keys(predicted, groups, names)
            known = None if keys is None else keys[rows]
            report = self._choose(decision[rows], task.wrong(predicted)[rows], known)
            near = self._is_near(decision, thresholds_of(report, keys)) & doubtful
            if not near.any():
                break
            predicted, decision = score_near(ask, z_img, (predicted, decision), near)
            doubtful &= ~near
        self.report_ = replace(report, fit_rows=len(decision) - len(rows))
        self.predicts_ = getattr(self.scorer_in_use, "predicts", "zero-shot")
        self.candidates_ = task.text
        self.names_ = None if names is None else list(names)
        self.caption_ = task.is_caption
        self.n_features_in_ = task.images.d
        return self

    def accept(
        self, z_img: ArrayLike, z_txt_set: ArrayLike, *, groups: ArrayLike | None = None
    ) -> NDArray[np.bool_]:
        """Return which predictions may be relied on.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings.
        z_txt_set : array-like of shape (K, d)
            Candidate texts. What is promised holds for those of `fit`.
        groups : array-like of shape (N,), optional
            Group of each image, where `fit` was given groups. A group that it did not see is
            abstained on.

        Returns
        -------
        ndarray of shape (N,)
            True where the prediction is accepted.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError, TypeError
            As in `Scorer.decision_function`; also if `groups` is missing or not asked for.

        Warns
        -----
        PromiseWarning
            If the candidates are not those of `fit`: nothing is promised for others.
        """
        (accepted,) = self._read(z_img, z_txt_set, "accepted", groups=groups)
        return accepted

    @plain_torch
    def _read(self, z_img: Any, z_txt_set: Any, *fields: str, groups: Any = None) -> tuple[NDArray[Any], ...]:
        """Return "accepted" and what else is asked of the scorer, out of one pass over the images."""
        check_is_fitted(self)
        predicts = getattr(self.scorer_in_use, "predicts", "zero-shot")
        if predicts != getattr(self, "predicts_", predicts):
            raise ValueError(
                f"the threshold was found for predicts={self.predicts_!r}, but the scorer now has "
                f"predicts={predicts!r}; set it back, or fit the threshold again."
            )
        opened = open_candidates(z_txt_set)
        warn_of_candidates(opened, self.candidates_, self.caption_, "threshold")
        names = self._names_of(opened)
        needed = dict.fromkeys(("prediction", "decision", *fields))
        del needed["accepted"]
        said = dict(zip(needed, read(self.scorer_in_use, z_img, opened, *needed), strict=True))
        predicted, decision = said["prediction"], said["decision"]
        keys = self._keys(predicted, groups, names)
        if (keys is None) == bool(self.report_.groups):
            raise ValueError(
                "groups must be passed to accept and predict if, and only if, they were passed to fit."
            )
        near = self._is_near(decision, thresholds_of(self.report_, keys))
        predicted, decision = score_near(
            lambda z: read(self.scorer_in_use, z, opened, "prediction", "decision"),
            z_img,
            (predicted, decision),
            near,
        )
        said["accepted"] = decision <= thresholds_of(self.report_, self._keys(predicted, groups, names))
        return tuple(said[field] for field in fields)

    def predict(
        self, z_img: ArrayLike, z_txt_set: ArrayLike, *, groups: ArrayLike | None = None
    ) -> NDArray[np.int64]:
        """Return the zero-shot prediction, or -1 where it is abstained.

        Parameters
        ----------
        z_img, z_txt_set, groups
            As in `accept`.

        Returns
        -------
        ndarray of shape (N,)
            Row numbers of `z_txt_set`, and -1.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError, TypeError
            As in `accept`.
        """
        predicted, accepted = self._read(z_img, z_txt_set, "prediction", "accepted", groups=groups)
        return np.where(accepted, predicted, ABSTAIN)

    def _try(self) -> None:
        """Raise where what was loaded cannot say of an image whether to rely on it."""
        require_scorer(self.scorer)
        if isinstance(self.scorer, Persistent):
            self.scorer._try()
        self._check()
        if hasattr(self, "report_"):
            texts = Candidates(self.candidates_).text
            groups = [self.report_.groups[0].group] if self.report_.groups and not self.per_class else None
            self._read(texts[:1], texts, "accepted", groups=groups)

    def _check(self) -> None:
        """Check the parameters."""
        fraction(self.confidence, "confidence")

    def _report(self, ranking: Ranking, delta: float) -> SelectionReport:
        """Choose the threshold for these rows, each bound failing with probability delta at most."""
        raise NotImplementedError

    def _names_of(self, opened: Opened) -> Sequence[str] | None:
        """Return the names by which classes find their thresholds, None where `fit` saw none."""
        known: list[str] | None = getattr(self, "names_", None)
        if known is None or not self.per_class or opened.names is not None:
            return None if known is None else opened.called()
        if len(opened.values) != len(known):
            raise ValueError(
                f"{opened.argument} has {len(opened.values)} rows without names, but the thresholds are "
                f"those of {len(known)} names; pass a mapping from names to embeddings."
            )
        return known

    def _keys(
        self, predicted: NDArray[np.int64], groups: Any, names: Sequence[str] | None
    ) -> NDArray[Any] | None:
        if not self.per_class:
            return None if groups is None else check_groups(groups, len(predicted))
        if groups is not None:
            raise ValueError("per_class=True makes the predicted classes the groups; leave groups out.")
        return predicted if names is None else np.array(names)[predicted]

    def _choose(
        self, decision: NDArray[np.float64], wrong: NDArray[np.bool_], keys: NDArray[Any] | None
    ) -> SelectionReport:
        """Choose the threshold, or that of each group."""
        delta = 1 - self.confidence
        if keys is None:
            return self._report(rank(decision, wrong), delta)
        kinds = np.unique(keys)
        part_delta = delta / len(kinds) if self.simultaneous else delta
        parts = []
        for kind in kinds:
            ranking = rank(decision[keys == kind], wrong[keys == kind])
            parts.append(replace(self._report(ranking, part_delta), group=kind.item()))
        return self._sum(tuple(parts))

    def _is_near(
        self, decision: NDArray[np.float64], threshold: float | NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Whether rounding could move decision values across the thresholds."""
        return np.asarray(np.abs(decision - threshold) <= self.near_)

    def _sum(self, parts: tuple[SelectionReport, ...]) -> SelectionReport:
        bounds = [part.risk_bound for part in parts if part.accepted]
        kept = "together" if self.simultaneous else "each by itself"
        return SelectionReport(
            goal=parts[0].goal,
            method=f"{parts[0].method}, in {len(parts)} groups, {kept}",
            confidence=self.confidence,
            n=sum(part.n for part in parts),
            accepted=sum(part.accepted for part in parts),
            errors=sum(part.errors for part in parts),
            threshold=math.nan,
            # A mixture of groups errs no more than the worst of them.
            risk_bound=max(bounds) if self.simultaneous and bounds else math.nan,
            coverage_bound=math.nan,
            groups=parts,
        )


def warn_of_candidates(z_txt_set: Any, known: Tensor, is_caption: bool, what: str) -> None:
    """Warn where candidates are not those of a fit, of which captions are known by their number alone."""
    text = Candidates(z_txt_set).text
    if text.shape != known.shape or not (is_caption or bool((text - known).abs().max() < 1e-3)):
        warn(
            f"The candidates are not those of fit. The {what} is used as it is, but what was promised "
            "holds for the candidates of fit only; fit again on calibration images with the new ones.",
            PromiseWarning,
        )


def thresholds_of(
    report: Any, keys: NDArray[Any] | None, unseen: float = -math.inf
) -> float | NDArray[np.float64]:
    """Return the threshold of a report, or that of each row's group, `unseen` where that was not there."""
    if keys is None:
        return float(report.threshold)
    thresholds = np.full(len(keys), unseen)
    for part in report.groups:
        thresholds[keys == part.group] = part.threshold
    return thresholds


def fraction(value: Any, name: str) -> float:
    """Return a number strictly between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or not 0 < value < 1:
        raise ValueError(f"{name} must be a number strictly between 0 and 1, got {value!r}.")
    return float(value)
