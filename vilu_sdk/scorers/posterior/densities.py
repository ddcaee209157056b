"""Log-densities of images given any text, up to a constant in each row."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vilu_sdk.compute.tiles import Logits
from vilu_sdk.inputs.precision import working
from vilu_sdk.persistence.encoding import storable
from vilu_sdk.scorers.posterior.gaussians import ClassGaussians
from vilu_sdk.scorers.posterior.once import once
from vilu_sdk.scorers.posterior.parts import log_density


@dataclass(frozen=True)
class TextRegression:
    """Gaussians of images given any text t: N(centre + (t - text_centre) text_map, precision⁻¹)."""

    precision: Tensor  # (d, d)
    text_map: Tensor  # (d, d)
    text_centre: Tensor  # (d,)
    centre: Tensor  # (d,)

    @once
    def predicted(self, text: Tensor) -> Tensor:
        """Means (J, d), about `centre`, that texts (J, d) predict."""
        return (text.to(self.centre) - self.text_centre) @ self.text_map

    def density(self, means: Tensor, slack: Tensor | float = 0.0) -> Logits:
        """Logits of Gaussians of means (J, d) about `centre`."""
        return log_density(means, self.precision @ means.T, self.centre, slack)


@storable
@dataclass(frozen=True)
class TextDensities(TextRegression):
    """Gaussians of any texts: learned means of known classes, predicted means of new ones."""

    means: Tensor  # (K, d), of the known classes, about `centre`
    # (K + 1,), half of the squared distance that the uncertainty of a mean adds; the last is that of a class
    # never seen. Taking it out makes well-known and new classes comparable.
    slack: Tensor

    @classmethod
    def of(cls, fitted: ClassGaussians) -> "TextDensities":
        """Keep of whitened Gaussians what scoring needs."""
        precision = fitted.precision
        spread = float((precision * fitted.within).sum())  # tr(P C)
        unseen = torch.full((1,), 1 / fitted.prior_images, dtype=fitted.means.dtype)
        parts = (
            precision,
            fitted.text_map,
            fitted.text_centre,
            fitted.centre,
            fitted.means,
            0.5 * spread * torch.cat([fitted.variance_of_means, unseen]),
        )
        return cls(*(part.to(working()) for part in parts))

    def among(self, text: Tensor, match: Tensor) -> Logits:
        """Logits of texts (J, d), of which `match` (J,) names the known class, or is -1."""
        return self.density(self.expected(text, match), self.slack[match])

    def expected(self, text: Tensor, match: Tensor) -> Tensor:
        """Means (J, d), about `centre`, of images of texts (J, d): learned ones where a class is known."""
        means = self.predicted(text).clone()
        seen = match >= 0
        means[seen] = self.means[match[seen]]
        return means

    def among_known(self, columns: Tensor) -> Logits:
        """Logits of known classes among themselves, all of whose means were learned."""
        return self.density(self.means[columns])
