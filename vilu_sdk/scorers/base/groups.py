"""Which rows of a fit are independent of each other: what is left out, split and resampled goes by groups.

A group holds the rows that come from one thing: views of an image, frames of a video, captions of an image.
Leave one of them out and its siblings still tell the answer, so they are left out together.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.compute.distributed import from_all, own_slices
from vilu_sdk.exceptions import RepeatedImagesWarning, warn
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.task import Task
from vilu_sdk.scorers.base.fit_rows import directions

# Unit rows that differ along random directions by less than this are one row, up to its rounding.
ROUNDING = 1e-6
# Rows whose neighbours are looked at, rows among which these are, and how many neighbours.
SAMPLE, AMONG, NEIGHBOURS, FEWEST = 400, 5000, 20, 20
# Distances below which single precision knows nothing.
NEAREST = 1e-3
# Nats by which the next neighbour must be farther than a copy, at least, and in units of what chance gives.
GAP, CHANCE = 0.25, 7.0
# Images of other classes are farther anyway: so much of their distance counts, and only among many classes.
OTHER_CLASS, FAR, MANY_CLASSES = 0.75, 1e6, 20
# On embeddings of different images up to a fifth of the rows look like that, on copies nearly all; of images
# that are drawn with replacement, half as many draws as images, a fifth are drawn again.
SHARE = 0.3
# What follows for a fit.
OVERCONFIDENT = "The fit is then overconfident on new images: pass groups="
# Rows that are used of a group, evenly spread: more of one group say hardly more.
MOST_OF_GROUP = 256


def distinct_rows(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows (m,) of a fit without exact copies, in their order, and the group (m,) of each.

    A row is a copy if image, answer and group are the same; it says nothing new. Without groups, the rows of
    one image are one: with several labels, or several captions. Third comes which of the m each of all rows
    (n,) is, or is a copy of; -1 where it is left out, because its group is large or its weight 0.
    """
    n = len(task.images)
    numbers = np.arange(n) if task.weights is None else np.flatnonzero(task.weights.numpy())
    images = copies(task.images)
    groups = images if task.groups is None else task.groups
    known = next((x for x in (task.labels, task.correct) if x is not None), None)
    answers = copies(task.texts) if known is None else known.long()
    keys = torch.stack([images, answers, groups], dim=1).numpy()[numbers]
    _, first, same = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    rows = np.sort(first)
    which = torch.full((n,), -1)
    which[numbers] = torch.from_numpy(np.searchsorted(rows, first)[same.reshape(-1)])
    rows = numbers[rows]
    groups = number(groups[rows])
    sizes = torch.bincount(groups)
    if int(sizes.max()) <= MOST_OF_GROUP:
        return torch.from_numpy(rows), groups, which
    order = torch.argsort(groups, stable=True)
    place = torch.empty_like(order)  # of each row in its group
    place[order] = torch.arange(len(order)) - (sizes.cumsum(dim=0) - sizes)[groups[order]]
    step = (sizes[groups] / MOST_OF_GROUP).clamp_min(1)
    kept = ((place + 1) / step).floor() > (place / step).floor()
    which = torch.where(which < 0, -1, torch.where(kept, kept.cumsum(dim=0) - 1, -1)[which])
    return torch.from_numpy(rows)[kept], groups[kept], which


def importance(task: Task, which: Tensor, m: int) -> Tensor:
    """Return how much each of m distinct rows counts by the weights of a task, the mean of its copies'.

    The unit of the weights does not matter: they are scaled to sum to as many rows as the weighted ones are
    worth (Kish's effective sample size), so that equal weights are 1.
    """
    if task.weights is None:
        return torch.ones(m, dtype=torch.float64)
    used = which >= 0
    given = task.weights[used] / task.weights[used].max()
    weights = torch.zeros(m, dtype=torch.float64).index_add(0, which[used], given)
    weights /= torch.bincount(which[used], minlength=m)
    return weights * (weights.sum() / weights.square().sum())


def groups_of(task: Task) -> Tensor:
    """Return the groups (n,) of all rows of a task, numbered; without any, exact copies are one."""
    return number(copies(task.images) if task.groups is None else task.groups)


def independent_units(task: Task) -> Tensor:
    """Return which rows (n,) count once together where new ones are promised something, numbered.

    Without groups that is each row, unless many images have exact copies. A few, such as a black frame, may
    come again in a stream, and then each time is another draw.
    """
    if task.groups is not None:
        return number(task.groups)
    images = number(copies(task.images))
    sizes = torch.bincount(images)
    repeated = float((sizes > 1).double().mean())
    if repeated > SHARE:
        warn(
            f"{repeated:.0%} of the images come more than once, and each counts once, because copies are "
            "rarely independent draws. Pass units=, the image or video of each row; or units=range(n), if "
            "all rows are independent draws.",
            RepeatedImagesWarning,
        )
    first = first_rows(images)
    some = first[np.linspace(0, len(first) - 1, min(len(first), AMONG)).astype(np.int64)]
    classes = torch.zeros(len(some)) if task.labels is None else task.labels[some]
    warn_of_near_copies(
        task.images.read(some),
        classes,
        torch.arange(len(some)),
        "They are not drawn independently, so that what is promised will be broken too often: pass units=",
    )
    return images if repeated > SHARE else torch.arange(len(images))


