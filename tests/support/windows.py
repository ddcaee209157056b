"""This process as Windows has it, as far as Linux can play that: what is missing there, and what it forbids.

Files that are open or mapped are neither replaced nor removed, names hold no colon and do not end in a dot,
names that differ in their case alone are one. Only Windows itself shows all of it.
"""

import mmap
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

# What the modules of Windows lack, of what is used by anything here.
MISSING = {
    os: ("fork", "mkfifo", "preadv", "pread", "geteuid", "getuid", "sched_getaffinity", "killpg", "setsid"),
    signal: ("SIGKILL", "SIGPIPE", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGSTOP"),
    mmap: ("MADV_DONTNEED", "MADV_SEQUENTIAL", "MADV_WILLNEED"),
}
FLAGS = ("O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_SYNC")
MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "pty")
FORBIDDEN = set('<>:"|?*\\') | set(map(chr, range(32)))
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}


def install(folder: Path) -> None:
    """From now on this process has only what Windows has, and may do in a folder what Windows allows."""
    for module, names in MISSING.items():
        for name in names:
            delattr(module, name)
    for name in FLAGS:
        delattr(os, name)
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    root = os.path.realpath(folder)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        paths: tuple[Any, ...] = ()
        if event in ("os.rename", "os.remove", "os.rmdir"):
            paths = arguments[:2] if event == "os.rename" else arguments[:1]
        is_new = event == "os.mkdir" or (event == "open" and isinstance(arguments[2], int))
        if is_new and (event == "os.mkdir" or arguments[2] & os.O_CREAT):
            paths = arguments[:1]
        for path in paths:
            if isinstance(path, str | os.PathLike) and _is_in(os.fspath(path), root):
                (_check_name if is_new else _refuse_open)(os.path.realpath(path))
        if event == "os.rename" and paths:
            _check_name(os.path.realpath(paths[1]))

    sys.addaudithook(audit)


def _is_in(path: str, root: str) -> bool:
    return os.path.realpath(path).startswith(root + os.sep)


def _refuse_open(path: str) -> None:
    """Raise as Windows does where this process has a file open, or a map of it."""
    opened = []
    for number in os.listdir("/proc/self/fd"):
        try:
            opened.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # that of the list itself
            continue
    with open("/proc/self/maps", encoding="utf-8") as maps:
        mapped = any(line.rstrip("\n").endswith(f" {path}") for line in maps)
    if path in opened or mapped:
        raise PermissionError(13, "the file is open (as if on Windows)", path)


def _check_name(path: str) -> None:
    folder, name = os.path.split(path)
    if set(name) & FORBIDDEN or name.endswith((".", " ")) or name.partition(".")[0].upper() in RESERVED:
        raise OSError(22, "no name for a file (as if on Windows)", path)
    others = [other for other in os.listdir(folder) if other != name and other.lower() == name.lower()]
    if others:
        raise OSError(22, f"the same as {others[0]} (as if on Windows)", path)
