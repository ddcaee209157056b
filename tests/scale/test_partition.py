"""A partition is scored as its rows are, and a job on files survives any death."""

import copy
import os
import shutil
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from sklearn.exceptions import NotFittedError

from support import processes
from vilu_sdk import LVUScorer, MCMScorer, ViLUEstimator
from vilu_sdk.inputs.shards import open_embeddings
from vilu_sdk.inputs.tables import count_rows
from vilu_sdk.scale import pieces
from vilu_sdk.scale.job import score_piece, score_to_folder
from vilu_sdk.scale.partition import score_partition
from vilu_sdk.scale.pieces import MANIFEST, plan
from vilu_sdk.scorers import Scorer
from vilu_sdk.selective import SelectivePredictor, SetPredictor

N, D = 41, 6
RNG = np.random.default_rng(0)
Z_IMG = RNG.normal(size=(N, D)).astype(np.float16)
Z_TXT = RNG.normal(size=(4, D)).astype(np.float32)
MCM = MCMScorer(logit_scale=2.0)
NAMES = ["id", "text", "prediction", "uncertainty"]


def arrow(kind, z=Z_IMG):
    columns = {"id": pa.array(range(len(z)), pa.int16()), "z": pa.array(list(z), kind)}
    field = pa.field("id", pa.int16(), metadata={"unit": "image"})
    texts = pa.array([None if i % 7 == 3 else f"text {i}" for i in range(len(z))]).dictionary_encode()
    schema = pa.schema([field, ("z", kind), ("text", texts.type)], metadata={"made": "here"})
    return pa.table([columns["id"], columns["z"], texts], schema=schema)


def frame(z=Z_IMG, wrap=list):
    texts = [None if i % 7 == 3 else f"text {i}" for i in range(len(z))]
    columns = {"id": np.arange(len(z), dtype=np.int16), "z": wrap(z), "text": pd.Series(texts, dtype=object)}
    return pd.DataFrame(columns).set_index(pd.Index(range(10, 10 + len(z)), name="image"))


def objects(z):
    out = np.empty(len(z), object)
    out[:] = [row.tolist() for row in z]
    return out


KINDS = {
    "dict": {"id": np.arange(N), "z": Z_IMG, "text": np.array(["x"] * N)},
    "dict of lists": {"id": np.arange(N), "z": objects(Z_IMG), "text": np.array([None] * N)},
    "pandas arrays": frame(),
    "pandas lists": frame(wrap=objects),
    "pandas arrow": frame(wrap=lambda z: pd.array(list(z), pd.ArrowDtype(pa.list_(pa.float16())))),
    "table": arrow(pa.list_(pa.float16())),
    "large": arrow(pa.large_list(pa.float32())),
    "fixed": arrow(pa.list_(pa.float32(), D)),
    "chunked": pa.concat_tables([arrow(pa.list_(pa.float16())).slice(0, 9)] * 2),
    "batch": arrow(pa.list_(pa.float16())).to_batches()[0],
    "tensors": pa.table({"z": pa.FixedShapeTensorArray.from_numpy_ndarray(Z_IMG.astype(np.float32))}),
}


@pytest.fixture(params=KINDS)
def table(request):
    return KINDS[request.param]


def names(table):
    return (
        list(table.column_names if isinstance(table, pa.Table) else table.schema.names)
        if hasattr(table, "schema")
        else list(table)
    )


def take(table, start, stop):
    if isinstance(table, dict):
        return {name: values[start:stop] for name, values in table.items()}
    return table.iloc[start:stop] if isinstance(table, pd.DataFrame) else table.slice(start, stop - start)


def values(table, name):
    return np.asarray(table[name] if not hasattr(table, "schema") else table.column(name))


