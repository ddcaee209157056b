"""How far long work is: a bar on terminals and in notebooks, elsewhere lines of a log; and their switch."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, TypeVar

from tqdm.auto import tqdm

from vilu_sdk.compute.distributed import rank
from vilu_sdk.inputs.values import flag

T = TypeVar("T")

#: Seconds between two lines of the log.
EVERY_SECONDS = 30.0
LOG = logging.getLogger("vilu_sdk.progress")

_enabled = True


def set_progress(enabled: bool) -> None:
    """Show or silence the progress of long work, in the whole process.

    In a terminal or notebook bars appear, for work that takes longer than a second or two. Elsewhere the
    logger ``vilu_sdk.progress`` gets a line of level INFO every 30 seconds, with the rows that are done,
    their rate and the time left. The environment variable ``TQDM_DISABLE=1`` silences the bars too.

    Parameters
    ----------
    enabled : bool
        False silences bars and lines until this is called again with True.

    Raises
    ------
    TypeError
        If it is neither True nor False.

    Examples
    --------
    >>> import vilu_sdk
    >>> vilu_sdk.set_progress(False)
    >>> vilu_sdk.set_progress(True)
    """
    global _enabled
    _enabled = flag(enabled, "enabled")


def bars_are_shown() -> bool:
    """Whether there are bars: nobody silenced them, and somebody sees them."""
    if not _enabled or os.environ.get("TQDM_DISABLE", "0").lower() not in ("", "0", "false"):
        return False
    with tqdm(disable=None, delay=9) as bar:  # none where the output is no terminal
        return not bar.disable


def track(steps: Iterable[T], what: str) -> Iterator[T]:
    """Iterate over `steps`, and show as a bar or as lines of the log how far it is with `what`."""
    if isinstance(steps, Sized) and len(steps) < 2:
        return iter(steps)  # a bar costs more than the scoring of one image
    if not _enabled or rank() != 0:  # of processes that work together, one speaks
        return iter(steps)
    if bars_are_shown():
        return iter(tqdm(steps, desc=what, delay=1.5, leave=False))
    return _logged(steps, what) if LOG.isEnabledFor(logging.INFO) else iter(steps)


def _logged(steps: Iterable[T], what: str) -> Iterator[T]:
    """Iterate over steps, and log every so often how far it is."""
    count: Callable[[Any], int] = _rows
    total = None
    if isinstance(steps, Sequence):
        total = sum(map(count, steps))
    elif isinstance(steps, Sized):
        count, total = _one, len(steps)
    start = said = time.monotonic()
    done = 0
    for step in steps:
        yield step
        done += count(step)
        now = time.monotonic()
        if now - said >= EVERY_SECONDS or (done == total and said > start):
            said = now
            _say(what, done, total, now - start)


def _say(what: str, done: int, total: int | None, seconds: float) -> None:
    rate = done / max(seconds, 1e-9)
    shown = f"{rate:,.0f} a second" if rate >= 10 else f"{rate:.2g} a second"
    fields = {"work": what, "done": done, "rate": round(rate, 3), "seconds": round(seconds, 1)}
    if total is None:
        LOG.info("%s: %s done, %s", what, f"{done:,}", shown, extra={"fields": fields})
        return
    left = (total - done) / max(rate, 1e-9)
    LOG.info(
        *("%s: %s of %s done (%d %%), %s, %s left", what, f"{done:,}", f"{total:,}", 100 * done // total),
        *(shown, _duration(left)),
        extra={"fields": fields | {"total": total, "seconds_left": round(left, 1)}},
    )


def _rows(step: Any) -> int:
    """Return how many rows a step is of: a slice, or a piece that has them; anything else counts as one."""
    if isinstance(step, slice):
        return int(step.stop - step.start)
    return len(step.rows) if hasattr(step, "rows") else 1


def _one(step: Any) -> int:
    return 1


def _duration(seconds: float) -> str:
    """Return a time in its largest units.

    >>> [_duration(seconds) for seconds in (7.2, 130, 7320)]
    ['7 s', '2 min 10 s', '2 h 2 min']
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
