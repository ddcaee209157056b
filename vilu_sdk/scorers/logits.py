"""Scorers that read the zero-shot logits themselves, and not only their differences: MaxLogit and energy."""

from torch import Tensor

from vilu_sdk.compute.tiles import Logits
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.base.scorer import Scorer


class MaxLogitScorer(Scorer):
    r"""MaxLogit: how far the best candidate is from an image, whatever the others are.

    .. math:: \log u = -\max_j s \, z_v^\top z_{t_j}

    Made for images of none of the candidates. The softmax of MCM drops the absolute similarity of the
    candidates; this scorer uses nothing else.

    Parameters
    ----------
    logit_scale : float
        The model's learnt scale s: 100 for CLIP. It changes no ranking.

    Notes
    -----
    It is not a probability of failure; `decision_function` is minus the largest logit, in nats.

    References
    ----------
    Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings", ICML 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import MaxLogitScorer
    >>> z_img = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> MaxLogitScorer(logit_scale=10.0).decision_function(z_img, np.eye(3)[:2]).round(2) + 0.0
    array([-10.,   0.])
    """

    is_probability = False
    has_posterior = True
    min_candidates = 1

    def __init__(self, *, logit_scale: float = 100.0) -> None:
        self.logit_scale = logit_scale

    def _among(self, text: Tensor) -> Among:
        scale = self.softmax_scale

        def decide(chunk: Chunk) -> Tensor:
            return -scale * (chunk.z * text[chunk.prediction]).sum(dim=1)

        return Among.linear(text, Logits.zero_shot(text, scale), decision=decide, top_is_prediction=True)


class EnergyScorer(Scorer):
    r"""Energy: minus the log-sum of all zero-shot logits, a free energy.

    .. math:: \log u = -\log \sum_j e^{s \, z_v^\top z_{t_j}}

    Made for images of none of the candidates, like `MaxLogitScorer`, which is its limit at a large scale.

    Parameters
    ----------
    logit_scale : float
        The model's learnt scale s, in the place of the temperature: 100 for CLIP.

    Notes
    -----
    It is not a probability of failure; `decision_function` is the energy in nats, which grows with the
    logarithm of the number of candidates.

    References
    ----------
    Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import EnergyScorer
    >>> EnergyScorer(logit_scale=1.0).decision_function(np.eye(3)[2:], np.eye(3)[:2]).round(4)
    array([-0.6931])
    """

    is_probability = False
    has_posterior = True
    min_candidates = 1

    def __init__(self, *, logit_scale: float = 100.0) -> None:
        self.logit_scale = logit_scale

    def _among(self, text: Tensor) -> Among:
        logits = Logits.zero_shot(text, self.softmax_scale)
        return Among.linear(
            text, logits, decision=lambda chunk: -chunk.posterior.log_sum, top_is_prediction=True
        )
