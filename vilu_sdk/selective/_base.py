"""Fit, accept and predict, shared by all ways of choosing a threshold."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilu_sdk.compute.state import plain_torch
from vilu_sdk.inputs.candidates import Candidates, Opened, open_candidates
from vilu_sdk.inputs.names import name_of
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.task import check_task
from vilu_sdk.inputs.values import fraction
from vilu_sdk.metrics.ranking import Ranking, rank
from vilu_sdk.scorers.base.contract import read, require_scorer
from vilu_sdk.selective.alone import NEAR, Alone, settle
from vilu_sdk.selective.arrangement import Calibrated, as_frequent, said_of_mixture, thresholds_of
from vilu_sdk.selective.report import SelectionReport

ABSTAIN = -1


class ThresholdPredictor(Calibrated):
    """Answers where the decision value is at most a threshold, abstains elsewhere.

    A subclass chooses the threshold in `_report`.
    """

    report_: SelectionReport
    #: Of the last fit, those rows that it did not fit the scorer on; not saved.
    calibration_rows: NDArray[np.int64]
    confidence: float
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
        frequencies: ArrayLike | None = None,
        units: ArrayLike | None = None,
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
            as sites, and not the groups of `Scorer.fit`, which are `units` here.
        units : array-like of shape (n,), optional
            Integers or strings: what each row is a view, frame or copy of. Rows of one unit are not
            independent, so one of them, at random, calibrates. What is promised is about one image of each
            later unit. Without it, rows count as independent, unless many images have exact copies.
        frequencies : array-like of shape (K,), optional
            How often each candidate will occur among later images, in any unit, or "balanced", where that
            differs from the calibration set; a mapping from names where candidates have them. Then as many
            rows of each class calibrate, drawn at random, as make up such a mixture, for which the promise
            holds if images of each class stay as they are; of estimates, as nearly as these are right.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As in `Scorer.fit`; also if a parameter is out of its range or the scorer is not one.

        Warns
        -----
        RepeatedImagesWarning
            If many images have copies, exact or near ones, and no `units` explain them.
        """
        require_scorer(self.scorer)
        self._check()
        opened = open_candidates(z_txt_set, d=Rows(z_img, "z_img").d)
        task = check_task(z_img, opened, labels, correct, units, called="units")
        self._check_units(units, groups, len(task.images))
        names = opened.called()
        rows, others = self._arrange(task, "the guarantee of the threshold will not hold")
        self.calibration_rows = rows
        rows = as_frequent(rows, task, opened, frequencies)

        def ask(z: Any) -> tuple[NDArray[Any], ...]:
            return read(self.scorer_in_use, z, opened, "prediction", "decision")

        predicted, decision = ask(z_img)
        self.near_ = NEAR * float(decision[rows].std())
        calibrates = np.isin(np.arange(len(decision)), rows)
        zero_shot = self._predicts() == "zero-shot"

        def look(predicted: NDArray[np.int64], decision: NDArray[np.float64]) -> NDArray[np.bool_]:
            """Choose the thresholds, and say which rows are near theirs."""
            keys = self._keys(predicted, groups, names)
            wrong = task.wrong(predicted, is_zero_shot=zero_shot)[rows]
            self.report_ = self._choose(decision[rows], wrong, None if keys is None else keys[rows])
            return self._is_near(decision, thresholds_of(self.report_, keys)) & calibrates

        settle(Alone(ask, z_img), (predicted, decision), look)
        others["has_answers"] = correct is None and self._params_in_use().get("predicts") == "zero-shot"
        self.report_ = said_of_mixture(replace(self.report_, **others), frequencies)
        self._remember(task, opened)
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
        opened, names = self._open_for_use(z_txt_set, groups)
        needed = dict.fromkeys(("prediction", "decision", *fields))
        del needed["accepted"]
        said = dict(zip(needed, read(self.scorer_in_use, z_img, opened, *needed), strict=True))

        def near(predicted: NDArray[np.int64], decision: NDArray[np.float64]) -> NDArray[np.bool_]:
            return self._is_near(decision, thresholds_of(self.report_, self._keys(predicted, groups, names)))

        alone = Alone(lambda z: read(self.scorer_in_use, z, opened, "prediction", "decision"), z_img)
        predicted, decision = settle(alone, (said["prediction"], said["decision"]), near)
        said["accepted"] = decision <= thresholds_of(self.report_, self._keys(predicted, groups, names))
        return tuple(said[field] for field in fields)

    def thresholds_among(self, z_txt_set: Any) -> float | NDArray[np.float64]:
        """Return up to which decision value a prediction is accepted, of each candidate where these differ.

        Parameters
        ----------
        z_txt_set : array-like of shape (K, d)
            Candidate texts.

        Returns
        -------
        float or ndarray of shape (K,)
            In nats, as `Scorer.decision_function`; infinite where all or nothing is accepted.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError, TypeError
            As in `accept`; also if there are thresholds of groups.
        """
        opened, names = self._open_for_use(z_txt_set)
        return thresholds_of(self.report_, self._keys(np.arange(len(opened)), None, names))

    def _open_for_use(self, z_txt_set: Any, groups: Any = None) -> tuple[Opened, Sequence[str] | None]:
        """Return candidates, and the names by which classes find their thresholds, or raise or warn."""
        opened = self._open(z_txt_set)
        self._check_unchanged()
        self._require_groups(groups, "accept and predict")
        names = self._names_of(opened)
        self._warn_of_candidates(opened)
        return opened, names

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

    def predict_names(
        self, z_img: ArrayLike, z_txt_set: ArrayLike, *, groups: ArrayLike | None = None
    ) -> list[str | int | None]:
        """Return the names of the predictions, or None where it is abstained.

        Parameters
        ----------
        z_img, z_txt_set, groups
            As in `accept`.

        Returns
        -------
        list of str, int or None
            Of N images; row numbers where the candidates have no names.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError, TypeError
            As in `accept`.
        """
        names = open_candidates(z_txt_set, d=Rows(z_img, "z_img").d).called()
        found = self.predict(z_img, z_txt_set, groups=groups)
        return [None if row == ABSTAIN else name_of(names, row) for row in found]

    def _try(self) -> None:
        """Raise where what was loaded cannot say of an image whether to rely on it."""
        self._try_scorer()
        if hasattr(self, "report_"):
            texts = Candidates(self.candidates_).text
            self._read(texts[:1], texts, "accepted", groups=self._tried_groups())

    def _params_in_use(self) -> dict[str, Any]:
        """Return the parameters of the scorer, if it has any that are known."""
        return getattr(self.scorer_in_use, "get_params", dict)()

    def _check(self) -> None:
        """Check the parameters."""
        fraction(self.confidence, "confidence")
        super()._check()

    def _report(self, ranking: Ranking, delta: float) -> SelectionReport:
        """Choose the threshold for these rows, each bound failing with probability delta at most."""
        raise NotImplementedError

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
