"""Embeddings on disk are the same numbers as in memory, and errors name the file."""

import pickle
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from joblib import Parallel, delayed
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from sklearn.model_selection import cross_val_score

from vilu_sdk import (
    BayesVLMScorer,
    LVUScorer,
    MCMScorer,
    PaperRecipe,
    ProbVLMScorer,
    TemperatureScaledMCMScorer,
    ViLUEstimator,
)
from vilu_sdk.evaluation import compare, evaluate
from vilu_sdk.inputs.formats import read_vector
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.shards import MAX_OPEN, open_embeddings, open_pairs
from vilu_sdk.training import feed

N, D = 23, 6


@pytest.fixture
def matrix():
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float16)


def write_npy(path, rows):
    np.save(path, rows)


def write_fortran(path, rows):
    np.save(path, np.asfortranarray(rows))


def write_npz(path, rows):
    np.savez(path, other=np.zeros(3), z=rows)


def write_compressed(path, rows):
    np.savez_compressed(path, z=rows, other=np.zeros(3))


def write_safetensors(path, rows):
    save_file({"other": np.zeros(3, np.float32), "z": np.ascontiguousarray(rows)}, path, {"model": "x"})


def write_parquet(path, rows, kind=None, group=5):
    kind = pa.list_(pa.from_numpy_dtype(rows.dtype)) if kind is None else kind
    columns = {"id": pa.array(range(len(rows))), "z": pa.array(list(rows), kind)}
    pq.write_table(pa.table(columns), path, row_group_size=group)


def write_fixed(path, rows):
    write_parquet(path, rows, pa.list_(pa.from_numpy_dtype(rows.dtype), rows.shape[1]), group=1000)


KINDS = {
    "npy": (write_npy, None),
    "fortran.npy": (write_fortran, None),
    "npz": (write_npz, "z"),
    "compressed.npz": (write_compressed, "z"),
    "safetensors": (write_safetensors, "z"),
    "parquet": (write_parquet, None),
    "fixed.parquet": (write_fixed, "z"),
}


@pytest.fixture(params=KINDS)
def opened(request, tmp_path, matrix):
    """The same rows in one file, and in four shards, one of them empty."""
    write, column = KINDS[request.param]
    suffix = request.param.split(".")[-1]
    write(tmp_path / f"all.{suffix}", matrix)
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, rows in {8: matrix[:9], 9: matrix[9:9], 10: matrix[9:11], 11: matrix[11:]}.items():
        if len(rows) or suffix != "parquet":
            write(folder / f"img_emb_{number}.{suffix}", rows)
    if suffix == "parquet":
        write_parquet(folder / "img_emb_9.parquet", matrix[:0], pa.list_(pa.float16(), D))
    return [open_embeddings(path, column=column) for path in (tmp_path / f"all.{suffix}", folder)]


INDICES = [
    slice(None),
    slice(3, 17),
    slice(None, None, -2),
    slice(9, 9),
    [5, 22, 0, 5, -1, 10],
    np.arange(N)[::-1],
    np.arange(N) % 3 == 0,
    4,
    -2,
    [],
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing_is_that_of_the_array(opened, matrix, index):
    for source in opened:
        found = source[index]
        assert found.dtype == matrix.dtype
        np.testing.assert_array_equal(
            found, matrix[np.array(index, int) if isinstance(index, list) else index]
        )


def test_rows_in_random_order_and_again_are_those_of_the_array(opened, matrix):
    rng = np.random.default_rng(1)
    for source in opened:
        assert (source.shape, len(source), source.ndim) == ((N, D), N, 2)
        for _ in range(20):
            rows = rng.integers(N, size=rng.integers(1, 9))
            np.testing.assert_array_equal(source[rows], matrix[rows])
            start, stop = sorted(rng.integers(N + 1, size=2))
            np.testing.assert_array_equal(source[start:stop], matrix[start:stop])


def test_all_of_it_is_loaded_only_where_that_is_asked_for(opened, matrix):
    for source in opened:
        np.testing.assert_array_equal(np.asarray(source, np.float32), matrix.astype(np.float32))
        assert Rows(source, "z_img").source is source


def test_blocks_cover_every_row_once(opened):
    for source in opened:
        for size in (1, 4, 100):
            rows = [row for block in source.blocks(size) for row in range(N)[block]]
            assert rows == list(range(N))


def test_it_travels_to_other_processes_as_a_path(opened, matrix):
    for source in opened:
        assert len(pickle.dumps(source)) < 1000
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[3:5], matrix[3:5])


def test_indices_outside_are_refused(opened):
    for source in opened:
        for index in (N, -N - 1, [0, N], np.ones(N - 1, bool), [0.5], (0, 1)):
            with pytest.raises(IndexError):
                source[index]


