"""A logistic head on what the scorers say that read the zero-shot softmax."""

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from vilu_sdk.compute.distributed import add_up, own_slices
from vilu_sdk.compute.progress import track
from vilu_sdk.exceptions import NothingLearnedWarning, warn
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import positive
from vilu_sdk.metrics.vectors import BoolVector, FloatVector
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.base.weighted import WeightedScorer
from vilu_sdk.scorers.margin import log_ratio

#: What the head sees of an image; the first is MCM's log-odds, from which it starts.
STATISTICS = ("mcm", "entropy", "doctor", "margin", "energy")

# Ridge that leaves the slopes where they start.
FIRM = 1e12
KINDS = {True: "wrong", False: "right"}


class SoftmaxHeadScorer(WeightedScorer):
    r"""Logistic head on statistics of the zero-shot softmax.

    .. math::
        \log \frac{u}{1 - u} = w^\top \varphi(z_v, Z_t) + b, \qquad
        \varphi = (\varphi_\text{MCM}, \varphi_\text{entropy}, \varphi_\text{DOCTOR}, \varphi_\text{margin},
        \varphi_\text{energy})

    with the decision values of the scorers of these names, in nats. w and b minimise the log-loss of failure,
    plus ½ · ridge · |w - (1, 0, 0, 0, 0)|²: with few labels it is MCM with an offset.

    Parameters
    ----------
    logit_scale : float
        The model's learnt scale s: 100 for CLIP.
    ridge : float
        Strength of the prior towards MCM's w, as a number of images, above 0.

    Attributes
    ----------
    slopes_ : Tensor of shape (5,)
        w, in float64.
    offset_ : float
        b.

    Warns
    -----
    NothingLearnedWarning
        In `fit`, if all predictions are right, or all are wrong.

    Notes
    -----
    It learns from labels, from right/wrong feedback and from pairs. It sees no embedding, so candidates may
    change. All statistics depend on the number of candidates; fit with as many as you will score. An image
    labelled -1, none of the candidates, is a failure.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import SoftmaxHeadScorer
    >>> rng = np.random.default_rng(0)
    >>> z_txt = rng.normal(size=(4, 8))
    >>> labels = rng.integers(4, size=200)
    >>> z_img = z_txt[labels] + 1.5 * rng.normal(size=(200, 8))
    >>> scorer = SoftmaxHeadScorer().fit(z_img, z_txt, labels)
    >>> u = scorer.predict_uncertainty(z_img, z_txt)
    >>> wrong = scorer.predict(z_img, z_txt) != labels
    >>> bool(abs(u.mean() - wrong.mean()) < 0.01)  # at a scale of 100 MCM says 0.04
    True
    """

    learns = True
    has_posterior = True

    def __init__(self, *, logit_scale: float = 100.0, ridge: float = 10.0) -> None:
        self.logit_scale = logit_scale
        self.ridge = ridge

    def _learn(self, task: Task) -> None:
        ridge = positive(self.ridge, "ridge")
        among = Among.zero_shot(task.text, self.softmax_scale, statistics)
        n = len(task.images)
        x, prediction = (
            torch.zeros(n, len(STATISTICS), dtype=torch.float64),
            torch.zeros(n, dtype=torch.int64),
        )
        for rows in track(own_slices(task.images, len(task.text)), "reading softmax"):
            chunk = Chunk(task.images.read(rows), among)
            x[rows], prediction[rows] = statistics(chunk).double(), chunk.prediction
        add_up(x, prediction)
        wrong = task.wrong(prediction.numpy(), is_zero_shot=False)
        weights = np.ones(n) if task.weights is None else task.weights.numpy()
        weights = weights / weights[weights > 0].mean()  # a weight of 0 leaves the image out
        kinds = np.unique(wrong[weights > 0])
        if len(kinds) < 2:
            warn(
                f"SoftmaxHeadScorer was fitted on predictions that are all {KINDS[kinds[0]]}, "
                "and ranks as MCM does. Fit on images that hold both.",
                NothingLearnedWarning,
            )
            ridge = FIRM
        slopes, self.offset_ = fit_head(x.numpy(), wrong, weights, ridge)
        self.slopes_ = torch.from_numpy(slopes)

    def _among(self, text: Tensor) -> Among:
        slopes = self.slopes_.to(text)

        def decide(chunk: Chunk) -> Tensor:
            return statistics(chunk) @ slopes + self.offset_

        return Among.zero_shot(text, self.softmax_scale, decide)


def statistics(chunk: Chunk) -> Tensor:
    """Return what the head sees of images, (n, 5)."""
    p = chunk.posterior.split
    doctor = p.log_impurity - torch.log1p(-torch.exp(p.log_impurity))
    return torch.stack([p.log_odds, p.log_entropy, doctor, log_ratio(chunk), -chunk.posterior.log_sum], dim=1)


def fit_head(
    x: FloatVector, wrong: BoolVector, weights: FloatVector, ridge: float
) -> tuple[FloatVector, float]:
    """Return slopes and offset of the logistic regression of failure on x (n, m), drawn to MCM's.

    Targets are Platt's, which keep the offset finite where all are right, or all wrong.
    """
    n_wrong, n_right = (float(weights[wrong == kind].sum()) for kind in (True, False))
    target = np.where(wrong, (n_wrong + 1) / (n_wrong + 2), 1 / (n_right + 2))
    design = np.column_stack([x, np.ones(len(x))])
    start = np.zeros(design.shape[1])
    start[0] = 1
    pull = np.full(len(start), ridge)
    pull[-1] = 0

    def loss(w: FloatVector) -> tuple[float, FloatVector]:
        eta = design @ w
        value = weights @ (np.logaddexp(0, eta) - target * eta) + pull @ (w - start) ** 2 / 2
        return float(value), design.T @ (weights * (expit(eta) - target)) + pull * (w - start)

    def curvature(w: FloatVector) -> FloatVector:
        p = expit(design @ w)
        return np.asarray((design.T * (weights * p * (1 - p))) @ design + np.diag(pull))

    found = minimize(
        loss, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-8 * len(x)}
    )
    return np.asarray(found.x[:-1]), float(found.x[-1])
