"""AUC over the number of labels that a scorer learns from."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from vilu_sdk.displays._sweeps import RandomState, SweepDisplay, auc_of, draw_orders, sweep
from vilu_sdk.evaluation import Benchmark
from vilu_sdk.evaluation.problem import check_problem
from vilu_sdk.scorers.base.contract import FailureScorer


class LearningCurveDisplay(SweepDisplay):
    """AUC against the number of labels that a scorer learns from, as in the ViLU paper's Figure 5.

    It shows the mean of some draws, and one standard deviation around it.

    Parameters
    ----------
    sizes : array-like of shape (S,)
        The numbers, above 0.
    auc : array-like of shape (S, R)
        AUC of each draw, as a fraction; NaN where there is none.
    ylabel : str, default="AUC (%)"
        Name of the metric in `auc`, if it is another; with a "%" in it, fractions are drawn in percent.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The mean; a line without markers if it is the same for every number.
    band_ : matplotlib PolyCollection or None
        The spread, if there is any.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Examples
    --------
    >>> display = LearningCurveDisplay(sizes=[10, 100], auc=[[0.7, 0.8], [0.9, 0.9]], name="ViLU").plot()
    >>> display.line_.get_ydata().round(2).tolist()
    [0.75, 0.9]
    """

    xlabel = "labelled images"

    @classmethod
    def from_estimator(
        cls,
        scorer: FailureScorer,
        z_img: ArrayLike,
        z_txt: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        test: Sequence[Any],
        sizes: Sequence[int] | None = None,
        n_draws: int = 3,
        random_state: RandomState = 0,
        name: str | None = None,
        ax: Any = None,
        **line: Any,
    ) -> Self:
        """Fit clones on more and more of the images, score the same test images, and draw.

        A scorer that does not learn is scored once, and drawn as a level line.

        Parameters
        ----------
        scorer : scorer
            It is cloned, never changed.
        z_img, z_txt, labels : array-like of shape (N, d), (K, d) and (N,)
            As in `compare`; in a caption task without labels.
        test : tuple (z_img, z_txt, labels) or (z_img, z_txt)
            The rows to score, as in `compare`.
        sizes : sequence of int, optional
            Numbers of images to fit; by default five from 1/16 of them to all, doubling.
        n_draws : int, default=3
            How many random orders of the images to take. Within an order the images of a size are among
            those of the next.
        random_state : int, RandomState instance or None, default=0
            Of the orders.
        name, ax, **line
            As in `ROCDisplay.from_scores`; the name is by default the scorer's class.

        Raises
        ------
        ValueError, TypeError
            As in `compare`, or if a size or `n_draws` is out of range.

        Warns
        -----
        ScorerFailedWarning
            If the scorer cannot learn from a draw, which then does not count.
        """
        problem = check_problem(z_img, z_txt, labels, None)
        images, text, classes = (*test, None)[:3]
        held = check_problem(images, text, classes, None)
        sizes, orders = draw_orders(len(problem.images), cls.xlabel, sizes, n_draws, random_state)

        def draw(size: int, order: NDArray[np.int64]) -> float:
            # Sorted, because files are read in order and the order of the rows does not matter.
            fitted = clone(scorer).fit(*problem.take(np.sort(order[:size])))
            return auc_of(fitted, held)

        if getattr(scorer, "learns", True):
            auc = sweep(draw, sizes, orders, "learning curve")
        else:
            auc = np.full((len(sizes), 1), auc_of(scorer, held))
        name = type(scorer).__name__ if name is None else name
        return cls(sizes=sizes, auc=auc, name=name).plot(ax, **line)

    @classmethod
    def from_benchmark(
        cls,
        benchmark: Benchmark,
        scorer: str,
        *,
        metric: str = "auc",
        name: str | None = None,
        ax: Any = None,
        **line: Any,
    ) -> Self:
        """Draw a scorer's mean over the sets of a benchmark, for each number of labels.

        Parameters
        ----------
        benchmark : Benchmark
            With several numbers of labels. Draws are its runs.
        scorer : str
            Its name there.
        metric : str, default="auc"
            What is drawn.
        name, ax, **line
            As in `ROCDisplay.from_scores`; the name is by default that of the scorer.

        Raises
        ------
        ValueError
            If there is no such scorer or metric, no scorer learns, or this one lacks a value on a set.
        """
        sizes, values = benchmark.learned(benchmark.column(metric), scorer)
        if np.isnan(values).all():
            raise ValueError(f"{scorer} lacks a {metric} on a set; leave the set out with benchmark.select.")
        shown = {"name": scorer if name is None else name, "ylabel": benchmark.column(metric).header}
        return cls(sizes=sizes, auc=values, **shown).plot(ax, **line)
