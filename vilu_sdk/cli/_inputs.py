"""Embeddings, labels, feedback and names, from the files that a command line names."""

import os
import re
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.cli._exits import UsageError
from vilu_sdk.inputs.arrays import PASS_COLUMN
from vilu_sdk.inputs.candidates import Opened, open_candidates
from vilu_sdk.inputs.escape import masked
from vilu_sdk.inputs.foreign import GROUP_CHARACTERS, NAME_CHARACTERS
from vilu_sdk.inputs.formats import VECTOR_SUFFIXES, opening, read_vector
from vilu_sdk.inputs.names import Names, plain, row_numbers
from vilu_sdk.inputs.places import BadRowError, place, shown
from vilu_sdk.inputs.remote import SEPARATOR, is_pattern, is_remote, local, matching, split_name
from vilu_sdk.inputs.shard_names import shard_paths
from vilu_sdk.inputs.shards import Shards, open_embeddings, open_pairs
from vilu_sdk.inputs.stored import kind
from vilu_sdk.inputs.text import text_table
from vilu_sdk.inputs.values import check_correct, check_labels, check_weights
from vilu_sdk.numerals import decimal

TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Vector(NamedTuple):
    """One value for each row: numbers, booleans or texts, and the files that they were read from."""

    values: NDArray[Any]
    spec: str
    paths: list[Path]
    starts: list[int]

    @property
    def is_text(self) -> bool:
        """Whether the values are texts, which are no numbers whatever they look like."""
        return self.values.dtype.kind == "O"

    def at(self, row: int) -> str:
        """Name a row among all and, of a folder, in its file."""
        return place(row, self.paths, self.starts)


def split(spec: str) -> tuple[Path, str | None]:
    """Return the file and the name behind ``::``, if there is one."""
    path, name = split_name(spec)
    if not path:
        raise UsageError(f"a file was to be named, got {spec!r}.")
    return local(path) if is_remote(path) else Path(path).expanduser(), name or None


def open_both(images: str | list[str], texts: str | None) -> tuple[Shards, Shards]:
    """Open images and texts; without texts, the pairs of a clip-retrieval folder."""
    if texts is not None:
        return _open(images, "img_emb"), _open(texts, "text_emb")
    path, name = split(images if isinstance(images, str) else images[0])
    if not (path / "img_emb").is_dir():
        raise UsageError(
            "TEXTS is missing; it may be left out only where IMAGES is a folder with img_emb/ and text_emb/, "
            f"and {path} is not."
        )
    return open_pairs(path, column=name)


def open_named(arguments: Namespace) -> tuple[Shards, Any]:
    """Open images and texts, with the names of the texts where there are any.

    Where names stand beside the embeddings, in one table, rows of one name are prompts of one candidate.
    """
    images, texts = open_both(arguments.images, arguments.texts)
    return images, named(texts, arguments)


def open_texts(arguments: Namespace) -> Any:
    """Open texts alone, with their names where there are any."""
    return named(_open(arguments.texts, "text_emb"), arguments)


def named(texts: Shards, arguments: Namespace) -> Opened:
    """Return texts as candidates, with the names of the command line."""
    if getattr(arguments, "names", None) is None:
        return open_candidates(texts)
    found = read_values(arguments.names)
    check_count(found, len(texts), "TEXTS")
    if split(arguments.names)[0].resolve() != texts.path.resolve():
        return Opened(texts, Names(found.values, arguments.names), 1, "z_txt_set")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(found.values):
        rows.setdefault(plain(name) if found.is_text else str(name), []).append(row)
    values = texts[:]
    return open_candidates({name: values[own] for name, own in rows.items()}, arguments.names)


def read_task(arguments: Namespace) -> tuple[Shards, Any, dict[str, NDArray[Any] | None]]:
    """Open images and texts, and read labels or feedback as arguments of `fit`."""
    if arguments.labels is not None and getattr(arguments, "batch_size", None) is not None:
        raise UsageError("--batch-size goes with captions; with --labels, leave it out.")
    images, texts = open_named(arguments)
    if arguments.labels is not None:
        return images, texts, {"labels": read_labels(arguments.labels, len(images), texts)}
    if getattr(arguments, "correct", None) is not None:
        return images, texts, {"correct": read_correct(arguments.correct, len(images))}
    if not arguments.captions and arguments.texts is not None:
        flags = (
            "--labels, --correct or --captions" if hasattr(arguments, "correct") else "--labels or --captions"
        )
        raise UsageError(f"labels of the images are missing: pass {flags} (see --help).")
    return images, texts, {"labels": None}


def read_labels(spec: str, n: int, texts: Opened) -> NDArray[np.int64]:
    """Read the row of each image's text: integers as they are, text as names or, without any, as numbers."""
    found, names = read_values(spec), texts.names
    if not found.is_text:
        rows = found.values
    elif names is not None:
        rows = names.rows(found.values, spec, found.at)
    else:
        rows = _without_names(found)
    check_count(found, n, "IMAGES")
    try:
        with _placed(found):
            return check_labels(rows, n, len(texts.values), name=spec).numpy()
    except ValueError as error:
        if names is not None and not found.is_text:
            error.add_note("Integers are row numbers; names stand in a text file or column.")
        raise


