"""What the default recipe says of labelled images, each left out with its group: no fold and no refit."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from vilu_sdk.inputs.task import Task
from vilu_sdk.scorers.base.groups import MOST_OF_GROUP, distinct_rows, groups_of
from vilu_sdk.scorers.posterior.classes import learn_blend, sample_size
from vilu_sdk.scorers.posterior.recipe import warn_fallback


def uses_all_rows(task: Task) -> bool:
    """Whether a fit uses all rows of a task, or copies of them: it uses a part of large groups."""
    return int(distinct_rows(task)[2].min()) >= 0


def left_out(task: Task, logit_scale: float, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows (m,) of a task with labels, each row once, and their log-probabilities (m, K), in float64.

    They are the calibrated posterior of a fit without the row's group. More rows than a fit holds in memory
    are cut into parts of whole groups at random, each with a fit of its own.
    """
    groups = groups_of(task)
    for part in _parts(groups, sample_size(len(task.text)), generator):
        some = task if len(part) == len(groups) else _take(task, part)
        rows, _, which = distinct_rows(some)
        blend = learn_blend(some, logit_scale, generator)
        if lack := blend.data.shortage:
            warn_fallback(f"they hold {lack}")
        logits = blend.sharpness * blend.left_out(torch.arange(len(rows))).double()
        yield part, torch.log_softmax(logits, dim=1)[which]


def _parts(groups: Tensor, most: int, generator: torch.Generator) -> list[Tensor]:
    """Cut the rows of groups (n,), whole, into few even parts of at most so many rows beside copies."""
    n, sizes = len(groups), torch.bincount(groups)
    # A part can be longer than the mean by a group but one row.
    over = min(int(sizes.max()), MOST_OF_GROUP) - 1
    count = 1 if n <= most else -(-n // (most - over))
    order = torch.randperm(len(sizes), generator=generator)
    before = torch.empty_like(sizes)
    before[order] = sizes[order].cumsum(dim=0) - sizes[order]
    part = (before * count // n)[groups]
    return [rows for rows in (torch.nonzero(part == at)[:, 0] for at in range(count)) if len(rows)]


def _take(task: Task, rows: Tensor) -> Task:
    """Return some rows of a task with labels, in memory."""
    labels, groups = (None if values is None else values[rows] for values in (task.labels, task.groups))
    return replace(task, images=task.images.load(rows), labels=labels, groups=groups)
