"""Labels, feedback, weights and numbers in: one value for each image, or one alone."""

import math
import numbers
import os
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.exceptions import LogitScaleWarning, warn
from vilu_sdk.inputs.columns import class_names
from vilu_sdk.inputs.containers import refuse_missing, vector, what_it_holds
from vilu_sdk.inputs.names import NONE, Names
from vilu_sdk.inputs.places import BadRowError, shown

# Around ln 100 and ln 117.3, which CLIP and SigLIP have learned, and around the inverses of 100 and 117.3.
LOGARITHMS, TEMPERATURES = (4.45, 4.85), (0.007, 0.015)
# That numpy's random streams can start from.
LARGEST_SEED = 2**32 - 1
# In float32, logits of such a scale are known to 0.06 alone. Of its inverse, softmaxes are flat.
LARGEST_SCALE = 1e6


def check_labels(labels: Any, n: int, k: int, *, name: str = "labels", names: Names | None = None) -> Tensor:
    """Return labels as an int64 tensor of shape (n,) with values in [0, k), or `NONE`.

    Where candidates have `names`, labels that are text are names; integers are row numbers always, but for
    those of a column of a data set that says which classes they stand for.
    """
    array = vector(labels, name, n, k)
    refuse_missing(array, name)
    if names is not None:
        array = _rows_of_names(array, class_names(labels), names, name)
    if array.dtype.kind not in "iu":
        remedy = {
            "b": "whether predictions were right goes into correct=",
            "f": "convert them if all are whole, as with .astype(int) or .long()",
            "U": "names are labels where candidates have them: pass a mapping from names to embeddings, or "
            "[names.index(label) for label in labels]",
            "O": "pass all names, or all row numbers",
        }.get(array.dtype.kind)
        raise ValueError(
            f"{name} must be integers (row numbers of z_txt), got {what_it_holds(array)}"
            f"{f'; {remedy}' if remedy else ''}."
        )
    outside = np.flatnonzero((array < NONE) | (array >= k))
    if len(outside):
        row = outside[0]
        starts_at_1 = array.min() == 1 and array.max() == k
        remedy = "check that labels and z_txt use the same class order; -1 says none of the candidates."
        before = f"{name} must lie in [0, {k}), the rows of z_txt, but"
        after = f" is {array[row]}; {'labels seem to start at 1: subtract 1.' if starts_at_1 else remedy}"
        raise BadRowError(before, int(row), after, f"{name}[{row}]")
    return torch.from_numpy(array.astype(np.int64))


def _rows_of_names(array: NDArray[Any], classes: list[str] | None, names: Names, name: str) -> NDArray[Any]:
    """Return the rows of labels (n,) that are names or stand for those of `classes`, others as they are."""
    if array.dtype.kind == "U":
        texts, first, which = np.unique(array, return_index=True, return_inverse=True)
        rows, order = np.empty(len(texts), np.int64), np.argsort(first)
        try:
            rows[order] = names.rows(texts[order], name)
        except BadRowError as error:
            row = int(first[order][error.row])
            raise error.moved(row - error.row, f"row {row}") from None
        return rows[which]
    if classes is None or array.dtype.kind not in "iu":
        return array
    used = np.unique(array[(array >= 0) & (array < len(classes))])
    rows = np.arange(max(len(classes), len(names)))
    rows[used] = names.rows([classes[code] for code in used], f"the class names of {name}")
    return np.where((array >= 0) & (array < len(classes)), rows[array.clip(0, len(classes) - 1)], array)


def check_correct(correct: Any, n: int, *, name: str = "correct") -> Tensor:
    """Return right/wrong feedback as a bool tensor of shape (n,)."""
    array = vector(correct, name, n)
    refuse_missing(array, name)
    wants = f"{name} must be booleans (True where the prediction was right) or 0 and 1, got"
    if array.dtype.kind not in "biu":
        held = what_it_holds(array)
        raise ValueError(f"{wants} {held}; floats are converted first, and class labels go into `labels`.")
    if len(other := np.flatnonzero(~np.isin(array, (0, 1)))):
        row = int(other[0])
        raise BadRowError(f"{wants} {array[row]} in", row, "; class labels go into `labels`.")
    return torch.from_numpy(array.astype(bool))


def check_weights(weights: Any, n: int, *, name: str = "sample_weight") -> Tensor:
    """Return sample weights as a float64 tensor of shape (n,), in a unit in which equal ones are 1.

    They sum to as many rows as the weighted ones are worth, Kish's effective sample size.
    """
    array = vector(weights, name, n)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got {what_it_holds(array)}.")
    array = array.astype(np.float64)
    bad = np.flatnonzero(~((array >= 0) & np.isfinite(array)))
    if len(bad):
        row = int(bad[0])
        before, after = f"{name} must be finite and not negative, but", f" is {array[row]}."
        raise BadRowError(before, row, after, f"{name}[{row}]")
    if not array.any():
        raise ValueError(f"{name} is zero everywhere; give at least one entry a number above 0.")
    array = array / array.max()  # whose sums are finite
    return torch.from_numpy(array * (array.sum() / np.square(array).sum()))


