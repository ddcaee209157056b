"""Distances to Gaussians of the classes: Mahalanobis, and relative Mahalanobis."""

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import own_slices, world_size
from vilu_sdk.compute.progress import track
from vilu_sdk.exceptions import NothingLearnedWarning, warn
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import check_logit_scale, flag, share
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.base.scorer import Scorer
from vilu_sdk.scorers.posterior.moments import Moments, shrunk

# Squared distance from its class's mean below which an image does not differ from it.
SMALLEST_SPREAD = 1e-12


class MahalanobisScorer(Scorer):
    r"""Distance of an image from the nearest class, in the metric of how images scatter about their class.

    .. math:: d_c^2 = (x - m_c)^\top C^{-1} (x - m_c), \qquad u = \min_c d_c^2
        \quad\text{or, relative,}\quad \log u = \tfrac12 \min_c (d_c^2 - d_0^2)

    with class means :math:`m_c` and one covariance C. Relative takes off the distance :math:`d_0` to one
    Gaussian of all images, which says how unusual an image is for any class.

    Parameters
    ----------
    relative : bool
        Take off the distance to all images. It tells near classes apart better, far images worse.
    shrinkage : float
        Share of the covariances that is spread evenly over all directions, in (0, 1]. Without any, as in the
        papers, fewer images than dimensions have no distance.
    logit_scale : float
        Of the zero-shot predictions' softmax, which nothing here reads: 100 for CLIP.

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
    learns = True
    fixed_candidates = True

    def __init__(self, *, relative: bool = False, shrinkage: float = 0.1, logit_scale: float = 100.0) -> None:
        self.relative = relative
        self.shrinkage = shrinkage
        self.logit_scale = logit_scale

    def _learn(self, task: Task) -> None:
        check_logit_scale(self.logit_scale)
        if task.labels is None:
            raise ValueError(
                "MahalanobisScorer learns where images of classes lie, not from captions or feedback; pass "
                "`labels`."
            )
        share(self.shrinkage, "shrinkage")
        flag(self.relative, "relative")
        labels, k = task.labels, len(task.texts)
        shown = torch.zeros(len(labels), dtype=torch.float64)
        shown[task.shown] = 1
        shift = task.images.read(slice(0, 1))[0].double() if world_size() > 1 else None
        moments = Moments.gather(
            (
                (task.images.read(rows).double(), labels[rows].clamp_min(0), shown[rows])
                for rows in track(own_slices(task.images), "reading classes")
            ),
            k,
            shift,
        )
        seen = moments.counts > 0
        counts, sums = moments.counts[seen], moments.sums[seen]
        n = counts.sum()
        dtype = torch.get_default_dtype()
        self.centre_ = moments.centre.to(dtype)
        self.means_ = (sums / counts[:, None]).to(dtype)  # about the centre
        covariances = moments.within() / n, moments.scatter / n
        if not float(covariances[0].diagonal().sum()) > SMALLEST_SPREAD:
            warn(
                "MahalanobisScorer: no class has two different images, so that nothing is known of how they "
                "scatter about their class; distances count all directions alike. Pass more images.",
                NothingLearnedWarning,
            )
            covariances = (torch.eye(self.means_.shape[1], dtype=torch.float64),) * 2
        elif self.relative and len(counts) < 2:
            warn(
                "MahalanobisScorer: images of one class alone are as far from it as from all images, so that "
                "relative distances are 0. Pass images of more classes, or relative=False.",
                NothingLearnedWarning,
            )
        self.root_, self.centre_root_ = map(self._inverse_root, covariances)
        self.k_ = k

    def _inverse_root(self, covariance: Tensor) -> Tensor:
        """Inverse Cholesky root (d, d) of a shrunk covariance, in the default dtype."""
        identity = torch.eye(len(covariance), dtype=torch.float64)
        try:
            lower = torch.linalg.cholesky(shrunk(covariance, self.shrinkage))
        except RuntimeError as error:  # torch's LinAlgError is one
            raise ValueError(
                f"shrinkage={self.shrinkage} leaves directions in which these images do not differ; raise "
                "it, or pass more images."
            ) from error
        root = torch.linalg.solve_triangular(lower, identity, upper=False)
        found: Tensor = root.to(torch.get_default_dtype())
        return found

    def _n_tried(self) -> int:
        return self.k_

    def _among(self, text: Tensor) -> Among:
        check_logit_scale(self.logit_scale)
        if len(text) != self.k_:
            raise ValueError(
                f"MahalanobisScorer was fitted with {self.k_} classes but z_txt_set has {len(text)}; pass "
                "the classes of the fit in their order."
            )
        root, centre_root = self.root_.double(), self.centre_root_.double()
        means = self.means_.double() @ root.T
        sizes = means.square().sum(dim=1)

        def decide(chunk: Chunk) -> Tensor:
            # In float64, in which differences of large distances keep their digits.
            x = (chunk.z - self.centre_).double()
            white = x @ root.T
            distances = white.square().sum(dim=1, keepdim=True) - 2 * white @ means.T + sizes
            nearest = distances.amin(dim=1)
            if self.relative:
                return 0.5 * (nearest - (x @ centre_root.T).square().sum(dim=1)).float()
            return nearest.clamp_min(torch.finfo(torch.float32).tiny).log().float()

        return Among(text, decision=decide, width=max(len(means), text.shape[1]))
