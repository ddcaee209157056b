"""A scorer and its candidates as one scikit-learn classifier over images."""

import warnings
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score

from vilu_sdk.intake import Rows, check_labels

if TYPE_CHECKING:
    from vilu_sdk.scorers._base import Scorer


class BoundClassifier(ClassifierMixin, BaseEstimator):
    """Zero-shot classifier of images among fixed candidates, judged by how well it knows its failures.

    Made by `Scorer.bind`. Classes are the row numbers of `z_txt_set`.

    Parameters
    ----------
    scorer : Scorer
        Ranks the predictions. `fit` clones it; until then a scorer that is fitted, or learns nothing,
        is used as it is.
    z_txt_set : array-like of shape (K, d)
        Candidate texts.

    Attributes
    ----------
    scorer_ : Scorer
        The fitted clone, after `fit`.

    Notes
    -----
    `decision_function` means here what it means for every scorer, one uncertainty an image, and not
    one value a class as for other classifiers. So ``cross_val_predict(..., method="decision_function")``
    gives uncertainties out of fold, while scikit-learn's own metrics of class scores, "roc_auc" among
    them, have no meaning for this classifier; accuracy has, but is the same for every scorer.

    With that method `cross_val_predict` renumbers the labels, so it fails unless every class occurs
    in y. `fit`, `score` and the searches need no such thing.

    Examples
    --------
    Pick the logit scale that ranks failures best:

    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from vilu_sdk import MCMScorer
    >>> rng = np.random.default_rng(0)
    >>> z_txt = rng.normal(size=(4, 8))
    >>> y = rng.integers(4, size=200)
    >>> X = z_txt[y] + 1.5 * rng.normal(size=(200, 8))
    >>> search = GridSearchCV(MCMScorer().bind(z_txt), {"scorer__logit_scale": [1.0, 100.0]})
    >>> search.fit(X, y).best_params_
    {'scorer__logit_scale': 1.0}
    """

    def __init__(self, scorer: "Scorer", z_txt_set: ArrayLike) -> None:
        self.scorer = scorer
        self.z_txt_set = z_txt_set

    @property
    def classes_(self) -> NDArray[np.int64]:
        """Row numbers of the candidates, (K,)."""
        return np.arange(len(Rows(self.z_txt_set, "z_txt_set")))

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit a clone of the scorer.

        Parameters
        ----------
        X : array-like of shape (N, d)
            Image embeddings.
        y : array-like of shape (N,)
            True classes, rows of `z_txt_set`. Not every class has to occur.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As in `Scorer.fit`, where X is called z_img.
        """
        check_labels(y, len(Rows(X, "X")), len(self.classes_), name="y")
        self.scorer_ = clone(self.scorer).fit(X, self.z_txt_set, y)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the zero-shot predictions, (N,); the same for every scorer."""
        return self._scorer.predict(X, self.z_txt_set)

    def predict_uncertainty(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return `Scorer.predict_uncertainty` for the candidates, (N,)."""
        return self._scorer.predict_uncertainty(X, self.z_txt_set)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return `Scorer.decision_function` for the candidates: the ranking, unsaturated.

        Parameters
        ----------
        X : array-like of shape (N, d)
            Image embeddings.

        Returns
        -------
        ndarray of shape (N,)
            Higher = more likely wrong, for any number of classes.
        """
        return self._scorer.decision_function(X, self.z_txt_set)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return how well uncertainty finds the wrong predictions.

        The accuracy would be the same for every scorer, so a search could not choose by it.

        Parameters
        ----------
        X : array-like of shape (N, d)
            Image embeddings.
        y : array-like of shape (N,)
            True classes.
        sample_weight : array-like of shape (N,), optional
            Weights of the images.

        Returns
        -------
        float
            The AUC of uncertainty against failure. 0.5, with an `UndefinedMetricWarning`, where all
            predictions are right or all are wrong: failures depend on no parameter, so within such a
            fold all candidates of a search get the same.
        """
        labels = check_labels(y, len(Rows(X, "X")), len(self.classes_), name="y")
        failure = self.predict(X) != labels.numpy()
        decision = self.decision_function(X)
        if failure.all() or not failure.any():
            warnings.warn(
                f"All {len(failure)} predictions are {'wrong' if failure[0] else 'right'}, so the AUC of "
                "finding failures is undefined; it is set to 0.5.",
                UndefinedMetricWarning,
                stacklevel=2,
            )
            return 0.5
        return float(roc_auc_score(failure, decision, sample_weight=sample_weight))

    @property
    def _scorer(self) -> "Scorer":
        return self.scorer_ if hasattr(self, "scorer_") else self.scorer

    @property
    def n_features_in_(self) -> int:
        """Width d of the embeddings."""
        return Rows(self.z_txt_set, "z_txt_set").d

    def __sklearn_is_fitted__(self) -> bool:
        return bool(self._scorer.__sklearn_is_fitted__())
