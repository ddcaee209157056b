"""Checks of classes and their names."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.containers import vector, what_it_holds
from vilu_sdk.inputs.names import NONE, Names, by_place, check_whole
from vilu_sdk.inputs.values import whole
from vilu_sdk.metrics.vectors import as_vector


def check_names(names: Sequence[str] | None, k: int) -> list[str]:
    """Return the names of k classes, their numbers by default."""
    if names is None:
        return [f"class {index}" for index in range(k)]
    names = by_place(names, "class_names", "of texts, one for each class")
    if len(names) != k:
        raise ValueError(
            f"class_names has {len(names)} entries but there are {k} classes; pass one for each."
        )
    return told_apart(names)


def told_apart(names: Sequence[Any]) -> list[str]:
    """Return names as text; a class without one gets its number, and so do those whose names are equal."""
    texts = [str(name) for name in names]
    check_whole(texts, "class_names")
    times = Counter(texts)
    return [
        f"class {index}" if not text.strip() else text if times[text] == 1 else f"{index}: {text}"
        for index, text in enumerate(texts)
    ]


def check_classes(
    values: Any, name: str, n: int, class_names: Sequence[str] | None = None, least: int = NONE
) -> NDArray[np.int64]:
    """Return classes (n,) as integers: at least 0, or -1 for none of them; names are looked up."""
    found = vector(values, name)
    if found.dtype.kind == "U" and class_names is not None:
        found = Names(class_names, "class_names").rows(found, name)
    if len(found) != n:
        raise ValueError(f"{name} has {len(found)} entries but uncertainty has {n}; pass one for each row.")
    numbers = as_vector(found, name) if found.dtype.kind in "iuf" else np.array([-np.inf])
    if (numbers != np.floor(numbers)).any() or (numbers < least).any():
        raise ValueError(
            f"{name} must be class numbers, integers from 0 on, got {what_it_holds(found)}; names go into "
            "class_names."
        )
    return numbers.astype(np.int64)


def name_classes(names: Sequence[str] | None, **classes: NDArray[np.int64]) -> list[str]:
    """Return the names of all classes, their numbers by default, and refuse a class that has no name."""
    if names is None:
        return check_names(None, 1 + max(int(index.max()) for index in classes.values()))
    for name, index in classes.items():
        if index.max() >= len(names):
            raise ValueError(f"{name} holds class {index.max()}, but class_names has {len(names)} entries.")
    return told_apart(names)


def how_many(top: Any, n: int) -> int:
    """Return how many of n rows to show."""
    return n if top is None else min(whole(top, "top", 1), n)
