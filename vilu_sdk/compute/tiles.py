"""Reductions of the softmax over candidates, tile by tile.

What needs no more of an array of images × candidates than a reduction goes through the candidates a tile at
a time, so that what follows a matrix product finds its result in the caches, and memory does not grow with
the candidates.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vilu_sdk.compute.device import scalar
from vilu_sdk.compute.softmax import SplitSoftmax, are_short, first_maximum
from vilu_sdk.inputs.slices import cut

#: Columns of a tile of candidates.
TILE = 2048
#: Rows of a product with few candidates that stay near the caches.
ROWS = 2048
#: Logits in bits below this, and above its negative, can be raised to powers as they are.
PLAIN = 60.0
#: Share of a sum below which what is left of it without one term is summed anew, or rounding would show.
CANCELS = 1 / 16
#: A sum of exponentials between this and its inverse has lost no term that matters to the range of float32.
SAFE = 1e30
#: Bits in a nat. Torch takes powers of two in half the time of powers of e.
BITS = math.log2(math.e)
NATS = 1 / BITS
ALL = slice(None)


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

    def __call__(self, z: Tensor, columns: slice = ALL, out: Tensor | None = None) -> Tensor:
        """Logits (n, columns) of image rows (n, d)."""
        directions, offsets = self.directions, self.offsets
        if columns is not ALL:
            directions, offsets = directions[:, columns], None if offsets is None else offsets[columns]
        if out is None and are_short(z.shape[0], directions.shape[1]):
            return _narrow(z, directions, offsets)
        if offsets is None:
            return torch.mm(z, directions, out=out)
        return torch.addmm(offsets, z, directions, out=out)

    def in_nats(self, z: Tensor) -> Tensor:
        """Logits (n, K) in nats, where these are in bits, and rounded as these."""
        return self(z).mul_(scalar(NATS))

    def among(self, columns: Tensor) -> "Logits":
        """Return the logits of some of the candidates."""
        return Logits(self.directions[:, columns], None if self.offsets is None else self.offsets[columns])

    def times(self, weight: float) -> "Logits":
        """Return the logits multiplied by a weight."""
        return Logits(weight * self.directions, None if self.offsets is None else weight * self.offsets)

    def blocks(self, z: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield each tile of the candidates with its logits, which lie where those of the tile before lay."""
        k = self.directions.shape[1]
        if k <= TILE:
            yield slice(0, k), self(z)
            return
        memory = z.new_empty(len(z) * TILE)
        for tile in cut(k, TILE):
            width = tile.stop - tile.start
            yield tile, self(z, tile, memory[: len(z) * width].view(len(z), width))


def _narrow(z: Tensor, directions: Tensor, offsets: Tensor | None) -> Tensor:
    """Multiply rows z (n, d) with few directions (d, K), column by column of the result (n, K).

    Processors take several images at a time then, where a row of candidates is too short for them;
    and so does all that follows, for which the columns stay one after the other in memory.
    """
    if len(z) > ROWS and z.device.type == "cpu":
        return torch.cat([_narrow(z[rows], directions, offsets).T for rows in cut(len(z), ROWS)], dim=1).T
    if offsets is None:
        return torch.mm(directions.T, z.T).T
    return torch.addmm(offsets[:, None], directions.T, z.T).T


def nearest(z: Tensor, text: Tensor) -> Tensor:
    """Return the first candidate of the largest cosine (n,) for rows (n, d) among texts (K, d)."""
    for tile, cosines in Logits(text.T).blocks(z):
        top, at = first_maximum(cosines)
        if not tile.start:
            best, column = top, at
            continue
        column = torch.where(top > best, tile.start + at, column)
        best = torch.maximum(best, top)
    return column