def test_scorers_take_it_as_they_take_the_array(opened, matrix):
    z_txt = np.random.default_rng(1).normal(size=(4, D))
    labels = np.arange(N) % 4
    for scorer in (MCMScorer(), LVUScorer(epochs=2, batch_size=4, random_state=0)):
        expected = scorer.fit(matrix, z_txt, labels).decision_function(matrix, z_txt)
        for source in opened:
            found = scorer.fit(source, z_txt, labels).decision_function(source, z_txt)
            np.testing.assert_array_equal(found, expected)


def test_evaluation_and_cross_validation_take_it_too(opened, matrix):
    z_txt = np.random.default_rng(1).normal(size=(3, D))
    labels = np.arange(N) % 3
    scorers = {"MCM": MCMScorer(logit_scale=1.0)}
    for run in (
        lambda z: evaluate(scorers["MCM"], z, z_txt, labels),
        lambda z: compare(scorers, z, z_txt, labels, fit=False).to_dicts()[0]["auc"],
        lambda z: compare(scorers, z, z_txt, labels, random_state=0).to_dicts()[0]["auc"],
        lambda z: cross_val_score(scorers["MCM"].bind(z_txt), z, labels, cv=3).tolist(),
    ):
        assert [run(source) for source in opened] == [run(matrix)] * 2


def test_bfloat16_is_read_as_torch_reads_it(tmp_path, matrix):
    z = torch.from_numpy(matrix).to(torch.bfloat16)
    save_torch({"z": z}, tmp_path / "z.safetensors")
    np.testing.assert_array_equal(open_embeddings(tmp_path / "z.safetensors")[:], z.float().numpy())


def test_numbers_and_not_letters_order_the_shards(tmp_path):
    for number in range(12):
        np.save(tmp_path / f"img_emb_{number}.npy", np.full((2, 3), number, np.float32))
    np.testing.assert_array_equal(open_embeddings(tmp_path)[::2][:, 0], np.arange(12))


def test_few_files_are_open_at_once(tmp_path, matrix):
    for number in range(3 * MAX_OPEN):
        np.save(tmp_path / f"{number}.npy", matrix)
    source = open_embeddings(tmp_path)
    for rows in source.blocks(N):
        np.testing.assert_array_equal(source[rows], matrix)
    assert source._reader.cache_info().currsize == MAX_OPEN


def test_threads_share_one_source(opened, matrix):
    def look(seed):
        rows = np.random.default_rng(seed).integers(N, size=50)
        return all((source[rows[i:]] == matrix[rows[i:]]).all() for source in opened for i in range(20))

    assert all(Parallel(8, prefer="threads")(delayed(look)(seed) for seed in range(16)))


def test_pairs_go_row_by_row(tmp_path, matrix):
    for name, sign in (("img_emb", 1), ("text_emb", -1)):
        (tmp_path / name).mkdir()
        for i in range(2):
            np.save(tmp_path / name / f"{name}_{i}.npy", sign * matrix[10 * i : 10 * i + 10])
    images, texts = open_pairs(tmp_path)
    np.testing.assert_array_equal(images[:], -texts[:])
    np.save(tmp_path / "text_emb" / "text_emb_1.npy", matrix[:9])
    with pytest.raises(ValueError, match=r"img_emb_1.npy has 10 rows but .*text_emb_1.npy has 9"):
        open_pairs(tmp_path)
    (tmp_path / "text_emb" / "text_emb_1.npy").unlink()
    with pytest.raises(ValueError, match="2 shards but"):
        open_pairs(tmp_path)
    np.save(tmp_path / "text_emb" / "text_emb_0.npy", matrix[:10, :4])
    with pytest.raises(ValueError, match=r"6 wide, the texts 4"):
        open_pairs(tmp_path)
    with pytest.raises(FileNotFoundError, match="open those, or both with open_pairs"):
        open_embeddings(tmp_path)


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9])
def test_a_truncated_file_is_named(tmp_path, kind, share):
    write, column = KINDS[kind]
    path = tmp_path / f"z.{kind.split('.')[-1]}"
    write(path, np.random.default_rng(0).normal(size=(200, D)))
    cut(path, share)
    with pytest.raises(ValueError, match=str(path)):
        open_embeddings(path, column=column)[:]


def test_a_file_that_shrank_is_noticed(tmp_path, matrix):
    np.save(tmp_path / "z.npy", matrix)
    source = open_embeddings(tmp_path / "z.npy")
    cut(tmp_path / "z.npy", 0.9)
    with pytest.raises(ValueError, match=r"z.npy is truncated"):
        source[0]


