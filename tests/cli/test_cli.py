import re
from pathlib import Path

import numpy as np
import pytest

import vilu_sdk
from support.all_scorers import CLASSES
from vilu_sdk import (
    CalibratedScorer,
    EnergyScorer,
    MahalanobisScorer,
    MaxLogitScorer,
    MCMScorer,
    NegLabelScorer,
    NeighbourScorer,
    PaperRecipe,
    ViLUEstimator,
    cli,
)
from vilu_sdk.cli import _demo as demo
from vilu_sdk.datasets import DigitsVLM

FOR_UNKNOWN = EnergyScorer, MahalanobisScorer, MaxLogitScorer, NegLabelScorer, NeighbourScorer


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch, digits: DigitsVLM, tmp_path: Path) -> None:
    """Two quick scorers, the data set of the session and a folder to write into."""
    monkeypatch.chdir(tmp_path)
    quick = {"MCM": MCMScorer(), "ViLU": ViLUEstimator(PaperRecipe(epochs=2), random_state=0)}
    monkeypatch.setattr(demo, "scorers", lambda *_: quick)
    monkeypatch.setattr(demo, "load_digits_vlm", lambda _: digits)
    monkeypatch.setattr(vilu_sdk.compute.progress, "_enabled", True)


def test_every_exported_scorer_is_in_the_demo_with_the_scale_and_the_seed() -> None:
    shown = demo.scorers(14.0, random_state=3)
    # One is not a method but goes around one, and others ask for images of no candidate.
    methods = set(CLASSES) - {CalibratedScorer, *FOR_UNKNOWN}
    assert {type(scorer) for scorer in shown.values()} == methods
    assert demo.SHOWN in shown
    for scorer in shown.values():
        parameters = scorer.get_params()
        assert parameters.get("logit_scale", 14.0) == 14.0
        assert parameters.get("random_state", 3) == 3


@pytest.mark.usefixtures("fast")
def test_chapters_come_in_order() -> None:
    chapters = [chapter for chapter, _ in demo.chapters(report_path="page.html")]
    assert chapters == ["data", "fit", "fit", "table", "examples", "report", "next"]
    assert set(demo.TITLES) <= set(chapters)
    assert [path.name for path in Path().iterdir()] == ["page.html"]


@pytest.mark.usefixtures("fast")
def test_demo_tells_the_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for part in ("1797 real handwritten digits", "AUC %", "Most certain", "uncertainty", "ViLUEstimator("):
        assert part in out
    assert "nan" not in out
    assert re.search(r"^ViLU +\d", out, re.MULTILINE)
    assert f"    {Path(demo.REPORT).resolve()}\n" in out
    assert Path(demo.REPORT).is_file()


@pytest.mark.usefixtures("fast")
def test_quiet_prints_the_table_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("799 rows scored")
    assert [line.split()[0] for line in lines[3:5]] == ["MCM", "ViLU"]
    assert not list(Path().iterdir())


def test_examples_are_the_extremes_and_a_mistake(digits: DigitsVLM) -> None:
    scorer = MCMScorer(logit_scale=digits.logit_scale)
    uncertainty = np.sort(scorer.predict_uncertainty(digits.z_img_test, digits.z_txt))
    text = demo.show_examples(scorer, digits)
    certain, mistake, uncertain = text.split("\n\n")
    assert f"uncertainty  {uncertainty[0]:.3f}" in certain
    assert "rank         1 of 799" in certain
    assert f"uncertainty  {uncertainty[-1]:.3f}" in uncertain
    assert "rank         799 of 799" in uncertain
    predicted, true = re.findall(r"(?:predicted|true) +(\w+)", mistake)
    assert predicted != true


def test_examples_without_a_mistake(digits: DigitsVLM) -> None:
    labels = MCMScorer().predict(digits.z_img_test, digits.z_txt)
    perfect = DigitsVLM(**{**vars(digits), "labels_test": labels})
    assert "mistake" not in demo.show_examples(MCMScorer(), perfect)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"vilu-sdk {vilu_sdk.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "command"),
        (["dmeo"], "dmeo"),
        (["demo", "--random-state", "x"], "invalid int value: 'x'"),
        (["demo", "--random-state", "-1"], "must be at least 0 and at most 4294967295, got -1"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = cli.main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("vilu")
    assert err.count("\n") == 1


def test_interrupt_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "chapters", interrupted)
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err == "vilu: interrupted; give the same command again.\n"
