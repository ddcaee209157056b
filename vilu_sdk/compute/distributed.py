"""Fitting in several processes at once: who reads which rows, and sums over all of them.

Only inside `process_group` do processes know of each other. Everywhere else each of them is the only one, and
what is here costs nothing.
"""

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor, distributed

from vilu_sdk.exceptions import ProcessDiedError
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.values import positive
from vilu_sdk.numerals import from_environment

T = TypeVar("T")

# Number of this process in the group, how many there are, and the group; None is that of torch.distributed.
_rank, _size = 0, 1
_group: Any = None
# Where the processes that torchrun has started find each other, with their numbers, and how often they did.
_meeting: tuple[Any, int, int] | None = None
_meetings = 0


@contextmanager
def process_group(timeout: float = 600.0) -> Iterator[None]:
    """Let the fits inside share their work with the other processes that torchrun has started.

    Started by torchrun, it connects the processes: by gloo, and by nccl where there is CUDA. Processes that
    torch.distributed has connected already get a group beside theirs. Without either it does nothing, so
    that one script serves both.

    Every process must make the same calls of `fit` and `adapt`, with the whole data. Each reads its own part
    and ends with the same scorer, that of one process up to the order of summation. Other verbs work on
    their own in each process.

    Parameters
    ----------
    timeout : float
        Seconds, above 0, after which a process that does not answer counts as dead.

    Raises
    ------
    ProcessDiedError
        In `fit` and `adapt`, where another process has died.
    ValueError, TypeError
        If the timeout is not a number above 0.
    RuntimeError
        If torch was built without torch.distributed.

    Notes
    -----
    Progress bars and warnings of the kind ``UserWarning`` come from rank 0 alone.

    Examples
    --------
    >>> from vilu_sdk import LVUScorer
    >>> from vilu_sdk.datasets import load_digits_vlm
    >>> from vilu_sdk.scale import process_group, rank
    >>> data = load_digits_vlm()
    >>> with process_group():
    ...     scorer = LVUScorer(epochs=1).fit(data.z_img_fit, data.z_txt, data.labels_fit)
    >>> rank()
    0
    """
    global _rank, _size, _group
    limit = timedelta(seconds=positive(timeout, "timeout"))
    joins = distributed.is_available() and distributed.is_initialized()
    starts = not joins and from_environment("WORLD_SIZE", 1, 1) > 1
    if not (joins or starts) or _size > 1:
        yield
        return
    if not distributed.is_available():
        raise RuntimeError("fitting in several processes needs a torch that has torch.distributed.")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if starts:
        _connect(backend, limit)
    else:
        _group = distributed.new_group(backend=backend, timeout=limit)
    _rank, _size = distributed.get_rank(), distributed.get_world_size()
    try:
        with _told_to_end(), catch_warnings():
            if _rank:
                simplefilter("ignore", UserWarning)
            yield
    finally:
        distributed.destroy_process_group(_group)
        _rank, _size, _group = 0, 1, None


def rank() -> int:
    """Return the number of this process, from 0; 0 without torchrun.

    Use it where one process acts for all: ``if rank() == 0: scorer.save_pretrained(folder)``.
    """
    return _rank if _size > 1 else from_environment("RANK", 0)


def world_size() -> int:
    """Return how many processes share the fits; 1 outside of `process_group`."""
    return _size


def leads() -> bool:
    """Whether this process writes files for the group; True where there is none."""
    return _rank == 0


def own_rows(rows: Rows) -> slice:
    """Return the consecutive rows that this process reads: whole files or row groups if there are enough."""
    n = len(rows)
    if _size == 1:
        return slice(0, n)
    ends = torch.tensor([0, *(block.stop for block in rows.blocks(n))])
    cuts = [n * number // _size for number in (_rank, _rank + 1)]
    if len(ends) > _size:
        cuts = [int(ends[(ends - cut).abs().argmin()]) for cut in cuts]
    return slice(*cuts)


def own_slices(rows: Rows, width: int = 0) -> list[slice]:
    """Cut the rows that this process reads as `Rows.slices` does."""
    own, step = own_rows(rows), rows.slices(width)[0].stop
    return [slice(start, min(start + step, own.stop)) for start in range(own.start, own.stop, step)]


def positions(index: Tensor, part: slice) -> Tensor:
    """Return where in `index` (n,) the rows of a part are."""
    return torch.nonzero((index >= part.start) & (index < part.stop))[:, 0]


def read(rows: Rows, index: slice | Tensor | None = None) -> Tensor:
    """Read rows (all by default), each process its own, and give them to all."""
    if _size == 1:
        return rows.read(index)
    if not isinstance(index, Tensor):
        index = torch.arange(*(index or slice(None)).indices(len(rows)))
    at = positions(index, own_rows(rows))
    return share(rows.read(index[at]), at, len(index))


def check_rows(*sources: Rows) -> None:
    """Read all rows, each process its own, so that bad ones are reported."""
    for rows in sources:
        for index in own_slices(rows):
            rows.read(index)


def share(part: Tensor, at: Tensor, n: int) -> Tensor:
    """Put together n rows, of which each process has those at some positions."""
    whole = part.new_zeros(n, *part.shape[1:])
    whole[at] = part
    add_up(whole)
    return whole


def add_up(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over the processes."""
    if _size > 1:
        for tensor in tensors:
            _talk(distributed.all_reduce, tensor, group=_group)


def from_first(function: Callable[[], T]) -> T:
    """Call a function in rank 0 alone, and return its result, or raise its error, in all processes."""
    if _size == 1:
        return function()
    answer: list[Any] = [None, None]
    if _rank == 0:
        try:
            answer[0] = function()
        except Exception as error:
            answer[1] = error
    _talk(distributed.broadcast_object_list, answer, group=_group)
    if answer[1] is not None:
        raise answer[1]
    result: T = answer[0]
    return result


def from_all(value: T) -> list[T]:
    """Return the values of all processes, by rank."""
    values: list[Any] = [value] * _size
    if _size > 1:
        _talk(distributed.all_gather_object, values, value, group=_group)
    return values


def _connect(backend: str, timeout: timedelta) -> None:
    """Connect the processes, every time by names of their own, since a store keeps those of the last time."""
    global _meeting, _meetings
    _meeting = _meeting or next(distributed.rendezvous("env://", timeout=timeout))  # type: ignore[attr-defined]
    _meetings += 1
    store, number, size = _meeting
    store = distributed.PrefixStore(f"vilu_sdk/{_meetings}", store)  # type: ignore[attr-defined]
    distributed.init_process_group(backend, store=store, rank=number, world_size=size, timeout=timeout)


def _talk(operation: Callable[..., Any], *args: Any, **more: Any) -> None:
    """Do what needs all processes, and say so where one is missing."""
    try:
        operation(*args, **more)
    except RuntimeError as error:
        _die(re.sub(r"^\[[^]]*\] ", "", str(error)).partition(". ")[0])


def _die(reason: str) -> NoReturn:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it while the error is on its way
    raise ProcessDiedError(
        f"another of the {_size} processes of this fit has died or does not answer (this is rank {_rank}: "
        f"{reason})."
    ) from None


@contextmanager
def _told_to_end() -> Iterator[None]:
    """Make an error of SIGTERM, by which torchrun ends the others when one process has died."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: _die("it was told to end by SIGTERM"))
    try:
        yield
    except ProcessDiedError:
        raise
    except BaseException:
        signal.signal(signal.SIGTERM, before)
        raise
    signal.signal(signal.SIGTERM, before)
