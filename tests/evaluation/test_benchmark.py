"""Scorers on many sets: what is measured, what goes on where it was killed, what the tables say."""

import inspect
import math
import os
import threading
import warnings
import zipfile

import numpy as np
import pytest
from sklearn.base import BaseEstimator

import vilu_sdk
from vilu_sdk import (
    CalibratedScorer,
    EntropyScorer,
    MCMScorer,
    RelUScorer,
    TemperatureScaledMCMScorer,
    ViLUEstimator,
)
from vilu_sdk.evaluation import Metric, benchmark, cells, compare, evaluate
from vilu_sdk.exceptions import ScorerFailedWarning

CALLS: list = []


class Margin(BaseEstimator):
    """As a newcomer would write it: the smaller the lead of the best text, the more likely wrong."""

    def __init__(self, noise=0.0, random_state=None):
        self.noise = noise
        self.random_state = random_state

    def fit(self, z_img, z_txt, labels=None):
        CALLS.append(("fit", len(z_img), self.random_state, None if labels is None else tuple(labels)))
        return self

    def predict(self, z_img, z_txt_set):
        return MCMScorer().predict(z_img, z_txt_set)

    def decision_function(self, z_img, z_txt_set):
        CALLS.append(("score", len(z_img)))
        images, texts = (np.asarray(x) / np.linalg.norm(x, axis=1, keepdims=True) for x in (z_img, z_txt_set))
        first, second = np.sort(images @ texts.T, axis=1)[:, :-3:-1].T
        return second - first

    predict_uncertainty = decision_function


