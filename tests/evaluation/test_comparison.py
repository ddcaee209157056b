"""Evaluation and comparison of scorers on embeddings."""

import math
import re
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import FitFailedWarning, UndefinedMetricWarning

import vilu_sdk
from vilu_sdk import EntropyScorer, MCMScorer, ViLUEstimator
from vilu_sdk.evaluation import ComparisonTable, compare, evaluate, failure_metrics

SECONDS = {"fit_seconds", "score_seconds"}


class Recorder(BaseEstimator):
    """Remembers what it was fitted on; ranks by the negative largest cosine."""

    def __init__(self, error=None, seen=None):
        self.error = error
        self.seen = seen

    def fit(self, z_img, z_txt, labels=None):
        if self.error is not None:
            raise self.error
        self.fitted_ = (np.asarray(z_img), np.asarray(z_txt), labels)
        SEEN.append(self.fitted_)
        return self

    def decision_function(self, z_img, z_txt_set):
        SCORED.append((np.asarray(z_img), np.asarray(z_txt_set)))
        return -(np.asarray(z_img) @ np.asarray(z_txt_set).T).max(axis=1)

    def predict_uncertainty(self, z_img, z_txt_set):
        return self.decision_function(z_img, z_txt_set)

    def predict(self, z_img, z_txt_set):
        return MCMScorer().predict(z_img, z_txt_set)


SEEN: list = []
SCORED: list = []


@pytest.fixture(autouse=True)
def _empty_records():
    SEEN.clear()
    SCORED.clear()


def classes(n=120, k=5, d=8, noise=1.2, seed=0):
    rng = np.random.default_rng(seed)
    z_txt = rng.normal(size=(k, d))
    labels = np.arange(n) % k
    return z_txt[labels] + noise * rng.normal(size=(n, d)), z_txt, labels


def pairs(n=50, d=6, noise=0.8, seed=0):
    rng = np.random.default_rng(seed)
    z_txt = rng.normal(size=(n, d))
    return z_txt + noise * rng.normal(size=(n, d)), z_txt


def values(row, leave_out=SECONDS):
    return {k: v for k, v in row.items() if k not in leave_out}


# --- evaluate ---------------------------------------------------------------------------------


def test_class_task_is_the_metrics_of_the_scores():
    z_img, z_txt, labels = classes()
    for scorer in (MCMScorer(logit_scale=5), EntropyScorer(logit_scale=5)):
        failure = scorer.predict(z_img, z_txt) != labels
        expected = failure_metrics(scorer.decision_function(z_img, z_txt), failure)
        got = evaluate(scorer, z_img, z_txt, labels)
        assert expected.items() <= got.items()
        assert 0 < got["accuracy"] < 1
        if scorer.is_probability:
            p = failure_metrics(scorer.predict_uncertainty(z_img, z_txt), failure, probability=True)
            assert {k: got[k] for k in ("ece", "brier", "nll")} == {k: p[k] for k in ("ece", "brier", "nll")}
        else:
            assert "ece" not in got


@pytest.mark.parametrize("convert", [torch.tensor, lambda x: x.tolist(), np.float32])
def test_embeddings_of_any_type(convert):
    z_img, z_txt, labels = classes()
    expected = evaluate(MCMScorer(), z_img, z_txt, labels)
    assert evaluate(MCMScorer(), convert(z_img), convert(z_txt), labels) == pytest.approx(expected, abs=1e-5)
    z_img, z_txt = pairs()
    expected = evaluate(MCMScorer(), z_img, z_txt, batch_size=20)
    assert evaluate(MCMScorer(), convert(z_img), convert(z_txt), batch_size=20) == pytest.approx(
        expected, abs=1e-5
    )


def test_caption_batches_are_pooled_and_the_rest_is_dropped():
    z_img, z_txt = pairs(50)
    scorer = MCMScorer(logit_scale=5)
    parts = [slice(0, 20), slice(20, 40)]
    scores = np.concatenate([scorer.decision_function(z_img[p], z_txt[p]) for p in parts])
    failure = np.concatenate([scorer.predict(z_img[p], z_txt[p]) != np.arange(20) for p in parts])
    got = evaluate(scorer, z_img, z_txt, batch_size=20)
    assert got["n"] == 40
    assert failure_metrics(scores, failure).items() <= got.items()
    assert 0 < got["accuracy"] < 1


