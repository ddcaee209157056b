"""Scorers that can give some images more weight than others."""

import os
from dataclasses import replace
from typing import Self

from numpy.typing import ArrayLike

from vilu_sdk.compute.state import plain_torch
from vilu_sdk.inputs.task import check_task
from vilu_sdk.inputs.values import check_weights
from vilu_sdk.scorers.base.scorer import Scorer


class WeightedScorer(Scorer):
    """Base of scorers whose `fit` takes sample weights; scikit-learn tells them by that parameter."""

    takes_weights = True

    @plain_torch
    def fit(
        self,
        z_img: ArrayLike,
        z_txt: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        correct: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn from embeddings and what is known about them.

        Parameters
        ----------
        z_img, z_txt, labels, correct, groups, checkpoint
            As in `Scorer.fit`.
        sample_weight : array-like of shape (N,), optional
            Weights of the images, at least 0; only their proportions matter. A weight of 2 counts as another
            image like it, 0 as the image left out. They set right what was sampled too often or too rarely.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As in `Scorer.fit`; also if weights are negative or not finite, or all zero, or the scorer takes
            none as it is set.
        """
        task = check_task(z_img, z_txt, labels, correct, groups, takes_views=self.takes_views)
        if sample_weight is not None:
            if not self.takes_weights:
                raise ValueError(f"{self!r} takes no sample_weight; leave it out.")
            task = replace(task, weights=check_weights(sample_weight, len(task.images)))
        return self._fit(task, checkpoint)
