"""Failure metrics where scikit-learn expects ``scoring=``, and uncertainties out of fold."""

from numbers import Integral
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline

from vilu_sdk.metrics.failure import fpr95, warn_single_class
from vilu_sdk.metrics.risk_coverage import aurc


def failure_auc_scorer(estimator: Any, X: Any, y: Any) -> float:
    """AUC of finding wrong predictions, for ``scoring=`` in scikit-learn's searches.

    It is what `score` of a bound classifier returns, and works with pipelines and searches too.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier made by `Scorer.bind`, a pipeline that ends in one, or a search over either.
    X : array-like of shape (N, d)
        Image embeddings.
    y : array-like of shape (N,)
        True classes.

    Returns
    -------
    float
        In [0, 1], higher is better. 0.5, with an `UndefinedScoreWarning`, if all predictions are right or
        all are wrong. Failures depend on no parameter of the scorer, so all candidates of a search get the
        same in such a fold, and it decides nothing; a NaN would have the whole candidate discarded.

    Raises
    ------
    TypeError
        If the estimator has no uncertainty.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_validate
    >>> from vilu_sdk import MCMScorer
    >>> rng = np.random.default_rng(0)
    >>> z_txt = rng.normal(size=(4, 8))
    >>> y = rng.integers(4, size=200)
    >>> X = z_txt[y] + 1.5 * rng.normal(size=(200, 8))
    >>> scoring = {"auc": failure_auc_scorer, "aurc": neg_aurc_scorer, "acc": "accuracy"}
    >>> folds = cross_validate(MCMScorer().bind(z_txt), X, y, cv=3, scoring=scoring)
    >>> bool(folds["test_auc"].mean() > 0.5 > 0 > folds["test_aurc"].mean())
    True
    """
    bound, X = _unwrap(estimator, X)
    return float(bound.score(X, y))


def neg_fpr95_scorer(estimator: Any, X: Any, y: Any) -> float:
    """Minus the false-positive rate at 95 % of the correct predictions, for ``scoring=``.

    Parameters
    ----------
    estimator, X, y
        As in `failure_auc_scorer`, with the same error.

    Returns
    -------
    float
        In [-1, 0], higher is better; see `fpr95`. -0.95, what equal uncertainties get, with an
        `UndefinedScoreWarning`, if all predictions are right or all are wrong.
    """
    ranking, failure = _rank(estimator, X, y)
    if warn_single_class(failure, "how failures are found is", -0.95):
        return -0.95
    return -fpr95(ranking, failure)


def neg_aurc_scorer(estimator: Any, X: Any, y: Any) -> float:
    """Minus the area under the risk-coverage curve, for ``scoring=``.

    Parameters
    ----------
    estimator, X, y
        As in `failure_auc_scorer`, with the same error.

    Returns
    -------
    float
        In [-1, 0], higher is better; see `aurc`. It is defined for predictions of one kind too.
    """
    return -aurc(*_rank(estimator, X, y))


def cross_val_uncertainty(
    estimator: Any,
    X: Any,
    y: npt.ArrayLike,
    *,
    cv: Any = None,
    groups: npt.ArrayLike | None = None,
    n_jobs: int | None = None,
) -> npt.NDArray[np.float64]:
    """Compute each image's uncertainty by an estimator that was fitted without it.

    scikit-learn's `cross_val_predict` does not support `predict_uncertainty`.

    Parameters
    ----------
    estimator : estimator
        A classifier made by `Scorer.bind`, a pipeline that ends in one, or a search over either. It is
        cloned for each fold, never changed.
    X : array-like of shape (N, d)
        Image embeddings.
    y : array-like of shape (N,)
        True classes.
    cv, n_jobs
        As in `sklearn.model_selection.cross_val_predict`: five stratified folds by default.
    groups : array-like of shape (N,), optional
        The image or video of each row, as in `Scorer.fit`: folds hold whole groups if `cv` is a number,
        and the estimator gets them in its fit.

    Returns
    -------
    ndarray of shape (N,)
        `predict_uncertainty` of the held-out images, higher = more likely wrong.

    Raises
    ------
    TypeError
        If the estimator has no uncertainty.
    ValueError
        If the folds do not hold out each image once, or as in the estimator's `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import TemperatureScaledMCMScorer
    >>> rng = np.random.default_rng(0)
    >>> z_txt = rng.normal(size=(4, 8))
    >>> y = rng.integers(4, size=200)
    >>> X = z_txt[y] + 1.5 * rng.normal(size=(200, 8))
    >>> cross_val_uncertainty(TemperatureScaledMCMScorer().bind(z_txt), X, y).shape
    (200,)
    """
    if groups is not None and (cv is None or isinstance(cv, Integral)):
        cv = StratifiedGroupKFold(5 if cv is None else int(cv))
    params = {} if groups is None else {"groups": np.asarray(groups)}
    try:
        uncertainty = cross_val_predict(
            _Uncertainty(estimator), X, y, cv=cv, groups=groups, n_jobs=n_jobs, params=params
        )
    except ValueError as error:
        if "partitions" not in str(error):
            raise
        raise ValueError(
            "cv must make partitions, which hold out each image once; this one leaves some out, or holds "
            "some out several times, as RepeatedStratifiedKFold does. Call this once for each repetition."
        ) from error
    return np.asarray(uncertainty, dtype=np.float64)


class _Uncertainty(ClassifierMixin, BaseEstimator):
    """An estimator whose prediction is the uncertainty; a classifier, so that folds are stratified."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        last = f"{self.estimator.steps[-1][0]}__groups" if isinstance(self.estimator, Pipeline) else "groups"
        self.estimator_ = clone(self.estimator).fit(X, y, **({} if groups is None else {last: groups}))
        return self

    def predict(self, X: Any) -> Any:
        bound, X = _unwrap(self.estimator_, X)
        return bound.predict_uncertainty(X)


def _unwrap(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the bound classifier inside a pipeline or search, and the images as they reach it."""
    if isinstance(estimator, Pipeline):
        if len(estimator) > 1:
            X = estimator[:-1].transform(X)
        return _unwrap(estimator[-1], X)
    if hasattr(estimator, "best_estimator_"):
        return _unwrap(estimator.best_estimator_, X)
    if not hasattr(estimator, "rank_uncertainty"):
        raise TypeError(
            f"{type(estimator).__name__} has no uncertainty; pass what `bind` returns, a pipeline that ends "
            "in it, or a search over either."
        )
    return estimator, X


def _rank(estimator: Any, X: Any, y: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    bound, X = _unwrap(estimator, X)
    return bound.rank_uncertainty(X), bound.find_failures(X, y)
