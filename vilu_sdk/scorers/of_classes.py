"""What scorers share that learn where images of classes lie."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.compute.distributed import own_slices, world_size
from vilu_sdk.compute.progress import track
from vilu_sdk.compute.tiles import nearest
from vilu_sdk.exceptions import LabelWarning, warn
from vilu_sdk.inputs.order import is_by_chance
from vilu_sdk.inputs.slices import cut
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import check_logit_scale
from vilu_sdk.scorers.base.weighted import WeightedScorer
from vilu_sdk.scorers.posterior.moments import Moments, shrunk
from vilu_sdk.scorers.posterior.transfer import are_same

# Candidates that are compared with those of the fit at once.
ROWS = 1024


class ClassScorer(WeightedScorer):
    """Base of scorers that learn where images of classes lie, and score these classes in their order.

    Attributes
    ----------
    texts_ : Tensor of shape (K, d)
        The candidates of the fit, by which their order is known again.
    """

    learns = True
    fixed_candidates = True

    def _know_texts(self, task: Task) -> None:
        self.texts_ = task.text.clone()

    def _texts_tried(self, d: int) -> NDArray[np.float32]:
        texts: NDArray[np.float32] = self.texts_.numpy()
        return texts

    def _known(self, task: Task) -> tuple[Tensor, Tensor]:
        """Return labels (n,), with 0 in the place of -1, and weights (n,), which are 0 there."""
        name = type(self).__name__
        check_logit_scale(self.logit_scale)
        if task.labels is None:
            raise ValueError(
                f"{name} learns where images of classes lie, not from captions or feedback; pass `labels`."
            )
        self._know_texts(task)
        weights = torch.zeros(len(task.labels), dtype=torch.float64)
        weights[task.shown] = 1.0 if task.weights is None else task.weights[task.shown]
        if not weights.any():
            raise ValueError(
                f"all images of candidates have a sample_weight of 0; {name} learns from others."
            )
        return task.labels.clamp_min(0), weights

    @property
    def k_(self) -> int:
        """How many classes there are."""
        return len(self.texts_)

    def _knows(self, text: Tensor) -> bool:
        known = self.texts_
        return text.shape == known.shape and bool(are_same(_cosines(text, known)).all())

    def _require_classes(self, text: Tensor) -> None:
        """Raise unless candidates (K, d) are the classes of the fit in their order, as far as can be told.

        Other texts may stand for them; where these are no more like those in their places than by chance, it
        warns.
        """
        name, known = type(self).__name__, self.texts_
        if len(text) != self.k_:
            raise ValueError(
                f"{name} was fitted with {self.k_} classes but z_txt_set has {len(text)}; pass the classes "
                "of the fit in their order."
            )
        other = torch.nonzero(~are_same(_cosines(text, known)))[:, 0]
        if not len(other):
            return
        near = torch.cat([nearest(text[other[part]], known) for part in cut(len(other), ROWS)])
        moved = torch.nonzero(are_same(_cosines(text[other], known[near])))[:, 0]
        if len(moved):
            raise ValueError(
                f"z_txt_set has in row {int(other[moved[0]])} the text that was in row {int(near[moved[0]])} "
                f"of the fit; {name} knows the candidates of its fit only: pass them in their order."
            )
        rows = torch.arange(self.k_)
        most_like = rows.clone()
        most_like[other.cpu()] = near.cpu()
        if is_by_chance(most_like.numpy(), rows.numpy()):
            warn(
                f"z_txt_set seems to hold other classes than those {name} was fitted with, or another order "
                "of them: its texts are no more like those in their places than by chance. Pass the classes "
                "of the fit in their order.",
                LabelWarning,
            )


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosines (n,) of unit rows, each with the one in its place."""
    return (a * b).sum(dim=1)


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
