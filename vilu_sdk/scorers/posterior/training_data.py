"""Labelled images in memory, as the sources of a class model learn from them."""

from collections.abc import Sequence
from dataclasses import dataclass

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

    @property
    def wrong(self) -> Tensor:
        """Whether each prediction is wrong."""
        return self.prediction != self.labels if self.correct is None else ~self.correct

    @property
    def shortage(self) -> str:
        """Why there is nothing to learn from, empty where there is."""
        return shortage(self.labels, self.correct)

    def outcomes(self, scores: Sequence[Tensor], rows: Tensor) -> Outcomes:
        """Pair scores (rows, K) of each source with what is known of these rows."""
        if self.correct is None:
            return Outcomes.of(scores, self.labels[rows])
        return Outcomes.of(scores, self.prediction[rows], self.correct[rows])


def shortage(labels: Tensor | None, correct: Tensor | None) -> str:
    """Why labels (n,), or right and wrong (n,), are too few to learn from."""
    known = labels if correct is None else correct
    assert known is not None
    n = len(known)
    if n < MIN_IMAGES:
        return f"{n} images, fewer than {MIN_IMAGES}"
    if correct is None:
        return "one class only" if bool((known == known[0]).all()) else ""
    right = int(correct.sum())
    if min(right, n - right) < MIN_OUTCOMES:
        return f"{right} right and {n - right} wrong images, fewer than {MIN_OUTCOMES} of a kind"
    return ""
