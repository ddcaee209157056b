"""Losses and stochastic gradient descent of the networks that learn right from wrong."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from vilu_sdk.compute.device import CPU, compute_device
from vilu_sdk.compute.distributed import add_up
from vilu_sdk.inputs.precision import working
from vilu_sdk.inputs.task import Batch, Task
from vilu_sdk.training.feed import Feed
from vilu_sdk.training.loop import descend, require_finite
from vilu_sdk.training.resume import FitState

Weighting = Literal["adaptive", "static"]


@dataclass(frozen=True)
class SGD:
    """Settings of stochastic gradient descent with warm-up and cosine decay."""

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: int = 5

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch: linear warm-up from a tenth, times a cosine to zero."""
        warm = min(epoch, self.warmup_epochs) / self.warmup_epochs if self.warmup_epochs else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
        return self.learning_rate * (0.1 + 0.9 * warm) * cosine


def failure_weights(correct: Tensor, weighting: Weighting, counts: Tensor | None = None) -> Tensor:
    """Weight (n,) of each row in a loss: 1 where right; where wrong 1, or adaptively -log(failure rate).

    `counts` (2,) are those of wrong and right in the whole batch, if `correct` (n,) is a part of it.
    """
    wrong, right = _count(correct) if counts is None else counts
    # w is 0 where nothing is right, and below 1 where fewer than 1 - 1/e = 63 % are right. Without failures
    # it is infinite and weighs nothing; a finite stand-in avoids 0 · inf.
    weight = torch.log1p(right / wrong.clamp_min(1)) if weighting == "adaptive" else torch.ones(())
    return torch.where(correct, 1.0, weight.to(working()))


def bce_loss(confidence: Tensor, correct: Tensor, weighting: Weighting) -> Tensor:
    """Weighted binary cross-entropy of confidence logits, averaged over the rows."""
    losses = binary_cross_entropy_with_logits(confidence, correct.to(confidence), reduction="none")
    return _average(losses, correct, weighting)


def mse_loss(predicted: Tensor, target: Tensor, correct: Tensor, weighting: Weighting) -> Tensor:
    """Weighted squared error, averaged over the rows."""
    return _average((predicted - target).square(), correct, weighting)


def _average(losses: Tensor, correct: Tensor, weighting: Weighting) -> Tensor:
    """Return the weighted mean of losses; of a shared batch, the part that comes from own rows."""
    counts = _count(correct)
    add_up(counts)
    return (failure_weights(correct, weighting, counts) * losses).sum() / counts.sum()


def _count(correct: Tensor) -> Tensor:
    return torch.stack([(~correct).sum(), correct.sum()])


def train(
    module: nn.Module,
    task: Task,
    loss: Callable[[Batch, int], Tensor],
    settings: SGD,
    generator: torch.Generator | None,
    what: str = "training",
    view_noise: float = 0.0,
) -> Tensor:
    """Minimise `loss` over the batches of a task on `compute_device`; return that of every step (steps,)."""
    device = compute_device()
    optimiser = torch.optim.SGD(
        module.to(device).parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    feed = Feed(task, settings.batch_size, settings.epochs, generator, device, view_noise)
    history = descend(module, feed, loss, optimiser, FitState(task), rate=settings.rate, what=what)
    module.to(CPU)
    require_finite(module, what)
    return torch.tensor(history)
