"""Sufficient statistics of classes: counts, sums and one second moment, gathered chunk by chunk."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import add_up
from vilu_sdk.inputs.rows import check_square
from vilu_sdk.inputs.slices import cut
from vilu_sdk.persistence.encoding import storable

# Rows of the blocks that symmetric and triangular products are cut into.
BLOCK = 256


@storable
@dataclass(frozen=True)
class Moments:
    """What class Gaussians need of n feature vectors, about their overall mean."""

    centre: Tensor  # (d,), mean of all vectors
    counts: Tensor  # (K,), vectors of each class; not whole where assignments are soft or vectors weighted
    sums: Tensor  # (K, d), of x - centre in each class
    scatter: Tensor  # (d, d), sum of (x - centre)(x - centre)ᵀ over all vectors

    def within(self) -> Tensor:
        """Sum (d, d) of (x - m)(x - m)ᵀ over all vectors, with m the mean of the class of each."""
        seen = self.counts > 0
        sums = self.sums[seen]
        return self.scatter - (sums / self.counts[seen, None]).T @ sums

    @classmethod
    def gather(cls, chunks: Iterable[tuple[Tensor, ...]], k: int, shift: Tensor | None = None) -> "Moments":
        """Sum over chunks of vectors (n, d), their classes (n,) and weights (n,), or soft assignments (n, K).

        With `shift` (d,), which all processes have, sums are over all processes and their chunks.
        """
        chunks, shared = iter(chunks), shift is not None
        if shift is None:
            # Sums about a vector near the mean: sums about the origin would lose digits.
            first = next(chunks)
            shift, chunks = first[0].mean(dim=0), chain([first], chunks)
        d = len(shift)
        check_square(d)
        counts = torch.zeros(k, dtype=torch.float64)
        sums = torch.zeros(k, d, dtype=torch.float64)
        scatter = torch.zeros(d, d, dtype=torch.float64)
        for x, classes, *more in chunks:
            x, weights = x - shift, more[0] if more else None
            weighted = x if weights is None else x * weights.to(x)[:, None]
            scatter += _gram(weighted, x)
            if classes.ndim == 1:
                counts += torch.bincount(classes, weights, minlength=k)
                sums += torch.zeros(k, d, dtype=x.dtype).index_add_(0, classes, weighted)
            else:
                counts += classes.sum(dim=0)
                sums += classes.T @ x
        if shared:
            add_up(counts, sums, scatter)
        offset = sums.sum(dim=0) / counts.sum()
        dtype = shift.dtype
        return cls(
            centre=shift + offset.to(dtype),
            counts=counts.to(dtype),
            sums=(sums - counts[:, None] * offset).to(dtype),
            scatter=(scatter - counts.sum() * torch.outer(offset, offset)).to(dtype),
        )

    @classmethod
    def none(cls, k: int, like: Tensor) -> "Moments":
        """Those of no vectors, of the width of `like` (n, d)."""
        zeros = like.new_zeros
        d = like.shape[1]
        return cls(zeros(d), zeros(k), zeros(k, d), zeros(d, d))

    def times(self, share: float) -> "Moments":
        """Let every vector count for a share of itself."""
        counts, sums, scatter = share * self.counts, share * self.sums, share * self.scatter
        return replace(self, counts=counts, sums=sums, scatter=scatter)

    def __add__(self, other: "Moments") -> "Moments":
        """Join other vectors of the same classes."""
        mine, others = self.counts.sum(), other.counts.sum()
        centre = self.centre + (others / (mine + others)) * (other.centre - self.centre)
        parts = [(part, part.centre - centre) for part in (self, other)]
        return Moments(
            centre=centre,
            counts=self.counts + other.counts,
            sums=sum((part.sums + torch.outer(part.counts, off) for part, off in parts), torch.zeros(())),
            scatter=sum(
                (part.scatter + part.counts.sum() * torch.outer(off, off) for part, off in parts),
                torch.zeros(()),
            ),
        )


def _gram(weighted: Tensor, x: Tensor) -> Tensor:
    """Product wᵀ x (d, d) of vectors x (n, d) and the same times weights, which is symmetric.

    So the blocks above the diagonal need not be computed.
    """
    found = x.new_zeros(x.shape[1], x.shape[1])
    for rows in cut(x.shape[1], BLOCK):
        found[rows, : rows.stop] = weighted[:, rows].T @ x[:, : rows.stop]
    return found.tril() + found.tril(-1).T


def shrunk(covariance: Tensor, shrinkage: float) -> Tensor:
    """Spread a share of a covariance (d, d) evenly over all directions."""
    found = (1 - shrinkage) * covariance
    # Below this, which unit vectors reach where all of a class are one, a variance is rounding.
    least = max(1e-12, 4 * torch.finfo(covariance.dtype).eps)
    found.diagonal().add_(shrinkage * covariance.diagonal().mean().clamp_min(least))
    return found