def read_correct(spec: str, n: int) -> NDArray[np.bool_]:
    """Read whether each prediction was right: booleans, 0 and 1, or words."""
    found = read_values(spec)
    values = found.values
    if found.is_text:
        words = [value.lower() for value in values]
        for row, word in enumerate(words):
            if word not in TRUTH:
                what = f"{spec} has {shown(values[row])} in"
                raise BadRowError(what, row, f"; expected one of {', '.join(TRUTH)}.", found.at(row))
        values = np.array([TRUTH[word] for word in words], dtype=bool)
    check_count(found, n, "IMAGES")
    with _placed(found):
        return check_correct(values, n, name=spec).numpy()


def read_each(spec: str | None, n: int) -> NDArray[Any] | None:
    """Read a value for each image, if a file of them is given: numbers, or texts as they are written."""
    if spec is None:
        return None
    found = read_values(spec)
    check_count(found, n, "IMAGES")
    return found.values


def read_groups(spec: str | None, n: int) -> NDArray[Any] | None:
    """Read the group of each image, if a file of them is given: integers, or texts as they are written."""
    values = read_each(spec, n)
    if values is None or values.dtype.kind != "O":
        return values
    names = [plain(value) for value in values]
    if names and (long := max(map(len, names))) > GROUP_CHARACTERS:  # all are stored as wide as the longest
        raise ValueError(
            f"{spec} has a group of {long:,} characters, at most {GROUP_CHARACTERS} are read; write shorter "
            "ones."
        )
    return np.array(names)


def read_weights(spec: str, n: int, of: str = "IMAGES") -> NDArray[np.float64]:
    """Read how much each image counts, or how often each candidate occurs."""
    found = read_values(spec)
    check_count(found, n, of)
    values = np.array([_number(found, row) for row in range(n)]) if found.is_text else found.values
    with _placed(found):
        return check_weights(values, n, name=spec).numpy()


def read_frequencies(said: str | None, texts: Opened, words: tuple[str, ...] = ("balanced",)) -> Any:
    """Return how often each candidate occurs: one of the words, or the numbers of a file."""
    return said if said is None or said in words else read_weights(said, len(texts), "candidates")


def read_costs(spec: str, texts: Opened) -> tuple[NDArray[np.float64], list[str] | None]:
    """Read the costs (K, A) of each decision for each true class, and what decisions are called in a table.

    A table has a header with the decisions and a row for each class, its name or its row number first.
    """
    path, name = split(spec)
    if kind(path) not in (".csv", ".tsv"):
        return open_embeddings(path, column=name)[:].astype(np.float64), None
    with opening(path):
        header, *rows = text_table(path)
    while rows and not any(rows[-1]):
        rows.pop()
    wide, decisions = len(header), [plain(name) for name in header[1:]]
    for column, name in enumerate(decisions, 1):
        if not name or name in decisions[: column - 1]:
            wrong = f"has {shown(name)} twice" if name else "names no decision"
            raise ValueError(
                f"{spec}: its header {wrong}, in column {column}; give each decision a name of its own."
            )
    for at, row in enumerate(rows):
        if len(row) != wide or wide < 2:
            raise ValueError(
                f"{spec} has {len(row)} values in row {at} under a header of {wide}; it takes a "
                "class and its costs in each, and a header of as many."
            )
    classes = Vector(np.array([row[0] for row in rows], dtype=object), spec, [path], [0])
    check_count(classes, len(texts), "TEXTS")
    found = (
        row_numbers(classes.values, spec) if texts.names is None else texts.names.rows(classes.values, spec)
    )
    if sorted(found) != list(range(len(texts))):
        raise ValueError(f"{spec} must have a row for each of the {len(texts)} candidates, each once.")
    costs = np.empty((len(rows), wide - 1))
    for column in range(1, wide):
        cells = Vector(np.array([row[column] for row in rows], dtype=object), spec, [path], [0])
        costs[found, column - 1] = [_number(cells, row) for row in range(len(rows))]
    return costs, header[1:]


def _number(found: Vector, row: int) -> float:
    try:
        return decimal(found.values[row])
    except ValueError:
        what = f"{found.spec} has {shown(found.values[row])} in"
        raise BadRowError(what, row, "; expected a number.", found.at(row)) from None


