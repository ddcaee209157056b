"""Rows that are no embeddings: an error, left out, or marked, whatever the table or file they are in."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.cli_tools import Run
from vilu_sdk import MCMScorer, SelectivePredictor, ViLUEstimator
from vilu_sdk.inputs import open_embeddings
from vilu_sdk.scale import score_partition, score_to_folder

Z_TXT = np.eye(4, 8, dtype=np.float32)
TEXTS = dict(zip("abcd", Z_TXT, strict=True))
WRONG = {
    3: ([np.nan] * 8, "has a NaN, infinite or overflowing value"),
    4: ([0.0] * 8, "is all zero"),
    9: ([1e300] + [np.inf] * 7, "has a NaN, infinite or overflowing value"),
}
RAGGED = {5: (None, "has no embedding"), 6: ([1.0, 2.0], "has an embedding of width 2")}


def rows(wrong):
    z = list(np.random.default_rng(0).normal(size=(12, 8)))
    for row, (value, _) in wrong.items():
        z[row] = None if value is None else np.array(value)
    return z


def objects(z):
    found = np.empty(len(z), object)
    found[:] = z
    return found


FORMS = {
    "arrays": lambda z: {"id": np.arange(12), "z": np.stack(z)},
    "objects": lambda z: {"id": np.arange(12), "z": objects(z)},
    "pandas": lambda z: pd.DataFrame({"id": np.arange(12), "z": objects(z)}),
    "table": lambda z: pa.table({"id": np.arange(12), "z": pa.array(z)}),
    "batch": lambda z: pa.record_batch({"id": np.arange(12), "z": pa.array(z)}),
}


def frame(table):
    return table.to_pandas() if hasattr(table, "to_pandas") else pd.DataFrame(dict(table))


@pytest.fixture(scope="module")
def scorers(toy):
    rng = np.random.default_rng(1)
    z, labels = rng.normal(size=(200, 8)), rng.integers(4, size=200)
    vilu = ViLUEstimator(logit_scale=5.0).fit(z + 3 * Z_TXT[labels], Z_TXT, labels)
    mcm = MCMScorer(logit_scale=5.0)
    decides = SelectivePredictor(mcm, 0.9).fit(z + 3 * Z_TXT[labels], Z_TXT, labels)
    return {"MCM": mcm, "ViLU": vilu, "threshold": decides}


@pytest.mark.parametrize("kind", ["MCM", "ViLU", "threshold"])
@pytest.mark.parametrize("form", FORMS)
def test_good_rows_are_scored_as_without_the_others(form, kind, scorers):
    wrong = WRONG if form == "arrays" else WRONG | RAGGED
    table, scorer = FORMS[form](rows(wrong)), scorers[kind]
    good = [row for row in range(12) if row not in wrong]
    alone = frame(
        score_partition(
            {"id": np.arange(12)[good], "z": np.stack([rows({})[r] for r in good])}, scorer, TEXTS
        )
    )
    skipped = frame(score_partition(table, scorer, TEXTS, bad_rows="skip"))
    marked = frame(score_partition(table, scorer, TEXTS, bad_rows="mark"))
    assert [str(reason) for reason in marked["reason"]] == [wrong.get(row, ("", ""))[1] for row in range(12)]
    assert list(skipped.columns) == list(alone.columns) == [*marked.columns.drop("reason")]
    for found in (skipped, marked[marked["reason"] == ""]):
        for column in alone.columns:
            assert found[column].tolist() == alone[column].tolist(), column
    bad = marked[marked["reason"] != ""]
    assert bad["uncertainty"].isna().all()
    assert set(bad["prediction"]) == {-1}
    assert set(bad["name"]) == {""}
    if kind == "threshold":
        assert not bad["accepted"].any()
    if kind == "ViLU":
        assert bad[["answer_uncertainty", "novelty"]].isna().all(axis=None)
    with pytest.raises(ValueError, match=r"row [3-6]"):
        score_partition(table, scorer, TEXTS)


@pytest.mark.parametrize("how", ["skip", "mark"])
def test_no_good_row_and_no_bad_row(how):
    z = np.random.default_rng(0).normal(size=(5, 8))
    assert not np.isfinite(
        frame(score_partition({"z": z * 0}, MCMScorer(), Z_TXT, bad_rows=how))["uncertainty"]
    ).any()
    found = frame(score_partition({"z": z}, MCMScorer(), Z_TXT, bad_rows=how))
    assert found["uncertainty"].notna().all()
    assert list(found.columns) == ["prediction", "uncertainty", *(["reason"] if how == "mark" else [])]
    with pytest.raises(ValueError, match="bad_rows must be one of stop, skip, mark, got 'drop'"):
        score_partition({"z": z}, MCMScorer(), Z_TXT, bad_rows="drop")


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    z = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    z[[0, 120, 121, 499]] = np.nan
    np.save("z.npy", z)
    np.save("t.npy", Z_TXT)
    return tmp_path


@pytest.mark.parametrize("how", ["skip", "mark"])
def test_a_job_over_files_counts_them_and_goes_on(how, source):
    arguments = ("z.npy", "scores", MCMScorer(), Z_TXT)
    done = score_to_folder(*arguments, piece_rows=100, bad_rows=how)
    assert (done.rows, done.found, done.bad) == (500, 0, 4)
    done.files[1].unlink()
    again = score_to_folder(*arguments, piece_rows=100, bad_rows=how)
    assert (again.rows, again.found, again.bad) == (500, 4, 4)
    table = pq.read_table([str(file) for file in again.files])
    assert table["row"].to_pylist() == [
        row for row in range(500) if how == "mark" or row not in (0, 120, 121, 499)
    ]
    with pytest.raises(ValueError, match="bad_rows must be one of"):
        score_to_folder("z.npy", "unmarked", MCMScorer(), Z_TXT, bad_rows="drop")
    assert not (source / "unmarked").exists()
    with pytest.raises(ValueError, match="it differs in bad_rows"):
        score_to_folder(*arguments, piece_rows=100, bad_rows="mark" if how == "skip" else "skip")


@pytest.mark.parametrize("how", ["stop", "skip", "mark"])
@pytest.mark.parametrize("output", ["s.csv", "s.json", "s.npy", "s.parquet", "folder", "-"])
def test_the_command_counts_them_at_the_end(output, how, source, capsys):
    line = "score z.npy t.npy --scorer mcm --logit-scale 9 -q --piece-rows 100"
    done = Run(f"{line} --bad-rows {how} -o {output}", capsys)
    if how == "stop":
        assert done.code == 3
        assert "row 0" in done.err
        return
    if (how, output) == ("skip", "s.npy"):
        assert done.code == 2
        assert "nobody could tell what was skipped" in done.err
        return
    assert done.code == 0
    what = "were skipped" if how == "skip" else "are marked in the column reason"
    assert done.err == f"vilu: warning: 4 of 500 rows are no embeddings and {what}\n"
    if output == "s.npy":
        u = np.load(output)
        assert (len(u), np.isnan(u).sum()) == (500, 4)


def test_several_sources_and_patterns_are_one_after_the_other(source, capsys):
    z = open_embeddings("z.npy")[:]
    z[np.isnan(z)] = 1.0
    for number, part in enumerate(np.array_split(z, 11)):
        np.save(f"part_{number}.npy", part)
    np.save("whole.npy", z)
    expected = Run("score whole.npy t.npy --scorer mcm --logit-scale 9 -q", capsys).out
    names = " ".join(f"part_{number}.npy" for number in range(11))
    for images in ("'part_*.npy'", "'part_?.npy' part_10.npy", names):
        found = Run(f"score {images} t.npy --scorer mcm --logit-scale 9 -q", capsys).out
        found, alone = (np.loadtxt(text.splitlines()[1:], delimiter=",") for text in (found, expected))
        assert np.allclose(found, alone, atol=1e-6)
        assert (
            Run(f"score {images} t.npy --scorer mcm --logit-scale 9 -q -o f{len(images)}", capsys).code == 0
        )
    done = Run("score 'nothing_*.npy' t.npy --scorer mcm --logit-scale 9 -q", capsys)
    assert (done.code, done.err) == (3, "vilu: error: no file matches nothing_*.npy.\n")
