"""Metrics of one's own: functions of what a scorer says, with intervals and tests by the bootstrap."""

import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from vilu_sdk.evaluation.columns import KNOWN, Column
from vilu_sdk.evaluation.over_sets import NAMES
from vilu_sdk.evaluation.problem import Answers
from vilu_sdk.metrics.bootstrap import draw_weights
from vilu_sdk.metrics.significance import Estimates
from vilu_sdk.metrics.vectors import Matrix

#: What a metric can ask for, by the names of its arguments.
FIELDS = ("uncertainty", "failure", "probability", "labels", "predictions")
# Names in a table that are no metrics.
RESERVED = {*NAMES, "metric", "value"}


@dataclass(frozen=True)
class Metric:
    """A metric of your own, for `evaluate`, `compare` and `benchmark`.

    Parameters
    ----------
    function : callable
        Returns a number. It gets the arrays (N,) that its arguments are named after:
        ``uncertainty``, the decision values, higher = more likely wrong; ``failure``, bool; ``probability``,
        the uncertainty as a probability of failure, without which the metric is NaN; ``labels`` and
        ``predictions``, rows of the candidates (of captions: rows of the scored ones).
    higher_is_better : bool, optional
        Direction by which the best is marked, ranked and tested. By default there is no best.
    percent : bool, default=False
        Whether it is a fraction that tables print in percent.

    Examples
    --------
    Errors cost 10, a refused image 1; the most certain 80 % are accepted:

    >>> import numpy as np
    >>> def cost(uncertainty, failure):
    ...     accepted = uncertainty <= np.quantile(uncertainty, 0.8)
    ...     return np.where(accepted, 10.0 * failure, 1.0).mean()
    >>> metric = Metric(cost, higher_is_better=False)

    F1 of the classes, and a function of scikit-learn:

    >>> from sklearn.metrics import f1_score, roc_auc_score
    >>> def macro_f1(labels, predictions):
    ...     return f1_score(labels, predictions, average="macro")
    >>> auc = Metric(lambda uncertainty, failure: roc_auc_score(failure, uncertainty), higher_is_better=True)
    """

    function: Callable[..., float]
    higher_is_better: bool | None = None
    percent: bool = False

    @property
    def direction(self) -> int:
        """+1 if higher is better, -1 if lower is, 0 if it is not known."""
        return 0 if self.higher_is_better is None else 1 if self.higher_is_better else -1

    @property
    def asked(self) -> list[str]:
        """The fields that the function asks for."""
        return [name for name in inspect.signature(self.function).parameters if name in FIELDS]

    def column(self, name: str) -> Column:
        """How a table prints it."""
        arrow = {1: " ↑", -1: " ↓", 0: ""}[self.direction]
        if self.percent:
            return Column(name, f"{name} %{arrow}", better=self.direction)
        return Column(name, f"{name}{arrow}", scale=1, decimals=4, better=self.direction)


#: Metrics by name, as they are given.
Given = Mapping[str, Callable[..., float] | Metric] | None


def check_metrics(metrics: Given) -> dict[str, Metric]:
    """Return metrics of one's own by name, or raise where one cannot be computed."""
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise TypeError(
            'metrics must be a mapping from names to functions, as in {"cost": cost}, '
            f"got {type(metrics).__name__}."
        )
    found = {}
    for name, given in metrics.items():
        if name in KNOWN or name in RESERVED or not isinstance(name, str):
            raise ValueError(f"metrics: {name!r} is a name of a column that is there anyway; choose another.")
        metric = given if isinstance(given, Metric) else Metric(given)
        if not callable(metric.function):
            raise TypeError(f"metrics: {name} must be a function, got {type(given).__name__}.")
        arguments = inspect.signature(metric.function).parameters.values()
        needed = [argument.name for argument in arguments if argument.default is argument.empty]
        others = [argument for argument in needed if argument not in FIELDS]
        if others or not metric.asked:
            raise TypeError(
                f"metrics: {name} takes {', '.join(others) or 'nothing'}; name its arguments after what it "
                f"needs of {', '.join(FIELDS)}, as in lambda uncertainty, failure: …"
            )
        found[name] = metric
    return found


