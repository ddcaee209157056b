"""Losses, learning-rate schedule and the one training loop of the networks."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from vilu_sdk.compute.device import CPU, compute_device
from vilu_sdk.compute.distributed import add_up, world_size
from vilu_sdk.compute.progress import track
from vilu_sdk.inputs.task import Batch, Task
from vilu_sdk.training.feed import Feed
from vilu_sdk.training.resume import FitState, named, optimiser_state, part, set_optimiser_state

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
        """Learning rate of an epoch: linear warm-up from a tenth, times a cosine to zero.

        Examples
        --------
        >>> settings = SGD(epochs=800, batch_size=128, learning_rate=0.01)
        >>> [round(settings.rate(epoch), 7) for epoch in (0, 1, 5)]
        [0.001, 0.0028, 0.009999]
        """
        warm = min(epoch, self.warmup_epochs) / self.warmup_epochs if self.warmup_epochs else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
        return self.learning_rate * (0.1 + 0.9 * warm) * cosine


def failure_weights(correct: Tensor, weighting: Weighting, counts: Tensor | None = None) -> Tensor:
    """Weight of each row in a loss: 1 where right, w where wrong.

    Adaptive: w = log(1 + right / wrong) = -log(failure rate) of the batch. It is 0 where nothing is
    right, and weighs failures down where fewer than 1 - 1/e = 63 % are right. `counts` are those of wrong
    and right in the whole batch, if `correct` is a part of it.
    """
    wrong, right = _count(correct) if counts is None else counts
    # Without failures w is infinite and weighs nothing; a finite stand-in avoids 0 · inf.
    weight = torch.log1p(right / wrong.clamp_min(1)) if weighting == "adaptive" else torch.ones(())
    return torch.where(correct, 1.0, weight.to(torch.get_default_dtype()))


def bce_loss(confidence: Tensor, correct: Tensor, weighting: Weighting) -> Tensor:
    """Weighted binary cross-entropy of confidence logits, averaged over the rows."""
    losses = binary_cross_entropy_with_logits(confidence, correct.to(confidence), reduction="none")
    return _average(losses, correct, weighting)


def mse_loss(confidence: Tensor, target: Tensor, correct: Tensor, weighting: Weighting) -> Tensor:
    """Weighted squared error between sigmoid(confidence logit) and a target in [0, 1]."""
    return _average((torch.sigmoid(confidence) - target).square(), correct, weighting)


def _average(losses: Tensor, correct: Tensor, weighting: Weighting) -> Tensor:
    """Weigh and average losses; of a batch that processes share, what this one's rows add to the average."""
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
) -> Tensor:
    """Minimise `loss` over the batches of a task, going on where its checkpoint was left.

    Of a batch that processes share, `loss` is the part of this process, and the parts add up. The device is
    that of `compute_device`.

    Parameters
    ----------
    module : nn.Module
        What is trained, in place.
    task : Task
        What it is trained on.
    loss : callable
        Takes a batch and the number of steps taken so far, returns a scalar.
    settings : SGD
        The optimiser's settings.
    generator : torch.Generator or None
        Shuffles the rows of every epoch; None keeps them in order.
    what : str
        What the progress bar says.

    Returns
    -------
    Tensor of shape (steps,)
        The loss of every step.
    """
    device = compute_device()
    optimiser = torch.optim.SGD(
        module.to(device).parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    history: list[float] = []
    feed = Feed(task, settings.batch_size, settings.epochs, generator)
    fit = FitState(task)
    if fit.state:
        history = fit.state["history"].tolist()
        feed.done = len(history)
        module.load_state_dict(part(fit.state, "module"))
        set_optimiser_state(optimiser, part(fit.state, "optimiser"))
        if generator is not None:
            generator.set_state(fit.state["order"])

    def state() -> dict[str, Tensor]:
        return {
            "order": feed.epoch_state,
            "history": torch.tensor(history, dtype=torch.float64),
            **named("module", module.state_dict()),
            **named("optimiser", optimiser_state(optimiser)),
        }

    module.train()
    for batch in _moved(track(feed, what), device):
        for group in optimiser.param_groups:
            group["lr"] = settings.rate(len(history) // feed.steps)
        optimiser.zero_grad()
        value = loss(batch, len(history))
        value.backward()  # type: ignore[no-untyped-call]
        history.append(_add_up_gradients(module, value.detach()))
        optimiser.step()
        fit.keep(state)
    fit.keep(state, now=True)
    module.to(CPU).eval()
    return torch.tensor(history)


def _moved(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Move batches to a device, and candidates that do not change only once."""
    here = there = torch.empty(0)
    for batch in batches:
        if batch.text is not here:
            here, there = batch.text, batch.text.to(device)
        yield batch.to(device, there)


def _add_up_gradients(module: nn.Module, loss: Tensor) -> float:
    """Sum gradients and loss over the processes, in one transfer, and return the loss."""
    if world_size() > 1:
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        flat = torch.cat([loss[None], *(gradient.flatten() for gradient in gradients)])
        add_up(flat)
        loss, *sums = torch.split(flat, [1, *(gradient.numel() for gradient in gradients)])
        for gradient, total in zip(gradients, sums, strict=True):
            gradient.copy_(total.view_as(gradient))
    return float(loss)