def bad_folders(tmp_path, matrix):
    """Yield a name, what is made of two good shards, and the expected error."""
    shards = [tmp_path / "img_emb_0.npy", tmp_path / "img_emb_1.npy"]
    yield (
        lambda: np.save(shards[1], matrix[:, :4]),
        ValueError,
        r"img_emb_1.npy has rows of width 4 but img_emb_0.npy",
    )
    yield (
        lambda: np.save(shards[1], matrix.astype(np.float32)),
        ValueError,
        r"img_emb_1.npy has rows of type float32",
    )
    yield lambda: np.save(shards[1], matrix[0]), ValueError, r"img_emb_1.npy holds an array of shape \(6,\)"
    yield lambda: np.save(shards[1], matrix.astype(str)), ValueError, r"img_emb_1.npy holds <U"
    yield lambda: np.save(shards[1], np.array([[None]])), ValueError, r"img_emb_1.npy holds object"
    yield lambda: np.save(tmp_path / "img_emb_3.npy", matrix), ValueError, "shards 0 to 3, but not 2"
    yield lambda: np.save(tmp_path / "text_emb_0.npy", matrix), ValueError, r"several series \(img_emb_\*"
    yield lambda: np.savez(tmp_path / "img_emb_2.npz", z=matrix), ValueError, "several series"
    yield lambda: [path.unlink() for path in shards], FileNotFoundError, "has no shards"
    yield lambda: shutil.rmtree(tmp_path), FileNotFoundError, str(tmp_path)


@pytest.mark.parametrize("case", range(10))
def test_what_is_wrong_with_a_folder_is_said_with_the_file(tmp_path, matrix, case):
    folder = tmp_path / "img_emb"
    folder.mkdir()
    for number in range(2):
        np.save(folder / f"img_emb_{number}.npy", matrix)
    (folder / "notes.txt").write_text("not a shard")
    assert len(open_embeddings(folder)) == 2 * N
    spoil, error, message = list(bad_folders(folder, matrix))[case]
    spoil()
    with pytest.raises(error, match=message):
        open_embeddings(folder)


def test_a_column_must_be_there_and_be_the_only_one_or_named(tmp_path, matrix):
    np.savez(tmp_path / "z.npz", a=matrix, b=matrix)
    save_file({"a": matrix, "b": matrix}, tmp_path / "z.safetensors")
    lists = pa.array(list(matrix.astype(np.float32)))
    others = {"id": range(N), "class": pa.array(["cat"] * N).dictionary_encode()}
    pq.write_table(pa.table({"a": lists, "b": lists, **others}), tmp_path / "z.parquet")
    for name in ("z.npz", "z.safetensors", "z.parquet"):
        assert open_embeddings(tmp_path / name, column="b").shape == (N, D)
        with pytest.raises(ValueError, match=rf"{name} .* pass column, .* It has: a, b"):
            open_embeddings(tmp_path / name)
        with pytest.raises(ValueError, match=f"{name} .* none is called 'id'"):
            open_embeddings(tmp_path / name, column="id")
    np.save(tmp_path / "z.npy", matrix)
    with pytest.raises(ValueError, match="leave out column='a'"):
        open_embeddings(tmp_path / "z.npy", column="a")
    (tmp_path / "z.pt").touch()
    with pytest.raises(ValueError, match="no known kind"):
        open_embeddings(tmp_path / "z.pt")


@pytest.mark.parametrize(("spoiled", "has"), [([1.0, 2.0], "one of width 2"), (None, "none")])
def test_ragged_and_missing_lists_are_found_where_they_are(tmp_path, matrix, spoiled, has):
    rows = [row.tolist() for row in matrix]
    rows[17] = spoiled
    pq.write_table(
        pa.table({"z": pa.array(rows, pa.list_(pa.float32()))}), tmp_path / "z.parquet", row_group_size=5
    )
    with pytest.raises(ValueError, match=rf"z.parquet .* row 17 has {has}"):
        open_embeddings(tmp_path / "z.parquet")[:]
    column = pa.array(["text"] * 3, pa.string())
    pq.write_table(pa.table({"z": pa.array([["a"], ["b"]])}), tmp_path / "z.parquet")
    with pytest.raises(ValueError, match="expected lists of numbers"):
        open_embeddings(tmp_path / "z.parquet")
    pq.write_table(pa.table({"caption": column}), tmp_path / "z.parquet")
    with pytest.raises(ValueError, match=r"z\.parquet has no column of lists; write one into it"):
        open_embeddings(tmp_path / "z.parquet")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, matrix, monkeypatch):
    write_parquet(tmp_path / "z.parquet", matrix)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r'pip install "vilu-sdk\[data\]"'):
        open_embeddings(tmp_path / "z.parquet")


