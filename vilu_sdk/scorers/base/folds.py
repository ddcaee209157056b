"""What a scorer says of rows that it was not fitted on, by folds of whole groups."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold

from vilu_sdk.compute.distributed import from_first
from vilu_sdk.compute.random import check_random_state
from vilu_sdk.inputs.task import Task
from vilu_sdk.scorers.base.contract import candidates_for, groups_argument
from vilu_sdk.scorers.base.groups import first_rows, groups_of, rows_of


def texts_for(scorer: Any, task: Task) -> Any:
    """Return the texts of a task as a scorer fits on them, candidates with their names."""
    if task.is_caption or task.given is None:
        return task.texts.source
    return candidates_for(scorer, task.given)


def fits_without(
    scorer: Any, task: Task, strata: NDArray[Any], cv: int, random_state: Any
) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """Yield the rows (m,) of each fold, each row once, and a clone of a scorer fitted on the other folds.

    Folds have equal shares of the `strata` (n,), numbers or booleans, where each is in as many groups.
    """
    groups = groups_of(task)
    first = first_rows(groups)
    n, kinds = len(first), np.unique(strata[first], return_inverse=True)[1]
    if n < 2:
        raise ValueError(
            f"z_img (n_samples = {len(groups)}, n_features = {task.images.d}) is a single row, or one group "
            "of copies, so that none is left to score it by; pass more."
        )
    images, text = task.images.source, texts_for(scorer, task)
    sizes = np.bincount(kinds)
    split = StratifiedKFold if len(sizes) > 1 and sizes.min() >= cv else KFold
    seed = from_first(lambda: check_random_state(random_state).randint(2**31))
    for kept, out in split(min(cv, n), shuffle=True, random_state=seed).split(kinds, kinds):
        rest, held = rows_of(groups, kept), rows_of(groups, out)
        known = {
            name: None if values is None else values[rest]
            for name, values in (("labels", task.labels), ("correct", task.correct))
            if name == "labels" or values is not None
        }
        known |= groups_argument(scorer, None if task.groups is None else task.groups[rest])
        yield held, clone(scorer).fit(images[rest], text[rest] if task.is_caption else text, **known)
