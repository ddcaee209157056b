"""Training a confidence head on a task, shared by ViLU as published and LVU."""

import math
from dataclasses import fields
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from vilu_sdk.inputs.names import NONE
from vilu_sdk.inputs.task import Batch, Task
from vilu_sdk.inputs.values import positive
from vilu_sdk.persistence.encoding import storable
from vilu_sdk.persistence.types import check_parameters
from vilu_sdk.scorers.paper.head import ViLUHead
from vilu_sdk.training.sgd import SGD, Weighting, bce_loss, mse_loss, train

Target = Literal["correct", "tcp", "loss"]
storable(ViLUHead)


def train_confidence(
    head: ViLUHead,
    task: Task,
    logit_scale: float,
    settings: SGD,
    generator: torch.Generator | None,
    *,
    target: Target,
    weighting: Weighting,
    freeze_steps: int = 0,
    view_noise: float = 0.0,
    what: str = "training",
) -> Tensor:
    """Train `head` in place to tell right from wrong predictions; return the loss of every step (steps,)."""
    if target != "correct" and task.correct is not None:
        raise ValueError(
            f"target={target!r} regresses on the probability of the true class; pass `labels` instead of "
            "`correct`, or use target='correct'."
        )

    def batch_loss(batch: Batch, step: int) -> Tensor:
        logits = logit_scale * (batch.z @ batch.text.T)
        correct = batch.right(logits.argmax(dim=1))
        if head.attention is not None:
            head.attention.frozen = step < freeze_steps
        confidence = head(batch.z, batch.text, logits)
        if target == "correct":
            return bce_loss(confidence, correct, weighting)
        assert batch.labels is not None
        log_softmax = torch.log_softmax(logits, dim=1)
        log_p = log_softmax.gather(1, batch.labels.clamp_min(0)[:, None])[:, 0]
        # "None of the candidates" has no probability, and a loss no less than that of the unlikeliest.
        none = batch.labels == NONE
        log_p = torch.where(none, -torch.inf if target == "tcp" else log_softmax.amin(dim=1), log_p)
        if target == "tcp":
            return mse_loss(torch.sigmoid(confidence), log_p.exp(), correct, weighting)
        return mse_loss(softplus(-confidence), -log_p, correct, weighting)

    if not 0 <= view_noise < math.inf:
        raise ValueError(f"view_noise must be a finite number of at least 0, got {view_noise!r}.")
    history = train(head, task, batch_loss, settings, generator, what, view_noise)
    if head.attention is not None:
        head.attention.frozen = len(history) < freeze_steps
    return history


def sgd_settings(params: Any, adapt: bool = False) -> SGD:
    """Read the optimiser's settings off an estimator that has them as flat parameters.

    Those of an adaptation have a prefix, where they have parameters of their own.
    """
    check_parameters(params)
    values = {item.name: getattr(params, item.name) for item in fields(SGD)}
    names = {name: f"adapt_{name}" if adapt else name for name in ("epochs", "batch_size", "learning_rate")}
    values |= {name: getattr(params, parameter) for name, parameter in names.items()}
    for name in ("epochs", "batch_size"):
        if values[name] < 1:
            raise ValueError(f"{names[name]} must be at least 1, got {values[name]}.")
    positive(values["learning_rate"], names["learning_rate"])
    return SGD(**values)
