"""A folder of settings and arrays: one JSON and one safetensors file, written whole or not at all.

Nothing here knows a scorer, and nothing here unpickles.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from vilu_sdk.inputs.foreign import JSON_BYTES, check_file, parse_json, read_bytes
from vilu_sdk.inputs.places import brief, shown
from vilu_sdk.inputs.stored import replace
from vilu_sdk.persistence.bundled import CONFIG_FILE as CONFIG_FILE
from vilu_sdk.persistence.files import pending_files, sweep, sync_names, write_beside

TENSORS_FILE = "model.safetensors"
README_FILE = "README.md"
FILES = (CONFIG_FILE, TENSORS_FILE, README_FILE)
#: Format of the folders that this version writes, the newest that it reads.
FORMAT_VERSION = 1
#: Bytes of the tensors that are read at most.
TENSORS_BYTES = 16 << 30
#: Metadata by which tensors are known as those of this package, also without a configuration.
WRITER = {"writer": "vilu-sdk"}  # one entry: the library writes several in any order
# Characters of two values that are told, and bytes of the end of a README that are looked at.
MOST_SHOWN, END_BYTES = 100, 1000
#: Last line of a generated README; one without it is the user's and stays.
GENERATED = "<!-- Written by vilu-sdk at each save; without this line it is left as it is. -->"


def write_folder(
    folder: str | os.PathLike[str],
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    readme: str | None = None,
) -> None:
    """Write settings and arrays into a folder, whole or not at all.

    The configuration records the checksum of its tensors, and all files are complete on the disk before
    the first of them changes its name. Replacing the configuration is the moment of the switch: a crash
    before it leaves the old pair, a crash after it leaves the new configuration, whose tensors
    `read_folder` then finds under their temporary name. A killed write can leave such a hidden file
    behind; it is never mistaken for another save, and a save an hour later removes it.

    Tensors are contiguous, on the CPU and share no memory.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = safetensors.torch.save(dict(tensors), metadata=WRITER)
    header = {
        "format_version": FORMAT_VERSION,
        "vilu_sdk_version": version("vilu-sdk"),
        "tensors_sha256": checksum(data),
    }
    text = json.dumps(header | dict(config), indent=2, allow_nan=False) + "\n"
    if len(text) > JSON_BYTES or len(data) > TENSORS_BYTES:  # or it could not be loaded
        raise ValueError(
            f"{folder} would have a {CONFIG_FILE} of {len(text):,} bytes and tensors of {len(data):,}; at "
            f"most {JSON_BYTES:,} and {TENSORS_BYTES:,} can be loaded."
        )
    pending: dict[str, Path] = {}
    try:
        pending[TENSORS_FILE] = write_beside(folder / TENSORS_FILE, data)
        pending[CONFIG_FILE] = write_beside(folder / CONFIG_FILE, text.encode())
        if readme is not None and _may_write(folder / README_FILE):
            pending[README_FILE] = write_beside(folder / README_FILE, f"{readme}\n{GENERATED}\n".encode())
        sync_names(folder)
        replace(pending[CONFIG_FILE], folder / CONFIG_FILE)
    except BaseException:
        for path in pending.values():
            path.unlink(missing_ok=True)
        raise
    del pending[CONFIG_FILE]
    sync_names(folder)  # or a power failure could keep the second new name and lose the first
    for file, path in pending.items():
        replace(path, folder / file)
    sync_names(folder)
    sweep(folder, *FILES)


