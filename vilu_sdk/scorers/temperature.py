"""MCM after temperature scaling."""

import math
from typing import Literal

import torch
from scipy.optimize import brentq
from torch import Tensor

from vilu_sdk.compute.distributed import add_up, own_slices
from vilu_sdk.compute.progress import track
from vilu_sdk.compute.softmax import SplitSoftmax
from vilu_sdk.exceptions import NothingLearnedWarning, warn
from vilu_sdk.inputs.names import NONE
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import check_logit_scale
from vilu_sdk.metrics.calibration import expected_calibration_error
from vilu_sdk.scorers.base.among import Among
from vilu_sdk.scorers.base.weighted import WeightedScorer

# Temperatures are searched in [1/BOUND, BOUND]; labels that want more are all right or all wrong.
BOUND = 1e3
# Of the expected calibration error.
N_BINS = 15


class TemperatureScaledMCMScorer(WeightedScorer):
    r"""MCM with the logits divided by one number learned from labels.

    .. math:: u = 1 - \max_j \mathrm{softmax}_j(s \, z_v^\top z_{t_j} / T), \qquad T > 0

    Parameters
    ----------
    logit_scale : float
        The model's learnt scale s: 100 for CLIP.
    objective : {"nll", "ece"}
        What T minimises on the labelled images: the negative log-likelihood of the true class, which
        is convex in 1/T, or the expected calibration error of the top probability in 15 bins.
    search : {"grid", "lbfgs"}
        How the calibration error is minimised. It jumps where images change their bin: "grid" tries
        temperatures of a logarithmic grid, "lbfgs" descends from T = 1, as the ViLU paper describes,
        and may stop at a jump.

    Attributes
    ----------
    temperature_ : float
        The learned T, in [0.001, 1000]. Above 1 the model was too confident, below 1 too doubtful.

    Notes
    -----
    In a caption task the candidates of an image are all captions given to `fit`. The best T depends on
    their number, so fit with as many candidates as will be scored. Images of the label -1, none of the
    candidates, are left out of the likelihood; in the calibration error they are wrong.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import TemperatureScaledMCMScorer
    >>> rng = np.random.default_rng(0)
    >>> z_txt = rng.normal(size=(4, 8))
    >>> labels = rng.integers(4, size=200)
    >>> z_img = z_txt[labels] + 1.5 * rng.normal(size=(200, 8))
    >>> scorer = TemperatureScaledMCMScorer().fit(z_img, z_txt, labels)
    >>> bool(scorer.temperature_ > 10)  # a scale of 100 is far too confident here
    True
    """

    learns = True
    has_posterior = True

    def __init__(
        self,
        *,
        logit_scale: float = 100.0,
        objective: Literal["nll", "ece"] = "nll",
        search: Literal["grid", "lbfgs"] = "grid",
    ) -> None:
        self.logit_scale = logit_scale
        self.objective = objective
        self.search = search

    @property
    def takes_weights(self) -> bool:  # type: ignore[override]
        """Whether `fit` takes weights of images: to learn by the likelihood it does."""
        return self.objective != "ece"

    def _learn(self, task: Task) -> None:
        if task.correct is not None:
            raise ValueError(
                "TemperatureScaledMCMScorer learns from the true classes; pass `labels` instead of `correct`."
            )
        by_error = {"grid": _search_ece, "lbfgs": _descend_ece}[self.search]
        minimise = _minimise_nll if self.objective == "nll" else by_error
        assert len(task.shown)
        self.temperature_ = minimise(task, torch.from_numpy(task.truth), check_logit_scale(self.logit_scale))

    def _among(self, text: Tensor) -> Among:
        return Among.zero_shot(text, self.softmax_scale)

    @property
    def softmax_scale(self) -> float:
        """Factor of the cosines in class probabilities: the logit scale over the temperature."""
        return super().softmax_scale / self.temperature_


