"""What the user calls images goes with their scores."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.cli_tools import Run
from vilu_sdk import MCMScorer
from vilu_sdk.scale import score_to_folder

LINE = "score {} t.npy --scorer mcm --logit-scale 9 -q --piece-rows 100"
PATTERN = "'z_*.npy'"
NAMES = [f"photos/{number:03d}.jpg" for number in range(250)]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(250, 8)).astype(np.float32)
    z[120] = 0
    for number, part in enumerate(np.split(z, [60, 170])):
        np.save(f"z_{number}.npy", part)
    np.savez("data.npz", z=np.abs(z) + 1, path=np.array(NAMES), number=np.arange(250) * 3)
    np.save("t.npy", rng.normal(size=(5, 8)).astype(np.float32))
    (tmp_path / "ids.txt").write_text("\n".join(NAMES))
    (tmp_path / "metadata").mkdir()
    for number, part in enumerate(np.split(np.array(NAMES), [60, 170])):
        pq.write_table(
            pa.table({"image_path": part, "n": np.arange(len(part))}), f"metadata/m_{number}.parquet"
        )


def score(ids):
    return score_to_folder("data.npz", "scores", MCMScorer(), np.load("t.npy"), column="z", ids=ids)


def column(output):
    if output == "s.csv":
        with open(output) as file:
            header, *lines = file.read().splitlines()
        assert header.startswith("row,id,prediction,uncertainty")
        return [line.split(",")[1] for line in lines]
    return pq.read_table(output)["id"].to_pylist()


@pytest.mark.parametrize("output", ["s.csv", "s.parquet", "folder"])
@pytest.mark.parametrize("ids", ["ids.txt", "data.npz::path", "metadata::image_path"])
def test_ids_are_a_column(ids, output, capsys):
    done = Run(f"{LINE.format(PATTERN)} --bad-rows skip --ids {ids} -o {output}", capsys)
    assert done.code == 0, done.err
    assert column(output) == [name for row, name in enumerate(NAMES) if row != 120]


def test_numbers_stay_numbers_and_other_ids_are_other_work(capsys):
    done = score(ids=range(250))
    assert column(done.files[0]) == list(range(250))
    assert score(ids=range(250)).found == 1
    with pytest.raises(ValueError, match="it differs in ids"):
        score(ids=NAMES)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([Path(name) for name in NAMES], [str(Path(name)) for name in NAMES]),
        ([Path(name) if row % 2 else name for row, name in enumerate(NAMES)], None),
        (np.arange(250, dtype=">i4"), list(range(250))),
        (np.arange(250, dtype=np.longdouble), list(range(250))),
    ],
    ids=["paths", "paths and texts", "other bytes", "long numbers"],
)
def test_ids_are_texts_and_numbers_however_they_are_kept(ids, expected):
    found = column(score(ids=ids).files[0])
    assert found == (expected or [str(name) for name in ids])


@pytest.mark.parametrize(
    ("value", "held"),
    [(7, "int and str"), (b"b", "bytes and str"), ({1}, "set and str"), ("\ud800", "strings")],
    ids=["numbers", "bytes", "sets", "half characters"],
)
def test_ids_that_no_file_holds_are_named_before_there_is_one(value, held, tmp_path):
    with pytest.raises(TypeError, match=f"^ids must hold a text or a number for each row, got .*{held}"):
        score(ids=[value, *NAMES[1:]])
    assert not (tmp_path / "scores").exists()


def test_ids_that_do_not_fit_are_refused(capsys):
    with pytest.raises(ValueError, match="there are 3 ids for 250 rows"):
        score(ids=range(3))
    pq.write_table(pa.table({"z": list(np.ones((5, 8))), "name": list("abcde")}), "z.parquet")
    done = Run(f"{LINE.format('z.parquet')} --ids ids.txt", capsys)
    assert done.code == 3
    assert "keep the other columns" in done.err