def test_scores_are_those_of_the_rows_whatever_holds_them(table):
    z_img = Z_IMG if len(values(table, names(table)[0])) == N else np.concatenate([Z_IMG[:9]] * 2)
    scored = score_partition(table, MCM, Z_TXT)
    assert type(scored) is type(table)
    np.testing.assert_array_equal(values(scored, "prediction"), MCM.predict(z_img, Z_TXT))
    np.testing.assert_array_equal(values(scored, "uncertainty"), MCM.predict_uncertainty(z_img, Z_TXT))
    assert values(scored, "prediction").dtype == np.int64
    assert values(scored, "uncertainty").dtype == np.float64


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: SelectivePredictor(s, 0.3)], ids=["scorer", "threshold"]
)
@pytest.mark.parametrize("predicts", ["zero-shot", "posterior"])
def test_a_scorer_with_answers_of_its_own_writes_what_it_judges(predicts, wrap):
    rng = np.random.default_rng(1)
    labels = rng.integers(4, size=200)
    z_img = Z_TXT[labels] + rng.normal(size=(200, D))
    est = ViLUEstimator(logit_scale=2.0, random_state=0, predicts=predicts).fit(z_img, Z_TXT, labels)
    scorer = wrap(est)
    if scorer is not est:
        scorer.fit(Z_IMG, Z_TXT, est.predict(Z_IMG, Z_TXT))
    scored = score_partition({"z": Z_IMG}, scorer, Z_TXT)
    said = est.judge(Z_IMG, Z_TXT)
    answers = ["answer", "answer_uncertainty", "novelty"]
    assert list(scored) == [*NAMES[2:], *answers, *(["accepted"] if scorer is not est else [])]
    for column in answers:
        np.testing.assert_array_equal(scored[column], getattr(said, column))
    np.testing.assert_array_equal(scored["prediction"], est.predict(Z_IMG, Z_TXT))
    np.testing.assert_array_equal(scored["uncertainty"], est.predict_uncertainty(Z_IMG, Z_TXT))
    none = score_partition({"z": Z_IMG[:0]}, scorer, Z_TXT)
    assert {name: values.dtype for name, values in none.items()} == {
        name: values.dtype for name, values in scored.items()
    }


def test_other_columns_stay_as_they_were(table):
    before = copy.deepcopy(table)
    scored = score_partition(table, MCM, Z_TXT)
    assert names(scored) == [name for name in names(table) if name != "z"] + NAMES[2:]
    for name in names(scored)[:-2]:
        if isinstance(table, dict):
            assert scored[name] is table[name]
        elif isinstance(table, pd.DataFrame):
            pd.testing.assert_series_equal(scored[name], table[name])
        else:
            assert scored.column(name).equals(table.column(name))
            assert scored.schema.field(name).equals(table.schema.field(name), check_metadata=True)
            assert scored.schema.metadata == table.schema.metadata
    if isinstance(table, dict):  # and the table that was given is not touched
        assert all((before[name] == table[name]).all() for name in before)
    else:
        assert before.equals(table)


def test_no_rows_give_the_same_columns(table):
    empty, scored = (score_partition(take(table, *rows), MCM, Z_TXT, column="z") for rows in ((0, 0), (0, 3)))
    assert names(empty) == names(scored)
    for name in names(scored):
        assert len(values(empty, name)) == 0
        assert values(empty, name).dtype == values(scored, name).dtype
    if hasattr(table, "schema"):
        assert empty.schema.equals(scored.schema)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, N), max_size=5))
def test_how_the_rows_are_cut_does_not_matter(cuts):
    bounds = [0, *sorted(cuts), N]
    parts = [
        score_partition(take(KINDS["table"], start, stop), MCM, Z_TXT) for start, stop in pairwise(bounds)
    ]
    whole, joined = score_partition(KINDS["table"], MCM, Z_TXT), pa.concat_tables(parts)
    assert joined.drop_columns("uncertainty").equals(whole.drop_columns("uncertainty"))
    np.testing.assert_allclose(values(joined, "uncertainty"), values(whole, "uncertainty"), rtol=1e-5)


def test_candidates_are_prepared_once_for_all_partitions(monkeypatch):
    calls = []
    among = MCMScorer._among
    monkeypatch.setattr(MCMScorer, "_among", lambda self, text: calls.append(1) or among(self, text))
    scorer = MCMScorer()
    for start in range(0, 40, 10):
        score_partition(take(KINDS["table"], start, start + 10), scorer, Z_TXT)
    assert len(calls) == 1