def read_folder(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return settings and tensors, on the CPU, as given to `write_folder`; ValueError if they do not fit."""
    folder = Path(folder)
    text = _read(folder, CONFIG_FILE)
    try:
        config = parse_json(text)
    except ValueError as error:
        raise ValueError(
            f"{folder / CONFIG_FILE} is not valid JSON ({brief(error)}); save or download the scorer again."
        ) from error
    if not isinstance(config, dict) or "format_version" not in config:
        raise ValueError(
            f"{folder / CONFIG_FILE} has no format_version, so it is not the configuration of a scorer; "
            "pass a folder written by save_pretrained."
        )
    _check_version(config.pop("format_version"), config.pop("vilu_sdk_version", None), folder)
    data = _matching_tensors(folder, config.pop("tensors_sha256", None))
    if data is None:
        if _read(folder, CONFIG_FILE) != text:
            return read_folder(folder)  # someone saved while we were reading
        raise ValueError(
            f"{folder / TENSORS_FILE} is damaged or belongs to another save: its checksum is not the one in "
            f"{CONFIG_FILE}; save the scorer again, or download it again with force_download=True."
        )
    try:
        return config, safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{folder / TENSORS_FILE} is not a safetensors file ({brief(error)}).") from error


def remove_folder(folder: str | os.PathLike[str]) -> None:
    """Remove the files of `write_folder`, if there are any, and the folder if it is empty then."""
    folder = Path(folder)
    # The configuration first: without it, the rest of an interrupted removal is not a save.
    for path in (folder / CONFIG_FILE, folder / TENSORS_FILE, *pending_files(folder, FILES)):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def refuse_foreign(folder: str | os.PathLike[str], key: str) -> None:
    """Raise where a folder holds files that a save would replace and that no save of this kind has written.

    Saves of scorers have the `key` "__class__" in their configuration, states of fits "fit".
    """
    folder = Path(folder)
    there = [file for file in (CONFIG_FILE, TENSORS_FILE) if os.path.lexists(folder / file)]
    if there and not _is_own(folder, there[0], key):
        raise FileExistsError(
            f"{folder} holds a {there[0]} that is not of {_KEYS[key]} of vilu-sdk, and would be replaced; "
            "name another folder."
        )


#: What the saves are called, by the keys of their configurations.
_KEYS = {"__class__": "a saved scorer", "fit": "the state of a fit"}


def _is_own(folder: Path, file: str, key: str) -> bool:
    """Whether a file was written by `write_folder`; tensors alone are what a killed removal leaves."""
    try:
        if file == CONFIG_FILE:
            config = parse_json(_read(folder, CONFIG_FILE))
            return isinstance(config, dict) and "format_version" in config and key in config
        check_file(folder / TENSORS_FILE)
        with safetensors.safe_open(folder / TENSORS_FILE, framework="pt") as tensors:
            return bool(tensors.metadata() == WRITER)
    except (OSError, ValueError, safetensors.SafetensorError):
        return False


def checksum(values: bytes | Tensor) -> str:
    """Return the SHA-256 of bytes, or of the numbers of a tensor on the CPU."""
    return hashlib.sha256(values if isinstance(values, bytes) else values.numpy().tobytes()).hexdigest()


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """Return the places where two JSON values differ, with both values where they are short."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return [
            difference
            for key in sorted(before.keys() | now.keys())
            for difference in differences(before.get(key), now.get(key), f"{where}.{key}" if where else key)
        ]
    if before == now:
        return []
    both = f" ({shown(before)} there, {shown(now)} here)"
    return [brief(where) + both * (len(both) < MOST_SHOWN)]


def _check_version(number: Any, writer: Any, folder: Path) -> None:
    """Raise unless this version reads the format, and say which version does."""
    if type(number) is int and 1 <= number <= FORMAT_VERSION:
        return
    if type(number) is not int or number < 1:
        raise ValueError(
            f"{folder / CONFIG_FILE} has the format_version {shown(number)}, and there is no such version; "
            "save or download the scorer again."
        )
    installed = version("vilu-sdk")
    known = isinstance(writer, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9}){1,3}\w{0,9}", writer, re.ASCII)
    newer = f"{writer} or newer" if known else "in a newer version"
    raise ValueError(
        f"{folder} was written in format {shown(number)}, and the installed vilu-sdk {installed} reads "
        f"formats up to {FORMAT_VERSION}; install vilu-sdk {newer}."
    )


def _may_write(readme: Path) -> bool:
    """Return whether there is no README, or one that an earlier save generated."""
    if not readme.exists():
        return True
    if not readme.is_file():
        return False
    with readme.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - END_BYTES))
        return file.read().rstrip().endswith(GENERATED.encode())


def _read(folder: Path, file: str) -> bytes:
    most = JSON_BYTES if file == CONFIG_FILE else TENSORS_BYTES
    with suppress(FileNotFoundError):
        if (folder / file).is_file():  # a pipe would be waited for
            return read_bytes(folder / file, most, "no scorer of vilu-sdk has so many")
    raise FileNotFoundError(
        f"{folder} has no {file}; a saved scorer is a folder with {CONFIG_FILE} and {TENSORS_FILE}."
    )


def _matching_tensors(folder: Path, expected: Any) -> bytes | None:
    """Return the tensors with this checksum, also where a crash kept them from their final name."""
    pending = [path.name for path in pending_files(folder, FILES)]
    # The final name is tried once more at the end: a writer may move a pending file there meanwhile.
    for file in (TENSORS_FILE, *pending, TENSORS_FILE):
        with suppress(FileNotFoundError):
            data = _read(folder, file)
            if checksum(data) == expected:
                return data
    _read(folder, TENSORS_FILE)  # to say so if there is none
    return None
