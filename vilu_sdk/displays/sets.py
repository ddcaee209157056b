"""Pictures of sets of candidates: how large they are, and which hold the right one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilu_sdk.displays._base import Display
from vilu_sdk.displays._classes import check_names
from vilu_sdk.displays._style import BLACK, GREY, RIGHT, WHITE, percent, shorten, tone
from vilu_sdk.displays.classes import ClassFailureDisplay
from vilu_sdk.evaluation.problem import check_problem
from vilu_sdk.inputs.containers import vector, what_it_holds
from vilu_sdk.inputs.values import check_correct
from vilu_sdk.metrics.binomial import rate_interval
from vilu_sdk.selective.conformity import sizes_of
from vilu_sdk.selective.sets import SetPredictor

# Up to where each size has a bar of its own; the bars behind it end at these times a power of ten.
SINGLE, STEPS = 5, (1, 2, 5)


class Found(NamedTuple):
    """Sizes of sets (N,), whether the right candidate is inside (N,), true classes (N,), names of classes."""

    sizes: NDArray[np.int64]
    inside: NDArray[np.bool_]
    labels: NDArray[np.int64]
    names: Sequence[str] | None


@dataclass(kw_only=True, repr=False, eq=False)
class SetSizeDisplay(Display):
    """How many images have a set of each size, and how many of these sets hold the right candidate.

    Whiskers are 95 % Clopper-Pearson intervals. Sets above five candidates share bars.

    Parameters
    ----------
    first, last : ndarray of shape (B,)
        The smallest and the largest size of each bar.
    n, inside : ndarray of shape (B,)
        How many sets have such a size, and how many of those hold the right candidate.
    coverage : float
        Guaranteed coverage of the sets, as a fraction.

    Attributes
    ----------
    bars_ : matplotlib BarContainer
        Shares of the images.
    inside_ : matplotlib ErrorbarContainer
        Coverage of the sets of each size.

    Examples
    --------
    >>> display = SetSizeDisplay.from_sizes([0, 1, 1, 2, 9], [False, True, True, True, True], coverage=0.9)
    >>> display.n.tolist(), display.inside.tolist(), display.last.tolist()
    ([1, 2, 1, 1], [0, 2, 1, 1], [0, 1, 2, 10])
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    n: NDArray[np.int64]
    inside: NDArray[np.int64]
    coverage: float

    @classmethod
    def from_sizes(
        cls,
        sizes: ArrayLike,
        inside: ArrayLike,
        *,
        coverage: float,
        name: str | None = None,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Draw given sizes.

        Parameters
        ----------
        sizes : array-like of shape (N,)
            Candidates in the set of each image.
        inside : array-like of shape (N,)
            Whether the right one is among them.
        coverage : float
            Guaranteed coverage of the sets, as a fraction.
        name, ax, **options
            As in `plot`.
        """
        found = vector(sizes, "sizes")
        if found.dtype.kind not in "iu" or not len(found) or found.min() < 0:
            raise ValueError(f"sizes must be integers of at least 0, got {what_it_holds(found)}.")
        right = check_correct(inside, len(found), name="inside").numpy()
        tens = 10 ** np.arange(1, 19, dtype=np.int64)
        ends = np.append(np.arange(SINGLE), (tens[:, None] // 2 * np.array(STEPS)).ravel())
        bar = np.searchsorted(ends, found)
        present, place, n = np.unique(bar, return_inverse=True, return_counts=True)
        return cls(
            first=np.where(present > 0, ends[present - 1] + 1, 0),
            last=ends[present],
            n=n,
            inside=np.bincount(place, right).astype(np.int64),
            coverage=coverage,
            name=name,
        ).plot(ax, **options)

    @classmethod
    def from_estimator(
        cls,
        sets: SetPredictor,
        z_img: ArrayLike,
        z_txt: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Find the sets of labelled images and draw.

        Parameters
        ----------
        sets : SetPredictor
            Fitted, on other images.
        z_img, z_txt, labels : array-like
            As in `evaluate`; without labels a caption task.
        groups : array-like of shape (N,), optional
            As in `SetPredictor.predict_sets`.
        name, ax, **options
            As in `plot`; the name is by default that of the scorer's class.
        """
        found = find(sets, z_img, z_txt, labels, groups)
        name = type(sets.scorer_in_use).__name__ if name is None else name
        return cls.from_sizes(found.sizes, found.inside, coverage=sets.coverage, name=name, ax=ax, **options)

    def _draw(self, ax: Any, name: str | None) -> str | None:
        at, rate = np.arange(len(self.n)), self.inside / self.n
        self.bars_ = ax.bar(at, self.n / self.n.sum(), 0.8, color=tone(ax, RIGHT), alpha=0.5, label="images")
        low, high = rate_interval(self.inside, self.n, 0.95)
        self.inside_ = ax.errorbar(
            *(at, rate, np.maximum(0, [rate - low, high - rate])),
            fmt="D",
            color=tone(ax, BLACK),
            markerfacecolor=tone(ax, WHITE),
            markersize=4,
            elinewidth=0.8,
            label="right one inside, 95 % interval",
        )
        ax.axhline(self.coverage, color=tone(ax, GREY), linewidth=0.8, linestyle="--", zorder=0)
        labels = [f"{a}" if a == b else f"{a}–{b}" for a, b in zip(self.first, self.last, strict=True)]
        ax.set_xticks(at, labels=labels, rotation=45 if len(labels) > 6 else 0)
        ax.set(xlabel="candidates in the set", ylabel="images, sets (%)", ylim=(0, 1.01))
        percent(ax.yaxis)
        return shorten(name) if name else None


@dataclass(kw_only=True, repr=False, eq=False)
class SetClassDisplay(ClassFailureDisplay):
    """The classes whose images have sets without the right candidate most often.

    Whiskers are 95 % Clopper-Pearson intervals. A guarantee over all images does not hold for each class: if
    one class misses far more often than the others, `per_label` gives it a threshold of its own.

    Parameters
    ----------
    classes : ndarray of shape (C,)
        The classes that occur; first those whose sets miss the right candidate most often.
    n, wrong : ndarray of shape (C,)
        How many sets they have, and how many of those lack the right candidate.
    mean_uncertainty : None
        Sets have none.
    class_names : list of str
        Of all classes.

    Examples
    --------
    >>> display = SetClassDisplay.from_scores([1, 3, 2, 1], [0, 0, 1, 0], [0, 0, 1, 1])
    >>> display.classes.tolist(), display.wrong.tolist()
    ([1, 0], [1, 0])
    """

    counted: ClassVar[tuple[str, str]] = ("sets", "sets without the right one")

    @classmethod
    def from_estimator(
        cls,
        scorer: Any,
        z_img: ArrayLike,
        z_txt: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        name: str | None = None,
        **options: Any,
    ) -> Self:
        """Find the sets of labelled images and draw.

        Parameters
        ----------
        scorer : SetPredictor
            Fitted, on other images.
        z_img, z_txt, labels : array-like
            As in `evaluate`, with labels.
        groups : array-like of shape (N,), optional
            As in `SetPredictor.predict_sets`.
        name : str, optional
            For the legend, by default the class of the sets' scorer.
        **options
            Further arguments of `from_scores`, such as `ax`.
        """
        if labels is None:
            raise ValueError("A caption task has no classes: pass labels, or draw another picture.")
        found = find(scorer, z_img, z_txt, labels, groups)
        options.setdefault("class_names", found.names)
        name = type(scorer.scorer_in_use).__name__ if name is None else name
        return cls.from_scores(found.sizes, ~found.inside, found.labels, name=name, **options)

    def _draw(self, ax: Any, name: str | None, *, top: int | None = 15) -> str | None:
        super()._draw(ax, name, top=top)
        return shorten(name) if name else None


def find(sets: Any, z_img: Any, z_txt: Any, labels: Any, groups: Any) -> Found:
    """Find the sets of labelled images."""
    if not isinstance(sets, SetPredictor):
        raise TypeError(f"sets must be a fitted SetPredictor, got {type(sets).__name__}.")
    problem = check_problem(z_img, z_txt, labels, None)
    sizes, inside, _ = sizes_of(sets._found(z_img, sets._open(z_txt), groups), problem.truth)
    return Found(sizes, inside, problem.truth, check_names(problem.names, len(problem.text)))
