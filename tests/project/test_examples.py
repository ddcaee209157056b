"""Each example on the demo's data: what it promises holds, and what it prints is what it returns."""

import doctest
import io
import re
import runpy
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from support.paths import DOCS, EXAMPLES, ROOT
from vilu_sdk import ViLUEstimator
from vilu_sdk.datasets import DigitsVLM

PAGE = (DOCS / "examples.md").read_text(encoding="utf-8")
SHOWN = re.findall(
    r"<!-- run by tests/project/test_examples.py -->\n```console\n\$ python examples/(\w+)\.py\n(.*?)```",
    PAGE,
    re.DOTALL,
)


def load(name: str) -> dict:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@cache
def printed(name: str) -> str:
    """What `python examples/NAME.py` prints."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        run(name, patch)
    return out.getvalue()


def run(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


@pytest.fixture(scope="module")
def whole(digits: DigitsVLM) -> tuple:
    """All 1,597 digits: images, texts, labels, logit scale."""
    images = np.concatenate([digits.z_img_fit, digits.z_img_test])
    labels = np.concatenate([digits.labels_fit, digits.labels_test])
    return images, digits.z_txt, labels, digits.logit_scale


@pytest.fixture
def files(whole: tuple, tmp_path: Path) -> list[str]:
    """The same as files, but for the scale."""
    paths = [tmp_path / f"{name}.npy" for name in ("z_img", "z_txt", "labels")]
    for path, array in zip(paths, whole, strict=False):
        np.save(path, array)
    return [str(path) for path in paths]


@pytest.mark.parametrize(("name", "shown"), SHOWN, ids=[name for name, _ in SHOWN])
def test_docs_examples_md_shows_what_they_print(name: str, shown: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    # The line under a heading of seconds is as long as they are many.
    expected, found = (re.sub(r"----+", "----", text) for text in (shown, printed(name)))
    assert doctest.OutputChecker().check_output(expected, found, flags), printed(name)


def test_the_page_has_a_row_for_every_example() -> None:
    assert sorted(re.findall(r"^\| `(\w+)\.py` \|", PAGE, re.MULTILINE)) == sorted(
        p.stem for p in EXAMPLES.glob("*.py")
    )
    assert len(SHOWN) == PAGE.count("run by tests/project/test_examples.py -->\n```console") > 5
    assert all(PAGE.count(f"\nexamples/{path.name}\n") == 1 for path in EXAMPLES.glob("*.py"))


def test_quickstart() -> None:
    out = printed("quickstart")
    assert "799 rows scored" in out
    assert out.count("predicted") == 5
    assert out.endswith("the same after saving and loading: True\n")


def test_grid_search() -> None:
    lines = printed("grid_search").splitlines()
    assert [line.split()[0] for line in lines[:6]] == 4 * ["MCM"] + 2 * ["ViLU"]
    assert sum(line.endswith("<- best") for line in lines) == 2
    wrong, right = (float(part.split()[-1]) for part in lines[-1].split(","))
    assert wrong > 2 * right


def test_zero_shot_abstention(whole: tuple, files: list[str], capsys, monkeypatch) -> None:
    results = load("zero_shot_abstention")["main"](*whole)
    assert capsys.readouterr().out == printed("zero_shot_abstention")
    for (_, rule), (coverage, risk) in results.items():
        if "promised" in rule:
            assert risk <= 0.05
        if "80 %" in rule:
            assert coverage == pytest.approx(0.8, abs=0.05)
    rules = {rule for _, rule in results}
    assert all(results["ViLU", rule][1] < 0.05 for rule in rules)
    promised = next(rule for rule in rules if "promised" in rule)
    assert results["ViLU", promised][0] > results["MCM", promised][0]
    # Files give the same.
    run("zero_shot_abstention", monkeypatch, "--files", *files, "--logit-scale", str(whole[3]))
    assert capsys.readouterr().out == printed("zero_shot_abstention")


def test_caption_retrieval() -> None:
    lines = printed("caption_retrieval").splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line.startswith(("MCM", "ViLU"))}
    auc = {name: float(row[1].rstrip("*")) for name, row in rows.items()}
    assert auc["ViLU"] > auc["MCM"] + 2
    sure, unsure = (float(part.split()[-2]) for part in lines[-1].split(","))
    assert sure < unsure / 4
    # The second caption is never the first, and both lie in the gallery of ten.
    table = [line.split() for line in lines[-5:-2]]
    assert all(first != second for _, first, _, second in table)
    assert all(0 <= int(k) < 10 for _, first, _, second in table for k in (first, second))


def test_image_moderation(whole: tuple, capsys) -> None:
    policy, results = load("image_moderation")["main"](*whole, [0, 6, 8])
    assert set(results) == {"allow", "block"}
    assert all(share > 0.1 and risk <= 0.05 for share, risk in results.values())
    assert policy.report_.risk_bound <= 0.05
    out = capsys.readouterr().out
    assert "Today: No sign that these 480 images differ" in out
    assert "to be blocked: These 141 images are not like the calibration set" in out


def test_compare_scorers(digits: DigitsVLM, capsys) -> None:
    data = digits.z_img_test, digits.z_txt, digits.labels_test, digits.logit_scale
    table, folds = load("compare_scorers")["main"](*data)
    rows = {row["scorer"]: row for row in table.to_dicts()}
    assert list(rows) == ["margin", "MCM", "entropy", "ViLU"]
    assert rows["ViLU"]["auc_difference_low"] > 0.02
    # With one scale the margin is what MCM looks at first.
    assert np.corrcoef(table.scores["margin"], table.scores["MCM"])[0, 1] > 0.9
    assert folds["MCM"]["auc"] == pytest.approx(rows["MCM"]["auc"], abs=0.03)
    assert folds["ViLU"]["auc"] > folds["MCM"]["auc"] > folds["entropy"]["auc"]
    assert "not distinguishable from margin" in capsys.readouterr().out


def test_adapt_pretrained_head(digits: DigitsVLM, capsys) -> None:
    known = digits.labels_fit < 5
    head = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    head.fit(digits.z_img_fit[known], digits.z_txt[:5], digits.labels_fit[known])
    before = head.decision_function(digits.z_img_test, digits.z_txt)
    main = load("adapt_pretrained_head")["main"]
    tables = [
        main(head, digits.z_img_test, digits.z_txt, digits.labels_test, random_state=s) for s in range(3)
    ]
    np.testing.assert_array_equal(head.decision_function(digits.z_img_test, digits.z_txt), before)
    rows = [{row["scorer"]: row for row in table.to_dicts()} for table in tables]

    def mean(name: str, metric: str) -> float:
        return float(np.mean([row[name][metric] for row in rows]))

    assert all(table.failure.shape == (749,) for table in tables)  # never the images adapted to
    assert mean("head, adapted", "auc") > mean("MCM", "auc") + 0.02
    assert mean("head, adapted", "auc") >= mean("head", "auc") - 0.005
    assert mean("head, adapted", "ece") < mean("MCM", "ece") / 2


def test_adapt_takes_the_bundled_head(tmp_path: Path, capsys, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(3, 512)).astype(np.float32)
    labels = np.arange(90) % 3
    z_img = z_txt[labels] + 15 * rng.normal(size=(90, 512)).astype(np.float32)
    arrays = {"z_img": z_img, "z_txt": z_txt, "labels": labels}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    with pytest.warns(UserWarning, match="embeddings of another model"):
        run(
            "adapt_pretrained_head",
            monkeypatch,
            "--files",
            *(str(tmp_path / f"{name}.npy") for name in arrays),
        )
    assert "75 rows scored" in capsys.readouterr().out


def test_active_learning() -> None:
    lines = printed("active_learning").splitlines()
    table = {line[:17].strip(): [float(value) for value in line[17:].split()] for line in lines[1:4]}
    assert len({auc[0] for auc in table.values()}) == 1  # the same start
    found = table.pop("nearest one half")[-1], table["most uncertain"][-1]
    assert min(found) > 2 * table["random"][-1]
    assert "better in 5 of 5 seeds" in lines[-1]


def test_the_sdk_imports_no_vision_language_model() -> None:
    sources = (ROOT / "vilu_sdk").rglob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    assert not [name for name in ("open_clip", "transformers", "torchvision") if f"import {name}" in text]
