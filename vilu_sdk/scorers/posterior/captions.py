"""The caption model: which caption an image was written for, learned from pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
from sklearn.model_selection import KFold
from torch import Tensor

from vilu_sdk.compute.distributed import read
from vilu_sdk.compute.tiles import Logits
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.task import Task
from vilu_sdk.persistence.encoding import storable
from vilu_sdk.scorers.base.groups import distinct_rows, group_weights, number, rows_of, warn_of_near_copies
from vilu_sdk.scorers.base.unknown import Background
from vilu_sdk.scorers.posterior.background import above
from vilu_sdk.scorers.posterior.densities import TextRegression
from vilu_sdk.scorers.posterior.model import LogLinearModel, zero_shot
from vilu_sdk.scorers.posterior.once import once
from vilu_sdk.scorers.posterior.parts import Intercepts, Parts
from vilu_sdk.scorers.posterior.weights import Outcomes, fit_weights

# With fewer pairs what is learned is below MCM on average.
MIN_PAIRS = 128
# Pairs that are learned from, and of each fold those that weights are chosen on.
MAX_PAIRS, MAX_HELD_OUT = 20_000, 2_000
FOLDS = 3
SHRINKAGE = 0.6
# Precision of the prior on the weights around MCM's, each in its unit.
PRECISION = 30.0


@storable
@dataclass(frozen=True)
class CaptionRegression(TextRegression):
    """How far an image is from where a regression expects that of a caption; see `TextRegression`."""

    name: ClassVar[str] = "caption regression"
    unit: ClassVar[float] = 0.1

    @classmethod
    def learn(cls, x: Tensor, text: Tensor, logit_scale: float, groups: Tensor) -> Self:
        """Learn from pairs of rows (n, d) of groups (n,)."""
        residuals = torch.empty_like(x)
        groups = number(groups)
        names = np.arange(int(groups.max()) + 1)
        for _, out in KFold(min(5, len(names)), shuffle=True, random_state=1).split(names):
            held, rest = rows_of(groups, out), rows_of(groups, np.setdiff1d(names, out))
            centre, text_centre, text_map = _regress(x[rest], text[rest])
            residuals[held] = x[held] - centre - (text[held] - text_centre) @ text_map
        covariance = residuals.T @ residuals / len(x)
        size = covariance.diagonal().mean()
        covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * size * torch.eye(len(covariance))
        centre, text_centre, text_map = _regress(x, text)
        return cls(torch.linalg.inv(covariance), text_map, text_centre, centre)

    def part(self, text: Tensor) -> Logits:
        """Log-density of images given each caption (J, d), up to a constant in each row."""
        return self.density(self.predicted(text))


@storable
@dataclass(frozen=True)
class ImageBank:
    """Images (m, d) used to find hubs: captions that are similar to almost every image."""

    bank: Tensor
    logit_scale: float

    name: ClassVar[str] = "image bank"
    unit: ClassVar[float] = 1.0

    @classmethod
    def learn(cls, x: Tensor, text: Tensor, logit_scale: float, groups: Tensor) -> Self:
        """Keep the images of pairs of rows (n, d)."""
        return cls(x, logit_scale)

    def part(self, text: Tensor) -> Intercepts:
        """Logits of captions (J, d), lower by the log of their mean similarity exp(s xᵀt) to the bank."""
        total = torch.full((len(text),), -torch.inf)
        for rows in Rows(self.bank, "bank").slices(len(text)):
            logits = self.logit_scale * (self.bank[rows] @ text.T)
            total = torch.logaddexp(total, torch.logsumexp(logits, dim=0))
        return Intercepts(math.log(len(self.bank)) - total)


CaptionSource = CaptionRegression | ImageBank
CAPTION_SOURCES: tuple[type[CaptionSource], ...] = (CaptionRegression, ImageBank)


@storable
@dataclass(frozen=True)
class CaptionModel(LogLinearModel):
    r"""Posterior over captions, the zero-shot one where nothing was learned.

    .. math::
        q_j = a\, s x^\top t_j + c \log p(x \mid t_j) - w \log \tfrac{1}{m} \sum_i e^{s x_i^\top t_j}
    """

    logit_scale: float
    sources: dict[str, CaptionSource] = field(default_factory=dict)
    # Of each source, and of "zero-shot"; chosen by likelihood, so that the log-odds are calibrated already.
    weights: dict[str, float] = field(default_factory=lambda: {"zero-shot": 1.0})
    # How likely an image was written none of the captions for, relative to images as captions predict them.
    none: Background | None = None

    @once
    def parts(self, text: Tensor) -> Parts:
        """See `LogLinearModel`."""
        found = zero_shot(self.weights["zero-shot"] * self.logit_scale, text)
        for name, source in self.sources.items():
            found[name] = [source.part(text).times(self.weights[name])]
        return found

    def background(self, text: Tensor) -> Background | None:
        """See `LogLinearModel`."""
        source = self.sources.get(CaptionRegression.name)
        if not isinstance(source, CaptionRegression) or not self.weights[source.name]:
            return None
        return above(self.none, self.parts(text), source.centre + source.predicted(text))

    def adapt(self, images: Tensor) -> Self:
        """Take unlabelled images of the domain into the bank; repeated ones count once."""
        known = self.sources.get(ImageBank.name)
        if not isinstance(known, ImageBank):
            return self
        bank = replace(known, bank=torch.cat([known.bank, torch.unique(images, dim=0)]))
        return replace(self, sources=self.sources | {ImageBank.name: bank})


def learn_captions(
    task: Task,
    logit_scale: float,
    generator: torch.Generator,
    sources: Sequence[type[CaptionSource]] = CAPTION_SOURCES,
) -> CaptionModel:
    """Learn a caption model from pairs of rows (n, d), its weights on groups of pairs left out."""
    rows, groups, _ = distinct_rows(task)
    order = torch.randperm(len(rows), generator=generator)[:MAX_PAIRS]
    rows, groups = rows[order], number(groups[order])
    x, text = read(task.images, rows), read(task.texts, rows)
    if task.groups is None:
        warn_of_near_copies(x, torch.zeros(len(x)), groups)
    outcomes = []
    for out in torch.arange(int(groups.max()) + 1).chunk(FOLDS):
        is_held = torch.isin(groups, out)
        held, rest = torch.nonzero(is_held)[:MAX_HELD_OUT, 0], ~is_held
        z, t = x[held], text[held]
        learned = [source.learn(x[rest], text[rest], logit_scale, groups[rest]) for source in sources]
        scores = [logit_scale * (z @ t.T), *(source.part(t)(z) for source in learned)]
        each = group_weights(groups[held], 1.0)
        outcomes.append(Outcomes.of(scores, torch.arange(len(z)), None, each))
    precision = [PRECISION, *(PRECISION / source.unit**2 for source in sources)]
    names = ["zero-shot", *(source.name for source in sources)]
    weights = dict(zip(names, fit_weights(outcomes, precision)[0].tolist(), strict=True))
    return CaptionModel(
        logit_scale, {source.name: source.learn(x, text, logit_scale, groups) for source in sources}, weights
    )


def _regress(x: Tensor, text: Tensor, ridge: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Centres and map of images on captions, the map shrunk towards a multiple of the identity."""
    centre, text_centre = x.mean(dim=0), text.mean(dim=0)
    x, text = x - centre, text - text_centre
    identity = torch.eye(x.shape[1])
    alpha = ((text * x).sum() / text.square().sum().clamp_min(1e-12)).clamp_min(0)
    gram = text.T @ text
    gram = gram + ridge * gram.diagonal().mean() * identity
    return centre, text_centre, alpha * identity + torch.linalg.solve(gram, text.T @ (x - alpha * text))
