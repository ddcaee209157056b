"""AUC and FPR95 over the accuracy of several data sets, measured on what is drawn."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt

from vilu_sdk import EntropyScorer, MCMScorer
from vilu_sdk.displays import ReliabilityOverAccuracyDisplay
from vilu_sdk.evaluation import evaluate

matplotlib.use("Agg")
MCM = MCMScorer(logit_scale=5)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def sets(toy):
    found = {}
    for k in (2, 3, 4, 5, 6):
        rows = toy.labels < k
        found[f"{k} classes"] = (toy.z_img[rows], toy.z_txt[:k], toy.labels[rows])
    return found


@pytest.mark.parametrize("metric", ["auc", "fpr95"])
def test_a_dot_for_each_set_stands_where_evaluate_puts_it(sets, metric):
    display = ReliabilityOverAccuracyDisplay.from_estimator(MCM, sets, metric=metric)
    expected = [evaluate(MCM, *data) for data in sets.values()]
    np.testing.assert_allclose(display.dots_.get_xdata(), [one["accuracy"] for one in expected])
    np.testing.assert_allclose(display.dots_.get_ydata(), [one[metric] for one in expected])
    assert display.names == list(sets)


@pytest.mark.parametrize(("n", "degree"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (12, 2)])
def test_the_tendency_is_the_polynomial_that_made_the_values_if_there_is_one(n, degree):
    x = np.linspace(0.2, 0.9, n)
    values = np.polynomial.Polynomial([0.5, 0.4, -0.2][: degree + 1])(x)
    display = ReliabilityOverAccuracyDisplay(accuracy=x, values=values).plot()
    np.testing.assert_allclose(display.tendency(x), values)
    np.testing.assert_allclose(display.curve_.get_ydata()[[0, -1]], values[[0, -1]])


def test_one_scorer_for_each_set_and_several_methods_on_one_axes(sets):
    each = {name: MCMScorer(logit_scale=5) for name in sets}
    one = ReliabilityOverAccuracyDisplay.from_estimator(each, sets, name="MCM")
    two = ReliabilityOverAccuracyDisplay.from_estimator(EntropyScorer(), sets, name="Entropy", ax=one.ax_)
    legend = two.ax_.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["MCM", "Entropy"]
    colours = [display.curve_.get_color() for display in (one, two)]
    assert len(set(colours)) == 2
    assert [line.get_color() for line in legend.get_lines()] == colours
    assert one.dots_.get_marker() != two.dots_.get_marker()


def test_sets_without_a_value_are_left_out():
    display = ReliabilityOverAccuracyDisplay(accuracy=[0.5, 1.0, 0.7], values=[0.8, np.nan, 0.9]).plot()
    assert display.dots_.get_xdata().tolist() == [0.5, 0.7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accuracy": [0.5], "values": [0.8, 0.9]}, "one number for each data set"),
        ({"accuracy": [0.5], "values": [np.nan]}, "There is no AUC to draw"),
        ({"accuracy": [0.5], "values": [0.8], "metric": "ece"}, "metric must be"),
        ({"accuracy": [0.5], "values": [0.8], "names": ["a", "b"]}, "names has 2 entries"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        ReliabilityOverAccuracyDisplay(**options)


def test_a_set_without_a_scorer_is_named(sets):
    with pytest.raises(ValueError, match="none for 3 classes"):
        ReliabilityOverAccuracyDisplay.from_estimator({"2 classes": MCM}, dict(list(sets.items())[:2]))