def read_values(spec: str) -> Vector:
    """Read one value for each row: an array, a column, or the lines of a text file.

    Numbers and booleans keep their type; text stays text.
    """
    path, name = split(spec)
    if not path.exists():
        raise FileNotFoundError(f"there is neither a file nor a folder {path}.")
    paths = shard_paths(path) if path.is_dir() else [path]
    parts, starts = [], [0]
    for part in paths:
        try:
            parts.append(_read_part(part, name))
        except BadRowError as error:
            row = starts[-1] + error.row
            raise error.moved(starts[-1], place(row, paths, starts)) from None
        starts.append(starts[-1] + len(parts[-1]))
    is_text = [part.dtype.kind in "OSU" for part in parts]
    if any(is_text) and not all(is_text):
        text, other = is_text.index(True), is_text.index(False)
        kinds = f"text in {paths[text].name} and {parts[other].dtype} in {paths[other].name}"
        raise ValueError(f"{spec} has {kinds}; save one kind.")
    values = np.concatenate(parts) if len(parts) > 1 else parts[0]
    found = Vector(values, spec, paths, starts)
    if values.dtype.kind in "OSU":
        found = found._replace(values=np.array([_text(found, row) for row in range(len(values))], object))
    return found


def check_count(found: Vector, n: int, of: str) -> None:
    """Raise unless there is a value for each of `n` rows of `of`."""
    if len(found.values) != n:
        headed = kind(found.paths[0]) in (".csv", ".tsv") and len(found.values) == n - 1
        hint = " Its first line was taken for a header: write one, or name the file .txt." if headed else ""
        has = f"{found.spec} has {len(found.values)} values"
        raise ValueError(f"{has} but {of} has {n} rows; pass one for each.{hint}")


@contextmanager
def _placed(found: Vector) -> Iterator[None]:
    """Let an error of a value name its row as `Vector.at` does."""
    try:
        yield
    except BadRowError as error:
        raise error.moved(0, found.at(error.row)) from None


def _text(found: Vector, row: int) -> str:
    """Return a value as text, or raise where there is none."""
    value = found.values[row]
    try:
        text = value.decode() if isinstance(value, bytes) else "" if value is None else str(value).strip()
    except UnicodeDecodeError:
        what = f"{found.spec} has {shown(value)} in"
        raise BadRowError(what, row, "; save it as text in UTF-8.", found.at(row)) from None
    if len(text) > NAME_CHARACTERS:
        what, most = f"{found.spec} has a text of {len(text):,} characters in", f"at most {NAME_CHARACTERS:,}"
        raise BadRowError(what, row, f", {most} are read; write a shorter one.", found.at(row))
    if not text:
        raise BadRowError(f"{found.spec} has no value in", row, "; write one for each row.", found.at(row))
    return text


def _without_names(found: Vector) -> NDArray[np.int64]:
    """Return texts as row numbers, or say how to pass names."""
    try:
        return row_numbers(found.values, found.spec, found.at)
    except BadRowError as error:
        error.add_note("For names, pass --names, a file with the name of each row of TEXTS.")
        raise


def _open(given: str | list[str], part: str) -> Shards:
    """Open embeddings; of a clip-retrieval folder this part; of several sources one after the other."""
    specs = [given] if isinstance(given, str) else [one for spec in given for one in _matching(spec)]
    if len(specs) > 1:
        paths, names = zip(*map(split, specs), strict=True)
        if len(set(names)) > 1:
            raise UsageError(f"several sources have one NAME behind {SEPARATOR}, got {', '.join(specs)}.")
        files = [file for path in paths for file in (shard_paths(path) if path.is_dir() else [path])]
        return open_embeddings(files, column=names[0])
    path, name = split(specs[0])
    folder = path / part
    with _say_how_to_name(path):
        return open_embeddings(folder if folder.is_dir() else path, column=name)


def _matching(spec: str) -> list[str]:
    """Return the sources that a pattern matches, in the order of their numbers; another name as it is."""
    name, inside = split_name(spec)
    if not is_pattern(name) or (not is_remote(name) and split(spec)[0].exists()):
        return [spec]
    found = matching(name) if is_remote(name) else glob(os.path.expanduser(name))
    if not found:
        raise FileNotFoundError(f"no file matches {masked(name)}.")
    found.sort(
        key=lambda one: [int(part) if at % 2 else part for at, part in enumerate(re.split(r"(\d+)", one))]
    )
    return [f"{one}{SEPARATOR}{inside}" if inside else one for one in found]


@contextmanager
def _say_how_to_name(path: Path) -> Iterator[None]:
    """Add to the error of a file with several arrays how a command line names one."""
    try:
        yield
    except ValueError as error:
        if PASS_COLUMN not in str(error):
            raise
        said = ValueError(str(error).replace(PASS_COLUMN, "say which"))
        said.add_note(f"Name it with {path}{SEPARATOR}NAME.")
        raise said from error


def _read_part(path: Path, name: str | None) -> NDArray[Any]:
    if kind(path) not in VECTOR_SUFFIXES:
        raise ValueError(f"{path} is of no known kind; values are read from {', '.join(VECTOR_SUFFIXES)}.")
    with _say_how_to_name(path):
        return read_vector(path, name)


def split_label(spec: str) -> tuple[str | None, str]:
    """Split ``LABEL=NAME``, unless it is the name of a folder, or an address, whose query has signs too."""
    label, equals, name = spec.partition("=")
    if not is_remote(name):
        label, equals, name = spec.rpartition("=")
    is_name = os.path.isdir(os.path.expanduser(spec)) or is_remote(spec)
    return (label, name) if equals and not is_name else (None, spec)
