"""Data with nothing to tell, and names of any kind: something true is drawn, or one sentence says why not."""

import re
import warnings
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt

from vilu_sdk import EntropyScorer, MCMScorer, TemperatureScaledMCMScorer, displays
from vilu_sdk.displays import (
    CandidatesDisplay,
    LearningCurveDisplay,
    MetricCoverageDisplay,
    ReliabilityOverAccuracyDisplay,
    ROCDisplay,
    ScoreDistributionDisplay,
)
from vilu_sdk.evaluation import compare
from vilu_sdk.exceptions import ViLUWarning
from vilu_sdk.report import report
from vilu_sdk.selective import (
    CostPredictor,
    CoveragePredictor,
    SelectivePredictor,
    SetPredictor,
    ShiftMonitor,
)

matplotlib.use("Agg")
pytestmark = [
    pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.ViLUWarning"),
    pytest.mark.filterwarnings("ignore:Glyph .* missing from font"),
]

MCM = MCMScorer(logit_scale=5)
# The others draw no images.
DISPLAYS = [cls for name in displays.__all__ if hasattr(cls := getattr(displays, name), "from_estimator")]
REASONS = [
    r"All predictions are right: there is no confusion to show\.",
    r"All predictions are wrong: no threshold accepts right ones, so pass one\.",
    r"failure is the same in all \d+ rows; a ROC curve needs right and wrong predictions\.",
    r"unknown is the same in all \d+ rows; a picture of novelty needs images of the candidates and .*",
    r"There is no AUC to draw: wherever something was scored, all predictions are right or all are wrong\.",
    r"A curve over the number of (candidates|labelled images) needs at least 2, got 1\.",
    r"\w+ compares candidates and needs at least 2, but z_txt_set has 1; .*",
]
NAMES = {
    "odd": ["$a$ $", "_b", "猫 🐈", "<script>alert(1)</script>", "", "x" * 300],
    "equal": ["crane", "crane", "a", "a", "", ""],
    "lines": ["a\nb", "\t", "a\r\n", "%", "\\frac", "{}"],
}


@pytest.fixture(autouse=True)
def _close() -> Any:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def sets(toy: SimpleNamespace) -> dict[str, tuple[Any, Any, Any]]:
    """Images, candidates and labels of which little can be said."""
    z_img, z_txt, labels = toy.z_img[:60], toy.z_txt, toy.labels[:60]
    predicted = MCM.predict(z_img, z_txt)
    same = np.repeat(z_img[:1], 30, 0)
    return {
        "all right": (z_img, z_txt, predicted),
        "all wrong": (z_img, z_txt, (predicted + 1) % len(z_txt)),
        "one right": (z_img[:1], z_txt, predicted[:1]),
        "one wrong": (z_img[:1], z_txt, (predicted[:1] + 1) % len(z_txt)),
        "two": (z_img[:2], z_txt, np.array([predicted[0], (predicted[1] + 1) % len(z_txt)])),
        "one candidate": (z_img, z_txt[:1], np.zeros(60, dtype=int)),
        "two candidates": (z_img, z_txt[:2], labels % 2),
        "the same image": (same, z_txt, labels[:30]),
        "the same image and class": (same, z_txt, np.zeros(30, dtype=int)),
        "the same candidate": (z_img, np.repeat(z_txt[:1], 6, 0), labels),
        "one class": (z_img, z_txt, np.zeros(60, dtype=int)),
    }


SETS = [
    "all right", "all wrong", "one right", "one wrong", "two", "one candidate", "two candidates",
    "the same image", "the same image and class", "the same candidate", "one class",
]  # fmt: skip


def draw(
    cls: Any, data: tuple[Any, Any, Any], scorer: Any = MCM, with_none: bool = False, **options: Any
) -> Any:
    if cls is LearningCurveDisplay:
        options |= {"test": data, "n_draws": 1, "sizes": None}
    if cls is CandidatesDisplay:
        options |= {"n_draws": 1}
    if cls in (displays.SetSizeDisplay, displays.SetClassDisplay):
        scorer = SetPredictor(scorer).fit(*data)
    if with_none:
        data = (*data[:2], np.where(np.arange(len(data[2])) < 5, -1, data[2]))
    if cls is ReliabilityOverAccuracyDisplay:
        data = ({"a": data, "b": data},)
    display = cls.from_estimator(scorer, *data, **options)
    display.figure_.canvas.draw()
    return display


@pytest.mark.parametrize("which", SETS)
@pytest.mark.parametrize("cls", DISPLAYS)
@pytest.mark.parametrize("scorer", [MCM, EntropyScorer()])
def test_every_display_draws_or_says_in_one_sentence_why_not(
    cls: Any, which: str, scorer: Any, sets: dict[str, Any]
) -> None:
    if cls is LearningCurveDisplay and scorer is MCM:
        scorer = TemperatureScaledMCMScorer()
    said = None
    try:
        draw(cls, sets[which], scorer)
    except ValueError as error:
        said = str(error)
    if said is not None:
        probable = [] if scorer.is_probability else [r".* is no probability of failure, .*"]
        assert any(re.fullmatch(reason, said) for reason in REASONS + probable), said
        assert not plt.get_fignums()  # and leaves no empty picture


