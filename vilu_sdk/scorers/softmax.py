"""Scorers that read the zero-shot softmax and learn nothing: MCM, entropy, DOCTOR."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vilu_sdk.inputs.values import positive
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.base.scorer import Scorer


class MCMScorer(Scorer):
    r"""Maximum concept matching: one minus the largest zero-shot probability.

    .. math:: u = 1 - \max_j \mathrm{softmax}_j(s \, z_v^\top z_{t_j})

    The probability that the prediction is wrong, were the zero-shot softmax calibrated. Works without
    a fit.

    Parameters
    ----------
    logit_scale : float
        The model's learnt scale s, by which cosines become logits: 100 for CLIP.

    References
    ----------
    Ming et al., "Delving into Out-of-Distribution Detection with Vision-Language Representations",
    NeurIPS 2022 (there with s = 1).

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import MCMScorer
    >>> z_txt = np.eye(3)
    >>> z_img = np.array([[1.0, 0.9, 0.0], [1.0, 0.2, 0.1]])
    >>> MCMScorer(logit_scale=10.0).predict_uncertainty(z_img, z_txt).round(4)
    array([0.3226, 0.0006])
    """

    has_posterior = True

    def __init__(self, *, logit_scale: float = 100.0) -> None:
        self.logit_scale = logit_scale

    def _among(self, text: Tensor) -> Among:
        return Among.zero_shot(text, self.softmax_scale)


class EntropyScorer(Scorer):
    r"""Shannon entropy of the zero-shot softmax, in nats.

    .. math:: u = -\sum_j p_j \log p_j, \qquad p = \mathrm{softmax}(s \, z_v^\top Z_t)

    Parameters
    ----------
    logit_scale : float
        The model's learnt scale s: 100 for CLIP.
    normalise : bool
        Divide by log K, so that u lies in [0, 1] for any number of candidates. The ranking among
        images scored with the same candidates does not change.

    Notes
    -----
    Ranges over [0, log K]; it is not a probability of failure.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import EntropyScorer
    >>> z_txt = np.eye(3)
    >>> EntropyScorer(normalise=True).predict_uncertainty(np.ones((1, 3)), z_txt).round(6)
    array([1.])
    """

    is_probability = False
    has_posterior = True

    def __init__(self, *, logit_scale: float = 100.0, normalise: bool = False) -> None:
        self.logit_scale = logit_scale
        self.normalise = normalise

    def _among(self, text: Tensor) -> Among:
        shift = float(np.log(np.log(len(text)))) if self.normalise else 0.0
        return Among.zero_shot(
            text, self.softmax_scale, lambda chunk: chunk.posterior.split.log_entropy - shift
        )


class DoctorScorer(Scorer):
    r"""DOCTOR: the odds of an error under the softmax, without the input perturbation.

    .. math::
        u_\alpha = \frac{1 - \sum_j p_j^2}{\sum_j p_j^2}, \qquad
        u_\beta = \frac{1 - \max_j p_j}{\max_j p_j}

    The alpha variant ranks as the Rényi entropy of order two, the beta variant as MCM.

    Parameters
    ----------
    logit_scale : float
        The model's learnt scale s: 100 for CLIP.
    variant : {"alpha", "beta"}
        Which ratio.
    temperature : float
        Divides the logits.

    Notes
    -----
    Ranges over [0, K - 1]; it is not a probability of failure. The paper's perturbation of the
    input needs a gradient through the image encoder, so embeddings do not allow it.

    References
    ----------
    Granese et al., "DOCTOR: A Simple Method for Detecting Misclassification Errors", NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import DoctorScorer
    >>> DoctorScorer().predict_uncertainty(np.ones((1, 3)), np.eye(3)).round(3)
    array([2.])
    """

    is_probability = False
    has_posterior = True

    def __init__(
        self,
        *,
        logit_scale: float = 100.0,
        variant: Literal["alpha", "beta"] = "alpha",
        temperature: float = 1.0,
    ) -> None:
        self.logit_scale = logit_scale
        self.variant = variant
        self.temperature = temperature

    def _among(self, text: Tensor) -> Among:
        return Among.zero_shot(text, self.softmax_scale, _log_ratio if self.variant == "alpha" else None)

    @property
    def softmax_scale(self) -> float:
        """Factor of the cosines in class probabilities: the logit scale over the temperature."""
        return super().softmax_scale / positive(self.temperature, "temperature")


def _log_ratio(chunk: Chunk) -> Tensor:
    """Log of (1 - Σ p²) / Σ p², in float64, so that it ranks exactly as 1 - Σ p² does."""
    log_impurity = chunk.posterior.split.log_impurity.double()
    return log_impurity - torch.log1p(-torch.exp(log_impurity))
