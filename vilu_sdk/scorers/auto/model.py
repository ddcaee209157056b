"""What all models of the default recipe have in common: a posterior over candidates, in parts."""

from collections.abc import Callable

import torch
from torch import Tensor

from vilu_sdk.similarity import Posterior


class LogLinearModel:
    """A posterior over candidates whose logits are a sum of named parts."""

    logit_scale: float
    min_candidates = 2

    def parts(self, text: Tensor) -> Callable[[Tensor], dict[str, Tensor]]:
        """Return the function from images (n, d) to what each source says of candidates (n, J)."""
        raise NotImplementedError

    def calibration(self, text: Tensor) -> tuple[float, float]:
        """Slope and offset of the log-odds among these candidates."""
        raise NotImplementedError

    def unknown_share(self, text: Tensor) -> float:
        """Share of the candidates that were not learned from labels, in [0, 1]."""
        raise NotImplementedError

    def decision(self, text: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function from images to the log-odds that their zero-shot prediction is wrong."""
        parts = self.parts(text)
        slope, offset = self.calibration(text)

        def decide(z: Tensor) -> Tensor:
            prediction = (z @ text.T).argmax(dim=1)
            # In float64, so that the calibration makes no ties.
            return slope * Posterior(total(parts(z)), prediction).log_odds.double() + offset

        return decide


def total(parts: dict[str, Tensor]) -> Tensor:
    """The logits (n, J) that parts add up to."""
    return torch.stack(tuple(parts.values())).sum(dim=0)


def zero_shot(logit_scale: float, text: Tensor) -> Callable[[Tensor], dict[str, Tensor]]:
    """The parts of a model that has learned nothing."""
    return lambda z: {"zero-shot": logit_scale * (z @ text.T)}