class Broken(Margin):
    """Raises what it is told to."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error

    def fit(self, z_img, z_txt, labels=None):
        raise self.error


class Lacking(BaseEstimator):
    """Knows no prediction."""

    def fit(self, z_img, z_txt, labels=None):
        return self

    def predict_uncertainty(self, z_img, z_txt_set):
        return np.zeros(len(z_img))


@pytest.fixture(autouse=True)
def _empty():
    CALLS.clear()


def classes(seed=0, n=160, k=5, d=8, **more):
    rng = np.random.default_rng(seed)
    z_txt, labels = rng.normal(size=(k, d)), np.arange(n) % k
    z_img = z_txt[labels] + 1.4 * rng.normal(size=(n, d))
    half = n // 2
    train = {"z_img_train": z_img[:half], "labels_train": labels[:half]}
    return train | {"z_img_test": z_img[half:], "labels_test": labels[half:], "z_txt": z_txt} | more


def whole(seed=0):
    data = classes(seed)
    return {
        "z_img": np.concatenate([data["z_img_train"], data["z_img_test"]]),
        "labels": np.concatenate([data["labels_train"], data["labels_test"]]),
        "z_txt": data["z_txt"],
    }


def captions(seed=0, n=80, d=6):
    rng = np.random.default_rng(seed)
    z_txt = rng.normal(size=(n, d))
    return {"z_img": z_txt + 0.8 * rng.normal(size=(n, d)), "z_txt": z_txt}


def numbers(found):
    """All that is not time, with NaN as None."""
    return [
        {k: None if v != v else v for k, v in row.items() if "seconds" not in k} for row in found.to_dicts()
    ]


SCORERS = {"MCM": MCMScorer(), "entropy": EntropyScorer(), "Rel-U": RelUScorer()}


def test_cells_are_those_of_compare():
    sets = {"one": classes(1), "two": classes(2)}
    found = benchmark(SCORERS, sets)
    for name, data in sets.items():
        test = data["z_img_test"], data["z_txt"], data["labels_test"]
        table = compare(SCORERS, data["z_img_train"], data["z_txt"], data["labels_train"], test=test)
        for row in table.to_dicts():
            (own,) = (r for r in found.to_dicts() if (r["set"], r["scorer"]) == (name, row["scorer"]))
            for key in ("auc", "fpr95", "aurc", "accuracy", "n", "answered_at_5"):
                assert own[key] == row[key]
            assert (own["ece"] == row["ece"]) or (math.isnan(own["ece"]) and math.isnan(row["ece"]))


def test_the_logit_scale_of_a_set_goes_where_none_was_chosen():
    data = classes(1, logit_scale=np.array(7.0))
    test = data["z_img_test"], data["z_txt"], data["labels_test"]
    scorers = {"default": MCMScorer(), "chosen": MCMScorer(logit_scale=20.0)}
    rows = {row["scorer"]: row for row in benchmark(scorers, {"a": data}).to_dicts()}
    assert rows["default"]["ece"] == evaluate(MCMScorer(logit_scale=7.0), *test)["ece"]
    assert rows["chosen"]["ece"] == evaluate(MCMScorer(logit_scale=20.0), *test)["ece"]
    assert scorers["default"].logit_scale == 100


def test_sets_as_folder_mapping_and_generator_are_the_same(tmp_path):
    arrays = {"a": classes(1), "b": captions(2), "c": whole(3)}
    np.savez(tmp_path / "a.npz", **arrays["a"])
    for name in ("b", "c"):
        (tmp_path / name).mkdir()
        for key, values in arrays[name].items():
            np.save(tmp_path / name / f"{key}.npy", values)
    (tmp_path / "others").mkdir()  # holds no set
    expected = numbers(benchmark(SCORERS | {"Rel-U": EntropyScorer(normalise=True)}, arrays))
    scorers = SCORERS | {"Rel-U": EntropyScorer(normalise=True)}
    assert numbers(benchmark(scorers, tmp_path)) == expected
    assert numbers(benchmark(scorers, ((name, lambda n=name: arrays[n]) for name in arrays))) == expected
    (tmp_path / ".hidden.npz").write_bytes(b"")
    for _ in range(2):
        assert numbers(benchmark(scorers, tmp_path, folder=tmp_path)) == expected
    paths = {"a": tmp_path / "a.npz", "b": str(tmp_path / "b"), "c": arrays["c"]}
    assert numbers(benchmark(scorers, paths)) == expected


def test_runs_draw_other_splits_and_other_seeds():
    found = benchmark({"margin": Margin(random_state=3)}, {"a": whole(1)}, n_runs=3)
    fits = [call for call in CALLS if call[0] == "fit"]
    assert [fit[2] for fit in fits] == [3, 4, 5]
    assert len({fit[3] for fit in fits}) == 3
    (row,) = found.to_dicts()
    assert row["auc_std"] > 0
    again = benchmark({"margin": Margin(random_state=3)}, {"a": whole(1)}, n_runs=3)
    assert numbers(again) == numbers(found)
    pooled = benchmark({"margin": Margin()}, {"a": classes(1)}, split="random", random_state=5)
    assert pooled.to_dicts()[0]["n"] == 80


def test_labels_are_nested_and_at_most_all():
    found = benchmark(
        {"MCM": MCMScorer(), "margin": Margin()}, {"a": classes(1)}, labels=(10, 40, 500, "all")
    )
    fits = [call for call in CALLS if call[0] == "fit"]
    # 500 are all, and all are fitted once.
    assert [fit[1] for fit in fits] == [10, 40, 80]
    assert found.labels == [10, 40, 500, "all"]
    fitted = {(row["scorer"], row["labels"]): row["n_fitted"] for row in found.to_dicts()}
    assert [fitted["margin", str(budget)] for budget in found.labels] == [10, 40, 80, 80]
    assert {fitted["MCM", str(budget)] for budget in found.labels} == {0}
    curve = found.learning_curves()["MCM"]
    assert [budget for budget, _ in curve] == found.labels
    assert len({value for _, value in curve}) == 1  # learns nothing from labels
    with pytest.raises(ValueError, match="labels has no 7"):
        found.to_markdown(labels=7)


def test_label_rows_are_a_part_of_more_of_them():
    seen = []

    class Keeper(Margin):
        def fit(self, z_img, z_txt, labels=None):
            seen.append({tuple(row) for row in np.asarray(z_img).tolist()})
            return self

    benchmark({"keeper": Keeper()}, {"a": classes(1)}, labels=(7, 20, 60))
    assert [len(rows) for rows in seen] == [7, 20, 60]
    assert seen[0] < seen[1] < seen[2]


@pytest.mark.parametrize(
    "error", [ValueError("needs captions"), RuntimeError("out of memory"), KeyError("x"), ZeroDivisionError()]
)
def test_a_scorer_that_fails_ends_no_table(error):
    scorers = {"no": Broken(error), "lacking": Lacking(), "MCM": MCMScorer()}
    with pytest.warns(ScorerFailedWarning) as record:
        found = benchmark(scorers, {"a": classes(1), "b": classes(2)})
    assert {str(warning.message).split(" has no values")[0] for warning in record} == {"no", "lacking"}
    rows = {(row["set"], row["scorer"]): row for row in found.to_dicts()}
    for name in ("a", "b"):
        assert math.isnan(rows[name, "no"]["auc"])
        assert "Lacking, which has no predict, decision_function" in rows[name, "lacking"]["note"]
        assert rows[name, "MCM"]["auc"] > 0.5
    for form in (str(found), found.to_markdown(), found.to_html(), found.to_latex()):
        assert "no on a, b: " in form
    assert found.ranks().scorers == ["MCM"]
    with pytest.warns(ScorerFailedWarning):
        table = compare(
            {"lacking": Lacking(), "MCM": MCMScorer()}, *list(whole(1).values())[::2], whole(1)["labels"]
        )
    assert "which has no predict" in table.to_dicts()[0]["note"]


def test_a_set_without_rows_to_fit_on_is_for_those_that_learn_nothing():
    data = {k: v for k, v in classes(1).items() if not k.endswith("train")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = benchmark(SCORERS, {"bare": data, "a": classes(2)})
    notes = {row["scorer"]: row["note"] for row in found.to_dicts() if row["set"] == "bare"}
    assert notes == {"MCM": "", "entropy": "", "Rel-U": "the set has no rows to fit on"}
    assert "Rel-U" not in found.ranks().scorers
    assert "Rel-U" in found.select(sets=["a"]).ranks().scorers


def test_scorers_fitted_already_are_asked_as_they_are():
    data = classes(1, logit_scale=8.0)
    fitted = RelUScorer().fit(data["z_img_train"], data["z_txt"], data["labels_train"])
    found = benchmark({"Rel-U": fitted, "MCM": MCMScorer()}, {"a": data}, fit=False)
    test = data["z_img_test"], data["z_txt"], data["labels_test"]
    assert found.to_dicts()[0]["auc"] == evaluate(fitted, *test)["auc"]
    assert found.to_dicts()[1]["ece"] == evaluate(MCMScorer(logit_scale=8.0), *test)["ece"]


class Killed(BaseException):
    """Ends everything, as a signal would."""


def test_a_killed_benchmark_goes_on(tmp_path, monkeypatch):
    sets = {name: classes(seed) for seed, name in enumerate("abc")}
    scorers = {"margin": Margin(), "MCM": MCMScorer()}
    whole_run = benchmark(scorers, sets, labels=(20, "all"))
    assert len([call for call in CALLS if call[0] == "fit"]) == 6
    CALLS.clear()
    fit = Margin.fit

    def dies(self, *rows):
        if len([call for call in CALLS if call[0] == "fit"]) == 4:
            raise Killed
        return fit(self, *rows)

    monkeypatch.setattr(Margin, "fit", dies)
    with pytest.raises(Killed):
        benchmark(scorers, sets, labels=(20, "all"), folder=tmp_path)
    monkeypatch.setattr(Margin, "fit", fit)
    CALLS.clear()
    gone_on = benchmark(scorers, sets, labels=(20, "all"), folder=tmp_path)
    assert len([call for call in CALLS if call[0] == "fit"]) == 2
    assert numbers(gone_on) == numbers(whole_run)
    CALLS.clear()
    again = benchmark(scorers, sets, labels=(20, "all"), folder=tmp_path)
    assert not CALLS
    assert again.to_dicts()[0]["fit_seconds"] == gone_on.to_dicts()[0]["fit_seconds"]


def test_what_has_changed_is_measured_anew(tmp_path):
    data = classes(1)
    changed = data | {"z_img_test": data["z_img_test"] + 0.01}
    relabelled = data | {"labels_train": np.roll(data["labels_train"], 1)}
    benchmark({"margin": Margin()}, {"a": data}, folder=tmp_path)
    for scorers, sets, more in (
        ({"margin": Margin(noise=0.5)}, data, {}),
        ({"margin": Margin(random_state=1)}, data, {}),
        ({"margin": Margin()}, changed, {}),
        ({"margin": Margin()}, relabelled, {}),
        ({"margin": Margin()}, data, {"split": "random"}),
        ({"margin": Margin()}, data, {"labels": (9,)}),
    ):
        CALLS.clear()
        kept = benchmark(scorers, {"a": sets}, folder=tmp_path, **more)
        assert len([call for call in CALLS if call[0] == "fit"]) == 1
        assert numbers(kept) == numbers(benchmark(scorers, {"a": sets}, **more))
    CALLS.clear()
    # Names are no part of what is measured, and neither are metrics.
    found = benchmark({"other": Margin()}, {"b": data}, folder=tmp_path, metrics={"errors": _errors})
    assert not CALLS
    assert found.to_dicts()[0]["errors"] == found.to_dicts()[0]["error_rate"]


def _errors(failure):
    return failure.mean()


def test_damaged_and_failed_cells_are_done_again(tmp_path):
    benchmark({"margin": Margin()}, {"a": classes(1)}, folder=tmp_path)
    (cell,) = tmp_path.iterdir()
    cell.write_bytes(cell.read_bytes()[:100])
    CALLS.clear()
    found = benchmark({"margin": Margin()}, {"a": classes(1)}, folder=tmp_path)
    assert [call[0] for call in CALLS[:2]] == ["fit", "score"]
    assert numbers(found) == numbers(benchmark({"margin": Margin()}, {"a": classes(1)}))
    for _ in range(2):
        with pytest.warns(ScorerFailedWarning):
            benchmark({"no": Broken(ValueError("x"))}, {"a": classes(1)}, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_processes_give_the_same(tmp_path):
    scorers = {"MCM": MCMScorer(), "temperature": TemperatureScaledMCMScorer(), "Rel-U": RelUScorer()}
    sets = {"a": classes(1), "b": classes(2)}
    beside = benchmark(scorers, sets, n_jobs=2, folder=tmp_path)
    assert len(list(tmp_path.glob("*.cell.npz"))) == 6
    alone = benchmark(scorers, sets)
    for one, other in zip(numbers(beside), numbers(alone), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


class Needing(Margin):
    """Has a parameter without a default, and holds what no other process can be sent."""

    def __init__(self, needed, logit_scale=100.0):
        super().__init__()
        self.needed, self.logit_scale = needed, logit_scale


def test_scorers_that_need_a_parameter_or_cannot_be_sent_have_their_row():
    sets, lock = {"a": classes(1, logit_scale=10.0)}, threading.Lock()
    for jobs in (None, 2):
        scorers = {"needing": Needing([lock]), "MCM": MCMScorer()}
        row, _ = benchmark(scorers, sets, n_jobs=jobs, fit=False).to_dicts()
        assert row["auc"] > 0.5


def test_the_code_inside_a_scorer_counts(monkeypatch):
    wrapped = CalibratedScorer(Margin())
    before = cells._scorer(wrapped, False)
    assert cells._scorer(CalibratedScorer(Margin()), False) == before
    source = inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda cls: source(cls) + "# changed")
    assert cells._scorer(wrapped, False) != before


def test_metrics_of_images_of_no_candidate_can_be_printed_and_ranked():
    data = classes(1)
    data["labels_test"] = np.where(data["labels_test"] == 4, -1, data["labels_test"])
    found = benchmark({"MCM": MCMScorer(), "entropy": EntropyScorer()}, {"a": data, "b": data})
    for name in ("unknown_auc", "unknown_fpr95", "novelty_auc", "novelty_fpr95", "known_auc"):
        assert f"{100 * found.to_dicts()[0][name]:.2f}" in found.to_markdown([name])
        assert len(found.ranks(name).scorers) == 2


def test_mean_and_ranks_are_of_sets_that_all_can_do():
    sets = {"a": classes(1), "b": classes(2), "captions": captions(3)}
    with pytest.warns(ScorerFailedWarning):
        found = benchmark(SCORERS, sets)
    table = found.to_pandas(["auc"])["auc"]
    means = found.to_pandas(["auc"])["auc"].groupby("scorer").mean()
    text = found.to_markdown(digits=6)
    assert f"{100 * means['MCM']:.6f}" in text
    ranking = found.ranks()
    assert set(ranking.scorers) == {"MCM", "entropy"}
    assert ranking.n_sets == 3
    gaps = np.array([table[name, "MCM", "all"] - table[name, "entropy", "all"] for name in sets])
    assert found.wins()["MCM"]["entropy"] == ((gaps > 0).sum(), (gaps == 0).sum(), (gaps < 0).sum())
    assert sum(found.wins()["MCM"]["Rel-U"]) == 2
    assert "without a rank by auc" in text
    assert "Rel-U" in text.split("without a rank")[1]


def test_other_failures_are_not_ranked_by_the_auc_of_given_ones(digits):
    data = {
        "z_img_train": digits.z_img_fit,
        "labels_train": digits.labels_fit,
        "z_img_test": digits.z_img_test,
        "labels_test": digits.labels_test,
        "z_txt": digits.z_txt,
        "logit_scale": digits.logit_scale,
    }
    scorers = {
        "MCM": MCMScorer(),
        "entropy": EntropyScorer(),
        "answers": ViLUEstimator(predicts="posterior", random_state=0),
    }
    found = benchmark(scorers, {"digits": data})
    assert set(found.ranks("auc").scorers) == {"MCM", "entropy"}
    assert found.ranks("aurc").scorers[0] == "answers"


def test_pareto_leaves_nobody_out_that_is_best_for_its_time():
    found = benchmark(SCORERS | {"margin": Margin()}, {"a": classes(1), "b": classes(2)})
    front = found.pareto()
    assert front == sorted(front, key=lambda entry: entry[1])
    means = found.to_pandas(["auc", "fit_seconds", "score_seconds"]).groupby("scorer").mean()
    seconds = means["fit_seconds"].fillna(0) + means["score_seconds"]
    names = {name for name, _, _ in front}
    for name in found.scorers:
        dominated = ((seconds <= seconds[name]) & (means["auc"] > means["auc"][name])).any() or (
            (seconds < seconds[name]) & (means["auc"] == means["auc"][name])
        ).any()
        assert (name in names) == (not dominated)


def test_frames_csv_and_layouts(tmp_path):
    found = benchmark(SCORERS, {"a|b": classes(1), "=c": classes(2)}, n_runs=2)
    wide = found.to_pandas(["auc", "auc_std"])
    assert list(wide.index.names) == ["set", "scorer", "labels"]
    tidy = found.to_pandas()
    assert list(tidy.columns) == ["set", "scorer", "labels", "metric", "value", "std"]
    assert not tidy.duplicated(["set", "scorer", "labels", "metric"]).any()
    found.to_csv(tmp_path / "x.csv", ["auc"])
    assert (tmp_path / "x.csv").read_text() == found.to_csv(columns=["auc"])
    for layout in ("sets", "scorers", "means"):
        for columns in (None, ["auc"], ["auc", "fpr95", "accuracy"]):
            markdown = found.to_markdown(columns, layout=layout)
            table = [line for line in markdown.splitlines() if line.startswith("|")]
            assert len({line.replace("\\|", "").count("|") for line in table}) == 1
            assert "mean" in markdown or layout == "means"
            assert found.to_html(columns, layout=layout).count("<tr>") == len(table) - 1
            rows = [
                line for line in found.to_latex(columns, layout=layout).splitlines() if line.endswith("\\\\")
            ]
            assert len(rows) >= len(table) - 1
    with pytest.raises(ValueError, match="layout must be one of"):
        found.to_markdown(layout="rows")
    with pytest.raises(ValueError, match="columns has no 'auk'"):
        found.to_latex(["auk"])
    with pytest.raises(ValueError, match="accuracy has no better and worse"):
        found.ranks("accuracy")


def test_own_metrics_everywhere():
    data = classes(1)
    train = data["z_img_train"], data["z_txt"], data["labels_train"]
    test = data["z_img_test"], data["z_txt"], data["labels_test"]
    metrics = {
        "errors": Metric(_errors, higher_is_better=False, percent=True),
        "confident": lambda probability: probability.mean(),
        "right": Metric(lambda labels, predictions: (labels == predictions).mean(), higher_is_better=True),
        "worst": lambda uncertainty, failure: failure[uncertainty.argmax()],
    }
    row = evaluate(MCMScorer(), *test, metrics=metrics)
    assert row["errors"] == row["error_rate"]
    assert row["right"] == row["accuracy"]
    table = compare(
        {"MCM": MCMScorer(), "entropy": EntropyScorer()}, *train, test=test, metrics=metrics, reference="MCM"
    )
    first, second = table.to_dicts()
    assert first["errors"] == row["errors"]
    assert first["errors_low"] < first["errors"] < first["errors_high"]
    assert math.isnan(second["confident"])  # the entropy is no probability
    assert math.isnan(first["confident_p_best"])  # has no direction
    assert "errors % ↓" in str(table)
    # All rows of the bootstrap are shared: equal values are equal in each.
    assert second["errors_difference"] == 0
    assert second["errors_p"] == 1
    spread = (first["right_high"] - first["right_low"]) / 2 / 1.959964
    assert spread == pytest.approx(math.sqrt(row["accuracy"] * (1 - row["accuracy"]) / row["n"]), rel=0.15)
    found = benchmark({"MCM": MCMScorer(), "margin": Margin()}, {"a": data}, metrics=metrics)
    assert found.to_dicts()[0]["errors"] == row["errors"]
    assert found.ranks("right").n_sets == 1
    assert "right ↑" in found.to_markdown(["right"])
    several = compare({"MCM": MCMScorer(), "margin": Margin()}, *train, n_splits=3, metrics=metrics)
    assert several.to_dicts()[0]["errors_std"] > 0


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        *(({name: _errors}, f"{name!r} is a name of a column") for name in ("auc", "failures", "known_auc")),
        ({"m": lambda y_true, y_score: 0}, "m takes y_true, y_score; name its arguments after"),
        ({"m": lambda: 0}, "m takes nothing"),
        ({"m": 3}, "m must be a function"),
        ([_errors], "metrics must be a mapping"),
    ],
)
def test_metrics_are_checked_before_anything_is_fitted(metrics, message):
    for call in (
        lambda: evaluate(MCMScorer(), *list(whole().values())[::2], whole()["labels"], metrics=metrics),
        lambda: benchmark({"margin": Margin()}, {"a": classes()}, metrics=metrics),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            call()
    assert not CALLS


def test_a_metric_cannot_change_what_others_are_computed_from():
    def writing(uncertainty):
        uncertainty[:] = 0
        return 1.0

    with pytest.raises(ValueError, match="writing failed: ValueError: assignment destination is read-only"):
        benchmark({"MCM": MCMScorer()}, {"a": classes()}, metrics={"writing": writing})


def test_a_kept_cell_that_was_changed_is_measured_anew(tmp_path):
    expected = numbers(benchmark({"MCM": MCMScorer()}, {"a": classes(1)}, folder=tmp_path))
    (cell,) = tmp_path.iterdir()
    for change in (lambda x: -x, lambda x: x[:10], lambda x: x * np.nan):
        with np.load(cell) as archive:
            arrays = dict(archive)
        np.savez_compressed(cell, **arrays | {"decision": change(arrays["decision"])})
        assert numbers(benchmark({"MCM": MCMScorer()}, {"a": classes(1)}, folder=tmp_path)) == expected


def test_a_metric_that_fails_says_so():
    with pytest.raises(ValueError, match="metrics: bad failed: ZeroDivisionError"):
        benchmark({"margin": Margin()}, {"a": classes()}, metrics={"bad": lambda failure: 1 / 0})
    for wrong, got in (
        (lambda failure: failure, r"an array of shape \(\d+,\)"),
        (lambda failure: None, "NoneType"),
    ):
        with pytest.raises(ValueError, match=rf"metrics: bad must return one number, .* got {got}\."):
            benchmark({"margin": Margin()}, {"a": classes()}, metrics={"bad": wrong})


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({}, "sets is empty"),
        (classes(), "sets is one set; give it a name"),
        ({"a": {"z_img": np.eye(3)}}, "sets: a: there is no z_txt"),
        ({"a": {"z_txt": np.eye(3)}}, "sets: a: there is neither z_img_test nor z_img"),
        ({"a": {"z_txt": np.eye(3), "z_img_test": np.eye(3)}}, "a: z_img_test has neither labels_test"),
        ({"a": whole() | classes()}, "a: there are z_img and z_img_train"),
        ({"a": classes() | {"labels_test": np.arange(3)}}, "sets: a: "),
        ({"a": "/nowhere.npz"}, "sets: a: "),
        ("/nowhere", "there is no folder /nowhere"),
        ([("a", classes()), ("a", classes())], "two sets are called 'a'"),
        ({"a": classes(), "mean": classes()}, "a row of the table is called 'mean'"),
        ([classes()], "entry 0 must be a pair"),
        (3, "sets must be a mapping"),
    ],
)
def test_sets_are_named_in_errors(sets, message):
    with pytest.raises((ValueError, TypeError), match=message):
        benchmark({"MCM": MCMScorer()}, sets)


def test_files_that_hold_no_arrays_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "big.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("z_txt.npy", b"x")
    with pytest.raises(ValueError, match=r"sets: big: .*neither stored nor deflated"):
        benchmark({"MCM": MCMScorer()}, tmp_path)
    os.remove(tmp_path / "big.npz")
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"sets: bad: .*bad\.npz is no \.npz file"):
        benchmark({"MCM": MCMScorer()}, tmp_path)
    os.remove(tmp_path / "bad.npz")
    with pytest.raises(ValueError, match="holds no sets"):
        benchmark({"MCM": MCMScorer()}, tmp_path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"labels": (0,)}, "labels must hold integers"),
        ({"labels": ("many",)}, "labels must hold integers"),
        *(
            ({"labels": [bad]}, "labels must hold integers")
            for bad in (math.nan, math.inf, None, [5], True, 2.5)
        ),
        ({"labels": ()}, "labels must hold each number once"),
        ({"n_runs": 0}, "n_runs must be an integer"),
        ({"split": "new"}, "split must be"),
        ({"fit": False, "n_runs": 2}, "fit=False fits nothing"),
        ({"random_state": None}, "random_state must be an integer"),
        ({"random_state": 2**32}, r"random_state must be below 2\*\*32"),
        ({"n_jobs": 0}, "n_jobs must be at least 1, or -1"),
        ({"n_jobs": 1.5}, "n_jobs must be an integer"),
        ({"folder": __file__}, r"folder: .*test_benchmark\.py is a file; name a folder"),
        ({"n_runs": True}, "n_runs must be an integer"),
        ({"test_size": 3.0}, "test_size must be a number strictly between 0 and 1"),
    ],
)
def test_arguments_are_checked(more, message):
    with pytest.raises(ValueError, match=message):
        benchmark({"MCM": MCMScorer()}, {"a": classes()}, **more)
    with pytest.raises(TypeError, match="got the class MCMScorer"):
        benchmark({"MCM": MCMScorer}, {"a": classes()})


def test_a_set_needs_a_name():
    with pytest.raises(ValueError, match="a set has an empty name"):
        benchmark({"MCM": MCMScorer()}, {" ": classes()})


def test_runs_of_the_largest_seed_go_round():
    found = benchmark({"margin": Margin(random_state=2**32 - 1)}, {"a": classes(1)}, n_runs=2)
    assert [call[2] for call in CALLS if call[0] == "fit"] == [2**32 - 1, 0]
    assert all(not record["note"] for record in found.records)


class Tall(Margin):
    """Predicts a column where a vector is asked for."""

    def predict(self, z_img, z_txt_set):
        return super().predict(z_img, z_txt_set)[:, None]


def test_answers_of_another_shape_are_told_as_such():
    with pytest.warns(
        ScorerFailedWarning, match=r"predict of Tall must have shape \(\d+,\), .* got \(\d+, 1\)"
    ):
        benchmark({"tall": Tall()}, {"a": classes(1)})


def test_what_is_infinite_is_printed_and_never_best():
    def ratio(failure, uncertainty):
        return np.inf if uncertainty.min() < -2 else failure.mean()  # of MCM alone

    metrics = {"ratio": Metric(ratio, higher_is_better=True)}
    scorers = {"MCM": MCMScorer(), "margin": Margin(), "entropy": Margin(noise=1)}
    found = benchmark(scorers, {"a": classes(1), "b": classes(2)}, metrics=metrics, fit=False)
    assert not np.isfinite([row["ratio"] for row in found.to_dicts() if row["scorer"] == "MCM"]).all()
    for line in found.to_text(["ratio"]).splitlines():
        assert "inf*" not in line
    assert found.ranks("ratio").scorers == ["margin", "entropy"]
    one = whole()
    table = compare(
        scorers, one["z_img"], one["z_txt"], one["labels"], metrics=metrics, fit=False, n_bootstrap=20
    )
    assert "**inf**" not in table.to_markdown(["ratio"])


def test_one_number_of_labels_needs_no_list():
    for one in ("all", 20):
        found = benchmark({"MCM": MCMScorer()}, {"a": classes(1)}, labels=one).to_dicts()
        assert [row["labels"] for row in found] == [str(one)]


def test_every_scorer_of_the_package_has_a_row_in_the_table():
    names = [name for name in vilu_sdk.__all__ if name.endswith("Scorer") and name != "FailureScorer"]
    classes_of = {name: getattr(vilu_sdk, name) for name in names}
    quick = {"LVUScorer": {"epochs": 1}, "ProbVLMScorer": {"epochs": 1}}
    scorers = {
        name: cls(**quick.get(name, {}))
        for name, cls in classes_of.items()
        if name not in ("Scorer", "NegLabelScorer")
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = benchmark(scorers, {"a": classes(1), "captions": captions(2)})
    assert [row["scorer"] for row in found.to_dicts() if row["set"] == "a"] == list(scorers)
    assert not [row["note"] for row in found.to_dicts() if row["set"] == "a" and row["note"]]
    for row in found.to_dicts():
        assert bool(row["note"]) == math.isnan(row["auc"])
