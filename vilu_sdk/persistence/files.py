"""Files that appear whole or not at all, and what killed writers have left. Nothing here knows a format."""

import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from vilu_sdk.inputs.foreign import kind_of
from vilu_sdk.inputs.remote import is_remote, upload
from vilu_sdk.inputs.stored import replace

#: Age at which a temporary file can no longer belong to a save under way.
LEFTOVER_SECONDS = 3600


@contextmanager
def whole_file(target: Path | str) -> Iterator[IO[bytes]]:
    """Yield a file that gets its name once all of it is on the disk, or at its address, or never.

    Links are followed; what is there must be a file or nothing.
    """
    if is_remote(target):
        with TemporaryDirectory(prefix="vilu-") as folder:
            with open(Path(folder) / "whole", "w+b") as whole:
                yield whole
            upload(Path(folder) / "whole", str(target))
        return
    target = final_file(Path(target))
    with _beside(target) as file:
        yield file
    try:
        replace(Path(file.name), target)
    except BaseException:
        Path(file.name).unlink(missing_ok=True)
        raise
    sync_names(target.parent)


def check_parent(path: Path) -> None:
    """Raise where there is no folder for a file, or something else than a file in its place."""
    final = final_file(path)
    path = final if path.is_symlink() else path
    if not final.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist; make it first.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it.")


def final_file(path: Path) -> Path:
    """Return the file that a path leads to through links, or raise where that is a pipe or a device."""
    found = Path(os.path.realpath(path))
    with suppress(FileNotFoundError, NotADirectoryError):
        what = kind_of(found.stat().st_mode)
        if what is not None and not found.is_dir():
            raise FileExistsError(f"{path} is {what} and no file; name a file to write into.")
    return found


def sweep(folder: Path, *names: str, older: float = LEFTOVER_SECONDS) -> None:
    """Remove hidden files for these names (patterns) that killed writers have left and none still writes.

    Those older than some seconds go: any, for whoever holds the lock of the names.
    """
    for path in pending_files(folder, names):
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > older:
                path.unlink()


def write_beside(target: Path, data: bytes) -> Path:
    """Write a hidden file next to `target`, down to the disk, and return its path."""
    with _beside(target) as file:
        file.write(data)
    return Path(file.name)


@contextmanager
def _beside(target: Path) -> Iterator[IO[bytes]]:
    """Yield a hidden file next to `target` that is on the disk afterwards, or gone if something fails."""
    path = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        # open() rather than tempfile: the file keeps the permissions that the user's umask gives.
        with open(path, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(target)  # and not the hidden name, or none
        raise


def pending_files(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the files that `_beside` made and that have not got their final name."""
    return sorted(path for name in names for path in folder.glob(f".{name}.{'[0-9a-f]' * 32}"))


def sync_names(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
