"""Moving a model to unlabelled images of a domain, without trusting how often classes occur."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vilu_sdk.exceptions import NothingLearnedWarning, warn
from vilu_sdk.scorers.posterior.background import above, statistics, unlabelled_background
from vilu_sdk.scorers.posterior.classes import GAUSSIANS, INTERCEPTS, ClassModel, Stream
from vilu_sdk.scorers.posterior.densities import TextDensities
from vilu_sdk.scorers.posterior.frequencies import Frequencies, estimate, intercepts
from vilu_sdk.scorers.posterior.gaussians import ClassGaussians
from vilu_sdk.scorers.posterior.model import LogLinearModel, total
from vilu_sdk.scorers.posterior.moments import Moments
from vilu_sdk.scorers.posterior.parts import Intercepts, Part

# Images that a text's predicted mean is worth, and the covariance's shrinkage.
PRIOR_IMAGES, SHRINKAGE = 4.0, 0.6
# Weight of the domain's own Gaussians for each unit of logit scale, with many images for each class, and the
# images for each class with which they have half of it. These, the power and the share of images below are
# chosen on train images of seven class sets, under the skews of `benchmarks/skews.py`.
WEIGHT, HALF = 0.0006, 10.0
# An image between classes says less of any than one of it alone: the power of its assignments.
ROUNDS, POWER = 2, 2.0
# Share of the images that may show no candidate: what is less typical of the candidates counts less.
UNTYPICAL = 0.25
# Where one class holds the first share of the images beyond its fair one, what they say begins to count
# less; from the second on it counts nothing.
DOMINANT = (0.15, 0.3)


def adapt_classes(
    model: LogLinearModel,
    x: Tensor,
    text: Tensor,
    *,
    frequencies: Frequencies = None,
    unknown_rate: float | None = None,
) -> ClassModel:
    """Add the Gaussians of the domain's classes (K, d), found by soft assignment of images (n, d)."""
    found = _adapt(model, x, text, unknown_rate, frequencies)
    if not found.known and model.unknown_share(text):
        warn(
            "adapt leaves the ranking as it is: too many of these images seem to show one of the candidates, "
            "so that they cannot tell of the others. Pass images of more candidates, or a few labels.",
            NothingLearnedWarning,
        )
    return found


def follow(
    model: LogLinearModel, x: Tensor, text: Tensor, memory: float, unknown_rate: float | None = None
) -> ClassModel:
    """Move a model on by a batch of images (n, d) of a stream, of which the last `memory` count most."""
    k = len(text)
    past, q = Stream(Moments.none(k, x), torch.zeros(k, dtype=torch.float64)), None
    if isinstance(model, ClassModel) and model.stream is not None and model.base is not None:
        columns = model.match(text)
        if len(model.text) == k and torch.equal(columns.sort().values, torch.arange(k)):
            past, q = model.stream.among(columns, math.exp(-len(x) / memory)), total(model.parts(text), x)
        model = model.base  # what a stream of other candidates taught is of no use
    return _adapt(model, x, text, unknown_rate, None, past, q)


def _adapt(
    model: LogLinearModel,
    x: Tensor,
    text: Tensor,
    unknown_rate: float | None = None,
    frequencies: Frequencies = None,
    past: Stream | None = None,
    q: Tensor | None = None,
) -> ClassModel:
    """Adapt to images (n, d), and to the `past` of their stream, which made their logits `q` (n, K)."""
    n, k = len(x) + (0.0 if past is None else past.images), len(text)
    below = model.parts(text)
    before = total(below, x)
    log_shares = estimate(before, prior=1.0 + (0.0 if past is None else past.counts))[0]
    # What labels taught about a class is not overruled by images without one.
    share = model.unknown_share(text) * n / (n + HALF * k)
    if not (isinstance(frequencies, str) and frequencies == "balanced"):  # else every class has its images
        share *= trust(log_shares)
    # A quarter of a class's fair share of images: the mean of a class that does not occur, but attracts
    # some, then stays near its text.
    prior_images = max(PRIOR_IMAGES, n / (4 * k))
    # Where the domain's own Gaussians speak, those that other domains predict of it step back.
    rest = before
    for predicted in below.get(GAUSSIANS.name, []):
        rest = rest - share * predicted(x)
    typical = _typical(before)
    q, known, moments, expected = before if q is None else q, dict[str, Part](), None, None
    for _ in range(ROUNDS if share or past is not None else 0):
        # An estimate is of the posterior as it ends up.
        known_shares = None if frequencies == "estimated" else intercepts(q, frequencies, 1.0)
        assigned = torch.softmax(POWER * (q if known_shares is None else q + known_shares), dim=1)
        moments = Moments.gather([(x, assigned * typical[:, None], typical)], k)
        if past is not None:
            moments = past.moments + moments
        # The text in the middle of the images is not the mean text where some classes have most of them.
        centre = moments.counts @ text / moments.counts.sum()
        gaussians = ClassGaussians(moments, text, prior_images, shared_prior=0.0, text_centre=centre)
        # The slack keeps classes of many images, whose means are sure, from winning by that alone.
        densities = TextDensities.of(gaussians.whiten(SHRINKAGE))
        linear = densities.among(text, torch.arange(k))
        known[GAUSSIANS.name] = part = linear.times(share * WEIGHT * model.logit_scale)
        q, expected = rest + part(x), densities.centre + densities.means
    if past is not None and moments is not None:
        counts = past.counts + torch.softmax(before.double() + log_shares, dim=1).sum(dim=0)
        past = Stream(moments, counts)
    platt, sharpness = model.calibration(text), model.sharpness(text)
    found = ClassModel(
        *(model.logit_scale, model, 1.0, text, known),
        platt=platt,
        base_platt=platt,
        known_sharpness=sharpness,
        base_gaussians=1 - share,
        stream=past,
    )
    none, seen = None if unknown_rate == 0 else model.background(text), before
    if expected is not None and share:
        none, seen = above(unlabelled_background(unknown_rate), found.parts(text), expected), q
        if none is not None and unknown_rate is not None and past is None:  # else too few may be at hand
            none = none.at(unknown_rate, none.novelty(*statistics(q)).numpy(), np.ones(len(x)))
    # Without labels, a class that is predicted often cannot be told from one that occurs often.
    shares = intercepts(q, frequencies, sharpness)
    if shares is not None:
        known, q = known | {INTERCEPTS.name: Intercepts(shares)}, q + shares
    if none is not None and q is not seen:
        none = none.like(none.level + none.novelty(*statistics(seen)), none.novelty(*statistics(q)))
    return replace(found, known=known, none_known=none)


def _typical(logits: Tensor) -> Tensor:
    """How much images of logits (n, K) count, (n,) of mean 1: less where little speaks for any candidate."""
    log_sum = torch.logsumexp(logits, dim=1)
    usual = log_sum.kthvalue(1 + int(UNTYPICAL * len(logits))).values
    counts = torch.sigmoid(log_sum - usual)
    return counts / counts.mean()


def trust(log_shares: Tensor) -> float:
    """How far images can tell of their classes (K,): 0 where one class holds many of them.

    The classes of the others are then found mostly among the errors of that one.
    """
    fair = 1 / len(log_shares)
    beyond = (float(log_shares.exp().max()) - fair) / (1 - fair)
    low, high = DOMINANT
    return min(1.0, max(0.0, (high - beyond) / (high - low)))
