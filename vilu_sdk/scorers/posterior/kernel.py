"""Class Gaussians in the features of a kernel, which see what a linear score cannot."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from vilu_sdk.inputs.slices import cut
from vilu_sdk.scorers.posterior.blend import Blend, Fitted
from vilu_sdk.scorers.posterior.gaussians import ClassGaussians
from vilu_sdk.scorers.posterior.moments import BLOCK, Moments
from vilu_sdk.scorers.posterior.parts import KernelLogits, rbf_kernel

# The kernel has many parameters: with fewer images than these it loses what it gains.
MIN_IMAGES, MIN_IMAGES_PER_CLASS = 100, 8
SHRINKAGES = (0.1, 0.01, 0.003)
MAX_LANDMARKS = 1500


def try_kernel(blend: Blend) -> Iterator[Fitted]:
    """Fit Gaussians in the Nyström features of a kernel, under several shrinkages."""
    data = blend.data
    x = data.x
    if blend.fast or blend.n < max(MIN_IMAGES, MIN_IMAGES_PER_CLASS * blend.k):
        return
    centre = x.mean(dim=0)
    spread = (x - centre).square().sum(dim=1).mean().sqrt()
    landmarks = x[torch.randperm(len(x), generator=blend.generator)[:MAX_LANDMARKS]]
    root = nystroem_root(landmarks, centre, float(spread))
    features = times_upper(rbf_kernel(landmarks, centre, float(spread))(x), root)
    gaussians = ClassGaussians(Moments.gather([(features, data.labels, data.weights)], blend.k), None)

    def fitted(shrinkage: float) -> Fitted:
        found = gaussians.whiten(shrinkage)

        def part(weight: float) -> KernelLogits:
            linear = found.density.times(weight)
            dtype = linear.directions.dtype
            linear = replace(linear, directions=root.to(dtype) @ linear.directions)
            return KernelLogits(landmarks.to(dtype), centre.to(dtype), spread.to(dtype), linear)

        def left_out(rows: Tensor, _: Tensor) -> Tensor:
            return found.leave_groups_out(
                features[rows], data.labels[rows], data.groups[rows], data.weights[rows]
            )

        return Fitted(left_out, part)

    yield from map(fitted, SHRINKAGES)


def times_upper(values: Tensor, upper: Tensor) -> Tensor:
    """Product (n, m) of values with an upper triangular matrix (m, m), whose zeros are left out."""
    found = torch.empty_like(values)
    for columns in cut(len(upper), BLOCK):
        torch.mm(values[:, : columns.stop], upper[: columns.stop, columns], out=found[:, columns])
    return found


def nystroem_root(landmarks: Tensor, centre: Tensor, spread: float) -> Tensor:
    """Matrix (m, m) that turns values of the kernel into features whose inner products are the kernel."""
    gram = rbf_kernel(landmarks, centre, spread)(landmarks)
    gram.diagonal().add_(1e-4)
    identity = torch.eye(len(gram), dtype=gram.dtype)
    inverse = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), identity, upper=False)
    root: Tensor = inverse.T.contiguous()
    return root
