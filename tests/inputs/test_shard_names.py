"""Shards come in the order that their names plainly say, or an error names files and a remedy."""

import contextlib
import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vilu_sdk import MCMScorer
from vilu_sdk.inputs import open_embeddings
from vilu_sdk.inputs.shard_names import shard_paths
from vilu_sdk.scale import score_to_folder

UUIDS = [f"{x}f2a9b1c-1111-4c3d-9e0f-{x}aaaaaaaaaaa" for x in "9310"]
# In their order, which is not that of letters.
PLAIN = {
    "clip-retrieval": ["img_emb_0.npy", "img_emb_1.npy"],
    "numbers": [f"e_{i}.npy" for i in range(12)],
    "padded": [f"e_{i:05d}.npy" for i in range(12)],
    "hub": [f"train-{i:05d}-of-00003.parquet" for i in range(3)],
    "hub, hashed": [
        f"train-{i:05d}-of-00003-{hashed}.parquet"
        for i, hashed in enumerate(["fc6f2e1a9c8d1a3b", "1234567812345678", "abcdefabcdefabcd"])
    ],
    "from one": ["z-1-of-2.npy", "z-2-of-2.npy"],
    "spark": [f"part-{i:05d}-{UUIDS[0]}-c000.snappy.parquet" for i in range(3)],
    "uuid each": [f"part-{i}-{UUIDS[i]}.parquet" for i in range(3)],
    "ray": [f"12_{i:06d}_000000.parquet" for i in range(3)],
    "ray, uuid": [f"{UUIDS[0].replace('-', '')}_{i:06d}_000000.parquet" for i in range(3)],
    "duckdb": ["data_0.parquet", "data_1.parquet"],
    "polars": ["00000000.parquet", "00000001.parquet"],
    "dates": ["emb_2024-01-30.npy", "emb_2024-02-01.npy", "emb_2025-01-01.npy"],
    "dates without dashes": ["emb_20240130.npy", "emb_20240201.npy"],
    "seconds": ["emb_1700000000.npy", "emb_1700000600.npy"],
    "nanoseconds": ["emb_1700000000000000000.npy", "emb_1700000600000000000.npy"],
    "capitals": ["A_9.NPY", "A_10.NPY"],
    "only downloads": ["e (1).npy", "e (2).npy"],
}


@pytest.mark.parametrize("names", PLAIN.values(), ids=PLAIN)
def test_plain_names_say_the_order(tmp_path, names):
    for name in random.Random(0).sample(names, len(names)):
        (tmp_path / name).touch()
    assert [path.name for path in shard_paths(tmp_path)] == names


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["e_0.npy", "e_1.npy", "e_3.npy"], r"0 to 3, but not 2: after e_1.npy comes e_3.npy\. Copy what is"),
        (["e_1.npy", "e_2.npy", "e_10.npy"], r"not 3 to 9: after e_2.npy comes e_10.npy"),
        (["x_0.npy", "x_1000000000.npy"], r"not 1 to 999999999: .* if the numbers do not count, .* a list"),
        (["x_20240130.npy", "x_7.npy"], r"after x_7.npy comes x_20240130.npy"),
        (["x_20249930.npy", "x_20249901.npy"], r"but not"),
        (["e_1.npy", "e_01.npy"], r"e_01.npy and e_1.npy, whose numbers are the same"),
        ([f"{uuid}.parquet" for uuid in UUIDS[:2]], "whose numbers are the same, .* a list of the files"),
        ([f"part-0-{uuid}.parquet" for uuid in UUIDS[:2]], "whose numbers are the same"),
        (
            ["z-00000-of-00003.npy", "z-00001-of-00003.npy"],
            "2 of the 3 shards .*z-00001-of-00003.npy .* not 2",
        ),
        (["z-00000-of-00002.npy", "z-00001-of-00003.npy"], "2 of the 3 shards .* and not 2"),
        (["z-00000-of-00001.npy", "z-00001-of-00002.npy"], "speaks of, and others of 1"),
        (["z-0-of-999999999999.npy"], "1 of the 999999999999 shards .* not 1"),
        (["e_0.npy", "e_0 (1).npy"], r"e_0 \(1\).npy is a second download or a copy of e_0.npy"),
        (["e_0.npy", "e_0(1).npy"], r"is a second download"),
        (
            ["emb_0.npy", "ids_0.npy"],
            r"several series \(emb_\*.npy such as emb_0.npy, ids_\*.npy such as ids_0",
        ),
        (["train-0-of-1.npy", "test-0-of-1.npy"], "several series"),
        (
            ["date=1/0.npy", "date=2/0.npy"],
            "has the folder date=1: open that, or pass open_embeddings a list",
        ),
    ],
    ids=str,
)
def test_names_that_do_not_say_an_order_are_told_with_the_remedy(tmp_path, names, message):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises((ValueError, FileNotFoundError), match=message) as raised:
        shard_paths(tmp_path)
    assert str(tmp_path) in str(raised.value)


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 10**18), min_size=2, max_size=6))
def test_any_numbers_are_taken_in_order_or_refused_at_once(tmp_path_factory, numbers):
    folder = tmp_path_factory.mktemp("names")
    for number in numbers:
        (folder / f"x_{number}.npy").touch()
    # Of 10**18 numbers, whoever counted those between two would not come back.
    with contextlib.suppress(ValueError):
        assert shard_paths(folder) == [folder / f"x_{number}.npy" for number in sorted(numbers)]


def test_a_list_of_files_is_taken_in_its_order(tmp_path):
    z = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    names = ["b/x.npy", "a/x.npy", "c.NPY"]
    for name, part in zip(names, np.array_split(z, 3), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with (tmp_path / name).open("wb") as file:
            np.save(file, part)
    paths = [tmp_path / name for name in names]
    source = open_embeddings(paths)
    np.testing.assert_array_equal(source[:], z)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[::-1], z[::-1])
    assert source.path == tmp_path
    done = score_to_folder(map(str, paths), tmp_path / "out", MCMScorer(), np.eye(4))
    assert (len(done.files), done.rows) == (3, 9)
    with pytest.raises(ValueError, match=r"x.npy, then c.NPY, has changed since"):
        score_to_folder(paths[::-1], tmp_path / "out", MCMScorer(), np.eye(4))
    for wrong, error, message in (
        ([], ValueError, "the list of files is empty"),
        ([tmp_path / "a"], ValueError, "a is of no known kind"),
        ([tmp_path / "x.npy"], FileNotFoundError, "x.npy"),
    ):
        with pytest.raises(error, match=message):
            open_embeddings(wrong)
