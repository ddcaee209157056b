"""BayesVLM: a Laplace approximation of the encoders' last layers, exact or on embeddings alone."""

import os
from collections.abc import Callable
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vilu_sdk.compute.posterior import Posterior
from vilu_sdk.compute.progress import track
from vilu_sdk.compute.random import seeded
from vilu_sdk.compute.state import plain_torch
from vilu_sdk.inputs.candidates import open_candidates
from vilu_sdk.inputs.task import Task, check_task
from vilu_sdk.inputs.values import check_logit_scale, require_candidates
from vilu_sdk.persistence.types import check_parameters
from vilu_sdk.scorers.base.among import Among
from vilu_sdk.scorers.base.scorer import Scorer
from vilu_sdk.scorers.probabilistic.exact_inputs import (
    activations,
    check_factors,
    raw_embeddings,
    squared_weights,
)
from vilu_sdk.scorers.probabilistic.kfac import Encoder, estimate_factors
from vilu_sdk.scorers.probabilistic.laplace import KroneckerFactors, LastLayer, prob_cosine, probit_logits
from vilu_sdk.training.resume import shared_fit


class BayesVLMScorer(Scorer):
    r"""BayesVLM: one minus the largest probability of a softmax over uncertain cosines.

    .. math:: u = 1 - \max_j P_{ij}, \qquad
              P_i = \mathrm{softmax}_j \frac{s \, m_{ij}}{\sqrt{1 + \tfrac{\pi}{8} s^2 v_{ij}}}

    where m and v are mean and variance of the cosine if the last linear layer of each encoder follows its
    Laplace posterior (ProbCosine and the probit approximation). Without uncertainty, v = 0, it is MCM.

    The original needs the inputs of that layer. The default mode does not, so it is another method:
    call it **"BayesVLM (identity head)"** in every table, never plain BayesVLM.

    Parameters
    ----------
    mode : {"identity_head", "exact"}
        "identity_head" puts a virtual last layer W = I behind the embedding, fits it on the pairs given to
        `fit`, and needs embeddings only. "exact" is BayesVLM: the verbs then take un-normalised
        embeddings, activations in front of the projections, and the Kronecker factors of both encoders,
        or pairs to estimate them from.
    logit_scale : float
        The model's learnt scale s: 100 for CLIP.
    prior_precision : float, optional
        λ > 0 of both encoders. By default the one of the highest Laplace evidence, for each encoder.
    pseudo_data_count : float
        How often the pairs of the fit count, n_p > 0; the covariance falls with it. 1 is the Laplace
        approximation on these pairs; the authors' zero-shot script uses 10.
    batch_size : int
        Most candidates an embedding is contrasted with in the fit, except for the images of a class set,
        which see all class texts. 32768 is the authors' value. Fitting takes O(N · batch_size · d) time.
    random_state : int, RandomState or None
        Draws the batches of the fit.

    Attributes
    ----------
    image_root_, text_root_ : Tensor of shape (P, P)
        R with R Rᵀ = Ã⁻¹, so that the variance of an embedding's coordinate k is ‖aᵀR‖² times
        `image_variance_[k]`.
    image_variance_, text_variance_ : Tensor of shape (D,)
        Diagonal of B̃⁻¹.
    image_prior_precision_, text_prior_precision_ : float
        λ.

    Notes
    -----
    `fit` uses pairs, never which predictions are right. With ``correct=``, a right prediction says which
    text belongs to its image; images whose prediction is wrong have no known text and inform the image
    encoder only.

    The expected softmax may be more confident than the zero-shot one. Its largest column may differ from the
    zero-shot prediction, which stays the argmax of the cosine.

    Two slips of the authors' code are not repeated: the exponents of the two determinants in the evidence
    are the right way round, and its Laplace term has the factor ½.

    References
    ----------
    Baumann et al., "Post-hoc Probabilistic Vision-Language Models", 2024. The identity head is this
    package's; for an invertible projection and a vanishing prior its leverage aᵀA⁻¹a is that of the
    original.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import BayesVLMScorer
    >>> rng = np.random.default_rng(0)
    >>> z_txt = rng.normal(size=(5, 8))
    >>> labels = rng.integers(5, size=200)
    >>> z_img = z_txt[labels] + rng.normal(size=(200, 8))
    >>> scorer = BayesVLMScorer(logit_scale=10.0, random_state=0).fit(z_img, z_txt, labels)
    >>> scorer.predict_uncertainty(z_img[:2], z_txt).shape
    (2,)

    The exact mode, with factors that were estimated elsewhere:

    >>> from vilu_sdk.scorers import KroneckerFactors
    >>> projection, a_img, a_txt = rng.normal(size=(8, 6)), rng.normal(size=(9, 6)), rng.normal(size=(4, 6))
    >>> factors = KroneckerFactors(A=np.eye(6), B=np.eye(8), prior_precision=50.0)
    >>> exact = BayesVLMScorer(mode="exact").fit(
    ...     a_img @ projection.T, a_txt @ projection.T, image_factors=factors, text_factors=factors
    ... )
    >>> exact.predict_uncertainty(
    ...     a_img @ projection.T, a_txt @ projection.T, a_img=a_img, a_txt_set=a_txt
    ... ).shape
    (9,)
    """

    learns = True
    has_posterior = True
    has_answers = True

    def __init__(
        self,
        *,
        mode: Literal["identity_head", "exact"] = "identity_head",
        logit_scale: float = 100.0,
        prior_precision: float | None = None,
        pseudo_data_count: float = 1.0,
        batch_size: int = 32768,
        random_state: Any = None,
    ) -> None:
        self.mode = mode
        self.logit_scale = logit_scale
        self.prior_precision = prior_precision
        self.pseudo_data_count = pseudo_data_count
        self.batch_size = batch_size
        self.random_state = random_state

    @plain_torch
    def fit(
        self,
        z_img: ArrayLike,
        z_txt: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        correct: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        a_img: ArrayLike | None = None,
        a_txt: ArrayLike | None = None,
        image_factors: KroneckerFactors | None = None,
        text_factors: KroneckerFactors | None = None,
        projection_img: ArrayLike | None = None,
        projection_txt: ArrayLike | None = None,
    ) -> Self:
        """Learn the posterior of both last layers from pairs, or from factors that are given.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings. As the projection returns them, not normalised, in the exact mode.
        z_txt : array-like of shape (K, d)
            Text embeddings, likewise.
        labels : array-like of shape (N,), optional
            True class of each image, an integer in [0, K). Without labels, row i of `z_img` pairs with row
            i of `z_txt`. Not needed if both factors are given.
        correct : array-like of shape (N,), optional
            Only whether each zero-shot prediction was right; see the Notes of the class.
        groups : array-like of shape (N,), optional
            Ignored, because the fit leaves no images out.
        checkpoint : path-like, optional
            Ignored: a fit is one pass over the pairs.
        a_img, a_txt : array-like of shape (N, P_img) and (K, P_txt), optional
            Exact mode: activations in front of the projections, for CLIP the layer-normed class token and
            the layer-normed end-of-text token. A projection with a bias has a 1 appended to them.
            Not needed if both factors are given.
        image_factors, text_factors : KroneckerFactors, optional
            Exact mode: factors of the encoders, both or none. By default they are estimated.
        projection_img, projection_txt : array-like of shape (d, P_img) and (d, P_txt), optional
            Exact mode: weights W of z = W a. They give the evidence ‖W‖², which it needs if no prior
            precision is given, and activations that do not project to the embeddings are refused.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As in the other scorers; if the pairs hold fewer than two different texts; if embeddings of
            the exact mode are normalised, do not match their activations, or widths disagree with the
            factors; if arguments of the exact mode are given in the other mode.
        TypeError
            If an array does not hold real numbers.
        """
        given = {"a_img": a_img, "a_txt": a_txt, "image_factors": image_factors, "text_factors": text_factors}
        if not self._is_exact(**given, projection_img=projection_img, projection_txt=projection_txt):
            return super().fit(z_img, z_txt, labels, correct=correct, groups=groups)
        opened = open_candidates(z_txt, "z_txt")
        images, texts = raw_embeddings(z_img, "z_img"), raw_embeddings(opened.values, "z_txt")
        check_factors(image_factors, text_factors, images.d, texts.d)
        image_weights = squared_weights(images, a_img, projection_img, "img")
        text_weights = squared_weights(texts, a_txt, projection_txt, "txt")
        if image_factors is None or text_factors is None:
            task = check_task(z_img, opened, labels, correct, groups)
            image = Encoder(images, activations(a_img, "a_img", images))
            text = Encoder(texts, activations(a_txt, "a_txt", texts))
            with shared_fit(task, self._settings):
                image_factors, text_factors = self._estimate(image, text, task)
        self._set_layer("image", image_factors, image_weights)
        self._set_layer("text", text_factors, text_weights)
        self.n_features_in_ = images.d
        return self

    @plain_torch
    def decision_function(
        self,
        z_img: ArrayLike,
        z_txt_set: ArrayLike,
        *,
        a_img: ArrayLike | None = None,
        a_txt_set: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Return the log-odds of `predict_uncertainty`.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings; not normalised in the exact mode.
        z_txt_set : array-like of shape (K, d)
            Candidate texts, likewise.
        a_img, a_txt_set : array-like of shape (N, P_img) and (K, P_txt), optional
            Activations in front of the projections, in the exact mode, which needs both.

        Returns
        -------
        ndarray of shape (N,)
            Higher = more likely wrong, in nats.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the scorer was not fitted.
        ValueError, TypeError
            As in `fit`.
        """
        if not self._is_exact(a_img=a_img, a_txt_set=a_txt_set):
            return super().decision_function(z_img, z_txt_set)
        self._check_score(z_img, z_txt_set)
        given = open_candidates(z_txt_set).values
        images, texts = raw_embeddings(z_img, "z_img"), raw_embeddings(given, "z_txt_set")
        require_candidates(len(texts), type(self).__name__, self.min_candidates)
        image_a = activations(a_img, "a_img", images, width=len(self.image_root_))
        text_a = activations(a_txt_set, "a_txt_set", texts, width=len(self.text_root_))
        posterior = self._posterior(texts.read(), text_a.read())
        width = max(len(texts), image_a.d)
        decisions = [
            posterior(images.read(rows), image_a.read(rows)).log_odds()
            for rows in track(images.slices(width), "scoring")
        ]
        return torch.cat(decisions).to(torch.float64).numpy()

    def predict_uncertainty(
        self,
        z_img: ArrayLike,
        z_txt_set: ArrayLike,
        *,
        a_img: ArrayLike | None = None,
        a_txt_set: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Return one minus the largest probability under uncertain cosines.

        Parameters
        ----------
        z_img, z_txt_set, a_img, a_txt_set
            As in `decision_function`.

        Returns
        -------
        ndarray of shape (N,)
            In [0, 1), higher = more likely wrong.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError, TypeError
            As in `decision_function`.
        """
        decision = self.decision_function(z_img, z_txt_set, a_img=a_img, a_txt_set=a_txt_set)
        return self._uncertainty(decision)

    _read = Scorer._read  # to which the verbs above only add arguments

    def _learn(self, task: Task) -> None:
        image, text = Encoder(task.images, task.images), Encoder(task.texts, task.texts)
        for side, factors in zip(("image", "text"), self._estimate(image, text, task), strict=True):
            self._set_layer(side, factors, float(task.images.d))  # the virtual weights' ‖I‖²

    def _among(self, text: Tensor) -> Among:
        if self._is_exact():
            raise ValueError("mode='exact' needs a_img and a_txt_set; pass them to decision_function.")
        posterior = self._posterior(text, text)
        # The largest column of the expected softmax, which need not be the prediction.
        return Among(text, lambda z: posterior(z, z), lambda chunk: chunk.posterior.log_odds(), answers=True)

    def _estimate(self, image: Encoder, text: Encoder, task: Task) -> list[KroneckerFactors]:
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, got {self.batch_size}.")
        scale = check_logit_scale(self.logit_scale)
        return estimate_factors(image, text, task, scale, self.batch_size, seeded(self.random_state))

    def _set_layer(self, side: str, factors: KroneckerFactors, squared_weights: float | None) -> None:
        layer = LastLayer.of(factors, squared_weights, self.prior_precision, self.pseudo_data_count)
        for name, value in layer._asdict().items():
            setattr(self, f"{side}_{name}_", value)

    def _layer(self, side: str) -> LastLayer:
        return LastLayer(*(getattr(self, f"{side}_{name}_") for name in LastLayer._fields))

    def _posterior(self, text: Tensor, text_a: Tensor) -> Callable[[Tensor, Tensor], Posterior]:
        """Return the function from image embeddings and activations to the expected softmax."""
        scale = check_logit_scale(self.logit_scale)
        image_layer, texts = self._layer("image"), self._layer("text").embed(text, text_a)

        def posterior(z: Tensor, a: Tensor) -> Posterior:
            mean, variance = prob_cosine(image_layer.embed(z, a), texts)
            return Posterior(lambda: probit_logits(mean, variance, scale))

        return posterior

    def _try(self) -> None:
        if self.mode != "exact":  # which takes activations too
            super()._try()

    def _is_exact(self, **arguments: Any) -> bool:
        """Check the mode, and that only the exact one is given its arguments."""
        check_parameters(self)
        given = [name for name, value in arguments.items() if value is not None]
        if given and self.mode != "exact":
            raise ValueError(f"{given[0]} is for mode='exact'; the identity head sees embeddings alone.")
        return self.mode == "exact"
