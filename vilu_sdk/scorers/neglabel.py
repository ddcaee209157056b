"""NegLabel: candidates against many words that are none of them."""

from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import logsigmoid

from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.values import share
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.base.scorer import Scorer


class NegLabelScorer(Scorer):
    r"""NegLabel: the share of an image's similarity that words other than the candidates have.

    .. math::
        u = \frac{N}{\sum_j e^{s \, z_v^\top z_{t_j}} + N}, \qquad N = \sum_m e^{s \, z_v^\top n_m},

    over texts :math:`n_m` that name none of the candidates, such as nouns of a dictionary. Made for images of
    none of the candidates; works without a fit.

    Parameters
    ----------
    negatives : array-like of shape (M, d), optional
        Embeddings of words that are no candidates, by the model and the template of the candidates. You
        choose the words; the docs say where to find a list. Without any, N is 1, as for a single word that
        is similar to nothing, and the ranking is that of `EnergyScorer`.
    keep : float
        Share of the negatives that is used, in (0, 1]: those least similar to any candidate.
    logit_scale : float
        The model's learnt scale s: 100 for CLIP, as in the paper.

    Notes
    -----
    It is the probability of "none of these" under one softmax, and not the probability of failure. The
    paper's grouping of negatives, which lowers the variance, is left out.

    References
    ----------
    Jiang et al., "Negative Label Guided OOD Detection with Pretrained Vision-Language Models", ICLR 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import NegLabelScorer
    >>> scorer = NegLabelScorer(negatives=np.eye(3)[2:], keep=1.0, logit_scale=10.0)
    >>> scorer.predict_uncertainty(np.eye(3)[1:], np.eye(3)[:2]).round(4)
    array([0.    , 0.9999])
    """

    is_probability = False
    has_posterior = True
    min_candidates = 1

    def __init__(
        self, *, negatives: ArrayLike | None = None, keep: float = 0.75, logit_scale: float = 100.0
    ) -> None:
        self.negatives = negatives
        self.keep = keep
        self.logit_scale = logit_scale

    def _among(self, text: Tensor) -> Among:
        scale = self.softmax_scale
        share(self.keep, "keep")
        negatives = torch.zeros_like(text[:1]) if self.negatives is None else self._chosen(text)

        def decide(chunk: Chunk) -> Tensor:
            none = torch.logsumexp(scale * (chunk.z @ negatives.T).double(), dim=1)
            return logsigmoid(none - chunk.posterior.log_sum.double())

        posterior, width = Among.zero_shot(text, scale).posterior, max(len(text), len(negatives))
        return Among(text, posterior, decide, width, top_is_prediction=True)

    def _d_tried(self) -> int:
        return 2 if self.negatives is None else Rows(self.negatives, "negatives").d

    def _chosen(self, text: Tensor) -> Tensor:
        """The negatives (m, d) that are used beside candidates (K, d)."""
        rows: Any = self.negatives
        negatives = Rows(rows, "negatives", d=text.shape[1]).read().to(text)
        nearest = (negatives @ text.T).amax(dim=1)
        return negatives[torch.argsort(nearest, stable=True)[: max(1, round(self.keep * len(negatives)))]]
