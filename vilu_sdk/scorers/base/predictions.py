"""What the zero-shot model says of the images of a fit, and where it is wrong."""

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import add_up, own_slices
from vilu_sdk.compute.progress import track
from vilu_sdk.compute.tiles import nearest, tile_width
from vilu_sdk.inputs.task import Task


def predictions_of(task: Task) -> Tensor:
    """Return the zero-shot predictions (n,), of which each process makes its own."""
    found = torch.zeros(len(task.images), dtype=torch.int64)
    for rows in track(own_slices(task.images, tile_width(len(task.text))), "predicting"):
        found[rows] = nearest(task.images.read(rows), task.text)
    add_up(found)
    return found


def wrong_of(task: Task) -> Tensor:
    """Return which zero-shot predictions (n,) are wrong."""
    if task.correct is not None:
        return ~task.correct
    return torch.from_numpy(task.wrong(predictions_of(task).numpy(), is_zero_shot=False))
