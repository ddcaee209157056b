"""The distribution of the novelty, by which images of none of the candidates are found."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from vilu_sdk.displays.scores import ScoreDistributionDisplay, histograms
from vilu_sdk.evaluation.problem import Answers, Problem
from vilu_sdk.inputs.names import NONE
from vilu_sdk.metrics.failure import ranking_metrics
from vilu_sdk.metrics.vectors import UNKNOWN, check_scores


@dataclass(kw_only=True, repr=False, eq=False)
class NoveltyDisplay(ScoreDistributionDisplay):
    """How the novelty is distributed over images of the candidates and over images of none.

    The less both overlap, the better unknown images are found. Each histogram sums to 100 %.

    Parameters
    ----------
    edges, xlabel
        As in `ScoreDistributionDisplay`.
    right, wrong : ndarray of shape (B,)
        Share of the images of the candidates, and of those of none, in each bin, as fractions.
    auc : float
        How often an image of none has a higher novelty than one of the candidates, as a fraction.

    Attributes
    ----------
    right_, wrong_ : matplotlib StepPatch
        The histograms.

    Examples
    --------
    >>> display = NoveltyDisplay.from_scores([-2.0, -1.0, 3.0, -1.5], [False, False, True, True])
    >>> display.auc
    0.75
    """

    kinds = ("images of the candidates", "images of none")
    both = "images"

    auc: float

    @classmethod
    def from_scores(  # type: ignore[override]
        cls,
        novelty: ArrayLike,
        unknown: ArrayLike,
        *,
        bins: int = 25,
        xlabel: str = "novelty",
        name: str | None = None,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Draw the distributions of given novelties.

        Parameters
        ----------
        novelty : array-like of shape (N,)
            Higher = more likely none of the candidates, as `novelty` of a scorer returns it.
        unknown : array-like of shape (N,)
            Whether each image shows none of the candidates, as booleans or 0/1.
        bins, xlabel, name, ax, **options
            As in `ScoreDistributionDisplay.from_scores`.

        Raises
        ------
        ValueError, TypeError
            If the vectors do not fit together, all images or none of them are unknown, or `bins` is not a
            positive integer.
        """
        u, y = check_scores(novelty, unknown, UNKNOWN)
        if y.all() or not y.any():
            raise ValueError(
                f"unknown is the same in all {len(y)} rows; a picture of novelty needs images of the "
                "candidates and images of none, which are labelled -1."
            )
        auc = ranking_metrics(u, y)["auc"]
        return cls(**histograms(u, y, bins), xlabel=xlabel, auc=auc, name=name).plot(ax, **options)

    @classmethod
    def _from_answers(cls, answers: Answers, problem: Problem, **options: Any) -> Self:
        unknown = answers.labels == NONE
        if answers.novelty is None and unknown.any():
            raise TypeError(f"{options.get('name')} has no novelty; scorers of vilu-sdk have one.")
        # Without an unknown image nobody has asked for it, and the error says that there is none.
        novelty = np.zeros(len(unknown)) if answers.novelty is None else answers.novelty
        return cls.from_scores(novelty, unknown, **options)
