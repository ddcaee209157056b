"""What goes wrong in operation: exit code, message and what is left, as docs/command_line.md shows them."""

import doctest
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import pytest

from support import processes
from support.paths import DOCS
from support.processes import end, start
from vilu_sdk.persistence.locks import held

resource = pytest.importorskip("resource", reason="this system has no limits of processes")
SCORE = "score images.npy texts.npy --scorer mcm --logit-scale 9 -q --piece-rows 100 -o"
FIT = "fit images.npy texts.npy --labels labels.npy --scorer mcm --logit-scale 9 -q -o"
#: The rows of the table: what is wrong, the exit code, what is said, and what is left.
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in re.findall(
        r"^\| fault .*?\n\|[-|]+\n((?:\|.*\n)+)",
        (DOCS / "command_line.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )[0].splitlines()
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with embeddings and labels, and nothing else."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("images.npy", rng.normal(size=(500, 8)).astype(np.float32))
    np.save("texts.npy", rng.normal(size=(5, 8)).astype(np.float32))
    np.save("labels.npy", rng.integers(5, size=500))
    return tmp_path


def run(line, **environment):
    """Run the command in a process of its own."""
    known = {name: value for name, value in os.environ.items() if name not in environment}
    more = {name: value for name, value in environment.items() if value is not None}
    done = subprocess.run(
        [sys.executable, "-m", "vilu_sdk", *line.split()], capture_output=True, text=True, env=known | more
    )
    return done.returncode, done.stderr


def fitted(vilu):
    """Save a scorer, and return the folder."""
    assert vilu(f"{FIT} head").code == 0
    return Path("head")


def an_option_that_is_not_there(vilu):
    return f"{SCORE} s.csv --pieces 3"


def an_output_of_no_known_kind(vilu):
    return f"{SCORE} s.xlsx"


def a_source_that_is_not_there(vilu):
    return f"{SCORE} s.csv".replace("images", "nothing")


def a_truncated_file(vilu):
    data = Path("images.npy").read_bytes()
    Path("images.npy").write_bytes(data[:-100])
    return f"{SCORE} s.csv"


def bad_bytes(vilu):
    Path("images.parquet").write_bytes(bytes(range(256)) * 9)
    return f"{SCORE} s.csv".replace("images.npy", "images.parquet")


def a_row_that_is_not_a_number(vilu):
    z = np.load("images.npy")
    z[450, 3] = np.nan
    np.save("images.npy", z)
    return f"{SCORE} scores"


def texts_of_another_model(vilu):
    np.save("texts.npy", np.eye(5, 7, dtype=np.float32))
    return f"{SCORE} s.csv"


def a_pipe_in_the_place_of_a_file(vilu):
    os.mkfifo("pipe.npy")
    return f"{SCORE} s.csv".replace("images.npy", "pipe.npy")


def a_fit_into_a_folder_of_other_files(vilu):
    Path("mine").mkdir()
    Path("mine/photos.txt").write_text("mine")
    return f"{FIT} mine"


def scores_into_a_folder_of_other_files(vilu):
    a_fit_into_a_folder_of_other_files(vilu)
    return f"{SCORE} mine"


def scores_into_a_folder_of_other_scores(vilu):
    assert vilu(f"{SCORE} scores").code == 0
    return f"{SCORE} scores".replace("scale 9", "scale 8")


def the_source_changed_between_two_runs(vilu):
    assert vilu(f"{SCORE} scores").code == 0
    np.save("images.npy", np.load("images.npy")[::-1].copy())
    return f"{SCORE} scores"


def a_damaged_head(vilu):
    folder = fitted(vilu)
    (folder / "config.json").write_text(json.dumps({"format_version": 1}))
    return f"{SCORE} s.csv".replace("mcm --logit-scale 9", "head")


def the_promise_cannot_be_kept(vilu):
    return "threshold images.npy texts.npy --labels labels.npy --scorer mcm --logit-scale 9 --risk 0.001 -q"


def the_disk_is_full(vilu):
    return f"{SCORE} s.csv"


def the_disk_is_full_after_some_pieces(vilu):
    z = np.load("images.npy")
    wide = np.concatenate([z[:100], np.repeat(z, 400, axis=0)])
    np.save("images.npy", wide)
    assert vilu(f"{SCORE} scores").code == 0
    for part in sorted(Path("scores").glob("part-*.parquet"))[3:]:
        part.unlink()
    return f"{SCORE} scores"


def no_permission_to_write(vilu):
    Path("locked").mkdir()
    Path("locked").chmod(0o500)
    return f"{SCORE} locked/s.csv"


def no_permission_to_read(vilu):
    Path("images.npy").chmod(0)
    return f"{SCORE} s.csv"


def another_process_writes_there(vilu):
    return f"{SCORE} scores"


def the_network_is_gone(vilu):
    return f"{SCORE} s.csv".replace("mcm --logit-scale 9", "owner/name")


def an_extra_is_not_installed(vilu):
    return f"{SCORE} scores"


def the_reader_of_the_output_has_gone(vilu):
    return f"{SCORE} -"


def no_home(vilu):
    return f"{SCORE} scores"


def it_is_killed(vilu):
    return f"{SCORE} scores"


FAULTS = {name.replace("_", " "): make for name, make in list(globals().items()) if callable(make)}
IN_SILENCE = {"no home": {"HOME": None}, "the network is gone": {"HF_ENDPOINT": "http://127.0.0.1:9"}}


def files(folder):
    """Return the files that can be read."""
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o400]


def end_of(fault, line, here, vilu, monkeypatch):
    """Run the line under what is wrong, and return the exit code and what was said."""
    if fault in IN_SILENCE:
        return run(line, HF_HUB_CACHE=str(here / "cache"), HF_HUB_DISABLE_XET="1", **IN_SILENCE[fault])
    if fault.startswith("the disk is full"):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
        try:
            done = vilu(line)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return done.code, done.err
    if fault.startswith("no permission") and os.geteuid() == 0:  # whom no permission stops
        above = [path for path in (here, *here.parents) if Path(gettempdir()) in path.parents]
        modes = [path.stat().st_mode for path in above]
        for path in above:
            path.chmod(0o755)
        os.seteuid(65534)
        try:
            done = vilu(line)
        finally:
            os.seteuid(0)
            for path, mode in zip(above, modes, strict=True):
                path.chmod(mode)
        return done.code, done.err
    if fault == "another process writes there":
        ready, over = threading.Event(), threading.Event()

        def write():
            with held(here / "scores"):
                ready.set()
                over.wait()

        thread = threading.Thread(target=write)
        thread.start()
        ready.wait()
        try:
            done = vilu(line)
        finally:
            over.set()
            thread.join()
        return done.code, done.err
    if fault == "an extra is not installed":
        for name in ("pyarrow", "pyarrow.parquet"):
            monkeypatch.setitem(sys.modules, name, None)
    if fault == "the reader of the output has gone":
        line = f"{sys.executable} -m vilu_sdk {line.replace('images.npy', 'many.npy')}"
        np.save("many.npy", np.repeat(np.load("images.npy"), 100, axis=0))
        piped = ["bash", "-c", f"set -o pipefail; {line} | head -1"]
        done = subprocess.run(piped, capture_output=True, text=True)
        return done.returncode, done.stderr
    if fault == "it is killed":
        for name in ("wait", "scored.txt"):
            (here / name).touch()
        child = start(processes.logged_command, line)
        while "200" not in (here / "scored.txt").read_text():
            assert child.is_alive()
        os.kill(child.pid, signal.SIGKILL)
        return end(child), ""
    done = vilu(line)
    return done.code, done.err


def test_the_table_has_each_fault():
    assert sorted(row[0] for row in ROWS) == sorted(set(FAULTS) & {row[0] for row in ROWS})
    assert len(ROWS) >= 20


@processes.kills
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("fault", "code", "said", "left"), ROWS, ids=[row[0] for row in ROWS])
def test_a_fault_ends_as_the_table_says(fault, code, said, left, vilu, here, monkeypatch):
    monkeypatch.chdir(here)
    line = FAULTS[fault](vilu)
    before = {path: path.read_bytes() for path in files(here)}
    done, err = end_of(fault, line, here, vilu, monkeypatch)
    assert done == int(code), err
    expected = f"vilu: error: {said.strip('`')}\n" if said else ""
    checker = doctest.OutputChecker()
    assert checker.check_output(expected, err.replace(f"{here}/", ""), doctest.ELLIPSIS), err
    now = set(files(here))
    assert all(path.read_bytes() == content for path, content in before.items())
    new = {str(path.relative_to(here)) for path in now - set(before)} - {"wait", "scored.txt", "many.npy"}
    new = {name for name in new if not name.startswith("cache")}
    if left == "nothing":
        assert new <= {"images.npy"}, new
    elif left == "finished pieces":
        assert {"scores/_manifest.json", "scores/part-00000.parquet"} <= new | {
            str(path.relative_to(here)) for path in before
        }
    else:
        assert left == "the scores"
        assert "scores/part-00004.parquet" in new
