"""Names are text in every command, and an error of a file names the file and the row of the whole source."""

import csv
import json
import os
import re
import subprocess
import sys
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.cli_tools import Run
from vilu_sdk import MCMScorer
from vilu_sdk.evaluation import evaluate
from vilu_sdk.scorers import Scorer

# Names that look like row numbers of others, or like numbers at all, and names that tables must quote.
CODES = ["3", "1", "0", "4", "2"]
ZEROS = ["007", "7", "0100", "1_0", "2.0"]
ODD = ["naïve $x$ <b>", "dog|cat", 'a, "b"', "猫", "-1"]
D, N = 8, 60

QUICK = "--scorer mcm --logit-scale 9 -q"
LABELLED = {
    "fit": f"fit {{images}} {{texts}} {{known}} {QUICK} -o fitted --overwrite",
    "adapt": "adapt {images} {texts} {known} --logit-scale 9 -q -o adapted --overwrite",
    "evaluate": f"evaluate {{images}} {{texts}} {{known}} {QUICK}",
    "compare": f"compare {{images}} {{texts}} {{known}} {QUICK}",
    "compare --test": f"compare images.npy {{texts}} {{known}} {QUICK} --test {{images}} {{labels}}",
    "report": f"report {{images}} {{texts}} {{known}} {QUICK} -o page.html",
    "threshold": f"threshold {{images}} {{texts}} {{known}} {QUICK} --coverage 0.5",
    "labels": f"labels {{images}} {{texts}} {{known}} {QUICK}",
}
SCORING = {
    "score": f"score {{images}} {{texts}} {QUICK}",
    "score in pieces": f"score {{images}} {{texts}} {QUICK} --piece-rows 20 -o scores.csv",
    "score into a folder": f"score {{images}} {{texts}} {QUICK} --piece-rows 20 -o scores",
}


