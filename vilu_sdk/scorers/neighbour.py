"""Distance to the k-th nearest image of the fit."""

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import read
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import check_logit_scale, whole
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.base.scorer import Scorer


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
        Of the zero-shot predictions' softmax, which nothing here reads: 100 for CLIP.

    Attributes
    ----------
    bank_ : Tensor of shape (m, d)
        The images that are kept; those of the label -1 are left out.

    Notes
    -----
    It holds embeddings of images, and so does what is saved of it. It is not a probability of failure.

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
        rows = task.shown
        some = torch.linspace(0, len(rows) - 1, min(len(rows), self.max_images), dtype=torch.float64).long()
        self.bank_ = read(task.images, rows[some])

    def _among(self, text: Tensor) -> Among:
        check_logit_scale(self.logit_scale)
        bank, k = self.bank_, min(self.k, len(self.bank_))

        def decide(chunk: Chunk) -> Tensor:
            cosines = (chunk.z @ bank.T).topk(k, dim=1).values[:, -1].double()
            # Of equal rows, whose cosine is 1 up to rounding, the distance is about that of rounding.
            return 0.5 * torch.log((2 - 2 * cosines).clamp_min(torch.finfo(chunk.z.dtype).eps))

        return Among(text, decision=decide, width=len(bank))
