"""Distances to Gaussians of the classes: Mahalanobis, and relative Mahalanobis."""

import torch
from torch import Tensor

from vilu_sdk.exceptions import NothingLearnedWarning, warn
from vilu_sdk.inputs.precision import working
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import check_logit_scale, share
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.of_classes import ClassScorer, inverse_root, moments_of, nearest_squared

# Squared distance from its class's mean below which an image does not differ from it.
SMALLEST_SPREAD = 1e-12


class MahalanobisScorer(ClassScorer):
    r"""Distance of an image from the nearest class, in the metric of the covariance within classes.

    .. math:: d_c^2 = (x - m_c)^\top C^{-1} (x - m_c), \qquad u = \min_c d_c^2
        \quad\text{or, relative,}\quad \log u = \tfrac1{2d} \min_c (d_c^2 - d_0^2)

    with class means :math:`m_c` and one covariance C, for embeddings of width d. The relative form subtracts
    the distance :math:`d_0` to one Gaussian of all images, a measure of how unusual an image is altogether.

    Parameters
    ----------
    relative : bool
        Subtract the distance to all images. This ranks images of near classes better, and far images worse.
    shrinkage : float
        Share of the covariances that is spread evenly over all directions, in (0, 1]. Without any, as in the
        papers, fewer images than dimensions have no distance.
    logit_scale : float
        Scale of the zero-shot softmax, which this scorer does not use: 100 for CLIP.

    Attributes
    ----------
    means_ : Tensor of shape (C, d)
        Of the classes that occur.
    root_ : Tensor of shape (d, d)
        Inverse Cholesky root of the covariance within classes.
    centre_, centre_root_ : Tensor of shape (d,) and (d, d)
        Mean and inverse root of all images.

    Notes
    -----
    It learns from labels and sees images alone: the candidates that are scored are the classes of the fit, in
    their order. Images of the label -1 are left out. It is not a probability of failure. Where no class has
    two different images, distances are Euclidean, with a warning.

    References
    ----------
    Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
    Attacks", NeurIPS 2018; Ren et al., "A Simple Fix to Mahalanobis Distance for Improving Near-OOD
    Detection", 2021, for the relative one.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import MahalanobisScorer
    >>> rng = np.random.default_rng(0)
    >>> z_txt = np.eye(4)
    >>> labels = rng.integers(4, size=200)
    >>> z_img = z_txt[labels] + 0.1 * rng.normal(size=(200, 4))
    >>> scorer = MahalanobisScorer().fit(z_img, z_txt, labels)
    >>> known, unknown = scorer.decision_function(np.array([[1.0, 0, 0, 0], [1.0, 1, 1, 1]]), z_txt)
    >>> bool(unknown > known)
    True
    """

    is_probability = False

    def __init__(self, *, relative: bool = False, shrinkage: float = 0.1, logit_scale: float = 100.0) -> None:
        self.relative = relative
        self.shrinkage = shrinkage
        self.logit_scale = logit_scale

    def _learn(self, task: Task) -> None:
        labels, weights = self._known(task)
        share(self.shrinkage, "shrinkage")
        moments = moments_of(task, labels, self.k_, weights)
        seen = moments.counts > 0
        counts, sums = moments.counts[seen], moments.sums[seen]
        n = counts.sum()
        dtype = working()
        self.centre_ = moments.centre.to(dtype)
        self.means_ = (sums / counts[:, None]).to(dtype)  # about the centre
        covariances = moments.within() / n, moments.scatter / n
        if not float(covariances[0].diagonal().sum()) > SMALLEST_SPREAD:
            warn(
                "MahalanobisScorer: no class has two different images, so the covariance within classes is "
                "unknown, and distances count all directions alike. Pass more images.",
                NothingLearnedWarning,
            )
            covariances = (torch.eye(self.means_.shape[1], dtype=torch.float64),) * 2
        elif self.relative and len(counts) < 2:
            warn(
                "MahalanobisScorer: images of one class alone are as far from it as from all images, so that "
                "relative distances are 0. Pass images of more classes, or relative=False.",
                NothingLearnedWarning,
            )
        self.root_, self.centre_root_ = (inverse_root(one, self.shrinkage).to(dtype) for one in covariances)

    def _among(self, text: Tensor) -> Among:
        check_logit_scale(self.logit_scale)
        self._require_classes(text)
        distances = nearest_squared(self.means_, self.root_)
        from_all = nearest_squared(torch.zeros_like(self.means_[:1]), self.centre_root_)

        def decide(chunk: Chunk) -> Tensor:
            x = chunk.z - self.centre_
            if self.relative:
                return (distances(x) - from_all(x)).float() / (2 * text.shape[1])
            return distances(x).clamp_min(torch.finfo(torch.float32).tiny).log().float()

        return Among(text, decision=decide, width=max(len(self.means_), text.shape[1]))
