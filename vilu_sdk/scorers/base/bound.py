"""A scorer and its candidates as one scikit-learn classifier over images."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.metrics import roc_auc_score
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import Tensor

from vilu_sdk.compute.state import plain_torch
from vilu_sdk.compute.streaming import stream
from vilu_sdk.exceptions import SampleWeightWarning, warn
from vilu_sdk.inputs.candidates import Candidates, Opened, open_candidates
from vilu_sdk.inputs.containers import to_numpy, what_it_holds
from vilu_sdk.inputs.rows import Rows, zeros_allowed
from vilu_sdk.inputs.values import check_labels, check_units, check_weights
from vilu_sdk.metrics.failure import warn_single_class
from vilu_sdk.scorers.base.class_means import class_means, leave_own_out
from vilu_sdk.scorers.base.targets import as_labels, classes_of, refuse_sorted_numbers, rows_of

if TYPE_CHECKING:
    from vilu_sdk.scorers.base.scorer import Scorer


Method = TypeVar("Method", bound=Callable[..., Any])


def _zeros_are_rows(method: Method) -> Method:
    """Let a method take rows of zeros where there are no texts: these are features, and may be so."""

    @wraps(method)
    def wrapped(self: "BoundClassifier", *args: Any, **kwargs: Any) -> Any:
        with zeros_allowed() if self.z_txt_set is None else nullcontext():
            return method(self, *args, **kwargs)

    return cast(Method, wrapped)


class BoundClassifier(ClassifierMixin, BaseEstimator):
    """Zero-shot classifier of images among fixed candidates, scored by how well it predicts its failures.

    Made by `Scorer.bind`. Cross-validation slices X and y; the candidates are a parameter, and stay whole.

    Parameters
    ----------
    scorer : Scorer
        Tells which predictions are likely wrong. `fit` clones it.
    z_txt_set : array-like of shape (K, d), mapping, frame or None
        Candidate texts; classes are their names, or their row numbers where they have none. None takes the
        classes from y, and for the text of a class the mean of its images.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The names of the texts, in their order, or ``arange(K)``, or the distinct values of y if there are no
        texts.
    z_txt_set_ : array-like of shape (K, d)
        The texts, or the class means of the unit images.
    scorer_ : Scorer
        The fitted clone.
    n_features_in_ : int
        Width d of the embeddings.
    feature_names_in_ : ndarray of shape (d,)
        Names of the columns, if `fit` was given a data frame with names.

    Notes
    -----
    Predictions and class probabilities are the zero-shot ones for every scorer; scorers differ in
    `predict_uncertainty`, which `score` measures. For an estimator with ``predicts="posterior"`` they are
    those of its posterior.

    Metrics of scikit-learn that read columns of probabilities, such as ``"neg_log_loss"`` and ``"roc_auc"``,
    take them for those of the sorted labels. Give named candidates in the sorted order of their names there.

    Without texts, images are compared with class means by their cosines, so centre features that are not
    embeddings of a model trained on cosines, for instance with `StandardScaler`. A row of zeros has the
    cosine 0 to all of them. A scorer learns from the same images, moved as if each had been left out of its
    class mean; ``docs/scikit-learn.md`` shows how much that helps.

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

    classes_: NDArray[Any]
    z_txt_set_: Any
    scorer_: "Scorer"

    def __init__(self, scorer: "Scorer", z_txt_set: ArrayLike | None = None) -> None:
        self.scorer = scorer
        self.z_txt_set = z_txt_set

    @plain_torch
    @_zeros_are_rows
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit a clone of the scorer.

        Parameters
        ----------
        X : array-like of shape (N, d)
            Image embeddings.
        y : array-like of shape (N,)
            True classes: names or rows of `z_txt_set`, of which not every one has to occur, or any labels of
            at least two classes if there are no texts.
        sample_weight : array-like of shape (N,), optional
            Weights of the images, at least 0, in the class means and for scorers whose `fit` takes them.
        groups : array-like of shape (N,), optional
            The image or video of each row, as in `Scorer.fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As in `Scorer.fit`, where X is called z_img; if there are no texts, also if y holds one class
            or the images of a class have a mean of zero; if there are texts and weights that the
            scorer cannot use.

        Warns
        -----
        SampleWeightWarning
            If weights enter the class means alone, because the scorer learns but takes none.
        """
        opened = self._opened()
        checked = validate_data(self, _images(X), rows_of(y, opened), ensure_all_finite=False)
        images, target = map(np.asarray, checked)
        weights = torch.ones(len(images), dtype=torch.float64)
        units = None if groups is None else check_units(groups, len(images))
        if sample_weight is not None:
            weights = check_weights(sample_weight, len(images))
            # As if they had not been given: a class of such images alone is no class.
            kept = (weights > 0).numpy()
            images, target, weights = images[kept], target[kept], weights[kept]
            units = None if units is None else units[kept]
        if opened is None:
            if target.dtype == object and len({isinstance(value, str) for value in target}) > 1:
                raise TypeError(f"y holds {what_it_holds(target)}; pass all names, or all numbers.")
            check_classification_targets(target)
            self.classes_, labels = np.unique(target, return_inverse=True)
            self.z_txt_set_ = class_means(images, labels, self.classes_, weights)
            if self.scorer.learns:
                images = leave_own_out(images, labels, self.z_txt_set_, weights, units)
        else:
            self.classes_ = classes_of(opened)
            labels = check_labels(target, len(target), len(self.classes_), name="y").numpy()
            refuse_sorted_numbers(y, labels, images, opened)
            self.z_txt_set_ = self.z_txt_set
        used = {} if sample_weight is None else self._usable(weights)
        used |= {} if units is None else {"groups": units}
        self.scorer_ = clone(self.scorer).fit(images, self.z_txt_set_, labels, **used)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the predictions, (N,) of `classes_`; zero-shot and the same for every scorer by default."""
        predicted = self._predict_rows(X)
        return np.asarray(self.classes_[predicted])

    @_zeros_are_rows
    def predict_uncertainty(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return `Scorer.predict_uncertainty` for the candidates, (N,), higher = more likely wrong."""
        images = self._check(X)
        return self.scorer_.predict_uncertainty(images, self.z_txt_set_)

    @_zeros_are_rows
    def rank_uncertainty(self, X: ArrayLike) -> NDArray[np.float64]:
        """Rank images by uncertainty, without saturation.

        Parameters
        ----------
        X : array-like of shape (N, d)
            Image embeddings.

        Returns
        -------
        ndarray of shape (N,)
            `Scorer.decision_function` for the candidates, higher = more likely wrong.
        """
        images = self._check(X)
        return self.scorer_.decision_function(images, self.z_txt_set_)

    @plain_torch
    @_zeros_are_rows
    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return class scores, as scikit-learn's classifiers do.

        Parameters
        ----------
        X : array-like of shape (N, d)
            Image embeddings.

        Returns
        -------
        ndarray of shape (N, K), or (N,) for two classes
            Zero-shot logits, or logarithms of the posterior's probabilities; for two classes that of the
            second minus that of the first. Uncertainty is `rank_uncertainty`.
        """
        X = self._check(X)
        if self._has_answers:
            logarithms = np.asarray(self.scorer_.predict_log_proba(X, self.z_txt_set_))
            return logarithms[:, 1] - logarithms[:, 0] if logarithms.shape[1] == 2 else logarithms
        images = Rows(X, "X")
        # In float64, so that an image's value does not depend on the rows around it.
        text = Candidates(self.z_txt_set_, images.d).text.double()
        (cosines,) = stream(images, len(text), lambda z: [z.double() @ text.T])
        logits = self.scorer_.softmax_scale * cosines.numpy()
        return logits[:, 1] - logits[:, 0] if len(text) == 2 else logits

    @_zeros_are_rows
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the class probabilities.

        Parameters
        ----------
        X : array-like of shape (N, d)
            Image embeddings.

        Returns
        -------
        ndarray of shape (N, K)
            The posterior of an estimator with ``predicts="posterior"``, else the softmax of the cosines at
            the scorer's own scale, for `TemperatureScaledMCMScorer` the one it
            learned. One minus the largest is the uncertainty of MCM, with and without temperature; for other
            scorers use `predict_uncertainty`.
        """
        if self._has_answers:
            return np.asarray(self.scorer_.predict_proba(self._check(X), self.z_txt_set_))
        logits = self.decision_function(X)
        if logits.ndim == 1:
            return np.stack([expit(-logits), expit(logits)], axis=1)
        return np.asarray(softmax(logits, axis=1))

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
            The AUC of uncertainty against failure. 0.5, with an `UndefinedScoreWarning`, where all
            predictions are right or all are wrong: failures depend on no parameter of the scorer, so
            within such a fold all candidates of a search get the same.
        """
        failure = self.find_failures(X, y)
        ranking = self.rank_uncertainty(X)
        if warn_single_class(failure, "the AUC of finding failures is", 0.5):
            return 0.5
        return float(roc_auc_score(failure, ranking, sample_weight=sample_weight))

    def find_failures(self, X: ArrayLike, y: ArrayLike) -> NDArray[np.bool_]:
        """Return where the prediction is wrong, (N,); labels y (N,) as in `fit`, or of unknown classes."""
        predicted = self._predict_rows(X)
        opened = self._opened()
        if opened is None:
            return np.asarray(self.classes_[predicted] != column_or_1d(as_labels(y)))
        known = check_labels(rows_of(y, opened), len(predicted), len(self.classes_), name="y")
        return np.asarray(predicted != known.numpy())

    @_zeros_are_rows
    def _predict_rows(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the predictions as rows of the candidates, (N,)."""
        images = self._check(X)
        return self.scorer_.predict(images, self.z_txt_set_)

    def _opened(self) -> Opened | None:
        """Return the candidates, if there are texts."""
        return None if self.z_txt_set is None else open_candidates(self.z_txt_set)

    @property
    def _has_answers(self) -> bool:
        """Whether classes are those of a posterior."""
        check_is_fitted(self)
        return self.scorer_.predicts == "posterior"

    def _usable(self, weights: Tensor) -> dict[str, Tensor]:
        """Return the weights as an argument of the scorer's fit, if it has it."""
        if self.scorer.takes_weights:
            return {"sample_weight": weights}
        name = type(self.scorer).__name__
        if self.z_txt_set is not None:
            raise ValueError(f"{name} cannot use sample weights; leave sample_weight out.")
        if self.scorer.learns:
            warn(
                f"{name} cannot use sample weights; they enter the class means alone.",
                SampleWeightWarning,
            )
        return {}

    def _check(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self)
        X = _images(X)
        if self.scorer_ is self.scorer:  # bound after its fit, which no column names were part of
            X = np.asarray(X)
        return np.asarray(validate_data(self, X, reset=False, ensure_all_finite=False))

    def _use_as_fitted(self) -> Self:
        """Score with the scorer as it is."""
        opened = open_candidates(self.z_txt_set)
        text = Candidates(opened).text
        self.scorer_, self.z_txt_set_ = self.scorer, self.z_txt_set
        self.classes_, self.n_features_in_ = classes_of(opened), text.shape[1]
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = not hasattr(self, "scorer_")
        return tags


def _images(X: Any) -> Any:
    """Return images as scikit-learn reads them: an array, or a frame, whose column names it compares."""
    if len(getattr(X, "columns", ())) < 2:
        return to_numpy(X, "X")
    Rows(X, "X")  # what is wrong with a frame is said in the same words
    return X
