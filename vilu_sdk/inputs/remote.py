"""Addresses of object stores and web servers, such as ``s3://bucket/z.npy``, as files: the extra ``remote``.

What is read is copied whole into a cache, once for each version that the store tells apart; what is written
is uploaded whole. Everything else in the package works on files.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.places import brief
from vilu_sdk.inputs.stored import replace

# At least two letters, which tells a protocol from a drive.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
#: Errors of a disk without room.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What is said of a file in a store that does not tell one version of it from the next.
_NO_VERSION = {"name", "size", "type", "url", "mimetype", "partial", "Key"}


def is_remote(name: Any) -> bool:
    """Whether a name is an address and no path."""
    return isinstance(name, str) and _ADDRESS.match(name) is not None


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
        is_file = names is None and bool(Path(path).suffix) and system.isfile(path)
        if is_file:
            items = [system.info(path)]
        elif names is None:
            items = [item for item in system.ls(path, detail=True) if item["type"] == "file"]
        else:
            paths = [f"{path.rstrip('/')}/{name}" for name in names]
            items = [system.info(one) for one in paths if system.exists(one)]
        found = {item["name"]: item for item in items}
        if not found:
            raise FileNotFoundError
        folder = _copied(address, json.dumps(found, sort_keys=True, default=str))
    return folder / path.rpartition("/")[2] if is_file else folder


def matching(address: str) -> list[str]:
    """Return the addresses that a pattern matches."""
    with _reaching(address):
        system, path = _opened(address)
        return [str(system.unstrip_protocol(found)) for found in system.glob(path)]


def require_writable(address: str) -> None:
    """Raise where nothing can be written to addresses of this kind, before the work that is to be written."""
    with _reaching(address):
        system, _ = _opened(address)
        if not system.protocol or "http" in system.protocol:
            raise PermissionError


def upload(file: Path, address: str) -> None:
    """Write a file to an address."""
    require_writable(address)
    with _reaching(address):
        system, path = _opened(address)
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.put_file(os.fspath(file), path)


@cache
def _copied(address: str, said: str) -> Path:
    """Copy files into a folder of the cache that is of this version of them, and return it."""
    system, path = _opened(address)
    found: dict[str, dict[str, Any]] = json.loads(said)
    if all(item.keys() - _NO_VERSION for item in found.values()):
        home = os.environ.get("VILU_CACHE") or os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vilu-sdk"
        )
        version = hashlib.sha256(said.encode()).hexdigest()[:16]
        where = re.sub(r"[^\w./-]", "_", f"{address.partition(':')[0]}/{path.strip('/')}").replace("..", "_")
        folder = Path(home) / where / version
        folder.mkdir(parents=True, exist_ok=True)
    else:  # the next process cannot tell whether it is the same
        folder = Path(mkdtemp(prefix="vilu-"))
    for name, item in found.items():
        target = folder / name.rpartition("/")[2]
        if not target.exists() or target.stat().st_size != (item.get("size") or target.stat().st_size):
            pending = target.with_name(f".{target.name}.{uuid4().hex}")
            try:
                system.get_file(name, os.fspath(pending))
                replace(pending, target)
            finally:
                pending.unlink(missing_ok=True)
    return folder


def _opened(address: str) -> tuple[Any, str]:
    system, path = require("fsspec.core", "remote").url_to_fs(address)
    return system, path


@contextmanager
def _reaching(address: str) -> Iterator[None]:
    """Let an error of a store say the address, and whether nothing is there, it refuses or is not reached."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f'{address}: {brief(error)}; pip install "vilu-sdk[remote]"') from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"there is neither a file nor a folder {address}.") from error
    except (PermissionError, NotImplementedError) as error:
        said = f" ({brief(error)})" if str(error) else ""
        raise PermissionError(
            f"{address} may not be read or written{said}; check the address, and who you are there."
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:  # the disk of the cache
            raise
        raise ConnectionError(
            f"{address} cannot be reached ({brief(error)}); check it, and try again."
        ) from error
