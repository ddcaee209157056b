"""Labelled images in memory, as the sources of a class model learn from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vilu_sdk.scorers.posterior.moments import Moments
from vilu_sdk.scorers.posterior.weights import Outcomes

MIN_IMAGES = 10
MIN_OUTCOMES = 5  # of right and of wrong, where only that is known


@dataclass(frozen=True)
class TrainingData:
    """Training images in memory and what is known of them."""

    x: Tensor  # (n, d)
    base: Tensor  # (n, K), logits of the model that is built upon
    text: Tensor  # (K, d)
    prediction: Tensor  # (n,)
    labels: Tensor  # (n,), the likeliest ones where only right or wrong is known
    correct: Tensor | None  # (n,), whether the prediction is right, where that is all that is known
    moments: Moments  # of these images or of more
    groups: Tensor  # (n,), numbers of what the images come from, which is left out as a whole
    weights: Tensor  # (n,), independent images that each row counts as

    @property
    def size(self) -> float:
        """How many independent images these are worth."""
        return float(self.weights.sum())

    @property
    def wrong(self) -> Tensor:
        """Whether each prediction is wrong."""
        return self.prediction != self.labels if self.correct is None else ~self.correct

    @property
    def shortage(self) -> str:
        """Why there is nothing to learn from, empty where there is."""
        return shortage(self.labels, self.correct, self.groups)

    @property
    def evenness(self) -> float:
        """How evenly images were drawn from the classes: 1 exactly, near 0 at random, clearly from 0.5 on."""
        counts = torch.bincount(self.labels, minlength=self.base.shape[1]).double()
        # At random the variance is the mean, and an image left out has as many of its class as a new one.
        return max(0.0, 1 - float(counts.var() / counts.mean())) ** 3

    def outcomes(self, scores: Sequence[Tensor], rows: Tensor) -> Outcomes:
        """Pair scores (rows, K) of each source with what is known of these rows."""
        if self.correct is None:
            return Outcomes.of(scores, self.labels[rows], None, self.weights[rows])
        return Outcomes.of(scores, self.prediction[rows], self.correct[rows], self.weights[rows])


def shortage(labels: Tensor, correct: Tensor | None, groups: Tensor) -> str:
    """Why labels (n,), or right and wrong (n,), of rows of groups (n,) are too few to learn from."""
    n = len(torch.unique(groups))
    if n < MIN_IMAGES:
        return f"{n} different images, fewer than {MIN_IMAGES}"
    if correct is None:
        return "one class only" if bool((labels == labels[0]).all()) else ""
    right, wrong = (len(torch.unique(groups[kind])) for kind in (correct, ~correct))
    if min(right, wrong) < MIN_OUTCOMES:
        return f"{right} right and {wrong} wrong images, fewer than {MIN_OUTCOMES} of a kind"
    return ""
