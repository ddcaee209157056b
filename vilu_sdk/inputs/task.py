"""What `fit` was given: images, candidates and one kind of supervision, checked together."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.inputs.candidates import Opened, open_candidates
from vilu_sdk.inputs.columns import Column, opened
from vilu_sdk.inputs.containers import dimensions, plain
from vilu_sdk.inputs.names import NONE
from vilu_sdk.inputs.order import warn_of_order
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.shards import Shards
from vilu_sdk.inputs.values import check_correct, check_labels, check_units


@dataclass(frozen=True)
class Checkpoint:
    """Folder in which a long fit keeps its state, and the settings, as JSON, of the fit it belongs to."""

    folder: Path
    settings: Any


@dataclass(frozen=True)
class Task:
    """What `fit` was given: images, candidates and one kind of supervision.

    `texts` is a class set, in memory, or the captions, read batch by batch. `labels` (n,) when the true
    classes are known, -1 where an image shows none of the candidates, `correct` (n,) when only right or wrong
    is known; neither in a caption task, where row i pairs with candidate i. `weights` (n,) in float64, for
    scorers that can use them. `groups` (n,) are numbers of what the rows come from, which is left out, split
    and drawn as a whole. `views` (n·V, d) where images have V views each, one after the other; `images` are
    the first ones. `given` are the candidates as they came, with their names.
    """

    images: Rows
    texts: Rows
    labels: Tensor | None
    correct: Tensor | None
    checkpoint: Checkpoint | None = None
    weights: Tensor | None = None
    groups: Tensor | None = None
    views: Rows | None = None
    given: Opened | None = None

    @property
    def views_of_each(self) -> int:
        """How many views an image has."""
        return 1 if self.views is None else len(self.views) // len(self.images)

    @property
    def is_caption(self) -> bool:
        """Whether images and candidates are pairs."""
        return self.labels is None and self.correct is None

    @property
    def shown(self) -> Tensor:
        """Rows (m,) of images that show a candidate, all but those of the label -1; an error if none does."""
        if self.labels is None:
            return torch.arange(len(self.images))
        rows = torch.nonzero(self.labels != NONE)[:, 0]
        if not len(rows):
            raise ValueError("all labels are -1, none of the candidates; pass images of candidates too.")
        return rows

    @property
    def truth(self) -> NDArray[np.int64]:
        """Row of the right candidate of each image (n,), or -1; of a caption row its own."""
        return np.arange(len(self.images)) if self.labels is None else self.labels.numpy()

    @property
    def on_disk(self) -> bool:
        """Whether batches are read from files."""
        return self.images.on_disk or (self.is_caption and self.texts.on_disk)

    @cached_property
    def text(self) -> Tensor:
        """All candidates at once, (K, d): for class sets, and what compares an image with every caption."""
        return self.texts.read()

    def batch(self, rows: slice | Tensor, view: Tensor | None = None) -> "Batch":
        """Read some rows, by default first views; in a caption task their captions are the candidates."""
        if self.views is None or view is None:
            z = self.images.read(rows)
        else:
            z = self.views.read(torch.arange(len(self.images))[rows] * self.views_of_each + view)
        if self.is_caption:
            return Batch(z, self.texts.read(rows), torch.arange(len(z)), None, tie_is_right=True)
        labels = None if self.labels is None else self.labels[rows]
        return Batch(z, self.text, labels, None if self.correct is None else self.correct[rows])

    def load(self, parts: list[slice]) -> "Task":
        """Return the rows of some slices as a task of its own, in memory."""
        rows = torch.cat([torch.arange(part.start, part.stop) for part in parts])
        known = (self.labels, self.correct, self.weights, self.groups)
        labels, correct, weights, groups = (None if values is None else values[rows] for values in known)
        texts = self.texts.load(rows) if self.is_caption else self.texts
        views, count = self.views, self.views_of_each
        if views is not None:
            views = views.load((rows[:, None] * count + torch.arange(count)).flatten())
        images = self.images.load(rows)
        return Task(images, texts, labels, correct, self.checkpoint, weights, groups, views, self.given)

    def sample(self, size: int) -> "Batch":
        """Read up to `size` rows, from all over the task where that costs no more than reading the first."""
        n = len(self.images)
        if self.on_disk:
            return self.batch(slice(0, size))
        return self.batch(torch.linspace(0, n - 1, min(n, size)).long())

    def wrong(self, prediction: NDArray[np.int64], *, is_zero_shot: bool = True) -> NDArray[np.bool_]:
        """Return where predictions (n,), rows of the candidates, are wrong.

        Zero-shot ones that are right no more often than chance bring a warning of the order of the labels.
        """
        if self.correct is not None:
            return (~self.correct).numpy()
        labels = self.truth
        if is_zero_shot:
            warn_of_order(prediction, labels)
        wrong: NDArray[np.bool_] = prediction != labels
        if self.is_caption:
            for rows in self.images.slices():
                doubtful = rows.start + np.flatnonzero(wrong[rows])
                if len(doubtful):
                    z, own = self.images.read(doubtful), self.texts.read(doubtful)
                    wrong[doubtful] = _is_nearer(z, self.texts.read(prediction[doubtful]), own).numpy()
        return wrong


@dataclass(frozen=True)
class Batch:
    """Some rows of a task: images (n, d), their candidates (K, d) and what is known of them (n,)."""

    z: Tensor
    text: Tensor
    labels: Tensor | None
    correct: Tensor | None
    tie_is_right: bool = False

    def to(self, device: torch.device, text: Tensor) -> "Batch":
        """Return this batch on a device, where its candidates are already."""
        labels, correct = (None if part is None else part.to(device) for part in (self.labels, self.correct))
        return Batch(self.z.to(device), text, labels, correct, self.tie_is_right)

    def right(self, prediction: Tensor) -> Tensor:
        """Return whether predictions (n,), rows of the candidates, are right."""
        if self.correct is not None:
            return self.correct
        assert self.labels is not None
        right = prediction == self.labels
        if self.tie_is_right:
            right |= ~_is_nearer(self.z, self.text[prediction], self.text[self.labels])
        return right


def _is_nearer(z: Tensor, text: Tensor, own: Tensor) -> Tensor:
    """Return whether images (n, d) are nearer to other captions (n, d) than to their own.

    Equal captions are common, and either is as good an answer as the other.
    """
    return (z * (text - own)).sum(dim=1) > 0


def check_task(
    z_img: Any,
    z_txt: Any,
    labels: Any = None,
    correct: Any = None,
    groups: Any = None,
    *,
    takes_views: bool = False,
    called: str = "groups",
) -> Task:
    """Check the arguments of `fit` together; where it `takes_views`, images may be (N, V, d).

    `called` is what the argument of groups is called.
    """
    views = None
    z_img = opened(z_img, "z_img")
    if takes_views and not isinstance(z_img, Shards | Column) and dimensions(z_img) == 3:
        if correct is not None:
            raise ValueError(
                "z_img has several views of each image, of which some may be right and others wrong; pass "
                "`labels` instead of `correct`, or one view."
            )
        z_img = plain(z_img, "z_img")
        views = Rows(z_img.reshape(-1, z_img.shape[2]), f"z_img.reshape(-1, {z_img.shape[2]})")
        z_img = z_img[:, 0]
    images = Rows(z_img, "z_img")
    try:
        given = open_candidates(z_txt, "z_txt", images.d)
        texts = Rows(given.values, "z_txt", d=images.d)
    except (ValueError, TypeError):
        if dimensions(z_txt) == 1 and dimensions(labels) == 2:
            raise ValueError(
                "z_txt has one dimension and labels two: labels go third, as in fit(z_img, z_txt, labels)."
            ) from None
        raise
    if labels is not None and correct is not None:
        raise ValueError("labels and correct were both given; labels say more, so pass labels alone.")
    is_caption = labels is None and correct is None
    if is_caption and len(images) != len(texts):
        raise ValueError(
            f"without labels, image i pairs with caption i, but z_img has {len(images)} rows and z_txt "
            f"{len(texts)}; pass labels (or correct) for a class set, or as many captions as images."
        )
    return Task(
        images,
        texts if is_caption else texts.load(),
        None if labels is None else check_labels(labels, len(images), len(texts), names=given.names),
        None if correct is None else check_correct(correct, len(images)),
        groups=None if groups is None else check_units(groups, len(images), name=called),
        views=views,
        given=given,
    )