def test_caption_task_in_one_batch():
    z_img, z_txt = pairs(50)
    whole = evaluate(MCMScorer(), z_img, z_txt)
    assert whole["n"] == 50
    # A batch that is larger than the data is its only batch, and is kept.
    assert evaluate(MCMScorer(), z_img, z_txt, batch_size=64) == whole
    assert evaluate(MCMScorer(), z_img, z_txt, labels=np.arange(50)) == whole


def test_duplicate_captions_are_right():
    z_img, z_txt = pairs(30, noise=0.05)
    z_txt[1::2] = z_txt[::2]
    z_img[1::2] = z_img[::2]
    z_img[5], z_txt[5] = -z_txt[4], z_txt[4]  # one row that no caption of its own explains
    metrics = evaluate(MCMScorer(), z_img, z_txt)
    assert metrics["error_rate"] == pytest.approx(1 / 30)
    # With labels the first of equals is the prediction, so every second row would be wrong.
    assert evaluate(MCMScorer(), z_img, z_txt, np.arange(30))["error_rate"] == pytest.approx(15 / 30)


def test_no_failures_warn_once():
    with pytest.warns(UndefinedMetricWarning, match="All 4 predictions are correct") as record:
        metrics = evaluate(MCMScorer(), np.eye(4), np.eye(4), np.arange(4))
    assert len(record) == 1
    assert math.isnan(metrics["auc"])
    assert metrics["aurc"] == 0


@pytest.mark.parametrize("size", [1, 0, -5, 2.5, "all"])
def test_batch_size_must_be_a_number_of_rows(size):
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 2"):
        evaluate(MCMScorer(), *pairs(), batch_size=size)


def test_evaluate_checks_its_arguments():
    z_img, z_txt, labels = classes()
    with pytest.raises(ValueError, match="batch_size is for caption tasks"):
        evaluate(MCMScorer(), z_img, z_txt, labels, batch_size=10)
    with pytest.raises(ValueError, match="labels"):
        evaluate(MCMScorer(), z_img, z_txt)
    with pytest.raises(ValueError, match="labels must lie in"):
        evaluate(MCMScorer(), z_img, z_txt, labels + 1)


# --- compare ----------------------------------------------------------------------------------


def test_rows_are_those_of_evaluate():
    z_img, z_txt, labels = classes()
    scorers = {"MCM": MCMScorer(logit_scale=5), "entropy": EntropyScorer(logit_scale=5)}
    rows = compare(scorers, z_img, z_txt, labels, fit=False).to_dicts()
    assert [row["scorer"] for row in rows] == list(scorers)
    for row in rows:
        expected = evaluate(scorers[row["scorer"]], z_img, z_txt, labels)
        assert expected.items() <= row.items()
        assert math.isnan(row["fit_seconds"])
        assert row["score_seconds"] > 0
        assert row["note"] == ""
    assert math.isnan(rows[1]["ece"])
    assert rows[0].keys() == rows[1].keys()


def test_the_table_keeps_what_it_was_computed_from():
    z_img, z_txt, labels = classes()
    mcm, entropy = MCMScorer(logit_scale=5), EntropyScorer(logit_scale=5)
    table = compare({"MCM": mcm, "entropy": entropy}, z_img, z_txt, labels, fit=False)
    assert list(table.scores) == ["MCM", "entropy"]
    np.testing.assert_array_equal(table.scores["entropy"], entropy.decision_function(z_img, z_txt))
    np.testing.assert_array_equal(table.failure, mcm.predict(z_img, z_txt) != labels)
    assert list(table.probabilities) == ["MCM"]
    np.testing.assert_array_equal(table.probabilities["MCM"], mcm.predict_uncertainty(z_img, z_txt))
    with pytest.warns(FitFailedWarning):
        nothing = compare({"no": Recorder(ValueError("no"))}, z_img, z_txt, labels)
    assert (nothing.scores, nothing.failure, nothing.probabilities) == ({}, None, {})


