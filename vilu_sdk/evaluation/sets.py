"""Data sets of a benchmark: arrays by name, in memory, in an ``.npz`` file or a folder of ``.npy`` files."""

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.evaluation.problem import Problem, check_problem
from vilu_sdk.inputs.foreign import check_file, opened_zip

#: A data set as a user holds it: arrays by name, a path to them, or a function that returns either.
Source = Mapping[str, Any] | str | os.PathLike[str] | Callable[[], Any]
#: What ends the file of a finished cell of a benchmark.
CELL = ".cell.npz"
#: The arrays that a set can have.
ARRAYS = (
    *("z_img_train", "labels_train", "groups_train", "z_img_test", "labels_test", "groups_test"),
    *("z_img", "labels", "groups", "z_txt_train", "z_txt_test", "z_txt", "logit_scale"),
)


class DataSet(NamedTuple):
    """One set, checked: what is fitted and what is scored, or all rows of a set without a split.

    Either of `train` and `test` is None where there is none. `every` are the rows of a set that has no split.
    """

    name: str
    train: Problem | None
    test: Problem | None
    every: Problem | None
    logit_scale: float | None


def read_arrays(
    path: str | os.PathLike[str], names: Sequence[str] | None = ARRAYS
) -> Mapping[str, NDArray[Any]]:
    """Read the arrays of these names (None: all) of an ``.npz`` file, or map those of a folder into memory.

    Raises
    ------
    ValueError
        If a file holds no arrays, or is beyond the limits of files that nobody vouches for.
    """
    path = Path(path).expanduser()
    try:
        if path.is_dir():
            files = [file for file in sorted(path.glob("*.npy")) if names is None or file.stem in names]
            for file in files:
                check_file(file)
            return {file.stem: np.load(file, mmap_mode="r", allow_pickle=False) for file in files}
        with opened_zip(path), path.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if names is None or name in names}
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is no .npz file or folder of .npy files with numbers: {error}") from error


def sets_of(given: Any) -> Iterator[tuple[str, Source]]:
    """Yield names and sources of a mapping, of a folder, or of pairs.

    Raises
    ------
    TypeError, ValueError
        If it is none of these, or a folder holds no sets.
    """
    if isinstance(given, str | os.PathLike):
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise ValueError(f"sets: there is no folder {folder}; pass the folder of the embeddings.")
        there = {*folder.glob("*.npz"), *(file.parent for file in folder.glob("*/z_txt*.npy"))}
        # Hidden files are none of the user's, and finished cells may be kept beside the sets.
        found = sorted(path for path in there if not path.name.startswith(".") and CELL not in path.name)
        if not found:
            raise ValueError(
                f"sets: {folder} holds no sets, which are .npz files or folders of .npy files with a "
                "z_txt.npy; the page on the reproduction says what is in them."
            )
        yield from ((path.stem if path.is_file() else path.name, path) for path in found)
    elif isinstance(given, Mapping):
        if any(name in given for name in ("z_txt", "z_txt_test")):
            raise TypeError(
                'sets is one set; give it a name, as in {"my set": {"z_img": z_img, "labels": labels, …}}.'
            )
        yield from ((str(name), source) for name, source in given.items())
    elif isinstance(given, Iterable):
        for number, pair in enumerate(given):
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TypeError(f"sets: entry {number} must be a pair of a name and a set.")
            yield str(pair[0]), pair[1]
    else:
        raise TypeError(
            "sets must be a mapping from names to sets, a folder, or yield pairs of a name and a set; "
            f"got {type(given).__name__}."
        )


def open_set(name: str, source: Source, batch_size: int | None) -> DataSet:
    """Read and check a set.

    Raises
    ------
    ValueError, TypeError
        If arrays are missing, unknown or malformed; the message begins with the name of the set.
    """
    try:
        given = source() if callable(source) else source
        arrays = given if isinstance(given, Mapping) else read_arrays(given)
        return _checked(name, arrays, batch_size)
    except (ValueError, TypeError, OSError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"sets: {name}: {error}") from error


def _checked(name: str, arrays: Mapping[str, Any], batch_size: int | None) -> DataSet:
    scale = arrays.get("logit_scale")
    logit_scale = None if scale is None else float(np.asarray(scale).reshape(()))

    def part(suffix: str) -> Problem | None:
        images = arrays.get(f"z_img{suffix}")
        if images is None:
            return None
        labels, text = arrays.get(f"labels{suffix}"), arrays.get(f"z_txt{suffix}", arrays.get("z_txt"))
        if text is None:
            raise ValueError(f"there is no z_txt for z_img{suffix}")
        if labels is None and f"z_txt{suffix}" not in arrays:
            raise ValueError(f"z_img{suffix} has neither labels{suffix} nor, of captions, z_txt{suffix}")
        labels = None if labels is None else np.asarray(labels)
        if labels is not None and labels.dtype.kind in "iu":
            labels = labels.astype(np.int64)
        size = None if suffix == "_train" or labels is not None else batch_size
        return check_problem(_floats(images), _floats(text), labels, size, arrays.get(f"groups{suffix}"))

    train, test, every = part("_train"), part("_test"), part("")
    if test is None and every is None:
        raise ValueError(f"there is neither z_img_test nor z_img among {', '.join(arrays) or 'no arrays'}")
    if every is not None and (train is not None or test is not None):
        raise ValueError("there are z_img and z_img_train or z_img_test; leave one of them out")
    if train is not None and test is not None and (train.labels is None) != (test.labels is None):
        raise ValueError("labels_train or labels_test is missing; of captions, both are")
    return DataSet(name, train, test, every, logit_scale)


def _floats(values: Any) -> Any:
    """Return halves, which files store, as float32; everything else as it is."""
    array: NDArray[Any] | Any = values
    return array.astype(np.float32) if getattr(array, "dtype", None) == np.float16 else array
