"""Rel-U: relative uncertainty learned from which class pairs are confused."""

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import add_up, own_slices
from vilu_sdk.compute.progress import track
from vilu_sdk.compute.softmax import SplitSoftmax
from vilu_sdk.exceptions import NothingLearnedWarning, warn
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import positive
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.of_classes import ClassScorer


class RelUScorer(ClassScorer):
    r"""Rel-U: a distance between classes, learned so that wrong predictions are far from one-hot.

    .. math::
        u = p^\top D \, p, \qquad
        D \propto \mathrm{ReLU}\bigl(\lambda M_- - (1 - \lambda) M_+\bigr) \text{ off the diagonal}, \quad
        \|D\|_F = 1,

    with :math:`M_\pm` the mean of :math:`p p^\top` over right and wrong images. If no pair of classes
    is confused more than it is right, D is uniform and the ranking is DOCTOR's.

    Parameters
    ----------
    logit_scale : float
        The model's learnt scale s: 100 for CLIP.
    lam : float
        Weight λ in [0, 1] of the wrong images. 0.15 is what the ViLU paper found best, 0.5 the
        original default.
    temperature : float
        Divides the logits. 0.5 is what the ViLU paper found best, 1 the original default.

    Attributes
    ----------
    distance_ : Tensor of shape (K, K)
        D: symmetric, non-negative, zero on the diagonal, Frobenius norm 1.
    used_fallback_ : bool
        Whether D is the uniform one.

    Notes
    -----
    Needs a fixed class set, so it cannot learn from captions, and it scores only the classes it was
    fitted with, in their order. Ranges over [0, 1]; it is not a probability of failure. Fitting and
    scoring take O(N K²) time and O(K²) memory.

    References
    ----------
    Gomes et al., "A Data-Driven Measure of Relative Uncertainty for Misclassification Detection",
    ICLR 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import RelUScorer
    >>> rng = np.random.default_rng(0)
    >>> z_txt = rng.normal(size=(4, 8))
    >>> labels = rng.integers(4, size=200)
    >>> z_img = z_txt[labels] + 1.5 * rng.normal(size=(200, 8))
    >>> scorer = RelUScorer(logit_scale=10.0, lam=0.5).fit(z_img, z_txt, labels)
    >>> scorer.distance_.shape
    torch.Size([4, 4])
    """

    is_probability = False
    has_posterior = True

    def __init__(self, *, logit_scale: float = 100.0, lam: float = 0.15, temperature: float = 0.5) -> None:
        self.logit_scale = logit_scale
        self.lam = lam
        self.temperature = temperature

    def _learn(self, task: Task) -> None:
        if task.is_caption:
            raise ValueError(
                "RelUScorer learns which classes are confused and needs a fixed class set; pass `labels` "
                "(or `correct`), or choose another scorer for captions."
            )
        if not 0 <= self.lam <= 1:
            raise ValueError(f"lam must lie in [0, 1], got {self.lam}.")
        self._know_texts(task)
        k = self.k_
        moments = torch.zeros(2, k, k, dtype=torch.float64)  # of the wrong and of the right images
        counts = torch.zeros(2, dtype=torch.float64)
        weights = torch.ones(len(task.images)) if task.weights is None else task.weights
        for rows in track(own_slices(task.images, k), "fitting Rel-U"):
            batch = task.batch(rows)
            cosines = batch.z @ batch.text.T
            softmax = SplitSoftmax(self.softmax_scale * cosines)
            p, right = softmax.probabilities.double(), batch.right(softmax.column)
            for side in (0, 1):
                chosen, weight = p[right == side], weights[rows][right == side]
                moments[side] += chosen.T @ (weight[:, None] * chosen)
                counts[side] += weight.sum()
        add_up(moments, counts)
        if (counts == 0).any():
            warn(
                f"RelUScorer was fitted on predictions that are all {'right' if counts[1] else 'wrong'}; it "
                "learns from the difference of both.",
                NothingLearnedWarning,
            )
        wrong, right_mean = moments / torch.where(counts > 0, counts, 1.0)[:, None, None]
        distance = (self.lam * wrong - (1 - self.lam) * right_mean).clamp_min(0).fill_diagonal_(0)
        self.used_fallback_ = not bool(distance.any())
        if self.used_fallback_:
            distance = torch.ones(k, k, dtype=torch.float64).fill_diagonal_(0)
        self.distance_ = (distance / torch.linalg.matrix_norm(distance)).to(task.text.dtype)

    def _among(self, text: Tensor) -> Among:
        self._require_classes(text)
        distance, k = self.distance_, self.k_
        uniform = torch.tensor(1 / (k * (k - 1)), dtype=torch.float64).sqrt().log()
        tiny = torch.finfo(distance.dtype).tiny

        def decide(chunk: Chunk) -> Tensor:
            p = chunk.posterior.split
            if self.used_fallback_:
                return p.log_impurity + uniform
            # With p = (1 - t) at the top and t·r elsewhere, pᵀDp = t [2 (1 - t) (D r)_top + t rᵀDr].
            pull = p.rest @ distance
            inner = 2 * (1 - p.tail) * pull.gather(1, p.column[:, None])[:, 0] + p.tail * (pull * p.rest).sum(
                1
            )
            return p.log_tail + torch.log(inner.clamp_min(tiny))

        return Among.zero_shot(text, self.softmax_scale, decide)

    @property
    def softmax_scale(self) -> float:
        """Factor of the cosines in class probabilities: the logit scale over the temperature."""
        return super().softmax_scale / positive(self.temperature, "temperature")