class Peak:
    """What one pass over the candidates finds of the logits of rows z (n, d).

    Parameters
    ----------
    z : Tensor of shape (n, d)
    logits : Logits
    of : Tensor of shape (n,), optional
        A column of each row whose odds are wanted too.
    search : bool
        Whether to find out which column is the largest.
    sharpness : float
        Multiplies the logits for `sharp_log_odds`.

    Attributes
    ----------
    column : Tensor of shape (n,) or None
        The first column of the largest logit, after a search.
    """

    def __init__(
        self, z: Tensor, logits: Logits, of: Tensor | None = None, *, search: bool, sharpness: float = 1.0
    ) -> None:
        self._z, self._logits, self.of, self._sharpness = z, logits, of, sharpness
        plain = self._plain = _Sum()
        sharp = self._sharp = plain if sharpness == 1.0 else _Sum()
        self.column: Tensor | None = None
        self._value: Tensor | None = None
        for tile, block in logits.blocks(z):
            if search:
                top, at = first_maximum(block)
                found: Tensor | None = self.column
                self.column = at if found is None else torch.where(top > plain.top, tile.start + at, found)
            else:
                top = block.amax(dim=1)
            if of is not None:
                at = (of - tile.start).clamp(0, block.shape[1] - 1)[:, None]
                value = block.gather(1, at)[:, 0]
                before: Tensor | None = self._value
                self._value = value if before is None else torch.where(of >= tile.start, value, before)
            if sharp is not plain:
                sharp.add(sharpness * block, sharpness * top, tile)
            plain.add(block, top, tile)

    @property
    def log_odds(self) -> Tensor:
        """Log-odds (n,) in nats that the largest logit is wrong."""
        return self._plain.log_odds(lambda rows: SplitSoftmax(self._exact(rows)).log_odds)

    @property
    def sharp_log_odds(self) -> Tensor:
        """The same of the logits times `sharpness`."""
        return self._sharp.log_odds(lambda rows: SplitSoftmax(self._sharpness * self._exact(rows)).log_odds)

    @property
    def log_odds_of(self) -> Tensor:
        """Log-odds (n,) in nats that the column `of` is wrong."""
        assert self.of is not None
        of = self.of

        def exact(rows: Tensor) -> Tensor:
            return SplitSoftmax(self._exact(rows), of[rows]).log_odds

        return self._plain.log_odds(exact, self._value)

    @property
    def log_sum(self) -> Tensor:
        """Logarithm (n,) in nats of the sum of the exponentials."""
        return self._plain.log_sum(lambda rows: torch.logsumexp(self._exact(rows), dim=1))

    def _exact(self, rows: Tensor) -> Tensor:
        return self._logits.in_nats(self._z[rows])


class _Sum:
    """Sum of the powers of two of logits in bits, tile by tile, but for the largest."""

    shift: Tensor | None
    top: Tensor
    rest: Tensor

    def add(self, block: Tensor, top: Tensor, tile: slice) -> None:
        """Add a tile, which is overwritten, and whose largest logits are `top` (n,)."""
        if not tile.start:
            self.shift = _shift(top)
        rest = _sum_but_top(_powers(block, self.shift), torch.exp2(_less(top, self.shift)))
        if not tile.start:
            self.rest, self.top = rest, top
            return
        # The smaller of the two largest is one of the rest.
        self.rest = self.rest + rest + torch.exp2(_less(torch.minimum(self.top, top), self.shift))
        self.top = torch.maximum(self.top, top)

    def log_odds(self, anew: Callable[[Tensor], Tensor], value: Tensor | None = None) -> Tensor:
        """Log-odds in nats that the largest logit, or one of `value` (n,), is wrong."""
        own, rest = self.top, self.rest
        if value is not None:
            # Above the largest of the rest the sum holds that, and not itself.
            changed = rest + (torch.exp2(_less(own, self.shift)) - torch.exp2(_less(value, self.shift)))
            own, rest = value, torch.where(value == own, rest, changed)
        return _checked((rest.log2() - _less(own, self.shift)) / BITS, rest, anew)

    def log_sum(self, anew: Callable[[Tensor], Tensor]) -> Tensor:
        """Logarithm of the whole sum in nats."""
        total = self.rest + torch.exp2(_less(self.top, self.shift))
        logarithm = total.log2() if self.shift is None else total.log2() + self.shift
        return _checked(logarithm / BITS, total, anew)


def _checked(result: Tensor, total: Tensor, anew: Callable[[Tensor], Tensor]) -> Tensor:
    """Compute those rows anew whose sum has lost what matters to the range of float32."""
    if not _lie_within(total, 1 / SAFE, SAFE):
        unsafe = torch.nonzero(~((total > 1 / SAFE) & (total < SAFE)))[:, 0]
        result[unsafe] = anew(unsafe)
    return result


def read_out(z: Tensor, logits: Logits, values: Tensor) -> Tensor:
    """Average values (K, h) by the softmax of the logits of rows z (n, d): attention, (n, h)."""
    shift: Tensor | None = None
    mass = z.new_zeros(len(z))
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


def _shift(top: Tensor) -> Tensor | None:
    """What to take off logits of these maxima before they become exponents: nothing where they are small."""
    return None if _lie_within(top, -PLAIN, PLAIN) else top


def _less(values: Tensor, shift: Tensor | None) -> Tensor:
    return values if shift is None else values - shift


def _powers(block: Tensor, shift: Tensor | None) -> Tensor:
    """Two to the power of logits in bits less a shift, in place."""
    return (block if shift is None else block.sub_(shift[:, None])).exp2_()


def _lie_within(values: Tensor, low: float, high: float) -> bool:
    """Whether all values lie between two others; not if one of them is NaN."""
    least, most = torch.aminmax(values)
    return low < float(least) and float(most) < high


def _sum_but_top(powers: Tensor, top: Tensor) -> Tensor:
    """Sum each row (n, k) but for its largest entry (n,), of which there may be several.

    Taking it off the whole sum needs no search for it, and is as good where much is left.
    """
    total = powers.sum(dim=1)
    rest = total - top
    if not float((rest / total).min()) > CANCELS:
        little = torch.nonzero(~(rest > CANCELS * total))[:, 0]
        rows = powers[little]
        rest[little] = rows.scatter_(1, first_maximum(rows)[1][:, None], 0.0).sum(dim=1)
    return rest
