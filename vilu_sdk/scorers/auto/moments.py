"""Sufficient statistics of classes: counts, sums and one second moment, gathered chunk by chunk."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """What class Gaussians need of n feature vectors, about their overall mean.

    Attributes
    ----------
    centre : Tensor of shape (d,)
        Mean of all vectors.
    counts : Tensor of shape (K,)
        Number of vectors of each class; not whole where assignments are soft.
    sums : Tensor of shape (K, d)
        Sum of ``x - centre`` in each class.
    scatter : Tensor of shape (d, d)
        Sum of ``(x - centre)(x - centre)ᵀ`` over all vectors.
    """

    centre: Tensor
    counts: Tensor
    sums: Tensor
    scatter: Tensor

    @classmethod
    def gather(cls, chunks: Iterable[tuple[Tensor, Tensor]], k: int) -> "Moments":
        """Sum over chunks of vectors (n, d) and their classes, (n,) integers or (n, K) soft assignments."""
        shift: Tensor | None = None
        counts = sums = scatter = torch.empty(0)
        for x, classes in chunks:
            if shift is None:
                # Sums about a vector near the mean: sums about the origin would lose digits.
                shift = x.mean(dim=0)
                counts = torch.zeros(k, dtype=torch.float64)
                sums = torch.zeros(k, x.shape[1], dtype=torch.float64)
                scatter = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
            x = x - shift
            scatter += x.T @ x
            if classes.ndim == 1:
                counts += torch.bincount(classes, minlength=k)
                sums += torch.zeros(k, x.shape[1], dtype=x.dtype).index_add_(0, classes, x)
            else:
                counts += classes.sum(dim=0)
                sums += classes.T @ x
        assert shift is not None
        offset = sums.sum(dim=0) / counts.sum()
        dtype = shift.dtype
        return cls(
            centre=shift + offset.to(dtype),
            counts=counts.to(dtype),
            sums=(sums - counts[:, None] * offset).to(dtype),
            scatter=(scatter - counts.sum() * torch.outer(offset, offset)).to(dtype),
        )
