"""Learning the background, the candidate "none of these": its level, from left-out scores or from images.

Among candidates of the fit:

- By default the level is as high as costs nothing where all images show a candidate, on left-out scores, and
  at most `RATE` in the mean of images that do.
- With a rate by the user's word, the level is where images that show a candidate have it in the mean.
- With images labelled "none of the candidates", level and weights are learned from them.

Among candidates without labels, the level is a margin below the log-sum of the images that the texts predict:
far enough that it costs nothing where all images show a candidate.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor

from vilu_sdk.compute.distributed import read
from vilu_sdk.compute.softmax import SplitSoftmax
from vilu_sdk.inputs.names import NONE
from vilu_sdk.inputs.task import Task
from vilu_sdk.scorers.base.groups import distinct_rows, group_weights, importance, number
from vilu_sdk.scorers.base.unknown import LEAD, Background
from vilu_sdk.scorers.posterior.blend import Blend
from vilu_sdk.scorers.posterior.model import total
from vilu_sdk.scorers.posterior.parts import Parts
from vilu_sdk.scorers.posterior.weights import Outcomes, fit_weights

# Mean probability of "none" among images of candidates that is tried first, and then halved so often.
RATE, HALVINGS = 0.0002, 2
# Points of AUC that it may cost where all images show a candidate, by left-out scores and a standard error.
# These and ETA are those of 48 with which failures of any kind rank best on held-out train rows of six class
# sets, at 100, 300 and all labels, among those that cost no set more than 0.1 on average.
MOST_LOST = 0.3
# Right and wrong predictions from which it can be said what a level costs.
FEWEST_OUTCOMES = 20
# Independent images of none of the candidates that something can be learned from.
FEWEST = 5
# How much more it counts where the posterior refutes the prediction.
ETA = 30.0
# Precision of the prior that holds a and k at their defaults, with images of none of the candidates.
PRECISION = 30.0
# Nats from the log-sum of predicted images down to the level at which images of the candidates have "none"
# with probability `USUAL_RATE`: over train images of seven class sets and 3 to 500 candidates, after `adapt`
# with 14 images and more, 12.7 on average (standard deviation 1.3, largest 15.8); of heads, on sets that they
# did not see, 12.0 (1.9, 15.9).
USUAL, USUAL_RATE = 12.7, 5e-5
# Those that are taken: of these sets none but Caltech101, with hardly an error, loses more than 0.1 points of
# AUC on known images. Captions, and what one set predicts of another (11.6, 4.3, 20.1), want more.
MARGIN, WIDE_MARGIN = 14.0, 16.0
# Predicted images that are looked at, at most.
EXPECTED = 256


def learn_background(
    blend: Blend, unknown: tuple[Tensor, Tensor] | None, rate: float | None
) -> Background | None:
    """Learn a background beside a blend, from logits (m, K) of images of no candidate and their weights (m,).

    None where the candidates are to be all there is, with `rate` 0, and where nothing can be said: by default
    where any level would cost too much.
    """
    if rate == 0:
        return None
    data, rows = blend.data, blend.rows
    logits, weights = blend.left_out(rows).double(), data.weights[rows].numpy()
    log_sum, lead = statistics(logits)
    if unknown is not None:
        every = torch.cat([data.weights[rows], unknown[1]]).double()
        return _from_images(log_sum, lead, *statistics(unknown[0]), every, rate)
    found = Background(0.0)
    novelty = found.novelty(log_sum, lead).numpy()
    if rate is not None:
        return found.at(rate, novelty, weights)
    slope, offset = blend.platt
    odds = slope * SplitSoftmax(logits, data.prediction[rows]).log_odds + offset
    wrong = data.wrong[rows].numpy()
    if min(wrong.sum(), (~wrong).sum()) < FEWEST_OUTCOMES:
        return None
    before = _places(odds.numpy(), wrong)
    for halvings in range(HALVINGS + 1):
        tried = replace(found, eta=ETA).at(RATE / 2**halvings, novelty, weights)
        none = torch.from_numpy(tried.level + novelty)
        lost = before - _places(tried.against(odds, none).numpy(), wrong)
        if lost.mean() + lost.std() / len(lost) ** 0.5 <= MOST_LOST / 100:
            return tried
    return None


def unlabelled_background(rate: float | None, margin: float = MARGIN) -> Background | None:
    """Return the background for candidates without labels, its level relative to what `above` looks at."""
    if rate == 0:
        return None
    if rate is None:
        return Background(-margin, eta=ETA)
    return Background(float(logit(rate) - logit(USUAL_RATE)) - USUAL)


def above(background: Background | None, parts: Parts, expected: Tensor) -> Background | None:
    """Return a relative background at its level among candidates, of which images `expected` (K, d) are."""
    if background is None:
        return None
    some = torch.linspace(0, len(expected) - 1, min(len(expected), EXPECTED)).long()
    log_sum = torch.logsumexp(total(parts, expected[some]).double(), dim=1)
    # Coarse enough that the rounding of sums does not show in scores.
    return replace(background, level=round(background.level + float(log_sum.mean()), 2))


def unknown_images(task: Task, most: int) -> tuple[Tensor, Tensor] | None:
    """Return images (m, d) labelled as none of the candidates, at most so many, and their weights (m,).

    Copies of one count once, and so does a group. None where too few are independent to learn from.
    """
    if task.labels is None or not (task.labels == NONE).any():
        return None
    distinct, groups, which = distinct_rows(task)
    none = task.labels[distinct] == NONE
    rows, groups = distinct[none], number(groups[none])
    if len(torch.unique(groups)) < FEWEST:
        return None
    weights = group_weights(groups, 1.0) * importance(task, which, len(distinct))[none]
    some = torch.linspace(0, len(rows) - 1, min(len(rows), most)).long()
    return read(task.images, rows[some]), weights[some]


def statistics(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sum (n,) of logits (n, K), and log-odds (n,) against the likeliest."""
    logits = logits.double()
    return torch.logsumexp(logits, dim=1), SplitSoftmax(logits).log_odds


def _from_images(
    log_sum: Tensor,
    lead: Tensor,
    log_sum_of_none: Tensor,
    lead_of_none: Tensor,
    weights: Tensor,
    rate: float | None,
) -> Background:
    """Learn it from images of candidates and of none, whose share is `rate`, or as it is here."""
    sums, leads = torch.cat([log_sum, log_sum_of_none]), torch.cat([lead, lead_of_none])
    # Centred, so that the level is determined apart from the slopes.
    middle = sums.mean()
    usual = Background(0.0).novelty(sums - middle, leads)
    margins = torch.stack([usual, middle - sums, leads, torch.ones_like(sums)])[:, :, None]
    is_none = torch.arange(len(sums)) >= len(log_sum)
    outcomes = [Outcomes(margins, None, ~is_none, weights)]
    bounds = [(0.0, None), (0.0, None), (0.0, None), (None, None)]
    (both, mass, alone, level), _ = fit_weights(outcomes, [PRECISION] * 3 + [1e-6], bounds=bounds)
    share = float(weights[is_none].sum() / weights.sum())
    moved = 0.0 if rate is None else float(logit(rate) - logit(share))
    a = float(both + mass)
    return Background(float(level) + moved + a * float(middle), a, float(LEAD * both + alone))


def _places(odds: NDArray[np.float64], wrong: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of right images that each wrong one (m,) is above, ties by half; their mean is the AUC."""
    right = np.sort(odds[~wrong])
    both = np.searchsorted(right, odds[wrong], "left") + np.searchsorted(right, odds[wrong], "right")
    return np.asarray(both / (2 * len(right)))