def test_split_is_stratified_disjoint_and_repeatable():
    z_img, z_txt, labels = classes(n=100)
    scorers = {"a": Recorder(), "b": Recorder()}
    first = compare(scorers, z_img, z_txt, labels, test_size=0.3, random_state=3)
    (fit_img, fit_txt, fit_labels), _ = SEEN
    np.testing.assert_array_equal(fit_txt, z_txt)
    np.testing.assert_array_equal(np.bincount(fit_labels), [14] * 5)
    both = np.concatenate([fit_img, SCORED[0][0]])
    np.testing.assert_array_equal(np.unique(both, axis=0), np.unique(z_img, axis=0))
    assert [row["n"] for row in first.to_dicts()] == [30, 30]
    # Clones are fitted, and the originals stay as they were.
    assert not hasattr(scorers["a"], "fitted_")
    again = compare(scorers, z_img, z_txt, labels, test_size=0.3, random_state=3)
    for row, other in zip(first.to_dicts(), again.to_dicts(), strict=True):
        np.testing.assert_equal(values(row), values(other))
    assert first.to_dicts()[0]["fit_seconds"] >= 0


def test_split_without_strata_where_a_class_is_too_rare():
    z_img, z_txt, labels = classes(n=40)
    labels = np.where(np.arange(40) == 3, 4, np.minimum(labels, 3))
    assert compare({"a": Recorder()}, z_img, z_txt, labels, random_state=0).to_dicts()[0]["n"] == 20


def test_given_test_rows():
    z_img, z_txt, labels = classes()
    other_img, other_txt, other_labels = classes(n=45, k=3, seed=1)
    table = compare({"a": Recorder()}, z_img, z_txt, labels, test=(other_img, other_txt, other_labels))
    np.testing.assert_array_equal(SEEN[0][0], z_img)
    np.testing.assert_array_equal(SEEN[0][2], labels)
    np.testing.assert_array_equal(SCORED[0][1], other_txt)
    expected = evaluate(Recorder(), other_img, other_txt, other_labels)
    assert expected.items() <= table.to_dicts()[0].items()


def test_caption_split_and_test_rows():
    z_img, z_txt = pairs(100)
    row = compare({"a": Recorder()}, z_img, z_txt, batch_size=16, random_state=0).to_dicts()[0]
    assert row["n"] == 48
    fit_img, fit_txt, fit_labels = SEEN[0]
    assert fit_labels is None
    where = [int(np.flatnonzero((z_img == row).all(axis=1))[0]) for row in fit_img]
    np.testing.assert_array_equal(fit_txt, z_txt[where])
    row = compare({"a": Recorder()}, z_img, z_txt, test=pairs(30, seed=1)).to_dicts()[0]
    assert row["n"] == 30
    tensors = map(torch.tensor, (z_img, z_txt))
    assert compare({"MCM": MCMScorer()}, *tensors, random_state=0).to_dicts()[0]["n"] == 50


@pytest.mark.parametrize("error", [ValueError("needs\n  labels"), NotImplementedError()])
def test_a_scorer_that_cannot_is_a_row_with_a_note(error):
    z_img, z_txt, labels = classes()
    scorers = {"no": Recorder(error), "MCM": MCMScorer()}
    with pytest.warns(FitFailedWarning, match="no has no values") as record:
        table = compare(scorers, z_img, z_txt, labels, random_state=0)
    assert record[0].filename == __file__
    bad, good = table.to_dicts()
    assert bad["note"] == ("needs labels" if str(error) else "NotImplementedError")
    assert all(math.isnan(v) for k, v in bad.items() if k not in ("scorer", "note"))
    assert bad.keys() == good.keys()
    assert not math.isnan(good["auc"])
    for text in (str(table), table.to_markdown(), table._repr_html_()):
        assert f"no: {bad['note']}" in text


def test_other_errors_are_not_swallowed():
    with pytest.raises(RuntimeError, match="out of memory"):
        compare({"a": Recorder(RuntimeError("out of memory"))}, *classes())


