"""The report: what it says, that it is whole, and that a real browser likes it."""

import base64
import hashlib
import html
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
from sklearn.exceptions import FitFailedWarning

from support.browser import CHROMIUM, Browser
from vilu_sdk import DoctorScorer, EntropyScorer, MCMScorer, RelUScorer
from vilu_sdk.cli import _demo as demo
from vilu_sdk.datasets import DigitsVLM
from vilu_sdk.evaluation import failure_metrics
from vilu_sdk.report import report
from vilu_sdk.report._thresholds import effect, usual_thresholds
from vilu_sdk.selective import SelectivePredictor

# Figures do not matter here, so rows of the fit may be judged.
pytestmark = pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.FitRowsWarning")

matplotlib.use("Agg")
HOSTILE = "<script>alert(1)</script>\"'&<b> $x_{ ]]>"


class Outline(HTMLParser):
    """Tags, ids and links of a page; complains about what is not closed."""

    VOID = ("meta", "br", "hr", "img", "input", "link")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(attribute)) is not None]


@pytest.fixture(scope="module")
def task(toy: SimpleNamespace) -> SimpleNamespace:
    """The toy problem with hostile names, and a certified threshold from its first half."""
    names = [f"{HOSTILE}{k}" for k in range(6)]
    mcm = MCMScorer(logit_scale=5)
    selective = SelectivePredictor(mcm, target_risk=0.15).fit(toy.z_img[:320], toy.z_txt, toy.labels[:320])
    test = (toy.z_img[320:], toy.z_txt, toy.labels[320:])
    scorers = {HOSTILE: mcm, "DOCTOR": DoctorScorer(logit_scale=5)}
    return SimpleNamespace(scorers=scorers, test=test, names=names, selective=selective)


