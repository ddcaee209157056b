"""`vilu labels` gives what the package gives."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest

from support.cli_tools import LABELLED, SCALE
from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.labels import find_label_issues

LINE = f"labels new-images.npy texts.npy --logit-scale {SCALE}"


@pytest.fixture
def moved(digits, tmp_path):
    labels = digits.labels_test.copy()
    labels[::40] = (labels[::40] + 1) % 10
    np.save(tmp_path / "moved.npy", labels)
    return labels


def test_the_worst_are_printed_and_all_are_written(vilu, digits, moved, tmp_path):
    issues = find_label_issues(
        digits.z_img_test,
        digits.z_txt,
        moved,
        scorer=ViLUEstimator(logit_scale=SCALE, random_state=0),
        names=digits.class_names,
    )
    line = f"{LINE} --labels {tmp_path / 'moved.npy'} --names names.txt"
    done = vilu(line)
    assert (done.code, done.out, done.err) == (0, f"{issues}\n", "")
    assert vilu(f"{line} --top 3").out == f"{issues.to_text(3)}\n"
    assert vilu(f"{line} --top 3 --json").json == issues.worst(3)
    done = vilu(f"{line} -o {tmp_path / 'all.csv'}")
    assert (done.code, done.out) == (0, "")
    assert done.err == f"vilu: 799 labels: {tmp_path / 'all.csv'}\n"
    with (tmp_path / "all.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == list(range(1, 800))
    assert [int(row["image"]) for row in rows] == np.argsort(issues.rank).tolist()
    assert rows[0]["label"] == issues.worst(1)[0]["label"]
    assert vilu(f"{line} -q -o {tmp_path / 'all.parquet'}").err == ""
    assert pq.read_table(tmp_path / "all.parquet").to_pylist() == issues.worst(799)


def test_scorer_and_groups_are_those_of_the_package(vilu, digits, tmp_path):
    groups = np.arange(799) // 3
    np.save(tmp_path / "groups.npy", groups)
    line = f"{LINE} --labels new-labels.npy"
    known = digits.z_img_test, digits.z_txt, digits.labels_test
    expected = find_label_issues(
        *known, scorer=ViLUEstimator(logit_scale=SCALE, random_state=0), groups=groups
    )
    assert vilu(f"{line} --groups {tmp_path / 'groups.npy'}").out == f"{expected}\n"
    expected = find_label_issues(*known, scorer=MCMScorer(logit_scale=SCALE))
    assert vilu(f"{line} --scorer mcm").out == f"{expected}\n"


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("labels new-images.npy texts.npy", 2, "arguments are required: --labels"),
        (f"labels {LABELLED} --correct new-labels.npy", 2, "unrecognized arguments: --correct"),
        (f"labels {LABELLED} --scorer lvu", 2, "LVUScorer has no posterior"),
        (f"labels {LABELLED} --scorer my-scorer", 2, "labels takes a scorer by name"),
        (f"labels {LABELLED} --scorer mcm --scorer vilu", 2, "several times; labels takes one"),
        (f"labels {LABELLED} --top 0", 2, "must be at least 1"),
        (f"labels {LABELLED} -o all.xls", 2, "results are written to .csv"),
        ("labels new-images.npy texts.npy --labels labels.npy", 3, "798 values but IMAGES has 799 rows"),
        ("labels nowhere.npy texts.npy --labels labels.npy", 3, "nowhere.npy"),
    ],
)
def test_it_says_what_is_wrong(line, code, message, vilu):
    done = vilu(f"{line} -q")
    assert done.code == code
    assert message in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""
