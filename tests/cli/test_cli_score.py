"""`vilu score` writes what Python computes, whole or not at all, and goes on where it was."""

import csv
import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.cli_tools import DATA
from vilu_sdk.scale import job

# What `vilu score` writes of a scorer with answers of its own.
COLUMNS = ["prediction", "uncertainty", "answer", "answer_uncertainty", "novelty"]


def read_table(path):
    """The rows of a table as dicts of numbers and strings."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".json":
        return json.loads(path.read_text())
    with path.open() as file:
        rows = list(csv.DictReader(file))
    numbers = {**dict.fromkeys(("row", "prediction", "answer"), int), "accepted": lambda text: text == "True"}
    numbers |= dict.fromkeys(("uncertainty", "answer_uncertainty", "novelty"), float)
    return [{name: numbers.get(name, str)(text) for name, text in row.items()} for row in rows]


@pytest.mark.parametrize("piece_rows", [300, 10_000], ids=["three pieces", "one piece"])
@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_score_writes_what_python_computes(kind, piece_rows, vilu, fitted, digits, tmp_path):
    out = tmp_path / f"scores.{kind}"
    done = vilu(f"score {DATA} --names names.txt --scorer my-scorer -o {out} --piece-rows {piece_rows}")
    assert (done.code, done.out, done.err) == (0, "", f"vilu: 799 rows: {out}\n")
    rows = read_table(out)
    assert list(rows[0]) == ["row", *COLUMNS, "name", "answer_name"]
    assert [row["row"] for row in rows] == list(range(799))
    predicted = fitted.predict(digits.z_img_test, digits.z_txt)
    np.testing.assert_array_equal([row["prediction"] for row in rows], predicted)
    said = fitted.judge(digits.z_img_test, digits.z_txt)
    for column in COLUMNS:
        found = [row[column] for row in rows]
        np.testing.assert_allclose(found, getattr(said, column), rtol=1e-5, atol=1e-5)
    assert [row["name"] for row in rows] == [digits.class_names[k] for k in predicted]
    assert [row["answer_name"] for row in rows] == [digits.class_names[k] for k in said.answer]
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_npy_holds_the_uncertainty_alone(vilu, fitted, digits, tmp_path):
    for piece_rows in (300, 10_000):
        line = f"score {DATA} --scorer my-scorer -o {tmp_path / 'u.npy'} -q --piece-rows {piece_rows}"
        assert vilu(line).err == ""
        expected = fitted.predict_uncertainty(digits.z_img_test, digits.z_txt)
        np.testing.assert_allclose(np.load(tmp_path / "u.npy"), expected, rtol=1e-5, atol=1e-9)


def test_blocks_of_rows_go_together_whatever_their_size(vilu, tmp_path, monkeypatch):
    whole = vilu(f"score {DATA} --scorer my-scorer").out
    assert whole.startswith(",".join(["row", *COLUMNS]) + "\n0,")
    monkeypatch.setattr("vilu_sdk.cli._score.CHUNK_ELEMENTS", 32 * 100)
    parts = vilu(f"score {DATA} --scorer my-scorer -o -").out
    assert [line.split(",")[:2] for line in parts.splitlines()] == [
        line.split(",")[:2] for line in whole.splitlines()
    ]
    assert vilu(f"score {DATA} --scorer my-scorer -o {tmp_path / 'u.npy'}").code == 0
    assert np.load(tmp_path / "u.npy").shape == (799,)
    assert [row["row"] for row in vilu(f"score {DATA} --scorer my-scorer --json").json] == [*range(799)]


def test_a_folder_is_gone_on_with_by_whoever_began_it(vilu, tmp_path):
    line = f"score {DATA} --scorer my-scorer --piece-rows 300 -o {tmp_path / 'scores'}"
    assert vilu(line).err == f"vilu: 799 rows in 3 files: {tmp_path / 'scores'}\n"
    parts = sorted((tmp_path / "scores").glob("*.parquet"))
    stamps = [part.stat().st_mtime_ns for part in parts]
    parts[1].unlink()
    assert vilu(line).code == 0
    assert [part.stat().st_mtime_ns == stamp for part, stamp in zip(parts, stamps, strict=True)] == [
        True,
        False,
        True,
    ]
    other = vilu(line.replace("my-scorer", "mcm"))
    assert other.code == 3
    assert "belongs to other work: it differs in scorer" in other.err


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_is_gone_on_with_where_its_pieces_are(kind, vilu, tmp_path, monkeypatch):
    """Interrupted after the first of three pieces, two are scored by the next run."""
    out = tmp_path / f"scores.{kind}"
    line = f"score {DATA} --scorer my-scorer --piece-rows 300 -o {out}"
    score_piece, scored = job.score_piece, []

    def counted(piece, *rest):
        if len(scored) == 1:
            scored.append(None)
            raise KeyboardInterrupt
        score_piece(piece, *rest)
        scored.append(piece.first)

    monkeypatch.setattr(job, "score_piece", counted)
    assert vilu(line).code == 130
    assert [path.name for path in tmp_path.iterdir()] == [f".{out.name}.pieces"]
    assert vilu(line).code == 0
    assert scored == [0, None, 300, 600]
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert [row["row"] for row in read_table(out)] == list(range(799))


def test_other_columns_of_parquet_are_kept(vilu, digits, tmp_path):
    n = 50
    table = pa.table(
        {
            "path": [f"{i}.jpg" for i in range(n)],
            "z": list(digits.z_img_test[:n].astype(np.float16)),
            "taken": pa.array([None] * 30 + [7] * 20, pa.int32()),
        }
    )
    pq.write_table(table, tmp_path / "images.parquet", row_group_size=20)
    for kind, piece_rows in (("csv", 99), ("parquet", 99), ("parquet", 20)):
        out = tmp_path / f"out.{kind}"
        line = f"score {tmp_path}/images.parquet texts.npy --names names.txt --scorer my-scorer"
        assert vilu(f"{line} -o {out} --piece-rows {piece_rows}").code == 0
        rows = read_table(out)
        assert list(rows[0]) == ["path", "taken", *COLUMNS, "name", "answer_name"]
        assert [row["path"] for row in rows] == table["path"].to_pylist()
    assert [row["taken"] for row in rows] == table["taken"].to_pylist()
    assert pq.read_schema(out).field("taken").type == pa.int32()


@pytest.mark.parametrize(
    ("usage", "options", "message"),
    [
        (True, "--scorer vilu", "ViLUEstimator learns: fit it first with vilu fit"),
        (True, "--scorer my-scorer --set recipe=paper", "leave out --set"),
        (True, "--scorer my-scorer --logit-scale 3", "leave out --logit-scale"),
        (True, "--scorer my-scorer --scorer mcm", "takes one"),
        (True, "--scorer my-scorer -o scores.xls", "results are written to .csv, .json, .parquet, .npy or -"),
        (True, "--scorer my-scorer -o nowhere/scores.csv", "the folder nowhere does not exist"),
        (True, "--scorer my-scorer --engine ray", "pass -o"),
        (
            False,
            "--scorer my-scorer --names new-labels.npy",
            "has 799 values but TEXTS has 10 rows",
        ),
        (
            True,
            "--scorer my-scorer --piece-rows 0 -o x.csv",
            "--piece-rows: must be at least 1, got 0",
        ),
        (False, "--scorer labels.npy", "is a file"),
    ],
)
def test_score_says_what_is_wrong(usage, options, message, vilu, digits_folder):
    before = sorted(digits_folder.iterdir())
    done = vilu(f"score {DATA} -q {options}")
    assert done.code == (2 if usage else 3)
    assert message in done.err
    assert done.err.count("\n") == 1
    assert sorted(digits_folder.iterdir()) == before


def test_rays_engine_gets_the_same_arguments(vilu, tmp_path, monkeypatch):
    called = {}

    def score_dataset(source, scorer, texts, **options):
        called.update(options, source=source, scorer=type(scorer).__name__)

    monkeypatch.setattr("vilu_sdk.scale.ray.score_dataset", score_dataset)
    assert vilu(f"score {DATA} --scorer my-scorer --engine ray -o {tmp_path / 'out'}").code == 0
    assert (called["output"], called["scorer"]) == (tmp_path / "out", "ViLUEstimator")
    assert vilu(f"score {DATA} --scorer my-scorer --engine ray -o {tmp_path / 'u.csv'}").code == 0
    assert called["output"] == tmp_path / ".u.csv.pieces"


@pytest.mark.parametrize("kind", ["csv", "json", "npy", "parquet"])
def test_a_file_is_written_whole_or_not_at_all(kind, vilu, tmp_path, monkeypatch):
    out, left = tmp_path / f"scores.{kind}", tmp_path / f".scores.{kind}.{'0' * 32}"
    line = f"score {DATA} --scorer my-scorer -o {out} -q"
    assert vilu(line).code == 0
    before = out.read_bytes()
    left.touch()  # by a run that was killed
    monkeypatch.setattr("vilu_sdk.cli._score.CHUNK_ELEMENTS", 32 * 100)
    blocks, score_partition = iter(range(3)), job.score_partition

    def fails(*rest, **options):
        if next(blocks, None) is None:
            raise OSError("the disk has gone")
        return score_partition(*rest, **options)

    monkeypatch.setattr("vilu_sdk.scale.job.score_partition", fails)
    done = vilu(line)
    assert (done.code, done.err) == (4, "vilu: error: the disk has gone\n")
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    monkeypatch.setattr("vilu_sdk.scale.job.score_partition", score_partition)
    assert vilu(line).code == 0
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_without_pyarrow_all_but_parquet_and_pieces_is_written(vilu, tmp_path, monkeypatch):
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    line = f"score {DATA} --scorer my-scorer -q -o {tmp_path}/scores"
    for kind in ("csv", "json", "npy"):
        assert vilu(f"{line}.{kind}").code == 0
    for wrong in (f"{line}.parquet", f"{line}.csv --piece-rows 300", line):
        done = vilu(wrong)
        assert done.code == 5
        assert 'pip install "vilu-sdk[data]"' in done.err


@pytest.mark.parametrize("out", ["scores", "scores.csv"])
def test_images_that_were_embedded_again_are_refused(out, vilu, digits, tmp_path, monkeypatch):
    """Also under the same name, of the same size, and where the run before was killed."""
    np.save(tmp_path / "z.npy", digits.z_img_test)
    line = f"score {tmp_path}/z.npy texts.npy --scorer my-scorer -q --piece-rows 300 -o {tmp_path}/{out}"
    score_piece = job.score_piece

    def once(piece, *rest):
        if piece.first:
            raise KeyboardInterrupt
        score_piece(piece, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(job, "score_piece", once)
        assert vilu(line).code == 130
    other = digits.z_img_test.copy()
    other[500] += 1
    np.save(tmp_path / "z.npy", other)
    done = vilu(line)
    assert done.code == 3
    assert "z.npy has changed since: row 500 differs; score into another folder, or remove" in done.err
    assert not (tmp_path / "scores.csv").exists()
    np.save(tmp_path / "z.npy", digits.z_img_test)
    assert vilu(line).code == 0
