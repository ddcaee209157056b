"""The exit code tells what ended a command: usage, input, the machine, a missing extra, or a signal."""

import argparse
import os
import re
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from multiprocessing import Pipe

import numpy as np
import pytest

from support import processes
from support.cli_tools import DATA, LABELLED
from support.paths import DOCS
from support.processes import end, start
from vilu_sdk import cli
from vilu_sdk.cli import _exits
from vilu_sdk.exceptions import ProcessDiedError

resource = pytest.importorskip("resource", reason="this system has no limits of processes")

#: A line for each command that reads embeddings, with what it writes, and where.
WRITES = {
    "fit": f"fit {LABELLED} --scorer mcm --logit-scale 9 -q -o",
    "adapt": f"adapt {DATA} --logit-scale 9 -q -o",
    "score": f"score {DATA} --scorer mcm --logit-scale 9 -q -o",
    "evaluate": f"evaluate {LABELLED} --scorer mcm --logit-scale 9 -q -o",
    "compare": f"compare {LABELLED} --scorer mcm --logit-scale 9 -q -o",
    "report": f"report {LABELLED} --scorer mcm --logit-scale 9 -q -o",
    "threshold": f"threshold {LABELLED} --scorer mcm --logit-scale 9 -q --coverage 0.5 -o",
    "labels": f"labels {LABELLED} --scorer mcm --logit-scale 9 -q -o",
}
OUTPUTS = {
    "fit": ["folder"],
    "adapt": ["folder"],
    "score": ["s.csv", "s.json", "s.npy", "s.parquet", "folder"],
    "evaluate": ["m.csv", "m.json", "m.parquet"],
    "compare": ["t.csv", "t.json", "t.parquet", "t.md", "t.html"],
    "report": ["r.html"],
    "threshold": ["folder"],
    "labels": ["l.csv", "l.json", "l.parquet"],
}
WRITTEN = [(command, output) for command in WRITES for output in OUTPUTS[command]]
USAGE = {
    "fit": "--scorer mcm --scorer relu",
    "adapt": "--scorer mcm",
    "score": "--engine ray",
    "evaluate": "--scorer relu",
    "compare": "--test new-images.npy",
    "report": "--focus nobody",
    "threshold": "--confidence 7",
    "labels": "--scorer lvu",
}


@contextmanager
def full_disk():
    """No file may grow beyond a few bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("command", WRITES)
def test_usage_is_2_and_input_3(command, vilu, tmp_path):
    out = tmp_path / OUTPUTS[command][0]
    line = f"{WRITES[command]} {out}"
    np.save(tmp_path / "bad.npy", np.full((799, 32), np.nan, np.float32))
    usage = USAGE[command]
    given = line.replace(f"-o {out}", "") if command == "score" else line
    for code, wrong in (
        (2, f"{line} --no-such-option"),
        (2, f"{given} {usage}"),
        (3, line.replace("new-images", "nowhere")),
        (3, line.replace("new-images.npy", str(tmp_path / "bad.npy"))),
        (3, line.replace("new-images.npy", "names.txt")),
    ):
        done = vilu(wrong)
        assert (done.code, done.out, done.err.count("\n")) == (code, "", 1), (wrong, done.err)
        assert not out.exists()


@pytest.mark.parametrize(("command", "output"), WRITTEN)
def test_a_full_disk_is_4_and_leaves_nothing(command, output, vilu, tmp_path):
    out = tmp_path / output
    with full_disk():
        done = vilu(f"{WRITES[command]} {out}")
    assert done.code == 4
    assert re.fullmatch(rf"vilu: error: {out}[\w./-]*: file too large; [^\n]+\n", done.err)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not left


@pytest.mark.parametrize(("command", "output"), WRITTEN)
def test_no_permission_is_4(command, output, vilu, tmp_path, monkeypatch):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.geteuid() == 0:  # whom no permission stops
        refuse_below(folder, monkeypatch)
    done = vilu(f"{WRITES[command]} {folder / output}")
    folder.chmod(stat.S_IRWXU)
    assert done.code == 4
    assert re.fullmatch(rf"vilu: error: {folder}[^ ]*: permission denied; [^\n]+\n", done.err)
    assert not list(folder.iterdir())


def refuse_below(folder, monkeypatch):
    """Let the operating system's calls fail in a folder, as they do for all but root."""

    def refused(call):
        def called(path, *rest, **options):
            writes = call is not open or "r" not in (rest[0] if rest else options.get("mode", "r"))
            if writes and str(path).startswith(str(folder)):
                raise PermissionError(13, "Permission denied", str(path))
            return call(path, *rest, **options)

        return called

    monkeypatch.setattr("builtins.open", refused(open))
    monkeypatch.setattr("os.mkdir", refused(os.mkdir))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
