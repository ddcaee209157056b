"""What the pictures show, measured on the drawn figures themselves."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from scipy.stats import binomtest
from sklearn.exceptions import FitFailedWarning, NotFittedError

from vilu_sdk import DoctorScorer, MCMScorer, RelUScorer, TemperatureScaledMCMScorer
from vilu_sdk.displays import (
    CandidatesDisplay,
    ClassFailureDisplay,
    ConfusionDisplay,
    LearningCurveDisplay,
    NoveltyDisplay,
    ReliabilityDisplay,
    RiskCoverageDisplay,
    ROCDisplay,
    ScoreDistributionDisplay,
    SetClassDisplay,
    SetCurveDisplay,
    SetSizeDisplay,
)
from vilu_sdk.evaluation import evaluate, expected_calibration_error, failure_metrics, risk_coverage_curve
from vilu_sdk.metrics.binomial import rate_interval
from vilu_sdk.selective import SelectivePredictor, SetPredictor

# Figures do not matter here, so rows of the fit may be judged.
pytestmark = pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.FitRowsWarning")

matplotlib.use("Agg")
MCM = MCMScorer(logit_scale=5)
CURVES = (ROCDisplay, RiskCoverageDisplay, ReliabilityDisplay)


@pytest.fixture(autouse=True)
def _close() -> Any:
    settings_before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == settings_before


@pytest.fixture(scope="module")
def drawn(toy: SimpleNamespace) -> SimpleNamespace:
    """Scores of MCM on the toy problem."""
    given = (toy.z_img, toy.z_txt)
    predicted = MCM.predict(*given)
    return SimpleNamespace(
        decision=MCM.decision_function(*given),
        probability=MCM.predict_uncertainty(*given),
        predicted=predicted,
        failure=predicted != toy.labels,
        labels=toy.labels,
        data=(toy.z_img, toy.z_txt, toy.labels),
    )


def every_display(toy: SimpleNamespace, name: str = "MCM", class_names: Any = None) -> list[Any]:
    """One of each, drawn."""
    data = (toy.z_img, toy.z_txt, toy.labels)
    return [
        *(cls.from_estimator(MCM, *data, name=name) for cls in (*CURVES, ScoreDistributionDisplay)),
        ClassFailureDisplay.from_estimator(MCM, *data, name=name, class_names=class_names),
        ConfusionDisplay.from_estimator(MCM, *data, name=name, class_names=class_names),
        CandidatesDisplay.from_estimator(MCM, *data, name=name),
        LearningCurveDisplay.from_estimator(
            TemperatureScaledMCMScorer(), *data, test=data, n_draws=2, name=name
        ),
        SetSizeDisplay.from_estimator(sets := SetPredictor(MCM).fit(*data), *data, name=name),
        SetClassDisplay.from_estimator(sets, *data, name=name, class_names=class_names),
        SetCurveDisplay.from_estimator(sets, *data, name=name),
        NoveltyDisplay.from_estimator(MCM, *with_none(data), name=name),
    ]


def with_none(data: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """The same images without the texts of their last class, whose images show none of the candidates."""
    z_img, z_txt, labels = data
    return z_img, z_txt[:-1], np.where(labels == len(z_txt) - 1, -1, labels)


# --- the numbers -----------------------------------------------------------------------------------

scores_and_failures = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.7, 1.0]), st.booleans()), min_size=2, max_size=60
).filter(lambda rows: len({failure for _, failure in rows}) == 2)


@settings(max_examples=8, deadline=None)
@given(scores_and_failures)
def test_curves_carry_the_metrics_of_the_evaluation(rows: list[tuple[float, bool]]) -> None:
    u, y = map(np.array, zip(*rows, strict=True))
    metrics = failure_metrics(u, y)
    figure = matplotlib.figure.Figure()
    roc = ROCDisplay.from_scores(u, y, ax=figure.subplots())
    assert roc.auc == pytest.approx(metrics["auc"])
    assert roc.fpr95 == metrics["fpr95"]
    risk = RiskCoverageDisplay.from_scores(u, y, ax=figure.subplots())
    assert risk.aurc == pytest.approx(metrics["aurc"])
    curve = risk_coverage_curve(u, y)
    np.testing.assert_allclose(risk.line_.get_xydata(), np.stack([curve.coverage, curve.risk], 1))
    bins = ReliabilityDisplay.from_scores(u, y, ax=figure.subplots())
    assert bins.ece == expected_calibration_error(u, y)
    assert (bins.low <= bins.observed).all()
    assert (bins.observed <= bins.high).all()
    both = ScoreDistributionDisplay.from_scores(u, y, probability=True, ax=figure.subplots())
    assert both.right.sum() == pytest.approx(1)
    assert both.wrong.sum() == pytest.approx(1)


def test_novelty_is_drawn_as_it_is_measured(drawn: SimpleNamespace) -> None:
    z_img, z_txt, labels = with_none(drawn.data)
    display = NoveltyDisplay.from_estimator(MCM, z_img, z_txt, labels, bins=7)
    assert display.auc == evaluate(MCM, z_img, z_txt, labels)["novelty_auc"]
    novelty = MCM.novelty(z_img, z_txt)
    for shares, rows in ((display.right, labels != -1), (display.wrong, labels == -1)):
        np.testing.assert_allclose(shares, np.histogram(novelty[rows], display.edges)[0] / rows.sum())
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["images of the candidates", "images of none"]
    for wrong, message in (
        ((novelty[:3], labels == -1), "novelty has 3 rows and unknown has 640"),
        ((novelty, labels), "unknown must be boolean or 0/1 .1 = the image shows none of the candidates"),
        ((novelty, np.zeros(640)), "images of none, which are labelled -1"),
    ):
        with pytest.raises(ValueError, match=message):
            NoveltyDisplay.from_scores(*wrong)


def test_the_point_of_95_percent_lies_on_the_curve(drawn: SimpleNamespace) -> None:
    display = ROCDisplay.from_scores(drawn.decision, drawn.failure)
    (x,), (y,) = display.point_.get_data()
    assert y == 0.95
    # Between the curve's values at x, since the curve can rise steeply there.
    wrong, right = display.line_.get_data()
    assert right[wrong <= x].max() >= 0.95 - 1 / (~drawn.failure).sum()
    assert right[wrong >= x].min() <= 0.95 + 1 / (~drawn.failure).sum()


def test_intervals_are_those_of_scipy() -> None:
    wrong, n = np.array([0, 3, 7, 20]), np.array([5, 10, 7, 200])
    exact = [binomtest(int(k), int(m)).proportion_ci(method="exact") for k, m in zip(wrong, n, strict=True)]
    np.testing.assert_allclose(
        np.stack(rate_interval(wrong, n, 0.95), 1), [[ci.low, ci.high] for ci in exact]
    )


def test_reliability_of_a_true_probability_covers_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=20_000)
    display = ReliabilityDisplay.from_scores(p, rng.uniform(size=len(p)) < p, n_bins=20)
    assert len(display.mean_uncertainty) == 20
    inside = (display.low <= display.mean_uncertainty) & (display.mean_uncertainty <= display.high)
    assert inside.sum() >= 17  # 95 % each: fewer than 17 of 20 happen in 2 of 1000 draws


def test_certified_point(drawn: SimpleNamespace) -> None:
    threshold = np.quantile(drawn.decision, 0.4)
    display = RiskCoverageDisplay.from_scores(drawn.decision, drawn.failure, threshold=threshold, bound=0.3)
    kept = drawn.decision < threshold
    assert display.certified == (kept.mean(), drawn.failure[kept].mean(), 0.3)
    point, way = display.certified_
    assert RiskCoverageDisplay.from_scores([0.1], [0], threshold=-np.inf, bound=np.nan).certified is None
    assert (*point.get_xdata(), *point.get_ydata()) == display.certified[:2]
    assert way.get_ydata().max() == 0.3
    np.testing.assert_allclose(
        np.interp(point.get_xdata(), *display.line_.get_data()), point.get_ydata(), atol=1e-9
    )


def test_a_selective_predictor_brings_its_promise(drawn: SimpleNamespace) -> None:
    images, text, labels = drawn.data
    selective = SelectivePredictor(MCM, target_risk=0.2)
    with pytest.raises(NotFittedError):
        RiskCoverageDisplay.from_estimator(selective, *drawn.data)
    selective.fit(images[:320], text, labels[:320])
    display = RiskCoverageDisplay.from_estimator(selective, images[320:], text, labels[320:])
    accepted = selective.accept(images[320:], text)
    assert display.certified == (accepted.mean(), drawn.failure[320:][accepted].mean(), 0.2)
    assert display.aurc == evaluate(MCM, images[320:], text, labels[320:])["aurc"]
    with pytest.raises(ValueError, match="a threshold for each group"):
        RiskCoverageDisplay.from_estimator(selective.fit(*drawn.data, groups=drawn.labels), *drawn.data)


def test_no_curve_leaves_the_axes_for_another(drawn: SimpleNamespace) -> None:
    ax = RiskCoverageDisplay.from_scores(drawn.decision, np.zeros(640)).ax_
    assert ax.get_ylim() == (0, 1)
    worse = RiskCoverageDisplay.from_scores(-drawn.decision, drawn.failure, ax=ax)
    assert ax.get_ylim()[1] > worse.risk[worse.coverage >= 0.1].max()


def test_classes_count_every_prediction_once(drawn: SimpleNamespace) -> None:
    for classes in (drawn.labels, drawn.predicted):
        display = ClassFailureDisplay.from_scores(
            drawn.probability, drawn.failure, classes, probability=True, top=3
        )
        assert display.n.sum() == len(drawn.failure)
        assert display.wrong.sum() == drawn.failure.sum()
        assert (np.diff(display.wrong / display.n) <= 0).all()
        assert display.n @ display.mean_uncertainty == pytest.approx(drawn.probability.sum())
        assert len(display.bars_) == 3


def test_confusions_are_the_off_diagonal_of_the_confusion_matrix(drawn: SimpleNamespace) -> None:
    display = ConfusionDisplay.from_scores(drawn.decision, drawn.labels, drawn.predicted)
    counts = np.zeros((6, 6), int)
    np.add.at(counts, (drawn.labels, drawn.predicted), 1)
    np.fill_diagonal(counts, 0)
    shown = np.zeros_like(counts)
    shown[tuple(display.pairs.T)] = display.flagged + display.missed
    np.testing.assert_array_equal(shown, counts)
    assert display.flagged.sum() == (drawn.failure & (drawn.decision > display.threshold)).sum()
    assert (drawn.decision[~drawn.failure] <= display.threshold).mean() >= 0.95
    # The most frequent first, however few of them are caught.
    assert (np.diff(display.flagged + display.missed) <= 0).all()
    through = [1.0, 1.0, 1.0, 9.0, 9.0, 0.0], [0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 1]
    one = ConfusionDisplay.from_scores(*through, threshold=5.0)
    assert one.pairs.tolist() == [[0, 1], [1, 0]]
    assert (one.flagged.tolist(), one.missed.tolist()) == ([0, 2], [3, 0])


# --- sweeps ----------------------------------------------------------------------------------------


def test_all_candidates_is_the_evaluation(drawn: SimpleNamespace) -> None:
    display = CandidatesDisplay.from_estimator(MCM, *drawn.data, sizes=[2, 6])
    np.testing.assert_allclose(display.auc[-1], evaluate(MCM, *drawn.data)["auc"])
    assert np.ptp(display.auc[0]) > 0


def test_a_scorer_that_does_not_learn_is_a_level_line(drawn: SimpleNamespace) -> None:
    images, text, labels = drawn.data
    test = (images[320:], text, labels[320:])
    display = LearningCurveDisplay.from_estimator(MCM, images[:320], text, labels[:320], test=test)
    np.testing.assert_allclose(display.auc, evaluate(MCM, *test)["auc"])
    assert display.line_.get_marker() == "none"
    assert display.band_ is None


def test_learning_from_all_labels_does_not_depend_on_the_draw(drawn: SimpleNamespace) -> None:
    scorer = RelUScorer(logit_scale=5)
    display = LearningCurveDisplay.from_estimator(
        scorer, *drawn.data, test=drawn.data, sizes=[40, 640], n_draws=3
    )
    assert np.ptp(display.auc[0]) > 0
    assert np.ptp(display.auc[1]) == 0
    assert not hasattr(scorer, "n_features_in_")


def test_what_cannot_be_scored_leaves_a_gap(drawn: SimpleNamespace) -> None:
    scorer = RelUScorer(logit_scale=5).fit(*drawn.data)
    with pytest.warns(FitFailedWarning, match="no AUC with 3"):
        display = CandidatesDisplay.from_estimator(scorer, *drawn.data, sizes=[3, 6], n_draws=1)
    assert display.line_.get_xdata().tolist() == [6]
    assert display.auc[1, 0] == pytest.approx(evaluate(scorer, *drawn.data)["auc"])


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_pictures_of_sets_count_what_the_sets_hold(method: Any, toy: SimpleNamespace) -> None:
    labels = np.where(np.arange(len(toy.labels)) % 11, toy.labels, -1)
    half = len(labels) // 2
    sets = SetPredictor(MCM, 0.7, method=method).fit(toy.z_img[:half], toy.z_txt, labels[:half])
    data = (toy.z_img[half:], toy.z_txt, labels[half:])
    members, truth = sets.predict_sets(*data[:2]), labels[half:]
    inside = members[np.arange(len(truth)), truth] & (truth >= 0)
    sizes = SetSizeDisplay.from_estimator(sets, *data)
    assert sizes.n.sum() == len(truth)
    assert sizes.inside.sum() == inside.sum()
    for first, last, n in zip(sizes.first, sizes.last, sizes.n, strict=True):
        assert ((members.sum(axis=1) >= first) & (members.sum(axis=1) <= last)).sum() == n
    classes = SetClassDisplay.from_estimator(sets, *data, top=None)
    for index, n, lacking in zip(classes.classes, classes.n, classes.wrong, strict=True):
        assert (n, lacking) == ((truth == index).sum(), (~inside[truth == index]).sum())
    curve = SetCurveDisplay.from_estimator(MCM, *data, method=method)
    assert (np.diff(curve.coverage) > 0).all()
    assert (np.diff(curve.size) > 0).all()
    # With the threshold that these images give, sets are those of the curve.
    found = SetPredictor(MCM, 0.7, method=method).fit(*data).report_
    at = np.searchsorted(curve.coverage, found.observed_coverage)
    assert abs(curve.coverage[at] - found.observed_coverage) < 0.01
    assert curve.size[at] == pytest.approx(found.mean_size, rel=0.05)


def test_caption_tasks() -> None:
    rng = np.random.default_rng(0)
    text = rng.normal(size=(64, 16))
    images = text + 2 * rng.normal(size=(64, 16))
    display = CandidatesDisplay.from_estimator(MCM, images, text, sizes=[8, 64], n_draws=2)
    np.testing.assert_allclose(display.auc[-1], evaluate(MCM, images, text)["auc"])
    assert ROCDisplay.from_estimator(MCM, images, text, batch_size=16).auc == pytest.approx(
        evaluate(MCM, images, text, batch_size=16)["auc"]
    )
    for cls in (ClassFailureDisplay, ConfusionDisplay):
        with pytest.raises(ValueError, match="caption task has no classes"):
            cls.from_estimator(MCM, images, text)


# --- the contract of scikit-learn's displays -------------------------------------------------------


def test_estimators_and_scores_draw_the_same(drawn: SimpleNamespace) -> None:
    for cls, u in zip(CURVES, (drawn.decision, drawn.decision, drawn.probability), strict=True):
        one = cls.from_estimator(MCM, *drawn.data)
        other = cls.from_scores(u, drawn.failure, name="MCMScorer")
        line_of_one, line_of_other = one.ax_.lines[-1], other.ax_.lines[-1]
        np.testing.assert_array_equal(line_of_one.get_xydata(), line_of_other.get_xydata())


def test_displays_are_redrawn_where_they_are_told(toy: SimpleNamespace) -> None:
    for display in every_display(toy):
        first = display.ax_
        ax = plt.figure().subplots()
        assert display.plot(ax) is display
        assert display.ax_ is ax is not first
        assert display.figure_ is ax.figure
        assert ax.get_xlabel()
        assert len(first.patches) == len(ax.patches)
        plt.close("all")


@pytest.mark.parametrize("cls", CURVES)
def test_several_scorers_look_different_on_one_axes(cls: Any, drawn: SimpleNamespace) -> None:
    ax = None
    for number in range(5):
        ax = cls.from_scores(drawn.probability ** (1 + number), drawn.failure, name=f"{number}", ax=ax).ax_
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [text[0] for text in texts] == list("01234")
    handles = [getattr(handle, "lines", [handle])[0] for handle in ax.get_legend_handles_labels()[0]]
    assert len({handle.get_color() for handle in handles}) == 5
    assert len({str(handle._dash_pattern) for handle in handles}) == 5


def test_line_style_can_be_chosen(drawn: SimpleNamespace) -> None:
    display = ROCDisplay.from_scores(drawn.decision, drawn.failure, color="red", linewidth=3)
    assert display.line_.get_color() == "red"
    assert display.line_.get_linewidth() == 3


# --- readable --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("a scorer with quite a long name", [f"a class with a rather long name {k}" for k in range(6)]),
        ("costs $5_{ or $6", ["$x^{$", "<b>", "a_b", "\\alpha", "100 %", "$5 and $6"]),
    ],
)
def test_half_a_column_holds_everything(toy: SimpleNamespace, name: str, names: Any) -> None:
    for display in every_display(toy, name, names):
        figure, ax = display.figure_, display.ax_
        figure.canvas.draw()
        assert figure.get_figwidth() == 3.3
        legend = ax.get_legend().get_window_extent()
        assert legend.y0 >= ax.get_window_extent().y1
        everything = figure.get_tightbbox()  # inches
        assert everything.x0 >= -0.01
        assert everything.y0 >= -0.01
        assert everything.x1 <= figure.get_figwidth() + 0.01
        assert everything.y1 <= figure.get_figheight() + 0.01
        plt.close(figure)


# --- refusals and the extra ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: ROCDisplay.from_scores([0.1, 0.2], [0, 0]), "needs right and wrong predictions"),
        (lambda: ReliabilityDisplay.from_scores([0.1, 1.2], [0, 1]), r"must lie in \[0, 1\]"),
        (
            lambda: ReliabilityDisplay.from_scores([0.1, 0.2], [0, 1], n_bins=0),
            "n_bins must be an integer of at least 1",
        ),
        (
            lambda: ScoreDistributionDisplay.from_scores([0.1], [0], bins=1.5),
            "bins must be an integer of at least 1",
        ),
        (lambda: RiskCoverageDisplay.from_scores([0.1], [0], threshold=1.0), "belong together"),
        (lambda: ClassFailureDisplay.from_scores([0.1], [0], [0.5]), "classes must be class numbers"),
        (lambda: ClassFailureDisplay.from_scores([0.1], [0], [0, 1]), "classes has 2 entries"),
        (lambda: ClassFailureDisplay.from_scores([0.1], [0], [1], class_names=["a"]), "holds class 1"),
        (
            lambda: ClassFailureDisplay.from_scores([0.1], [0], [0], top=0),
            "top must be an integer of at least 1",
        ),
        (lambda: ConfusionDisplay.from_scores([0.1], [0], [0]), "All predictions are right"),
        (lambda: ConfusionDisplay.from_scores([0.1], [0], [1]), "All predictions are wrong"),
        (lambda: LearningCurveDisplay(sizes=[1, 2], auc=[[0.5]]), "auc must have a row for each"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": [1]}, "sizes must be"),
        ({"sizes": [700]}, "sizes must be"),
        ({"n_draws": 0}, "n_draws must"),
    ],
)
@pytest.mark.parametrize("cls", [LearningCurveDisplay, CandidatesDisplay])
def test_sweeps_out_of_range_are_refused(
    cls: Any, options: dict[str, Any], message: str, drawn: SimpleNamespace
) -> None:
    if cls is LearningCurveDisplay:
        options = options | {"test": drawn.data}
    with pytest.raises(ValueError, match=message):
        cls.from_estimator(MCM, *drawn.data, **options)


def test_what_is_no_probability_has_no_reliability(drawn: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="DoctorScorer is no probability of failure"):
        ReliabilityDisplay.from_estimator(DoctorScorer(), *drawn.data)
    with pytest.raises(ValueError, match='by must be "true" or "predicted"'):
        ClassFailureDisplay.from_estimator(MCM, *drawn.data, by="guess")


def test_matplotlib_is_imported_when_it_draws_and_named_when_it_is_missing() -> None:
    code = """
