"""Files and names: one JSON and one safetensors file a folder, written atomically, and Hub transfers.

Nothing here knows a scorer, and nothing here unpickles: settings are JSON, arrays are safetensors.
"""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from vilu_sdk import progress

CONFIG_FILE = "config.json"
TENSORS_FILE = "model.safetensors"
#: What this version writes and the newest that it reads.
FORMAT_VERSION = 1
#: Age at which a temporary file can no longer belong to a save under way.
LEFTOVER_SECONDS = 3600
#: Where a bare name such as "clip-b32-imagenet" is looked for on the Hub.
DEFAULT_NAMESPACE = "vilu-sdk"


def write_folder(
    folder: str | os.PathLike[str], config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write settings and arrays into a folder, whole or not at all.

    The configuration records the checksum of its tensors, and both files are complete on the disk
    before the first of them changes its name. Replacing the configuration is the moment of the
    switch: a crash before it leaves the old pair, a crash after it leaves the new configuration, whose
    tensors `read_folder` then finds under their temporary name. A killed write can leave such a hidden
    file behind; it is never mistaken for another save, and a save an hour later removes it.

    Parameters
    ----------
    folder : path-like
        Made if it does not exist.
    config : mapping
        JSON-able settings.
    tensors : mapping of str to Tensor
        Contiguous tensors on the CPU that share no memory.

    Raises
    ------
    OSError
        If the folder cannot be written; what it held is unchanged.
    ValueError
        If the settings hold a NaN or infinite number.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = safetensors.torch.save(dict(tensors), metadata={"format": "pt"})
    header = {
        "format_version": FORMAT_VERSION,
        "vilu_sdk_version": _version(),
        "tensors_sha256": hashlib.sha256(data).hexdigest(),
    }
    text = json.dumps(header | dict(config), indent=2, allow_nan=False) + "\n"
    pending: list[Path] = []
    try:
        pending.append(_write_beside(folder / TENSORS_FILE, data))
        pending.append(_write_beside(folder / CONFIG_FILE, text.encode()))
        _sync_names(folder)
        os.replace(pending[1], folder / CONFIG_FILE)
    except BaseException:
        for path in pending:
            path.unlink(missing_ok=True)
        raise
    _sync_names(folder)  # or a power failure could keep the second new name and lose the first
    os.replace(pending[0], folder / TENSORS_FILE)
    _sync_names(folder)
    for path in _temporary(folder):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                path.unlink()


def read_folder(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read what `write_folder` wrote, and verify that the two files belong together.

    Parameters
    ----------
    folder : path-like
        An existing folder.

    Returns
    -------
    config : dict
        The settings, as given to `write_folder`.
    tensors : dict of str to Tensor
        On the CPU.

    Raises
    ------
    FileNotFoundError
        If one of the two files is missing.
    ValueError
        If a newer version of the format was used, if the configuration is not what `write_folder`
        writes, or if the tensors are damaged or of another save.
    """
    folder = Path(folder)
    text = _read(folder, CONFIG_FILE)
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"{folder / CONFIG_FILE} is not valid JSON ({error}); save the scorer again."
        ) from error
    version = config.pop("format_version", None) if isinstance(config, dict) else None
    if not isinstance(version, int):
        raise ValueError(
            f"{folder / CONFIG_FILE} has no format_version, so it is not the configuration of a scorer; "
            "pass a folder written by save_pretrained."
        )
    writer = config.pop("vilu_sdk_version", "unknown")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{folder} was written by vilu-sdk {writer} in format {version}, but this version, {_version()}, "
            f"reads formats up to {FORMAT_VERSION}; upgrade vilu-sdk."
        )
    checksum = config.pop("tensors_sha256", None)
    data = _matching_tensors(folder, checksum)
    if data is None:
        if _read(folder, CONFIG_FILE) != text:
            return read_folder(folder)  # someone saved while we were reading
        raise ValueError(
            f"{folder / TENSORS_FILE} is damaged or belongs to another save: its checksum is not the one in "
            f"{CONFIG_FILE}; download or save the scorer again."
        )
    try:
        return config, safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{folder / TENSORS_FILE} is not a safetensors file ({error}).") from error


def find_folder(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """Return the folder that a name means, downloading it from the Hub if it is not here.

    Parameters
    ----------
    name_or_path : str or path-like
        An existing folder; else a Hub repository ``owner/name``; a bare ``name`` is a repository of
        this project, ``vilu-sdk/name``.
    revision : str, optional
        Branch, tag or commit of the repository; the main branch by default.
    token : str or bool, optional
        Access token of the Hub; by default the one that ``hf auth login`` stored.
    cache_dir : path-like, optional
        Where downloads are kept, by default the cache of ``huggingface_hub``.
    force_download : bool
        Download again what is in the cache.
    local_files_only : bool
        Never use the network.

    Returns
    -------
    Path
        The folder given, or a snapshot in the cache.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, repository or revision, or it is not in the cache and the Hub was
        not to be asked or could not be reached.
    NotADirectoryError
        If the name is that of a file.
    PermissionError
        If the repository is gated and the token has no access.
    ValueError
        If the name is empty or cannot be that of a repository.
    """
    name = os.fspath(name_or_path)
    if not name:
        raise ValueError("name_or_path is empty; pass a folder or the name of a Hub repository.")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise NotADirectoryError(f"{folder} is a file; pass the folder that holds {CONFIG_FILE}.")
    if not isinstance(name_or_path, str) or _looks_like_path(name):
        raise FileNotFoundError(f"There is no folder {folder}; pass one written by save_pretrained.")

    from huggingface_hub import errors  # imported late: it takes a fifth of a second

    repo_id = name if "/" in name else f"{DEFAULT_NAMESPACE}/{name}"
    nowhere = f"{name!r} is neither a folder here nor, as {repo_id!r}, a repository that the Hub shows you"
    try:
        with _bars():
            snapshot: str = _api(token).snapshot_download(
                repo_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                allow_patterns=[CONFIG_FILE, TENSORS_FILE],
            )
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(f"The repository {repo_id!r} has no revision {revision!r}.") from error
    except errors.GatedRepoError as error:
        raise PermissionError(
            f"The repository {repo_id!r} is gated; ask for access on its page and pass token."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(f"{nowhere}; check the name, or pass token if it is private.") from error
    except errors.LocalEntryNotFoundError as error:
        reason = "local_files_only=True" if local_files_only else f"the Hub could not be asked ({error})"
        raise FileNotFoundError(
            f"{name!r} is not a folder here, the cache does not hold {repo_id!r}, and {reason}."
        ) from error
    return Path(snapshot)


def upload_folder(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload scorer",
) -> str:
    """Upload the two files of a folder to a Hub repository, in one commit.

    Parameters
    ----------
    folder : path-like
        What `write_folder` wrote.
    repo_id : str
        ``owner/name``; made if it does not exist.
    token : str or bool, optional
        Access token of the Hub; by default the one that ``hf auth login`` stored.
    private : bool, optional
        Visibility of a repository that is made now; the owner's default if not given.
    revision : str, optional
        Branch to commit to, made if it does not exist; the main branch by default.
    commit_message : str
        First line of the commit message.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    ValueError
        If `repo_id` has no owner.
    huggingface_hub.errors.HfHubHTTPError
        If the Hub refuses, for instance without a token that may write.
    """
    if repo_id.count("/") != 1:
        raise ValueError(f"repo_id must be 'owner/name', got {repo_id!r}.")
    from huggingface_hub import CommitOperationAdd

    api = _api(token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    files = [CommitOperationAdd(name, Path(folder) / name) for name in (CONFIG_FILE, TENSORS_FILE)]
    with _bars():
        commit = api.create_commit(repo_id, files, revision=revision, commit_message=commit_message)
    return str(commit.commit_url)


def _api(token: str | bool | None) -> Any:
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="vilu-sdk", library_version=_version())


@contextmanager
def _bars() -> Iterator[None]:
    """Let the one switch of the SDK silence the bars of huggingface_hub too."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    silence = not progress._enabled and not are_progress_bars_disabled()
    if silence:
        disable_progress_bars()
    try:
        yield
    finally:
        if silence:
            enable_progress_bars()


def _version() -> str:
    from vilu_sdk import __version__

    return __version__


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "~", "/")) or "\\" in name or name.count("/") > 1