def own_metrics(answers: Answers, metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Return the metrics of what a scorer said."""
    return {name: _value(name, metric, arrays_of(answers)) for name, metric in metrics.items()}


def own_estimates(
    metrics: Mapping[str, Metric],
    every: Sequence[Answers],
    values: Mapping[str, NDArray[np.float64]],
    confidence: float,
    n_resamples: int,
    groups: NDArray[np.int64] | None,
) -> dict[str, Estimates]:
    """Return values, symmetric intervals and errors of differences, from resamples that all scorers share."""
    if not metrics:
        return {}
    n = len(every[0].failure)
    if groups is not None and len(np.unique(groups)) == len(groups):
        groups = None
    drawn: dict[str, list[list[float]]] = {name: [] for name in metrics}
    arrays = [arrays_of(answers) for answers in every]
    rng = np.random.default_rng(0)
    for _ in range(n_resamples):
        rows = np.repeat(np.arange(n), draw_weights(n, 1, rng, groups)[:, 0].astype(int))
        for name, metric in metrics.items():
            drawn[name].append([value_of_rows(metric, own, rows) for own in arrays])
    half = stdtrit(math.inf, (1 + confidence) / 2)
    found = {}
    for name, resamples in drawn.items():
        covariance = _covariance(np.array(resamples))
        error = np.sqrt(np.diag(covariance))
        variances = np.diag(covariance)
        between = np.sqrt(np.maximum(variances[:, None] + variances - 2 * covariance, 0))
        found[name] = Estimates(
            values[name], values[name] - half * error, values[name] + half * error, between
        )
    return found


def _covariance(resamples: Matrix) -> Matrix:
    """Covariance (S, S) of values (R, S), of each pair over the resamples in which both have one."""
    masked = np.ma.masked_invalid(resamples)
    if len(resamples) < 2:
        return np.full((resamples.shape[1],) * 2, math.nan)
    found = np.ma.cov(masked, rowvar=False)  # type: ignore[no-untyped-call]
    return np.asarray(np.ma.atleast_2d(found).filled(math.nan), dtype=np.float64)


def arrays_of(answers: Answers) -> dict[str, Any]:
    """Return what metrics can ask for, by name."""
    probability = answers.uncertainty if answers.is_probability else None
    return {
        "uncertainty": answers.decision,
        "failure": answers.failure,
        "probability": probability,
        "labels": answers.labels,
        "predictions": answers.predicted,
    }


def _value(name: str, metric: Metric, arrays: Mapping[str, Any]) -> float:
    """Return one value; NaN where it needs a probability that there is not."""
    given = {field: _unwritable(arrays[field]) for field in metric.asked}
    if any(array is None for array in given.values()):
        return math.nan
    try:
        value = metric.function(**given)
    except Exception as error:
        raise ValueError(f"metrics: {name} failed: {type(error).__name__}: {error}") from error
    if np.ndim(value) or not isinstance(np.asarray(value).item(), numbers.Real):
        got = f"an array of shape {np.shape(value)}" if np.ndim(value) else type(value).__name__
        raise ValueError(f"metrics: {name} must return one number, as .mean() does, got {got}.")
    return float(value)


def _unwritable(array: Any) -> Any:
    """Return a view, through which a metric cannot change what others are computed from."""
    if array is None:
        return None
    view = array.view()
    view.flags.writeable = False
    return view


def value_of_rows(metric: Metric, arrays: Mapping[str, Any], rows: NDArray[Any]) -> float:
    """Return the value of some rows; NaN where they have none."""
    try:
        return _value("", metric, {name: None if a is None else a[rows] for name, a in arrays.items()})
    except ValueError:
        return math.nan
