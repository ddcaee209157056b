"""Accuracy, or a metric of one's own, of the predictions one keeps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from vilu_sdk.displays._base import ScoreDisplay
from vilu_sdk.displays._legend import entry
from vilu_sdk.displays._style import next_look, percent, shorten
from vilu_sdk.evaluation import Benchmark
from vilu_sdk.evaluation.own import Metric, arrays_of, check_metrics, value_of_rows
from vilu_sdk.evaluation.problem import Answers, Problem
from vilu_sdk.inputs.containers import vector
from vilu_sdk.metrics.ranking import COVERAGES, rank
from vilu_sdk.metrics.vectors import FloatVector, check_scores

#: Coverage from which on values set the scale: among the first few predictions they vary widely.
SETTLED = 0.1


@dataclass(kw_only=True, repr=False, eq=False)
class MetricCoverageDisplay(ScoreDisplay):
    """A metric of the predictions one keeps, over the share one keeps; by default their accuracy.

    `RiskCoverageDisplay` draws the error rate, with a certified threshold.

    Parameters
    ----------
    coverage, values : ndarray of shape (T,)
        Shares of the predictions, the surest first, and the metric among them; NaN where there is none.
    ylabel : str, default="accuracy (%)"
        What `values` are; with a "%" in it, fractions are drawn in percent.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.

    Examples
    --------
    >>> from sklearn.metrics import recall_score
    >>> def macro_recall(labels, predictions):
    ...     return recall_score(labels, predictions, average="macro")
    >>> u, labels, predictions = [0.1, 0.2, 0.3, 0.4], [0, 1, 1, 1], [0, 1, 1, 0]
    >>> display = MetricCoverageDisplay.from_scores(u, [0, 0, 0, 1], name="MCM")
    >>> display.coverage.tolist(), display.values.tolist()
    ([0.25, 0.5, 0.75, 1.0], [1.0, 1.0, 1.0, 0.75])
    >>> display = MetricCoverageDisplay.from_scores(
    ...     u, [0, 0, 0, 1], labels=labels, predictions=predictions, metric=macro_recall
    ... )
    >>> display.ylabel, round(float(display.values[-1]), 3)
    ('macro_recall', 0.833)
    """

    coverage: FloatVector
    values: FloatVector
    ylabel: str = "accuracy (%)"

    @classmethod
    def from_scores(
        cls,
        uncertainty: ArrayLike,
        failure: ArrayLike,
        *,
        metric: Callable[..., float] | Metric | None = None,
        labels: ArrayLike | None = None,
        predictions: ArrayLike | None = None,
        probability: ArrayLike | None = None,
        ylabel: str | None = None,
        name: str | None = None,
        ax: Any = None,
        **line: Any,
    ) -> Self:
        """Draw the curve of given scores.

        Parameters
        ----------
        uncertainty, failure : array-like of shape (N,)
            As in `failure_metrics`.
        metric : callable or Metric, optional
            A function of arrays of the kept rows, chosen by the names of its arguments, as `Metric` describes
            it; where it raises, the curve has a gap. By default the accuracy.
        labels, predictions, probability : array-like of shape (N,), optional
            Further arrays that the metric asks for.
        ylabel : str, optional
            By default the name of the metric.
        name, ax, **line
            As in `ROCDisplay.from_scores`.

        Raises
        ------
        ValueError, TypeError
            As in `failure_metrics`; if a metric asks for what is not given, or has no value at any coverage.
        """
        u, y = check_scores(uncertainty, failure)
        more = {"labels": labels, "predictions": predictions, "probability": probability}
        arrays = {key: None if value is None else vector(value, key, len(u)) for key, value in more.items()}
        return cls._drawn({"uncertainty": u, "failure": y} | arrays, metric, ylabel, name).plot(ax, **line)

    @classmethod
    def from_benchmark(
        cls,
        benchmark: Benchmark,
        scorer: str,
        *,
        labels: int | str | None = None,
        name: str | None = None,
        ax: Any = None,
        **line: Any,
    ) -> Self:
        """Draw a scorer's mean accuracy over the sets of a benchmark.

        Parameters
        ----------
        benchmark : Benchmark
        scorer : str
            Its name there.
        labels : int or "all", optional
            As in `Benchmark.to_markdown`.
        name, ax, **line
            As in `ROCDisplay.from_scores`; the name is by default that of the scorer.

        Raises
        ------
        ValueError
            If there is no such scorer, or it lacks a value on a set.
        """
        values = benchmark.coverage_curves(labels=labels)[benchmark.known(scorer)]
        if np.isnan(values).all():
            raise ValueError(f"{scorer} lacks a value on a set; leave the set out with benchmark.select.")
        return cls(coverage=COVERAGES, values=values, name=scorer if name is None else name).plot(ax, **line)

    @classmethod
    def _from_answers(
        cls, answers: Answers, problem: Problem, *, ax: Any = None, name: str | None = None, **options: Any
    ) -> Self:
        metric, ylabel = options.pop("metric", None), options.pop("ylabel", None)
        return cls._drawn(arrays_of(answers), metric, ylabel, name).plot(ax, **options)

    @classmethod
    def _drawn(cls, arrays: dict[str, Any], metric: Any, ylabel: str | None, name: str | None) -> Self:
        ranking, n = rank(arrays["uncertainty"], arrays["failure"]), len(arrays["failure"])
        if metric is None:
            values = 1 - ranking.errors / ranking.rows
            shown = {} if ylabel is None else {"ylabel": ylabel}
            return cls(coverage=ranking.rows / n, values=values, name=name, **shown)
        called = str(ylabel or getattr(getattr(metric, "function", metric), "__name__", "metric"))
        (own,) = check_metrics({called: metric}).values()
        if lacking := [field for field in own.asked if arrays[field] is None]:
            raise ValueError(f"metric asks for {lacking[0]}; pass {lacking[0]}=, one for each row.")
        # So many thresholds are enough for the eye.
        at = np.unique(np.searchsorted(ranking.rows, COVERAGES * n * (1 - 1e-12)))
        u = arrays["uncertainty"]
        values = np.array([value_of_rows(own, arrays, u <= limit) for limit in ranking.distinct[at]])
        if not np.isfinite(values).any():
            raise ValueError(f"metric: {called} has no value at any coverage; try it on all rows first.")
        label = ylabel or own.column(called).header
        return cls(coverage=ranking.rows[at] / n, values=values, ylabel=label, name=name)

    def _draw(self, ax: Any, name: str | None, **line: Any) -> None:
        look = next_look(ax)
        style = {"color": look.color, "linestyle": look.linestyle, "linewidth": 1.5}
        style["label"] = entry(shorten(name or ""))
        (self.line_,) = ax.plot(self.coverage, self.values, **style | line)
        ax.set(xlabel="coverage: predictions kept (%)", ylabel=self.ylabel, xlim=(-0.01, 1.01))
        shown = np.concatenate([line.get_ydata()[line.get_xdata() >= SETTLED] for line in ax.lines])
        if (known := shown[np.isfinite(shown)]).size:
            room = 0.05 * np.ptp(known) or 0.05
            ax.set_ylim(known.min() - room, known.max() + room)
        percent(ax.xaxis, *([ax.yaxis] if "%" in self.ylabel else []))