@pytest.fixture
def task(tmp_path, monkeypatch):
    """Images, texts and labels of five classes, in the working directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(5, D)).astype(np.float32)
    labels = rng.integers(5, size=N)
    z_img = z_txt[labels] + 1.2 * rng.normal(size=(N, D)).astype(np.float32)
    np.save("images.npy", z_img)
    np.save("texts.npy", z_txt)
    np.save("labels.npy", labels)
    return z_img, z_txt, labels


def write(path, names, labels):
    """Write the name of each label as text, in the kind of file that the suffix says."""
    words = [names[k] for k in labels]
    if path.endswith(".npy"):
        np.save(path, np.array(words))
    elif path.endswith(".parquet"):
        pq.write_table(pa.table({"label": words}), path)
    else:
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([["label"], *([word] for word in words)])


@pytest.mark.parametrize("names", [CODES, ZEROS, ODD], ids=["codes", "zeros", "odd"])
@pytest.mark.parametrize("kind", ["csv", "parquet", "npy"])
def test_labels_that_are_text_are_names_whatever_they_look_like(names, kind, task, capsys):
    write(f"names.{kind}", names, range(5))
    write(f"words.{kind}", names, task[2])
    expected = evaluate(MCMScorer(logit_scale=9), *task)
    line = LABELLED["evaluate"].format(images="images.npy", texts="texts.npy", known="{}") + " --json"
    for known in (f"--labels words.{kind} --names names.{kind}", f"--labels labels.npy --names names.{kind}"):
        assert Run(line.format(known), capsys).json == pytest.approx(expected)
    composed = [unicodedata.normalize("NFD", name) for name in names]
    write(f"words.{kind}", composed, task[2])
    done = Run(line.format(f"--labels words.{kind} --names names.{kind}"), capsys)
    assert done.json == pytest.approx(expected)


@pytest.mark.parametrize("names", [CODES, ZEROS, ODD], ids=["codes", "zeros", "odd"])
def test_scores_have_the_names_as_they_are_written(names, task, capsys):
    write("names.csv", names, range(5))
    expected = [names[k] for k in MCMScorer(logit_scale=9).predict(*task[:2])]
    line = f"score images.npy texts.npy {QUICK} --names names.csv -o scores"
    for rows in (1000, 20):
        for kind in ("csv", "json", "parquet"):
            assert Run(f"{line}.{kind} --piece-rows {rows}", capsys).code == 0
        with open("scores.csv", newline="") as file:
            assert [row["name"] for row in csv.DictReader(file)] == expected
        with open("scores.json") as file:
            assert [row["name"] for row in json.load(file)] == expected
        assert pq.read_table("scores.parquet").column("name").to_pylist() == expected


def test_no_name_is_lost_in_a_pipe_whatever_its_encoding(task):
    write("names.csv", ODD, range(5))
    line = [
        sys.executable,
        "-m",
        "vilu_sdk",
        *f"score images.npy texts.npy {QUICK} --names names.csv".split(),
    ]
    done = subprocess.run(line, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    names = [row["name"] for row in csv.DictReader(done.stdout.decode("utf-8").splitlines())]
    assert names == [ODD[k] for k in MCMScorer(logit_scale=9).predict(*task[:2])]


@pytest.mark.parametrize("command", [*LABELLED, "score"])
def test_every_command_refuses_a_name_given_twice(command, task, capsys):
    write("names.csv", ["dog", "crane", "cat", "sun", " crane"], range(5))
    line = {**LABELLED, **SCORING}[command]
    known = "--labels labels.npy --names names.csv"
    line = line.format(images="images.npy", texts="texts.npy", known=known, labels="labels.npy")
    done = Run(line if "--names" in line else f"{line} --names names.csv", capsys)
    assert done.code == 3
    assert done.err.startswith("vilu: error: names.csv has 'crane' twice, in row 1 and in row 4;")


@pytest.mark.parametrize(
    ("label", "names", "message"),
    [
        ("doog", "names.csv", "has 'doog' in row 7, which is not in names.csv; did you mean 'dog'?"),
        ("2", "names.csv", "has '2' in row 7, which is not in names.csv, whose first are 'dog'"),
        ("2.0", None, "has '2.0' in row 7; a row number is written as 0, 1, 2"),
        ("1_0", None, "has '1_0' in row 7; a row number"),
        ("", "names.csv", "has no value in row 7"),
    ],
)
@pytest.mark.parametrize("command", LABELLED)
def test_every_command_names_the_row_of_a_wrong_label(command, label, names, message, task, capsys):
    write("names.csv", ["dog", "crane", "cat", "sun", "moon"], range(5))
    words = ["dog"] * N if names else ["1"] * N
    words[7] = label
    write("words.csv", words, range(N))
    labels = ("words.csv", "labels.npy") if command != "compare --test" else ("labels.npy", "words.csv")
    known = f"--labels {labels[0]}" + (f" --names {names}" if names else "")
    line = LABELLED[command].format(images="images.npy", texts="texts.npy", known=known, labels=labels[1])
    done = Run(line, capsys)
    assert done.code == 3
    assert done.err.startswith(f"vilu: error: words.csv {message}")
    assert done.err.count("\n") == 1


def test_labels_that_are_all_row_numbers_get_the_remedy(task, capsys):
    write("names.csv", ["dog", "crane", "cat", "sun", "moon"], range(5))
    write("numbers.csv", [str(k) for k in range(5)], task[2])
    line = LABELLED["evaluate"].format(images="images.npy", texts="texts.npy", known="--labels numbers.csv")
    assert Run(line, capsys).code == 0
    assert "pass integers in .npy, or leave out the names" in Run(f"{line} --names names.csv", capsys).err
    np.save("from-one.npy", task[2] + 1)
    assert (
        "labels seem to start at 1: subtract 1"
        in Run(line.replace("numbers.csv", "from-one.npy"), capsys).err
    )


@pytest.mark.parametrize("kind", ["npy", "parquet"])
@pytest.mark.parametrize(("value", "what"), [(np.nan, "a NaN, infinite"), (0, "is all zero")])
@pytest.mark.parametrize("command", [*LABELLED, *SCORING])
def test_every_command_names_file_and_row_of_a_bad_embedding(
    command, value, what, kind, task, tmp_path, capsys
):
    z_img, z_txt, _ = task
    z_img, z_txt = z_img.copy(), z_txt.copy()
    z_img[43], z_txt[3] = value, value
    (tmp_path / "shards").mkdir()
    for number, rows in enumerate(np.array_split(np.arange(N), 3)):
        if kind == "npy":
            np.save(f"shards/z_{number}.npy", z_img[rows])
        else:
            pq.write_table(
                pa.table({"z": list(z_img[rows])}), f"shards/z_{number}.parquet", row_group_size=10
            )
    np.save("bad.npy", z_txt)
    line = {**LABELLED, **SCORING}[command]
    how = {"known": "--labels labels.npy", "labels": "labels.npy"}
    done = Run(line.format(images="shards", texts="texts.npy", **how), capsys)
    assert done.code == 3
    where = rf"in row 43 \(row 3 of (z_2\.{kind}|the file)\) of {tmp_path / 'shards'}"
    assert what in done.err
    assert re.search(where, done.err), done.err
    done = Run(line.format(images="images.npy", texts="bad.npy", **how), capsys)
    assert done.code == 3
    assert what in done.err
    assert f"in row 3 of {tmp_path / 'bad.npy'}" in done.err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--correct", "perhaps", "has 'perhaps' in row 43 (row 3 of y_2.parquet); expected one of true"),
        ("--correct", None, "y_2.parquet has no value in row 43 (row 3 of y_2.parquet) of 'y'"),
        ("--labels", "dog", "has 'dog' in row 43 (row 3 of y_2.parquet); a row number is"),
        ("--groups", None, "y_2.parquet has no value in row 43 (row 3 of y_2.parquet) of 'y'"),
    ],
)
def test_values_in_shards_are_named_by_both_rows(option, value, message, task, tmp_path, capsys):
    values = ["1"] * N
    values[43] = value
    (tmp_path / "shards").mkdir()
    for number, rows in enumerate(np.array_split(np.arange(N), 3)):
        pq.write_table(pa.table({"y": [values[row] for row in rows]}), f"shards/y_{number}.parquet")
    known = f"{option} shards" + (" --labels labels.npy" if option == "--groups" else "")
    line = LABELLED["threshold"].format(images="images.npy", texts="texts.npy", known=known)
    done = Run(line, capsys)
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert message in done.err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--labels", 7, "shards must lie in [0, 5), the rows of z_txt, but row 43 (row 3 of y_2.npy) is 7;"),
        ("--correct", 2, "or 0 and 1, got 2 in row 43 (row 3 of y_2.npy);"),
        ("--labels", "dog", "shards has text in y_2.npy and int64 in y_0.npy"),
        ("--names", "dog", "shards has text in y_2.npy and int64 in y_0.npy"),
    ],
)
def test_numbers_in_shards_are_named_by_both_rows(option, value, message, task, tmp_path, capsys):
    (tmp_path / "shards").mkdir()
    for number in range(3):
        values = [1] * 20
        if number == 2:
            values = [str(one) for one in values] if isinstance(value, str) else values
            values[3] = value
        np.save(f"shards/y_{number}.npy", np.array(values))
    known = f"{option} shards" + (" --labels labels.npy" if option == "--names" else "")
    line = LABELLED["threshold"].format(images="images.npy", texts="texts.npy", known=known)
    done = Run(line, capsys)
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert message in done.err


@pytest.mark.parametrize("command", [*LABELLED, *SCORING])
def test_every_command_names_a_damaged_file(command, task, tmp_path, capsys):
    line = {**LABELLED, **SCORING}[command]
    np.savez_compressed("z.npz", z=task[0])
    pq.write_table(pa.table({"z": list(task[0])}), "z.parquet")
    rng = np.random.default_rng(1)
    for file in ("z.npz", "z.parquet", "images.npy"):
        whole = (tmp_path / file).read_bytes()
        spoiled = bytearray(whole)
        spoiled[300:400] = rng.integers(256, size=100).astype(np.uint8).tobytes()
        for content in (b"", b"junk" * 100, whole[: len(whole) // 2], bytes(spoiled)):
            if file == "images.npy" and content == bytes(spoiled):
                continue  # any bytes are numbers
            bad = tmp_path / f"bad-{file}"
            bad.write_bytes(content)
            how = {"known": "--labels labels.npy", "labels": "labels.npy"}
            done = Run(line.format(images=bad.name, texts="texts.npy", **how), capsys)
            assert (done.code, done.err.count("\n")) == (3, 1), done.err
            assert str(bad) in done.err
            assert len(done.err) < 500


@pytest.fixture
def prompts(task):
    """The same candidates as a table of names and embeddings, with some rows a name in any order."""
    rng = np.random.default_rng(1)
    owners = np.array([3, 0, 1, 2, 4, 0, 3, 3, 1, 0])
    z = task[1][owners] + 0.2 * rng.normal(size=(10, D)).astype(np.float32)
    table = {"prompt": [f"a photo of {ODD[k]}" for k in owners], "class": [ODD[k] for k in owners]}
    pq.write_table(pa.table({**table, "z": z.tolist()}), "texts.parquet")
    np.savez("texts.npz", z=z, names=np.array(table["class"]))
    order = list(dict.fromkeys(owners.tolist()))
    return {ODD[k]: z[owners == k] for k in order}, [ODD[k] for k in task[2]]


@pytest.mark.parametrize(
    "texts", ["texts.parquet --names texts.parquet::class", "texts.npz::z --names texts.npz::names"]
)
def test_rows_of_one_name_beside_their_embeddings_are_prompts(texts, task, prompts, capsys):
    candidates, labels = prompts
    write("words.csv", ODD, task[2])
    mcm = MCMScorer(logit_scale=9)
    expected = [list(candidates)[row] for row in mcm.predict(task[0], candidates)]
    for rows in (1000, 20):
        line = f"score images.npy {texts} {QUICK} --piece-rows {rows}"
        for output in ("scores.parquet", f"folder-{rows}"):
            assert Run(f"{line} -o {output}", capsys).code == 0
            assert pq.read_table(output).column("name").to_pylist() == expected
    line = f"evaluate images.npy {texts} --labels words.csv {QUICK} --json"
    assert Run(line, capsys).json == pytest.approx(evaluate(mcm, task[0], candidates, labels))
    for line in LABELLED.values():
        known = f"--labels words.csv {texts.partition(' ')[2]}"
        line = line.format(
            images="images.npy", texts=texts.partition(" ")[0], known=known, labels="words.csv"
        )
        assert Run(line, capsys).code == 0, line


def test_a_head_and_its_thresholds_keep_the_names(task, prompts, capsys):
    candidates, _ = prompts
    write("words.csv", ODD, task[2])
    data = "images.npy texts.parquet --names texts.parquet::class --labels words.csv -q"
    assert Run(f"fit {data} --logit-scale 9 -o head", capsys).code == 0
    assert Scorer.from_pretrained("head").names_ == list(candidates)
    assert "dog|cat" in Run("info head", capsys).out.replace("\\|", "|")
    done = Run(f"threshold {data} --scorer mcm --logit-scale 9 --coverage 0.5 --per-class --json", capsys)
    assert {part["group"] for part in done.json["groups"]} <= set(candidates)
