"""Sets of candidates that hold the right one with a promised probability."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from vilu_sdk.compute.state import plain_torch
from vilu_sdk.inputs.candidates import Opened, open_candidates
from vilu_sdk.inputs.names import name_of
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.task import Task, check_task
from vilu_sdk.inputs.values import fraction, positive, whole
from vilu_sdk.scorers.base.contract import (
    FailureScorer,
    require_posterior,
    require_scorer,
    warn_of_fit_rows,
)
from vilu_sdk.selective._base import ThresholdPredictor
from vilu_sdk.selective.arrangement import as_frequent, said_of_mixture
from vilu_sdk.selective.cross import CrossedSets


class SetPredictor(CrossedSets):
    r"""Gives each image its plausible candidates, with the right one among them at a guaranteed rate.

    Split conformal prediction: on calibration images that the scorer was **not** fitted on, `fit` finds the
    score that the right candidate exceeds in few of them, and a set holds all candidates of a score up to it,

    .. math:: \Pr\bigl(y \in C(x)\bigr) \ge \text{coverage}.

    Parameters
    ----------
    scorer : scorer with `predict_proba`, or threshold around one
        Fitted before, on other rows, and used as it is. One that learns and was not fitted is fitted by `fit`
        on a half of its rows, and the other half calibrates. Of a threshold, such as a `SelectivePredictor`,
        what it accepts gets a set of its answer alone; sets are calibrated on the rest, and promise for it.
    coverage : float
        Share of later images whose set contains the right candidate, in (0, 1).
    method : {"lac", "aps", "raps"}
        "lac": candidates whose probability is at least a threshold; the smallest sets on average. "aps": the
        likeliest candidates until they have enough probability together, the last one by a lot that the
        image itself draws; sets grow more where the posterior doubts. "raps": that with a penalty for each
        candidate beyond the first few, so that no set is very large.
    per_class : bool
        A threshold for each predicted class, each with its own promise.
    per_label : bool
        A threshold for each candidate, so that each class, not only their mixture, is in its sets that often.
        It takes 1 / (1 - coverage) - 1 rows of each class; candidates with fewer are in all sets.
    size_limit : int, optional
        Most candidates of a set. Where the right one is among the likeliest so many too rarely, no threshold
        can promise the coverage, and `report_` says what the sets reach.
    allow_empty : bool
        Whether a set may be empty, which says that no candidate fits as well as the right ones do. If not,
        the likeliest is always in it, and calibrated as such.
    penalty : float, optional
        Of "raps", for each rank beyond the first `free_ranks`; at least 0. By default a fifth of the
        calibration rows chooses the one with the smallest sets, and is not calibrated on.
    free_ranks : int, optional
        Of "raps". By default the rank that holds the right candidate as often as is promised, of these rows.
    cv : int, optional
        Of a scorer without a fit, in so many folds: a clone is fitted without each of them, so that all rows
        are fitted on and calibrate (cross-conformal prediction, or CV+), by scorers that have seen more
        labels than a half. The coverage is mostly about `coverage`, and proved to be at least
        1 - 2 (1 - `coverage`), less a little: ``report_.coverage_bound``. A set takes `cv` times as long.

    Attributes
    ----------
    report_ : SetReport
        The counts on the calibration set and the guarantee; prints.

    Notes
    -----
    The promise holds on average over calibration sets and images, for any scorer, if calibration images are
    drawn as later ones are, and used once. It is not one for each image or, without `per_label`, for each
    class. In a caption task images share their candidates and so are not independent; the promise is then
    an approximation, for as many captions as in `fit`.

    The same image gets the same set, whatever is in the call with it.

    References
    ----------
    Sadinle, Lei & Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", JASA 2019.
    Romano, Sesia & Candès, "Classification with valid and adaptive coverage", NeurIPS 2020.
    Angelopoulos et al., "Uncertainty sets for image classifiers using conformal prediction", ICLR 2021.
    Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence 74, 2015.

    Examples
    --------
    >>> from vilu_sdk import MCMScorer, SetPredictor
    >>> from vilu_sdk.datasets import load_digits_vlm
    >>> data = load_digits_vlm()
    >>> sets = SetPredictor(MCMScorer(logit_scale=data.logit_scale), coverage=0.9)
    >>> sets = sets.fit(data.z_img_fit, data.z_txt, data.labels_fit)
    >>> chosen = sets.predict_sets(data.z_img_test, data.z_txt)
    >>> chosen.shape
    (799, 10)
    >>> bool(0.87 < chosen[range(799), data.labels_test].mean() < 0.93)
    True
    >>> sets.predict_names(data.z_img_test[:2], data.z_txt, names=data.class_names)
    [['four'], ['five']]
    """

    def __init__(
        self,
        scorer: FailureScorer,
        coverage: float = 0.9,
        method: Literal["lac", "aps", "raps"] = "lac",
        *,
        per_class: bool = False,
        per_label: bool = False,
        size_limit: int | None = None,
        allow_empty: bool = True,
        penalty: float | None = None,
        free_ranks: int | None = None,
        cv: int | None = None,
    ) -> None:
        self.scorer = scorer
        self.coverage = coverage
        self.method = method
        self.per_class = per_class
        self.per_label = per_label
        self.size_limit = size_limit
        self.allow_empty = allow_empty
        self.penalty = penalty
        self.free_ranks = free_ranks
        self.cv = cv

    @plain_torch
    def fit(
        self,
        z_img: ArrayLike,
        z_txt_set: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        frequencies: ArrayLike | None = None,
        units: ArrayLike | None = None,
    ) -> Self:
        """Find the threshold on a calibration set.

        Parameters
        ----------
        z_img : array-like of shape (n, d)
            Image embeddings of the calibration set, which a fitted scorer has not seen.
        z_txt_set : array-like of shape (K, d)
            Candidate texts, those of later use.
        labels : array-like of shape (n,), optional
            True classes, rows of `z_txt_set`, or -1 for none of them, which no set holds. Without labels
            image i pairs with caption i, and sets hold captions.
        groups : array-like of shape (n,), optional
            Integers or strings; each group gets a threshold of its own. These are slices of the images, such
            as sites, and not the groups of `Scorer.fit`, which are `units` here.
        units : array-like of shape (n,), optional
            Integers or strings: what each row is a view, frame or copy of. Rows of one unit are not
            independent, so one of them, at random, calibrates. What is promised is about one image of each
            later unit. Without it, rows count as independent, unless many images have exact copies.
        frequencies : array-like of shape (K,), optional
            As in `SelectivePredictor.fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As in `Scorer.fit`; also if a parameter is out of its range, or the scorer has no posterior.

        Warns
        -----
        RepeatedImagesWarning
            If many images have copies, exact or near ones, and no `units` explain them.
        """
        for name in ("scorer_", "folds_", "fold_scores_"):
            self.__dict__.pop(name, None)
        require_scorer(self.scorer_in_use)
        require_posterior(self.scorer_in_use)
        self._check()
        opened = open_candidates(z_txt_set, d=Rows(z_img, "z_img").d)
        task = check_task(z_img, opened, labels, groups=units, called="units")
        self._check_units(units, groups, len(task.images))
        if self.cv is not None:
            self._check_folds(task, groups)
            self._calibrate_folds(task, opened, frequencies)
        else:
            consequence = "the guarantee of the sets will not hold"
            rows, others = self._arrange_answers(task, opened, frequencies, consequence)
            self._calibrate(task, opened, as_frequent(rows, task, opened, frequencies), groups)
            self.report_ = replace(self.report_, **others)
        self.report_ = said_of_mixture(self.report_, frequencies)
        self._remember(task, opened)
        return self

    @plain_torch
    def predict_sets(
        self, z_img: ArrayLike, z_txt_set: ArrayLike, *, groups: ArrayLike | None = None
    ) -> NDArray[np.bool_]:
        """Return the set of each image.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings.
        z_txt_set : array-like of shape (K, d)
            Candidate texts. What is promised holds for those of `fit`.
        groups : array-like of shape (N,), optional
            Group of each image, where `fit` was given groups. One that it did not see has all candidates in
            its sets.

        Returns
        -------
        ndarray of shape (N, K)
            True where a candidate is in the set of an image, as booleans.

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
        opened = self._open(z_txt_set)
        sets = np.empty((len(Rows(z_img, "z_img")), len(opened)), dtype=bool)
        for rows, members, *_ in self._found(z_img, opened, groups):
            sets[rows] = members
        return sets

    @plain_torch
    def predict_names(
        self,
        z_img: ArrayLike,
        z_txt_set: ArrayLike,
        *,
        names: Sequence[str] | None = None,
        groups: ArrayLike | None = None,
    ) -> list[list[str | int]]:
        """Return the set of each image as a list of names, the likeliest candidate first.

        Parameters
        ----------
        z_img, z_txt_set, groups
            As in `predict_sets`.
        names : sequence of str, optional
            Names of the candidates, by default those that they have, or their row numbers.

        Returns
        -------
        list of list of str or int
            One for each image, which can be empty.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError, TypeError
            As in `predict_sets`; if `names` are not K.
        """
        opened = self._open(z_txt_set)
        names = opened.called(names)
        return [
            [name_of(names, at) for at in np.argsort(-log_p[i], kind="stable") if members[i, at]]
            for _, members, said, _ in self._found(z_img, opened, groups)
            for log_p in (said if said.ndim == 2 else said.mean(axis=1),)
            for i in range(len(members))
        ]

    def _check(self) -> None:
        fraction(self.coverage, "coverage")
        for name, least in (("size_limit", 1), ("free_ranks", 0), ("cv", 2)):
            if getattr(self, name) is not None:
                whole(getattr(self, name), name, least)
        if self.penalty is not None and not (isinstance(self.penalty, int | float) and self.penalty == 0):
            positive(self.penalty, "penalty")
        super()._check()
        if self.per_class and self.per_label:
            raise ValueError("per_class and per_label are two kinds of thresholds; choose one.")

    def _arrange_answers(
        self, task: Task, opened: Any, frequencies: Any, consequence: str
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Arrange the rows as `_arrange` does; a threshold without a fit gets one first, on the same rows."""
        if isinstance(self.scorer, ThresholdPredictor) and not hasattr(self.scorer, "report_"):
            threshold: ThresholdPredictor = clone(self.scorer)
            self.scorer_ = threshold.fit(
                *(task.images.source, opened, task.labels), units=task.groups, frequencies=frequencies
            )
            report = threshold.report_
            return threshold.calibration_rows, {"fit_rows": report.fit_rows, "siblings": report.siblings}
        if isinstance(self.scorer, ThresholdPredictor):
            if self.scorer.has_groups:
                raise ValueError(
                    "the threshold has groups of images, which sets for what it leaves do not take; fit it "
                    "without groups, or pass its scorer."
                )
            warn_of_fit_rows(self.scorer_in_use, task.images.source, consequence)
        return self._arrange(task, consequence)

    def _found(self, z_img: Any, opened: Opened, groups: Any) -> Iterator[tuple[NDArray[Any], ...]]:
        """Yield what `_sets` does, once it is clear that the thresholds are those of these candidates."""
        self._check_unchanged()
        if self.per_label and len(opened) != len(self.candidates_):
            raise ValueError(
                f"per_label=True has a threshold for each of {len(self.candidates_)} candidates, got "
                f"{len(opened)}."
            )
        self._require_groups(groups, "predict_sets")
        Rows(z_img, "z_img", d=self.n_features_in_)
        names = self._names_of(opened)
        self._warn_of_candidates(opened)
        return self._sets(z_img, opened, groups, names)

    def _try(self) -> None:
        """Raise where what was loaded has no sets of an image."""
        self._try_scorer()
        if hasattr(self, "report_"):
            texts = np.asarray(self.candidates_)
            self.predict_sets(texts[:1], texts, groups=self._tried_groups())
