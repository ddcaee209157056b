"""What carries over to candidates of a set never seen, learned from several class sets.

Classes are compared with those of their own set alone: the covariance is that within classes, and texts and
means are centred within their set before one is regressed on the other. Each set counts the same in the
covariance and in the weight, which is what predicts the classes of each set best from the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import read
from vilu_sdk.compute.softmax import SplitSoftmax
from vilu_sdk.inputs.task import Task
from vilu_sdk.scorers.posterior.densities import TextDensities, TextRegression
from vilu_sdk.scorers.posterior.moments import Moments, shrunk
from vilu_sdk.scorers.posterior.weights import Outcomes, fit_platt, fit_weights

# Shrinkage of the covariance, and ridge of the text map in units of the texts' mean variance.
SHRINKAGE, RIDGE = 0.3, 1.0
# Of what a known class has that its text does not predict, the share that holds in other sets.
OWN = 0.7
# Elements of the array of images × classes on which the weight is chosen, of each set.
ELEMENTS = 600_000
# Independent images that a set counts as there.
SET_SIZE = 1000.0


@dataclass(frozen=True)
class SetSummary:
    """What is learned from the images of one class set."""

    x: Tensor  # (n, d), some of the images
    labels: Tensor  # (n,)
    text: Tensor  # (K, d)
    seen: Tensor  # rows of the classes with images
    counts: Tensor  # (seen,)
    means: Tensor  # (seen, d)
    within: Tensor  # (d, d), covariance within classes

    @classmethod
    def of(cls, task: Task) -> Self:
        """Summarise labelled images, each its own group."""
        assert task.labels is not None
        x, k = read(task.images, slice(None)), len(task.text)
        moments = Moments.gather([(x, task.labels)], k)
        seen = torch.nonzero(moments.counts > 0)[:, 0]
        counts, sums = moments.counts[seen], moments.sums[seen]
        within = moments.within() / max(1, len(x) - len(seen))
        some = torch.linspace(0, len(x) - 1, min(len(x), max(200, ELEMENTS // k))).long()
        means = moments.centre + sums / counts[:, None]
        return cls(x[some], task.labels[some], task.text, seen, counts, means, within)


@dataclass(frozen=True)
class Transfer:
    """Gaussians of any texts, and the weight they earned on sets left out."""

    regression: TextRegression
    weight: float  # per unit of the base's
    # What calibrates the log-odds, and the softmax, among the classes of sets left out.
    platt: tuple[float, float]
    sharpness: float

    def densities(self, means: Tensor, text: Tensor) -> TextDensities:
        """Add the means (K, d) that were learned of classes (K, d), as other sets have them."""
        regression = self.regression
        predicted = regression.predicted(text)
        # What all classes of their set have in common is left behind, and a part of what is each one's own.
        own = means - regression.centre - predicted
        own = OWN * (own - own.mean(dim=0))
        # A class whose mean is only predicted is that much further from its images.
        slack = torch.zeros(len(means) + 1)
        slack[-1] = 0.5 * ((own @ regression.precision) * own).sum(dim=1).mean()
        return TextDensities(**vars(regression), means=predicted + own, slack=slack)


def learn_transfer(tasks: Sequence[Task], logit_scale: float) -> Transfer:
    """Learn from two class sets or more, each left out in turn for the weight."""
    sets = [SetSummary.of(task) for task in tasks]
    outcomes, held_out = [], []
    for left_out in sets:
        found = pool([other for other in sets if other is not left_out])
        base = logit_scale * (left_out.x @ left_out.text.T)
        scores = found.density(found.predicted(left_out.text))(left_out.x)
        each = torch.full((len(base),), SET_SIZE / len(base))
        outcomes.append(Outcomes.of([base, scores], left_out.labels, None, each))
        held_out.append((base, scores, left_out.labels, each))
    (base_weight, found_weight), _ = fit_weights(outcomes, [1e-6, 1e-6])
    weight = float(found_weight / base_weight)
    odds, wrong, weights = [], [], []
    for base, scores, labels, each in held_out:
        prediction = base.argmax(dim=1)
        odds.append(SplitSoftmax((base + weight * scores).double(), prediction).log_odds)
        wrong.append(prediction != labels)
        weights.append(each)
    platt = fit_platt(torch.cat(odds), torch.cat(wrong), torch.cat(weights))
    return Transfer(pool(sets), weight, platt, float(base_weight))


def pool(sets: Sequence[SetSummary]) -> TextRegression:
    """Gaussians of any texts by what all sets have in common."""
    identity = torch.eye(len(sets[0].within))
    covariance = sum((one.within for one in sets), torch.zeros_like(identity)) / len(sets)
    gram, product = torch.zeros_like(identity), torch.zeros_like(identity)
    for one in sets:
        text, means = one.text[one.seen], one.means
        text, means = text - text.mean(dim=0), means - means.mean(dim=0)
        gram += text.T @ text
        product += text.T @ means
    scale = (product.diagonal().sum() / gram.diagonal().sum().clamp_min(1e-12)).clamp_min(0)
    ridge = gram + RIDGE * gram.diagonal().mean() * identity
    text_map = scale * identity + torch.linalg.solve(ridge, product - scale * gram)
    centre = torch.stack([one.means.mean(dim=0) for one in sets]).mean(dim=0)
    text_centre = torch.stack([one.text[one.seen].mean(dim=0) for one in sets]).mean(dim=0)
    return TextRegression(torch.linalg.inv(shrunk(covariance, SHRINKAGE)), text_map, text_centre, centre)