def one_of_each(groups: Tensor, rows: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """Return one of the rows (m,) of each group (n,) that has some, at random, in their order."""
    drawn = np.random.default_rng(seed).permutation(rows)
    return np.sort(drawn[np.unique(groups.numpy()[drawn], return_index=True)[1]])


def first_rows(groups: Tensor) -> NDArray[np.int64]:
    """Return the first row of each group (n,), by its number."""
    return np.asarray(np.unique(groups.numpy(), return_index=True)[1])


def rows_of(groups: Tensor, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows, in their order, of some of the groups (n,)."""
    return np.flatnonzero(np.isin(groups.numpy(), wanted))


def number(groups: Tensor) -> Tensor:
    """Number groups (n,) from 0 on in the order in which they first occur."""
    _, first, place = np.unique(groups.numpy(), return_index=True, return_inverse=True)
    return torch.from_numpy(np.argsort(np.argsort(first))[place])


def copies(rows: Rows) -> Tensor:
    """Number rows (n,) so that those of one direction, up to rounding, have one number."""
    along = directions(rows.d)[:, :4].double()
    slices = own_slices(rows, along.shape[1])
    # One block: small results kept between large temporaries would fragment the heap by a chunk each time.
    own = torch.empty(sum(part.stop - part.start for part in slices), along.shape[1], dtype=torch.float64)
    for part in slices:
        own[part.start - slices[0].start : part.stop - slices[0].start] = rows.look(part).double() @ along
    values = torch.cat(from_all(own)).numpy()
    order = np.argsort(values[:, 0], kind="stable")
    new = (np.abs(np.diff(values[order], axis=0)) > ROUNDING).any(axis=1)
    found = np.empty(len(values), dtype=np.int64)
    found[order] = np.append(0, np.cumsum(new))
    return torch.from_numpy(found)


def draw_groups(groups: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return the rows, in their order, of whole groups (n,) at random, at most so many or one group."""
    if len(groups) <= most:
        return torch.arange(len(groups))
    sizes = torch.bincount(groups)
    order = torch.randperm(len(sizes), generator=generator)
    fits = sizes[order].cumsum(dim=0) <= most
    fits[0] = True
    return torch.nonzero(torch.isin(groups, order[fits]))[:, 0]


def group_weights(groups: Tensor, correlation: float) -> Tensor:
    """Weights (n,), in float64, of rows of groups (n,): what each adds to what its siblings say already.

    m rows that correlate by r are worth m / (1 + (m - 1) r) independent ones (Kish's design effect).
    """
    return 1 / (1 + (torch.bincount(groups)[groups] - 1).double() * correlation)


def correlation_in_groups(x: Tensor, classes: Tensor, groups: Tensor) -> float:
    """Correlation of rows (n, d) of one group beside their class, in [0, 1], by analysis of variance.

    It is 1, where a group counts as one row, if no class has two groups to compare.
    """
    cells, cell = torch.unique(torch.stack([classes, groups]), dim=1, return_inverse=True)
    n, sizes = len(x), torch.bincount(cell).double()
    if n == len(sizes):
        return 1.0
    of_class = torch.unique(cells[0], return_inverse=True)[1]  # of each cell
    total = torch.bincount(of_class, sizes)
    inside = n - len(sizes)
    between = len(sizes) - len(total)
    if not between:
        return 1.0
    x = (x - x.mean(dim=0)).double()
    sums = torch.zeros(len(sizes), x.shape[1], dtype=torch.float64).index_add_(0, cell, x)
    class_sums = torch.zeros(len(total), x.shape[1], dtype=torch.float64).index_add_(0, of_class, sums)
    by_cell, by_class = (sums.square().sum(1) / sizes).sum(), (class_sums.square().sum(1) / total).sum()
    within = float(x.square().sum() - by_cell) / inside
    across = float(by_cell - by_class) / between
    size = float(n - (torch.bincount(of_class, sizes.square()) / total).sum()) / between
    return float(np.clip((across - within) / max(across + (size - 1) * within, 1e-30), 0, 1))


def near_copies(x: Tensor, classes: Tensor) -> float:
    """Share of unit rows (n, d), no two of them equal, with others far nearer than chance and class explain.

    Distances d_1 ≤ d_2 ≤ … to independent neighbours in m dimensions have j m log(d_j+1 / d_j) exponentially
    distributed; m follows from the median. A row has near copies where one of these is too large.
    """
    if len(x) < FEWEST:
        return 0.0
    among = torch.linspace(0, len(x) - 1, min(len(x), AMONG)).long()
    x, classes = x[among], classes[among]
    rows = torch.linspace(0, len(x) - 1, min(len(x), SAMPLE)).long()
    distances = (2 - 2 * x[rows] @ x.T).clamp_min(NEAREST**2).sqrt()
    own, many = classes[rows, None] == classes, len(torch.unique(classes)) >= MANY_CLASSES
    distances[~own] *= OTHER_CLASS if many else FAR
    distances[torch.arange(len(rows)), rows] = torch.inf
    near = distances.topk(min(NEIGHBOURS, len(x) - 1), dim=1, largest=False).values
    gaps = torch.log(near[:, 1:] / near[:, :-1])
    scaled = gaps * torch.arange(1, near.shape[1])
    # Among few classes, gaps up to the nearer half of the row's own: the border of a class is a gap too.
    known = (torch.arange(1, near.shape[1]) < (own.sum(dim=1) // 2)[:, None]) | many
    if not known.any():
        return 0.0
    found = known & (gaps > GAP) & (scaled > CHANCE / math.log(2) * scaled[known].median())
    return float(found.any(dim=1).double().mean())


def warn_of_near_copies(x: Tensor, classes: Tensor, groups: Tensor, so: str = OVERCONFIDENT) -> None:
    """Warn where many unit rows (n, d) have near copies outside of their groups (n,), and what follows."""
    first = first_rows(groups)
    share = near_copies(x[first], classes[first])
    if share > SHARE:
        warn(
            f"About {share:.0%} of the images have near copies among the others, such as views of one "
            f"image or frames of one video. {so}, the image or video of each row.",
            RepeatedImagesWarning,
        )
