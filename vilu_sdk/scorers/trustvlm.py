"""TrustVLM: whether an image also looks like the images of the class that it is predicted to be."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vilu_sdk.compute.posterior import linear_posterior
from vilu_sdk.compute.softmax import mean_log_odds
from vilu_sdk.compute.tiles import Logits
from vilu_sdk.inputs.precision import working
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import positive
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.of_classes import ClassScorer, moments_of


class TrustVLMScorer(ClassScorer):
    r"""TrustVLM: the zero-shot probability of the prediction, and its class's image prototype.

    .. math::
        u = (1 - p_{\hat\jmath}) + (1 - z_v^\top m_{\hat\jmath}) \quad\text{or}\quad
        u = 1 - \tfrac12 (p_{\hat\jmath} + q_{\hat\jmath}), \quad
        q = \mathrm{softmax}_c(z_v^\top m_c / T)

    with p the zero-shot softmax, :math:`\hat\jmath` its largest, and :math:`m_c` the mean image of class c,
    of norm 1.

    Parameters
    ----------
    readout : {"cosine", "softmax"}
        How the prototypes are used: by the cosine with that of the prediction, as in TrustVLM, or by its
        softmax over all prototypes, as in the paper's TrustVLM*.
    temperature : float
        T of the softmax, above 0.
    logit_scale : float
        The model's learnt scale s: 100 for CLIP.

    Attributes
    ----------
    prototypes_ : Tensor of shape (K, d)
        Mean images, of norm 1. A class without images has that of all images.

    Notes
    -----
    It learns from labels; images of the label -1 are left out. The cosine makes a sum that ranges over
    [0, 3]; with the softmax, u is a probability of failure. The paper can take prototypes from a second
    image encoder (TrustVLM-D); here they come from the embeddings that are scored. TrustVLM* also predicts
    by p + q; here, as for all scorers, the zero-shot prediction is judged.

    References
    ----------
    Dong et al., "To Trust Or Not To Trust Your Vision-Language Model's Prediction", arXiv 2505.23745, 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import TrustVLMScorer
    >>> z_txt = np.eye(3)
    >>> scorer = TrustVLMScorer(logit_scale=10.0).fit(np.eye(3)[[0, 1, 2]], z_txt, [0, 1, 2])
    >>> scorer.predict_uncertainty(np.array([[1.0, 0, 0], [1.0, 1, 0]]), z_txt).round(3)
    array([0.   , 0.793])
    """

    has_posterior = True

    def __init__(
        self,
        *,
        readout: Literal["cosine", "softmax"] = "cosine",
        temperature: float = 0.01,
        logit_scale: float = 100.0,
    ) -> None:
        self.readout = readout
        self.temperature = temperature
        self.logit_scale = logit_scale

    @property
    def is_probability(self) -> bool:  # type: ignore[override]
        """Whether the uncertainty is a probability of failure: with the softmax it is."""
        return self.readout == "softmax"

    def _learn(self, task: Task) -> None:
        labels, weights = self._known(task)
        moments = moments_of(task, labels, self.k_, weights)
        counts = moments.counts[:, None]
        means = moments.centre + torch.where(counts > 0, moments.sums / counts.clamp_min(1e-300), 0.0)
        self.prototypes_ = normalize(means, dim=1).to(working())

    def _among(self, text: Tensor) -> Among:
        self._require_classes(text)
        prototypes = self.prototypes_
        others = Logits.zero_shot(prototypes, 1 / positive(self.temperature, "temperature"))

        def by_cosine(chunk: Chunk) -> Tensor:
            away = 1 - (chunk.z * prototypes[chunk.prediction]).sum(dim=1)
            tail = torch.sigmoid(chunk.log_odds) + away.clamp_min(0)
            return torch.log(tail.clamp_min(torch.finfo(tail.dtype).tiny))

        def by_softmax(chunk: Chunk) -> Tensor:
            return mean_log_odds(chunk.log_odds, linear_posterior(chunk.z, others).log_odds(chunk.prediction))

        return Among.linear(
            text,
            Logits.zero_shot(text, self.softmax_scale),
            decision=by_cosine if self.readout == "cosine" else by_softmax,
            top_is_prediction=True,
        )
