"""One labelled set for a scorer and its calibration: one part to fit on, the other to calibrate on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError

from vilu_sdk.inputs.task import Task
from vilu_sdk.scorers.base.contract import FailureScorer, read, warn_of_fit_rows
from vilu_sdk.scorers.base.folds import fits_without

# One of so many equal parts is calibrated on, the rest is fitted on.
PARTS = 2


class OneSet:
    """Of an estimator whose parameter `scorer` may come without a fit; `fit` then splits what it is given."""

    scorer: FailureScorer

    @property
    def scorer_in_use(self) -> Any:
        """The scorer that scores: the one that was given, or the clone that `fit` has fitted."""
        return getattr(self, "scorer_", self.scorer)

    def _arrange(self, task: Task, consequence: str) -> NDArray[np.int64]:
        """Return the rows to calibrate on: all of them where the scorer is fitted, else one part.

        A clone is fitted on the other rows, and never again. Parts have equal shares of the classes, and
        copies of an image are in one part. A fitted scorer is warned of where it has seen the rows, with what
        follows from that.
        """
        vars(self).pop("scorer_", None)
        if not _lacks_fit(self.scorer, task):
            warn_of_fit_rows(self.scorer, task.images.source, consequence)
            return np.arange(len(task.images))
        known = next((x.numpy() for x in (task.labels, task.correct) if x is not None), None)
        strata = np.zeros(len(task.images)) if known is None else known
        held, self.scorer_ = next(fits_without(self.scorer, task, strata, PARTS, 0))
        return np.sort(held)


def _lacks_fit(scorer: FailureScorer, task: Task) -> bool:
    try:
        read(scorer, task.images.source[:1], task.texts.source, "decision")
    except NotFittedError:
        return True
    return False
