"""The critical-difference diagram shows what the ranking says."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from vilu_sdk.displays import CriticalDifferenceDisplay
from vilu_sdk.evaluation import Ranking

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def ranking(difference=1.0, names=("_ViLU", "TS $x$ " + "long " * 9, "MCM", "entropy")):
    return Ranking(list(names), np.array([1.0, 2.4, 2.5, 4.1])[: len(names)], 0.01, difference, [], 9)


def test_bars_overlap_where_ranks_do_not_differ():
    found = ranking()
    display = CriticalDifferenceDisplay(ranking=found).plot()
    display.figure_.canvas.draw()
    ends = [segment[:, 0] for segment in display.bars_.get_segments()]
    for i, (low, high) in enumerate(ends):
        for j, (other_low, other_high) in enumerate(ends):
            apart = abs(found.mean_ranks[i] - found.mean_ranks[j]) > found.critical_difference
            assert apart == (high < other_low or other_high < low)
    np.testing.assert_array_equal(display.dots_.get_xdata(), found.mean_ranks)
    labels = display.ax_.get_yticklabels()
    assert labels[0].get_text() == "_ViLU"
    assert labels[0].get_position()[1] == 0
    low, high = sorted(display.ax_.get_ylim(), reverse=True)
    assert low > high  # the first on top


def test_nothing_leaves_the_figure_and_the_legend_hides_nothing():
    display = CriticalDifferenceDisplay(ranking=ranking()).plot()
    figure = display.figure_
    figure.canvas.draw()
    renderer, whole = figure.canvas.get_renderer(), figure.bbox
    texts = [*display.ax_.get_yticklabels(), display.ax_.xaxis.label, display.ax_.get_legend()]
    for text in texts:
        box = text.get_window_extent(renderer)
        assert whole.x0 - 1 <= box.x0
        assert box.x1 <= whole.x1 + 1
        assert whole.y0 - 1 <= box.y0
        assert box.y1 <= whole.y1 + 1
    assert display.ax_.get_legend().get_window_extent(renderer).y0 >= display.ax_.bbox.y1 - 1


def test_without_a_test_there_are_dots_alone():
    display = CriticalDifferenceDisplay(ranking=ranking(float("nan"), ["MCM"])).plot()
    assert display.bars_ is None
    assert display.ax_.get_legend() is None
    with pytest.raises(ValueError, match="No scorer has a rank"):
        CriticalDifferenceDisplay(ranking=ranking(names=()))
    axes = plt.figure().subplots()
    assert CriticalDifferenceDisplay(ranking=ranking()).plot(axes, color="red").ax_ is axes
