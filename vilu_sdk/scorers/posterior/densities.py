"""Log-densities of classes as they are kept for scoring, up to a constant in each row."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vilu_sdk.persistence.encoding import storable
from vilu_sdk.scorers.posterior.gaussians import ClassGaussians
from vilu_sdk.scorers.posterior.landmarks import likeness


@storable
@dataclass(frozen=True)
class LinearScores:
    """Scores ``x @ directions - offsets`` of classes.

    Attributes
    ----------
    directions : Tensor of shape (d, K)
    offsets : Tensor of shape (K,)
    """

    directions: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, fitted: ClassGaussians) -> "LinearScores":
        """Log-densities under whitened Gaussians."""
        offsets = 0.5 * fitted.offsets + fitted.centre @ fitted.directions
        dtype = torch.get_default_dtype()
        return cls(fitted.directions.to(dtype), offsets.to(dtype))

    @classmethod
    def constant(cls, scores: Tensor, d: int) -> "LinearScores":
        """Scores (K,) that are the same for every vector (d,)."""
        return cls(torch.zeros(()).expand(d, len(scores)), -scores)

    def among(self, columns: Tensor) -> "LinearScores":
        """The scores of some of the classes."""
        return LinearScores(self.directions[:, columns], self.offsets[columns])

    def times(self, weight: float) -> "LinearScores":
        """The scores multiplied by a weight."""
        return LinearScores(weight * self.directions, weight * self.offsets)

    def scores(self, x: Tensor, columns: slice = slice(None)) -> Tensor:
        """Scores (n, K) of vectors (n, d), or some columns of them."""
        return torch.addmm(self.offsets[columns], x, self.directions[:, columns], beta=-1)


@storable
@dataclass(frozen=True)
class KernelScores:
    """Scores of classes that are linear in the likeness to some training vectors.

    Attributes
    ----------
    landmarks : Tensor of shape (m, d)
    centre : Tensor of shape (d,)
    spread : Tensor of shape ()
    linear : LinearScores
        Over the m likenesses.
    """

    landmarks: Tensor
    centre: Tensor
    spread: Tensor
    linear: LinearScores

    def among(self, columns: Tensor) -> "KernelScores":
        """The scores of some of the classes."""
        return replace(self, linear=self.linear.among(columns))

    def times(self, weight: float) -> "KernelScores":
        """The scores multiplied by a weight."""
        return replace(self, linear=self.linear.times(weight))

    def near(self, x: Tensor) -> Tensor:
        """Likeness (n, m) of vectors (n, d) to the landmarks."""
        return likeness(x, self.landmarks, self.centre, float(self.spread))

    def scores(self, x: Tensor) -> Tensor:
        """Scores (n, K) of vectors (n, d)."""
        return self.linear.scores(self.near(x))


@storable
@dataclass(frozen=True)
class TextDensities:
    """Gaussians of any texts: learned means of known classes, predicted means of new ones.

    Attributes
    ----------
    means : Tensor of shape (K, d)
        Of the known classes, about `centre`.
    slack : Tensor of shape (K + 1,)
        By how much the uncertainty of a mean inflates its squared distances, halved; the last entry is
        that of a class never seen. Taking it out makes well-known and new classes comparable.
    precision, text_map : Tensor of shape (d, d)
    text_centre, centre : Tensor of shape (d,)
    """

    means: Tensor
    slack: Tensor
    precision: Tensor
    text_map: Tensor
    text_centre: Tensor
    centre: Tensor

    @classmethod
    def of(cls, fitted: ClassGaussians) -> "TextDensities":
        """Keep of whitened Gaussians what scoring needs."""
        precision = fitted.precision
        spread = float((precision * fitted.within).sum())  # tr(P C)
        unseen = torch.full((1,), 1 / fitted.prior_images, dtype=fitted.means.dtype)
        parts = (
            fitted.means,
            0.5 * spread * torch.cat([fitted.variance_of_means, unseen]),
            precision,
            fitted.text_map,
            fitted.text_centre,
            fitted.centre,
        )
        return cls(*(part.to(torch.get_default_dtype()) for part in parts))

    def among(self, text: Tensor, match: Tensor) -> LinearScores:
        """Scores of texts (J, d), of which `match` (J,) names the known class, or is -1."""
        means = (text.to(self.means) - self.text_centre) @ self.text_map
        seen = match >= 0
        means[seen] = self.means[match[seen]]
        linear = self._of_means(means)
        return LinearScores(linear.directions, linear.offsets - self.slack[match])

    def among_known(self, columns: Tensor) -> LinearScores:
        """Scores of known classes among themselves, all of whose means were learned."""
        return self._of_means(self.means[columns])

    def _of_means(self, means: Tensor) -> LinearScores:
        directions = self.precision @ means.T
        return LinearScores(directions, 0.5 * (means * directions.T).sum(dim=1) + self.centre @ directions)
