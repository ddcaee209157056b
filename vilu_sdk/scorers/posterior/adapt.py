"""Moving a model to unlabelled images of a domain, without trusting how often classes occur."""

import torch
from torch import Tensor

from vilu_sdk.scorers.posterior.classes import ClassModel
from vilu_sdk.scorers.posterior.densities import TextDensities
from vilu_sdk.scorers.posterior.gaussians import ClassGaussians
from vilu_sdk.scorers.posterior.model import LogLinearModel, total
from vilu_sdk.scorers.posterior.moments import Moments
from vilu_sdk.scorers.posterior.parts import Intercepts, Part

# Images that a text's predicted mean is worth, and the covariance's shrinkage.
PRIOR_IMAGES, SHRINKAGE = 4.0, 0.6
# Weight of the domain's own Gaussians for each unit of logit scale, with many images for each class.
WEIGHT = 0.0005
ROUNDS, POWER = 2, 1.5
# Pseudo-images of each class in the balance, and its steps.
COUNT, STEPS = 4.0, 10
# Where one class holds the first share of the images beyond its fair one, what they say begins to count
# less; from the second on it counts nothing. Steps in which shares are estimated.
DOMINANT, SHARE_STEPS = (0.15, 0.3), 30


def adapt_classes(model: LogLinearModel, x: Tensor, text: Tensor, *, balanced: bool) -> ClassModel:
    """Add the Gaussians of the domain's classes (K, d), found by soft assignment of images (n, d)."""
    n, k = len(x), len(text)
    before = total(model.parts(text), x)
    # What labels taught about a class is not overruled by images without one.
    share = model.unknown_share(text) * n / (n + PRIOR_IMAGES * k)
    if not balanced:  # else every class is said to have its images
        share *= trust(before)
    # A quarter of a class's fair share of images: the mean of a class that does not occur, but attracts
    # some, then stays near its text.
    prior_images = max(PRIOR_IMAGES, n / (4 * k))
    q, known = before, dict[str, Part]()
    for _ in range(ROUNDS if share else 0):
        # A power: an image between classes says less of any than one of it alone.
        assigned = torch.softmax(q + balance(q) if balanced else q, dim=1) ** POWER
        moments = Moments.gather([(x, assigned, assigned.sum(dim=1))], k)
        # The text in the middle of the images is not the mean text where some classes have most of them.
        centre = moments.counts @ text / moments.counts.sum()
        gaussians = ClassGaussians(moments, text, prior_images, shared_prior=0.0, text_centre=centre)
        # The slack keeps classes of many images, whose means are sure, from winning by that alone.
        densities = TextDensities.of(gaussians.whiten(SHRINKAGE))
        linear = densities.among(text, torch.arange(k))
        known["class Gaussians"] = part = linear.times(share * WEIGHT * model.logit_scale)
        q = before + part(x)
    # Without labels, a class that is predicted often cannot be told from one that occurs often.
    if balanced:
        known["class intercepts"] = Intercepts(balance(q))
    platt, sharpness = model.calibration(text), model.sharpness(text)
    parts = model.logit_scale, model, 1.0, text, known
    return ClassModel(*parts, platt=platt, base_platt=platt, known_sharpness=sharpness)


def trust(q: Tensor) -> float:
    """How far images of logits `q` (n, K) can tell of their classes: 0 where one class holds many of them.

    The classes of the others are then found mostly among the errors of that one.
    """
    k = q.shape[1]
    fair = 1 / k
    beyond = (float(class_shares(q).max()) - fair) / (1 - fair)
    low, high = DOMINANT
    return min(1.0, max(0.0, (high - beyond) / (high - low)))


def class_shares(q: Tensor) -> Tensor:
    """Shares (K,) of the classes that make images of logits `q` (n, K) likeliest, by EM from equal ones.

    Predictions alone hide a dominant class, whose errors are spread over the others.
    """
    n, k = q.shape
    shares = torch.full((k,), 1 / k)
    for _ in range(SHARE_STEPS):
        mass = torch.softmax(q + shares.log(), dim=1).sum(dim=0)
        shares = (mass + 1) / (n + k)
    return shares


def balance(q: Tensor) -> Tensor:
    """Intercepts (K,) under which every class gets about as many of the rows of `q` (n, K)."""
    n, k = q.shape
    b = torch.zeros(k)
    for _ in range(STEPS):
        mass = torch.softmax(q + b, dim=1).sum(dim=0)
        b = b - 0.5 * torch.log((mass + COUNT) / (n / k + COUNT))
    return b
