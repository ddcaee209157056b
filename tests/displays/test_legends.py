"""Where legends go: apart from data, titles and neighbours, in figures of one's own too."""

import pickle
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from vilu_sdk import MCMScorer, displays
from vilu_sdk.evaluation import Ranking
from vilu_sdk.selective import SetPredictor

matplotlib.use("Agg")
# Figures do not matter here, so rows of the fit may be judged.
pytestmark = pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.FitRowsWarning")
MCM = MCMScorer(logit_scale=5)
RANKING = Ranking(["MCM", "entropy", "ViLU"], np.array([1.0, 2.2, 2.8]), 0.1, 1.2, [], 7)
LINES = [
    "ROCDisplay", "RiskCoverageDisplay", "ReliabilityDisplay", "SetCurveDisplay", "CandidatesDisplay",
    "LearningCurveDisplay", "MetricCoverageDisplay", "ReliabilityOverAccuracyDisplay",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _close() -> Any:
    yield
    plt.close("all")


def draw(which: str, toy: SimpleNamespace, **options: Any) -> Any:
    cls, data = getattr(displays, which), (toy.z_img, toy.z_txt, toy.labels)
    scorer: Any = MCM
    if which == "CriticalDifferenceDisplay":
        return cls(ranking=RANKING).plot(options.pop("ax", None), **options)
    if which == "ParetoDisplay":
        return cls(scorers=["a scorer", "b"], seconds=[0.1, 2], values=[0.7, 0.8]).plot(**options)
    if which == "LearningCurveDisplay":
        options |= {"test": data, "n_draws": 1}
    if which == "CandidatesDisplay":
        options |= {"n_draws": 1, "sizes": [2, 6]}
    if which == "NoveltyDisplay":
        data = (toy.z_img, toy.z_txt, np.where(toy.labels == 0, -1, toy.labels))
    if which in ("SetSizeDisplay", "SetClassDisplay"):
        scorer = SetPredictor(MCM).fit(*data)
    if which == "ReliabilityOverAccuracyDisplay":
        data = ({"a": data, "b": data},)
    return cls.from_estimator(scorer, *data, **options)


def apart(one: Any, other: Any) -> bool:
    """Whether two boxes share no more than a pixel's edge."""
    return (
        one.x1 <= other.x0 + 1 or other.x1 <= one.x0 + 1 or one.y1 <= other.y0 + 1 or other.y1 <= one.y0 + 1
    )


@pytest.mark.parametrize("layout", ["constrained", "tight", None])
@pytest.mark.parametrize("name", displays.__all__)
def test_two_in_one_figure_keep_legends_apart(name: str, layout: Any, toy: SimpleNamespace) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 3), layout=layout)
    axes[0].set_title("before")
    for ax in axes:
        for scorer in ("a scorer with a long name", "another"):
            draw(name, toy, ax=ax, **({} if "Critical" in name else {"name": scorer}))
    axes[1].set_title("after")
    assert tuple(figure.get_size_inches()) == (6.6, 3)
    figure.canvas.draw()
    for ax, neighbour in zip(axes, axes[::-1], strict=True):
        legend = ax.get_legend().get_window_extent()
        assert legend.y0 >= ax.bbox.y1 - 1
        assert ax.bbox.height > 0.2 * figure.bbox.height
        assert apart(legend, ax.title.get_window_extent())
        assert legend.x0 >= 0
        assert legend.x1 <= figure.bbox.x1
        assert legend.y1 <= figure.bbox.y1
        for other in (neighbour.bbox, neighbour.get_legend().get_window_extent(), neighbour.title):
            assert apart(legend, getattr(other, "get_window_extent", lambda other=other: other)())


def test_an_axes_gives_no_more_room_than_its_legend_needs(toy: SimpleNamespace) -> None:
    figure, ax = plt.subplots()
    whole = ax.get_position().height * figure.bbox.height
    display = draw("ROCDisplay", toy, ax=ax)
    for _ in range(2):
        figure.canvas.draw()
        legend = ax.get_legend().get_window_extent()
        assert whole - 1.2 * legend.height < ax.bbox.height < whole - legend.height
        assert display.plot(ax) is display  # a second time
    ax.get_legend().remove()
    figure.canvas.draw()
    assert ax.bbox.height == pytest.approx(whole)


def test_a_figure_with_a_legend_can_be_pickled(toy: SimpleNamespace) -> None:
    figure = pickle.loads(pickle.dumps(draw("ROCDisplay", toy, ax=plt.subplots()[1]).figure_))
    figure.canvas.draw()
    (ax,) = figure.axes
    assert ax.get_legend().get_window_extent().y0 >= ax.bbox.y1 - 1


@pytest.mark.parametrize("name", displays.__all__)
def test_a_legend_can_be_inside_or_left_out(name: str, toy: SimpleNamespace) -> None:
    named = {} if "Critical" in name else {"name": "MCM"}
    ax = draw(name, toy, legend="inside", **named).ax_
    ax.figure.canvas.draw()
    legend = ax.get_legend().get_window_extent()
    assert ax.bbox.x0 <= legend.x0
    assert ax.bbox.y0 <= legend.y0
    assert legend.x1 <= ax.bbox.x1
    assert legend.y1 <= ax.bbox.y1
    assert draw(name, toy, legend=None, **named).ax_.get_legend() is None
    plt.close("all")
    with pytest.raises(ValueError, match='legend must be "above", "inside" or None, got'):
        draw(name, toy, legend="below")
    assert not plt.get_fignums()


@pytest.mark.parametrize("name", LINES)
def test_lines_take_matplotlibs_short_names(name: str, toy: SimpleNamespace) -> None:
    options = {"lw": 3.5, "c": "red", "ls": ":", "name": "MCM"}
    lines = [line for line in draw(name, toy, **options).ax_.lines if line.get_linewidth() == 3.5]
    assert lines
    assert all((line.get_color(), line.get_linestyle()) == ("red", ":") for line in lines)


@pytest.mark.parametrize("name", displays.__all__)
def test_all_is_seen_on_a_dark_ground(name: str, toy: SimpleNamespace) -> None:
    with plt.style.context("dark_background"):
        ax = None
        for _ in range(1 if name.startswith(("Set", "Critical")) else 5):  # the fourth colour is black
            ax = draw(name, toy, **({} if ax is None else {"ax": ax})).ax_
        drawn = [line.get_color() for line in ax.lines]
        drawn += [patch.get_facecolor() for patch in ax.patches if patch.get_fill()]
        drawn += [colour for collection in ax.collections for colour in collection.get_edgecolor()]
        assert drawn
        assert min(max(to_rgb(colour)) for colour in drawn) > 0.3
