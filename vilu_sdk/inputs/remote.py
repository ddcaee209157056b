"""Addresses of object stores and web servers, such as ``s3://bucket/z.npy``, as files: the extra ``remote``.

What is read is copied whole into a cache, once for each version that the store tells apart; what is written
is uploaded whole. Everything else in the package works on files. No password and no signature of an address
gets into a name of the cache or into a message.
"""

import atexit
import errno
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import has_magic
from ipaddress import IPv6Address
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Any
from uuid import uuid4

from vilu_sdk.inputs.escape import HOST_NUMBER, has_stray_marks, masked, secrets_of
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.places import brief
from vilu_sdk.inputs.stored import replace
from vilu_sdk.numerals import from_environment

# At least two letters, which tells a protocol from a drive; others may be chained before it, as in fsspec.
_PROTOCOL = r"[A-Za-z][A-Za-z0-9+.-]+"
_ADDRESS = re.compile(rf"(?:{_PROTOCOL}::)*{_PROTOCOL}://")
_WEB = re.compile(rf"(?:{_PROTOCOL}::)*https?://", re.IGNORECASE)
# A number of a host, in which two colons stand for zeros, perhaps with a zone.
_HOST = re.compile(rf"(?<=[/@])\[({HOST_NUMBER})\]")
#: Separates a file from the array, tensor or column in it.
SEPARATOR = "::"
_SEPARATES = re.compile(rf"{SEPARATOR}(?!(?:{_PROTOCOL}::)*{_PROTOCOL}://)")
#: Errors of a disk without room.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What is said of a file in a store that does not tell one version of it from the next.
_NO_VERSION = {"name", "size", "type", "url", "mimetype", "partial", "Key"}
#: The variable that says how many GB the cache may hold, how many it may by default, and for how many seconds
#: a copy that was opened stays, however many there are.
ROOM, USUAL_ROOM, STAYS = "VILU_CACHE_GB", 50, 86_400.0
# Copies of what has no version, by what is said of it; they go with the process.
_OF_PROCESS: dict[str, Path] = {}
_LOCK = threading.Lock()


def is_remote(name: Any) -> bool:
    """Whether a name is an address and no path."""
    return isinstance(name, str) and _ADDRESS.match(name) is not None


def split_name(spec: str) -> tuple[str, str]:
    """Return a path or an address, and what is behind ``::``: the name of an array or a column in it.

    Examples
    --------
    >>> split_name("z.npz::images"), split_name("http://[::1]:8000/z.npz::images")
    (('z.npz', 'images'), ('http://[::1]:8000/z.npz', 'images'))
    >>> split_name("simplecache::https://host/z.npz")
    ('simplecache::https://host/z.npz', '')
    """
    if not (found := _ADDRESS.match(spec)):
        path, _, inside = spec.partition(SEPARATOR)
        return path, inside
    hidden = _HOST.sub(lambda host: host[0].replace(SEPARATOR, "\0"), spec)
    own, *name = _SEPARATES.split(hidden[found.end() :], maxsplit=1)
    return found[0] + own.replace("\0", SEPARATOR), "".join(name)


def _spelled_out(found: re.Match[str]) -> str:
    """Return the number of a host without two colons in a row."""
    number, *zone = found[1].partition("%")
    try:
        return f"[{IPv6Address(number).exploded}{''.join(zone)}]"
    except ValueError:
        return found[0]


def local(address: str, names: Sequence[str] | None = None) -> Path:
    """Return a copy of the file or folder at an address, of a folder of the files in it with these names.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    PermissionError, ConnectionError
        If the store refuses, or cannot be reached.
    ImportError
        If fsspec, or its part for this store, is not installed.
    """
    with _reaching(address):
        system, path = _opened(address)
        # A name with a suffix is a file, as in a store there may be both.
        is_file = names is None and bool(Path(_place(path)).suffix) and system.isfile(path)
        if is_file:
            items = [system.info(path)]
        elif names is None:
            items = [item for item in system.ls(path, detail=True) if item["type"] == "file"]
        else:
            place, query = _place(path), path[len(_place(path)) :]
            paths = [f"{place.rstrip('/')}/{name}{query}" for name in names]
            items = [system.info(one) for one in paths if system.exists(one)]
        found = {item["name"]: item for item in items}
        if not found:
            raise FileNotFoundError
    folder = _copied(address, system, found)
    return folder / _name(path) if is_file else folder


def is_pattern(name: str) -> bool:
    """Whether a name has wildcards; the question mark of a web address begins its query."""
    return has_magic(_place(name).partition("://")[2].partition("/")[2] if is_remote(name) else name)


