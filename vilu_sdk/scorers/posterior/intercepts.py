"""Class intercepts: what the average posterior over the training images should have been."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vilu_sdk.scorers.posterior.blend import Blend, Fitted
from vilu_sdk.scorers.posterior.parts import Intercepts

# Evidence, in nats, that class counts must give before unequal frequencies are believed.
SKEW_PRICE = 3.0
CONCENTRATIONS = (0.03, 0.1, 0.3, 1.0, 3.0)
# With so many images for each class, the rows that weights are chosen on determine the intercepts too.
IMAGES_PER_CLASS = 50


def try_intercepts(blend: Blend) -> Iterator[Fitted]:
    """Fit intercepts to the sum of the sources before them, under several ridges."""
    data = blend.data
    n, k = data.base.shape
    q = blend.left_out(blend.rows if len(blend.rows) >= IMAGES_PER_CLASS * k else torch.arange(n))
    frequencies, concentration = torch.full((k,), 1 / k), math.inf
    if data.correct is None:
        frequencies, concentration = class_frequencies(data.labels, k)
    frequencies = frequencies.to(q)

    def fitted(ridge: float) -> Fitted:
        b = fit_intercepts(q, frequencies, ridge)
        mass, target = torch.softmax(q + b, dim=1).sum(dim=0), len(q) * frequencies

        def left_out(rows: Tensor, below: Tensor) -> Tensor:
            own = data.labels[rows]
            return leave_one_out_intercepts(below, b, mass, own, target, ridge, concentration)

        return Fitted(left_out, lambda weight: Intercepts((weight * b).to(torch.get_default_dtype())))

    yield from map(fitted, (1.0, 10.0) if n <= 1000 else (1.0,))


def minimum_gain(n: int, k: int) -> float:
    """Nats that intercepts must gain: they depend on class frequencies, which few images estimate badly."""
    return max(5.0, 500.0 / n)


def class_frequencies(labels: Tensor, k: int) -> tuple[Tensor, float]:
    """Class frequencies (K,) and the likeliest Dirichlet concentration of labels (n,), inf for equal ones."""
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


def fit_intercepts(q: Tensor, frequencies: Tensor, ridge: float, steps: int = 10) -> Tensor:
    """Intercepts b (K,) with Σ_i softmax(q_i + b)_c + ridge · b_c = n · frequency_c."""
    target = len(q) * frequencies
    b = torch.zeros_like(frequencies)
    for _ in range(steps):
        mass = torch.softmax(q + b, dim=1).sum(dim=0)
        b = b + 0.7 * (target - mass - ridge * b) / (torch.maximum(mass, 0.2 * target) + ridge)
        b = b.clamp(-12, 12)
    return b


def leave_one_out_intercepts(
    q: Tensor, b: Tensor, mass: Tensor, own: Tensor, target: Tensor, ridge: float, concentration: float
) -> Tensor:
    """Intercepts (n, K) as if each row of `q` (n, K) had not been there, by one multiplicative step."""
    # `mass` (K,) is that of all posteriors of the fit, under `b` (K,), and `target` (K,) what it should be.
    n, k = mass.sum(), len(mass)
    p = torch.softmax(q + b, dim=1)
    left_out = b + torch.log((mass + ridge) / (mass - p + ridge))
    if math.isinf(concentration):
        return left_out + torch.log((target - 1 / k + ridge) / (target + ridge))
    share = n / (n + k * concentration)
    i = torch.arange(len(q))
    left_out[i, own] += torch.log((target[own] - share + ridge) / (target[own] + ridge))
    return left_out
