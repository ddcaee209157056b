"""Distance to the k-th nearest image of the fit."""

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import read
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import check_logit_scale, whole
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.base.scorer import Scorer

# Distance of unit rows up to which they are copies, told apart by rounding alone.
COPY = 3e-4


class NeighbourScorer(Scorer):
    r"""k-th nearest neighbour: how far an image is from the images of the fit.

    .. math:: u = \lVert z_v - z_{(k)} \rVert

    Made for images unlike those of the fit; it knows neither classes nor candidates.

    Parameters
    ----------
    k : int
        Which neighbour, at least 1. With fewer images, the farthest.
    max_images : int
        Most images of the fit that are kept, evenly spread.
    logit_scale : float
        Scale of the zero-shot softmax, which this scorer does not use: 100 for CLIP.

    Attributes
    ----------
    bank_ : Tensor of shape (m, d)
        The images that are kept; those of the label -1 are left out.

    Notes
    -----
    The scorer and its saved files hold embeddings of images. It is not a probability of failure.

    References
    ----------
    Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import NeighbourScorer
    >>> scorer = NeighbourScorer(k=1).fit(np.eye(3)[:2], np.eye(3), [0, 1])
    >>> scorer.predict_uncertainty(np.eye(3)[1:], np.eye(3)).round(3)
    array([0.   , 1.414])
    """

    is_probability = False
    learns = True
    min_candidates = 1

    def __init__(self, *, k: int = 50, max_images: int = 25_000, logit_scale: float = 100.0) -> None:
        self.k = k
        self.max_images = max_images
        self.logit_scale = logit_scale

    def _learn(self, task: Task) -> None:
        check_logit_scale(self.logit_scale)
        for name in ("k", "max_images"):
            whole(getattr(self, name), name, 1)
        self.bank_ = read(task.images, spread(task.shown, self.max_images))

    def _among(self, text: Tensor) -> Among:
        check_logit_scale(self.logit_scale)

        def decide(chunk: Chunk) -> Tensor:
            return log_distances(chunk.z, self.bank_, self.k)[:, -1]

        return Among(text, decision=decide, width=width_of(self.bank_, self.k))


def width_of(bank: Tensor, k: int) -> int:
    """Columns of the widest array that distances from a bank (m, d) take for a row."""
    return max(len(bank), min(k, len(bank)) * bank.shape[1])


def spread(rows: Tensor, most: int) -> Tensor:
    """Return at most so many of the rows (n,), evenly spread."""
    return rows[torch.linspace(0, len(rows) - 1, min(len(rows), most), dtype=torch.float64).long()]


def log_distances(z: Tensor, bank: Tensor, k: int) -> Tensor:
    """Logarithms (n, k), in float64, of distances of unit rows from the k nearest of a bank, in order."""
    nearest = (z @ bank.T).topk(min(k, len(bank)), dim=1).indices
    # From differences: cosines of near rows hold hardly a digit of their distance.
    distances: Tensor = torch.linalg.vector_norm(z[:, None] - bank[nearest], dim=2).double()
    return distances.clamp_min(COPY).log()
