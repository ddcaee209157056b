"""ViLU as published: a head on (z_v, z_α, z_t̂) that learns right from wrong."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from vilu_sdk.compute.distributed import add_up
from vilu_sdk.compute.random import seeded_init
from vilu_sdk.compute.tiles import Logits
from vilu_sdk.inputs.task import Task
from vilu_sdk.persistence.encoding import storable
from vilu_sdk.scorers.base.among import Among
from vilu_sdk.scorers.paper.confidence import Target, sgd_settings, train_confidence
from vilu_sdk.scorers.paper.head import ViLUHead
from vilu_sdk.scorers.posterior.model import zero_shot
from vilu_sdk.scorers.posterior.parts import Parts
from vilu_sdk.training.feed import Feed
from vilu_sdk.training.sgd import Weighting


@storable
class PaperRecipe(BaseEstimator):
    """The published method and everything the paper varies.

    Parameters
    ----------
    attention : bool
        Whether z_α, the cross-attention's read-out of the candidates, is an input (Table 3).
    predicted : bool
        Whether z_t̂, the text of the zero-shot prediction, is an input (Table 3).
    mcm_input : bool
        Whether MCM's score is one more input (supplement B.2).
    hidden : sequence of int
        Widths of the hidden layers; their number is the depth of Figure 7.
    attention_scale : {"logit_scale", "sqrt_d"}
        Scale of the attention logits: the model's logit scale, as in the authors' code, or 1/√d, as
        the paper writes. With unit vectors 1/√d attends to all candidates alike until the projections
        have grown.
    tied_values : bool
        Whether the attention's values are its keys, as in the authors' code. Without, they have a
        projection W_V of their own; with ``attention_scale="sqrt_d"`` that is the paper's Equation 5.
    target : {"correct", "tcp", "loss"}
        What the network learns: "correct", whether the prediction is right, by binary cross-entropy, or
        "tcp", the zero-shot probability of the true class, by squared error (BCE and MSE of Table 4), or
        "loss", minus the logarithm of that (see `LVUScorer`).
    weighting : {"adaptive", "static"}
        Whether failures weigh -log(failure rate of the batch), or 1 (Table 4).
    freeze_steps : int or None
        Number of steps during which the identity stands in for the attention's projections; None
        means the first epoch, as in the paper. The authors' scripts use 1000.
    legacy_freeze_decay : bool
        Let weight decay shrink the frozen projections, as the authors' code does.
    calibrated : bool
        Subtract log w, the bias that the adaptive weight w puts on the log-odds, using the training
        failure rate. It changes probabilities, not the ranking.
    epochs, batch_size, learning_rate, momentum, weight_decay, warmup_epochs
        Stochastic gradient descent; the rate warms up linearly and decays along a cosine. In a
        caption task the candidates of an image are the captions of its batch.
    view_noise : float
        How far training moves each image in each step, 0 for not at all, as the paper's embeddings of one
        view would: by the difference of two random images of its class, so that 1 doubles the variance within
        classes. It stands in for the paper's augmented views of the images, and needs labels.
    adapt_epochs, adapt_batch_size, adapt_learning_rate
        Those of `ViLUEstimator.adapt`, which fine-tunes all weights on a few labelled images (supplement
        C.5, which states none).

    Notes
    -----
    The authors choose the learning rate among 0.1, 0.01 and 0.001, the batch size among 128, 256, 512
    and 1024, and train 300 to 800 epochs on whole training sets. The default rate is the largest of
    theirs: with some thousand images the others have not converged after 300 epochs.

    References
    ----------
    Lafon et al., "ViLU: Learning Vision-Language Uncertainties for Failure Prediction", ICCV 2025.

    Examples
    --------
    >>> from vilu_sdk import PaperRecipe, ViLUEstimator
    >>> ViLUEstimator(recipe=PaperRecipe(learning_rate=0.1, epochs=30)).recipe.epochs
    30
    """

    def __init__(
        self,
        *,
        attention: bool = True,
        predicted: bool = True,
        mcm_input: bool = False,
        hidden: Sequence[int] = (512, 256, 128),
        attention_scale: Literal["logit_scale", "sqrt_d"] = "logit_scale",
        tied_values: bool = True,
        target: Target = "correct",
        weighting: Weighting = "adaptive",
        freeze_steps: int | None = None,
        legacy_freeze_decay: bool = False,
        calibrated: bool = False,
        epochs: int = 300,
        batch_size: int = 128,
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        warmup_epochs: int = 5,
        view_noise: float = 0.0,
        adapt_epochs: int = 20,
        adapt_batch_size: int = 32,
        adapt_learning_rate: float = 0.1,
    ) -> None:
        self.attention = attention
        self.predicted = predicted
        self.mcm_input = mcm_input
        self.hidden = hidden
        self.attention_scale = attention_scale
        self.tied_values = tied_values
        self.target = target
        self.weighting = weighting
        self.freeze_steps = freeze_steps
        self.legacy_freeze_decay = legacy_freeze_decay
        self.calibrated = calibrated
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.view_noise = view_noise
        self.adapt_epochs = adapt_epochs
        self.adapt_batch_size = adapt_batch_size
        self.adapt_learning_rate = adapt_learning_rate

    def learn(self, task: Task, logit_scale: float, generator: torch.Generator) -> "PaperModel":
        """Train a model on a task."""
        settings = sgd_settings(self)
        scales = {"logit_scale": logit_scale, "sqrt_d": task.images.d**-0.5}
        with seeded_init(generator):
            head = ViLUHead(
                task.images.d,
                self.hidden,
                attention_scale=scales[self.attention_scale] if self.attention else None,
                predicted=self.predicted,
                mcm_input=self.mcm_input,
                tied_values=self.tied_values,
                legacy_freeze_decay=self.legacy_freeze_decay,
            )
        epoch = max(1, len(task.images) // settings.batch_size)
        history = train_confidence(
            head,
            task,
            logit_scale,
            settings,
            generator,
            target=self.target,
            weighting=self.weighting,
            freeze_steps=epoch if self.freeze_steps is None else self.freeze_steps,
            view_noise=self.view_noise,
            what="training ViLU",
        )
        biased = self.calibrated and self.target == "correct" and self.weighting == "adaptive"
        log_weight = _log_weight(task, settings.batch_size) if biased else 0.0
        return PaperModel(head, logit_scale, log_weight, self.target, self.weighting, history)

    def adapt(self, model: "PaperModel", task: Task, generator: torch.Generator) -> "PaperModel":
        """Fine-tune all weights of a model on a few labelled images of another domain (supplement C.5)."""
        head = copy.deepcopy(model.head)
        history = train_confidence(
            head, task, model.logit_scale, sgd_settings(self, adapt=True), generator,
            target=model.target, weighting=model.weighting, what="adapting ViLU",
        )  # fmt: skip
        return replace(model, head=head, loss_curve=torch.cat([model.loss_curve, history]))


@storable
@dataclass(frozen=True)
class PaperModel:
    """A trained head and what turns its confidence into log-odds of failure."""

    head: ViLUHead
    logit_scale: float
    log_weight: float
    target: Target
    weighting: Weighting
    loss_curve: Tensor

    min_candidates = 1

    def among(self, text: Tensor) -> Among:
        """Return the zero-shot posterior among `text`, and the head's log-odds of failure."""
        confidence = self.head.against(text)
        # Predictions alone cost less than with their odds, which few heads see.
        return Among.linear(
            text,
            Logits.zero_shot(text, self.logit_scale),
            decision=lambda chunk: -confidence(chunk) - self.log_weight,
            top_is_prediction=self.head.mcm_input,
        )

    def parts(self, text: Tensor) -> Parts:
        """Return the logits of the attention, or the zero-shot ones where there is none."""
        if self.head.attention is None:
            return zero_shot(self.logit_scale, text)
        keys, _ = self.head.attention.folded(text)
        return {"cross-attention": [Logits(keys.T)]}

    def sharpness(self, text: Tensor) -> float:
        """What multiplies the logits of `parts`."""
        return 1.0


def _log_weight(task: Task, batch_size: int) -> float:
    """Log of the adaptive weight at the failure rate of the training data, 0 where it has none."""
    counts = torch.zeros(2, dtype=torch.int64)  # of right images, and of all
    for batch in Feed(task, batch_size, 1, None):
        counts[0] += batch.right((batch.z @ batch.text.T).argmax(dim=1)).sum()
        counts[1] += len(batch.z)
    add_up(counts)
    right, rows_seen = counts.tolist()
    failure_rate = 1 - right / rows_seen
    return math.log(-math.log(failure_rate)) if 0 < failure_rate < 1 else 0.0