def spoiled(value):
    rows = objects(Z_IMG)
    rows[5] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "column", "error", "message"),
    [
        ({"id": np.arange(3)}, None, ValueError, "lists of numbers are none among 'id'"),
        ({"a": Z_IMG, "b": Z_IMG}, None, ValueError, "lists of numbers are 'a', 'b' among 'a', 'b'"),
        ({"a": Z_IMG}, "z", ValueError, "rows has no column 'z'; it has 'a'"),
        ({"a": Z_IMG, "prediction": np.arange(N)}, None, ValueError, "already has a column 'prediction'"),
        (frame().assign(uncertainty=0.0), "z", ValueError, "already has a column 'uncertainty'"),
        (frame(wrap=lambda z: spoiled(None)), None, ValueError, "'z' has None in row 5"),
        (
            frame(wrap=lambda z: spoiled([1.0, 2.0])),
            "z",
            ValueError,
            "width 2 in row 5 but of width 6 elsewhere",
        ),
        (frame(), "text", ValueError, "'text' has 'text 0' in row 0 where an embedding belongs"),
        (pa.table({"z": list(spoiled(None))}), None, ValueError, "'z' has None in row 5"),
        (pa.table({"z": list(spoiled([]))}), None, ValueError, "width 0 in row 5"),
        (pa.table({"z": list(spoiled([1.0] * 5 + [None]))}), None, ValueError, "NaN, .* in row 5"),
        (arrow(pa.list_(pa.float16())), "id", TypeError, "'id' holds int16, expected lists of numbers"),
        (pa.table([Z_IMG.T[0]] * 2, ["a", "a"]), "a", ValueError, "more than one column 'a'"),
        (Z_IMG, None, TypeError, r"rows must be .* got numpy\.ndarray"),
        ({"z": Z_IMG[:, :5]}, None, ValueError, "rows of width 6, expected 5"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_table_is_said(rows, column, error, message):
    with pytest.raises(error, match=message):
        score_partition(rows, MCM, Z_TXT, column=column)


def test_a_column_of_embeddings_may_have_the_name_of_one_that_is_added():
    scored = score_partition({"prediction": Z_IMG}, MCM, Z_TXT)
    np.testing.assert_array_equal(scored["prediction"], MCM.predict(Z_IMG, Z_TXT))


def test_a_scorer_that_is_not_fitted_says_so():
    with pytest.raises(NotFittedError):
        score_partition(frame(), LVUScorer(), Z_TXT)


# Files.


def write(folder, kind, parts=(0, 17, 17, 30, N)):
    """Four shards, the second empty, of which a parquet file has more columns and small row groups."""
    folder.mkdir()
    for i, (start, stop) in enumerate(pairwise(parts)):
        z, path = Z_IMG[start:stop], folder / f"z_{i + 8}.{kind.split()[0]}"
        if kind == "npy":
            np.save(path, z)
        elif kind == "npy big-endian":
            np.save(path, z.astype(">f4"))
        elif kind == "npz":
            np.savez(path, z=z, other=np.zeros(3))
        elif kind == "npz compressed":
            np.savez_compressed(path, z=z, other=np.zeros(3))
        elif kind == "safetensors":
            save_file({"z": z, "other": np.zeros(3)}, path)
        else:
            table = arrow(pa.list_(pa.float16()), z)
            table = table.set_column(0, "id", pa.array(range(start, stop), pa.int16()))
            pq.write_table(table, path, row_group_size=4)
    return folder


def column_of(kind):
    return None if kind.startswith("npy") else "z"


FILES = ["npy", "npy big-endian", "npz", "npz compressed", "safetensors", "parquet"]


def state(folder):
    """What tells whether a file was written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.parquet")}


def check(folder, scorer=MCM, id_name="row"):
    table = pq.read_table(folder)
    np.testing.assert_array_equal(values(table, id_name), np.arange(N))
    np.testing.assert_array_equal(values(table, "prediction"), scorer.predict(Z_IMG, Z_TXT))
    expected = scorer.predict_uncertainty(Z_IMG, Z_TXT)
    np.testing.assert_allclose(values(table, "uncertainty"), expected, rtol=1e-5)
    return table


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("piece_rows", [5, 1000])
def test_files_are_scored_as_their_rows_are(tmp_path, kind, piece_rows):
    source = write(tmp_path / "in", kind)
    done = score_to_folder(
        source, tmp_path / "out", MCM, Z_TXT, column=column_of(kind), piece_rows=piece_rows
    )
    assert (done.rows, done.found) == (N, 0)
    assert done.files == sorted((tmp_path / "out").glob("*.parquet"))
    table = check(tmp_path / "out", id_name="id" if kind == "parquet" else "row")
    if kind == "parquet":
        assert table.column_names == NAMES
        texts = [None if (i - start) % 7 == 3 else f"text {i - start}"
                 for start, stop in ((0, 17), (17, 30), (30, N)) for i in range(start, stop)]  # fmt: skip
        assert table["text"].to_pylist() == texts
    else:
        assert table.column_names == ["row", *NAMES[2:]]
    single = tmp_path / "in" / f"z_8.{kind.split()[0]}"
    assert score_to_folder(single, tmp_path / "one", MCM, Z_TXT, column=column_of(kind)).rows == 17


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("piece_rows", [1, 3, 4, 8, 13, 1000])
def test_pieces_cover_every_row_once_and_stay_in_their_files(tmp_path, kind, piece_rows):
    source = open_embeddings(write(tmp_path / "in", kind), column=column_of(kind))
    parts = plan(source, tmp_path, piece_rows)
    assert [row for part in parts for row in range(part.first, part.first + len(part.rows))] == list(range(N))
    assert len({part.output for part in parts}) == len(parts)
    for part in parts:
        assert part.rows.stop <= open_embeddings(part.file.path, column=column_of(kind)).shape[0]
        assert kind == "npz compressed" or len(part.rows) <= max(piece_rows, 4 if kind == "parquet" else 1)


@pytest.mark.parametrize("kind", FILES)
def test_a_piece_is_never_whole_in_memory(tmp_path, monkeypatch, kind):
    source = open_embeddings(write(tmp_path / "in", kind), column=column_of(kind))
    monkeypatch.setattr(pieces, "CHUNK_ELEMENTS", 3 * D)
    sizes = [size for part in plan(source, tmp_path, 1000) for size in part.map(count_rows)]
    assert max(sizes) <= 3
    assert sum(sizes) == N


def test_a_large_row_group_is_never_whole_in_memory(tmp_path):
    z = np.random.default_rng(0).normal(size=(65_536, 256)).astype(np.float32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(z.ravel()), 256)
    pq.write_table(pa.table({"z": lists}), tmp_path / "z.parquet", row_group_size=len(z))
    code = (  # in a process that has not held as much before
        "import pathlib, sys; import pyarrow as pa; "
        "from vilu_sdk.scale import pieces; from vilu_sdk.inputs import shards; "
        "root = pathlib.Path(sys.argv[1]); pieces.CHUNK_ELEMENTS = 1 << 18; "
        "(part,) = pieces.plan(shards.open_embeddings(root / 'z.parquet'), root, 1000); "
        "print(sum(part.map(len)), pa.default_memory_pool().max_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True)
    rows, most = map(int, done.stdout.split())
    assert rows == len(z)
    assert most < z.nbytes / 4


def test_a_second_run_scores_nothing(tmp_path, monkeypatch):
    source = write(tmp_path / "in", "npy")
    score_to_folder(source, tmp_path / "out", MCM, Z_TXT, piece_rows=5)
    before = state(tmp_path / "out")
    done = score_to_folder(source, tmp_path / "out", MCM, Z_TXT, piece_rows=5)
    assert done.found == len(done.files) == len(before)
    assert state(tmp_path / "out") == before


def test_what_is_missing_or_damaged_is_scored_and_the_rest_is_not(tmp_path):
    source = write(tmp_path / "in", "npy")
    done = score_to_folder(source, tmp_path / "out", MCM, Z_TXT, piece_rows=5)
    before = state(tmp_path / "out")
    done.files[3].unlink()
    done.files[5].write_bytes(done.files[5].read_bytes()[:-9])
    done.files[6].write_bytes(b"")
    pq.write_table(pq.read_table(done.files[7]).slice(1), done.files[7])
    assert score_to_folder(source, tmp_path / "out", MCM, Z_TXT, piece_rows=5).found == len(done.files) - 4
    after = state(tmp_path / "out")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {done.files[i].name for i in (3, 5, 6, 7)}
    check(tmp_path / "out")


def test_a_scorer_that_was_saved_and_loaded_goes_on(tmp_path, toy):
    est = ViLUEstimator(random_state=0).fit(toy.z_img, toy.z_txt, toy.labels)
    est.save_pretrained(tmp_path / "scorer")
    np.save(tmp_path / "z.npy", toy.z_img)
    score_to_folder(tmp_path / "z.npy", tmp_path / "out", est, toy.z_txt, piece_rows=400)
    again = Scorer.from_pretrained(tmp_path / "scorer")
    again.decision_function(toy.z_img, toy.z_txt)
    texts = toy.z_txt.tolist()  # the same numbers
    done = score_to_folder(tmp_path / "z.npy", tmp_path / "out", again, texts, piece_rows=400)
    assert done.found == len(done.files) == 2


def test_other_work_is_refused(tmp_path, toy):
    source = write(tmp_path / "in", "npy")
    arguments = {"source": source, "scorer": MCM, "z_txt_set": Z_TXT, "piece_rows": 20}
    score_to_folder(output=tmp_path / "out", **arguments)
    before = state(tmp_path / "out")
    longer = write(tmp_path / "longer", "npy", (0, 17, 17, 31, N))
    for changes, name in (
        ({"scorer": MCMScorer(logit_scale=3.0)}, r"it differs in scorer.params.logit_scale \(2.0 there, 3.0"),
        ({"z_txt_set": Z_TXT[[0, 2, 1, 3]]}, "z_txt_set has changed since: rows 1, 2 differ"),
        ({"piece_rows": 21}, r"it differs in piece_rows \(20 there, 21 here\)"),
        ({"source": longer}, "z_10.npy has 14 rows here, 13 there"),
    ):
        with pytest.raises(ValueError, match=f"output=.* belongs to other work: {name}"):
            score_to_folder(output=tmp_path / "out", **{**arguments, **changes})
    assert state(tmp_path / "out") == before


def test_foreign_folders_and_manifests_are_refused(tmp_path):
    source = write(tmp_path / "in", "npy")
    with pytest.raises(ValueError, match=r"holds 'z_10.npy' and no _manifest"):
        score_to_folder(source, source, MCM, Z_TXT)
    for text, message in (
        ("", "is damaged"),
        ("[]", "is damaged"),
        ("{}", "is damaged"),
        ('{"manifest_version": 1, "vilu_sdk_version": "0.0.3"}', r"vilu-sdk 0\.0\.3 wrote it in format 1"),
        ('{"manifest_version": 99}', "wrote it in format 99, and this one knows format 2"),
    ):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / MANIFEST).write_text(text)
        with pytest.raises(ValueError, match=message):
            score_to_folder(source, tmp_path / "out", MCM, Z_TXT)


def test_a_job_that_cannot_begin_leaves_no_folder(tmp_path):
    source = write(tmp_path / "in", "npy")
    for error, changes in (
        (NotFittedError, {"scorer": LVUScorer()}),
        (ValueError, {"z_txt_set": Z_TXT[:, :5]}),
        (ValueError, {"z_txt_set": Z_TXT[:1]}),
        (ValueError, {"piece_rows": 0}),
        (ValueError, {"column": "z"}),
        (FileNotFoundError, {"source": tmp_path / "elsewhere"}),
    ):
        arguments = {"source": source, "scorer": MCM, "z_txt_set": Z_TXT, **changes}
        with pytest.raises(error):
            score_to_folder(output=tmp_path / "out", **arguments)
        assert not (tmp_path / "out").exists()
    np.save(tmp_path / "none.npy", Z_IMG[:0])
    with pytest.raises(ValueError, match="no rows"):
        score_to_folder(tmp_path / "none.npy", tmp_path / "out", MCM, Z_TXT)


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_a_bad_row_is_found_and_what_was_scored_stays(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(pieces, "CHUNK_ELEMENTS", 3 * D)
    monkeypatch.setattr("vilu_sdk.scale.job.TRIED_ROWS", 4)
    good = Z_IMG[20].copy()
    try:
        Z_IMG[20] = np.nan
        source = write(tmp_path / "in", kind)
    finally:
        Z_IMG[20] = good
    where = rf"NaN.* in row 20 \(row 3 of the file\) of {source / 'z_10'}\.{kind};"
    with pytest.raises(ValueError, match=where) as raised:
        score_to_folder(source, tmp_path / "out", MCM, Z_TXT, column=column_of(kind), piece_rows=20)
    assert raised.value.row == 20
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [MANIFEST, "part-00000.parquet"]


def test_a_file_that_changes_under_the_job_is_noticed(tmp_path):
    for kind in ("npy", "parquet"):
        source = write(tmp_path / kind, kind)
        part = plan(open_embeddings(source, column=column_of(kind)), tmp_path, 1000)[1]
        os.replace(source / f"z_8.{kind}", part.file.path)
        with pytest.raises(ValueError, match=f"z_10.{kind} has changed since it was opened"):
            score_piece(part, MCM, Z_TXT)
        assert not part.output.exists()


@processes.unix
@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_a_file_replaced_while_it_is_scored_gives_no_scores(tmp_path, monkeypatch, kind):
    """Also by one of the same size and time of modification."""
    monkeypatch.setattr(pieces, "CHUNK_ELEMENTS", 3 * D)
    source = write(tmp_path / "in", kind)
    path, other = source / f"z_8.{kind}", tmp_path / "other"
    shutil.copy2(path, other)
    scored = []

    class Slow(MCMScorer):
        def predict(self, z_img, z_txt_set):
            if len(scored) == 2:
                os.replace(other, path)
            scored.append(len(z_img))
            return super().predict(z_img, z_txt_set)

    part = plan(open_embeddings(source, column=column_of(kind)), tmp_path, 1000)[0]
    with pytest.raises(ValueError, match=f"z_8.{kind} has changed since it was opened; start again"):
        score_piece(part, Slow(), Z_TXT)
    assert len(scored) > 2
    assert not part.output.exists()


def test_what_killed_writers_left_is_removed_once_it_is_old(tmp_path):
    source = write(tmp_path / "in", "npy")
    score_to_folder(source, tmp_path / "out", MCM, Z_TXT)
    old, new = (tmp_path / "out" / f".part-00000.parquet.{letter * 32}" for letter in "ab")
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 4000,) * 2)
    score_to_folder(source, tmp_path / "out", MCM, Z_TXT)
    assert (old.exists(), new.exists()) == (False, True)
    check(tmp_path / "out")


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    source = write(tmp_path / "in", "npy")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r'pip install "vilu-sdk\[data\]"'):
        score_to_folder(source, tmp_path / "out", MCM, Z_TXT)


# Deaths.


@processes.kills
def test_death_before_any_step_loses_nothing_and_repeats_nothing(tmp_path):
    source = write(tmp_path / "in", "npy")
    found = []
    for step in range(60):
        output = tmp_path / str(step)
        killed = processes.end(processes.start(processes.score_and_die, step, source, output, MCM, Z_TXT))
        before = state(output)
        for name in before:
            assert pq.read_table(output / name).num_rows in (13, 11, 17)
        done = score_to_folder(source, output, MCM, Z_TXT, piece_rows=20)
        check(output)
        after = state(output)
        assert {name: after[name] for name in before} == before
        assert done.found == len(before)
        found.append(len(before))
        if not killed:
            break
    assert not killed
    assert found == sorted(found)
    assert set(found) == {0, 1, 2, 3}
    assert len(found) > 12


@processes.kills
def test_killed_again_and_again_it_goes_on_from_there(tmp_path):
    source = write(tmp_path / "in", "npy")
    output = tmp_path / "out"

    before = {}
    for least in (0, 1, 4, 4, 11, 19, 30):
        child = processes.start(processes.score, source, output, MCM, Z_TXT, 1)
        for _ in range(60_000):  # and no more, if it has failed
            if len(state(output)) >= least:
                break
            time.sleep(0.001)
        child.kill()
        processes.end(child)
        after = state(output)
        assert {name: after[name] for name in before} == before
        before = after
    score_to_folder(source, output, MCM, Z_TXT, piece_rows=1)
    after = state(output)
    assert {name: after[name] for name in before} == before
    check(output)


def test_a_threshold_with_a_scorer_of_its_own_writes_its_answers():
    rng = np.random.default_rng(1)
    labels = rng.integers(4, size=400)
    named = dict(zip("abcd", Z_TXT, strict=True))
    z_img = Z_TXT[labels] + rng.normal(size=(400, D))
    est = ViLUEstimator(logit_scale=2.0, random_state=0)
    threshold = SelectivePredictor(est, 0.3).fit(z_img, named, labels)
    assert threshold.scorer_in_use.names_ == list("abcd")
    answers = ["answer", "answer_uncertainty", "novelty"]
    scored = score_partition({"z": Z_IMG}, threshold, named)
    assert list(scored) == [*NAMES[2:], *answers, "accepted", "name", "answer_name"]


def test_sets_are_no_scorer():
    sets = SetPredictor(MCM).fit(Z_IMG, Z_TXT, MCM.predict(Z_IMG, Z_TXT))
    with pytest.raises(TypeError, match="scorer must be a scorer, got SetPredictor"):
        score_partition({"z": Z_IMG}, sets, Z_TXT)
