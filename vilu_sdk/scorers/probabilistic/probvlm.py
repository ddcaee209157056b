"""ProbVLM: adapters that give every embedding a distribution. Experimental."""

import math
from dataclasses import fields
from typing import Any, Literal

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import read
from vilu_sdk.compute.posterior import Posterior
from vilu_sdk.compute.random import seeded
from vilu_sdk.inputs.rows import CHUNK_ELEMENTS
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import check_logit_scale, positive
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.base.groups import groups_of, number
from vilu_sdk.scorers.base.scorer import Scorer
from vilu_sdk.scorers.probabilistic.pairs import known_pairs
from vilu_sdk.scorers.probabilistic.probvlm_adapter import (
    LOSS_EPSILON,
    AdapterTraining,
    GeneralisedGaussian,
    Likelihood,
    ProbVLMAdapter,
    aleatoric_log_variance,
    distance,
    train_adapters,
)
from vilu_sdk.training.resume import FitState


class ProbVLMScorer(Scorer):
    r"""ProbVLM: a generalised Gaussian around every embedding, learned from image-text pairs.

    **Experimental.** The method was made to find ambiguous inputs, not wrong predictions. The authors of
    ViLU report nearly random failure prediction for both read-outs; it is here so that this can be
    measured.

    Two adapters, one for images and one for texts, are trained to return mean μ, scale α and shape β of
    each coordinate, for the embedding itself and weakly for the other side's:

    .. math:: \ell(z; \mu, \alpha, \beta) = \Bigl(\frac{|\mu - z|}{\alpha}\Bigr)^{\beta}
              + \ln 2 \alpha + \ln \Gamma(1/\beta) - \ln \beta

    The uncertainty is read out of the image's distribution:

    .. math:: u_\text{visual} = \frac{1}{d} \sum_k \alpha_k^2 \frac{\Gamma(3/\beta_k)}{\Gamma(1/\beta_k)},
              \qquad
              u_\text{cross} = 1 - \mathrm{softmax}_j
              \Bigl(-\frac{1}{d} \sum_k \ell(z_{t_j,k})\Bigr)_{\hat\jmath}

    with :math:`\hat\jmath` the zero-shot prediction.

    Parameters
    ----------
    readout : {"visual_aleatoric", "cross_modal"}
        The mean variance of the image's coordinates, which does not look at the candidates, or one minus
        the probability of the zero-shot prediction under a softmax of cross-modal likelihoods.
    likelihood : {"exact", "official"}
        The generalised Gaussian's, or the authors' code, which has the product β|μ - z|/α in place of the
        power. The two agree where β = 1.
    pooling : {"mean", "log_mean"}
        How `visual_aleatoric` pools the variances of the coordinates: by their mean, or by the mean of
        their logarithms, which a few coordinates of extreme shape do not rule.
    logit_scale : float
        The model's learnt scale s: 100 for CLIP. Used only if `image_scale` is None, since no cosine enters
        the method.
    image_scale : float or None
        Multiplies the normalised image embeddings in the adapters. 1 treats images as texts; None is the
        logit scale, as in the authors' code, whose CLIP returns images times it.
    hidden : int
        Width of the adapters' hidden layers.
    dropout : float
        Of the adapters, in training. The authors' notebook has 0.05, their class 0.1.
    mae_weight, likelihood_weight : float
        T1 and T2: weights of the mean absolute error of μ and of the likelihood. The notebook has 1e-4 for
        the latter.
    cross_weight : float
        Weight of explaining the other side.
    learning_rate : float
        Of Adam, constant. The notebook has 8e-5.
    epochs : int
        Passes over the pairs. The notebook has 500.
    batch_size, batches_per_epoch : int
        Pairs of a step, and most steps of an epoch.
    validation_fraction : float
        Share of the pairs held out to select the epoch of the smallest mean absolute error; 0 keeps the
        last epoch.
    random_state : int, RandomState or None
        Seeds the split, the initialisation, the order of the pairs and dropout.

    Attributes
    ----------
    image_adapter_, text_adapter_ : ProbVLMAdapter
        The trained networks.
    loss_curve_ : list of float
        Mean training loss of every epoch.

    Notes
    -----
    `fit` uses pairs, never which predictions are right. With ``correct=``, a right prediction says which
    text belongs to its image, and the other images are left out.

    ``cross_modal`` compares every image with every candidate coordinate by coordinate, O(N K d) without a
    product of matrices; it is a probability, ``visual_aleatoric`` is not.

    Left out of the original: the epistemic part of its uncertainty, by dropout at test time, whose code
    mixes samples.

    References
    ----------
    Upadhyay et al., "ProbVLM: Probabilistic Adapter for Frozen Vision-Language Models", ICCV 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import ProbVLMScorer
    >>> rng = np.random.default_rng(0)
    >>> z_txt = rng.normal(size=(4, 8))
    >>> labels = rng.integers(4, size=256)
    >>> z_img = z_txt[labels] + 1.5 * rng.normal(size=(256, 8))
    >>> scorer = ProbVLMScorer(hidden=16, epochs=2, random_state=0).fit(z_img, z_txt, labels)
    >>> bool((scorer.predict_uncertainty(z_img, z_txt) > 0).all())
    True
    """

    learns = True

    def __init__(
        self,
        *,
        readout: Literal["visual_aleatoric", "cross_modal"] = "visual_aleatoric",
        likelihood: Likelihood = "exact",
        pooling: Literal["mean", "log_mean"] = "mean",
        logit_scale: float = 100.0,
        image_scale: float | None = 1.0,
        hidden: int = 256,
        dropout: float = 0.05,
        mae_weight: float = 1.0,
        likelihood_weight: float = 0.05,
        cross_weight: float = 1e-4,
        learning_rate: float = 1e-4,
        epochs: int = 100,
        batch_size: int = 64,
        batches_per_epoch: int = 2001,
        validation_fraction: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.readout = readout
        self.likelihood = likelihood
        self.pooling = pooling
        self.logit_scale = logit_scale
        self.image_scale = image_scale
        self.hidden = hidden
        self.dropout = dropout
        self.mae_weight = mae_weight
        self.likelihood_weight = likelihood_weight
        self.cross_weight = cross_weight
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.batches_per_epoch = batches_per_epoch
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    @property
    def is_probability(self) -> bool:  # type: ignore[override]
        """Whether the uncertainty is a probability of failure, under a posterior over the candidates."""
        return self.readout == "cross_modal"

    has_posterior = is_probability
    has_answers = is_probability

    def _learn(self, task: Task) -> None:
        self._check_parameters()
        fit = FitState(task)
        generator = fit.begin(seeded(self.random_state))
        image_rows, text_rows = known_pairs(task)
        order = torch.randperm(len(image_rows), generator=generator)
        # Pairs of one group are held out together: the groups are in random order, as their pairs are.
        groups = number(groups_of(task)[image_rows[order]])
        held_out = (torch.bincount(groups).cumsum(0) <= self.validation_fraction * len(order))[groups]
        scale = self._image_scale

        def pair(pairs: Tensor) -> tuple[Tensor, Tensor]:
            return scale * read(task.images, image_rows[pairs]), read(task.texts, text_rows[pairs])

        settings = AdapterTraining(**{x.name: getattr(self, x.name) for x in fields(AdapterTraining)})
        self.image_adapter_, self.text_adapter_, self.loss_curve_ = train_adapters(
            task.images.d, order[~held_out], order[held_out], pair, settings, generator, fit
        )

    def _among(self, text: Tensor) -> Among:
        self._check_parameters()
        scale = self._image_scale
        adapter: ProbVLMAdapter = self.image_adapter_

        def variance(chunk: Chunk) -> Tensor:
            variances = aleatoric_log_variance(adapter(scale * chunk.z))
            if self.pooling == "log_mean":
                return variances.mean(dim=1)
            return torch.logsumexp(variances, dim=1) - math.log(variances.shape[1])

        def posterior(z: Tensor) -> Posterior:
            return Posterior(lambda: cross_modal_logits(adapter(scale * z), text, self.likelihood))

        if self.readout == "visual_aleatoric":
            return Among(text, decision=variance)
        return Among(text, posterior, answers=True)

    @property
    def _image_scale(self) -> float:
        logit_scale = check_logit_scale(self.logit_scale)
        return logit_scale if self.image_scale is None else positive(self.image_scale, "image_scale")

    def _check_parameters(self) -> None:
        for name in ("epochs", "batch_size", "batches_per_epoch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        positive(self.learning_rate, "learning_rate")
        for name in ("dropout", "validation_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        for name in ("mae_weight", "likelihood_weight", "cross_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}.")


def cross_modal_logits(outputs: GeneralisedGaussian, text: Tensor, likelihood: Likelihood) -> Tensor:
    """Mean log-likelihood (n, K) of candidates (K, d), up to a constant of each image's distribution."""
    inverse_scale, shape = outputs.inverse_scale + LOSS_EPSILON, outputs.shape + LOSS_EPSILON
    n, (k, d) = len(outputs.mean), text.shape
    logits = text.new_empty(n, k)
    columns = min(k, max(1, CHUNK_ELEMENTS // (8 * d)))
    rows = max(1, CHUNK_ELEMENTS // (8 * d * columns))
    for i in range(0, n, rows):
        part = slice(i, i + rows)
        for j in range(0, k, columns):
            residual = outputs.mean[part, None] - text[j : j + columns]
            terms = distance(residual, inverse_scale[part, None], shape[part, None], likelihood)
            logits[part, j : j + columns] = -terms.mean(dim=2)
    return logits
