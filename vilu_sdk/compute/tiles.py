"""Reductions of the softmax over candidates, tile by tile.

What needs no more of an array of images × candidates than a reduction goes through the candidates a tile at
a time, so that what follows a matrix product finds its result in the caches, and memory does not grow with
the candidates.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vilu_sdk.compute.softmax import SplitSoftmax, first_maximum
from vilu_sdk.inputs.slices import cut

#: Columns of a tile of candidates.
TILE = 2048
#: Logits in bits below this, and above its negative, can be raised to powers as they are.
PLAIN = 60.0
#: Share of a sum below which what is left of it without one term is summed anew, or rounding would show.
CANCELS = 1 / 16
#: A sum of exponentials between this and its inverse has lost no term that matters to the range of float32.
SAFE = 1e30
#: Bits in a nat. Torch takes powers of two in half the time of powers of e.
BITS = math.log2(math.e)


@dataclass(frozen=True)
class Logits:
    """Logits of candidates, linear in the image; in bits where they are reduced tile by tile.

    `directions` (d, K) are multiplied with image rows, and `offsets` (K,) are added.
    """

    directions: Tensor
    offsets: Tensor | None = None

    @classmethod
    def zero_shot(cls, text: Tensor, scale: float) -> "Logits":
        """Cosines with texts (K, d), times a scale that is in nats."""
        return cls((BITS * (scale * text)).T)

    def __call__(self, z: Tensor, columns: slice = slice(None), out: Tensor | None = None) -> Tensor:
        """Logits (n, columns) of image rows (n, d)."""
        directions = self.directions[:, columns]
        if self.offsets is None:
            return torch.mm(z, directions, out=out)
        return torch.addmm(self.offsets[columns], z, directions, out=out)

    def among(self, columns: Tensor) -> "Logits":
        """Return the logits of some of the candidates."""
        return Logits(self.directions[:, columns], None if self.offsets is None else self.offsets[columns])

    def times(self, weight: float) -> "Logits":
        """Return the logits multiplied by a weight."""
        return Logits(weight * self.directions, None if self.offsets is None else weight * self.offsets)

    def blocks(self, z: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield each tile of the candidates with its logits, which lie where those of the tile before lay."""
        k = self.directions.shape[1]
        memory = z.new_empty(len(z) * tile_width(k))
        for tile in cut(k, TILE):
            width = tile.stop - tile.start
            yield tile, self(z, tile, memory[: len(z) * width].view(len(z), width))


def nearest(z: Tensor, text: Tensor) -> Tensor:
    """Return the first candidate of the largest cosine (n,) for rows (n, d) among texts (K, d)."""
    best = z.new_full((len(z),), -torch.inf)
    column = torch.zeros_like(best, dtype=torch.int64)
    for tile, cosines in Logits(text.T).blocks(z):
        top, at = first_maximum(cosines)
        column = torch.where(top > best, tile.start + at, column)
        best = torch.maximum(best, top)
    return column


def log_odds(z: Tensor, logits: Logits, column: Tensor | None = None) -> Tensor:
    """Log-odds (n,) in nats that a column (n,), by default the largest of each row of z (n, d), is wrong."""
    return _odds_of_top(z, logits)[1] if column is None else _odds_of_column(z, logits, column)


def peak_and_log_odds(z: Tensor, logits: Logits) -> tuple[Tensor, Tensor]:
    """Return the first largest logit's column (n,) and the log-odds (n,) that it is wrong."""
    column, odds = _odds_of_top(z, logits, search=True)
    assert column is not None
    return column, odds


def _odds_of_top(z: Tensor, logits: Logits, *, search: bool = False) -> tuple[Tensor | None, Tensor]:
    """Log-odds that the largest logit is wrong, and after a search its column."""
    shift = own = z.new_full((len(z),), -torch.inf)
    rest = torch.zeros_like(own)
    column = torch.zeros_like(own, dtype=torch.int64) if search else None
    for tile, block in logits.blocks(z):
        if column is None:
            top = block.amax(dim=1)
        else:
            top, at = first_maximum(block)
            column = torch.where(top > own, tile.start + at, column)
        shift = shift if tile.start else _shift(top)
        rest += torch.exp2(torch.minimum(own, top) - shift)  # the loser of the two is one of the rest
        rest += _sum_but_top(_powers(block, shift), torch.exp2(top - shift))
        own = torch.maximum(own, top)
    return column, _finish(rest, own - shift, z, logits, None)


def _odds_of_column(z: Tensor, logits: Logits, column: Tensor) -> Tensor:
    shift = own = z.new_full((len(z),), -torch.inf)
    rest = torch.zeros_like(own)
    for tile, block in logits.blocks(z):
        shift = shift if tile.start else _shift(block.amax(dim=1))
        inside = (column >= tile.start) & (column < tile.stop)
        at = (column - tile.start).clamp(0, block.shape[1] - 1)[:, None]
        value = block.gather(1, at)[:, 0]
        own = torch.where(inside, value, own)
        block.scatter_(1, at, torch.where(inside, -torch.inf, value)[:, None])
        rest += _powers(block, shift).sum(dim=1)
    return _finish(rest, own - shift, z, logits, column)


def _finish(rest: Tensor, own: Tensor, z: Tensor, logits: Logits, column: Tensor | None) -> Tensor:
    """Log-odds from a sum of powers and an exponent, anew where the sum has lost what matters."""
    result = (rest.log2() - own) / BITS
    unsafe = torch.nonzero(~((rest > 1 / SAFE) & (rest < SAFE)))[:, 0]
    if len(unsafe):
        some = None if column is None else column[unsafe]
        result[unsafe] = SplitSoftmax(logits(z[unsafe]) / BITS, some).log_odds
    return result


def read_out(z: Tensor, logits: Logits, values: Tensor) -> Tensor:
    """Average values (K, h) by the softmax of the logits of rows z (n, d): attention, (n, h)."""
    shift = z.new_full((len(z),), -torch.inf)
    mass = torch.zeros_like(shift)
    average = z.new_zeros(len(z), values.shape[1])
    for tile, block in logits.blocks(z):
        shift = shift if tile.start else _shift(block.amax(dim=1))
        mass += _powers(block, shift).sum(dim=1)
        average.addmm_(block, values[tile])
    average /= mass[:, None]
    unsafe = torch.nonzero(~(mass < SAFE))[:, 0]  # a later tile lies far above the first
    if len(unsafe):
        average[unsafe] = torch.softmax(logits(z[unsafe]) / BITS, dim=1) @ values
    return average


def tile_width(k: int) -> int:
    """Columns of the widest tile of k."""
    return min(k, TILE)


def _shift(top: Tensor) -> Tensor:
    """What to take off logits of these maxima before they become exponents: nothing where they are small."""
    return torch.zeros_like(top) if bool((top.abs() < PLAIN).all()) else top


def _powers(block: Tensor, shift: Tensor) -> Tensor:
    """Two to the power of logits in bits less a shift, in place."""
    return (block.sub_(shift[:, None]) if shift.any() else block).exp2_()


def _sum_but_top(powers: Tensor, top: Tensor) -> Tensor:
    """Sum each row (n, k) but for its largest entry (n,), of which there may be several.

    Taking it off the whole sum needs no search for it, and is as good where much is left.
    """
    total = powers.sum(dim=1)
    rest = total - top
    little = torch.nonzero(~(rest > CANCELS * total))[:, 0]
    if len(little):
        rows = powers[little]
        rest[little] = rows.scatter_(1, first_maximum(rows)[1][:, None], 0.0).sum(dim=1)
    return rest
