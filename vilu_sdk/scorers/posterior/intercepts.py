"""Class intercepts: what the average posterior over the training images should have been."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vilu_sdk.inputs.precision import working
from vilu_sdk.scorers.posterior.blend import Blend, Fitted
from vilu_sdk.scorers.posterior.parts import Intercepts

# Evidence, in nats, that class counts must give before unequal frequencies are believed.
SKEW_PRICE = 3.0
CONCENTRATIONS = (0.03, 0.1, 0.3, 1.0, 3.0)
# With so many images for each class, the rows that weights are chosen on determine the intercepts too.
IMAGES_PER_CLASS = 50
# With fewer images for each class, and as many of each, nothing can be left out of the intercepts.
FEWEST_PER_CLASS = 2


def try_intercepts(blend: Blend) -> Iterator[Fitted]:
    """Fit intercepts to the sum of the sources before them, under several ridges."""
    data, k = blend.data, blend.k
    if data.correct is None and blend.n < FEWEST_PER_CLASS * k and drawn_evenly(data.labels, k):
        return  # the class that lacks an image would give away which one is left out
    enough = float(data.weights[blend.rows].sum()) >= IMAGES_PER_CLASS * k
    seen = blend.rows if enough else torch.arange(len(data.base))
    q, weights = blend.left_out(seen), data.weights[seen].to(data.base)
    frequencies, concentration = torch.full((k,), 1 / k), math.inf
    if data.correct is None:
        frequencies, concentration = class_frequencies(data.labels, k, data.weights)
    frequencies = frequencies.to(q)

    def fitted(ridge: float) -> Fitted:
        b = fit_intercepts(q, frequencies, ridge, weights)
        mass, target = weights @ torch.softmax(q + b, dim=1), weights.sum() * frequencies

        def left_out(rows: Tensor, below: Tensor) -> Tensor:
            group = torch.unique(data.groups[rows], return_inverse=True)[1]
            return leave_groups_out_intercepts(
                below, b, mass, data.labels[rows], target, ridge, concentration, group, data.weights[rows]
            )

        return Fitted(left_out, lambda weight: Intercepts((weight * b).to(working())))

    yield from map(fitted, (1.0, 10.0) if blend.n <= 1000 else (1.0,))


def minimum_gain(n: float, k: int) -> float:
    """Nats that intercepts must gain: they depend on class frequencies, which few images estimate badly."""
    return max(5.0, 500.0 / n)


def drawn_evenly(labels: Tensor, k: int) -> bool:
    """Whether the counts of labels (n,) vary less than half as much as chance would have them."""
    counts = torch.bincount(labels, minlength=k).double()
    pearson = (counts - counts.mean()).square().sum() / counts.mean()  # K - 1 by chance
    return float(pearson) < 0.5 * (k - 1)


def class_frequencies(labels: Tensor, k: int, weights: Tensor | None = None) -> tuple[Tensor, float]:
    """Class frequencies (K,) and the likeliest Dirichlet concentration of labels (n,), inf for equal ones."""
    counts = torch.bincount(labels, weights, minlength=k).double()
    n = float(counts.sum())
    best, chosen = SKEW_PRICE - n * math.log(k), math.inf
    for value in CONCENTRATIONS:
        a = torch.tensor(value, dtype=torch.float64)
        evidence = torch.lgamma(k * a) - torch.lgamma(k * a + n)
        evidence += (torch.lgamma(counts + a) - torch.lgamma(a)).sum()
        if float(evidence) > best:
            best, chosen = float(evidence), value
    if math.isinf(chosen):
        return torch.full((k,), 1 / k), chosen
    return ((counts + chosen) / (n + k * chosen)).float(), chosen


def fit_intercepts(
    q: Tensor, frequencies: Tensor, ridge: float, weights: Tensor | None = None, steps: int = 10
) -> Tensor:
    """Intercepts b (K,) with Σ_i w_i softmax(q_i + b)_c + ridge b_c = frequency_c Σ_i w_i; w are 1."""
    weights = torch.ones(len(q), dtype=q.dtype) if weights is None else weights
    target = weights.sum() * frequencies
    b = torch.zeros_like(frequencies)
    for _ in range(steps):
        mass = weights @ torch.softmax(q + b, dim=1)
        b = b + 0.7 * (target - mass - ridge * b) / (torch.maximum(mass, 0.2 * target) + ridge)
        b = b.clamp(-12, 12)
    return b


def leave_groups_out_intercepts(
    q: Tensor,
    b: Tensor,
    mass: Tensor,
    own: Tensor,
    target: Tensor,
    ridge: float,
    concentration: float,
    groups: Tensor,
    weights: Tensor,
) -> Tensor:
    """Intercepts (n, K) as if the group of each row of `q` (n, K) had not been there, by one step.

    The step is multiplicative. `mass` (K,) is that of all posteriors of the fit, under `b` (K,), and `target`
    (K,) what it should be. `own` (n,) are the classes, `groups` (n,) are numbered from 0 on.
    """
    n, k = mass.sum(), len(mass)
    weights = weights.to(q)
    empty = torch.zeros(int(groups.max()) + 1, k, dtype=q.dtype)
    gone = empty.index_add(0, groups, weights[:, None] * torch.softmax(q + b, dim=1))
    if math.isinf(concentration):
        missed = (gone.sum(dim=1) / k)[:, None]
    else:
        missed = empty.index_put((groups, own), weights, accumulate=True) * n / (n + k * concentration)
    # Rounding must not take more than there was.
    left = (mass - gone).clamp_min(0), (target - missed).clamp_min(0)
    moved = torch.log((mass + ridge) / (left[0] + ridge)) + torch.log((left[1] + ridge) / (target + ridge))
    return (b + moved)[groups]
