"""`vilu sets`: from labelled images to sets, and from sets to tables."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from vilu_sdk import MCMScorer, SetPredictor

KNOWN = "new-images.npy texts.npy --labels new-labels.npy"


@pytest.fixture
def sets(vilu, digits, tmp_path):
    """A folder of sets, as the command calibrates them."""
    folder = tmp_path / "sets"
    line = f"sets {KNOWN} --scorer mcm --logit-scale {digits.logit_scale} --coverage 0.6 -q -o {folder}"
    assert vilu(line).code == 0
    return folder


@pytest.fixture
def expected(digits):
    scorer = MCMScorer(logit_scale=digits.logit_scale)
    return SetPredictor(scorer, 0.6).fit(digits.z_img_test, digits.z_txt, digits.labels_test)


def test_a_table_has_the_sets_of_python(vilu, sets, expected, digits, tmp_path):
    for names in (False, True):
        z_txt = dict(zip(digits.class_names, digits.z_txt, strict=True)) if names else digits.z_txt
        found = expected.predict_names(digits.z_img_fit, z_txt)
        for kind in ("csv", "json", "parquet"):
            out = tmp_path / f"{names}.{kind}"
            line = f"sets images.npy texts.npy --scorer {sets} -q -o {out}{' --names names.txt' * names}"
            assert vilu(line).code == 0
            if kind == "csv":
                cells = [row.split(",")[2] for row in out.read_text().splitlines()[1:]]
                assert cells == ["; ".join(map(str, candidates)) for candidates in found]
            else:
                rows = json.loads(out.read_text()) if kind == "json" else pq.read_table(out).to_pylist()
                assert [row["candidates"] for row in rows] == found
                assert [row["size"] for row in rows] == [len(candidates) for candidates in found]


def test_a_block_of_empty_sets_has_the_type_of_all(vilu, sets, expected, digits, tmp_path, monkeypatch):
    members = expected.predict_sets(digits.z_img_test, digits.z_txt)
    order = np.argsort(members.any(axis=1), kind="stable")
    assert (~members.any(axis=1)).sum() > 20
    np.save(tmp_path / "images.npy", digits.z_img_test[order])
    monkeypatch.setattr("vilu_sdk.cli._sets.ROWS", 10)
    out = tmp_path / "sets.parquet"
    for names in ("", " --names names.txt"):
        line = f"sets {tmp_path / 'images.npy'} texts.npy --scorer {sets} -q -o {out}{names}"
        assert vilu(line).code == 0
        assert pq.read_table(out)["size"].to_pylist() == members[order].sum(axis=1).tolist()


def test_saved_sets_are_known_to_the_other_commands(vilu, sets, expected):
    assert "Sets for MCMScorer" in (said := vilu(f"info {sets}").out)
    assert str(expected.report_).splitlines()[0] in said
    done = vilu(f"score new-images.npy texts.npy --scorer {sets}")
    assert (done.code, "holds sets of candidates, which vilu sets writes" in done.err) == (2, True)
    assert vilu(f"evaluate {KNOWN} --scorer {sets}").code == 0  # of the scorer inside, as of thresholds
    for line in (f"--scorer {sets} --logit-scale 3", f"--scorer {sets} --set logit_scale=3", "--scorer mcm"):
        assert vilu(f"sets new-images.npy texts.npy {line}").code == 2


def test_a_foreign_folder_is_overwritten_by_the_users_word_alone(vilu, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    line = f"sets {KNOWN} --scorer mcm -q -o {tmp_path}"
    assert vilu(line).code
    assert (tmp_path / "config.json").read_text() == "{}"
    assert vilu(f"{line} --overwrite").code == 0
    assert vilu(f"info {tmp_path}").code == 0


def test_sets_of_a_saved_threshold_are_for_what_it_abstains_on(vilu, digits, tmp_path):
    threshold, folder = tmp_path / "threshold", tmp_path / "sets"
    first = f"threshold {KNOWN} --scorer mcm --logit-scale {digits.logit_scale} --risk 0.05 -q -o {threshold}"
    answers = vilu(first).out.splitlines()[0]
    said = vilu(f"sets {KNOWN} --scorer {threshold} -q -o {folder}").out.splitlines()[0]
    assert said.startswith(answers.removesuffix("."))
    assert "; the others have" in said
    rows = json.loads(vilu(f"sets new-images.npy texts.npy --scorer {folder} --json -q").out)
    accepted = SetPredictor.from_pretrained(folder).scorer.predict(digits.z_img_test, digits.z_txt)
    assert [row["candidates"] for row, at in zip(rows, accepted, strict=True) if at != -1] == [
        [int(at)] for at in accepted if at != -1
    ]
    assert vilu(f"report {KNOWN} --scorer {folder} -o {tmp_path / 'page.html'} -q").code == 0
    assert answers.removesuffix(".") in (tmp_path / "page.html").read_text(encoding="utf-8")
