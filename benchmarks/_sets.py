"""Sets of embeddings in .npz files, or in folders of .npy files, as the benchmarks read them.

A class set has z_img_train, labels_train, z_img_test, labels_test and z_txt; a set of pairs has z_img and
z_txt alone, where row i of one belongs to row i of the other. Its `logit_scale` is 100 if it has none.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.compute.progress import track
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.evaluation import sets

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "embeddings"
# Pairs without a split of their own are scored in so many contiguous folds.
FOLDS = 4

Measured = TypeVar("Measured")


class EmbeddingSet(NamedTuple):
    """What `fit` and `evaluate` take: images, texts and labels; of pairs, images and texts to fit on."""

    train: tuple[NDArray[Any], ...]
    test: tuple[NDArray[Any], ...] | None
    logit_scale: float


def read_arrays(path: Path) -> Mapping[str, Any]:
    """Read the arrays of a file, or map those of a folder into memory."""
    return sets.read_arrays(path, names=None)


def scale_of(arrays: Mapping[str, Any]) -> float:
    return float(arrays.get("logit_scale", 100.0))


def read_set(path: Path | None) -> EmbeddingSet:
    """Read a file, with embeddings in float32; None is scikit-learn's digits."""
    if path is None:
        digits = load_digits_vlm()
        train = digits.z_img_fit, digits.z_txt, digits.labels_fit
        return EmbeddingSet(train, (digits.z_img_test, digits.z_txt, digits.labels_test), digits.logit_scale)
    arrays = read_arrays(path)
    z_txt = arrays["z_txt"].astype(np.float32)
    if "labels_train" not in arrays:
        return EmbeddingSet((arrays["z_img"].astype(np.float32), z_txt), None, scale_of(arrays))
    parts = (
        (arrays[f"z_img_{part}"].astype(np.float32), z_txt, arrays[f"labels_{part}"].astype(np.int64))
        for part in ("train", "test")
    )
    return EmbeddingSet(*parts, scale_of(arrays))


def folds(n: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the rows to fit on and the rows that are left out."""
    rows = np.arange(n)
    for held in np.array_split(rows, FOLDS):
        yield np.setdiff1d(rows, held), held


def parser(description: str | None, names: tuple[str, ...]) -> argparse.ArgumentParser:
    """Make a parser that knows which sets to read, and where they are."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--embeddings", type=Path, default=FOLDER)
    made.add_argument("--sets", default=",".join(names), help="names of files, comma separated")
    return made


def open_sets(folder: Path, names: str) -> dict[str, EmbeddingSet]:
    """Read the files that are there, and say which are not."""
    found = {}
    for name in names.split(","):
        path = folder / f"{name}.npz"
        if path.exists():
            found[name] = read_set(path)
        else:
            print(f"skipped {name}: there is no {path}")
    if not found:
        sys.exit("No embeddings to measure on: pass the folder of the .npz files with --embeddings.")
    return found


def by_labels(
    made: argparse.ArgumentParser,
    head: Sequence[str],
    measure: Callable[[EmbeddingSet, int | None, int], Measured],
    *,
    labels: str,
    seeds: int,
) -> Iterator[tuple[str, str, list[Measured]]]:
    """Print the head of a table, and yield what was measured of each set at each number of labels, by seeds.

    `measure` takes a set, the number of labels (None: all) and a seed; `labels` and `seeds` are defaults.
    """
    made.add_argument("--labels", default=labels, help="numbers of labels, comma separated")
    made.add_argument("--seeds", type=int, default=seeds)
    arguments = made.parse_args()
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for name, data in open_sets(arguments.embeddings, arguments.sets).items():
        for size in arguments.labels.split(","):
            n = None if size == "all" else int(size)
            drawn = track(range(arguments.seeds), f"{name}, {size}")
            yield name, size, [measure(data, n, seed) for seed in drawn]
