"""Which folder a name means, and transfers to and from the Hugging Face Hub."""

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path, PureWindowsPath
from typing import Any

from vilu_sdk.compute import progress
from vilu_sdk.inputs.remote import is_remote, local
from vilu_sdk.persistence.bundled import bundled_heads
from vilu_sdk.persistence.storage import CONFIG_FILE, FILES, TENSORS_FILE

#: Short names of Hub repositories: name -> (repository, commit that the name is pinned to).
ALIASES: dict[str, tuple[str, str]] = {}


def find_folder(name_or_path: str | os.PathLike[str], *, revision: str | None = None, **options: Any) -> Path:
    """Return the folder that a name means to `Persistent.from_pretrained`, whose options these are."""
    name = os.fsdecode(name_or_path)
    if not name:
        raise ValueError("name_or_path is empty; pass a folder or the name of a saved scorer.")
    if is_remote(name):
        return local(name, FILES)
    path = os.path.expanduser(name)
    if os.path.isdir(path):
        return Path(path)
    if os.path.exists(path):
        raise NotADirectoryError(f"{path} is a file; pass the folder that holds {CONFIG_FILE}.")
    if not isinstance(name_or_path, str) or _looks_like_path(name):
        raise FileNotFoundError(
            f"There is no folder {path}; pass one written by save_pretrained, or a Hub repository as "
            "'owner/name'."
        )
    if head := bundled_heads().get(name):
        return head
    repo_id, pinned = ALIASES.get(name, (name, None))
    if repo_id.count("/") != 1:
        raise _nothing_called(name, "a Hub repository (its name would have the form 'owner/name')")
    _check_revision(revision)
    try:
        return _download(repo_id, revision=revision or pinned, **options)
    except LookupError as error:
        raise _nothing_called(name, f"the Hub repository {repo_id!r} ({error})") from error.__cause__


def upload_folder(
    folder: Path,
    repo_id: str,
    *,
    token: str | bool | None,
    private: bool | None,
    revision: str | None,
    commit_message: str,
) -> str:
    """Upload a folder of `write_folder` to the Hub in one commit, and return the commit's address."""
    if repo_id.count("/") != 1:
        raise ValueError(f"repo_id must be 'owner/name', got {repo_id!r}.")
    _check_revision(revision)
    from huggingface_hub import CommitOperationAdd

    files = [CommitOperationAdd(name, folder / name) for name in FILES if (folder / name).exists()]
    api = _api(token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    with _bars():
        commit = api.create_commit(repo_id, files, revision=revision, commit_message=commit_message)
    return str(commit.commit_url)


def _download(
    repo_id: str, *, token: str | bool | None = None, local_files_only: bool = False, **options: Any
) -> Path:
    """Return a snapshot of the two files, or raise LookupError where there is no such repository."""
    from huggingface_hub import errors  # imported late: it takes a fifth of a second
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id)
    except errors.HFValidationError as error:
        raise LookupError("which is not a possible name") from error
    api = _api(token)
    try:
        with _bars():
            options |= {"local_files_only": local_files_only, "allow_patterns": [CONFIG_FILE, TENSORS_FILE]}
            return Path(api.snapshot_download(repo_id, **options))
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(
            f"The repository {repo_id!r} has no revision {options['revision']!r}; pass a branch, tag or "
            "commit that its page lists."
        ) from error
    except errors.GatedRepoError as error:
        raise PermissionError(
            f"The repository {repo_id!r} is gated; ask for access on its page and pass token."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise LookupError("the Hub shows you none; pass token if it is private") from error
    except Exception as error:
        # Broken transfers and malformed answers raise whatever the client's HTTP library raises, and its
        # releases have used two; errors in the arguments were found above.
        absent = isinstance(error, errors.LocalEntryNotFoundError)
        if absent and local_files_only:
            raise LookupError("not in the cache, and local_files_only=True forbids to download it") from error
        cause = error.__cause__ or error if absent else error
        if getattr(getattr(cause, "response", None), "status_code", None) in (401, 403):
            raise PermissionError(
                f"The Hub does not let you read {repo_id!r}: {_brief(cause)}. Pass a token that may."
            ) from error
        if absent:
            raise ConnectionError(
                f"The Hub could not be asked for {repo_id!r}, and the cache does not hold it: "
                f"{_brief(cause)}. Try again, or pass a folder."
            ) from error
        raise ConnectionError(
            f"Downloading {repo_id!r} from the Hub failed: {_brief(cause)}. Try again."
        ) from error


def _nothing_called(name: str, repository: str) -> FileNotFoundError:
    """Return an error that lists the places searched for a name, and a way out."""
    heads = list(bundled_heads())
    close = difflib.get_close_matches(name, [*heads, *ALIASES], 1)
    return FileNotFoundError(
        f"Nothing is called {name!r}. Tried: a folder (none in {os.getcwd()}); the heads that come with "
        f"vilu-sdk ({', '.join(heads) or 'none'}); the short names of Hub repositories "
        f"({', '.join(ALIASES) or 'none'}); {repository}. "
        + (f"Did you mean {close[0]!r}? " if close else "")
        + "Otherwise pass a folder written by save_pretrained, or a Hub repository as 'owner/name'."
    )


def _check_revision(revision: str | None) -> None:
    # The client uses it in the name of a file of its cache.
    if revision is not None and (not revision or ".." in revision or revision.startswith(("/", "-"))):
        raise ValueError(f"revision must be a branch, tag or commit, got {revision!r}.")


def _looks_like_path(name: str) -> bool:
    is_drive = bool(PureWindowsPath(name).drive)
    return is_drive or name.startswith((".", "~", "/")) or "\\" in name or name.count("/") > 1


def _brief(error: BaseException) -> str:
    """Return the first line of an error, and its kind if it says nothing."""
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__


def _api(token: str | bool | None) -> Any:
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="vilu-sdk", library_version=version("vilu-sdk"))


@contextmanager
def _bars() -> Iterator[None]:
    """Show bars of huggingface_hub only where those of the SDK are shown."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    silence = not progress.bars_are_shown() and not are_progress_bars_disabled()
    if silence:
        disable_progress_bars()
    try:
        yield
    finally:
        if silence:
            enable_progress_bars()
