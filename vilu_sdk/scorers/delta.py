r"""Δ-KNN and Δ-MDS: whether an image is nearer to those predicted right, or to those predicted wrong.

Both estimate, for embeddings of width d and up to a constant, the likelihood ratio

.. math:: \log u = \tfrac1d \log \frac{p(z_v \mid \text{wrong})}{p(z_v \mid \text{right})} - \lambda \, m,

one by nearest neighbours, one by Gaussians of the classes; m is the lead of the first logit over the second.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import read
from vilu_sdk.exceptions import NothingLearnedWarning, warn
from vilu_sdk.inputs.names import NONE
from vilu_sdk.inputs.precision import working
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import not_negative, share, whole
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.base.predictions import wrong_of
from vilu_sdk.scorers.base.scorer import Scorer
from vilu_sdk.scorers.margin import log_ratio
from vilu_sdk.scorers.neighbour import log_distances, spread, width_of
from vilu_sdk.scorers.of_classes import ClassScorer, inverse_root, moments_of, nearest_squared

# Variance, summed over all directions, below which images do not differ.
SMALLEST_SPREAD = 1e-12


class DeltaKNNScorer(Scorer):
    r"""Δ-KNN: log-distance to right images of the fit, less that to wrong ones.

    .. math::
        \log u = \frac1k \sum_{i=1}^k \log \lVert z_v - a_{(i)} \rVert
        - \frac1k \sum_{i=1}^k \log \lVert z_v - b_{(i)} \rVert - \lambda \, m

    with :math:`a_{(i)}` the nearest images of the fit whose prediction was right, :math:`b_{(i)}` those whose
    prediction was wrong, and m the lead of the first logit over the second.

    Parameters
    ----------
    k : int
        How many neighbours of each kind, at least 1. With fewer images, all. 10 was best on a few thousand
        images, 25 is the paper's on all of ImageNet.
    margin_weight : float
        λ, at least 0, for a lead in nats. 0 is Δ-KNN; more is Δ-KNN-RLog, the paper's with 0.1 for CLIP.
    max_images : int
        Most images of each kind that are kept, evenly spread.
    logit_scale : float
        The model's learnt scale s: 100 for CLIP.

    Attributes
    ----------
    right_, wrong_ : Tensor of shape (m, d)
        The images that are kept.

    Warns
    -----
    NothingLearnedWarning
        In `fit`, if all predictions are right, or all are wrong: it then ranks by the distance to them.

    Notes
    -----
    It learns from labels, right/wrong feedback or pairs. It does not see which class is predicted: an image
    is doubtful if the model failed on its neighbours, whatever it predicted for them. An image labelled -1,
    none of the candidates, counts as a wrong prediction. The scorer and its saved files hold embeddings of
    images. It is not a probability of failure.

    References
    ----------
    Heng & Soh, "Know When to Abstain: Optimal Selective Classification with Likelihood Ratios", ICLR 2026.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import DeltaKNNScorer
    >>> scorer = DeltaKNNScorer(k=1).fit(np.eye(3), np.eye(3), [0, 1, 0])  # the third was wrong
    >>> doubt = scorer.predict_uncertainty(np.array([[1.0, 0.1, 0.0], [0.0, 0.1, 1.0]]), np.eye(3))
    >>> bool(doubt[0] < 1 < doubt[1])
    True
    """

    is_probability = False
    has_posterior = True
    learns = True

    def __init__(
        self,
        *,
        k: int = 10,
        margin_weight: float = 0.0,
        max_images: int = 25_000,
        logit_scale: float = 100.0,
    ) -> None:
        self.k = k
        self.margin_weight = margin_weight
        self.max_images = max_images
        self.logit_scale = logit_scale

    def _learn(self, task: Task) -> None:
        for name in ("k", "max_images"):
            whole(getattr(self, name), name, 1)
        sides = _right_and_wrong(self, task)
        rows = (spread(torch.nonzero(side)[:, 0], self.max_images) for side in sides)
        self.right_, self.wrong_ = (read(task.images, kept) for kept in rows)

    def _among(self, text: Tensor) -> Among:
        def distance(z: Tensor, bank: Tensor) -> Tensor:
            return log_distances(z, bank, self.k).mean(dim=1) if len(bank) else _nowhere(z)

        def ratio(z: Tensor) -> Tensor:
            return distance(z, self.right_) - distance(z, self.wrong_)

        width = max(width_of(bank, self.k) for bank in (self.right_, self.wrong_))
        return _less_margin(self, text, ratio, width)


class DeltaMDSScorer(ClassScorer):
    r"""Δ-MDS: Mahalanobis distance to the nearest class of right images, less that of wrong ones.

    .. math::
        \log u = \frac1{2d} \Bigl( \min_c \lVert z_v - m_c \rVert^2_{C^{-1}}
        - \min_c \lVert z_v - m'_c \rVert^2_{C'^{-1}} \Bigr) - \lambda \, m

    with means and one covariance of the images of the fit whose prediction was right, by their class, and
    :math:`m'_c`, C' of those whose prediction was wrong, by the class that they show. The last m is the lead
    of the first logit over the second.

    Parameters
    ----------
    shrinkage : float
        Share of the covariances that is spread evenly over all directions, in (0, 1].
    margin_weight : float
        λ, at least 0, for a lead in nats. 0 is Δ-MDS, more is Δ-MDS-RLog.
    logit_scale : float
        The model's learnt scale s: 100 for CLIP.

    Attributes
    ----------
    right_means_, wrong_means_ : Tensor of shape (C, d)
        Of the classes that occur on that side.
    right_root_, wrong_root_ : Tensor of shape (d, d)
        Inverse Cholesky roots of the covariances within these classes; of all images of the side where no
        class has two.

    Warns
    -----
    NothingLearnedWarning
        In `fit`, if all predictions are right, or all are wrong: it then ranks by the distance to them.

    Notes
    -----
    It learns from labels. It does not see which class is predicted. Images labelled -1, none of the
    candidates, are one more class of wrong images. It is not a probability of failure.

    References
    ----------
    Heng & Soh, "Know When to Abstain: Optimal Selective Classification with Likelihood Ratios", ICLR 2026.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import DeltaMDSScorer
    >>> rng = np.random.default_rng(0)
    >>> z_txt = np.eye(4)
    >>> labels = rng.integers(4, size=400)
    >>> z_img = z_txt[labels] + 0.4 * rng.normal(size=(400, 4))
    >>> scorer = DeltaMDSScorer().fit(z_img, z_txt, labels)
    >>> doubt = scorer.predict_uncertainty(np.array([[1.0, 0, 0, 0], [1.0, 1, 0, 0]]), z_txt)
    >>> bool(doubt[0] < doubt[1])
    True
    """

    is_probability = False
    has_posterior = True

    def __init__(
        self, *, shrinkage: float = 0.6, margin_weight: float = 0.0, logit_scale: float = 100.0
    ) -> None:
        self.shrinkage = shrinkage
        self.margin_weight = margin_weight
        self.logit_scale = logit_scale

    def _learn(self, task: Task) -> None:
        self._known(task)
        share(self.shrinkage, "shrinkage")
        assert task.labels is not None
        labels = torch.where(task.labels == NONE, self.k_, task.labels)
        weights = torch.ones(len(labels), dtype=torch.float64) if task.weights is None else task.weights
        right, wrong = _right_and_wrong(self, task)
        self.right_means_, self.right_root_ = self._gaussians(task, labels, weights * right)
        self.wrong_means_, self.wrong_root_ = self._gaussians(task, labels, weights * wrong)

    def _gaussians(self, task: Task, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Means (C, d) of the classes that occur, and the inverse root (d, d) of what they scatter by."""
        d, dtype = task.images.d, working()
        if not weights.any():
            return torch.zeros(0, d), torch.zeros(d, d)
        moments = moments_of(task, labels, self.k_ + 1, weights)
        seen = moments.counts > 0
        means = moments.centre + moments.sums[seen] / moments.counts[seen, None]
        spreads = moments.within(), moments.scatter, torch.eye(d, dtype=torch.float64)
        n = moments.counts.sum()
        one = next(one for one in spreads if float(one.diagonal().sum()) > SMALLEST_SPREAD * float(n))
        return means.to(dtype), inverse_root(one / n, self.shrinkage).to(dtype)

    def _among(self, text: Tensor) -> Among:
        self._require_classes(text)
        sides = ((self.right_means_, self.right_root_), (self.wrong_means_, self.wrong_root_))
        right, wrong = (nearest_squared(*side) if len(side[0]) else _nowhere for side in sides)
        d = text.shape[1]

        def ratio(z: Tensor) -> Tensor:
            return (right(z) - wrong(z)) / (2 * d)

        return _less_margin(self, text, ratio, d)


