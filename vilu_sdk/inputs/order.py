"""Whether labels and candidates seem to be in the same order."""

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.exceptions import LabelWarning, warn
from vilu_sdk.inputs.names import NONE

# Agreement within so many standard deviations of what independence gives is chance.
CHANCE = 2.0
# Nothing is said of images among which a model this much on the way from chance to the most that could be
# right would not stand out by POWER standard deviations.
BETTER, POWER = 0.25, 5.0


#: Rows that a fit looks at.
LOOKED_AT = 1000


def warn_of_order(prediction: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
    """Warn where predictions and labels (n,), rows of the candidates, agree no better than by chance.

    Images that show none of them say nothing about their order.

    Labels that start at 1, and texts in another order than the classes, give wrong numbers and no error.
    """
    shown = labels != NONE
    prediction, labels = prediction[shown], labels[shown]
    n = len(labels)
    if not n:
        return
    right = int((prediction == labels).sum())
    expected = float(_by_chance(prediction, labels)[0])
    found = f"zero-shot accuracy is {right / n:.1%}, where chance gives {expected / n:.1%}"
    for shift, remedy in ((1, "from 1: subtract 1"), (-1, "from -1: add 1")):
        moved = int((prediction == labels - shift).sum())
        if moved > 2 * right and moved - max(right, expected) > POWER * np.sqrt(moved):
            found += f", and {moved / n:.1%} with every label moved by one. They seem to count {remedy}."
            break
    else:
        if not is_by_chance(prediction, labels):
            return
        found += ". Check that each label is the row of the candidate that its image shows."
    warn(
        f"Labels and candidates seem to be in different orders: {found}",
        LabelWarning,
        about="the order of labels",
    )


def is_by_chance(a: NDArray[np.int64], b: NDArray[np.int64]) -> bool:
    """Whether rows a and b (n,) agree no better than by chance, and are enough to tell."""
    expected, deviation, most = _by_chance(a, b)
    enough = BETTER * (most - expected) > POWER * deviation
    return enough and int((a == b).sum()) <= expected + CHANCE * deviation


def _by_chance(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[float, float, float]:
    """Mean, standard deviation and maximum of how often a and b (n,) agree when one of them is shuffled."""
    n = len(a)
    k = 1 + int(max(a.max(), b.max()))
    a_counts, b_counts = (np.bincount(values, minlength=k).astype(float) for values in (a, b))
    both = a_counts * b_counts
    variance = (both * (n - a_counts) * (n - b_counts)).sum() + both.sum() ** 2 - (both**2).sum()
    deviation = float(np.sqrt(max(0.0, variance) / (n * n * max(1.0, n - 1.0))))
    return both.sum() / n, deviation, float(np.minimum(a_counts, b_counts).sum())