def names_at(address: str) -> list[str]:
    """Return what is in the folder at an address, nothing where there is none."""
    with _reaching(address):
        system, path = _opened(address)
        try:
            found = system.ls(path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [_name(str(one).rstrip("/")) for one in found]


def matching(address: str) -> list[str]:
    """Return the addresses that a pattern matches."""
    with _reaching(address):
        system, path = _opened(address)
        return [str(system.unstrip_protocol(found)) for found in system.glob(path)]


def require_writable(address: str) -> None:
    """Raise where nothing can be written to addresses of this kind, before the work that is to be written."""
    with _reaching(address):
        system, _ = _opened(address)
        system = getattr(system, "fs", system)  # what a cache of fsspec is of
        if not system.protocol or "http" in system.protocol:
            raise PermissionError


def upload(file: Path, address: str) -> None:
    """Write a file to an address."""
    require_writable(address)
    with _reaching(address):
        system, path = _opened(address)
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.put_file(os.fspath(file), path)


def _copied(address: str, system: Any, found: dict[str, dict[str, Any]]) -> Path:
    """Copy files into a folder that is of this version of them, and return it."""
    said = json.dumps(found, sort_keys=True, default=str)
    home = None
    if all(item.keys() - _NO_VERSION for item in found.values()):
        home = Path(_home()) / "copies"
        place = re.sub(r"[^\w.-]", "_", masked(address).partition("?")[0])[:100]
        folder = home / f"{place}-{hashlib.sha256(said.encode()).hexdigest()[:16]}"
    else:  # the next process cannot tell whether it is the same
        with _LOCK:
            if said not in _OF_PROCESS:
                with _own_disk(Path(gettempdir())):
                    _OF_PROCESS[said] = Path(mkdtemp(prefix="vilu-"))
                atexit.register(_remove, _OF_PROCESS[said], os.getpid())
            folder = _OF_PROCESS[said]
    with _own_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        os.utime(folder)  # by which it is known when it was opened last
    lacking = {}
    for name, item in found.items():
        target = folder / _name(name)
        if not target.exists() or target.stat().st_size != (item.get("size") or target.stat().st_size):
            lacking[name] = target
    if lacking and home is not None:
        _make_room(home, folder)
    for name, target in lacking.items():
        pending = target.with_name(f".{target.name}.{uuid4().hex}")
        try:
            with _own_disk(folder):
                pending.touch()
            with _reaching(address):
                system.get_file(name, os.fspath(pending))
            with _own_disk(folder):
                replace(pending, target)
        finally:
            pending.unlink(missing_ok=True)
    return folder


@contextmanager
def _own_disk(folder: Path) -> Iterator[None]:
    """Let an error of the disk that copies are kept on say so: it is none of the store."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise OSError(
            f"copies of what is at addresses cannot be kept in {folder} ({brief(error.strerror or error)}); "
            "let VILU_CACHE name a folder that you may write to."
        ) from error


def _remove(folder: Path, process: int) -> None:
    """Remove a folder when the process ends that made it, and not one that was forked from it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _home() -> str:
    """Return the folder of the cache."""
    usual = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("VILU_CACHE") or os.path.join(usual, "vilu-sdk")


def _make_room(home: Path, mine: Path) -> None:
    """Remove the copies that were opened longest ago, of those that are more than the cache may hold."""
    room, now = 1e9 * from_environment(ROOM, USUAL_ROOM), time.time()
    copies = []
    for folder in home.iterdir():
        with suppress(OSError):  # another process removes it too
            copies.append(
                (folder.stat().st_mtime, folder, sum(file.stat().st_size for file in folder.iterdir()))
            )
    for opened, folder, size in sorted(copies, reverse=True):
        room -= size
        if room < 0 and folder != mine and now - opened > STAYS:
            shutil.rmtree(folder, ignore_errors=True)


def _is_web(address: str) -> bool:
    return _WEB.match(address) is not None


def _place(path: str) -> str:
    """Return a path, of a web address without its query, in which names say nothing of the file."""
    return re.split(r"[?#]", path, maxsplit=1)[0] if _is_web(path) else path


def _name(path: str) -> str:
    """Return the name of a file."""
    return _place(path).rpartition("/")[2] or "file"


def _opened(address: str) -> tuple[Any, str]:
    system, path = require("fsspec.core", "remote").url_to_fs(_HOST.sub(_spelled_out, address))
    return system, path


@contextmanager
def _reaching(address: str) -> Iterator[None]:
    """Let an error of a store say the address, and whether nothing is there, it refuses or is not reached."""
    name = masked(address)
    if has_stray_marks(address):
        raise ValueError(
            f"{name} cannot be read as an address: before its @, write / as %2F, ? as %3F and # as %23."
        )
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:  # the disk of the cache
            raise
        said = masked(brief(error, 10_000))
        for secret in secrets_of(address):
            said = said.replace(secret, "…")
        # Whose error has secrets, and a chain of errors is shown whole.
        raise _said_of(error, name, brief(said)) from (error if name == address else None)


def _said_of(error: Exception, name: str, said: str) -> Exception:
    """Return what is said of an error of a store."""
    if isinstance(error, ImportError):
        return ImportError(f'{name}: {said}; pip install "vilu-sdk[remote]"')
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return FileNotFoundError(f"there is neither a file nor a folder {name}.")
    if isinstance(error, PermissionError | NotImplementedError):
        why = f" ({said})" if str(error) else ""
        return PermissionError(
            f"{name} may not be read or written{why}; check the address, and who you are there."
        )
    return ConnectionError(f"{name} cannot be reached ({said}); check it, and try again.")
