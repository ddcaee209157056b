"""A scorer and its candidates as one scikit-learn classifier over images."""

import warnings
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score

from vilu_sdk import similarity
from vilu_sdk.intake import Rows, candidates, check_labels

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
    `cross_val_predict` passes ``method="predict_uncertainty"`` or ``"uncertainty_decision"`` through.
    For ``method="decision_function"`` it renumbers labels first, so every class must occur in y.

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

    def uncertainty_decision(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return `Scorer.decision_function` for the candidates, (N,): the ranking, unsaturated."""
        return self._scorer.decision_function(X, self.z_txt_set)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return how much each class is favoured, as scikit-learn asks of a classifier.

        This is not an uncertainty, for which a classifier has no place here: see
        `uncertainty_decision`.

        Parameters
        ----------
        X : array-like of shape (N, d)
            Image embeddings.

        Returns
        -------
        ndarray of shape (N, K), or (N,) for two classes
            Cosines, whose argmax is `predict`; for two classes that of class 1 minus that of class 0.
        """
        images = Rows(X, "X")
        text = candidates(self.z_txt_set, images.d)
        cosines = similarity.stream(images, len(text), lambda z: z @ text.T).double().numpy()
        return cosines[:, 1] - cosines[:, 0] if len(text) == 2 else cosines

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
        decision = self.uncertainty_decision(X)
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
