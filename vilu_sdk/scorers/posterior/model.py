"""What all models of the default recipe have in common: a posterior over candidates, in parts."""

from collections.abc import Callable

import torch
from torch import Tensor

from vilu_sdk.compute.tiles import BITS, Logits
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.posterior.densities import KernelScores, LinearScores

#: What each named source says of the candidates; the logits are the sum of it all.
Parts = dict[str, list[LinearScores | KernelScores]]


class LogLinearModel:
    """A posterior over candidates whose logits are a sum of named parts."""

    logit_scale: float
    min_candidates = 2

    def parts(self, text: Tensor) -> Parts:
        """Return what is known about candidates (K, d)."""
        raise NotImplementedError

    def calibration(self, text: Tensor) -> tuple[float, float]:
        """Slope and offset of the log-odds among these candidates."""
        raise NotImplementedError

    def unknown_share(self, text: Tensor) -> float:
        """Share of the candidates that were not learned from labels, in [0, 1]."""
        raise NotImplementedError

    def among(self, text: Tensor) -> Among:
        """Return the posterior among `text`, and the log-odds that a prediction is wrong under it."""
        parts = self.parts(text)
        slope, offset = self.calibration(text)
        features, linear = fold(parts)
        linear = linear.times(BITS)

        def decision(chunk: Chunk) -> Tensor:
            return slope * chunk.log_odds.double() + offset  # in float64, so that it makes no ties

        if parts.keys() == {"zero-shot"}:  # MCM, to the last bit
            return Among.linear(text, Logits(linear.directions), decision=decision, top_is_prediction=True)
        return Among.linear(text, Logits(linear.directions, -linear.offsets), features, decision=decision)


def fold(parts: Parts) -> tuple[Callable[[Tensor], Tensor], LinearScores]:
    """Return parts as features of the images and scores that are linear in them."""
    every = [part for group in parts.values() for part in group]
    kernels = [part for part in every if isinstance(part, KernelScores)]
    upon = [kernel.linear for kernel in kernels]
    plain = [part for part in every if isinstance(part, LinearScores)]
    directions = _sum([part.directions for part in plain])
    offsets = _sum([part.offsets for part in plain + upon])
    if not kernels:
        return lambda z: z, LinearScores(directions, offsets)
    linear = LinearScores(torch.cat([directions, *(part.directions for part in upon)]), offsets)
    return lambda z: torch.cat([z, *(kernel.near(z) for kernel in kernels)], dim=1), linear


def scores(parts: Parts, z: Tensor) -> dict[str, Tensor]:
    """What each source says of the candidates of images (n, d): an array (n, K) by name."""
    return {name: _sum([part.scores(z) for part in group]) for name, group in parts.items()}


def total(parts: Parts, z: Tensor) -> Tensor:
    """The logits (n, K) that parts add up to for images (n, d)."""
    return _sum(list(scores(parts, z).values()))


def zero_shot(logit_scale: float, text: Tensor) -> Parts:
    """The parts of a model that has learned nothing."""
    return {"zero-shot": [LinearScores(logit_scale * text.T, text.new_zeros(len(text)))]}


def _sum(tensors: list[Tensor]) -> Tensor:
    """Add tensors up, the first of them unchanged."""
    result = tensors[0]
    for tensor in tensors[1:]:
        result = result + tensor
    return result
