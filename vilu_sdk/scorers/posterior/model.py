"""What all models of the default recipe have in common: a posterior over candidates, in parts."""

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from vilu_sdk.compute.device import scalar
from vilu_sdk.compute.tiles import BITS, Logits
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.base.unknown import Background
from vilu_sdk.scorers.posterior.once import one_set
from vilu_sdk.scorers.posterior.parts import KernelLogits, Parts


class LogLinearModel:
    """A posterior over candidates whose logits are a sum of named parts, without labels by default."""

    logit_scale: float
    min_candidates = 2

    def parts(self, text: Tensor) -> Parts:
        """Return what is known about candidates (K, d)."""
        raise NotImplementedError

    def calibration(self, text: Tensor) -> tuple[float, float]:
        """Slope and offset that calibrate the log-odds among candidates (K, d)."""
        return 1.0, 0.0

    def sharpness(self, text: Tensor) -> float:
        """What multiplies the logits among candidates (K, d) to make their softmax calibrated."""
        return 1.0

    def unknown_share(self, text: Tensor) -> float:
        """Share of the candidates (K, d) that were not learned from labels, in [0, 1]."""
        return 1.0

    def background(self, text: Tensor) -> Background | None:
        """How likely images show none of the candidates (K, d), where that is known."""
        return None

    def among(self, text: Tensor) -> Among:
        """Return the posterior among `text`, and the log-odds that a prediction is wrong under it."""
        with one_set():
            parts = self.parts(text)
            slope, offset = self.calibration(text)
            sharpness, background = self.sharpness(text), self.background(text)
        features, logits = fold(parts)

        def decision(chunk: Chunk) -> Tensor:
            # In float64, so that it makes no ties.
            return scalar(slope) * chunk.log_odds.double() + scalar(offset)

        # Alone, the first maximum of the zero-shot logits is the prediction: MCM, to the last bit.
        alone = parts.keys() == {"zero-shot"}
        return Among.linear(
            text,
            logits.times(BITS),
            features,
            decision=decision,
            top_is_prediction=alone,
            answers=not alone,
            sharpness=sharpness,
            background=background,
        )


def fold(parts: Parts) -> tuple[Callable[[Tensor], Tensor], Logits]:
    """Return parts as features of the images and logits that are linear in them."""
    every = [part for group in parts.values() for part in group]
    kernels = [part for part in every if isinstance(part, KernelLogits)]
    plain = [part for part in every if isinstance(part, Logits)]
    directions = reduce(torch.add, [part.directions for part in plain])
    added = [part.linear.offsets if isinstance(part, KernelLogits) else part.offsets for part in every]
    found = [offsets for offsets in added if offsets is not None]
    offsets = reduce(torch.add, found) if found else None
    if not kernels:
        return lambda z: z, Logits(directions, offsets)
    # In float64: weights of a kernel are large and cancel, so that rounding would show in scores, and
    # products round by how many rows there are.
    stacked = torch.cat([directions, *(part.linear.directions for part in kernels)]).double()
    linear = Logits(stacked, None if offsets is None else offsets.double())
    near = [kernel.near() for kernel in kernels]

    def features(z: Tensor) -> Tensor:
        z = z.double()
        return torch.cat([z, *(kernel(z) for kernel in near)], dim=1)

    return features, linear


def scores(parts: Parts, z: Tensor) -> dict[str, Tensor]:
    """What each source says of the candidates of images (n, d): an array (n, K) by name."""
    return {name: reduce(torch.add, [part(z) for part in group]) for name, group in parts.items()}


def total(parts: Parts, z: Tensor) -> Tensor:
    """The logits (n, K) that parts add up to for images (n, d)."""
    return reduce(torch.add, scores(parts, z).values())


def zero_shot(logit_scale: float, text: Tensor) -> Parts:
    """The parts of a model that has learned nothing."""
    return {"zero-shot": [Logits(logit_scale * text.T)]}
