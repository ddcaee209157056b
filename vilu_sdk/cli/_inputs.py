"""Embeddings, labels, feedback and names, from the files that a command line names."""

import csv
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs import formats
from vilu_sdk.inputs.arrays import choose
from vilu_sdk.inputs.formats import kind
from vilu_sdk.inputs.names import shard_paths
from vilu_sdk.inputs.shards import Shards, open_embeddings, open_pairs

# Separates a file from the array, tensor or column in it.
SEPARATOR = "::"
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def split(spec: str) -> tuple[Path, str | None]:
    """Return the file and the name behind ``::``, if there is one."""
    path, _, name = spec.partition(SEPARATOR)
    return Path(path).expanduser(), name or None


def open_both(images: str, texts: str | None) -> tuple[Shards, Shards]:
    """Open images and texts; without texts, the pairs of a clip-retrieval folder."""
    if texts is not None:
        return _open(images, "img_emb"), _open(texts, "text_emb")
    path, name = split(images)
    if not (path / "img_emb").is_dir():
        raise ValueError(
            "TEXTS is missing; it may be left out only where IMAGES is a folder with img_emb/ and text_emb/, "
            f"and {path} is not."
        )
    return open_pairs(path, column=name)


def read_task(arguments: Namespace) -> tuple[Shards, Shards, dict[str, NDArray[Any] | None]]:
    """Open images and texts, and read labels or feedback as arguments of `fit`."""
    images, texts = open_both(arguments.images, arguments.texts)
    if arguments.labels is not None:
        names = read_names(arguments.names, len(texts))
        return images, texts, {"labels": read_labels(arguments.labels, names)}
    if getattr(arguments, "correct", None) is not None:
        return images, texts, {"correct": read_correct(arguments.correct)}
    if not arguments.captions and arguments.texts is not None:
        flags = (
            "--labels, --correct or --captions" if hasattr(arguments, "correct") else "--labels or --captions"
        )
        raise ValueError(f"labels of the images are missing: pass {flags} (see --help).")
    return images, texts, {"labels": None}


def read_labels(spec: str, names: list[str] | None) -> NDArray[np.int64]:
    """Read row numbers of the texts, or names that are looked up among `names`."""
    values = read_vector(spec)
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    if values.dtype.kind != "U":
        raise ValueError(f"{spec} has {values.dtype}, expected row numbers of TEXTS or names.")
    if names is None:
        raise ValueError(
            f"{spec} has names such as {str(values[0])!r}; pass --names, a file with the name of each row of "
            "TEXTS, or row numbers."
        )
    numbers = {name: row for row, name in enumerate(names)}
    for row, value in enumerate(values):
        if value not in numbers:
            raise ValueError(f"{spec} has {str(value)!r} in row {row}, which is not in --names.")
    return np.array([numbers[value] for value in values], dtype=np.int64)


def read_correct(spec: str) -> NDArray[Any]:
    """Read whether each prediction was right: booleans, 0 and 1, or words."""
    values = read_vector(spec)
    if values.dtype.kind != "U":
        return values  # `fit` checks numbers and booleans
    for value in values:
        if value.lower() not in TRUTH:
            raise ValueError(f"{spec} has {str(value)!r}, expected true or false.")
    return np.array([TRUTH[value.lower()] for value in values])


def read_names(spec: str | None, k: int) -> list[str] | None:
    """Read the name of each of k texts."""
    if spec is None:
        return None
    names = [str(value) for value in read_vector(spec)]
    if len(names) != k:
        raise ValueError(f"--names has {len(names)} names but TEXTS has {k} rows; pass one for each.")
    return names


def read_vector(spec: str) -> NDArray[Any]:
    """Read one value for each row: an array, a column, or the lines of a text file.

    Numbers and booleans keep their type; text becomes integers if every value is one.
    """
    path, name = split(spec)
    if not path.exists():
        raise FileNotFoundError(f"there is neither a file nor a folder {path}.")
    parts = [_read_part(part, name) for part in (shard_paths(path) if path.is_dir() else [path])]
    values = np.concatenate(parts) if len(parts) > 1 else parts[0]
    return _from_text(values, spec) if values.dtype.kind in "OSU" else values


def _open(spec: str, part: str) -> Shards:
    """Open embeddings; of a clip-retrieval folder this part."""
    path, name = split(spec)
    folder = path / part
    with _say_how_to_name(path):
        return open_embeddings(folder if folder.is_dir() else path, column=name)


@contextmanager
def _say_how_to_name(path: Path) -> Iterator[None]:
    """Add to the error of a file with several arrays how a command line names one."""
    try:
        yield
    except ValueError as error:
        if "pass column" in str(error):
            error.add_note(f"Name it with {path}{SEPARATOR}NAME.")
        raise


def _read_part(path: Path, name: str | None) -> NDArray[Any]:
    if kind(path) not in VECTORS:
        raise ValueError(f"{path} is of no known kind; values are read from {', '.join(VECTORS)}.")
    with _say_how_to_name(path):
        return VECTORS[kind(path)](path, name)


def _table(path: Path, name: str | None) -> NDArray[Any]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter="\t" if kind(path) == ".tsv" else ",")
        column = choose(path, "column", name, list(reader.fieldnames or []))
        return np.array([row[column] for row in reader], dtype=object)


def _lines(path: Path, name: str | None) -> NDArray[Any]:
    if name is not None:
        raise ValueError(f"{path} has lines and no columns; leave out {SEPARATOR}{name} or name it .csv.")
    return np.array(path.read_text(encoding="utf-8-sig").splitlines(), dtype=object)


#: Readers of vectors, by suffix.
VECTORS: dict[str, Callable[[Path, str | None], NDArray[Any]]] = {
    **dict.fromkeys(formats.SUFFIXES, formats.read_vector),
    ".csv": _table,
    ".tsv": _table,
    ".txt": _lines,
}


def _from_text(values: NDArray[Any], spec: str) -> NDArray[Any]:
    """Return integers where every value is one, else strings; none may be missing."""
    for row, value in enumerate(values):
        if value is None or value in ("", b""):
            raise ValueError(f"{spec} has no value in row {row}.")
    texts = np.array([value.decode() if isinstance(value, bytes) else str(value) for value in values])
    try:
        return texts.astype(np.int64)
    except ValueError:
        return texts