def _write_beside(target: Path, data: bytes) -> Path:
    """Write a hidden file next to `target`, down to the disk, and return its path."""
    path = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        # open() rather than tempfile: the file keeps the permissions that the user's umask gives.
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _temporary(folder: Path) -> list[Path]:
    """Return the files that `_write_beside` made and that have not got their final name."""
    return sorted(path for file in (CONFIG_FILE, TENSORS_FILE) for path in folder.glob(f".{file}.{'?' * 32}"))


def _sync_names(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(folder: Path, file: str) -> bytes:
    try:
        return (folder / file).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder} has no {file}; a saved scorer is a folder with {CONFIG_FILE} and {TENSORS_FILE}."
        ) from error


def _matching_tensors(folder: Path, checksum: Any) -> bytes | None:
    """Return the tensors with this checksum, also where a crash kept them from their final name."""
    pending = [path.name for path in _temporary(folder)]
    # The final name is tried once more at the end: a writer may move a pending file there meanwhile.
    for file in (TENSORS_FILE, *pending, TENSORS_FILE):
        with suppress(FileNotFoundError):
            data = (folder / file).read_bytes()
            if hashlib.sha256(data).hexdigest() == checksum:
                return data
    _read(folder, TENSORS_FILE)  # to say so if there is none
    return None
