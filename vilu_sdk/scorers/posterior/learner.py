"""Choosing what a class model is made of: each source must earn its place on left-out scores."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vilu_sdk.compute.softmax import SplitSoftmax
from vilu_sdk.scorers.posterior.blend import fit_platt, fit_weights
from vilu_sdk.scorers.posterior.gaussians import ClassGaussians
from vilu_sdk.scorers.posterior.intercepts import class_frequencies, fit_intercepts, leave_one_out_intercepts
from vilu_sdk.scorers.posterior.landmarks import likeness, nystroem_root
from vilu_sdk.scorers.posterior.moments import Moments

MIN_IMAGES = 10
MIN_OUTCOMES = 5  # of right and of wrong, where only that is known
# The kernel has many parameters: with fewer images than these it loses what it gains.
KERNEL_IMAGES, KERNEL_IMAGES_PER_CLASS = 100, 8
KERNEL_SHRINKAGES = (0.1, 0.01, 0.003)
MAX_LANDMARKS = 1500
# With so many images for each class, the rows that weights are chosen on tell the intercepts too.
IMAGES_PER_INTERCEPT = 50
# Below this number of images the Gaussians' scores may spread at most this share of the base's.
FEW_IMAGES, MAX_SPREAD = 100, 0.3
# Elements of the arrays of images × classes on which weights and intercepts are chosen.
WEIGHT_ELEMENTS = 1_000_000
GAUSSIAN_ELEMENTS = 500_000


@dataclass(frozen=True)
class Evidence:
    """Training images in memory and what is known of them.

    Attributes
    ----------
    x : Tensor of shape (n, d)
    base : Tensor of shape (n, K)
        Logits of the model that is built upon, the zero-shot ones in the simplest case.
    text : Tensor of shape (K, d)
    prediction : Tensor of shape (n,)
    labels : Tensor of shape (n,)
        True classes, or the likeliest ones where only right or wrong is known.
    correct : Tensor of shape (n,), optional
        Whether the prediction is right, where that is all that is known.
    moments : Moments
        Class statistics, of these images or of more.
    """

    x: Tensor
    base: Tensor
    text: Tensor
    prediction: Tensor
    labels: Tensor
    correct: Tensor | None
    moments: Moments

    @property
    def wrong(self) -> Tensor:
        """Whether each prediction is wrong."""
        return self.prediction != self.labels if self.correct is None else ~self.correct

    @property
    def shortage(self) -> str:
        """Why there is nothing to learn from, empty where there is."""
        return shortage(self.labels, self.correct)


def shortage(labels: Tensor | None, correct: Tensor | None) -> str:
    """What images hold where labels (n,), or right and wrong (n,), are too few to learn from."""
    known = labels if correct is None else correct
    assert known is not None
    n = len(known)
    if n < MIN_IMAGES:
        return f"{n} images, fewer than {MIN_IMAGES}"
    if correct is None:
        return "one class only" if bool((known == known[0]).all()) else ""
    right = int(correct.sum())
    if min(right, n - right) < MIN_OUTCOMES:
        return f"{right} right and {n - right} wrong images, fewer than {MIN_OUTCOMES} of a kind"
    return ""


@dataclass
class Blend:
    """The sources that earned their place, their weights, and the calibration of their sum.

    `weights` has an entry for "base" and for each source that is not None; `text_weight` is that of the
    Gaussians, relative to the base, where some candidates are new; `line` and `base_line` are the slope and
    offset of the log-odds under the blend and under the base alone.
    """

    weights: dict[str, float] = field(default_factory=lambda: {"base": 1.0})
    gaussians: ClassGaussians | None = None
    kernel: "Kernel | None" = None
    intercepts: Tensor | None = None
    text_weight: float = 0.0
    line: tuple[float, float] = (1.0, 0.0)
    base_line: tuple[float, float] = (1.0, 0.0)


@dataclass
class Kernel:
    """Gaussians in Nyström features, and the features of all rows."""

    gaussians: ClassGaussians
    features: Tensor
    landmarks: Tensor
    centre: Tensor
    spread: float
    root: Tensor


def base_tightness(n: int) -> float:
    """Precision of the prior on the base's weight: little evidence leaves the base as it is."""
    return 400.0 * min(1.0, 200.0 / n) ** 2