def _minimise_nll(task: Task, labels: Tensor, scale: float) -> float:
    """Return T where the NLL, convex in b = 1/T, has slope zero: the mean logit equals the label's logit."""
    weights = torch.ones(len(labels), dtype=torch.float64) if task.weights is None else task.weights
    # What shows no candidate has no likelihood among them.
    weights = weights * (labels != NONE)
    own = labels.clamp_min(0)
    # The slope's sign is judged against zero, so the weights' unit may not underflow.
    weights = weights / weights.mean()

    def slope(log_b: float) -> float:
        total = torch.zeros((), dtype=torch.float64)
        for rows in own_slices(task.images, len(task.text)):
            logits = scale * (task.images.read(rows) @ task.text.T)
            p = torch.softmax(math.exp(log_b) * logits, dim=1)
            gap = (p * logits).sum(dim=1) - logits.gather(1, own[rows, None])[:, 0]
            total += gap.double() @ weights[rows]
        add_up(total)
        return float(total) / len(labels)

    low, high = -math.log(BOUND), math.log(BOUND)
    if slope(low) >= 0:
        _warn_bound("the labels are no likelier than chance under the zero-shot softmax", BOUND)
        return BOUND
    if slope(high) <= 0:
        _warn_bound("every labelled image is right with a margin", 1 / BOUND)
        return 1 / BOUND
    return math.exp(-brentq(slope, low, high, xtol=1e-9))


def _search_ece(task: Task, labels: Tensor, scale: float) -> float:
    """Search a logarithmic grid of temperatures, then a finer one around its best."""
    grid = torch.linspace(-math.log(BOUND), math.log(BOUND), 61, dtype=torch.float64)
    for _ in range(2):
        errors = _calibration_errors(task, labels, scale, grid)
        best = int(errors.argmin())
        step = float(grid[1] - grid[0])
        centre = float(grid[best])
        grid = torch.linspace(centre - step, centre + step, 61, dtype=torch.float64)
        grid = grid.clamp(-math.log(BOUND), math.log(BOUND))
    return math.exp(centre)


def _calibration_errors(task: Task, labels: Tensor, scale: float, grid: Tensor) -> Tensor:
    odds, failure = torch.zeros(len(grid), len(labels)), torch.zeros(len(labels), dtype=torch.int32)
    for rows in track(own_slices(task.images, len(task.text)), "fitting temperature"):
        logits = scale * (task.images.read(rows) @ task.text.T)
        failure[rows] = (logits.argmax(dim=1) != labels[rows]).int()
        odds[:, rows] = torch.stack([SplitSoftmax(logits / float(t)).log_odds for t in grid.exp()])
    add_up(odds, failure)
    wrong = failure.bool().numpy()
    return torch.tensor([expected_calibration_error(u.numpy(), wrong) for u in torch.sigmoid(odds)])


def _descend_ece(task: Task, labels: Tensor, scale: float) -> float:
    """Follow the error's gradient in log b = -log T from T = 1 by L-BFGS; return the best T on the way."""
    log_b = torch.zeros((), dtype=torch.float64, requires_grad=True)
    tried: list[tuple[float, float]] = []

    def gap() -> Tensor:
        """Return the error, and leave its gradient as if no image left its bin."""
        b = float(log_b.detach().clamp(-math.log(BOUND), math.log(BOUND)).exp())
        sums, slopes = torch.zeros(2, N_BINS, dtype=torch.float64)
        for rows in own_slices(task.images, len(task.text)):
            logits = scale * (task.images.read(rows) @ task.text.T)
            u = SplitSoftmax(b * logits).tail.double()
            top, prediction = logits.max(dim=1)
            spread = (top - (torch.softmax(b * logits, dim=1) * logits).sum(dim=1)).double()
            bins = (u * N_BINS).ceil().long().sub(1).clamp(0, N_BINS - 1)
            sums.index_add_(0, bins, u - (prediction != labels[rows]).double())
            slopes.index_add_(0, bins, -b * (1 - u) * spread)
        add_up(sums, slopes)
        log_b.grad = (sums.sign() * slopes).sum() / len(labels)
        error: Tensor = sums.abs().sum() / len(labels)
        tried.append((float(error), -math.log(b)))
        return error

    search = torch.optim.LBFGS([log_b], max_iter=50, line_search_fn="strong_wolfe")
    search.step(gap)  # type: ignore[no-untyped-call]
    return math.exp(min(tried)[1])


def _warn_bound(reason: str, value: float) -> None:
    warn(
        f"Temperature scaling has no finite optimum because {reason}; using the bound {value:g}. "
        "Fit on images that hold both right and wrong predictions.",
        NothingLearnedWarning,
    )
