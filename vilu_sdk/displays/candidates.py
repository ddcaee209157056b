"""AUC over the number of candidates to choose from."""

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilu_sdk.displays._sweeps import RandomState, SweepDisplay, auc_of, draw_orders, sweep
from vilu_sdk.evaluation.problem import check_problem
from vilu_sdk.inputs.names import NONE
from vilu_sdk.scorers.base.contract import FailureScorer


class CandidatesDisplay(SweepDisplay):
    """AUC against the number of candidates to choose from, as in the ViLU paper's Figure 4.

    Parameters and attributes are those of `LearningCurveDisplay`.
    """

    xlabel = "candidates"

    @classmethod
    def from_estimator(
        cls,
        scorer: FailureScorer,
        z_img: ArrayLike,
        z_txt: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        sizes: Sequence[int] | None = None,
        n_draws: int = 3,
        random_state: RandomState = 0,
        name: str | None = None,
        ax: Any = None,
        **line: Any,
    ) -> Self:
        """Score with fewer and more candidates, and draw.

        With labels, some of the classes are drawn, and their images scored among them. Without labels, a
        caption task, images are shuffled and put in batches, and the captions of a batch are the candidates.

        Parameters
        ----------
        scorer : scorer
            Fitted, if it is one that learns.
        z_img, z_txt, labels : array-like of shape (N, d), (K, d) and (N,)
            As in `evaluate`.
        sizes : sequence of int, optional
            Numbers of candidates; by default five up to all, doubling.
        n_draws : int, default=3
            How many random draws of candidates.
        random_state : int, RandomState instance or None, default=0
            Of the draws.
        name, ax, **line
            As in `LearningCurveDisplay.from_estimator`.

        Raises
        ------
        ValueError, TypeError, sklearn.exceptions.NotFittedError
            As in `evaluate`, or if a size or `n_draws` is out of range.

        Warns
        -----
        ScorerFailedWarning
            If the scorer cannot score a number of candidates, which is then left out.
        """
        problem = check_problem(z_img, z_txt, labels, None)
        k = len(problem.text)
        sizes, orders = draw_orders(k, cls.xlabel, sizes, n_draws, random_state)

        def draw(size: int, order: NDArray[np.int64]) -> float:
            if problem.labels is None:
                part = check_problem(problem.images[order], problem.text[order], None, size)
            else:
                some = np.sort(order[:size])  # in the order of the fit, which some scorers need
                place = np.full(k + 1, NONE)  # and of -1 itself, which is the last
                place[some] = np.arange(size)
                rows = np.flatnonzero((place[problem.labels] != NONE) | (problem.labels == NONE))
                if not len(rows):
                    return math.nan
                part = check_problem(
                    problem.images[rows], problem.text[some], place[problem.labels[rows]], None
                )
            return auc_of(scorer, part)

        name = type(scorer).__name__ if name is None else name
        return cls(sizes=sizes, auc=sweep(draw, sizes, orders, "candidates"), name=name).plot(ax, **line)
