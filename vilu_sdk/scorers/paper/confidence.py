"""Training a confidence head on a task, shared by ViLU as published and LVU."""

from typing import Any, Literal

import torch
from torch import Tensor

from vilu_sdk.inputs.task import Batch, Task
from vilu_sdk.inputs.values import positive
from vilu_sdk.persistence.encoding import storable
from vilu_sdk.scorers.paper.head import ViLUHead
from vilu_sdk.training.sgd import SGD, Weighting, bce_loss, mse_loss, train

Loss = Literal["bce", "mse"]
storable(ViLUHead)


def train_confidence(
    head: ViLUHead,
    task: Task,
    logit_scale: float,
    settings: SGD,
    generator: torch.Generator | None,
    *,
    loss: Loss,
    weighting: Weighting,
    freeze_steps: int = 0,
    what: str = "training",
) -> Tensor:
    """Train `head` in place to tell right from wrong predictions; return the loss of every step.

    ``loss="bce"`` has the target 1 for right, 0 for wrong; ``loss="mse"`` regresses the zero-shot
    probability of the true class. In a caption task the candidates are the captions of the batch.
    """
    if loss == "mse" and task.correct is not None:
        raise ValueError("loss='mse' regresses on the true class; pass `labels` instead of `correct`.")
    if weighting not in ("adaptive", "static"):
        raise ValueError(f"weighting must be 'adaptive' or 'static', got {weighting!r}.")

    def batch_loss(batch: Batch, step: int) -> Tensor:
        logits = logit_scale * (batch.z @ batch.text.T)
        correct = batch.right(logits.argmax(dim=1))
        if head.attention is not None:
            head.attention.frozen = step < freeze_steps
        confidence = head(batch.z, batch.text, logits)
        if loss == "bce":
            return bce_loss(confidence, correct, weighting)
        assert batch.labels is not None
        target = torch.softmax(logits, dim=1).gather(1, batch.labels[:, None])[:, 0]
        return mse_loss(confidence, target, correct, weighting)

    history = train(head, task, batch_loss, settings, generator, what)
    if head.attention is not None:
        head.attention.frozen = len(history) < freeze_steps
    return history


def sgd_settings(params: Any) -> SGD:
    """Read the optimiser's settings off an estimator that has them as flat parameters."""
    settings = SGD(
        params.epochs,
        params.batch_size,
        params.learning_rate,
        params.momentum,
        params.weight_decay,
        params.warmup_epochs,
    )
    if settings.epochs < 1 or settings.batch_size < 1:
        raise ValueError(
            f"epochs and batch_size must be at least 1, got {settings.epochs} and {settings.batch_size}."
        )
    positive(settings.learning_rate, "learning_rate")
    return settings
