"""Class intercepts: what the average posterior over the training images should have been."""

import math

import torch
from torch import Tensor

# Evidence, in nats, that class counts must give before unequal frequencies are believed.
SKEW_PRICE = 3.0
CONCENTRATIONS = (0.03, 0.1, 0.3, 1.0, 3.0)


def class_frequencies(labels: Tensor, k: int) -> tuple[Tensor, float]:
    """Expected class frequencies, and the Dirichlet concentration behind them (inf: equal).

    Counts are smoothed by the concentration under which they are likeliest; classes count as equally
    frequent unless another concentration explains the counts clearly better.
    """
    counts = torch.bincount(labels, minlength=k).double()
    n = len(labels)
    best, chosen = SKEW_PRICE - n * math.log(k), math.inf
    for value in CONCENTRATIONS:
        a = torch.tensor(value, dtype=torch.float64)
        evidence = torch.lgamma(k * a) - torch.lgamma(n + k * a)
        evidence += (torch.lgamma(counts + a) - torch.lgamma(a)).sum()
        if float(evidence) > best:
            best, chosen = float(evidence), value
    if math.isinf(chosen):
        return torch.full((k,), 1 / k), chosen
    return ((counts + chosen) / (n + k * chosen)).float(), chosen


def fit_intercepts(
    q: Tensor, frequencies: Tensor, ridge: float, start: Tensor | None = None, steps: int = 10
) -> Tensor:
    """Intercepts b (K,) with Σ_i softmax(q_i + b)_c + ridge · b_c = n · frequency_c.

    Few images a class mean little against the ridge, and an intercept near zero.
    """
    target = len(q) * frequencies
    b = torch.zeros_like(frequencies) if start is None else start
    for _ in range(steps):
        mass = torch.softmax(q + b, dim=1).sum(dim=0)
        b = b + 0.7 * (target - mass - ridge * b) / (torch.maximum(mass, 0.2 * target) + ridge)
        b = b.clamp(-12, 12)
    return b


def leave_one_out_intercepts(
    q: Tensor,
    rows: Tensor,
    b: Tensor,
    labels: Tensor,
    frequencies: Tensor,
    ridge: float,
    concentration: float,
) -> Tensor:
    """Intercepts (len(rows), K) as if each row had not been there: one multiplicative step from `b`."""
    n, k = q.shape
    p = torch.softmax(q + b, dim=1)
    mass, target = p.sum(dim=0), n * frequencies
    left_out = b + torch.log((mass + ridge) / (mass - p[rows] + ridge))
    if math.isinf(concentration):
        return left_out + torch.log((target - 1 / k + ridge) / (target + ridge))
    own = labels[rows]
    share = n / (n + k * concentration)
    left_out[torch.arange(len(rows)), own] += torch.log((target[own] - share + ridge) / (target[own] + ridge))
    return left_out
