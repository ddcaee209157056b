r"""None of the candidates: how likely an image shows none of them, and what that makes of an uncertainty.

The log-odds that an image x shows none of the candidates,

.. math::
    r(x) = b - a \log \sum_j e^{q_j(x)} + k \log \tfrac{\sum_{j \ne \jmath} e^{q_j(x)}}{e^{q_\jmath(x)}},

are high where little speaks for any candidate, and where the likeliest is not ahead of the others. With p the
probability that a prediction is right *among the candidates*, it is right with :math:`p\,(1 - \sigma(r))^g`.
With g = 1 that is Bayes' rule. Where :math:`g = 1 + \eta / p`, it counts more where the posterior refutes the
prediction anyway: hardly an image in that region is right, so that its order is free to say which images are
of no candidate. Beyond log-odds T of an error, such a prediction is refuted, and its log-odds f become

.. math::
    T + \log\bigl(1 + e^{f - T - 1 + r - \bar r}\bigr),

where :math:`\bar r` is the mean r of images that show a candidate, and the 1 keeps it calibrated.
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
# T, from which a prediction is refuted. On held-out train rows of six class sets at 100, 300 and all labels
# this costs no AUC where all images show a candidate, on no set (T = 2 up to 0.1). Images of none are told
# better from all others: those of other classes by 0.4 points, those of other sets by 0.7.
REFUTED = 4.0


@storable
@dataclass(frozen=True)
class Background:
    """Log-odds that an image shows none of the candidates, and what they make of log-odds of an error."""

    level: float  # b
    mass: float = 1.0  # a
    lead: float = LEAD  # k
    eta: float = 0.0
    # Mean of `novelty` among images that show a candidate.
    usual: float | None = None

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
        found = torch.logaddexp(log_odds, (-shift).expm1_().neg_().log_()).add_(shift)
        if not self.reorders:
            return found
        beyond = softplus(found - REFUTED - 1 + none - self.usual_log_odds)
        return torch.where(found > REFUTED, REFUTED + beyond, found)

    @property
    def reorders(self) -> bool:
        """Whether it puts refuted predictions in an order of its own; with g = 1, Bayes' rule is kept to."""
        return self.eta > 0 and self.usual is not None

    @property
    def usual_log_odds(self) -> float:
        """Mean log-odds that images that show a candidate show none."""
        assert self.usual is not None
        return self.level + self.usual

    def like(self, before: Tensor, novelty: Tensor) -> Self:
        """Return it at the level where images (n,) get in the mean the probability of log-odds `before`."""
        rate = float(torch.sigmoid(before).mean().clamp(1e-12, 1 - 1e-6))
        found = self.at(rate, novelty.numpy(), np.ones(len(novelty)))
        if self.usual is None:
            return found
        # Some of them may show no candidate, which moves both means alike.
        return replace(found, usual=self.usual + float((novelty - (before - self.level)).mean()))

    def at(self, rate: float, novelty: NDArray[np.float64], weights: NDArray[np.float64]) -> Self:
        """Return it at the level where images (n,) of candidates get this probability of none in the mean."""

        def excess(level: float) -> float:
            return float(np.average(expit(level + novelty), weights=weights)) - rate

        low, high = logit(rate) - novelty.max() - 1, logit(rate) - novelty.min() + 1
        usual = float(np.average(novelty, weights=weights))
        return replace(self, level=float(brentq(excess, low, high)), usual=usual)
