"""What is scored, what a scorer says of it, and where that is wrong."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.compute.distributed import check_rows
from vilu_sdk.compute.state import plain_torch
from vilu_sdk.inputs.names import NONE
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.task import check_task
from vilu_sdk.inputs.values import whole
from vilu_sdk.metrics.vectors import BoolVector, FloatVector, check_probabilities, check_scores
from vilu_sdk.scorers.base.contract import FailureScorer, read, warn_of_fit_rows
from vilu_sdk.scorers.base.groups import groups_of


class Problem(NamedTuple):
    """Checked rows: images (N, d), candidates, labels (N,) or None, the batches that are scored, groups (N,).

    `told` is whether the groups were given; otherwise exact copies of an image are one. `names` are those of
    the candidates, where they have any.
    """

    images: Any
    text: Any
    labels: NDArray[np.int64] | None
    batches: list[slice]
    groups: Tensor
    told: bool
    names: Sequence[str] | None = None

    def parts(self) -> list[tuple[Any, Any, NDArray[np.int64] | None]]:
        """Return images, candidates and labels, all at once or batch by batch."""
        if self.labels is not None:
            return [(self.images, self.text, self.labels)]
        return [(self.images[batch], self.text[batch], None) for batch in self.batches]

    def take(self, index: NDArray[np.int64]) -> tuple[Any, Any, NDArray[np.int64] | None]:
        """Return images, candidates and labels of some of the rows."""
        if self.labels is None:
            return self.images[index], self.text[index], None
        return self.images[index], self.text, self.labels[index]

    @property
    def truth(self) -> NDArray[np.int64]:
        """Row of the right candidate of each image (N,), or -1; of a caption row its own."""
        return np.arange(len(self.images)) if self.labels is None else self.labels

    def known_groups(self, index: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.int64] | None:
        """Return the groups of some of the rows, by default all, if they were given."""
        return self.groups.numpy()[index] if self.told else None


@dataclass(frozen=True)
class Answers:
    """One scorer's answers to the scored rows, all (N,); `predicted` and `labels` are rows of all candidates.

    Where `is_probability`, the uncertainty is meant as the probability of failure. `accuracies` are those of
    the zero-shot predictions and of the answers, for scorers that have answers of their own. `novelty` is
    there where some images show none of the candidates, which `unknown` says, and the scorer ranks by it.
    """

    predicted: NDArray[np.int64]
    failure: BoolVector
    decision: FloatVector
    uncertainty: FloatVector
    is_probability: bool
    seconds: float
    groups: NDArray[np.int64]
    labels: NDArray[np.int64]
    accuracies: dict[str, float] = field(default_factory=dict)
    unknown: BoolVector | None = None
    novelty: FloatVector | None = None


@plain_torch
def check_problem(z_img: Any, z_txt: Any, labels: Any, batch_size: int | None, groups: Any = None) -> Problem:
    """Check everything that is to be scored, before any time is spent on it."""
    task = check_task(z_img, z_txt, labels, None, groups)
    check_rows(task.images, task.texts)
    n = len(task.images)
    if batch_size is not None and task.labels is not None:
        raise ValueError(
            "batch_size is for caption tasks, where the candidates are the captions of a batch; "
            "with labels, every row is scored against all of z_txt. Leave it out."
        )
    size = n if batch_size is None else min(whole(batch_size, "batch_size", 2), n)
    # A smaller last batch would be an easier task than the others.
    batches = [slice(start, start + size) for start in range(0, n - size + 1, size)]
    # The scorers get the rows as they came, since some use the norms.
    assert task.given is not None
    text, names = Rows(task.given.values, "z_txt").source, task.given.called()
    numbers = None if task.labels is None else task.labels.numpy()
    return Problem(task.images.source, text, numbers, batches, groups_of(task), groups is not None, names)


@plain_torch
def ask(scorer: FailureScorer, problem: Problem) -> Answers:
    """Score all rows, each once."""
    warn_of_fit_rows(scorer, problem.images, "these figures are better than those of new images")
    start = time.perf_counter()
    both = {"zero_shot_accuracy": "zero_shot", "answer_accuracy": "answer"}
    both = both if getattr(scorer, "has_answers", False) else {}
    unknown = None if problem.labels is None else problem.labels == NONE
    more = ["novelty"] if unknown is not None and unknown.any() and hasattr(scorer, "novelty") else []
    columns: list[list[NDArray[Any]]] = []
    first = 0  # of the candidates of a batch
    for z_img, z_txt, labels in problem.parts():
        asked = ("prediction", "decision", "uncertainty", *more, *both.values())
        predicted, decision, uncertainty, *others = read(scorer, z_img, z_txt, *asked)
        novelty, others = others[: len(more)], others[len(more) :]
        task = check_task(z_img, z_txt, labels)
        wrongs = [
            task.wrong(candidates, is_zero_shot=field == ("zero_shot" if both else "prediction"))
            for field, candidates in zip(("prediction", *both.values()), (predicted, *others), strict=True)
        ]
        columns.append([first + predicted, decision, uncertainty, *novelty, *wrongs])
        first += len(predicted)
    seconds = time.perf_counter() - start
    predicted, decision, uncertainty, *rest = map(np.concatenate, zip(*columns, strict=True))
    found, (wrong, *of_both) = rest[: len(more)], rest[len(more) :]
    accuracies = {name: 1 - float(one.mean()) for name, one in zip(both, of_both, strict=True)}
    is_probability = bool(getattr(scorer, "is_probability", False))
    check = check_probabilities if is_probability else check_scores
    decision, uncertainty = check_scores(decision, wrong)[0], check(uncertainty, wrong)[0]
    groups = problem.groups[: len(wrong)].numpy()
    right = problem.truth[: len(wrong)]
    answers = Answers(
        predicted, wrong, decision, uncertainty, is_probability, seconds, groups, right, accuracies
    )
    return replace(answers, unknown=unknown, novelty=check_scores(found[0], wrong)[0] if found else None)
