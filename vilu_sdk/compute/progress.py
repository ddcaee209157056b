"""One progress bar for all long work, and the one switch that silences it."""

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm.auto import tqdm

from vilu_sdk.compute.distributed import rank

T = TypeVar("T")

_enabled = True


def set_progress(enabled: bool) -> None:
    """Show or silence the progress bars of the whole SDK.

    Bars appear only in a terminal or notebook and only for work that takes longer than a second or
    two. The environment variable ``TQDM_DISABLE=1`` silences them too.

    Parameters
    ----------
    enabled : bool
        False silences every bar until this is called again with True.

    Examples
    --------
    >>> import vilu_sdk
    >>> vilu_sdk.set_progress(False)
    >>> vilu_sdk.set_progress(True)
    """
    global _enabled
    _enabled = bool(enabled)


def track(steps: Iterable[T], what: str) -> Iterator[T]:
    """Iterate over `steps` under a bar that says `what` is going on."""
    if isinstance(steps, Sized) and len(steps) < 2:
        return iter(steps)  # a bar costs more than the scoring of one image
    # disable=None: no bar where the output is not a terminal, so logs stay readable.
    shown = _enabled and rank() == 0  # of processes that work together, one speaks
    return iter(tqdm(steps, desc=what, delay=1.5, leave=False, disable=None if shown else True))
