"""`evaluate`, `compare`, `report` and `threshold` give what the package gives."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from support.cli_tools import DATA, LABELLED, SCALE
from vilu_sdk import EntropyScorer, MCMScorer, TemperatureScaledMCMScorer
from vilu_sdk.evaluation import benchmark, compare, evaluate
from vilu_sdk.selective import CostPredictor, CoveragePredictor, SelectivePredictor


def test_evaluate_prints_and_writes_all_metrics(vilu, fitted, digits, tmp_path):
    expected = evaluate(fitted, digits.z_img_test, digits.z_txt, digits.labels_test)
    line = f"evaluate {LABELLED} --scorer my-scorer"
    assert vilu(f"{line} --json").json == pytest.approx(expected)
    lines = dict(line.split() for line in vilu(line).out.splitlines())
    assert float(lines["auc"]) == pytest.approx(expected["auc"], abs=1e-4)
    assert lines["n"] == "799"
    assert lines.keys() == expected.keys()
    assert vilu(f"{line} -o {tmp_path / 'm.csv'}").out == ""
    with (tmp_path / "m.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["auc"]) == expected["auc"]
    assert row["scorer"] == "my-scorer"


def test_compare_gives_the_table_in_every_form(vilu, fitted, digits, tmp_path):
    """A saved scorer lends its logit scale to those by name."""
    table = compare(
        {"MCM": MCMScorer(logit_scale=SCALE), "my-scorer": fitted},
        digits.z_img_test,
        digits.z_txt,
        digits.labels_test,
        fit=False,
        reference="MCM",
        random_state=0,
    )
    line = f"compare {LABELLED} --scorer MCM=mcm --scorer my-scorer --reference MCM"

    def without_times(text):
        return [row.split()[:7] for row in text.splitlines()]

    assert without_times(vilu(line).out) == without_times(str(table))
    rows = vilu(f"{line} --json").json
    assert [row["auc_p"] for row in rows] == [None, pytest.approx(table.rows[1]["auc_p"])]
    assert vilu(f"{line} --markdown").out.startswith("| scorer")
    for name, first in (
        ("t.csv", "scorer,auc"),
        ("t.md", "| scorer"),
        ("t.html", "<table>"),
        ("t.json", "["),
    ):
        assert vilu(f"{line} -o {tmp_path / name}").out == ""
        assert (tmp_path / name).read_text().startswith(first)
    assert vilu(f"{line} -o {tmp_path / 't.parquet'}").code == 0
    assert pq.read_table(tmp_path / "t.parquet").to_pylist()[1]["auc"] == table.rows[1]["auc"]
    assert "results are written to .csv" in vilu(f"{line} -o t.xls").err


def test_compare_fits_what_learns_and_tests_where_it_is_told(vilu, fitted, digits):
    fit = "compare images.npy texts.npy --labels labels.npy --scorer ViLU=vilu --scorer mcm"
    rows = vilu(f"{fit} --logit-scale {SCALE} --test new-images.npy new-labels.npy --json").json
    expected = evaluate(fitted, digits.z_img_test, digits.z_txt, digits.labels_test)
    assert rows[0]["scorer"] == "ViLU"
    assert rows[0]["auc"] == pytest.approx(expected["auc"])
    rows = vilu(f"{fit} --logit-scale {SCALE} --n-splits 2 --test-size 0.25 --json").json
    assert [row["n"] for row in rows] == [200, 200]
    assert rows[0]["auc_std"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--scorer mcm --scorer mcm", "two scorers are called 'MCMScorer'"),
        ("--scorer vilu --scorer my-scorer", "my-scorer is saved and would be fitted anew"),
        ("--scorer my-scorer --n-splits 3", "my-scorer is saved and would be fitted anew"),
        ("--scorer mcm --test new-images.npy", "--test takes two files"),
        ("--scorer mcm --reference ViLU", "reference must be one of ['MCMScorer']"),
    ],
)
def test_compare_says_what_is_wrong(options, message, vilu):
    done = vilu(f"compare {LABELLED} -q {options}")
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_setting_belongs_to_the_scorer_before_it(vilu):
    line = f"compare {LABELLED} --logit-scale 5 --scorer a=mcm --set logit_scale=1 --scorer b=mcm"
    rows = vilu(f"{line} --scorer c=mcm --set logit_scale=1 --json").json
    assert rows[0]["ece"] == rows[2]["ece"] != rows[1]["ece"]


def test_a_report_shows_images_by_what_files_say(vilu, digits, tmp_path):
    n, few = 799, 5
    names = tmp_path / "files.csv"
    names.write_text("file,id\n" + "".join(f"pics/{row}.png,im {row}\n" for row in range(n)))
    (tmp_path / "pics").mkdir()
    for row in range(n):
        Image.fromarray((16 * digits.images_test[row]).clip(0, 255).astype(np.uint8)).save(
            tmp_path / "pics" / f"{row}.png"
        )
    pictures = tmp_path / "pictures.txt"
    pictures.write_text("".join(f"{tmp_path / 'pics' / f'{row}.png'}\n" for row in range(n)))
    (tmp_path / "few.txt").write_text("a\nb\n")
    page, line = tmp_path / "page.html", f"report {LABELLED} --scorer mcm -q --top {few}"
    for given, header, shown in (
        (f"--paths {names}::file", "file", "<td>{}.png</td>"),
        (f"--ids {names}::id", "id", "<td>im {}</td>"),
    ):
        done = vilu(f"{line} {given} --thumbnails {pictures} -o {page}")
        assert done.code == 0, done.err
        text = page.read_text(encoding="utf-8")
        assert text.count("<img") == 2 * few
        assert f'<th scope="col">{header}</th>' in text
        assert all(shown.format(row) in text for row in range(n))
    assert "--paths" in vilu(f"{line} --ids {names}::id --paths {names}::file -o {page}").err
    assert "IMAGES has 799 rows" in vilu(f"{line} --ids {tmp_path / 'few.txt'} -o {page}").err
    assert f"the output {page} is where paths" in vilu(f"{line} --paths {page} -o {page}").err


def test_report_and_threshold_on_one_page(vilu, tmp_path):
    promise = f"threshold {LABELLED} --scorer my-scorer --risk 0.1 -o {tmp_path / 'promise'}"
    assert vilu(promise).code == 0
    page = tmp_path / "page.html"
    line = f"report {LABELLED} --names names.txt --scorer mcm --scorer 'the promise={tmp_path / 'promise'}'"
    done = vilu(f"{line} --title 'A title' --focus MCMScorer --top 2 -o {page}")
    assert (done.code, done.out) == (0, f"{page}\n")
    text = page.read_text()
    for part in ("<h1>A title</h1>", "the promise", "MCMScorer", "seven"):
        assert part in text
    assert "learns: fit it first" in vilu(f"report {LABELLED} --scorer vilu -o {page}").err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--risk 0.05", lambda scorer: SelectivePredictor(scorer, 0.05)),
        ("--risk 0.1 --method sgr --confidence 0.8", lambda s: SelectivePredictor(s, 0.1, 0.8, method="sgr")),
        ("--coverage 0.8 --per-class", lambda scorer: CoveragePredictor(scorer, 0.8, per_class=True)),
        ("--costs 10 1", lambda scorer: CostPredictor(scorer, 10, 1)),
    ],
)
def test_thresholds_are_those_of_the_package_and_are_saved(options, expected, vilu, fitted, digits, tmp_path):
    predictor = expected(fitted).fit(digits.z_img_test, digits.z_txt, digits.labels_test)
    done = vilu(f"threshold {LABELLED} --scorer my-scorer {options} -o {tmp_path / 't'}")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{predictor.report_}\n"
    accepted = [
        line.split(",")[-1] for line in vilu(f"score {DATA} --scorer {tmp_path / 't'}").out.splitlines()
    ]
    assert accepted[0] == "accepted"
    expected_text = [str(value) for value in predictor.accept(digits.z_img_test, digits.z_txt)]
    assert accepted[1:] == expected_text
    assert str(predictor.report_) in vilu(f"info {tmp_path / 't'}").out


def test_no_threshold_is_a_no(vilu):
    done = vilu(f"threshold {LABELLED} --scorer my-scorer --risk 0.0001 --json")
    assert done.code == 1
    assert done.json["accepted"] == 0
    assert done.json["risk_bound"] is None
    assert done.json["threshold"] == -np.finfo(float).max
    assert (
        "No threshold can guarantee this"
        in vilu(f"threshold {LABELLED} --scorer my-scorer --risk 0.0001").out
    )


def test_thresholds_of_groups(vilu, fitted, digits, tmp_path):
    groups = np.where(np.arange(799) % 2, "left", "right")
    (tmp_path / "sites.csv").write_text("\n".join(["site", *groups]))
    predictor = CoveragePredictor(fitted, 0.7).fit(
        digits.z_img_test, digits.z_txt, digits.labels_test, groups=groups
    )
    line = f"threshold {LABELLED} --scorer my-scorer --coverage 0.7 --groups {tmp_path / 'sites.csv'}"
    assert vilu(line).out == f"{predictor.report_}\n"
    assert [part["group"] for part in vilu(f"{line} --json").json["groups"]] == ["left", "right"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "one of the arguments --risk --coverage --costs is required"),
        ("--risk 0.1 --coverage 0.5", "not allowed with argument"),
        ("--risk 7", "argument --risk: must be above 0 and below 1, got 7"),
        ("--costs 1 10", "error_cost must be above abstention_cost"),
    ],
)
def test_threshold_says_what_is_wrong(options, message, vilu):
    done = vilu(f"threshold {LABELLED} --scorer my-scorer {options}")
    assert done.code == 2
    assert message in done.err


@pytest.mark.parametrize("command", ["threshold --coverage 0.7", "sets"])
def test_units_calibrate_one_row_each(vilu, fitted, command, tmp_path):
    (tmp_path / "videos.csv").write_text("\n".join(["video", *(f"v{row // 3}" for row in range(799))]))
    done = vilu(f"{command} {LABELLED} --scorer my-scorer --units {tmp_path / 'videos.csv'} --json")
    assert (done.code, done.json["n"], done.json["siblings"]) == (0, 267, 532)


@pytest.fixture
def sets(digits, tmp_path):
    """A folder of two sets, one without a split."""
    arrays = {
        "z_img_train": digits.z_img_fit,
        "labels_train": digits.labels_fit,
        "z_img_test": digits.z_img_test,
        "labels_test": digits.labels_test,
        "z_txt": digits.z_txt,
        "logit_scale": SCALE,
    }
    (tmp_path / "sets").mkdir()
    np.savez(tmp_path / "sets" / "digits.npz", **arrays)
    whole = {"z_img": digits.z_img_test, "labels": digits.labels_test, "z_txt": digits.z_txt}
    np.savez(tmp_path / "sets" / "whole.npz", **whole)
    return tmp_path / "sets"


def test_benchmark_gives_the_table_in_every_form(vilu, sets, tmp_path):
    scorers = {"MCMScorer": MCMScorer(), "TS": TemperatureScaledMCMScorer()}
    found = benchmark(scorers, sets, labels=(50, "all"))
    line = f"benchmark {sets} --scorer mcm --scorer TS=TemperatureScaledMCM --labels-used 50 all -q"
    assert vilu(line).out == f"{found}\n"
    rows = vilu(f"{line} --json").json
    assert [row["auc"] for row in rows] == [row["auc"] for row in found.to_dicts()]
    assert vilu(f"{line} --columns auc fpr95 --layout scorers --digits 1 --markdown").out == (
        found.to_markdown(["auc", "fpr95"], layout="scorers", digits=1) + "\n"
    )
    for name, text in (
        ("t.md", found.to_markdown(["auc"])),
        ("t.html", found.to_html(["auc"])),
        ("t.tex", found.to_latex(["auc"])),
    ):
        assert vilu(f"{line} --columns auc -o {tmp_path / name}").out == ""
        assert (tmp_path / name).read_text() == text + "\n"
    for suffix in (".csv", ".json", ".parquet"):
        assert vilu(f"{line} --columns auc n_fitted -o {tmp_path / 't'}{suffix}").code == 0
    with (tmp_path / "t.csv").open() as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["set", "scorer", "labels", "auc", "n_fitted", "note"]
    assert [float(row["auc"]) for row in read] == [row["auc"] for row in rows]


def test_benchmark_goes_on_and_takes_some_sets(vilu, sets, tmp_path):
    line = f"benchmark {sets} --scorer relu --scorer mcm --keep {tmp_path / 'cells'} --only whole --runs 2 -q"
    first = vilu(line).out
    assert "1 set, 2 runs" in first
    kept = sorted((tmp_path / "cells").iterdir())
    assert len(kept) == 4
    assert vilu(line).out == first
    assert sorted((tmp_path / "cells").iterdir()) == kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--only nothing", "has no set 'nothing'; it has digits, whole"),
        ("--labels-used few", 'must be a number or "all", got few'),
        ("--columns auk", "columns has no 'auk'"),
        ("--columns auk -o t.csv", "columns has no 'auk'"),
        ("--columns auc_low", "columns has no 'auc_low'"),
        ("--jobs 0", "must be at least 1, or -1 for one process a core, got 0"),
        ("--keep texts.npy", "texts.npy is a file; name a folder"),
        ("-o t.xls", "results are written to .csv, .json, .parquet, .md, .html, .tex or -"),
        ("--scorer nowhere:Scorer", "No module named 'nowhere'"),
        ("--scorer json:JSONDecoder", "has no class JSONDecoder that is a scikit-learn estimator"),
    ],
)
def test_benchmark_says_what_is_wrong(options, message, vilu, sets):
    done = vilu(f"benchmark {sets} --scorer mcm -q {options}")
    assert done.code == (3 if "--keep" in options else 2)
    assert message in done.err


def test_columns_are_named_in_any_case(vilu, sets):
    line = f"benchmark {sets} --scorer mcm --only digits -q --columns"
    assert vilu(f"{line} AUC FPR95").out == vilu(f"{line} auc fpr95").out
    rows = vilu(f"{line} auc auc_std --runs 2 --json --resplit")
    assert '"auc_std"' in rows.out


@pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.ScorerFailedWarning")
def test_own_scorers_come_by_module_and_class(vilu, sets):
    Path("own_margin.py").write_text(
        "from vilu_sdk import EntropyScorer\n"
        "class Margin(EntropyScorer):\n"
        "    pass\n"
        "class Lacking(__import__('sklearn').base.BaseEstimator):\n"
        "    learns = False\n"
    )
    named = "--scorer own_margin:Margin --scorer L=own_margin:Lacking"
    line = f"benchmark {sets} --only digits -q {named} --json"
    done = vilu(line)
    assert done.code == 0, done.err
    one, lacking = done.json
    assert one["scorer"] == "Margin"
    assert one["auc"] == benchmark({"e": EntropyScorer()}, sets).to_dicts()[0]["auc"]
    assert lacking["auc"] is None
    assert "has no fit, predict" in lacking["note"]
    line = f"compare {LABELLED} --logit-scale 9 --scorer own_margin:Margin --scorer mcm -q --json"
    compared = vilu(line).json
    assert compared[0]["scorer"] == "Margin"
    assert compared[0]["auc"] > 0.5
