"""How well failures are found over how accurate the model is, one dot for each data set."""

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from vilu_sdk.displays._base import Display
from vilu_sdk.displays._legend import entry
from vilu_sdk.displays._style import next_look, percent, shorten
from vilu_sdk.evaluation import Benchmark
from vilu_sdk.evaluation.problem import ask, check_problem
from vilu_sdk.inputs.values import is_word
from vilu_sdk.metrics.failure import ranking_metrics

NAMES = {"auc": "AUC", "fpr95": "FPR95"}
# Points of a tendency curve, and the highest degree of its polynomial.
POINTS, DEGREE = 100, 2


class ReliabilityOverAccuracyDisplay(Display):
    """AUC or FPR95 over the model's zero-shot accuracy, with a dot for each data set and a trend curve.

    It shows whether a scorer is worse where the model is worse, as in the ViLU paper's Figure 8. The
    curve is a polynomial by least squares: a parabola from five data sets on, a line from three on, else the
    mean.

    Parameters
    ----------
    accuracy : array-like of shape (S,)
        Share of right predictions in each data set, as a fraction.
    values : array-like of shape (S,)
        The metric in each data set, as a fraction; NaN where there is none.
    metric : {"auc", "fpr95"}
        What `values` are.
    names : sequence of str, optional
        Of the data sets; they are kept, not drawn.
    name : str, optional
        Of the scorer, for the legend.

    Attributes
    ----------
    dots_, curve_ : matplotlib Line2D
        The data sets and their tendency.

    Raises
    ------
    ValueError
        If the shapes do not fit together, the metric is another, or there is no value.

    Examples
    --------
    >>> display = ReliabilityOverAccuracyDisplay(accuracy=[0.4, 0.6, 0.8], values=[0.7, 0.8, 0.9]).plot()
    >>> display.tendency([0.5]).round(2).tolist()
    [0.75]
    """

    def __init__(
        self,
        *,
        accuracy: ArrayLike,
        values: ArrayLike,
        metric: Literal["auc", "fpr95"] = "auc",
        names: ArrayLike | None = None,
        name: str | None = None,
    ) -> None:
        self.accuracy = np.asarray(accuracy, dtype=np.float64)
        self.values = np.asarray(values, dtype=np.float64)
        self.names = None if names is None else [str(one) for one in np.asarray(names)]
        shape = self.accuracy.shape
        if self.accuracy.ndim != 1 or self.values.shape != shape:
            raise ValueError(
                f"accuracy and values must have one number for each data set, got shapes {shape} and "
                f"{self.values.shape}."
            )
        if self.names is not None and len(self.names) != len(self.values):
            raise ValueError(f"names has {len(self.names)} entries for {len(self.values)} data sets.")
        if not is_word(metric, NAMES):
            raise ValueError(f"metric must be 'auc' or 'fpr95', got {metric!r}.")
        self.metric = metric
        self._known = np.isfinite(self.values) & np.isfinite(self.accuracy)
        if not self._known.any():
            raise ValueError(
                f"There is no {NAMES[metric]} to draw: wherever something was scored, all predictions are "
                "right or all are wrong."
            )
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        scorer: Any,
        sets: Mapping[str, Any],
        *,
        metric: Literal["auc", "fpr95"] = "auc",
        name: str | None = None,
        ax: Any = None,
        **line: Any,
    ) -> Self:
        """Score several data sets and draw.

        Parameters
        ----------
        scorer : scorer, or mapping of scorers
            One for all data sets, or one for each by its name; fitted, if it learns.
        sets : mapping of tuples
            (z_img, z_txt, labels) by the name of the data set, or (z_img, z_txt) of a caption task.
        metric : {"auc", "fpr95"}
            What is drawn.
        name : str, optional
            For the legend, by default the scorer's class.
        ax : matplotlib Axes, optional
            By default those of a new figure.
        **line
            Of the curve, for `matplotlib.axes.Axes.plot`.

        Raises
        ------
        ValueError, TypeError, sklearn.exceptions.NotFittedError
            As in `evaluate`; if there is no scorer for a data set, or nothing to draw.
        """
        by_name = scorer if isinstance(scorer, Mapping) else dict.fromkeys(sets, scorer)
        if missing := sorted(set(sets) - set(by_name)):
            raise ValueError(f"scorer has none for {', '.join(missing)}; pass one for each data set.")
        accuracy, values = [], []
        for key, (images, text, *labels) in sets.items():
            problem = check_problem(images, text, labels[0] if labels else None, None)
            answers = ask(by_name[key], problem)
            accuracy.append(1 - answers.failure.mean())
            values.append(ranking_metrics(answers.decision, answers.failure)[metric])
        name = type(next(iter(by_name.values()))).__name__ if name is None else name
        display = cls(accuracy=accuracy, values=values, metric=metric, names=list(sets), name=name)
        return display.plot(ax, **line)

    @classmethod
    def from_benchmark(
        cls,
        benchmark: Benchmark,
        scorer: str,
        *,
        metric: Literal["auc", "fpr95"] = "auc",
        labels: int | str | None = None,
        name: str | None = None,
        ax: Any = None,
        **line: Any,
    ) -> Self:
        """Draw the sets of a benchmark.

        Parameters
        ----------
        benchmark : Benchmark
        scorer : str
            Its name there.
        metric : {"auc", "fpr95"}
            What is drawn.
        labels : int or "all", optional
            As in `Benchmark.to_markdown`.
        name, ax, **line
            As in `from_estimator`; the name is by default that of the scorer.

        Raises
        ------
        ValueError
            If there is no such scorer, or it has no value.
        """
        budget, scorers = benchmark.budget(labels), [benchmark.known(scorer)]
        accuracy, values = (
            benchmark.values(key, budget, benchmark.sets, scorers)[:, 0] for key in ("accuracy", metric)
        )
        name = scorer if name is None else name
        found = cls(accuracy=accuracy, values=values, metric=metric, names=benchmark.sets, name=name)
        return found.plot(ax, **line)

    def tendency(self, accuracy: ArrayLike) -> np.ndarray:
        """Return the curve at accuracies (M,), fractions as it is itself."""
        x, y = self.accuracy[self._known], self.values[self._known]
        degree = min(DEGREE, (len(np.unique(x)) - 1) // 2)
        curve = np.polynomial.Polynomial.fit(x, y, degree, domain=(0.0, 1.0))
        return np.asarray(curve(np.asarray(accuracy, np.float64)))

    def _draw(self, ax: Any, name: str | None, **line: Any) -> None:
        look = next_look(ax)
        x = self.accuracy[self._known]
        (self.dots_,) = ax.plot(
            x, self.values[self._known], color=look.color, marker=look.marker, linestyle="none", markersize=4
        )
        along = np.linspace(x.min(), x.max(), POINTS)
        # Its marker stands in the legend alone.
        style = look._asdict() | {"markevery": [], "linewidth": 1.3, "label": entry(shorten(name or ""))}
        (self.curve_,) = ax.plot(along, self.tendency(along), **style | line)
        ax.set(xlabel="zero-shot accuracy (%)", ylabel=f"{NAMES[self.metric]} (%)")
        percent(ax.xaxis, ax.yaxis)
