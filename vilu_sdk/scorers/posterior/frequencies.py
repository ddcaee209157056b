"""How often classes occur among unlabelled images: given, equal, or estimated from the posterior."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vilu_sdk.exceptions import NothingLearnedWarning, warn
from vilu_sdk.inputs.containers import vector

#: What `adapt` is told of frequencies: nothing, that they are equal, to estimate them, or which they are.
Frequencies = Literal["balanced", "estimated"] | Tensor | None

# Pseudo-images of each class when frequencies are matched, and the steps.
COUNT, STEPS = 4.0, 10
# Pseudo-images of each class when they are estimated, and the steps at most.
PRIOR, ROUNDS = 3.0, 200
# Steps in which shares are looked at for a dominant one.
SHARE_STEPS = 30
# The least frequency, so that no class is ruled out for good.
LEAST = 1e-6
# Nats that the estimate must gain for each image. On real embeddings it gains up to 0.19 where all classes
# occur equally often, which is the posterior's own error, and 0.2 to 1.0 where half of them or fewer occur.
LEAST_GAIN = 0.2


def check_frequencies(value: Any, k: int) -> Frequencies:
    """Return what is said of the frequencies of k candidates, a vector as shares that sum to 1."""
    known: Frequencies
    for known in (None, "balanced", "estimated"):
        if value is known or (isinstance(value, str) and value == known):
            return known
    wanted = "frequencies must be None, 'balanced', 'estimated' or one number for each candidate"
    if isinstance(value, str | bool | int | float):
        raise ValueError(f"{wanted}, got {value!r}.")
    array = vector(value, "frequencies")
    if len(array) != k or array.dtype.kind not in "iuf":
        raise ValueError(f"{wanted}, got {len(array)} of {array.dtype} for {k} candidates.")
    shares = array.astype(np.float64)
    if not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
        raise ValueError("frequencies must be finite and not negative, and not all zero.")
    return torch.from_numpy(shares / shares.sum())


def match(q: Tensor, frequencies: Tensor | None = None) -> Tensor:
    """Intercepts (K,) under which classes get about these shares (K,), or equal ones, of `q` (n, K)."""
    n, k = q.shape
    target = n / k if frequencies is None else n * frequencies.to(q)
    b = torch.zeros(k)
    for _ in range(STEPS):
        mass = torch.softmax(q + b, dim=1).sum(dim=0)
        b = b - 0.5 * torch.log((mass + COUNT) / (target + COUNT))
    return b


def estimate(q: Tensor, sharpness: float = 1.0) -> tuple[Tensor, float]:
    r"""Intercepts (K,) of the likeliest frequencies of the rows of `q` (n, K), and what they gain.

    Expectation maximisation on :math:`\sum_i \log \sum_c \pi_c e^{h q_{ic}}`, with the sharpness h that makes
    the posterior calibrated and a Dirichlet prior (Saerens, Latinne & Decaestecker, 2002). The gain is in
    nats for each image.
    """
    n, k = q.shape
    calibrated = sharpness * q.double()
    log_share = torch.full((k,), 1 / k, dtype=torch.float64).log()
    before = float(torch.logsumexp(calibrated + log_share, dim=1).sum())
    value = before
    for _ in range(ROUNDS):
        share = (torch.softmax(calibrated + log_share, dim=1).sum(dim=0) + PRIOR) / (n + k * PRIOR)
        log_share = share.clamp_min(LEAST).log()
        last, value = value, float(torch.logsumexp(calibrated + log_share, dim=1).sum())
        if value - last < 1e-3 * k and value > last:
            break
    b = (log_share - log_share.mean()) / sharpness
    return b.to(q), (value - before) / n


def class_shares(q: Tensor) -> Tensor:
    """Shares (K,) of the classes that make images of logits `q` (n, K) likeliest, by EM from equal ones.

    Predictions alone hide a dominant class, whose errors are spread over the others.
    """
    n, k = q.shape
    shares = torch.full((k,), 1 / k)
    for _ in range(SHARE_STEPS):
        mass = torch.softmax(q + shares.log(), dim=1).sum(dim=0)
        shares = (mass + 1) / (n + k)
    return shares


def intercepts(q: Tensor, frequencies: Frequencies, sharpness: float) -> Tensor | None:
    """Intercepts (K,) by what is said of the frequencies; None for nothing, and for thin evidence."""
    if frequencies is None:
        return None
    if isinstance(frequencies, Tensor):
        return match(q, frequencies)
    if frequencies == "balanced":
        return match(q)
    found, gain = estimate(q, sharpness)
    if gain >= LEAST_GAIN:
        return found
    warn(
        f"adapt leaves the frequencies of the candidates as they are: the best estimate makes the {len(q)} "
        f"images likelier by {gain:.2f} nats each, and errors of the posterior alone can give {LEAST_GAIN}. "
        "Pass the frequencies if you know them, or fit on more labels.",
        NothingLearnedWarning,
    )
    return None
