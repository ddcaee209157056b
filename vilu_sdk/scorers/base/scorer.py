"""What every scorer shares: the five verbs, the checks around them, and persistence."""

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from vilu_sdk.compute.device import compute_device
from vilu_sdk.compute.distributed import check_rows, from_first
from vilu_sdk.compute.streaming import stream
from vilu_sdk.compute.tiles import top1
from vilu_sdk.inputs.rows import Rows, candidates
from vilu_sdk.inputs.task import Checkpoint, Task, check_task
from vilu_sdk.inputs.values import positive, require_candidates
from vilu_sdk.persistence.encoding import encode, moved
from vilu_sdk.persistence.persistent import Persistent
from vilu_sdk.scorers.base.backbone_check import Seen
from vilu_sdk.scorers.base.bound import BoundClassifier
from vilu_sdk.scorers.base.prepared import Prepared, Texts
from vilu_sdk.training.resume import forget, shared_fit

#: What is kept between calls and is no part of a scorer.
TRANSIENT = ("_texts", "_prepared")


class Scorer(Persistent):
    """Base of all scorers: embeddings in, uncertainty out, higher = more likely wrong.

    A subclass says how it learns (`_learn`, if it does) and how it ranks (`_decision`); everything a
    user calls is here.
    """

    #: Whether `predict_uncertainty` is meant as a probability of failure. Where it is not, the
    #: decision function is the logarithm of the uncertainty instead of its log-odds.
    is_probability: ClassVar[bool] = True
    #: Whether the scorer must be fitted before it can score.
    learns: ClassVar[bool] = False
    #: Fewest candidates with which the score has a meaning.
    min_candidates: ClassVar[int] = 2
    #: Whether it scores only the candidates of the fit, in their order, and so cannot learn from captions.
    fixed_candidates: ClassVar[bool] = False

    def fit(
        self,
        z_img: ArrayLike,
        z_txt: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        correct: ArrayLike | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Learn from embeddings and what is known about them.

        Scorers that learn nothing check the arguments and ignore them.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings; numpy (memory-mapped too), torch or nested lists. Rows are normalised.
        z_txt : array-like of shape (K, d)
            Embeddings of the candidate texts.
        labels : array-like of shape (N,), optional
            True class of each image, an integer in [0, K). Without labels (and without `correct`)
            this is a caption task: row i of `z_img` pairs with row i of `z_txt`, so K = N.
        correct : array-like of shape (N,), optional
            Only whether each zero-shot prediction was right, as booleans.
        checkpoint : path-like, optional
            A folder of its own, in which a fit by gradient descent keeps its state every half minute. Killed
            and called again with the same arguments, the fit goes on from there, to the same weights as if
            it had never stopped. A finished fit removes it. Scorers that fit in one go ignore it.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an array has the wrong shape, holds NaN, infinite or all-zero rows, or labels are not
            integers in [0, K); the message names the argument. Also if the checkpoint is that of another
            scorer, of other settings or other data.
        TypeError
            If an array does not hold real numbers.
        """
        return self._fit(check_task(z_img, z_txt, labels, correct), checkpoint)

    def decision_function(self, z_img: ArrayLike, z_txt_set: ArrayLike) -> NDArray[np.float64]:
        """Rank images by uncertainty, without saturation.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings.
        z_txt_set : array-like of shape (K, d)
            Candidate texts the prediction is chosen from.

        Returns
        -------
        ndarray of shape (N,)
            Higher = more likely wrong: the log-odds of `predict_uncertainty` where that is a
            probability, its logarithm otherwise. The unit is nats.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the scorer learns and was not fitted.
        ValueError, TypeError
            As in `fit`; also with fewer candidates than the score can compare.
        """
        images, text = self._check_score(z_img, z_txt_set)
        require_candidates(len(text), type(self).__name__, self.min_candidates)
        self._compare(images, text)
        decide, device = self._decide_among(text), compute_device()
        decision = stream(images, self._width(len(text)), decide, device=device)
        return decision.to(torch.float64).numpy()

    def predict_uncertainty(self, z_img: ArrayLike, z_txt_set: ArrayLike) -> NDArray[np.float64]:
        """Return the uncertainty of the zero-shot prediction of each image.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings.
        z_txt_set : array-like of shape (K, d)
            Candidate texts the prediction is chosen from; any K, also one never seen in `fit`.

        Returns
        -------
        ndarray of shape (N,)
            Higher = more likely wrong. In [0, 1] where `is_probability` is True.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError, TypeError
            As in `decision_function`.
        """
        return self._uncertainty(self.decision_function(z_img, z_txt_set))

    def predict(self, z_img: ArrayLike, z_txt_set: ArrayLike) -> NDArray[np.int64]:
        """Return the zero-shot prediction, the candidate of the largest cosine (the first of equals).

        It is the same for every scorer, so that failures do not depend on the scorer.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings.
        z_txt_set : array-like of shape (K, d)
            Candidate texts.

        Returns
        -------
        ndarray of shape (N,)
            Row numbers of `z_txt_set`.

        Raises
        ------
        ValueError, TypeError
            As in `fit`.
        """
        images = Rows(z_img, "z_img")
        return top1(images, self._read_texts(z_txt_set, images.d), compute_device()).numpy()

    def bind(self, z_txt_set: ArrayLike | None) -> BoundClassifier:
        """Return a scikit-learn classifier over images alone, for a fixed candidate set.

        Parameters
        ----------
        z_txt_set : array-like of shape (K, d) or None
            Candidate texts; row k is class k. With None, `fit` takes class means of the images for texts:
            failure prediction for any labelled features.

        Returns
        -------
        BoundClassifier
            For `GridSearchCV`, `cross_val_predict` and `Pipeline`; its score is the AUC of finding
            wrong predictions. With texts it scores at once where this scorer could.

        Raises
        ------
        ValueError, TypeError
            As in `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from vilu_sdk import MCMScorer
        >>> bound = MCMScorer(logit_scale=10.0).bind(np.eye(3))
        >>> bound.predict_uncertainty(np.array([[1.0, 0.9, 0.0]])).round(4)
        array([0.3226])
        """
        if z_txt_set is None:
            return BoundClassifier(self)
        candidates(z_txt_set)
        if isinstance(z_txt_set, Tensor):
            z_txt_set = z_txt_set.detach()  # scikit-learn copies parameters, which torch refuses in a graph
        bound = BoundClassifier(self, z_txt_set)
        return bound._use_as_fitted() if self.__sklearn_is_fitted__() else bound

    @property
    def softmax_scale(self) -> float:
        """What cosines are multiplied by for zero-shot class probabilities."""
        return positive(self.logit_scale, "logit_scale")

    def _fit(self, task: Task, checkpoint: str | os.PathLike[str] | None) -> Self:
        """Learn from a checked task; the checkpoint is for as long as that takes."""
        if checkpoint is not None:
            task = replace(task, checkpoint=Checkpoint(Path(checkpoint), self._settings()))
        with shared_fit(task, self._settings):
            self._learn(task)
            self.n_features_in_ = task.images.d
            self._remember(task.images, task.texts)
        if task.checkpoint is not None:
            forget(task.checkpoint)
        return self

    def _settings(self) -> dict[str, Any]:
        """Return as JSON what tells the fits of one scorer from those of another."""
        return {"scorer": encode(clone(self), "", {})}

    def _learn(self, task: Task) -> None:
        """Set the learned attributes; scorers that learn nothing only have bad rows reported."""
        check_rows(task.images, task.texts)

    def _decision(self, text: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function from image rows (n, d) to their decision values (n,) among `text`."""
        raise NotImplementedError

    def _decide_among(self, text: Tensor) -> Callable[[Tensor], Tensor]:
        """Return `_decision(text)` on the device, kept until candidates, scorer or device change."""
        device = compute_device()
        state = {name: value for name, value in vars(self).copy().items() if name not in TRANSIENT}
        state["device"] = device
        kept: Prepared | None = self.__dict__.get("_prepared")
        if kept is None or not kept.serves(text, state):
            there = self if device.type == "cpu" else moved(self, device)
            kept = self.__dict__["_prepared"] = Prepared(text, state, there._decision(text.to(device)))
        return kept.decide

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in TRANSIENT}

    def _width(self, k: int) -> int:
        """Columns of the widest array that `_decision` makes for an image and k candidates."""
        return k

    def _uncertainty(self, decision: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undo the logarithm, or log-odds, that keeps the decision function from saturating."""
        uncertainty: NDArray[np.float64] = expit(decision) if self.is_probability else np.exp(decision)
        return uncertainty

    def _check_score(self, z_img: Any, z_txt_set: Any) -> tuple[Rows, Tensor]:
        if self.learns:
            check_is_fitted(self)
        images = Rows(z_img, "z_img", d=getattr(self, "n_features_in_", None))
        return images, self._read_texts(z_txt_set, images.d)

    def _read_texts(self, z_txt_set: Any, d: int) -> Tensor:
        """Return the candidates (K, d), checked and normalised; at once if they are those of last time."""
        kept: Texts | None = self.__dict__.get("_texts")
        if kept is None or not kept.are(z_txt_set, d):
            kept = self.__dict__["_texts"] = Texts.read(z_txt_set, d)
        return kept.text

    def _remember(self, images: Rows, texts: Rows) -> None:
        """Keep what the embeddings look like, and forget what a card said of an earlier fit.

        Processes that fitted together keep what the first of them has, to the last bit.
        """
        if self.learns:
            self.seen_ = Seen.of(images, texts)
        for name in ("card_", "_warned", *TRANSIENT):
            self.__dict__.pop(name, None)
        learned = {name: value for name, value in vars(self).items() if name.endswith("_")}
        self.__dict__.update(from_first(lambda: learned))

    def _compare(self, images: Rows, text: Tensor) -> None:
        """Warn, once for each scorer, of embeddings that another model than that of the fit has made."""
        seen = getattr(self, "seen_", None)
        if seen is None or (complaint := seen.complaint(images, text)) is None:
            return
        mine = object()  # of threads that come here together, one finds its own
        if self.__dict__.setdefault("_warned", mine) is mine:
            warnings.warn(
                f"This {type(self).__name__} seems to be given embeddings of another model: {complaint}",
                stacklevel=4,
            )

    def __sklearn_is_fitted__(self) -> bool:
        return not self.learns or hasattr(self, "n_features_in_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = self.learns
        tags.target_tags.required = self.fixed_candidates
        return tags