@pytest.mark.parametrize("command", ["score", "evaluate", "compare", "info"])
def test_full_standard_output_is_4(command, digits_folder):
    line = WRITES.get(command, "info texts.npy -o").removesuffix(" -o")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vilu_sdk", *line.split()],
            cwd=digits_folder, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 4
    assert re.fullmatch(r"vilu: error: standard output: no space left on device; [^\n]+\n", done.stderr)


@pytest.mark.parametrize("output", ["s.parquet", "folder"])
def test_a_missing_extra_is_5(output, vilu, tmp_path, monkeypatch):
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    done = vilu(f"{WRITES['score']} {tmp_path / output}")
    assert done.code == 5
    assert 'pip install "vilu-sdk[data]"' in done.err


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (2, f"evaluate {LABELLED} --scorer mcm -q --batch-size 20"),
        (2, f"evaluate {DATA} --labels '' --scorer mcm -q"),
        (2, f"score {DATA} --scorer mcm -o nowhere/s.csv"),
        (2, f"threshold {LABELLED} --scorer mcm -q --costs 1 10"),
        (2, "demo --data names.txt"),
        (2, "completion tcsh"),
        (2, "fit images.npy texts.npy --labels labels.npy -o x --checkpoint names.txt"),
        (3, f"score {DATA} --scorer nothing-like-it"),
        (3, "convert nowhere.ckpt -o x"),
        (3, "convert names.txt -o x"),
        (3, "push nowhere owner/name"),
        (3, "info nothing-like-it"),
    ],
)
def test_the_other_ways_to_be_wrong(code, line, vilu, digits_folder):
    before = sorted(digits_folder.iterdir())
    done = vilu(line)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1), done.err
    assert sorted(digits_folder.iterdir()) == before


def test_no_threshold_is_1(vilu):
    assert vilu(f"threshold {LABELLED} --scorer my-scorer --risk 0.0001").code == 1


@processes.kills
@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("output", ["scores.csv", "scores"])
def test_signals_are_told_apart_and_say_how_to_go_on(number, code, said, output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("images.npy", rng.normal(size=(500, 8)))
    np.save("texts.npy", rng.normal(size=(5, 8)))
    for name in ("wait", "scored.txt"):
        (tmp_path / name).touch()
    line = f"score images.npy texts.npy --scorer mcm --logit-scale 9 -q --piece-rows 100 -o {output}"
    heard, other = Pipe(duplex=False)
    child = start(processes.logged_command, line, other, other)
    other.close()
    while "200" not in (tmp_path / "scored.txt").read_text():
        assert child.is_alive()
    os.kill(child.pid, number)
    assert end(child) == code
    with heard, os.fdopen(os.dup(heard.fileno())) as text:
        assert text.read() == f"vilu: {said}; the same command goes on after the pieces that are done.\n"
    (tmp_path / "wait").unlink()
    assert end(start(processes.logged_command, line)) == 0
    assert (tmp_path / "scored.txt").read_text().split() == ["0", "100", "200", "300", "400"]


def test_the_handler_of_another_is_left_as_it_is():
    """Under a server or a test runner that listens for SIGTERM itself."""
    for handler in (signal.SIG_DFL, signal.SIG_IGN):
        before = signal.signal(signal.SIGTERM, handler)
        try:
            with _exits.terminable():
                assert (signal.getsignal(signal.SIGTERM) == handler) == (handler == signal.SIG_IGN)
            assert signal.getsignal(signal.SIGTERM) == handler
        finally:
            signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (_exits.UsageError("x"), 2),
        (NotImplementedError("x"), 2),
        (ValueError("x"), 3),
        (TypeError("x"), 3),
        (FileNotFoundError("there is no x"), 3),
        (FileNotFoundError(2, "No such file or directory", "x"), 4),
        (PermissionError("the Hub refused it"), 4),
        (ConnectionError("x"), 4),
        (MemoryError(), 4),
        (ProcessDiedError("x"), 4),
        (ModuleNotFoundError("x"), 5),
        (KeyError("x"), 70),
        (AssertionError(), 70),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
        (_exits.Terminated(), 143),
    ],
    ids=repr,
)
def test_each_kind_of_error_has_its_code(error, code):
    assert _exits.code_of(error) == code
    said = _exits.message_of(error, argparse.Namespace())
    assert said
    assert "\n" not in said


def test_the_table_is_in_the_help_and_in_the_docs(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    page = (DOCS / "command_line.md").read_text(encoding="utf-8")
    for code, meaning in _exits.MEANINGS.items():
        assert f"{code:5}  {meaning}\n" in text
        assert f"| {code} | {meaning} |\n" in page
    assert len(re.findall(r"^\| \d+ \|", page, re.MULTILINE)) == len(_exits.MEANINGS)


def test_long_messages_are_cut_in_the_middle():
    said = _exits.message_of(ValueError(f"it begins {'x ' * 5000}; do this."), argparse.Namespace())
    assert len(said) < 1000
    assert said.startswith("it begins")
    assert said.endswith("do this.")
