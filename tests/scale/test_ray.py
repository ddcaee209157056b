"""Scoring with Ray is scoring, also where a worker dies."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from support.paths import SUPPORT
from vilu_sdk import MCMScorer
from vilu_sdk.scale.ray import score_dataset


def test_nothing_imports_ray_before_it_is_used():
    code = (
        "import sys, vilu_sdk.scale.partition, vilu_sdk.scale.ray; "
        "assert not {'ray', 'dask', 'pyspark'} & {name.split('.')[0] for name in sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "vilu-sdk\[ray\]"'):
        score_dataset("z.npy", MCMScorer(), np.eye(3))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The folder in which a real Ray has worked, and what was seen of it."""
    pytest.importorskip("ray", reason="Ray is not installed")
    root = tmp_path_factory.mktemp("job")
    settings = {
        "OMP_NUM_THREADS": "2",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listens on the loopback interface, on every system
        "RAY_worker_niceness": "0",
    }
    script = SUPPORT / "ray_job.py"
    done = subprocess.run(
        [sys.executable, script, root], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    if not (root / "found.json").exists():
        pytest.fail(done.stderr[-5000:])
    return root, json.loads((root / "found.json").read_text())


def expected(rows):
    from support import ray_job

    scorer = MCMScorer()
    z = ray_job.Z_IMG[:rows]
    return scorer.predict(z, ray_job.Z_TXT), scorer.predict_uncertainty(z, ray_job.Z_TXT)


def test_a_worker_that_dies_costs_no_row_and_repeats_no_file(job):
    root, found = job
    assert int((root / "grave").read_text()) != os.getpid()  # a worker did die
    table = pq.read_table(root / "out")
    n = table.num_rows
    assert table.column_names == found["columns"] == ["row", "prediction", "uncertainty"]
    np.testing.assert_array_equal(table["row"], np.arange(n))
    prediction, uncertainty = expected(n)
    np.testing.assert_array_equal(table["prediction"], prediction)
    np.testing.assert_allclose(table["uncertainty"], uncertainty, rtol=1e-5)
    assert n == 24_000


def test_either_engine_goes_on_with_the_folder_of_the_other(job):
    _, found = job
    after, finished = found["after"], found["finished by ray"]
    assert found["found by the loop"] == len(after) == 12
    assert {name for name in after if after[name] != finished[name]} == {"part-00004.parquet"}


def test_errors_are_as_without_ray(job):
    root, found = job
    where = f"row 300 of {root / 'bad' / 'z.npy'}"
    assert found["error"] == (
        f"z_img has a NaN, infinite or overflowing value in {where}; remove the row or embed it again."
    )
    assert "write_parquet(output)" in found["refused"]


def test_other_files_are_refused_and_the_same_content_goes_on(job):
    _, found = job
    assert "img_emb_2.npy has changed since: not in the 1,024 probed rows" in found["changed"]
    assert "img_emb_5.npy has changed since it was opened" in found["changed under"]
    assert found["as it was"] == 24_000


@pytest.mark.parametrize(("kind", "others"), [("tensors", []), ("lists", ["number", "text"])])
def test_a_dataset_keeps_its_other_columns(job, kind, others):
    seen = job[1][kind]
    assert seen["names"] == [*others, "prediction", "uncertainty"]
    assert seen["kept"]
    assert seen["prediction"] == expected(900)[0].tolist()


def test_actors_use_the_threads_that_they_are_given(job):
    assert job[1]["tensors"]["threads"] == job[1]["lists"]["threads"] == [1.0]


def test_paths_without_an_output_give_the_rows(job):
    rows, prediction, uncertainty = (np.array(values) for values in zip(*sorted(job[1]["lazy"]), strict=True))
    np.testing.assert_array_equal(rows, np.arange(24_000))
    np.testing.assert_array_equal(prediction, expected(24_000)[0])
    np.testing.assert_allclose(uncertainty, expected(24_000)[1], rtol=1e-5)