VALUES = {
    "int64": np.array([3, -1, 2**40]),
    "bool": np.array([True, False, True]),
    "float16": np.array([0.5, 2.0, -1.0], np.float16),
    "str": np.array(["cat", "a long name", ""]),
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_one_value_for_each_row_is_read_as_it_was_written(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", a=values, z=np.eye(3))
    np.savez_compressed(tmp_path / "b.npz", a=values)
    pq.write_table(pa.table({"a": values, "z": [[1.0]] * 3}), tmp_path / "a.parquet")
    if values.dtype.kind != "U":
        save_file({"a": values, "z": np.eye(3)}, tmp_path / "a.safetensors")
    for path in tmp_path.iterdir():
        found = read_vector(path, None if path.suffix in (".npy", ".parquet") else "a")
        np.testing.assert_array_equal(found, values)
        assert found.dtype == values.dtype or path.suffix == ".parquet"


def test_what_is_not_one_value_for_each_row_is_refused(tmp_path):
    for values, message in (
        (np.eye(2), r"shape \(2, 2\), expected one value for each row"),
        (np.array([None, 1]), "holds object, expected numbers, booleans or strings"),
        (np.array([1j]), "holds complex128"),
    ):
        np.save(tmp_path / "a.npy", values)
        with pytest.raises(ValueError, match=message):
            read_vector(tmp_path / "a.npy", None)
    pq.write_table(pa.table({"a": [1, None]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="has no value in row 1 of 'a'"):
        read_vector(tmp_path / "a.parquet", None)


def test_captions_on_disk_are_the_captions(tmp_path):
    rng = np.random.default_rng(0)
    z_img = rng.normal(size=(300, 8)).astype(np.float32)
    z_txt = (z_img + rng.normal(size=(300, 8))).astype(np.float32)
    np.save(tmp_path / "text_emb.npy", z_txt)
    on_disk = open_embeddings(tmp_path / "text_emb.npy")
    paper = PaperRecipe(epochs=2, batch_size=32)
    for scorer in (
        MCMScorer(),
        BayesVLMScorer(random_state=0),
        LVUScorer(target="correct", epochs=2, random_state=0),
        ProbVLMScorer(hidden=8, epochs=2, random_state=0),
        TemperatureScaledMCMScorer(),
        ViLUEstimator(random_state=0),
        ViLUEstimator(recipe=paper, random_state=0),
    ):
        expected = scorer.fit(z_img, z_txt).decision_function(z_img, z_txt)
        np.testing.assert_array_equal(scorer.fit(z_img, on_disk).decision_function(z_img, z_txt), expected)


def test_blocks_of_sorted_rows_teach_as_much_as_shuffled_rows(tmp_path, digits, monkeypatch):
    # As a million rows of a thousand classes: eight buffers, and a class in most of them.
    n, d = digits.z_img_fit.shape
    monkeypatch.setattr(feed, "BUFFER_ELEMENTS", n // 8 * d)
    by_class = np.argsort(digits.labels_fit, kind="stable")
    z_img, labels = digits.z_img_fit[by_class], digits.labels_fit[by_class]
    np.save(tmp_path / "z_img.npy", z_img)
    on_disk = open_embeddings(tmp_path / "z_img.npy")
    test = digits.z_img_test, digits.z_txt, digits.labels_test

    def auc(source, block):
        monkeypatch.setattr(feed, "BLOCK_ELEMENTS", block * d)
        scorer = LVUScorer(
            logit_scale=digits.logit_scale, target="correct", epochs=40, batch_size=32, random_state=0
        )
        return evaluate(scorer.fit(source, digits.z_txt, labels), *test)["auc"]

    shuffled = auc(z_img, 1)
    assert auc(on_disk, 2) > shuffled - 0.015
    assert auc(on_disk, n // 8) < shuffled - 0.03  # what it is to see one class after the other


@pytest.mark.parametrize("write", [write_npy, write_fortran, write_npz, write_safetensors])
@pytest.mark.parametrize("rows", [slice(0, 2), slice(20, 22), [1, 22], list(range(0, 20_000, 3))])
def test_a_file_that_was_cut_after_it_was_opened_is_an_error_and_no_signal(write, rows, tmp_path):
    path = tmp_path / f"e.{ {write_npz: 'npz', write_safetensors: 'safetensors'}.get(write, 'npy') }"
    write(path, np.ones((20_000, D), np.float32))
    opened = open_embeddings(path, column=None if path.suffix == ".npy" else "z")
    assert opened[rows].shape[1] == D
    with path.open("r+b") as file:
        file.truncate(130)
    with pytest.raises(ValueError, match="was cut while it was read"):
        opened[rows]