def price(n: int, k: int) -> float:
    """Nats that a source must gain on left-out rows: chance gains are largest with few images."""
    return 0.6 if 20 <= n <= k else max(5.0, 125.0 / n)


def intercepts_price(n: int) -> float:
    """Nats that class intercepts must gain: they lean on class frequencies, which few images mistell."""
    return max(5.0, 500.0 / n)


def learn_blend(
    e: Evidence, generator: torch.Generator, *, light: bool = False, kernel: bool = True
) -> Blend:
    """Build up a blend, source by source; `light` is for the rounds before the last one."""
    blend = Blend()
    if e.shortage:
        return blend
    n, k = e.base.shape
    cap = 1000 if light else min(5000, max(1000, WEIGHT_ELEMENTS // k))
    rows = torch.randperm(n, generator=generator)[:cap] if n > cap else torch.arange(n)
    x, labels = e.x[rows], e.labels[rows]
    search = _Search(e, rows)

    gaussians = _best_gaussians(e, rows[: max(500, GAUSSIAN_ELEMENTS // k)], light)
    if search.offer("gaussians", [gaussians.leave_one_out(x, labels)], price(n, k)) is not None:
        blend.gaussians = gaussians
        alone = search.final_weights(price(n, k))

    if n >= max(KERNEL_IMAGES, KERNEL_IMAGES_PER_CLASS * k) and kernel and not light:
        candidate = _kernel(e, generator)
        features = candidate.features[rows]
        trials = [
            candidate.gaussians.whiten(shrinkage).leave_one_out(features, labels)
            for shrinkage in KERNEL_SHRINKAGES
        ]
        chosen = search.offer("kernel", trials, price(n, k))
        if chosen is not None:
            candidate.gaussians.whiten(KERNEL_SHRINKAGES[chosen])
            blend.kernel = candidate

    blend.weights = search.weights
    if len(rows) >= IMAGES_PER_INTERCEPT * k:
        q, pool, inner = search.blended(blend.weights), labels, torch.arange(len(rows))
    else:
        q, pool, inner = left_out_logits(e, blend), e.labels, rows
    frequencies, concentration = torch.full((k,), 1 / k), math.inf
    if e.correct is None:
        frequencies, concentration = class_frequencies(e.labels, k)
    frequencies = frequencies.to(q)
    found: list[Tensor] = []
    trials = []
    for ridge in (1.0, 10.0) if n <= 1000 else (1.0,):
        found.append(fit_intercepts(q, frequencies, ridge, found[-1] if found else None))
        trials.append(leave_one_out_intercepts(q, inner, found[-1], pool, frequencies, ridge, concentration))
    chosen = search.offer("intercepts", trials, intercepts_price(n))
    if chosen is not None:
        blend.intercepts = found[chosen]

    blend.weights = search.final_weights(price(n, k))
    if blend.gaussians is not None:
        # Among candidates of which some are new the kernel is silent, and the weight is that without it.
        weights = blend.weights if blend.kernel is None else alone
        blend.text_weight = weights["gaussians"] / weights["base"]
    prediction, wrong = e.prediction[rows], e.wrong[rows]
    blend.line = _line(search.blended(blend.weights), prediction, wrong)
    blend.base_line = _line(search.scores["base"], prediction, wrong)
    return blend


class _Search:
    """Takes in a source only if it lowers the loss of left-out rows by more than its price."""

    def __init__(self, e: Evidence, rows: Tensor) -> None:
        self.e, self.rows = e, rows
        self.scores = {"base": e.base[rows]}
        self.weights = {"base": 1.0}
        # At its own best weight: what a source gains by toning down the base is no gain of the source.
        self.start = self.loss = _weigh(e, [e.base[rows]], rows)[1]

    def offer(self, name: str, trials: list[Tensor], price: float) -> int | None:
        """Weigh each trial's left-out scores beside what is in; return which was taken in, if any."""
        fitted = [_weigh(self.e, [*self.scores.values(), trial], self.rows) for trial in trials]
        best = min(range(len(trials)), key=lambda i: fitted[i][1])
        weights, loss = fitted[best]
        if self.loss - loss <= price:
            return None
        self.scores[name] = trials[best]
        self.weights = dict(zip(self.scores, weights.tolist(), strict=True))
        self.loss = loss
        return best

    def blended(self, weights: dict[str, float]) -> Tensor:
        """The weighted sum of what is in, (rows, K)."""
        return torch.stack([weights[name] * part for name, part in self.scores.items()]).sum(dim=0)

    def final_weights(self, price: float) -> dict[str, float]:
        """The weights, the way from the base shortened by the share of the gain that is its price."""
        if len(self.scores) == 1:
            return self.weights
        share = max(0.0, 1 - price / max(self.start - self.loss, 1e-9))
        weights = {name: share * weight for name, weight in self.weights.items()}
        weights["base"] += 1 - share
        if len(self.rows) < FEW_IMAGES and "gaussians" in weights:
            spread = self.scores["base"].std() / self.scores["gaussians"].std().clamp_min(1e-9)
            weights["gaussians"] = min(weights["gaussians"], MAX_SPREAD * float(spread))
        return weights


def left_out_logits(e: Evidence, blend: Blend) -> Tensor:
    """Logits (n, K) of all rows, each left out of the sources that saw it; without the intercepts."""
    q = blend.weights["base"] * e.base
    if blend.gaussians is not None:
        q += blend.weights["gaussians"] * blend.gaussians.leave_one_out(e.x, e.labels)
    if blend.kernel is not None:
        q += blend.weights["kernel"] * blend.kernel.gaussians.leave_one_out(blend.kernel.features, e.labels)
    return q


def _line(logits: Tensor, prediction: Tensor, wrong: Tensor) -> tuple[float, float]:
    return fit_platt(SplitSoftmax(logits.double(), prediction).log_odds, wrong)


def _weigh(e: Evidence, scores: list[Tensor], rows: Tensor) -> tuple[Tensor, float]:
    correct = None if e.correct is None else e.correct[rows]
    return fit_weights(scores, e.labels[rows], correct, e.prediction[rows], base_tightness(len(e.x)))


def _best_gaussians(e: Evidence, rows: Tensor, light: bool) -> ClassGaussians:
    n, k = e.base.shape
    choices = [(2.0, 0.3)]
    if not light:
        choices += [(2.0, 0.9)]
        if n >= 8 * k:
            choices += [(16.0, 0.3)]
    fitted: dict[float, ClassGaussians] = {}
    losses = []
    for prior_images, shrinkage in choices:
        if prior_images not in fitted:
            fitted[prior_images] = ClassGaussians(e.moments, e.text, prior_images)
        left_out = fitted[prior_images].whiten(shrinkage).leave_one_out(e.x[rows], e.labels[rows])
        losses.append(_weigh(e, [e.base[rows], left_out], rows)[1])
    prior_images, shrinkage = choices[losses.index(min(losses))]
    return fitted[prior_images].whiten(shrinkage)


def _kernel(e: Evidence, generator: torch.Generator) -> Kernel:
    n = len(e.x)
    centre = e.x.mean(dim=0)
    spread = float((e.x - centre).square().sum(dim=1).mean().sqrt())
    landmarks = e.x[torch.randperm(n, generator=generator)[:MAX_LANDMARKS]]
    root = nystroem_root(landmarks, centre, spread)
    features = likeness(e.x, landmarks, centre, spread) @ root
    moments = Moments.gather([(features, e.labels)], e.base.shape[1])
    return Kernel(ClassGaussians(moments, None), features, landmarks, centre, spread, root)