def test_compare_checks_its_arguments():
    data = classes()
    z_img, _, labels = data
    with pytest.raises(ValueError, match="scorers must be a non-empty mapping"):
        compare({}, *data)
    with pytest.raises(ValueError, match="scorers must be a non-empty mapping"):
        compare([MCMScorer()], *data)
    with pytest.raises(ValueError, match="exclude each other"):
        compare({"a": MCMScorer()}, *data, test=data, fit=False)
    with pytest.raises(ValueError, match=r"tuple \(z_img, z_txt, labels\)"):
        compare({"a": MCMScorer()}, *data, test=(z_img, labels))
    with pytest.raises(ValueError, match=r"tuple \(z_img, z_txt\) "):
        compare({"a": MCMScorer()}, *pairs(), test=data)
    with pytest.raises(ValueError, match="batch_size is for caption tasks"):
        compare({"a": MCMScorer()}, *data, batch_size=4)
    # Malformed data is the caller's error, not that of every scorer.
    z_img[7, 0] = math.nan
    with pytest.raises(ValueError, match=r"^z_img .* row 7"):
        compare({"a": MCMScorer()}, *data)
    with pytest.raises(ValueError, match=r"^test: z_img .* row 7"):
        compare({"a": MCMScorer()}, *classes(), test=data)


def test_both_accuracies_are_told_and_ranking_is_compared_among_the_same_predictions(digits):
    scale = {"logit_scale": digits.logit_scale}
    scorers = {
        "MCM": MCMScorer(**scale),
        "ViLU": ViLUEstimator(random_state=0, **scale),
        "answers": ViLUEstimator(random_state=0, predicts="posterior", **scale),
    }
    data = digits.z_img_fit, digits.z_txt, digits.labels_fit
    test = digits.z_img_test, digits.z_txt, digits.labels_test
    for scorer in scorers.values():
        scorer.fit(*data)
    for name, scorer in scorers.items():
        metrics = evaluate(scorer, *test)
        zero_shot = float((scorers["MCM"].predict(*test[:2]) == test[2]).mean())
        right = float((scorers["answers"].predict(*test[:2]) == test[2]).mean())
        if name == "MCM":
            assert not {"zero_shot_accuracy", "answer_accuracy"} & set(metrics)
        else:
            assert metrics["zero_shot_accuracy"] == pytest.approx(zero_shot)
            assert metrics["answer_accuracy"] == pytest.approx(right)
        assert metrics["accuracy"] == pytest.approx(right if name == "answers" else zero_shot)
    for confidence in (0.95, None):
        table = compare(scorers, *data, test=test, confidence=confidence)
        body = table.to_markdown().splitlines()
        cells = {row.split("|")[1].strip(): row.split("|")[2:] for row in body if row.startswith("|")}
        bold = {name: ["**" in cell for cell in row] for name, row in cells.items()}
        # AUC and FPR95 of the answers are about other failures; AURC is the same question for all.
        assert (bold["ViLU"][:2], bold["answers"][:3]) == ([True, True], [False] * 3)
        assert (bold["ViLU"][3], bold["answers"][3]) == (False, True)
        rows = {row["scorer"]: row for row in table.to_dicts()}
        assert rows["ViLU"]["answer_accuracy"] == rows["answers"]["accuracy"]
        assert math.isnan(rows["MCM"]["answer_accuracy"])
        if confidence is not None:
            assert (rows["ViLU"]["auc_p_best"], rows["answers"]["aurc_p_best"]) == (1.0, 1.0)
            assert math.isnan(rows["answers"]["auc_p_best"])


# --- the table --------------------------------------------------------------------------------


def table():
    row = dict.fromkeys(compare({"a": MCMScorer()}, *classes(), fit=False).to_dicts()[0], math.nan)
    numbers = {"auc": 0.91234, "fpr95": 0.5, "aurc": 0.05, "score_seconds": 0.5, "n": 60, "accuracy": 0.75}
    return ComparisonTable(
        [
            row | numbers | {"scorer": "first", "note": ""},
            row | numbers | {"scorer": "a|<b>", "auc": 0.8, "fpr95": 0.4, "aurc": 0.05001, "note": ""},
            row | {"scorer": "third", "note": "1 < 2"},
        ]
    )


