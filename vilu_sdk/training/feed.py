"""Batches of a task in random order, from memory or from files, for one process or several."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from vilu_sdk.compute.device import CPU
from vilu_sdk.compute.distributed import own_rows, positions, share, world_size
from vilu_sdk.compute.prefetch import one_ahead
from vilu_sdk.inputs.task import Batch, Task
from vilu_sdk.training.views import Views

# Elements of the rows that are in memory of those on disk, at most twice: 256 MB in float32.
BUFFER_ELEMENTS = 1 << 26
# Elements of a block of consecutive rows: reads of 64 KB in float16, of which a buffer holds 2,048.
BLOCK_ELEMENTS = 1 << 15


class Portion(NamedTuple):
    """Batches that are cut from some rows."""

    epoch_state: Tensor  # of the generator when their epoch began
    task: Task
    own: slice  # rows among them that this process has
    first: int  # row of `task` that is the first of them
    batches: list[Tensor]


class Feed:
    """The batches of all epochs, drawn anew in each; rows left over by an epoch's last batch are dropped.

    Rows in memory are shuffled all together. Of rows on disk, random blocks fill a buffer, whose rows are
    shuffled while a thread fills the next; less than a buffer is loaded. Without a generator rows keep
    their order. Processes that fit together draw the same batches, and each yields its own rows of them.
    """

    shared = True

    def __init__(
        self,
        task: Task,
        batch_size: int,
        epochs: int,
        generator: torch.Generator | None,
        device: torch.device = CPU,
        view_noise: float = 0.0,
    ) -> None:
        self._n = n = len(task.images)
        self._size = min(batch_size, n)
        self._views = Views(task, view_noise, generator)
        width = task.images.d * (task.views_of_each + task.is_caption)
        # A multiple of the batch, so that no batch is cut in two.
        self._capacity = max(1, BUFFER_ELEMENTS // width // self._size) * self._size
        self._streams = task.on_disk and n > self._capacity
        self._own = own_rows(task.images)
        loads = task.on_disk and not self._streams
        self._task = _load([self._own], task) if loads else task
        self._first = 0 if loads else self._own.start
        self._epochs = epochs
        self._generator = generator
        self._device = device
        self.steps = n // self._size
        self._done = 0
        self._epoch_state = self._generator_state()

    def __len__(self) -> int:
        return self._epochs * self.steps - self._done

    def __iter__(self) -> Iterator[Batch]:
        portions = one_ahead(self._load, self._plan()) if self._streams else map(self._load, self._plan())
        here = there = torch.empty(0)
        step = self._done
        for portion in portions:
            self._epoch_state = portion.epoch_state
            for rows in portion.batches:
                batch = self._batch(portion, rows, step)
                step += 1
                if batch.text is not here:  # candidates that do not change are moved once
                    here, there = batch.text, batch.text.to(self._device)
                yield batch.to(self._device, there)

    def state(self) -> dict[str, Tensor]:
        """Return the state of the generator when the epoch under way began."""
        return {"order": self._epoch_state, "views": self._views.seed}

    def go_on(self, done: int, state: dict[str, Tensor]) -> None:
        """Leave out the batches that were `done` when `state` was kept."""
        self._done = done
        if self._generator is not None:
            self._generator.set_state(state["order"])
        self._views.seed = state["views"]

    def _plan(self) -> Iterator[tuple[Tensor, list[slice] | None, list[Tensor]]]:
        """Yield each portion's generator state, the rows to load (None: all) and its batches of them."""
        # The epoch of the last batch that was done is drawn again, whether or not one is left of it.
        first = max(0, self._done - 1) // self.steps
        skip = self._done - first * self.steps
        for _ in range(first, self._epochs):
            state = self._generator_state()
            for parts in self._buffers() if self._streams else (None,):
                n = self._n if parts is None else _count(parts)
                order = self._permutation(n)
                batches = [order[i * self._size : (i + 1) * self._size] for i in range(n // self._size)]
                if skip < len(batches):
                    yield state, parts, batches[skip:]
                skip = max(0, skip - len(batches))

    def _buffers(self) -> Iterator[list[slice]]:
        """Yield the rows of each buffer of an epoch, in blocks that are ascending for a fast read."""
        blocks = self._task.images.blocks(max(1, BLOCK_ELEMENTS // self._task.images.d))
        held: list[slice] = []
        room = self._capacity
        for i in self._permutation(len(blocks)).tolist():
            start = blocks[i].start
            while start < blocks[i].stop:
                stop = min(blocks[i].stop, start + room)
                held.append(slice(start, stop))
                room -= stop - start
                start = stop
                if not room:
                    yield sorted(held, key=lambda part: part.start)
                    held, room = [], self._capacity
        if held:
            yield sorted(held, key=lambda part: part.start)

    def _load(self, planned: tuple[Tensor, list[slice] | None, list[Tensor]]) -> Portion:
        state, parts, batches = planned
        if parts is None:
            return Portion(state, self._task, self._own, self._first, batches)
        own = _overlaps(parts, self._own)
        before = _count(_overlaps(parts, slice(0, self._own.start)))
        return Portion(state, _load(own, self._task), slice(before, before + _count(own)), 0, batches)

    def _batch(self, portion: Portion, rows: Tensor, step: int) -> Batch:
        """Return the part of a batch, rows of a portion, that this process has."""
        views, task = self._views, portion.task
        drawn = views.draw(step, len(rows)) if views.changes else None
        shared = world_size() > 1
        at = positions(rows, portion.own) if shared else torch.arange(len(rows))
        own = rows[at] - portion.own.start + portion.first if shared else rows
        batch = task.batch(own) if drawn is None else views.batch(task, own, drawn[at])
        if not (shared and task.is_caption):
            return batch
        return replace(batch, text=share(batch.text, at, len(rows)), labels=at)

    def _permutation(self, n: int) -> Tensor:
        return torch.arange(n) if self._generator is None else torch.randperm(n, generator=self._generator)

    def _generator_state(self) -> Tensor:
        return torch.empty(0) if self._generator is None else self._generator.get_state()


def _load(parts: list[slice], task: Task) -> Task:
    """Return the rows of some slices in memory, or the task itself where there are none to read."""
    return task.load(parts) if _count(parts) else task


def _overlaps(parts: list[slice], own: slice) -> list[slice]:
    """Return the parts cut to `own`."""
    cut = [slice(max(part.start, own.start), min(part.stop, own.stop)) for part in parts]
    return [part for part in cut if part.start < part.stop]


def _count(parts: list[slice]) -> int:
    return sum(part.stop - part.start for part in parts)
