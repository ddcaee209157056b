"""Work on what comes next in a thread, while what is there is used."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
U = TypeVar("U")


def one_ahead(function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """Map `function` over items in a thread that is at work on the next while one is used."""
    with ThreadPoolExecutor(1) as thread:
        threads = torch.get_num_threads()
        thread.submit(_without_team).result()
        torch.set_num_threads(threads)  # which is also what threads made later start with
        ready: Future[U] | None = None
        for item in items:
            following = thread.submit(function, item)
            if ready is not None:
                yield ready.result()
            ready = following
        if ready is not None:
            yield ready.result()


def _without_team() -> None:
    """Keep torch in this thread to one core."""
    # A second team of OpenMP threads makes the first sleep at every barrier instead of spinning, which halves
    # the rate of training.
    torch.get_num_threads()  # or the first operation would set the number of new threads after all
    torch.set_num_threads(1)
