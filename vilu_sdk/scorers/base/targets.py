"""What scikit-learn passes as y: names or rows of candidates, or labels of classes that nothing else says."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.compute.tiles import nearest
from vilu_sdk.inputs.candidates import Candidates, Opened
from vilu_sdk.inputs.containers import refuse_missing, to_numpy
from vilu_sdk.inputs.order import LOOKED_AT
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.values import check_labels

# By how many standard deviations more images must be right for numbers to be those of the sorted names.
FAR = 5.0


def classes_of(opened: Opened) -> NDArray[Any]:
    """Return the names of candidates, (K,), or their row numbers."""
    names = opened.called()
    return np.arange(len(Rows(opened.values, opened.argument))) if names is None else np.array(names)


def as_labels(y: Any) -> Any:
    """Return labels of any kind as an array; scikit-learn says what is wrong with None."""
    if y is None:
        return None
    array = to_numpy(y, "y")
    refuse_missing(array, "y")
    return array


def rows_of(y: Any, opened: Opened | None) -> Any:
    """Return labels as rows of candidates that have names; others as they are."""
    array = as_labels(y)
    if array is None or opened is None or opened.names is None:
        return array
    k = len(opened.names)
    return check_labels(y, len(np.atleast_1d(array)), k, name="y", names=opened.names).numpy()


def refuse_sorted_numbers(y: Any, rows: NDArray[np.int64], images: NDArray[Any], opened: Opened) -> None:
    """Raise where integers y, taken for `rows` (n,), plainly number the names in their sorted order.

    scikit-learn's ``cross_val_predict(method="predict_proba")`` passes such in the place of names.
    """
    names = opened.called()
    if names is None or list(names) == sorted(names) or as_labels(y).dtype.kind not in "iu":
        return
    some = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(np.int64))
    z = Rows(images, "X").read(some)
    predicted = nearest(z, Candidates(opened, z.shape[1]).text).numpy()
    right = np.count_nonzero(predicted == rows[some])
    right_if_sorted = np.count_nonzero(predicted == np.argsort(names)[rows[some]])
    if right_if_sorted - right > FAR * np.sqrt(right_if_sorted):
        raise ValueError(
            "y seems to number the names in their sorted order, as scikit-learn's cross_val_predict does, "
            "and not in that of the candidates; bind candidates in the sorted order of their names, as in "
            "dict(sorted(z_txt.items()))."
        )
