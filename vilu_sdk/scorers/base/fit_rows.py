"""Which images a scorer was fitted on, known again without keeping them."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.compute.distributed import from_all, own_slices
from vilu_sdk.compute.state import plain_torch
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.persistence.encoding import storable

# A unit row is rounded along so many random directions, which leaves about 48 bits of it.
DIRECTIONS = 8
# Width of the rounding, in standard deviations of a projection. Half precision moves a projection by up to a
# two-hundredth of that, so a row that is nearer to the border of its cell is looked for on both sides.
CELL, BORDER = 1 / 16, 1 / 150
# A row near so many borders at once is looked for on both sides of the first ones only.
MOST_BORDERS = 6
# So many rows are looked at, evenly spread; where one of them is known, all are.
SAMPLE = 1000


@storable
@dataclass(frozen=True, eq=False)
class FitRows:
    """Hashes of rows, 8 bytes each, from which no row can be read back.

    Attributes
    ----------
    hashes : Tensor of shape (n,)
        In ascending order, as int64.
    """

    hashes: Tensor

    @classmethod
    def of(cls, images: Rows) -> "FitRows":
        """Hash all rows, each process its own."""
        own = [hashes(images.look(rows)) for rows in own_slices(images, DIRECTIONS)]
        parts = from_all(np.concatenate(own) if own else np.empty(0, np.int64))
        return cls(torch.from_numpy(np.sort(np.concatenate(parts))))

    def with_those_of(self, earlier: "FitRows | None") -> "FitRows":
        """Return these hashes and those of an earlier fit."""
        if earlier is None:
            return self
        return FitRows(torch.from_numpy(np.union1d(self.hashes.numpy(), earlier.hashes.numpy())))

    def count(self, images: Rows) -> int:
        """Return how many images are rows of the fit, to the rounding of half precision."""
        known, n = self.hashes.numpy(), len(images)
        sample = np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64))
        found = int(_is_among(known, images.read(sample)).sum())
        if not found or len(sample) == n:
            return found
        return sum(int(_is_among(known, images.look(rows)).sum()) for rows in images.slices(DIRECTIONS))


@plain_torch
def hashes(z: Tensor) -> NDArray[np.int64]:
    """Return 64 bits for each unit row (n, d), which are the same for the same image."""
    return _hash(_cells(z)[0])


def _is_among(known: NDArray[np.int64], z: Tensor) -> NDArray[np.bool_]:
    """Whether the hash of each row (n, d) is known, on either side of each border that the row is near."""
    cells, other = _cells(z)
    found = _find(known, _hash(cells))
    rows = np.flatnonzero(~found)
    # The columns of each row that are near a border, first.
    columns = np.argsort(cells[rows] == other[rows], axis=1, kind="stable")[:, :MOST_BORDERS]
    for sides in list(product([False, True], repeat=MOST_BORDERS))[1:]:
        tries, at = cells[rows], np.arange(len(rows))[:, None]
        tries[at, columns[:, sides]] = other[rows[:, None], columns[:, sides]]
        found[rows] |= _find(known, _hash(tries))
    return found


def _cells(z: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cells (n, DIRECTIONS) of unit rows, and those across the borders that they are near."""
    along = (z.float() @ directions(z.shape[1])).double().numpy() / CELL
    cells = np.floor(along).astype(np.int64)
    within = along - cells
    step = np.where(within < BORDER / CELL, -1, np.where(within > 1 - BORDER / CELL, 1, 0))
    return cells, cells + step


def _hash(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Mix cells (n, DIRECTIONS) into 64 bits by the steps of SplitMix64."""
    mixed = np.zeros(len(cells), dtype=np.uint64)
    for column in cells.astype(np.uint64).T:
        mixed += column + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed.view(np.int64)


def _find(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    if not len(known):
        return np.zeros(len(wanted), dtype=bool)
    at = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    return np.asarray(known[at] == wanted)


@lru_cache(maxsize=4)
def directions(d: int) -> Tensor:
    """Directions (d, DIRECTIONS) along which unit rows have a standard deviation of 1, always the same."""
    return torch.randn(d, DIRECTIONS, generator=torch.Generator().manual_seed(d), dtype=torch.float32)
