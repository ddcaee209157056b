"""Labels, feedback, weights and numbers in: one value for each image, or one alone."""

import math
import numbers
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.exceptions import LogitScaleWarning, warn

# Around ln 100 and ln 117.3, which CLIP and SigLIP have learned, and around the inverses of 100 and 117.3.
LOGARITHMS, TEMPERATURES = (4.45, 4.85), (0.007, 0.015)


def check_labels(labels: Any, n: int, k: int, *, name: str = "labels") -> Tensor:
    """Return labels as an int64 tensor of shape (n,) with values in [0, k)."""
    array = _vector(labels, n, name)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers (row numbers of z_txt), got dtype {array.dtype}.")
    outside = np.flatnonzero((array < 0) | (array >= k))
    if len(outside):
        row = outside[0]
        raise ValueError(
            f"{name} must lie in [0, {k}), the rows of z_txt, but {name}[{row}] is {array[row]}; "
            "check that labels and z_txt use the same class order."
        )
    return torch.from_numpy(array.astype(np.int64))


def check_correct(correct: Any, n: int) -> Tensor:
    """Return right/wrong feedback as a bool tensor of shape (n,)."""
    array = _vector(correct, n, "correct")
    if array.dtype.kind != "b" and not (array.dtype.kind in "iu" and np.isin(array, (0, 1)).all()):
        raise ValueError(
            "correct must be booleans (True where the prediction was right) or 0 and 1, got dtype "
            f"{array.dtype}; class labels go into `labels`."
        )
    return torch.from_numpy(array.astype(bool))


def check_weights(weights: Any, n: int, *, name: str = "sample_weight") -> Tensor:
    """Return sample weights as a float64 tensor of shape (n,)."""
    array = _vector(weights, n, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}.")
    array = array.astype(np.float64)
    bad = np.flatnonzero(~((array >= 0) & np.isfinite(array)))
    if len(bad):
        raise ValueError(f"{name} must be finite and not negative, but {name}[{bad[0]}] is {array[bad[0]]}.")
    if not array.any():
        raise ValueError(f"{name} is zero for every image; give at least one a weight.")
    return torch.from_numpy(array)


def check_groups(groups: Any, n: int) -> NDArray[Any]:
    """Return groups as an array of shape (n,) of integers or strings."""
    keys = groups.detach().cpu().numpy() if isinstance(groups, Tensor) else np.asarray(groups)
    if keys.dtype == object and all(isinstance(key, str) for key in keys.ravel()):
        keys = keys.astype(str)  # as pandas gives them
    if keys.shape != (n,) or keys.dtype.kind not in "iuU":
        raise ValueError(
            f"groups must hold one integer or string for each of the {n} images, got shape {keys.shape} "
            f"and dtype {keys.dtype}."
        )
    return keys


def check_units(groups: Any, n: int) -> Tensor:
    """Return what each of n rows comes from as an int64 tensor of numbers from 0 on."""
    return torch.from_numpy(np.unique(check_groups(groups, n), return_inverse=True)[1].astype(np.int64))


def require_candidates(k: int, method: str, minimum: int = 2) -> None:
    """Raise where a method has no meaning with so few candidates."""
    if k < minimum:
        raise ValueError(
            f"{method} compares candidates and needs at least {minimum}, but z_txt_set has {k}; "
            "add the alternatives the prediction is chosen from."
        )


def positive(value: Any, name: str) -> float:
    """Return a finite number above 0."""
    if isinstance(value, Tensor | np.ndarray) and math.prod(value.shape) == 1:
        value = value.item()  # a model's learnt logit scale often comes as a tensor
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}.")
    number = float(value)
    if not 0 < number < float("inf"):
        raise ValueError(f"{name} must be finite and above 0, got {number}.")
    return number


def check_logit_scale(value: Any) -> float:
    """Return a logit scale, with a warning where it looks like its logarithm or its inverse."""
    scale = positive(value, "logit_scale")
    for looks_like, (low, high), remedy in (
        ("the logarithm that models store", LOGARITHMS, "pass .exp() of it"),
        ("a temperature, the inverse of the scale", TEMPERATURES, "pass 1 / temperature"),
    ):
        if low < scale < high:
            warn(f"logit_scale={scale:g} looks like {looks_like}: {remedy}.", LogitScaleWarning)
    return scale


def _vector(values: Any, n: int, name: str) -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got an array of shape {array.shape}.")
    if len(array) != n:
        raise ValueError(f"{name} has {len(array)} entries but z_img has {n} rows; pass one for each image.")
    return array
