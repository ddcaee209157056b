"""One writer at a time of an output, a head or a checkpoint; the second is told who the first is.

A lock is a hidden file that goes when the work is done. Of a process that was killed it stays, and the next
one takes it over: what counts is whether the system still holds it for somebody.
"""

import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from vilu_sdk.exceptions import BusyError
from vilu_sdk.inputs.places import brief

#: Seconds that a save waits for another one; a fit and a command do not wait.
PATIENCE = 60.0
# Seconds between two tries, and the bytes that say who holds a lock.
PAUSE, WORDS = 0.01, 300
# How often a folder is made again that goes away under the hands.
TRIES = 100
# Where a disk has no locks, or the folder cannot be written, work goes on without.
WITHOUT = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT)


@contextmanager
def held(target: Path, *, inside: bool = False, patience: float = 0.0) -> Iterator[bool]:
    """Hold a file or a folder against other writers, and say whether that was possible here.

    Parameters
    ----------
    target : pathlib.Path
        What is written.
    inside : bool
        Whether the lock lies in the folder, which is made, and not beside it.
    patience : float
        Seconds to wait for another writer.

    Raises
    ------
    BusyError
        If another process, or thread, holds it for longer.
    """
    lock = target / ".lock" if inside else target.with_name(f".{target.name}.lock")
    until = time.monotonic() + patience
    try:
        while (number := _take_inside(lock) if inside else _take(lock)) is None:
            if time.monotonic() >= until:
                raise BusyError(
                    f"{target} is being written by {_holder(lock)}; wait until that is done, or write into "
                    "another place."
                )
            time.sleep(PAUSE)
    except OSError as error:
        if error.errno not in WITHOUT or (inside and not target.is_dir()):
            raise
        number = -1
    if number is None or number < 0:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            lock.unlink()  # before it is given up, or it could be that of the next one
        os.close(number)


def _holder(lock: Path) -> str:
    with suppress(OSError):
        with lock.open("rb") as file:
            said = file.read(WORDS).decode(errors="replace")
        if said:
            return brief(said, WORDS)
    return "another process"


def _take_inside(lock: Path) -> int | None:
    """Take a lock in a folder that is made for it, and that its last holder may be removing just now."""
    for _ in range(TRIES):
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            return _take(lock)
        except (FileExistsError, FileNotFoundError) as error:
            failed = error
            if error.errno is None or _is_no_folder(lock.parent):
                break
    raise failed


def _is_no_folder(path: Path) -> bool:
    """Whether something else lies there; asked once, since a folder can come and go between two questions."""
    with suppress(FileNotFoundError):
        return not stat.S_ISDIR(os.stat(path).st_mode)
    return False


def _take(lock: Path) -> int | None:
    """Take a lock and return its descriptor: None where another holds it, -1 where the system has none."""
    try:
        import fcntl
    except ImportError:  # on Windows
        return -1

    # Not through a link, and not onto a pipe or a device that somebody has put there.
    number = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise FileExistsError(f"{lock} is no file, so nobody can hold it; remove it.")
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last holder may have removed it while this process waited.
        if os.stat(lock).st_ino != os.fstat(number).st_ino:
            raise BlockingIOError
        os.ftruncate(number, 0)
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        os.write(number, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())
    except (BlockingIOError, FileNotFoundError):
        os.close(number)
        return None
    except BaseException:
        os.close(number)
        raise
    return number