def test_text():
    summary, header, rule, *body, note = lines = str(table()).splitlines()
    assert repr(table()) == str(table())
    assert summary == "60 rows scored, zero-shot accuracy 75.0 %"
    assert note == "third: 1 < 2"
    assert len({len(line) for line in lines[1:-1]}) == 1
    assert header.split("  ")[0].startswith("scorer")
    assert re.findall(r"-+", rule) == rule.split()
    assert body[0].split() == ["first", "91.23", "50.00", "5.00", "0.500"]
    # Numbers end where their headers end.
    for match in re.finditer(r"-+", rule):
        assert all(line[match.end() - 1] != " " for line in (header, *body)) or match.start() == 0


def test_markdown():
    header, rule, *body = table().to_markdown().split("\n\n")[0].splitlines()
    assert len({len(line) for line in (header, rule, *body)}) == 1
    assert re.fullmatch(r"\| :-+ (\| -+: )+\|", rule)
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in body]
    assert {len(row) for row in cells} == {5}
    assert cells[0][:3] == ["first", "**91.23**", "50.00"]
    assert cells[1][:3] == [r"a\|&lt;b>", "80.00", "**40.00**"]
    # Equal as printed is equally good; seconds have no winner.
    assert [row[3] for row in cells] == ["**5.00**", "**5.00**", "–"]
    assert [row[4] for row in cells] == ["0.500", "0.500", "–"]


def test_html():
    text = table()._repr_html_()
    assert "<b>91.23</b>" in text
    assert "a|&lt;b&gt;" in text
    assert "third: 1 &lt; 2" in text
    assert text.count("<tr>") == 4


def test_a_single_row_has_no_best():
    only = ComparisonTable(table().rows[:1])
    assert "**" not in only.to_markdown()
    rows = only.to_dicts()
    rows[0]["auc"] = 0
    assert only.to_dicts()[0]["auc"] == 0.91234


def test_progress_can_be_silenced(capsys):
    vilu_sdk.set_progress(False)
    try:
        compare({"MCM": MCMScorer()}, *classes())
    finally:
        vilu_sdk.set_progress(True)
    assert capsys.readouterr() == ("", "")


# --- groups ----------------------------------------------------------------------------------------


class GroupRecorder(MCMScorer):
    """Remembers what it was fitted on."""

    learns = True
    fits: ClassVar[list[tuple[np.ndarray, np.ndarray | None]]] = []

    def fit(self, z_img, z_txt, labels=None, *, groups=None):
        self.fits.append((np.asarray(z_img), groups))
        return super().fit(z_img, z_txt, labels)

    def _learn(self, task):
        pass


@pytest.mark.parametrize("told", [False, True])
def test_no_group_is_on_both_sides(digits, told):
    GroupRecorder.fits.clear()
    rows = np.arange(300).repeat(3) if told else np.arange(900) % 300
    z_img = digits.z_img_fit[rows] + (0.01 * np.random.default_rng(0).normal(size=(900, 32)) if told else 0)
    groups = {"groups": rows} if told else {}
    table = compare(
        {"it": GroupRecorder()},
        z_img,
        digits.z_txt,
        digits.labels_fit[rows],
        random_state=0,
        n_splits=2,
        **groups,
    )
    assert table.to_dicts()[0]["n"] == 450
    for fitted, given in GroupRecorder.fits:
        seen = {row.tobytes() for row in fitted}
        sides = np.array([row.tobytes() in seen for row in z_img])
        assert len(np.intersect1d(rows[sides], rows[~sides])) == 0
        assert (given is not None) == told


def test_standard_errors_are_those_of_groups(digits):
    scorers = {"a": MCMScorer(logit_scale=10), "b": EntropyScorer(logit_scale=10)}
    once = (digits.z_img_test[:300], digits.z_txt, digits.labels_test[:300])
    often = (once[0].repeat(4, axis=0), once[1], once[2].repeat(4))
    plain, repeated = (compare(scorers, *data, fit=False, reference="a").to_dicts() for data in (once, often))
    for row, other in zip(plain, repeated, strict=True):
        for metric in ("auc", "aurc", "fpr95"):
            width, same = (each[f"{metric}_high"] - each[f"{metric}_low"] for each in (row, other))
            assert same == pytest.approx(width, rel=0.3)
