"""How often classes occur among unlabelled images: given, equal, or estimated from the posterior."""

from typing import Any, Literal

import torch
from torch import Tensor

from vilu_sdk.exceptions import NothingLearnedWarning, warn
from vilu_sdk.inputs.candidates import Opened
from vilu_sdk.inputs.containers import vector
from vilu_sdk.inputs.values import check_weights

#: What `adapt` is told of frequencies: nothing, that they are equal, to estimate them, or which they are.
Frequencies = Literal["balanced", "estimated"] | Tensor | None

# Pseudo-images of each class when frequencies are matched, and the steps.
COUNT, STEPS = 4.0, 10
# Pseudo-images of each class when they are estimated, and the steps at most.
PRIOR, ROUNDS = 3.0, 200
# The least frequency, so that no class is ruled out for good.
LEAST = 1e-6
# Nats that the estimate must gain for each image. On real embeddings it gains up to 0.19 where all classes
# occur equally often, which is the posterior's own error, and 0.2 to 1.0 where half of them or fewer occur.
LEAST_GAIN = 0.2


def check_frequencies(value: Any, given: Opened) -> Frequencies:
    """Return what is said of the frequencies of candidates, numbers for each as shares that sum to 1."""
    if value is None or (isinstance(value, str) and value in ("balanced", "estimated")):
        return value  # type: ignore[return-value]
    if isinstance(value, str | bool | int | float):
        raise ValueError(
            "frequencies must be None, 'balanced', 'estimated' or one number for each candidate, got "
            f"{value!r}."
        )
    array = vector(given.in_order(value, "frequencies"), "frequencies")
    if len(array) != len(given):
        raise ValueError(
            f"frequencies has {len(array)} entries for {len(given)} candidates; pass one for each."
        )
    shares = check_weights(array, len(given), name="frequencies")
    shares = shares / shares.max()  # so that no sum of large numbers overflows
    return shares / shares.sum()


def match(q: Tensor, frequencies: Tensor | None = None) -> Tensor:
    """Intercepts (K,) under which classes get about these shares (K,), or equal ones, of `q` (n, K)."""
    n, k = q.shape
    target = n / k if frequencies is None else n * frequencies.to(q)
    b = torch.zeros(k)
    for _ in range(STEPS):
        mass = torch.softmax(q + b, dim=1).sum(dim=0)
        b = b - 0.5 * torch.log((mass + COUNT) / (target + COUNT))
    return b


def estimate(q: Tensor, sharpness: float = 1.0, prior: float | Tensor = PRIOR) -> tuple[Tensor, float]:
    r"""Logarithms (K,) of the likeliest frequencies of the rows of `q` (n, K), and what they gain.

    Expectation maximisation on :math:`\sum_i \log \sum_c \pi_c e^{h q_{ic}}`, with the sharpness h that
    makes the posterior calibrated and a Dirichlet prior, pseudo-images of each class, one number or (K,)
    (Saerens, Latinne & Decaestecker, 2002). The gain over equal frequencies is in nats for each image.
    Predictions alone hide a dominant class, whose errors are spread over the others.
    """
    n, k = q.shape
    calibrated = sharpness * q.double()
    log_share = torch.full((k,), 1 / k, dtype=torch.float64).log()
    prior = torch.as_tensor(prior, dtype=torch.float64).expand(k)
    before = float(torch.logsumexp(calibrated + log_share, dim=1).sum())
    value = before
    for _ in range(ROUNDS):
        share = (torch.softmax(calibrated + log_share, dim=1).sum(dim=0) + prior) / (n + prior.sum())
        log_share = share.clamp_min(LEAST).log()
        last, value = value, float(torch.logsumexp(calibrated + log_share, dim=1).sum())
        if value - last < 1e-3 * k and value > last:
            break
    return log_share, (value - before) / n


def intercepts(q: Tensor, frequencies: Frequencies, sharpness: float) -> Tensor | None:
    """Intercepts (K,) by what is said of the frequencies; None for nothing, and for thin evidence."""
    if frequencies is None:
        return None
    if isinstance(frequencies, Tensor):
        return match(q, frequencies)
    if frequencies == "balanced":
        return match(q)
    log_share, gain = estimate(q, sharpness)
    if gain >= LEAST_GAIN:
        return ((log_share - log_share.mean()) / sharpness).to(q)
    warn(
        f"adapt leaves the frequencies of the candidates as they are: the best estimate makes the {len(q)} "
        f"images likelier by {gain:.2f} nats each, and errors of the posterior alone can give {LEAST_GAIN}. "
        "Pass the frequencies if you know them, or fit on more labels.",
        NothingLearnedWarning,
    )
    return None
