"""What is scored: checked rows, their candidates, and which zero-shot predictions are wrong."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.compute.distributed import check_rows
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.task import check_task


class FailureScorer(Protocol):
    """What a scorer must offer to be evaluated; every scorer of this package does."""

    def fit(self, z_img: Any, z_txt: Any, labels: Any = None) -> Any:
        """Learn from embeddings."""

    def decision_function(self, z_img: Any, z_txt_set: Any) -> Any:
        """Rank by uncertainty."""

    def predict_uncertainty(self, z_img: Any, z_txt_set: Any) -> Any:
        """Return the uncertainty."""

    def predict(self, z_img: Any, z_txt_set: Any) -> Any:
        """Return the zero-shot prediction."""


class Problem(NamedTuple):
    """Checked rows: images (N, d), candidates, labels (N,) or None, and the batches of a caption task."""

    images: Any
    text: Any
    labels: NDArray[np.int64] | None
    batches: list[slice]

    def parts(self) -> Iterator[tuple[Any, Any]]:
        """Yield images and their candidates, all at once or batch by batch."""
        if self.labels is not None:
            yield self.images, self.text
            return
        for batch in self.batches:
            yield self.images[batch], self.text[batch]

    def pool(self, method: Any) -> NDArray[Any]:
        """Apply a bound method of a scorer to every part and join the values."""
        return np.concatenate([np.asarray(method(z_img, z_txt)) for z_img, z_txt in self.parts()])

    def take(self, index: NDArray[np.int64]) -> tuple[Any, Any, NDArray[np.int64] | None]:
        """Return arguments of `fit` for some of the rows."""
        if self.labels is None:
            return self.images[index], self.text[index], None
        return self.images[index], self.text, self.labels[index]


def check_problem(z_img: Any, z_txt: Any, labels: Any, batch_size: int | None) -> Problem:
    """Check everything that is to be scored, before any time is spent on it."""
    task = check_task(z_img, z_txt, labels)
    check_rows(task.images, task.texts)
    n = len(task.images)
    if batch_size is not None:
        if task.labels is not None:
            raise ValueError(
                "batch_size is for caption tasks, where the candidates are the captions of a batch; "
                "with labels, every row is scored against all of z_txt. Leave it out."
            )
        if not isinstance(batch_size, int | np.integer) or batch_size < 2:
            raise ValueError(f"batch_size must be an integer of at least 2, got {batch_size!r}.")
    size = n if batch_size is None else min(int(batch_size), n)
    # A smaller last batch would be an easier task than the others.
    batches = [slice(start, start + size) for start in range(0, n - size + 1, size)]
    # The scorers get the rows as they came, since some use the norms.
    text = Rows(z_txt, "z_txt").source
    return Problem(task.images.source, text, None if task.labels is None else task.labels.numpy(), batches)


def zero_shot_failures(scorer: FailureScorer, problem: Problem) -> NDArray[np.bool_]:
    """Return where the zero-shot prediction is wrong; in a caption task exact ties are right."""
    wrong = []
    for z_img, z_txt in problem.parts():
        predicted = np.asarray(scorer.predict(z_img, z_txt))
        if problem.labels is not None:
            return np.asarray(predicted != problem.labels)
        images, text = Rows(z_img, "z_img"), Rows(z_txt, "z_txt")
        for rows in images.slices():
            # Duplicate captions are common, and predict can return only the first of them.
            lead = text.read(predicted[rows]) - text.read(rows)
            wrong.append(((images.read(rows) * lead).sum(dim=1) > 0).numpy())
    return np.concatenate(wrong)