def test_what_can_be_said_of_degenerate_data_is_drawn(sets: dict[str, Any]) -> None:
    """Refusing everything would pass the test above."""
    for which in set(SETS) - {"one candidate"}:
        for cls in (displays.RiskCoverageDisplay, displays.ClassFailureDisplay, ScoreDistributionDisplay):
            plt.close(draw(cls, sets[which]).figure_)
    for cls in DISPLAYS:
        draw(cls, sets["two candidates"], with_none=cls is displays.NoveltyDisplay)


@pytest.mark.parametrize("which", SETS)
def test_tables_reports_and_promises_of_degenerate_data(
    which: str, sets: dict[str, Any], tmp_path: Any
) -> None:
    data = sets[which]
    scorers = {"a": MCM, "b": EntropyScorer()}
    calls = {
        "table": lambda: compare(scorers, *data, fit=False, reference="a"),
        "report": lambda: report(scorers, *data, tmp_path / "page.html"),
        "coverage": lambda: CoveragePredictor(MCM, 0.5).fit(*data).accept(*data[:2]),
        "risk": lambda: SelectivePredictor(MCM, 0.1).fit(*data).accept(*data[:2]),
        "per class": lambda: SelectivePredictor(MCM, 0.1, per_class=True).fit(*data).accept(*data[:2]),
        "cost": lambda: CostPredictor(MCM, 5.0).fit(*data).accept(*data[:2]),
        "shift": lambda: ShiftMonitor(MCM, random_state=0).fit(*data[:2]).check(data[0]),
    }
    if which in ("one right", "the same image and class", "the same candidate", "one class", "two"):
        del calls["report"]  # which takes a second each
    for name, call in calls.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            warnings.simplefilter("ignore", ViLUWarning)  # some are RuntimeWarnings too
            if which == "one candidate" and name != "table":
                with pytest.raises(ValueError, match=r"needs at least 2|No scorer could score"):
                    call()
                continue
            result = call()
            assert str(result), name
            if name == "table":
                assert result.to_markdown()
                assert result.to_html()


# --- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", DISPLAYS)
@pytest.mark.parametrize("name", ["_x", "a$b$", "", " ", "a" * 80, "<b>", "\\alpha", "猫\nb"])
def test_names_of_scorers_stand_in_the_legend(cls: Any, name: str, toy: SimpleNamespace) -> None:
    data = (toy.z_img, toy.z_txt, toy.labels)
    display = draw(cls, data, with_none=cls is displays.NoveltyDisplay, name=name)
    assert display.name == name
    legend = display.ax_.get_legend()
    unnamed = (LearningCurveDisplay, CandidatesDisplay, ReliabilityOverAccuracyDisplay, MetricCoverageDisplay)
    if cls in unnamed and not name.strip():
        assert legend is None
        return
    texts = [text.get_text() for text in [legend.get_title(), *legend.get_texts()]]
    shown = " ".join(name.split())
    assert any(shown[:15] in text for text in texts)
    assert not any(text.startswith((" ", "\N{ZERO WIDTH SPACE}")) for text in texts)
    assert not any(text.get_parse_math() for text in legend.get_texts())


def test_each_curve_of_an_axes_keeps_its_entry(toy: SimpleNamespace) -> None:
    ax, names = None, ["_a", "b", "_c", "$d"]
    for name in names:
        ax = ROCDisplay.from_estimator(MCM, toy.z_img, toy.z_txt, toy.labels, name=name, ax=ax).ax_
    assert [text.get_text().split()[0] for text in ax.get_legend().get_texts()] == names
    assert len({line.get_color() for line in ax.get_legend().get_lines()}) == len(names)


@pytest.mark.parametrize("names", NAMES)
def test_classes_of_any_name_are_drawn_and_told_apart(
    names: str, toy: SimpleNamespace, tmp_path: Any
) -> None:
    data = (toy.z_img, toy.z_txt, toy.labels)
    display = draw(displays.ClassFailureDisplay, data, class_names=NAMES[names])
    shown = [tick.get_text() for tick in display.ax_.get_yticklabels()]
    assert len(set(shown)) == len(shown) == 6
    assert not any("\n" in text for text in shown)
    display = draw(displays.ConfusionDisplay, data, class_names=NAMES[names])
    pairs = [tick.get_text().split(" → ") for tick in display.ax_.get_yticklabels()]
    assert all(true != guess for true, guess in pairs)
    report(MCM, *data, tmp_path / "page.html", class_names=NAMES[names])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page


@pytest.mark.parametrize("value", [0.0, -3e5, 0.1, 1e17])
def test_values_that_differ_by_rounding_have_a_histogram(value: float) -> None:
    u = np.array([value, np.nextafter(value, 1e18), value])
    display = ScoreDistributionDisplay.from_scores(u, [0, 1, 1])
    assert display.right.sum() == display.wrong.sum() == 1
