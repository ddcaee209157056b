"""How much each source counts: one log-loss of errors and one optimiser, also for Platt's calibration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import optimize
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import softplus

# The base keeps at least this share of its weight, so that its ranking is never lost altogether.
LEAST_BASE = 0.1
# Precision of the priors of Platt's slope and offset, and bounds of the slope: above 0, so that calibration
# never changes a ranking.
PLATT_PRECISION, PLATT_SLOPES = 10.0, (0.05, 5.0)
# The same of the sharpness of a posterior.
SHARPNESS_PRECISION, SHARPNESS = 30.0, (0.2, 5.0)
# Change of the mean loss at which the optimiser stops.
TOLERANCE = 1e-7

Loss = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]
Bounds = Sequence[tuple[float | None, float | None]]


@dataclass(frozen=True)
class Outcomes:
    """Scores of images by each source, and whether one column of them is right."""

    margins: Tensor  # (s, n, K), scores by s sources less the score of the column
    column: Tensor | None  # (n,), None where the margins leave it out
    right: Tensor  # (n,), whether it is right
    weights: Tensor  # (n,), independent images that each row counts as

    @classmethod
    def of(
        cls,
        scores: Sequence[Tensor],
        column: Tensor,
        right: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> "Outcomes":
        """Take scores (n, K) by each source; without `right`, every column (n,) is the true one."""
        margins = torch.stack([score - score.gather(1, column[:, None]) for score in scores])
        right = torch.ones_like(column, dtype=torch.bool) if right is None else right
        weights = torch.ones(len(column)) if weights is None else weights
        return cls(margins, column, right, weights.double())

    def loss(self, weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Log-loss of all images in nats, and its gradient."""
        s, n, k = self.margins.shape
        flat = self.margins.view(s, n * k)
        q = (torch.from_numpy(weights).to(flat) @ flat).view(n, k)
        if self.column is not None:
            q.scatter_(1, self.column[:, None], -torch.inf)
        top = q.amax(dim=1, keepdim=True)
        mass = q.sub_(top).exp_().sum(dim=1, keepdim=True)
        sign = torch.where(self.right, 1.0, -1.0).double()
        odds = sign * (top + mass.log())[:, 0].double()  # that what is known is not so
        q *= (self.weights * sign * torch.sigmoid(odds)).to(q)[:, None] / mass
        return float(self.weights @ softplus(odds)), (flat @ q.view(-1)).double().numpy()


def minimise(loss: Loss, start: ArrayLike, bounds: Bounds) -> tuple[NDArray[np.float64], float]:
    """Return where a loss, which comes with its gradient, is least within bounds, and that loss."""
    options = {"ftol": TOLERANCE, "gtol": 0.0}
    # Threads for a handful of weights would wake up against those that torch computes the loss with.
    with threadpool_limits(1, "blas"):
        found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return found.x, float(found.fun)


def fit_weights(
    outcomes: Sequence[Outcomes],
    precision: ArrayLike,
    start: ArrayLike | None = None,
    bounds: Bounds | None = None,
) -> tuple[NDArray[np.float64], float]:
    """Return weights (s,) under which what is known is likeliest, and that loss in nats.

    Normal priors of `precision` (s,) hold the weight of the first source, the base, at 1 and the others at 0.
    """
    precision = np.asarray(precision, dtype=np.float64)
    centre = np.eye(1, len(precision))[0]
    bounds = bounds or [(LEAST_BASE, None)] + [(0.0, None)] * (len(precision) - 1)
    n = max(1.0, sum(float(group.weights.sum()) for group in outcomes))
    # In these units the curvature of the mean loss is near 1 along each weight.
    curvature = precision + sum(
        (group.margins.double().square().mean(dim=2) @ group.weights).numpy() for group in outcomes
    )
    unit = np.sqrt(n / curvature)

    def evaluate(v: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        away = v * unit - centre
        value, gradient = 0.5 * float(precision @ away**2), precision * away
        for group in outcomes:
            more, slope = group.loss(v * unit)
            value, gradient = value + more, gradient + slope
        return value / n, gradient * unit / n

    scaled = [(low and low / u, high and high / u) for (low, high), u in zip(bounds, unit, strict=True)]
    v, mean = minimise(evaluate, np.asarray(centre if start is None else start) / unit, scaled)
    return v * unit, n * mean


def fit_platt(log_odds: Tensor, wrong: Tensor, weights: Tensor | None = None) -> tuple[float, float]:
    """Slope and offset under which log-odds (n,) make errors (n,) likeliest, near the identity for few."""
    weights = torch.ones(len(wrong)) if weights is None else weights
    margins = torch.stack([log_odds.double(), torch.ones_like(log_odds, dtype=torch.float64)])
    outcomes = [Outcomes(margins[:, :, None], None, ~wrong, weights.double())]
    (slope, offset), _ = fit_weights(outcomes, [PLATT_PRECISION] * 2, bounds=[PLATT_SLOPES, (None, None)])
    return float(slope), float(offset)


def fit_sharpness(logits: Tensor, column: Tensor) -> float:
    """Inverse temperature at which logits (n, K) make columns (n,) likeliest, near 1 for few images."""
    outcomes = [Outcomes.of([logits.double()], column)]
    (sharpness,), _ = fit_weights(outcomes, [SHARPNESS_PRECISION], bounds=[SHARPNESS])
    return float(sharpness)
