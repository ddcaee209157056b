"""How the command ends: its exit codes, which error ends with which, and what is said then."""

import errno
import os
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

DONE, NO, USAGE, DATA, MACHINE, EXTRA = range(6)
# As sysexits.h has it, and those of a process that these signals end.
FAULT, INTERRUPTED, BROKEN_PIPE, TERMINATED = 70, 130, 141, 143
#: What each exit code means.
MEANINGS = {
    DONE: "done",
    NO: "no threshold meets the target",
    USAGE: "usage: wrong arguments, or arguments that do not go together",
    DATA: "input: files missing, damaged or changed, a folder of other work, or values that do not fit",
    MACHINE: "machine: disk, permission, memory or network, or another process writes there",
    EXTRA: "an extra of vilu-sdk is not installed",
    FAULT: "a fault of vilu itself (--debug shows where)",
    INTERRUPTED: "interrupted (SIGINT)",
    BROKEN_PIPE: "the reader of the output has stopped",
    TERMINATED: "terminated (SIGTERM)",
}


class UsageError(ValueError):
    """Arguments that do not go together."""


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


@contextmanager
def usage() -> Iterator[None]:
    """Turn the error of a check of arguments, before any file is read, into one of usage."""
    try:
        yield
    except Exception as error:
        if code_of(error) != DATA:
            raise
        raise UsageError(text_of(error)) from error


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` where the process is asked to end, unless someone else listens for that."""
    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def end(*_: Any) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def code_of(error: BaseException) -> int:
    """Return the exit code of an error."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, Terminated):
        return TERMINATED
    # On Windows a pipe that nobody reads is an invalid argument.
    is_invalid = isinstance(error, OSError) and error.errno == errno.EINVAL and error.filename is None
    if isinstance(error, BrokenPipeError) or (is_invalid and sys.platform == "win32"):
        return BROKEN_PIPE
    if isinstance(error, UsageError | NotImplementedError):
        return USAGE
    if isinstance(error, ImportError):
        return EXTRA
    # What a user has named and is not there is input; these have no number from the operating system.
    missing = FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError
    if isinstance(error, ValueError | TypeError) or (isinstance(error, missing) and error.errno is None):
        return DATA
    from vilu_sdk.exceptions import BusyError, ProcessDiedError

    return MACHINE if isinstance(error, OSError | MemoryError | ProcessDiedError | BusyError) else FAULT


def message_of(error: BaseException, arguments: Namespace) -> str:
    """Return what is said of an error, in one line of a sensible length."""
    code = code_of(error)
    if code in (INTERRUPTED, TERMINATED):
        return f"{MEANINGS[code].partition(' ')[0]}; {_kept(arguments)[1]}."
    text = text_of(error)
    if code == FAULT or not text:
        text = f"{type(error).__name__}: {text} (--debug shows where)"
    elif isinstance(error, OSError) and error.errno is not None:
        place = error.filename if error.filename is not None else "standard output"
        text = f"{place}: {(error.strerror or text).lower()}; {_remedy(error, arguments)}."
    from vilu_sdk.inputs.places import cut

    return cut(text)


def text_of(error: BaseException) -> str:
    """Return an error and its notes in one line."""
    return " ".join(" ".join([str(error), *getattr(error, "__notes__", [])]).split())


def give_up_output() -> None:
    """Send the rest of the output nowhere, or the flush when the interpreter ends would fail too."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _remedy(error: OSError, arguments: Namespace) -> str:
    from vilu_sdk.inputs.remote import DISK_FULL  # not before it is needed

    if error.errno in DISK_FULL:
        kept, again = _kept(arguments)
        return f"{kept}: make room, and {again}, or name another place"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        first = "close what has it open, " * (sys.platform == "win32")
        return f"{first}get permission to it, or name another place"
    return "check it, or name another place"


def _kept(arguments: Namespace) -> tuple[str, str]:
    """Return what is kept of a command that was stopped, and how to go on."""
    given = vars(arguments)
    if given.get("command") == "fit" and given["checkpoint"] is not None:
        return "its checkpoint is kept", "the same command goes on from its checkpoint"
    if "piece_rows" in given and given["output"] != "-":
        return "finished pieces are kept", "the same command goes on after the pieces that are done"
    if given.get("keep") is not None:
        return "finished cells are kept", "the same command goes on after the cells that are done"
    return "what was there is as it was", "give the same command again"
