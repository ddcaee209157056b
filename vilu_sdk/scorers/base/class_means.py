"""Class means of images in the place of texts, without fooling who learns from the same images."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from vilu_sdk.inputs.rows import SMALLEST_NORM, Rows


def class_means(
    X: Any, labels: NDArray[np.intp], classes: NDArray[Any], weights: Tensor
) -> NDArray[np.float64]:
    """Weighted mean of the unit images of each class, (K, d)."""
    if len(classes) < 2:
        raise ValueError(
            f"y holds one class, {classes[0]}; without texts the classes come from y, so pass at least two."
        )
    images, index = Rows(X, "X"), torch.from_numpy(labels)
    sums = torch.zeros(len(classes), images.d, dtype=torch.float64)
    for rows, z in images.chunks():
        sums.index_add_(0, index[rows], weights[rows, None] * z.double())
    means = (sums / torch.bincount(index, weights)[:, None]).numpy()
    if (empty := np.linalg.norm(means, axis=1) < SMALLEST_NORM).any():
        raise ValueError(
            f"the images of class {classes[empty][0]} have a mean of zero, which has no direction; pass a "
            "text for each class to `bind`."
        )
    return means


def leave_own_out(
    X: Any,
    labels: NDArray[np.intp],
    means: NDArray[np.float64],
    weights: Tensor,
    groups: Tensor | None = None,
) -> NDArray[np.float32]:
    """Turn each unit image so that it lies to its class mean as it would to the mean of the others, (N, d).

    An image is part of the mean of its class and so looks surer than a new one; among few images of high
    dimension hardly any would fail. A scorer takes one set of texts, so the images are moved instead: by
    the rotation that takes the mean without the image to the mean with it. It fixes the direction that
    the other classes share, so that the cosines to them hardly change. Only images stay that are alone. Of
    groups (N,), all images of the class are left out with the image.
    """
    images, index = Rows(X, "X"), torch.from_numpy(labels)
    mean = torch.from_numpy(means)
    own = normalize(mean, dim=1)
    others = normalize(own.sum(dim=0) - own, dim=1)
    totals = torch.bincount(index, weights)
    own_rows = torch.arange(len(images)) if groups is None else groups
    cell = torch.unique(torch.stack([index, own_rows]), dim=1, return_inverse=True)[1]
    left_out = torch.zeros(int(cell.max()) + 1, images.d, dtype=torch.float64)
    for rows, z in images.chunks():
        left_out.index_add_(0, cell[rows], weights[rows, None] * z.double())
    share = torch.bincount(cell, weights)
    turned = np.empty((len(images), images.d), dtype=np.float32)
    for rows, z in images.chunks():
        z, c = z.double(), index[rows]
        fixed = others[c]
        left = totals[c] - share[cell[rows]]
        source = _across(totals[c, None] * mean[c] - left_out[cell[rows]], fixed)
        target = _across(own[c], fixed)
        # Without the image, a mean that turns round says nothing.
        turn = (left > 1e-9 * totals[c]) & (_dot(source, target)[:, 0] > 0)
        turned[rows] = torch.where(turn[:, None], _rotate(z, source, target), z).numpy()
    return turned


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=1, keepdim=True)


def _across(v: Tensor, axis: Tensor) -> Tensor:
    """Unit vectors (n, d) along what is left of `v` at right angles to `axis`; zero where nothing is."""
    return normalize(v - _dot(v, axis) * axis, dim=1)


def _rotate(z: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Apply the rotation in the plane of two unit vectors that takes `source` to `target`."""
    along = _dot(z, source)
    return z - (along + _dot(z, target)) / (1 + _dot(source, target)) * (source + target) + 2 * along * target
