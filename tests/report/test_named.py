"""Comparisons, pictures, the report and what scikit-learn asks take candidates and labels by name."""

import re

import numpy as np
import pytest

from vilu_sdk import EntropyScorer, MCMScorer, TemperatureScaledMCMScorer, ViLUEstimator
from vilu_sdk.displays import CandidatesDisplay, ClassFailureDisplay, LearningCurveDisplay
from vilu_sdk.evaluation import compare, cross_val_uncertainty, evaluate, failure_auc_scorer
from vilu_sdk.labels import find_label_issues
from vilu_sdk.report import report
from vilu_sdk.selective import CostPredictor, CoveragePredictor, SelectivePredictor, SetPredictor

NAMES = ["sun", "007", "<b>", "a|b", "crane", "naïve"]
SCORERS = {"MCM": MCMScorer(logit_scale=5), "TS": TemperatureScaledMCMScorer(logit_scale=5)}


@pytest.fixture(scope="module")
def held(toy):
    """The candidates and labels of `toy` by name."""
    return dict(zip(NAMES, toy.z_txt, strict=True)), [NAMES[label] for label in toy.labels]


def test_comparisons_are_those_of_row_numbers(toy, held):
    z_txt, words = held
    few = slice(0, 200)
    options = [
        {"n_splits": 2, "n_bootstrap": 20, "random_state": 0},
        {"n_bootstrap": 20, "test": 1},
    ]
    for option in options:
        tables = []
        for texts, labels in ((toy.z_txt, toy.labels), (z_txt, words)):
            test = {"test": (toy.z_img[few], texts, labels[few])} if "test" in option else {}
            given = toy.z_img[200:], texts, labels[200:]
            tables.append(compare(SCORERS, *given, **option | test).to_dicts())
        for one, other in zip(*tables, strict=True):
            timed = {key for key in one if "second" in key or "time" in key}
            assert {key: one[key] for key in one.keys() - timed} == pytest.approx(
                {key: other[key] for key in other.keys() - timed}, nan_ok=True
            )


def test_the_report_and_pictures_have_the_names(toy, held, tmp_path):
    z_txt, words = held
    mcm = SCORERS["MCM"]
    selective = CoveragePredictor(mcm, 0.5, per_class=True).fit(toy.z_img, z_txt, words)
    report(mcm, toy.z_img, z_txt, words, tmp_path / "page.html", selective=selective)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "class 0" not in page
    assert all(name in page for name in ("sun", "007", "&lt;b&gt;", "naïve"))
    assert ClassFailureDisplay.from_estimator(mcm, toy.z_img, z_txt, words).class_names == NAMES
    named, rows = (z_txt, words), (toy.z_txt, toy.labels)
    for display, options in ((CandidatesDisplay, {}), (LearningCurveDisplay, {"test": True})):
        drawn = []
        for texts, labels in (named, rows):
            test = {"test": (toy.z_img[:100], texts, labels[:100])} if options else {}
            sizes = (100, 200) if options else (2, 4)
            scorer = SCORERS["TS"] if options else mcm
            how = {"sizes": sizes, "n_draws": 1} | test
            drawn.append(display.from_estimator(scorer, toy.z_img[100:], texts, labels[100:], **how))
        np.testing.assert_array_equal(drawn[0].auc, drawn[1].auc)


def test_thresholds_decide_as_by_row_numbers(toy, held):
    z_txt, words = held
    mcm = SCORERS["MCM"]
    for predictor in (
        SelectivePredictor(mcm, 0.2),
        CoveragePredictor(mcm, 0.5),
        CostPredictor(mcm, 1.0, 0.2),
    ):
        expected = predictor.fit(toy.z_img, toy.z_txt, toy.labels).predict(toy.z_img, toy.z_txt)
        found = predictor.fit(toy.z_img, z_txt, words).predict(toy.z_img, z_txt)
        np.testing.assert_array_equal(found, expected)
        assert predictor.names_ == NAMES


