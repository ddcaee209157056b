"""Moving a model to unlabelled images of a domain, without trusting how often classes occur."""

import torch
from torch import Tensor

from vilu_sdk.scorers.posterior.background import statistics
from vilu_sdk.scorers.posterior.classes import GAUSSIANS, INTERCEPTS, ClassModel
from vilu_sdk.scorers.posterior.densities import TextDensities
from vilu_sdk.scorers.posterior.frequencies import Frequencies, estimate, intercepts
from vilu_sdk.scorers.posterior.gaussians import ClassGaussians
from vilu_sdk.scorers.posterior.model import LogLinearModel, total
from vilu_sdk.scorers.posterior.moments import Moments
from vilu_sdk.scorers.posterior.parts import Intercepts, Part

# Images that a text's predicted mean is worth, and the covariance's shrinkage.
PRIOR_IMAGES, SHRINKAGE = 4.0, 0.6
# Weight of the domain's own Gaussians for each unit of logit scale, with many images for each class.
WEIGHT = 0.0005
ROUNDS, POWER = 2, 1.5
# Where one class holds the first share of the images beyond its fair one, what they say begins to count
# less; from the second on it counts nothing.
DOMINANT = (0.15, 0.3)


def adapt_classes(
    model: LogLinearModel, x: Tensor, text: Tensor, *, frequencies: Frequencies = None
) -> ClassModel:
    """Add the Gaussians of the domain's classes (K, d), found by soft assignment of images (n, d)."""
    n, k = len(x), len(text)
    below = model.parts(text)
    before = total(below, x)
    # What labels taught about a class is not overruled by images without one.
    share = model.unknown_share(text) * n / (n + PRIOR_IMAGES * k)
    if not (isinstance(frequencies, str) and frequencies == "balanced"):  # else every class has its images
        share *= trust(before)
    # A quarter of a class's fair share of images: the mean of a class that does not occur, but attracts
    # some, then stays near its text.
    prior_images = max(PRIOR_IMAGES, n / (4 * k))
    # Where the domain's own Gaussians speak, those that other domains predict of it step back.
    rest = before
    for predicted in below.get(GAUSSIANS.name, []):
        rest = rest - share * predicted(x)
    q, known = before, dict[str, Part]()
    for _ in range(ROUNDS if share else 0):
        # An estimate is of the posterior as it ends up.
        known_shares = None if frequencies == "estimated" else intercepts(q, frequencies, 1.0)
        # A power: an image between classes says less of any than one of it alone.
        assigned = torch.softmax(q if known_shares is None else q + known_shares, dim=1) ** POWER
        moments = Moments.gather([(x, assigned, assigned.sum(dim=1))], k)
        # The text in the middle of the images is not the mean text where some classes have most of them.
        centre = moments.counts @ text / moments.counts.sum()
        gaussians = ClassGaussians(moments, text, prior_images, shared_prior=0.0, text_centre=centre)
        # The slack keeps classes of many images, whose means are sure, from winning by that alone.
        densities = TextDensities.of(gaussians.whiten(SHRINKAGE))
        linear = densities.among(text, torch.arange(k))
        known[GAUSSIANS.name] = part = linear.times(share * WEIGHT * model.logit_scale)
        q = rest + part(x)
    # Without labels, a class that is predicted often cannot be told from one that occurs often.
    platt, sharpness = model.calibration(text), model.sharpness(text)
    shares = intercepts(q, frequencies, sharpness)
    if shares is not None:
        known[INTERCEPTS.name], q = Intercepts(shares), q + shares
    parts = model.logit_scale, model, 1.0, text, known
    none = model.background(text)
    if none is not None and known:
        none = none.like(none.level + none.novelty(*statistics(before)), none.novelty(*statistics(q)))
    return ClassModel(
        *parts,
        platt=platt,
        base_platt=platt,
        known_sharpness=sharpness,
        none_known=none,
        base_gaussians=1 - share,
    )


def trust(q: Tensor) -> float:
    """How far images of logits `q` (n, K) can tell of their classes: 0 where one class holds many of them.

    The classes of the others are then found mostly among the errors of that one.
    """
    k = q.shape[1]
    fair = 1 / k
    beyond = (float(estimate(q, prior=1.0)[0].exp().max()) - fair) / (1 - fair)
    low, high = DOMINANT
    return min(1.0, max(0.0, (high - beyond) / (high - low)))
