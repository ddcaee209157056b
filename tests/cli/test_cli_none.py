"""Labels "none" and -1 on the command line: none of the candidates."""

import numpy as np
import pytest

from support.cli_tools import DATA
from vilu_sdk.evaluation import evaluate


@pytest.fixture
def labels(digits_folder, digits, tmp_path):
    """Labels of which every fifth is none, as numbers and as names, and the names of the candidates."""
    found = digits.labels_test.copy()
    found[::5] = -1
    np.save(tmp_path / "labels.npy", found)
    words = ["none" if row < 0 else f"digit {row}" for row in found]
    (tmp_path / "labels.txt").write_text("\n".join(words))
    (tmp_path / "numbers.txt").write_text("\n".join(map(str, found)))
    (tmp_path / "names.txt").write_text("\n".join(f"digit {row}" for row in range(10)))
    return found


FORMS = {
    "numbers": "--labels {folder}/labels.npy",
    "numbers as text": "--labels {folder}/numbers.txt",
    "names": "--labels {folder}/labels.txt --names {folder}/names.txt",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_command_counts_them_as_failures(form, vilu, fitted, digits, labels, tmp_path):
    known = FORMS[form].format(folder=tmp_path)
    expected = evaluate(fitted, digits.z_img_test, digits.z_txt, labels)
    assert vilu(f"evaluate {DATA} {known} --scorer my-scorer --json").json == pytest.approx(expected)
    (row,) = vilu(f"compare {DATA} {known} --scorer my-scorer --json").json
    assert row["accuracy"] == pytest.approx(expected["accuracy"])
    found = vilu(f"threshold {DATA} {known} --scorer my-scorer --coverage 0.9 --json").json
    assert found["errors"] > 0
    page = tmp_path / "page.html"
    assert vilu(f"report {DATA} {known} --scorer my-scorer -o {page}").code == 0
    assert "<td>none</td><td>no</td>" in page.read_text(encoding="utf-8")
    assert vilu(f"fit {DATA} {known} --logit-scale 13.9 -o {tmp_path / 'head'}").code == 0
    refused = vilu(f"labels {DATA} {known}")
    assert refused.code
    assert "leave such images out" in refused.err


def test_a_candidate_of_that_name_is_a_candidate(vilu, digits, labels, tmp_path):
    names = ["none", *(f"digit {row}" for row in range(1, 10))]
    (tmp_path / "names.txt").write_text("\n".join(names))
    (tmp_path / "labels.txt").write_text("\n".join(names[row] for row in digits.labels_test))
    known = f"--labels {tmp_path}/labels.txt --names {tmp_path}/names.txt"
    by_name = vilu(f"evaluate {DATA} {known} --scorer my-scorer --json").json
    by_row = vilu(f"evaluate {DATA} --labels new-labels.npy --scorer my-scorer --json").json
    assert by_name == pytest.approx(by_row)
