"""What an epoch sees of an image where that changes: one of its views, moved by noise of its class."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vilu_sdk.compute.distributed import read
from vilu_sdk.inputs.names import NONE
from vilu_sdk.inputs.task import Batch, Task

# Images at most whose differences are the noise.
BANK = 25_000


class Views:
    """Random views of images and noise on them, drawn anew in every step.

    All numbers of a step come from its own seed, so that a fit that goes on, and processes that share a
    batch, draw what one process would have drawn without a stop.
    """

    def __init__(self, task: Task, noise: float, generator: torch.Generator | None) -> None:
        self._count = task.views_of_each
        self._moved = _noise(task, noise) if noise else None
        self.seed = torch.zeros((), dtype=torch.int64)
        if self.changes and generator is not None:
            self.seed = torch.randint(2**31 - 1, (), generator=generator)

    @property
    def changes(self) -> bool:
        """Whether there is anything to draw."""
        return self._count > 1 or self._moved is not None

    def draw(self, step: int, n: int) -> Tensor:
        """Return numbers in [0, 1) for a batch of n rows (n, 3): of the view and of two images."""
        return torch.rand(n, 3, generator=torch.Generator().manual_seed(int(self.seed) + step))

    def batch(self, task: Task, rows: Tensor, drawn: Tensor) -> Batch:
        """Read rows of a task as the numbers that were drawn for them (n, 3) want to see them."""
        batch = task.batch(rows, (drawn[:, 0] * self._count).long())
        return batch if self._moved is None else replace(batch, z=self._moved(batch, drawn[:, 1:]))


def _noise(task: Task, level: float) -> Callable[[Batch, Tensor], Tensor]:
    """Return a function that moves images by the difference of two random ones of their class."""
    if task.labels is None:
        raise ValueError("view_noise moves images within their classes; pass `labels`, or use view_noise=0.")
    n = len(task.images)
    rows = torch.linspace(0, n - 1, min(n, BANK), dtype=torch.float64).long()
    rows = rows[torch.argsort(task.labels[rows], stable=True)]
    rows = rows[task.labels[rows] != NONE]
    images, counts = read(task.images, rows), torch.bincount(task.labels[rows], minlength=len(task.text))
    starts = counts.cumsum(0) - counts

    def moved(batch: Batch, drawn: Tensor) -> Tensor:
        assert batch.labels is not None
        labels = batch.labels.clamp_min(0)
        known = (counts[labels] > 0) & (batch.labels != NONE)
        # Rounding may make the number 1, and the row the next class's first.
        offsets = (drawn * counts[labels, None]).long().minimum(counts[labels, None] - 1)
        pairs = images[(starts[labels, None] + offsets) * known[:, None]]
        # Two images differ by twice the variance of one.
        difference = (pairs[:, 0] - pairs[:, 1]) * known[:, None] * (level / 2**0.5)
        return normalize(batch.z + difference, dim=1)

    return moved
