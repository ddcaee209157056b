"""What pictures show of a benchmark is what its tables say; metrics over coverage are of the kept rows."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from sklearn.metrics import f1_score

from vilu_sdk import EntropyScorer, MCMScorer, RelUScorer
from vilu_sdk.displays import (
    CriticalDifferenceDisplay,
    LearningCurveDisplay,
    MetricCoverageDisplay,
    ParetoDisplay,
    ReliabilityOverAccuracyDisplay,
)
from vilu_sdk.evaluation import Metric, benchmark, risk_at_coverage
from vilu_sdk.exceptions import ScorerFailedWarning

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def classes(seed):
    rng = np.random.default_rng(seed)
    z_txt, labels = rng.normal(size=(4, 6)), np.arange(120) % 4
    z_img = z_txt[labels] + rng.normal(scale=1.5, size=(120, 6))
    return {"z_img": z_img, "z_txt": z_txt, "labels": labels}


@pytest.fixture(scope="module")
def found():
    scorers = {"MCM": MCMScorer(), "entropy": EntropyScorer(), "Rel-U": RelUScorer()}
    return benchmark(scorers, {f"{i}": classes(i) for i in range(3)}, labels=(20, "all"), n_runs=2)


@pytest.mark.parametrize("metric", ["auc", "aurc", "nll"])
def test_learning_curves_are_those_of_the_benchmark(found, metric):
    for scorer in ("MCM", "Rel-U"):
        if (scorer, metric) == ("Rel-U", "nll"):
            with pytest.raises(ValueError, match="Rel-U lacks a nll on a set"):
                LearningCurveDisplay.from_benchmark(found, scorer, metric=metric)
            continue
        display = LearningCurveDisplay.from_benchmark(found, scorer, metric=metric)
        assert display.line_.get_xdata().tolist() == [20, 60]
        means = [value for _, value in found.learning_curves(metric)[scorer]]
        np.testing.assert_allclose(display.line_.get_ydata(), means)
        assert display.auc.shape == (2, 2)
        assert display.ax_.get_ylabel() == found.column(metric).header
    with pytest.raises(ValueError, match="scorer has no 'x'; there are MCM, entropy, Rel-U"):
        LearningCurveDisplay.from_benchmark(found, "x")
    with pytest.raises(ValueError, match="No scorer learns"):
        LearningCurveDisplay.from_benchmark(found.select(scorers=["MCM"]), "MCM")


def test_accuracies_over_coverage_are_means_over_sets_and_runs(found):
    curve = MetricCoverageDisplay.from_benchmark(found, "MCM").line_
    assert curve.get_xdata()[[0, 49, -1]].tolist() == [0.01, 0.5, 1]
    row = found.means(found.column("accuracy"), "all")[0]
    assert curve.get_ydata()[-1] == pytest.approx(row["accuracy"])
    data = classes(0)
    alone = benchmark({"MCM": MCMScorer()}, {"0": data}, fit=False)
    u = MCMScorer().decision_function(data["z_img"], data["z_txt"])
    failure = MCMScorer().predict(data["z_img"], data["z_txt"]) != data["labels"]
    of_rows = [1 - risk_at_coverage(u, failure, share / 100) for share in range(1, 101)]
    np.testing.assert_allclose(alone.coverage_curves()["MCM"], of_rows)


def test_whoever_lacks_a_set_is_not_drawn():
    captions = {"z_img_test": np.eye(30), "z_txt_test": np.eye(30)}
    scorers = {"MCM": MCMScorer(), "Rel-U": RelUScorer().fit(*classes(1).values())}
    with pytest.warns(ScorerFailedWarning):
        mixed = benchmark(scorers, {"classes": classes(0), "captions": captions}, fit=False)
    assert np.isnan(mixed.coverage_curves()["Rel-U"]).all()
    assert np.isfinite(mixed.coverage_curves()["MCM"]).all()
    with pytest.raises(ValueError, match="Rel-U lacks a value on a set"):
        MetricCoverageDisplay.from_benchmark(mixed, "Rel-U")


def test_the_front_is_that_of_the_benchmark(found):
    for metric in ("auc", "aurc"):
        display = ParetoDisplay.from_benchmark(found, metric=metric)
        front = found.pareto(metric)
        assert display.best == [scorer for scorer, _, _ in front]
        np.testing.assert_allclose(display.front_.get_xydata(), [one[1:] for one in front])
        shown = dict(zip(display.scorers, display.values, strict=True))
        means = [row[metric] for row in found.means(found.column(metric), "all")]
        assert shown == pytest.approx(dict(zip(found.scorers, means, strict=True)))
    with pytest.raises(ValueError, match="one entry for each scorer"):
        ParetoDisplay(scorers=["a"], seconds=[1, 2], values=[1])
    with pytest.raises(ValueError, match="one entry for each scorer"):
        ParetoDisplay(scorers=[], seconds=[], values=[])
    level = ParetoDisplay(scorers=["a", "b"], seconds=[0, 1], values=[0.5, 0.5]).plot()
    assert level.best == ["a"]
    assert level.ax_.get_xscale() == "linear"


def test_ranks_and_sets_are_those_of_the_benchmark(found):
    display = CriticalDifferenceDisplay.from_benchmark(found, metric="aurc", confidence=0.9)
    ranking = found.ranks("aurc", confidence=0.9)
    assert display.ranking.scorers == ranking.scorers
    assert display.ranking.critical_difference == ranking.critical_difference
    sets = ReliabilityOverAccuracyDisplay.from_benchmark(found, "MCM")
    rows = [row for row in found.to_dicts() if row["scorer"] == "MCM" and row["labels"] == "all"]
    np.testing.assert_allclose(sets.values, [row["auc"] for row in rows])
    np.testing.assert_allclose(sets.accuracy, [row["accuracy"] for row in rows])


# --- metrics of one's own over coverage ------------------------------------------------------------


def macro_f1(labels, predictions):
    return f1_score(labels, predictions, average="macro", zero_division=0)


def test_a_metric_is_that_of_the_kept_rows(toy):
    data = (toy.z_img, toy.z_txt, toy.labels)
    mcm = MCMScorer(logit_scale=5)
    u, predictions = mcm.decision_function(*data[:2]), mcm.predict(*data[:2])
    display = MetricCoverageDisplay.from_estimator(mcm, *data, metric=Metric(macro_f1, percent=True))
    assert display.ylabel == "macro_f1 %"
    assert (np.diff(display.coverage) > 0).all()
    assert display.coverage[-1] == 1
    for coverage, value in zip(display.coverage[::20], display.values[::20], strict=True):
        kept = u <= np.sort(u)[round(coverage * len(u)) - 1]
        assert value == pytest.approx(macro_f1(toy.labels[kept], predictions[kept]))
    given = {"labels": toy.labels, "predictions": predictions, "metric": macro_f1, "ylabel": "F1"}
    same = MetricCoverageDisplay.from_scores(u, predictions != toy.labels, **given)
    np.testing.assert_array_equal(same.values, display.values)
    assert same.ax_.get_ylabel() == "F1"


def test_accuracy_is_one_minus_the_risk_and_ties_stay_together():
    def risk(failure):
        return failure.mean()

    display = MetricCoverageDisplay.from_scores([0, 1, 1, 2], [0, 0, 1, 1], metric=risk)
    assert display.coverage.tolist() == [0.25, 0.75, 1.0]
    assert display.values.tolist() == pytest.approx([0, 1 / 3, 0.5])
    accuracy = MetricCoverageDisplay.from_scores([0, 1, 1, 2], [0, 0, 1, 1])
    np.testing.assert_allclose(accuracy.values, 1 - display.values)


def test_what_a_metric_lacks_is_said():
    with pytest.raises(ValueError, match="metric asks for labels; pass labels="):
        MetricCoverageDisplay.from_scores([0, 1], [0, 1], metric=macro_f1)

    def broken(failure):
        raise ZeroDivisionError

    with pytest.raises(ValueError, match="broken has no value at any coverage"):
        MetricCoverageDisplay.from_scores([0, 1], [0, 1], metric=broken)

    def of_few(failure):
        return np.inf if len(failure) > 20 else 1 / (len(failure) < 3)

    display = MetricCoverageDisplay.from_scores(np.arange(40), np.arange(40) % 2, metric=of_few)
    assert np.isfinite(display.ax_.get_ylim()).all()
    plt.close("all")
    with pytest.raises(TypeError, match="name its arguments after"):
        MetricCoverageDisplay.from_scores([0, 1], [0, 1], metric=lambda x: 1)
    assert not plt.get_fignums()
