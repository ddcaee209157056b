"""How much each source counts: non-negative weights chosen on left-out scores, MCM unless they earn it."""

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor
from torch.nn.functional import softplus

from vilu_sdk.compute.softmax import SplitSoftmax

# The base keeps at least this share of its weight, so that its ranking is never lost altogether.
LEAST_BASE = 0.1


def fit_weights(
    sources: list[Tensor], labels: Tensor, correct: Tensor | None, prediction: Tensor, tightness: float
) -> tuple[Tensor, float]:
    """Weigh sources by the likelihood of what is known about left-out images.

    Parameters
    ----------
    sources : list of Tensor of shape (n, K)
        Scores of each source; the first is the base.
    labels : Tensor of shape (n,)
        True classes, used where `correct` is None.
    correct : Tensor of shape (n,), optional
        Whether the prediction is right, if that is all that is known.
    prediction : Tensor of shape (n,)
        Zero-shot predictions.
    tightness : float
        Precision of the prior N(1, 1 / tightness) on the base's weight.

    Returns
    -------
    weights : Tensor of shape (len(sources),), float64
    loss : float
        Negative log-likelihood of all rows plus the prior's cost, in nats.
    """
    if correct is None:
        return _newton(sources, labels, tightness)
    return _quasi_newton(sources, prediction, correct, tightness)


def _newton(sources: list[Tensor], labels: Tensor, tightness: float) -> tuple[Tensor, float]:
    """Projected Newton on the cross-entropy of the true class, convex in the weights."""
    margins = [source - source.gather(1, labels[:, None]) for source in sources]
    size = len(margins)
    centre = torch.zeros(size, dtype=torch.float64)
    centre[0] = 1.0
    precision = torch.full((size,), 1e-6, dtype=torch.float64)
    precision[0] = tightness
    lowest = LEAST_BASE * centre

    def evaluate(weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q = sum(w.to(m.dtype) * m for w, m in zip(weights, margins, strict=True))
        assert isinstance(q, Tensor)
        log_total = torch.logsumexp(q, dim=1)
        penalty = 0.5 * (precision * (weights - centre).square()).sum()
        return log_total.double().sum() + penalty, q, log_total

    weights = centre.clone()
    loss, q, log_total = evaluate(weights)
    for _ in range(25):
        p = q.sub_(log_total[:, None]).exp_()
        weighted = [p * margin for margin in margins]
        expected = torch.stack([term.sum(dim=1) for term in weighted], dim=1).double()
        gradient = expected.sum(dim=0) + precision * (weights - centre)
        hessian = torch.diag(precision + 1e-6) - expected.T @ expected
        for a in range(size):
            for b in range(a, size):
                moment = torch.dot(weighted[a].flatten(), margins[b].flatten()).double()
                hessian[a, b] += moment
                if a != b:
                    hessian[b, a] += moment
        free = torch.nonzero(~((weights <= lowest) & (gradient > 0)))[:, 0]
        if len(free) == 0:
            break
        step = torch.zeros(size, dtype=torch.float64)
        step[free] = torch.linalg.solve(hessian[free][:, free], gradient[free])
        length, before = 1.0, loss
        while length > 1e-4:
            trial = torch.maximum(weights - length * step, lowest)
            trial_loss, trial_q, trial_total = evaluate(trial)
            if trial_loss <= loss + 1e-9:
                weights, loss, q, log_total = trial, trial_loss, trial_q, trial_total
                break
            length /= 3
        if length <= 1e-4 or before - loss < 1e-2 + 1e-5 * len(labels):
            break
    return weights, float(loss)


def _quasi_newton(
    sources: list[Tensor], prediction: Tensor, correct: Tensor, tightness: float
) -> tuple[Tensor, float]:
    """L-BFGS on the log-loss of right or wrong."""
    sources = [source.double() for source in sources]
    spread = [float(source.std().clamp_min(1e-9)) for source in sources]
    unit = np.array([1.0] + [spread[0] / s for s in spread[1:]])

    def evaluate(v: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.tensor(v * unit, requires_grad=True)
        q = sum(w * source for w, source in zip(weights, sources, strict=True))
        assert isinstance(q, Tensor)
        odds = SplitSoftmax(q, prediction).log_odds
        loss = softplus(torch.where(correct, odds, -odds)).sum() + 0.5 * tightness * (weights[0] - 1) ** 2
        loss.backward()  # type: ignore[no-untyped-call]
        assert weights.grad is not None
        return float(loss.detach()), weights.grad.numpy() * unit

    start = np.array([1.0] + [0.05] * (len(sources) - 1))
    bounds = [(LEAST_BASE, None)] + [(0.0, None)] * (len(sources) - 1)
    found = minimize(evaluate, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40})
    return torch.from_numpy(found.x * unit), float(found.fun)


def fit_platt(log_odds: Tensor, wrong: Tensor, precision: float = 10.0) -> tuple[float, float]:
    """Slope and offset that make sigmoid(slope · log-odds + offset) a probability of failure.

    Both have normal priors of the given precision around the identity, so that few images change
    little. The slope stays positive: calibration never changes a ranking.
    """
    inputs = np.stack([log_odds.double().numpy(), np.ones(len(log_odds))], axis=1)
    sign = np.where(wrong.numpy(), -1.0, 1.0)
    identity = np.array([1.0, 0.0])

    def evaluate(line: np.ndarray) -> tuple[float, np.ndarray]:
        odds = sign * (inputs @ line)
        loss = np.logaddexp(0, odds).sum() + 0.5 * precision * np.square(line - identity).sum()
        return float(loss), inputs.T @ (sign * expit(odds)) + precision * (line - identity)

    bounds = [(0.05, 5.0), (None, None)]
    found = minimize(evaluate, identity, jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(found[0]), float(found[1])
