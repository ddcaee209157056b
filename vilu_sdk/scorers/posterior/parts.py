"""What scoring keeps of each source: functions from images to logits of candidates, in nats."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vilu_sdk.compute.tiles import Logits
from vilu_sdk.inputs.precision import working
from vilu_sdk.persistence.encoding import storable

# Kernel width in units of the vectors' root mean squared distance from their mean.
WIDTH = 0.7

storable(Logits)  # whose room is below that of saving


@storable
@dataclass(frozen=True)
class KernelLogits:
    """Logits that are linear in the kernel between an image and some training images, the landmarks."""

    landmarks: Tensor  # (m, d)
    centre: Tensor  # (d,)
    spread: Tensor  # ()
    linear: Logits  # over the m values of the kernel

    def among(self, columns: Tensor) -> "KernelLogits":
        """Keep some of the candidates."""
        return replace(self, linear=self.linear.among(columns))

    def times(self, weight: float) -> "KernelLogits":
        """Multiply by a weight."""
        return replace(self, linear=self.linear.times(weight))

    def near(self) -> Callable[[Tensor], Tensor]:
        """Return the function from images (n, d) in float64 to their kernel (n, m) with the landmarks."""
        return rbf_kernel(self.landmarks.double(), self.centre.double(), float(self.spread))

    def __call__(self, z: Tensor) -> Tensor:
        """Logits (n, K) of images (n, d)."""
        linear = Logits(self.linear.directions.double(), self.linear.offsets)
        if linear.offsets is not None:
            linear = replace(linear, offsets=linear.offsets.double())
        return linear(self.near()(z.double())).to(z.dtype)


@storable
@dataclass(frozen=True)
class Intercepts:
    """Logits of candidates, `offsets` (K,), that are the same for every image."""

    offsets: Tensor

    def among(self, columns: Tensor) -> "Intercepts":
        """Keep some of the candidates."""
        return Intercepts(self.offsets[columns])

    def times(self, weight: float) -> "Intercepts":
        """Multiply by a weight."""
        return Intercepts(weight * self.offsets)

    def __call__(self, z: Tensor) -> Tensor:
        """Logits (n, K) of images (n, d)."""
        return self.offsets.expand(len(z), -1)


Part = Logits | KernelLogits | Intercepts
#: By the name of their source; the posterior's logits are the sum of them all.
Parts = dict[str, list[Part]]


def log_density(means: Tensor, directions: Tensor, centre: Tensor, slack: Tensor | float = 0.0) -> Logits:
    r"""Logits of Gaussians of means m (K, d) about `centre` c and one precision P, in the default dtype.

    .. math:: \log N(x; c + m, P^{-1}) = x^\top P m - \tfrac12 m^\top P m - c^\top P m + \text{const}

    `directions` (d, K) are P m; `slack` (K,) is added.
    """
    offsets = slack - (0.5 * (means * directions.T).sum(dim=1) + centre @ directions)
    dtype = working()
    return Logits(directions.to(dtype), offsets.to(dtype))


def rbf_kernel(landmarks: Tensor, centre: Tensor, spread: float) -> Callable[[Tensor], Tensor]:
    """Return the function from vectors x (n, d) to exp(-‖x - l‖² w² / 2) for landmarks l (m, d), (n, m).

    All are standardised first. What depends on the landmarks alone is computed once.
    """
    squared = (WIDTH / spread) ** 2
    landmarks = landmarks - centre
    directions, offsets = squared * landmarks.T, -0.5 * squared * landmarks.square().sum(dim=1)

    def near(x: Tensor) -> Tensor:
        x = x - centre
        products = torch.addmm(offsets, x, directions)
        return products.sub_((0.5 * squared) * torch.linalg.vecdot(x, x)[:, None]).exp_()

    return near
