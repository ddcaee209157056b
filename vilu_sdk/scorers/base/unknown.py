r"""Unknown images, of none of the candidates: how likely one is, and what that makes of an uncertainty.

The log-odds that an image x shows none of the candidates,

.. math::
    r(x) = b - a \log \sum_j e^{q_j(x)} + k \log \tfrac{\sum_{j \ne \jmath} e^{q_j(x)}}{e^{q_\jmath(x)}},

are high where little speaks for any candidate, and where the likeliest is not ahead of the others. With p the
probability that a prediction is right *among the candidates*, it is right with :math:`p\,(1 - \sigma(r))^g`.
With g = 1 that is Bayes' rule. Where :math:`g = 1 + \eta / p`, it counts more where the posterior refutes the
prediction anyway: hardly an image in that region is right, so that its order is free to say which images are
of no candidate.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from torch import Tensor
from torch.nn.functional import softplus

from vilu_sdk.compute.device import scalar
from vilu_sdk.compute.posterior import Posterior
from vilu_sdk.persistence.encoding import storable

# Weight k of the lead of the likeliest candidate.
LEAD = 0.25
# The largest g.
MOST = 300.0


@storable
@dataclass(frozen=True)
class Background:
    """Log-odds that an image shows none of the candidates, and what they make of log-odds of an error."""

    level: float  # b
    mass: float = 1.0  # a
    lead: float = LEAD  # k
    eta: float = 0.0

    def log_odds(self, posterior: Posterior) -> Tensor:
        """Log-odds (n,) that images show none of the candidates, in float64."""
        return scalar(self.level) + self.novelty(posterior.log_sum.double(), posterior.log_odds().double())

    def novelty(self, log_sum: Tensor, lead: Tensor) -> Tensor:
        """The same but for the level, from the log-sum (n,) and log-odds against the likeliest (n,)."""
        return torch.sub(scalar(self.lead) * lead, log_sum, alpha=self.mass)

    def against(self, log_odds: Tensor, none: Tensor) -> Tensor:
        """Log-odds (n,) of an error, from those among the candidates and those of `none` of them (n,)."""
        shift = softplus(none)  # of the logarithm of the probability to be right
        if self.eta:
            odds = log_odds.double().exp()
            shift = odds.mul_(scalar(self.eta)).add_(scalar(1 + self.eta)).clamp_max_(MOST).mul_(shift)
        return torch.logaddexp(log_odds, (-shift).expm1_().neg_().log_()).add_(shift)

    def like(self, before: Tensor, novelty: Tensor) -> Self:
        """Return it at the level where images (n,) get in the mean the probability of log-odds `before`."""
        rate = float(torch.sigmoid(before).mean().clamp(1e-12, 1 - 1e-6))
        return self.at(rate, novelty.numpy(), np.ones(len(novelty)))

    def at(self, rate: float, novelty: NDArray[np.float64], weights: NDArray[np.float64]) -> Self:
        """Return it at the level where images (n,) of candidates get this probability of none in the mean."""

        def excess(level: float) -> float:
            return float(np.average(expit(level + novelty), weights=weights)) - rate

        low, high = logit(rate) - novelty.max() - 1, logit(rate) - novelty.min() + 1
        return replace(self, level=float(brentq(excess, low, high)))
