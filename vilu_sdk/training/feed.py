"""Batches of a task in random order, from memory or from files, for one process or several."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import own_rows, positions, share, world_size
from vilu_sdk.compute.prefetch import one_ahead
from vilu_sdk.inputs.task import Batch, Task

# Elements of the rows that are in memory of those on disk, at most twice: 256 MB in float32.
BUFFER_ELEMENTS = 1 << 26
# Elements of a block of consecutive rows: reads of 64 KB in float16, of which a buffer holds 2,048.
BLOCK_ELEMENTS = 1 << 15


class Portion(NamedTuple):
    """Batches that are cut from some rows, and the state of the generator when their epoch began.

    `own` are the rows among them that this process has, the first of them in row `first` of `task`.
    """

    epoch_state: Tensor
    task: Task
    own: slice
    first: int
    batches: list[Tensor]


class Feed:
    """The batches of all epochs, drawn anew in each; what is left of an epoch's rows is dropped.

    Rows in memory are shuffled all together. Of rows on disk, blocks are: random ones fill a buffer, whose
    rows are then shuffled, while a thread fills the next. What fits into one buffer is loaded and counts as
    in memory.

    Processes that fit together draw the same batches, and each reads and yields the rows of them that are
    its own. The captions among which they are told apart are those of the whole batch.

    Parameters
    ----------
    task : Task
    batch_size : int
        Rows of a batch; all of them where there are fewer.
    epochs : int
    generator : torch.Generator or None
        Draws the order; None keeps the rows in theirs.

    Attributes
    ----------
    steps : int
        Batches of an epoch.
    done : int
        Batches to leave out, set before the iteration to go on with one that was cut short.
    epoch_state : Tensor
        State of the generator when the epoch under way began, to be set before going on.
    """

    def __init__(self, task: Task, batch_size: int, epochs: int, generator: torch.Generator | None) -> None:
        self._n = n = len(task.images)
        self._size = min(batch_size, n)
        width = task.images.d * (2 if task.is_caption else 1)
        # A multiple of the batch, so that no batch is cut in two.
        self._capacity = max(1, BUFFER_ELEMENTS // width // self._size) * self._size
        self._streams = task.on_disk and n > self._capacity
        self._own = own_rows(task.images)
        loads = task.on_disk and not self._streams
        self._task = _load([self._own], task) if loads else task
        self._first = 0 if loads else self._own.start
        self._epochs = epochs
        self._generator = generator
        self.steps = n // self._size
        self.done = 0
        self.epoch_state = self._state()

    def __len__(self) -> int:
        return self._epochs * self.steps - self.done

    def __iter__(self) -> Iterator[Batch]:
        portions = one_ahead(self._load, self._plan()) if self._streams else map(self._load, self._plan())
        for portion in portions:
            self.epoch_state = portion.epoch_state
            for rows in portion.batches:
                yield _batch(portion, rows)

    def _plan(self) -> Iterator[tuple[Tensor, list[slice] | None, list[Tensor]]]:
        """Yield what the portions are made of: state, rows to load or None for all, and batches of them."""
        # The epoch of the last batch that was done is drawn again, whether or not one is left of it.
        first = max(0, self.done - 1) // self.steps
        skip = self.done - first * self.steps
        for _ in range(first, self._epochs):
            state = self._state()
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

    def _permutation(self, n: int) -> Tensor:
        return torch.arange(n) if self._generator is None else torch.randperm(n, generator=self._generator)

    def _state(self) -> Tensor:
        return torch.empty(0) if self._generator is None else self._generator.get_state()


def _batch(portion: Portion, rows: Tensor) -> Batch:
    """Return what this process has of a batch of a portion's rows."""
    if world_size() == 1:
        return portion.task.batch(rows)
    at = positions(rows, portion.own)
    batch = portion.task.batch(rows[at] - portion.own.start + portion.first)
    if not portion.task.is_caption:
        return batch
    return replace(batch, text=share(batch.text, at, len(rows)), labels=at)


def _load(parts: list[slice], task: Task) -> Task:
    """Return the rows of some slices in memory; where there are none, a task of which none is ever read."""
    return task.load(parts) if _count(parts) else task


def _overlaps(parts: list[slice], own: slice) -> list[slice]:
    """Return what of the parts lies in `own`."""
    cut = [slice(max(part.start, own.start), min(part.stop, own.stop)) for part in parts]
    return [part for part in cut if part.start < part.stop]


def _count(parts: list[slice]) -> int:
    return sum(part.stop - part.start for part in parts)