def _right_and_wrong(scorer: DeltaKNNScorer | DeltaMDSScorer, task: Task) -> tuple[Tensor, Tensor]:
    """Return which images (n,) of a fit were predicted right, and which wrong."""
    not_negative(scorer.margin_weight, "margin_weight")
    wrong = wrong_of(task)
    if bool(wrong.all()) or not bool(wrong.any()):
        kind = "wrong" if wrong[0] else "right"
        warn(
            f"{type(scorer).__name__} was fitted on predictions that are all {kind}, and ranks by the "
            "distance to these; fit on images that hold both.",
            NothingLearnedWarning,
        )
    return ~wrong, wrong


def _less_margin(
    scorer: DeltaKNNScorer | DeltaMDSScorer, text: Tensor, ratio: Callable[[Tensor], Tensor], width: int
) -> Among:
    """Return the log-ratio (n,) of images as a decision value, less the margin by its weight."""
    weight = not_negative(scorer.margin_weight, "margin_weight")

    def decide(chunk: Chunk) -> Tensor:
        found = ratio(chunk.z)
        return (found + weight * log_ratio(chunk) if weight else found).float()

    among = Among.zero_shot(text, scorer.softmax_scale, decide)
    return replace(among, width=max(width, len(text)))


def _nowhere(z: Tensor) -> Tensor:
    """No distance from no images."""
    return z.new_zeros(len(z)).double()