@pytest.fixture(scope="module")
def page(task: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(
        task.scorers,
        *task.test,
        tmp_path_factory.mktemp("report") / "page.html",
        class_names=task.names,
        title=HOSTILE,
        focus=HOSTILE,
        reference="DOCTOR",
        selective=[task.selective],
    )


@pytest.fixture(scope="module")
def outline(page: Path) -> Outline:
    return Outline(page.read_text(encoding="utf-8"))


# --- the page as a file ----------------------------------------------------------------------------


def test_nothing_is_loaded_and_one_script_runs(page: Path, outline: Outline) -> None:
    tags = [tag for tag, _ in outline.tags]
    assert set(tags).isdisjoint({"link", "iframe", "object", "embed", "img", "form"})
    assert tags.count("script") == 1
    text = page.read_text(encoding="utf-8")
    script = text.partition("<script>")[2].partition("</script>")[0]
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [attrs["content"] for tag, attrs in outline.tags if attrs.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert policy.endswith(f"; script-src 'sha256-{checksum}'")
    assert not [name for _, attrs in outline.tags for name in attrs if name.startswith("on")]
    links = outline.values("href") + outline.values("xlink:href") + outline.values("src")
    assert links
    assert all(link.startswith("#") for link in links)


def test_names_within_the_page_are_unique_and_lead_somewhere(page: Path, outline: Outline) -> None:
    ids = outline.values("id")
    assert len(ids) == len(set(ids))
    links = outline.values("href") + outline.values("xlink:href")
    links += [f"#{name}" for name in re.findall(r"url\(#([^)]+)\)", page.read_text(encoding="utf-8"))]
    assert {link[1:] for link in links} <= set(ids)


def test_hostile_names_are_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<script") == 1
    assert "alert(1)</" not in text
    assert html.escape(HOSTILE) in text


def test_what_a_screen_reader_needs(page: Path, outline: Outline) -> None:
    assert ("html", {"lang": "en"}) in outline.tags
    pictures = [attrs for tag, attrs in outline.tags if tag == "svg"]
    assert len(pictures) == 6  # in pairs
    assert all(attrs["role"] == "img" and len(attrs["aria-label"] or "") > 20 for attrs in pictures)
    heads = [attrs for tag, attrs in outline.tags if tag == "th"]
    assert heads
    assert all(attrs.get("scope") in ("row", "col") for attrs in heads)
    assert [tag for tag, _ in outline.tags if tag in ("h1", "h2")][:2] == ["h1", "h2"]
    text = page.read_text(encoding="utf-8")
    assert text.count("<caption>") == text.count("<table")


def test_it_is_small(page: Path) -> None:
    assert page.stat().st_size < 400_000


def test_the_numbers_are_those_of_the_evaluation(page: Path, task: SimpleNamespace) -> None:
    mcm, (z_img, z_txt, labels) = task.scorers[HOSTILE], task.test
    predicted = mcm.predict(z_img, z_txt)
    metrics = failure_metrics(mcm.decision_function(z_img, z_txt), predicted != labels)
    text = page.read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert f"{100 * metrics['auc']:.2f}" in text
    assert f"<dd>{100 * metrics['accuracy']:.1f} %</dd>" in text
    accepted = task.selective.accept(z_img, z_txt)
    assert f"{accepted.sum()} ({100 * accepted.mean():.1f} %)" in text
    most = int(np.argmax(mcm.decision_function(z_img, z_txt)))
    assert f'<th scope="row">{most}</th><td>{html.escape(task.names[predicted[most]])}</td>' in text


# --- thresholds ------------------------------------------------------------------------------------


def test_thresholds_do_what_their_names_say() -> None:
    rng = np.random.default_rng(0)
    for ties in (1, 7):
        decision = rng.integers(100 * ties, size=500) / ties
        failure = rng.uniform(size=500) < decision / decision.max()
        done = {
            aim.replace("\N{NO-BREAK SPACE}", " "): effect(decision, failure, threshold)
            for aim, threshold in usual_thresholds(decision, failure).items()
        }
        assert done["keep 100 %"].kept == 500
        assert 0.8 <= done["keep 80 %"].kept / 500 < 0.83
        right = int((~failure).sum())
        assert done["keep 95 % of the right ones"].rejected <= 0.05 * right
        assert done["catch 95 % of the errors"].let_through <= 0.05 * failure.sum()
        for each in done.values():
            assert each.kept - each.let_through + each.rejected == right
            assert each.risk <= each.bound


@pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.LabelWarning")
def test_all_right_and_all_wrong(task: SimpleNamespace, tmp_path: Path) -> None:
    z_img, z_txt, _ = task.test
    mcm = MCMScorer(logit_scale=5)
    right = mcm.predict(z_img, z_txt)
    for labels in (right, (right + 1) % 6):
        with pytest.warns(UserWarning, match="All 320 predictions are"):
            path = report(mcm, z_img, z_txt, labels, tmp_path / "page.html")
        assert "What a threshold would do" in path.read_text(encoding="utf-8")


# --- what follows ----------------------------------------------------------------------------------


def first_sentence(page: Path) -> str:
    text = page.read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    (found,) = re.findall(r'<p class="first">(.*?)</p>', text)
    assert text.index(found) < text.index('class="facts"')
    return html.unescape(found)


def test_the_first_sentence_says_what_the_promise_does(page: Path, task: SimpleNamespace) -> None:
    z_img, z_txt, labels = task.test
    answer = task.selective.predict(z_img, z_txt)
    wrong = task.selective.scorer_in_use.predict(z_img, z_txt) != labels
    said = first_sentence(page)
    assert f"answer {100 * (answer >= 0).mean():.0f} % of the images" in said
    assert f"at most {100 * task.selective.report_.risk_bound:.1f} % of these answers will be wrong" in said
    assert f"people: {100 * wrong[answer < 0].mean():.0f} % of them are wrong" in said


def test_without_a_promise_it_speaks_of_hindsight(task: SimpleNamespace, tmp_path: Path) -> None:
    z_img, z_txt, labels = task.test
    mcm = task.scorers[HOSTILE]
    for rows, start in ((slice(None), "MCM can answer"), (labels != mcm.predict(z_img, z_txt), "Let people")):
        given = z_img[rows], z_txt, labels[rows]
        if start == "Let people":
            with pytest.warns(UserWarning, match="predictions are"):
                page = report({"MCM": mcm}, *given, tmp_path / "page.html")
        else:
            page = report({"MCM": mcm}, *given, tmp_path / "page.html")
        assert first_sentence(page).startswith(start)
        assert "Guarantee an error rate" in page.read_text(encoding="utf-8")
    failure = mcm.predict(z_img, z_txt) != labels
    order = np.argsort(mcm.decision_function(z_img, z_txt), kind="stable")
    few = np.flatnonzero(np.cumsum(failure[order]) <= 0.05 * np.arange(1, len(order) + 1))
    page = report({"MCM": mcm}, *task.test, tmp_path / "page.html")
    assert f"answer {100 * (few[-1] + 1) / len(order):.0f} % of these images" in first_sentence(page)


# --- arguments -------------------------------------------------------------------------------------


def test_captions(task: SimpleNamespace, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    text = rng.normal(size=(40, 16))
    images = text + 1.5 * rng.normal(size=(40, 16))
    mcm = MCMScorer(logit_scale=5)
    page = report(mcm, images, text, None, tmp_path / "page.html", batch_size=20).read_text(encoding="utf-8")
    assert "<h2" in page
    assert ">Classes<" not in page
    # Candidates of the second batch have their own numbers.
    guesses = re.findall(r'<th scope="row">(\d+)</th><td>caption (\d+)</td><td>caption (\d+)', page)
    assert guesses
    assert all(int(row) // 20 == int(guess) // 20 and row == own for row, guess, own in guesses)


def test_a_scorer_that_fails_has_its_reason_on_the_page(task: SimpleNamespace, tmp_path: Path) -> None:
    z_img, z_txt, labels = task.test
    relu = RelUScorer(logit_scale=5).fit(z_img, z_txt[:5], np.minimum(labels, 4))
    with pytest.warns(FitFailedWarning, match="Rel-U"):
        path = report({"Rel-U": relu, "MCM": MCMScorer()}, *task.test, tmp_path / "page.html")
    assert "Rel-U: " in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"focus": "ViLU"}, ValueError, "focus is 'ViLU'"),
        ({"top": 0}, ValueError, "top must be"),
        ({"class_names": ["a"]}, ValueError, "class_names has 1 entries"),
        ({"selective": MCMScorer()}, TypeError, "selective must be"),
        ({"selective": [SelectivePredictor(EntropyScorer())]}, ValueError, "none of the scorers"),
        ({"path": "no/such/folder/page.html"}, FileNotFoundError, "the folder no/such/folder does not exist"),
        ({"path": "."}, IsADirectoryError, "is a folder"),
        ({"ids": [1, 2]}, ValueError, "ids has 2 entries, expected 320"),
        ({"ids": range(320), "paths": ["a"] * 320}, ValueError, "give one of them"),
        ({"paths": [3] * 320}, TypeError, r"paths\[0\] is 3 and no file name; pass such values as ids"),
        ({"thumbnails": np.zeros((320, 4))}, ValueError, r"thumbnails\[\d+\] has shape \(4,\), expected"),
        (
            {"thumbnails": np.zeros((320, 0, 8))},
            ValueError,
            r"thumbnails\[\d+\] has shape \(0, 8\), so it has",
        ),
        (
            {"thumbnails": np.full((320, 8, 8), np.nan)},
            ValueError,
            r"thumbnails\[\d+\] has pixels that are not",
        ),
        ({"thumbnails": np.full((320, 8, 8), "a")}, TypeError, r"thumbnails\[\d+\] holds strings"),
        ({"thumbnails": ["no.png"] * 320}, FileNotFoundError, r"thumbnails\[\d+\] names no.png, and there"),
        ({"thumbnails": [""] * 320}, FileNotFoundError, r"thumbnails\[\d+\] names '', and there is no such"),
        ({"thumbnails": ["."] * 320}, IsADirectoryError, r"thumbnails\[\d+\] names ., which is a folder"),
        ({"thumbnails": [__file__] * 320}, ValueError, r"thumbnails\[\d+\] names .*, which is no picture"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    change: dict[str, Any],
    error: type[Exception],
    message: str,
    task: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        report(task.scorers, *task.test, **({"path": "page.html"} | change))
    assert list(tmp_path.iterdir()) == []


def test_a_page_is_replaced_whole_or_not_at_all(
    task: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    path.write_text("before")

    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space left"):
        report(task.scorers, *task.test, path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unfitted_promise_is_refused(task: SimpleNamespace, tmp_path: Path) -> None:
    unfitted = SelectivePredictor(task.scorers["DOCTOR"])
    with pytest.raises(ValueError, match="was not fitted"):
        report(task.scorers, *task.test, tmp_path / "page.html", selective=unfitted)


# --- the demonstration -----------------------------------------------------------------------------


def test_the_demonstration_goes_on_without_a_report(digits: DigitsVLM, tmp_path: Path) -> None:
    fitted = {"MCM": MCMScorer(), demo.SHOWN: MCMScorer()}
    assert str(tmp_path / "page.html") in demo.write_report(fitted, digits, tmp_path / "page.html")
    text = demo.write_report(fitted, digits, tmp_path / "nowhere" / "page.html")
    assert text.startswith("There is no report: ")


# --- a real browser --------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_shows_it_without_complaint_at_any_width(page: Path) -> None:
    with Browser() as browser:
        for width in (1280, 400):
            browser.open(page, width)
            assert browser.complaints == []
            assert browser.requests == [page.resolve().as_uri()]
            root = "document.documentElement"
            assert browser.evaluate(f"innerWidth === {width} && {root}.scrollWidth <= {root}.clientWidth")
            assert browser.evaluate("document.title") == HOSTILE
            # No text of a picture is smaller than 9 px, none leaves the picture.
            smallest, outside = browser.evaluate(
                """(() => {
                const texts = [...document.querySelectorAll("svg text")];
                const boxes = texts.map(text => [text.getBoundingClientRect(),
                    text.ownerSVGElement.getBoundingClientRect(), text]);
                const scale = text => Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b);
                return [
                    Math.min(...texts.map(text => parseFloat(getComputedStyle(text).fontSize) * scale(text))),
                    boxes.filter(([a, b]) => a.left < b.left - 2 || a.right > b.right + 2)
                        .map(([, , text]) => text.textContent)];
                })()"""
            )
            assert smallest >= 9
            assert outside == []


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_browser_would_notice(tmp_path: Path) -> None:
    broken = tmp_path / "page.html"
    broken.write_text("<p style='width: 2000px'>wide</p><script>console.error('oh'); nothing()</script>")
    with Browser() as browser:
        browser.open(broken, 400)
        assert len(browser.complaints) >= 2
        assert browser.evaluate("document.documentElement.scrollWidth > 400")