def test_sets_have_the_names(toy, held):
    z_txt, words = held
    sets = SetPredictor(SCORERS["MCM"], 0.8)
    rows = sets.fit(toy.z_img, toy.z_txt, toy.labels).predict_names(toy.z_img, toy.z_txt)
    found = sets.fit(toy.z_img, z_txt, words).predict_names(toy.z_img, z_txt)
    assert found == [[NAMES[row] for row in image] for image in rows]


def test_issues_of_labels_have_the_names(toy, held):
    z_txt, words = held
    wrong = ["crane" if words[0] != "crane" else "sun", *words[1:]]
    issues = find_label_issues(toy.z_img, z_txt, wrong, scorer=SCORERS["TS"])
    worst = issues.worst(3)
    assert {row["label"] for row in worst} | {row["suggested"] for row in worst} <= set(NAMES)
    assert any(name in str(issues) for name in NAMES)


def test_scikit_learn_takes_names(toy, held):
    z_txt, words = held
    bound = EntropyScorer(logit_scale=5).bind(z_txt)
    plain = EntropyScorer(logit_scale=5).bind(toy.z_txt)
    assert failure_auc_scorer(bound, toy.z_img, words) == failure_auc_scorer(plain, toy.z_img, toy.labels)
    found = cross_val_uncertainty(bound, toy.z_img, np.array(words))
    np.testing.assert_allclose(found, plain.predict_uncertainty(toy.z_img), rtol=1e-5)


def test_adapting_takes_names_and_keeps_them(toy, held):
    z_txt, words = held
    head = ViLUEstimator(random_state=0).fit(toy.z_img[:300], toy.z_txt, toy.labels[:300])
    assert head.names_ is None
    other = ViLUEstimator(random_state=0).fit(toy.z_img[:300], toy.z_txt, toy.labels[:300])
    head.adapt(toy.z_img[300:600], z_txt, words[300:600])
    other.adapt(toy.z_img[300:600], toy.z_txt, toy.labels[300:600])
    assert head.names_ == NAMES
    one, same = head.predict_uncertainty(toy.z_img, z_txt), other.predict_uncertainty(toy.z_img, toy.z_txt)
    np.testing.assert_array_equal(one, same)
    explained = head.explain(toy.z_img[:5], z_txt, 2).to_dicts()
    assert {row["competitor"] for row in explained} <= set(NAMES)
    assert evaluate(head, toy.z_img[600:], z_txt, words[600:])["n"] == 40


@pytest.mark.parametrize("name", ["ids", "paths"])
def test_names_of_images_are_taken_by_place(name, toy, tmp_path):
    import pandas as pd

    few, scorer = slice(0, 60), MCMScorer(logit_scale=5)
    called = [f"img-{row:03d}.png" for row in range(60)]
    for given in (called, pd.Series(called, index=range(59, -1, -1)), np.array(called)):
        report(scorer, toy.z_img[few], toy.z_txt, toy.labels[few], tmp_path / "r.html", **{name: given})
        page = (tmp_path / "r.html").read_text(encoding="utf-8")
        shown = re.findall(r'<th scope="row">(\d+)</th><td>(img-\d+)', page)
        assert shown
        assert all(name == f"img-{int(row):03d}" for row, name in shown)
    with pytest.raises(TypeError, match=f"{name} must be a sequence with an entry for each image, got set"):
        report(scorer, toy.z_img[few], toy.z_txt, toy.labels[few], tmp_path / "s.html", **{name: set(called)})


@pytest.mark.parametrize("names", [{"a", "b", "c"}, b"abc", {"a": 1, "b": 2, "c": 3}, "abc"])
def test_names_without_places_are_refused(names):
    with pytest.raises(TypeError, match="names must be a sequence of texts"):
        MCMScorer().judge(np.eye(3), np.eye(3), names=names)
