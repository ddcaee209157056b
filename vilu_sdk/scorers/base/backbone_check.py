"""Whether embeddings come from the model that a scorer was fitted with."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import read
from vilu_sdk.exceptions import BackboneWarning, warn
from vilu_sdk.inputs.candidates import Candidates
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.persistence.encoding import storable

# Rows of a fit that are looked at, in this many runs of consecutive ones, which is how files are read fast.
SAMPLE, RUNS = 1024, 16
# Rows of one call that are looked at.
LOOK = 256
# Least mean cosine between two rows of a fit by which its direction is known. CLIP's are above 0.35.
NARROW = 0.25
# Likeness below which rows are those of another model; above 0.6 for sets of one model, below 0.1 for others.
FAR = 0.15
# Rows by which one side, images or texts, is judged when the other is as expected.
ENOUGH = 10
# By how much swapped arguments must be more like each other's side than like their own.
SWAP = 0.2


@storable
@dataclass(frozen=True, eq=False)
class MeanDirection:
    """Where the unit vectors of one kind point: their mean (d,) and how many there were.

    The rows of a CLIP-like model lie in a narrow cone, whatever they show, and the cones of two models have
    nothing to do with each other, even where the models have the same width.
    """

    mean: Tensor
    n: int

    @cached_property
    def cosine(self) -> float:
        """Mean cosine of the rows to the direction."""
        return float(self.mean.norm())

    @cached_property
    def is_narrow(self) -> bool:
        """Whether two rows have a cosine so high that few unrelated directions cannot look the same."""
        if self.n < 2:
            return False
        pairs = self.n * (self.n - 1) / 2
        between = (self.n * self.cosine**2 - 1) / (self.n - 1)
        # Cosines of unrelated directions have a standard deviation of 1/√d.
        return bool(between - 3 / (pairs * len(self.mean)) ** 0.5 > NARROW)

    @cached_property
    def direction(self) -> Tensor:
        """What (d,) to multiply the mean of rows with for their cosine to the mean, relative to its own."""
        return self.mean / self.cosine**2


@storable
@dataclass(frozen=True, eq=False)
class EmbeddingStatistics:
    """The mean directions of the images and the texts that a scorer was fitted on."""

    images: MeanDirection
    texts: MeanDirection

    @cached_property
    def _directions(self) -> Tensor:
        return torch.stack([self.images.direction, self.texts.direction], dim=1)

    @classmethod
    def of(cls, images: Rows, texts: Rows) -> "EmbeddingStatistics":
        """Look at a sample of the rows."""
        return cls(_mean_direction(images), _mean_direction(texts))

    def mismatch(self, images: Rows, texts: Candidates) -> str | None:
        """Say what is wrong with images and candidates, or nothing."""
        if not (self.images.is_narrow and self.texts.is_narrow):
            return None
        rows = images.look(slice(0, min(LOOK, len(images))))
        z, text = rows.mean(dim=0), texts.sample_mean
        directions = self._directions.to(z.dtype)
        (image, image_as_text), (words_as_images, words) = (torch.stack([z, text]) @ directions).tolist()
        if image_as_text > image + SWAP and words_as_images > words + SWAP:
            return (
                "z_img looks like the texts of its fit, and z_txt_set like the images. Pass the images first."
            )
        far = [n for n, like in ((len(rows), image), (len(texts), words)) if like < FAR]
        if len(far) < 2 and max(far, default=0) < ENOUGH:
            return None
        was, is_now = self.images.cosine, image * self.images.cosine
        return (
            f"the images of its fit had a mean cosine of {was:.2f} to their mean direction, and these have "
            f"{is_now:.2f} to it; the texts had {self.texts.cosine:.2f}, and these have "
            f"{words * self.texts.cosine:.2f}. Embed both with the model of the fit, or fit again."
        )


def warn_of_mismatch(scorer: Any, images: Rows, texts: Candidates) -> None:
    """Warn, once for each scorer, of embeddings that another model than that of its fit has made."""
    seen: EmbeddingStatistics | None = getattr(scorer, "seen_", None)
    if seen is None or "_warned" in vars(scorer) or (mismatch := seen.mismatch(images, texts)) is None:
        return
    mine = object()  # of threads that come here together, one finds its own
    if vars(scorer).setdefault("_warned", mine) is mine:
        warn(
            f"This {type(scorer).__name__} seems to be given embeddings of another model: {mismatch}",
            BackboneWarning,
        )


def _mean_direction(rows: Rows) -> MeanDirection:
    """Return the direction of a sample of rows."""
    n = len(rows)
    size = -(-min(n, SAMPLE) // RUNS)
    starts = range(0, n, size) if n <= SAMPLE else torch.linspace(0, n - size, RUNS).long().tolist()
    sample = torch.cat([read(rows, slice(start, start + size)) for start in starts])
    return MeanDirection(sample.mean(dim=0), len(sample))
