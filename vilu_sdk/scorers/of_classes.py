"""What scorers share that learn where images of classes lie."""

from collections.abc import Callable

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import own_slices, world_size
from vilu_sdk.compute.progress import track
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import check_logit_scale
from vilu_sdk.scorers.base.weighted import WeightedScorer
from vilu_sdk.scorers.posterior.moments import Moments, shrunk


class ClassScorer(WeightedScorer):
    """Base of scorers that learn where images of classes lie, and score these classes in their order.

    Attributes
    ----------
    k_ : int
        How many classes there are.
    """

    learns = True
    fixed_candidates = True

    def _known(self, task: Task) -> tuple[Tensor, Tensor]:
        """Return labels (n,), with 0 in the place of -1, and weights (n,), which are 0 there."""
        name = type(self).__name__
        check_logit_scale(self.logit_scale)
        if task.labels is None:
            raise ValueError(
                f"{name} learns where images of classes lie, not from captions or feedback; pass `labels`."
            )
        self.k_ = len(task.texts)
        weights = torch.zeros(len(task.labels), dtype=torch.float64)
        weights[task.shown] = 1.0 if task.weights is None else task.weights[task.shown]
        if not weights.any():
            raise ValueError(
                f"all images of candidates have a sample_weight of 0; {name} learns from others."
            )
        return task.labels.clamp_min(0), weights

    def _n_tried(self) -> int:
        return self.k_

    def _require_classes(self, text: Tensor) -> None:
        """Raise unless as many candidates are scored as there were classes in the fit."""
        if len(text) != self.k_:
            raise ValueError(
                f"{type(self).__name__} was fitted with {self.k_} classes but z_txt_set has {len(text)}; "
                "pass the classes of the fit in their order."
            )


def moments_of(task: Task, classes: Tensor, k: int, weights: Tensor) -> Moments:
    """Gather the images of k classes (n,) by their weights (n,), in float64."""
    shift = task.images.read(slice(0, 1))[0].double() if world_size() > 1 else None
    return Moments.gather(
        (
            (task.images.read(rows).double(), classes[rows], weights[rows])
            for rows in track(own_slices(task.images), "reading classes")
        ),
        k,
        shift,
    )


def inverse_root(covariance: Tensor, shrinkage: float) -> Tensor:
    """Inverse Cholesky root (d, d) of a covariance of which a share is spread evenly over all directions."""
    identity = torch.eye(len(covariance), dtype=torch.float64)
    try:
        lower = torch.linalg.cholesky(shrunk(covariance, shrinkage))
    except RuntimeError as error:  # torch's LinAlgError is one
        raise ValueError(
            f"shrinkage={shrinkage} leaves directions in which these images do not differ; raise it, or pass "
            "more images."
        ) from error
    root: Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
    return root


def nearest_squared(means: Tensor, root: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function from x (n, d) to squared distances (n,) from the nearest of means (C, d).

    The metric is that of an inverse root (d, d) of a covariance.
    """
    # In float64, in which differences of large distances keep their digits.
    root = root.double()
    centres = means.double() @ root.T
    sizes = centres.square().sum(dim=1)

    def distances(x: Tensor) -> Tensor:
        white = x.double() @ root.T
        return (white.square().sum(dim=1, keepdim=True) - 2 * white @ centres.T + sizes).amin(dim=1)

    return distances
