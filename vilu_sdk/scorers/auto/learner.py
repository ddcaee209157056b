"""Choosing what a class model is made of: each source must earn its place on left-out scores."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vilu_sdk.scorers.auto.blend import fit_platt, fit_weights
from vilu_sdk.scorers.auto.gaussians import ClassGaussians
from vilu_sdk.scorers.auto.intercepts import class_frequencies, fit_intercepts, leave_one_out_intercepts
from vilu_sdk.scorers.auto.landmarks import likeness, nystroem_root
from vilu_sdk.scorers.auto.moments import Moments
from vilu_sdk.similarity import Posterior

MIN_IMAGES = 10
MIN_OUTCOMES = 5  # of right and of wrong, where only that is known
MAX_LANDMARKS = 1500
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
    def says_anything(self) -> bool:
        """Whether there is something to learn from."""
        if len(self.x) < MIN_IMAGES:
            return False
        if self.correct is None:
            return bool((self.labels != self.labels[0]).any())
        return min(int(self.correct.sum()), int((~self.correct).sum())) >= MIN_OUTCOMES


@dataclass
class Blend:
    """Sources, their weights, and their scores on left-out rows.

    `gaussians`, `kernel` and `intercepts` are None where they did not earn their place.
    """

    weights: Tensor = field(default_factory=lambda: torch.ones(1, dtype=torch.float64))
    gaussians: ClassGaussians | None = None
    kernel: "Kernel | None" = None
    intercepts: Tensor | None = None
    line: tuple[float, float] = (1.0, 0.0)
    base_line: tuple[float, float] = (1.0, 0.0)
    gains: dict[str, float] = field(default_factory=dict)


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
    return 0.6 if 20 <= n <= k else max(3.0, 125.0 / n)


def learn_blend(evidence: Evidence, generator: torch.Generator, *, light: bool = False) -> Blend:
    """Build up a blend, source by source."""
    e = evidence
    n, k = e.base.shape
    blend = Blend()
    if not e.says_anything:
        return blend
    cap = min(5000, max(1000, WEIGHT_ELEMENTS // k))
    rows = torch.randperm(n, generator=generator)[:cap] if n > cap else torch.arange(n)

    def weigh(scores: list[Tensor], some: Tensor) -> tuple[Tensor, float]:
        correct = None if e.correct is None else e.correct[some]
        return fit_weights(scores, e.labels[some], correct, e.prediction[some], base_tightness(n))

    scores = [e.base[rows]]
    start = loss = _loss_of_base(e, rows)
    cost = price(n, k)

    gaussians = _best_gaussians(e, rows[: max(500, GAUSSIAN_ELEMENTS // k)], weigh, light)
    left_out = gaussians.leave_one_out(e.x[rows], e.labels[rows])
    weights, after = weigh([*scores, left_out], rows)
    if loss - after > cost:
        blend.gaussians, blend.weights, loss = gaussians, weights, after
        scores.append(left_out)
        blend.gains["class Gaussians"] = start - loss

    if n >= max(1000, 8 * k) and not light:
        kernel = _kernel(e, generator)
        found = []
        for shrinkage in (0.1, 0.01, 0.003):
            left_out = kernel.gaussians.whiten(shrinkage).leave_one_out(kernel.features[rows], e.labels[rows])
            found.append((*weigh([*scores, left_out], rows), left_out, shrinkage))
        weights, after, left_out, shrinkage = min(found, key=lambda trial: trial[1])
        if loss - after > cost:
            kernel.gaussians.whiten(shrinkage)
            blend.kernel, blend.weights = kernel, weights
            blend.gains["kernel"] = loss - after
            loss = after
            scores.append(left_out)

    q = left_out_logits(e, blend)
    if e.correct is None:
        frequencies, concentration = class_frequencies(e.labels, k)
    else:
        frequencies, concentration = torch.full((k,), 1 / k), math.inf
    frequencies = frequencies.to(q)
    tried = []
    b = None
    for ridge in (1.0, 10.0) if n <= 1000 else (1.0,):
        b = fit_intercepts(q, frequencies, ridge, b)
        left_out = leave_one_out_intercepts(q, rows, b, e.labels, frequencies, ridge, concentration)
        tried.append((*weigh([*scores, left_out], rows), left_out, b))
    weights, after, left_out, b = min(tried, key=lambda trial: trial[1])
    if loss - after > max(5.0, 500.0 / n):
        blend.intercepts, blend.weights = b, weights
        blend.gains["class intercepts"] = loss - after
        loss = after
        scores.append(left_out)

    if len(scores) == 1:
        blend.weights = torch.ones(1, dtype=torch.float64)
    elif n < 100:
        _step_back(blend.weights, scores, max(0.0, 1 - cost / max(start - loss, 1e-9)))
    total = sum(w.to(s.dtype) * s for w, s in zip(blend.weights, scores, strict=True))
    assert isinstance(total, Tensor)
    wrong = e.wrong[rows]
    blend.line = fit_platt(Posterior(total.double(), e.prediction[rows]).log_odds, wrong)
    blend.base_line = fit_platt(Posterior(scores[0].double(), e.prediction[rows]).log_odds, wrong)
    return blend


def left_out_logits(e: Evidence, blend: Blend) -> Tensor:
    """Logits (n, K) of all rows, each left out of the sources that saw it; without the intercepts."""
    weights = blend.weights.to(e.base.dtype)
    q = weights[0] * e.base
    used = 1
    if blend.gaussians is not None:
        q += weights[used] * blend.gaussians.leave_one_out(e.x, e.labels)
        used += 1
    if blend.kernel is not None:
        q += weights[used] * blend.kernel.gaussians.leave_one_out(blend.kernel.features, e.labels)
    return q


def _loss_of_base(e: Evidence, rows: Tensor) -> float:
    base = e.base[rows].double()
    if e.correct is None:
        return float(torch.nn.functional.cross_entropy(base, e.labels[rows], reduction="sum"))
    odds = Posterior(base, e.prediction[rows]).log_odds
    return float(torch.nn.functional.softplus(torch.where(e.correct[rows], odds, -odds)).sum())


def _best_gaussians(e: Evidence, rows: Tensor, weigh, light: bool) -> ClassGaussians:  # type: ignore[no-untyped-def]
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
        losses.append(weigh([e.base[rows], left_out], rows)[1])
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


def _step_back(weights: Tensor, scores: list[Tensor], share: float) -> None:
    """With fewer than 100 images, keep only a share of the way from the base."""
    weights[0] = 1 + (weights[0] - 1) * share
    weights[1:] *= share
    limit = 0.3 * float(scores[0].std() / scores[1].std().clamp_min(1e-9))
    weights[1] = weights[1].clamp_max(limit)
