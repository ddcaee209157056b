"""The caption model: which caption an image was written for, learned from pairs."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from sklearn.model_selection import KFold
from torch import Tensor
from torch.nn.functional import cross_entropy

from vilu_sdk.compute.distributed import read
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.persistence.encoding import storable
from vilu_sdk.scorers.posterior.densities import LinearScores
from vilu_sdk.scorers.posterior.model import LogLinearModel, Parts, zero_shot

# With fewer pairs what is learned is below MCM on average.
MIN_PAIRS = 128
# Pairs that are learned from, and of each fold those that weights are chosen on.
MAX_PAIRS, MAX_HELD_OUT = 20_000, 2_000
FOLDS = 3
SHRINKAGE = 0.6
# Precision of the prior on the weights around MCM's, and the scale of each weight.
PULL = 15.0
UNITS = (1.0, 0.1, 1.0)
MCM = (1.0, 0.0, 0.0)


@storable
@dataclass(frozen=True)
class PairSources:
    """What pairs teach about any caption: a regression of its image, and a bank of images.

    Attributes
    ----------
    precision, text_map : Tensor of shape (d, d)
        The density of an image given its caption t is N(centre + (t - text_centre) text_map, P⁻¹).
    text_centre, centre : Tensor of shape (d,)
    bank : Tensor of shape (m, d)
        Images that tell which captions are liked by all.
    """

    precision: Tensor
    text_map: Tensor
    text_centre: Tensor
    centre: Tensor
    bank: Tensor

    @classmethod
    def learn(cls, x: Tensor, text: Tensor) -> Self:
        """Learn from pairs of rows (n, d)."""
        residuals = torch.empty_like(x)
        folds = KFold(min(5, len(x)), shuffle=True, random_state=1)
        for rest, held in folds.split(np.arange(len(x))):
            centre, text_centre, text_map = _regress(x[rest], text[rest])
            residuals[held] = x[held] - centre - (text[held] - text_centre) @ text_map
        covariance = residuals.T @ residuals / len(x)
        size = covariance.diagonal().mean()
        covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * size * torch.eye(len(covariance))
        centre, text_centre, text_map = _regress(x, text)
        return cls(torch.linalg.inv(covariance), text_map, text_centre, centre, x)

    def density(self, text: Tensor) -> LinearScores:
        """Log-density of images given each caption (J, d), up to a constant in each row."""
        means = (text - self.text_centre) @ self.text_map
        directions = self.precision @ means.T
        return LinearScores(directions, 0.5 * (means * directions.T).sum(dim=1) + self.centre @ directions)


@storable
@dataclass(frozen=True)
class CaptionModel(LogLinearModel):
    r"""Posterior over captions, the zero-shot one where nothing was learned.

    .. math::
        q_j = a\, s x^\top t_j + c \log p(x \mid t_j) - w \log \tfrac{1}{m} \sum_i e^{s x_i^\top t_j}

    Attributes
    ----------
    logit_scale : float
    sources : PairSources or None
    weights : Tensor of shape (3,)
        a, c, w.
    """

    logit_scale: float
    sources: PairSources | None = None
    weights: Tensor | None = None

    def parts(self, text: Tensor) -> Parts:
        """See `LogLinearModel`."""
        if self.sources is None or self.weights is None:
            return zero_shot(self.logit_scale, text)
        a, c, w = self.weights.tolist()
        liked = popularity(text, self.logit_scale, self.sources.bank)
        return {
            **zero_shot(a * self.logit_scale, text),
            "caption regression": [self.sources.density(text).times(c)],
            "image bank": [LinearScores.constant(-w * liked, text.shape[1])],
        }

    def unknown_share(self, text: Tensor) -> float:
        """See `LogLinearModel`."""
        return 1.0

    def calibration(self, text: Tensor) -> tuple[float, float]:
        """See `LogLinearModel`."""
        return 1.0, 0.0  # the weights were chosen by likelihood already

    def adapt(self, images: Tensor) -> Self:
        """Take unlabelled images of the domain into the bank; repeated ones count once."""
        if self.sources is None:
            return self
        bank = torch.cat([self.sources.bank, torch.unique(images, dim=0)])
        return replace(self, sources=replace(self.sources, bank=bank))


def learn_captions(images: Rows, texts: Rows, logit_scale: float, generator: torch.Generator) -> CaptionModel:
    """Learn a caption model from pairs of rows (n, d), its weights on pairs left out."""
    rows = torch.randperm(len(images), generator=generator)[:MAX_PAIRS]
    x, text = read(images, rows), read(texts, rows)
    held_out = []
    for held in torch.arange(len(rows)).chunk(FOLDS):
        rest = torch.ones(len(rows), dtype=torch.bool)
        rest[held] = False
        learned = PairSources.learn(x[rest], text[rest])
        z, t = x[held[:MAX_HELD_OUT]], text[held[:MAX_HELD_OUT]]
        held_out.append(
            torch.stack(
                [
                    logit_scale * (z @ t.T),
                    learned.density(t).scores(z),
                    -popularity(t, logit_scale, learned.bank).expand(len(z), -1),
                ]
            )
        )
    return CaptionModel(logit_scale, PairSources.learn(x, text), _fit_weights(held_out))


def popularity(text: Tensor, logit_scale: float, bank: Tensor) -> Tensor:
    """Log of the mean likeness of each caption (J,) to the images of a bank."""
    total = torch.full((len(text),), -torch.inf)
    for rows in Rows(bank, "bank").slices(len(text)):
        total = torch.logaddexp(total, torch.logsumexp(logit_scale * (bank[rows] @ text.T), dim=0))
    return total - float(np.log(len(bank)))


def _regress(x: Tensor, text: Tensor, ridge: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Centres and map of images on captions, the map shrunk towards a multiple of the identity."""
    centre, text_centre = x.mean(dim=0), text.mean(dim=0)
    x, text = x - centre, text - text_centre
    identity = torch.eye(x.shape[1])
    alpha = ((text * x).sum() / text.square().sum().clamp_min(1e-12)).clamp_min(0)
    gram = text.T @ text
    gram = gram + ridge * gram.diagonal().mean() * identity
    return centre, text_centre, alpha * identity + torch.linalg.solve(gram, text.T @ (x - alpha * text))


def _fit_weights(held_out: list[Tensor]) -> Tensor:
    """Weights (3,) by the cross-entropy of the true caption on pairs left out, drawn towards MCM."""
    n = sum(stack.shape[1] for stack in held_out)
    units, mcm = torch.tensor(UNITS), torch.tensor(MCM)
    v = torch.tensor([1.0, 0.0, 0.2], requires_grad=True)
    optimiser = torch.optim.LBFGS([v], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = PULL / n * (v - mcm).square().sum()
        for stack in held_out:
            q = torch.tensordot(v * units, stack, dims=1)
            loss = loss + cross_entropy(q, torch.arange(len(q)), reduction="sum") / n
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return v.detach() * units
