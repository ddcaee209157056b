"""`vilu decide`: a file of costs, and the decision that costs least."""

import json

import numpy as np
import pytest

from vilu_sdk import MCMScorer
from vilu_sdk.selective import least_cost

GIVEN = "new-images.npy texts.npy --scorer mcm -q"


@pytest.fixture
def costs():
    made = np.random.default_rng(0).uniform(0, 2, (10, 3)).round(3)
    made[4] -= 1  # a decision can also pay
    return made


@pytest.fixture
def expected(digits, costs):
    scorer = MCMScorer(logit_scale=digits.logit_scale)
    return least_cost(scorer, digits.z_img_test, digits.z_txt, costs, ask_cost=0.6, budget=30)


@pytest.mark.parametrize("kind", ["csv", "tsv", "npy"])
@pytest.mark.parametrize("named", [False, True])
def test_decisions_are_those_of_python(kind, named, vilu, digits, costs, expected, tmp_path):
    file = tmp_path / f"costs.{kind}"
    mark, order = {"csv": ";", "tsv": "\t", "npy": ""}[kind], np.random.default_rng(1).permutation(10)
    if kind == "npy":
        np.save(file, costs)
    else:
        classes = digits.class_names if named else range(10)
        rows = [["truth", "keep", "hide", "block"], *([classes[at], *costs[at]] for at in order)]
        file.write_text("\n".join(mark.join(map(str, row)) for row in rows) + "\n")
    names = "--names names.txt" if named else ""
    given = f"{GIVEN} --logit-scale {digits.logit_scale} {names}"
    line = f"decide {given} --costs {file} --ask-cost 0.6 --budget 30"
    done = vilu(f"{line} --json")
    assert done.code == 0
    found = json.loads(done.out)
    called = [0, 1, 2] if kind == "npy" else ["keep", "hide", "block"]
    assert [row["decision"] for row in found] == [
        None if at == -1 else called[at] for at in expected.decision
    ]
    assert [row["asked"] for row in found] == expected.asked.tolist()
    assert [row["expected_cost"] for row in found] == pytest.approx(expected.expected_cost)
    assert str(expected) in vilu(line.replace(" -q", "")).err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("truth,a\n0,1\n", "has 1 values but TEXTS has 10 rows"),
        ("truth,a\n" + "0,1\n" * 10, "each once"),
        ("truth,a\n" + "\n".join(f"{i},x" for i in range(10)), "'x' in row 0; expected a number"),
        ("truth,a\n" + "\n".join(f"{i},1,2" for i in range(10)), "has 3 values in row 0 under a header of 2"),
        ("truth,a\n" + "\n".join(f"{i},1_000" for i in range(10)), "'1_000' in row 0; expected a number"),
        ("truth,a\n" + "\n".join(f"{i},nan" for i in range(10)), "'nan' in row 0; expected a number"),
        ("truth,a, a\n" + "\n".join(f"{i},1,2" for i in range(10)), "'a' twice, in column 2"),
        ("truth,a,\n" + "\n".join(f"{i},1,2" for i in range(10)), "names no decision, in column 2"),
        ("truth\n" + "\n".join(map(str, range(10))), "has 1 values in row 0 under a header of 1"),
    ],
)
def test_a_file_that_holds_no_costs_is_named(text, message, vilu, tmp_path):
    file = tmp_path / "costs.csv"
    file.write_text(text)
    done = vilu(f"decide {GIVEN} --logit-scale 10 --costs {file}")
    assert done.code == 3
    assert message in done.err
    assert "costs.csv" in done.err


def test_a_budget_is_of_a_person(vilu, tmp_path):
    np.save(tmp_path / "costs.npy", np.eye(10))
    assert vilu(f"decide {GIVEN} --costs {tmp_path / 'costs.npy'} --budget 3").code == 2


@pytest.mark.parametrize("command", ["threshold --risk 0.2", "sets --coverage 0.8"])
def test_frequencies_are_those_of_python(command, vilu, digits, tmp_path):
    from vilu_sdk import SelectivePredictor, SetPredictor

    np.savetxt(tmp_path / "shares.txt", np.arange(1, 11))
    verb, rest = command.split(maxsplit=1)
    scorer = MCMScorer(logit_scale=digits.logit_scale)
    python = SelectivePredictor(scorer, 0.2) if verb == "threshold" else SetPredictor(scorer, 0.8)
    given = f"{GIVEN} --labels new-labels.npy --logit-scale {digits.logit_scale}"
    for said, value in ((tmp_path / "shares.txt", np.arange(1, 11)), ("balanced", "balanced")):
        done = vilu(f"{verb} {given} {rest} --frequencies {said}")
        known = python.fit(digits.z_img_test, digits.z_txt, digits.labels_test, frequencies=value)
        assert done.out.strip() == str(known.report_)
        assert "as frequent as given" in done.out
    assert "candidates" in vilu(f"{verb} {given} {rest} --frequencies new-labels.npy").err


@pytest.mark.parametrize("command", ["threshold --risk 0.2", "sets --coverage 0.8"])
def test_groups_are_what_they_are_in_python(command, vilu, digits, tmp_path):
    """Also numbers with a point, as tables of others hold them; and an empty table is named."""
    sites = np.arange(len(digits.labels_test)) % 2
    given = f"{GIVEN} --labels new-labels.npy --logit-scale {digits.logit_scale}"
    verb, rest = command.split(maxsplit=1)
    said = []
    for name, values in (("whole", sites), ("point", sites.astype(float))):
        np.save(tmp_path / f"{name}.npy", values)
        done = vilu(f"{verb} {given} {rest} --groups {tmp_path / name}.npy --json")
        assert done.code == 0
        said.append([part["n"] for part in json.loads(done.out)["groups"]])
    assert said[0] == said[1]
    (tmp_path / "empty.csv").write_text("")
    done = vilu(f"{verb} {given} {rest} --units {tmp_path / 'empty.csv'}")
    assert done.code == 3
    assert "begins with no header" in done.err
