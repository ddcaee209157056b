"""The lead of the first candidate over the second."""

from typing import Literal

import torch
from torch import Tensor

from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.base.scorer import Scorer


class MarginScorer(Scorer):
    r"""Margin: how far the likeliest candidate is ahead of the second.

    .. math::
        u = 1 - (p_{(1)} - p_{(2)}) \quad\text{or, of logits,}\quad
        \log u = -s \, (z_v^\top z_{t_{(1)}} - z_v^\top z_{t_{(2)}})

    with the candidates in the order of their cosines and p their zero-shot softmax.

    Parameters
    ----------
    logit_scale : float
        The model's learnt scale s: 100 for CLIP. It changes no ranking by logits.
    of : {"probabilities", "logits"}
        Whether probabilities or logits are compared. The difference of logits is the log-ratio of the two
        probabilities, which does not depend on the other candidates.

    Notes
    -----
    Ranges over [0, 1]; it is not a probability of failure. With two candidates it ranks as MCM.

    References
    ----------
    Scheffer, Decomain & Wrobel, "Active Hidden Markov Models for Information Extraction", IDA 2001; of
    logits: Liang, Peng & Sun, "Selective Classification Under Distribution Shifts", TMLR 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import MarginScorer
    >>> z_img = np.array([[1.0, 0.9, 0.0], [1.0, 0.2, 0.1]])
    >>> MarginScorer(logit_scale=10.0).predict_uncertainty(z_img, np.eye(3)).round(4)
    array([0.6447, 0.001 ])
    """

    is_probability = False
    has_posterior = True

    def __init__(
        self, *, logit_scale: float = 100.0, of: Literal["probabilities", "logits"] = "probabilities"
    ) -> None:
        self.logit_scale = logit_scale
        self.of = of

    def _among(self, text: Tensor) -> Among:
        decide = _of_probabilities if self.of == "probabilities" else log_ratio
        return Among.zero_shot(text, self.softmax_scale, decide)


def log_ratio(chunk: Chunk) -> Tensor:
    """Logarithm (n,) of the second probability over the first: minus the lead of the first logit."""
    p = chunk.posterior.split
    return p.log_odds + torch.log(p.rest.amax(dim=1))


def _of_probabilities(chunk: Chunk) -> Tensor:
    """Logarithm of 1 - p₁ + p₂, of which the second is a share of what the first leaves."""
    p = chunk.posterior.split
    return p.log_tail + torch.log1p(p.rest.amax(dim=1))