def check_groups(groups: Any, n: int, *, name: str = "groups") -> NDArray[Any]:
    """Return groups (n,) as numbers, booleans or strings; objects of another type are known by their text."""
    array = vector(groups, name)
    refuse_missing(array, name)
    if len(array) != n or array.dtype.names or len({type(value) for value in array}) > 1:
        raise ValueError(
            f"{name} must hold one integer or string for each of the {n} images, got {len(array)} of "
            f"{what_it_holds(array)}."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(
            f"{name}[{row}] is {array[row]}, which names no group; fill it in, or leave out its row."
        )
    if array.dtype.kind in "biufU":
        return array
    return np.array([value.decode() if isinstance(value, bytes) else str(value) for value in array])


def check_units(groups: Any, n: int, *, name: str = "groups") -> Tensor:
    """Return what each of n rows comes from as an int64 tensor of numbers from 0 on."""
    known = check_groups(groups, n, name=name)
    if known.dtype.kind == "b":
        raise ValueError(
            f"{name} holds booleans, by which all images come from two things; pass an integer or a string "
            "for what each image comes from."
        )
    return torch.from_numpy(np.unique(known, return_inverse=True)[1].astype(np.int64))


def require_candidates(k: int, method: str, minimum: int = 2) -> None:
    """Raise where a method has no meaning with so few candidates."""
    if k < minimum:
        raise ValueError(
            f"{method} compares candidates and needs at least {minimum}, but z_txt_set has {k}; "
            "add the alternatives the prediction is chosen from."
        )


def fraction(value: Any, name: str) -> float:
    """Return a number strictly between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or not 0 < value < 1:
        raise ValueError(f"{name} must be a number strictly between 0 and 1, got {value!r}.")
    return float(value)


def _alone(value: Any) -> Any:
    """Return the only number of an array or tensor, such as a model's logit scale, others as they are."""
    is_one = isinstance(value, Tensor | np.ndarray) and math.prod(value.shape) == 1
    return value.item() if is_one and not getattr(value, "is_meta", False) else value


def share(value: Any, name: str) -> float:
    """Return a number above 0 and at most 1."""
    value = _alone(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}.")
    if not 0 < _as_float(value) <= 1:
        raise ValueError(f"{name} must lie in (0, 1], got {value!r}.")
    return float(value)


def unit(value: Any, name: str) -> float:
    """Return a number from 0 to 1."""
    value = _alone(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}.")
    if not 0 <= _as_float(value) <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value!r}.")
    return float(value)


def as_path(value: Any, name: str) -> Path:
    """Return the path of a file or a folder."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path, got {shown(value)}.")
    return Path(value).expanduser()


def is_word(value: Any, words: Container[str]) -> bool:
    """Whether a value is one of some words; an array is none, whatever is in it."""
    return isinstance(value, str) and value in words


def whole(value: Any, name: str, least: int) -> int:
    """Return an integer of at least so much."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
    return int(value)


def flag(value: Any, name: str) -> bool:
    """Return whether something is to be done; a word is no answer, since every word would count as yes."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}.")
    return bool(value)


def seed(value: Any, name: str) -> int:
    """Return an integer that numpy can start a random stream from."""
    if whole(value, name, 0) > LARGEST_SEED:
        raise ValueError(f"{name} must be below 2**32, got {value!r}.")
    return int(value)


def _as_float(value: Any) -> float:
    """Return a number as a float, infinite where it is beyond all of them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def positive(value: Any, name: str) -> float:
    """Return a finite number above 0."""
    value = _alone(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}.")
    number = _as_float(value)
    if not 0 < number < float("inf"):
        raise ValueError(f"{name} must be finite and above 0, got {number}.")
    return number


def not_negative(value: Any, name: str) -> float:
    """Return a finite number of at least 0."""
    value = _alone(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}.")
    if not 0 <= _as_float(value) < np.inf:
        raise ValueError(f"{name} must be finite and at least 0, got {value!r}.")
    return float(value)


def check_logit_scale(value: Any) -> float:
    """Return a logit scale, with a warning where it looks like its logarithm or its inverse."""
    scale = positive(value, "logit_scale")
    if not 1 / LARGEST_SCALE <= scale <= LARGEST_SCALE:
        least, most = 1 / LARGEST_SCALE, LARGEST_SCALE
        bounds = f"at least {least:g} and at most {most:g}"
        raise ValueError(f"logit_scale must be {bounds}, got {scale:g}; CLIP's is 100.")
    for looks_like, (low, high), remedy in (
        ("the logarithm that models store", LOGARITHMS, "pass .exp() of it"),
        ("a temperature, the inverse of the scale", TEMPERATURES, "pass 1 / temperature"),
    ):
        if low < scale < high:
            warn(f"logit_scale={scale:g} looks like {looks_like}: {remedy}.", LogitScaleWarning)
    return scale
