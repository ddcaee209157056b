"""Processes that torchrun has started share the pieces of a folder; commands that share nothing refuse."""

import os
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest

LINE = "score images.npy texts.npy --scorer mcm --logit-scale 9 --piece-rows 100 -o"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("images.npy", rng.normal(size=(730, 8)).astype(np.float32))
    np.save("texts.npy", rng.normal(size=(5, 8)).astype(np.float32))
    return tmp_path


def test_processes_share_the_pieces_of_a_folder(here, vilu, monkeypatch):
    monkeypatch.chdir(here)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "vilu_sdk"]
    done = subprocess.run(
        [*command, *LINE.split(), "shared", "--log-level", "debug"],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("vilu: ")]
    assert sum("rows in 8 files" in line for line in said) == 1
    for number in range(8):  # each by one of them
        assert sum(f"part-{number:05d}.parquet: " in line for line in said) == 1
    assert vilu(f"{LINE} alone -q").code == 0
    for part in (here / "alone").glob("part-*"):
        assert part.read_bytes() == (here / "shared" / part.name).read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        f"{LINE} s.csv",
        f"{LINE} -",
        "evaluate images.npy texts.npy --labels labels.npy --scorer mcm",
        "adapt images.npy texts.npy -o adapted",
    ],
)
def test_what_cannot_be_shared_is_refused(line, here, vilu, monkeypatch):
    monkeypatch.chdir(here)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("vilu_sdk.cli._score.world_size", lambda: 2)
    monkeypatch.setattr("vilu_sdk.cli._score.process_group", lambda _: nullcontext())
    before = sorted(here.iterdir())
    done = vilu(line)
    assert (done.code, done.out) == (2, "")
    assert "torchrun" in done.err
    assert sorted(here.iterdir()) == before
