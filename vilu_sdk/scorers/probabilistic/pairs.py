"""Image-text pairs known to belong together, for the methods that learn from pairs."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vilu_sdk.inputs.task import Task
from vilu_sdk.scorers.base.predictions import predictions_of


def known_pairs(task: Task) -> tuple[Tensor, Tensor]:
    """Return rows of the images and of the texts, (m,) each, that are known to belong together."""
    if task.correct is not None:
        images = torch.nonzero(task.correct)[:, 0]
        texts = predictions_of(task)[images]
    else:
        images = task.shown
        texts = images if task.labels is None else task.labels[images]
    if len(torch.unique(texts)) < 2:
        known = "right predictions" if task.correct is not None else "pairs"
        raise ValueError(
            f"the {known} of the fit have fewer than two different texts, and this method contrasts "
            "texts; pass more images."
        )
    return images, texts


def contrastive_batches(texts: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the numbers of all pairs, of texts (m,), in random batches without a repeated text."""
    order = torch.randperm(len(texts), generator=generator).numpy()
    shuffled = texts.numpy()[order]
    by_text = np.argsort(shuffled, kind="stable")
    _, first, counts = np.unique(shuffled[by_text], return_index=True, return_counts=True)
    # The r-th pair of every text is in round r, so that no round repeats a text.
    rounds = np.empty(len(order), dtype=np.int64)
    rounds[by_text] = np.arange(len(order)) - np.repeat(first, counts)
    for turn in range(counts.max()):
        members = order[rounds == turn]
        for batch in np.array_split(members, -(-len(members) // batch_size)):
            yield torch.from_numpy(batch)