import sys
import vilu_sdk, vilu_sdk.cli, vilu_sdk.displays, vilu_sdk.evaluation
assert "matplotlib" not in sys.modules
sys.modules["matplotlib"] = None
try:
    vilu_sdk.displays.ROCDisplay.from_scores([0, 1], [0, 1])
except ImportError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == 'Pictures need matplotlib: pip install "vilu-sdk[plot]"\n'


def test_classes_may_be_named(toy):
    names = ["a", "007", "c", "d", "e", "f"]
    mcm = MCMScorer(logit_scale=5)
    z_txt = dict(zip(names, toy.z_txt, strict=True))
    u, predicted = mcm.decision_function(toy.z_img, z_txt), mcm.predict(toy.z_img, z_txt)
    words = [names[label] for label in toy.labels]
    for known in (toy.labels, words):
        display = ConfusionDisplay.from_estimator(mcm, toy.z_img, z_txt, known)
        assert display.class_names == names
        scored = ConfusionDisplay.from_scores(u, known, [names[row] for row in predicted], class_names=names)
        np.testing.assert_array_equal(scored.pairs, display.pairs)
        classes = ClassFailureDisplay.from_estimator(mcm, toy.z_img, z_txt, known)
        assert classes.class_names == names
        found = ClassFailureDisplay.from_scores(u, predicted != toy.labels, known, class_names=names)
        np.testing.assert_array_equal(found.classes, classes.classes)
    with pytest.raises(ValueError, match="'7' in row 0, which is not in class_names"):
        ClassFailureDisplay.from_scores([0.1, 0.2], [0, 1], ["7", "a"], class_names=names)
