"""Choosing what a class model is made of: each source must earn its place on left-out scores."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vilu_sdk.compute.softmax import SplitSoftmax
from vilu_sdk.scorers.base.groups import draw_groups
from vilu_sdk.scorers.posterior.parts import Part
from vilu_sdk.scorers.posterior.training_data import TrainingData
from vilu_sdk.scorers.posterior.weights import fit_platt, fit_sharpness, fit_weights

if TYPE_CHECKING:
    from vilu_sdk.scorers.posterior.gaussians import ClassGaussians

# Elements of the arrays of images × classes on which weights are chosen.
WEIGHT_ELEMENTS = 1_000_000
# Precision of the priors on the other weights: just enough to determine them.
LOOSE = 1e-6
# Where each class was given equally many images, one that is left out finds its own class at a disadvantage
# that new images will not have. With m images a class, the Gaussians' weight is then raised by EVEN / m.
EVEN = 2.0
# Below this number of images the Gaussians' scores may spread at most this share of the base's: of images
# whose classes are known, and of those whose classes are guesses.
FEW_IMAGES, MAX_SPREAD, MAX_SPREAD_OF_GUESSES = 100, 0.6, 0.3


@dataclass(frozen=True)
class Fitted:
    """A source fitted to training data under one of its settings."""

    # From rows of whole groups, and the logits (rows, K) that the sources before it add up to, to scores
    # (rows, K) as if the group of each row had not been in the training.
    left_out: Callable[[Tensor, Tensor], Tensor]
    # From a weight to what scoring keeps.
    part: Callable[[float], Part]
    gaussians: "ClassGaussians | None" = None


def minimum_gain(n: float, k: int) -> float:
    """Nats that a source must gain on n left-out images of k classes: chance gains most with few images."""
    return 0.6 if 20 <= n <= k else max(2.5, 125.0 / n)


@dataclass(frozen=True)
class Source:
    """What may tell the classes of images apart."""

    name: str
    # From a blend to the source fitted beside it, under each setting worth trying.
    trials: Callable[["Blend"], Iterable[Fitted]]
    # From the numbers of images and classes to the nats that it must gain on left-out images.
    minimum_gain: Callable[[float, int], float] = minimum_gain


def base_precision(n: float) -> float:
    """Precision of the prior that holds the base's weight at 1: few images leave the base as it is."""
    return 400.0 * min(1.0, 200.0 / n) ** 2


class Blend:
    """The sources that earned their place beside the base, their weights, and their sum's calibration.

    `sources` are offered in their order; a `fast` blend, for the rounds before the last one, tries fewer
    images and settings.
    """

    def __init__(
        self,
        data: TrainingData,
        sources: Sequence[Source],
        generator: torch.Generator,
        *,
        fast: bool = False,
        base_precision: Callable[[float], float] = base_precision,
    ) -> None:
        self.n, self.k = data.size, data.base.shape[1]
        k = self.k
        cap = 1000 if fast else min(5000, max(1000, WEIGHT_ELEMENTS // k))
        self.data, self.generator, self.fast = data, generator, fast
        # Images that weights are chosen on.
        self.rows = draw_groups(data.groups, cap, generator)
        self.fitted: dict[str, Fitted] = {}
        self.weights = {"base": 1.0}
        # Slope and offset of the log-odds under the blend, and under the base alone.
        self.platt = self.base_platt = (1.0, 0.0)
        # What makes the softmax under the blend calibrated.
        self.sharpness = 1.0
        if data.shortage:
            return
        self._scores = {"base": data.base[self.rows]}
        self._precision = base_precision(self.n)
        self._least_gain = float("inf")
        # At the base's own best weight: a source gains nothing by toning down the base.
        self._start = self._loss = self._fit(self._scores)[1]
        for source in sources:
            self.try_source(source)
        self.weights = self._cautious(self.weights, self._start - self._loss)
        left_out = self.left_out(self.rows)
        self.platt = self._calibrate(left_out)
        if data.correct is None:  # else the classes are guesses
            self.sharpness = fit_sharpness(left_out, data.labels[self.rows])
        self.base_platt = self._calibrate(self._scores["base"])

    def left_out(self, rows: Tensor) -> Tensor:
        """Logits (rows, K) of rows of whole groups, each group left out of the sources that saw it."""
        kept = rows is self.rows
        q = self.weights["base"] * self.data.base[rows]
        for name, fitted in self.fitted.items():
            q = q + self.weights[name] * (self._scores[name] if kept else fitted.left_out(rows, q))
        return q

    def weights_of(self, *names: str) -> dict[str, float]:
        """Return the weights that some of the sources have without the others."""
        scores = {name: self._scores[name] for name in ("base", *names)}
        weights, loss = self._fit(scores)
        return self._cautious(weights, self._start - loss)

    def try_source(self, source: Source) -> None:
        """Take a source in, under its best setting, if it gains enough."""
        below, best = self.left_out(self.rows), None
        for fitted in source.trials(self):
            scores = self._scores | {source.name: fitted.left_out(self.rows, below)}
            weights, loss = self._fit(scores, best[1] if best else self.weights)
            if best is None or loss < best[2]:
                best = fitted, weights, loss, scores
        gain = source.minimum_gain(self.n, self.k)
        if best is None or self._loss - best[2] <= gain:
            return
        self.fitted[source.name], self.weights, self._loss, self._scores = best
        self._least_gain = min(self._least_gain, gain)

    def _fit(
        self, scores: dict[str, Tensor], start: dict[str, float] | None = None
    ) -> tuple[dict[str, float], float]:
        outcomes = self.data.outcomes(list(scores.values()), self.rows)
        precision = [self._precision] + [LOOSE] * (len(scores) - 1)
        near = None if start is None else [start.get(name, 0.0) for name in scores]
        weights, loss = fit_weights([outcomes], precision, near)
        return dict(zip(scores, weights.tolist(), strict=True)), loss

    def _cautious(self, weights: dict[str, float], gain: float) -> dict[str, float]:
        """Shorten the way from the base by the share of the gain that a source must have."""
        if len(weights) == 1:
            return {"base": 1.0}
        share = max(0.0, 1 - self._least_gain / max(gain, 1e-9))
        weights = {name: share * weight for name, weight in weights.items()}
        weights["base"] += 1 - share
        name = "class Gaussians"
        if name in weights and self.data.correct is None:
            weights[name] *= 1 + EVEN * self.data.evenness * self.k / self.n
        if self.n < FEW_IMAGES and name in weights:
            spread = self._scores["base"].std() / self._scores[name].std().clamp_min(1e-9)
            most = MAX_SPREAD if self.data.correct is None else MAX_SPREAD_OF_GUESSES
            weights[name] = min(weights[name], most * float(spread))
        return weights

    def _calibrate(self, logits: Tensor) -> tuple[float, float]:
        log_odds = SplitSoftmax(logits.double(), self.data.prediction[self.rows]).log_odds
        return fit_platt(log_odds, self.data.wrong[self.rows], self.data.weights[self.rows])
