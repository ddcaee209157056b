"""Coverage of sets of candidates against their size, for all thresholds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilu_sdk.displays._base import Display, label_with
from vilu_sdk.displays._style import next_look, percent
from vilu_sdk.evaluation.problem import Problem, check_problem
from vilu_sdk.inputs.names import NONE
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.metrics.vectors import FloatVector
from vilu_sdk.scorers.base.contract import FailureScorer, in_parts, read_posterior
from vilu_sdk.selective.conformity import METHODS, Matrix, conformity, uniform_of
from vilu_sdk.selective.sets import SetPredictor

COVERAGES = np.linspace(0.5, 0.995, 100)


@dataclass(kw_only=True, repr=False, eq=False)
class SetCurveDisplay(Display):
    """Coverage of sets against their mean size, for all thresholds: the lower, the smaller the sets.

    Several scorers can share an axes. These thresholds are found on the images shown, so a curve compares
    scorers and guarantees nothing.

    Parameters
    ----------
    coverage, size : ndarray of shape (T,)
        Share of the images whose set holds the right candidate, and candidates of a set on average.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.

    Examples
    --------
    >>> from vilu_sdk import MCMScorer
    >>> from vilu_sdk.datasets import load_digits_vlm
    >>> data = load_digits_vlm()
    >>> mcm = MCMScorer(logit_scale=data.logit_scale)
    >>> display = SetCurveDisplay.from_estimator(mcm, data.z_img_test, data.z_txt, data.labels_test)
    >>> bool(1 < display.size_at(0.95) < 3)
    True
    """

    coverage: FloatVector
    size: FloatVector

    @classmethod
    def from_estimator(
        cls,
        scorer: FailureScorer | SetPredictor,
        z_img: ArrayLike,
        z_txt: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        method: Literal["lac", "aps"] = "lac",
        name: str | None = None,
        ax: Any = None,
        **line: Any,
    ) -> Self:
        """Score labelled images and draw.

        Parameters
        ----------
        scorer : scorer with `predict_proba`, or SetPredictor
            Fitted, if it learns. Of sets, their scorer is drawn.
        z_img, z_txt, labels : array-like
            As in `evaluate`; without labels a caption task.
        method : {"lac", "aps"}
            As in `SetPredictor`.
        name, ax, **line
            As in `ROCDisplay.from_scores`.

        Raises
        ------
        ValueError, TypeError
            As in `evaluate`; also if the scorer has no posterior.
        """
        scorer = scorer.scorer_in_use if isinstance(scorer, SetPredictor) else scorer
        if method not in METHODS[:2]:
            raise ValueError(f"method must be 'lac' or 'aps', got {method!r}.")
        problem = check_problem(z_img, z_txt, labels, None)
        truth = problem.truth
        own = np.full(len(truth), np.inf)  # of an image of no candidate, which no set covers
        for rows, scores in scores_of(scorer, problem, method):
            shown = truth[rows] != NONE
            own[rows[shown]] = scores[shown, truth[rows[shown]]]
        limits = np.quantile(own, COVERAGES, method="inverted_cdf")
        limits = np.unique(limits[np.isfinite(limits)])
        if not limits.size:
            raise ValueError("half of the images show no candidate: no set covers them.")
        size = np.zeros(len(limits))
        for _, scores in scores_of(scorer, problem, method):
            size += np.searchsorted(np.sort(scores, axis=None), limits, side="right")
        return cls(
            coverage=np.searchsorted(np.sort(own), limits, side="right") / len(own),
            size=size / len(own),
            name=type(scorer).__name__ if name is None else name,
        ).plot(ax, **line)

    def size_at(self, coverage: float) -> float:
        """Return the mean size of sets of at least this coverage; infinity beyond the curve."""
        reached = self.size[self.coverage >= coverage]
        return float(reached.min(initial=np.inf))

    def _draw(self, ax: Any, name: str | None, **line: Any) -> None:
        look = next_look(ax)
        style = {"color": look.color, "linestyle": look.linestyle, "linewidth": 1.5} | line
        label = label_with(name, f"{self.size_at(0.9):.1f} at 90 %")
        (self.line_,) = ax.plot(self.size, self.coverage, **{"label": label} | style)
        ax.set(xscale="log", xlabel="candidates in a set, on average", ylabel="right one inside (%)")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter("")
        percent(ax.yaxis)


def scores_of(scorer: Any, problem: Problem, method: str) -> Iterator[tuple[NDArray[np.int64], Matrix]]:
    """Yield some rows at a time, and how little each candidate fits them (m, K)."""
    images = Rows(problem.images, "z_img")
    for rows, z in in_parts(images, len(problem.text)):
        _, log_p = read_posterior(scorer, z, problem.text)
        yield rows, conformity(method, log_p, uniform_of(images.read(rows)))[0]
