"""The command as a process: pipes, signals, exit codes and tracebacks; completion in real shells."""

import os
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from support import processes
from support.cli_tools import Run
from support.processes import end, kill, start
from vilu_sdk import MCMScorer, cli


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.normal(size=(1000, 8)).astype(np.float32))
    np.save(tmp_path / "texts.npy", rng.normal(size=(5, 8)).astype(np.float32))
    np.save(tmp_path / "labels.npy", rng.integers(5, size=1000))
    return tmp_path


@pytest.fixture
def pieces(folder, monkeypatch):
    """The file that tells which pieces were scored; after the third, the command waits to be killed."""
    monkeypatch.chdir(folder)
    (folder / "wait").touch()
    (folder / "scored.txt").touch()
    return folder / "scored.txt"


def read(pipe: Connection) -> str:
    """What a process wrote into a pipe until it ended."""
    with pipe, os.fdopen(os.dup(pipe.fileno())) as text:
        return text.read()


def wait_for_third(log: Path, child: BaseProcess) -> None:
    while "200" not in log.read_text():
        assert child.is_alive()
        time.sleep(0.01)


@processes.kills
def test_killed_and_started_again_nothing_is_scored_twice(pieces, folder):
    line = "score images.npy texts.npy --scorer mcm --logit-scale 10 -o scores.csv --piece-rows 100 -q"
    child = start(processes.logged_command, line)
    wait_for_third(pieces, child)
    kill(child)
    assert not (folder / "scores.csv").exists()
    (folder / "wait").unlink()
    assert end(start(processes.logged_command, line)) == 0
    assert pieces.read_text().split() == [str(first) for first in range(0, 1000, 100)]
    rows = np.genfromtxt(folder / "scores.csv", delimiter=",", names=True)
    images, texts = np.load(folder / "images.npy"), np.load(folder / "texts.npy")
    expected = MCMScorer(logit_scale=10).predict_uncertainty(images, texts)
    np.testing.assert_allclose(rows["uncertainty"], expected, rtol=1e-5)
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


@processes.kills
def test_interrupted_it_ends_quietly_with_130(pieces, folder):
    said, other = Pipe(duplex=False)
    line = "score images.npy texts.npy --scorer mcm -o scores --piece-rows 100 -q"
    child = start(processes.logged_command, line, other, other)
    other.close()
    wait_for_third(pieces, child)
    os.kill(child.pid, signal.SIGINT)
    assert end(child) == 130
    assert read(said) == "vilu: interrupted; the same command goes on after the pieces that are done.\n"
    assert len(list((folder / "scores").glob("part-*.parquet"))) == 3


@processes.kills
def test_a_pipe_that_is_not_read_to_its_end_is_no_error(folder, monkeypatch):
    """More rows than a pipe holds, of which one line is read."""
    monkeypatch.chdir(folder)
    np.save("images.npy", np.tile(np.load("images.npy"), (20, 1)))
    (rows, out), (said, err) = Pipe(duplex=False), Pipe(duplex=False)
    child = start(processes.command, "score images.npy texts.npy --scorer mcm -q", out, err)
    out.close()
    err.close()
    with os.fdopen(os.dup(rows.fileno())) as file:
        assert file.readline() == "row,prediction,uncertainty\n"
    rows.close()
    assert end(child) == 141
    assert read(said) == ""


def test_as_a_module_errors_are_one_line_and_debug_shows_where(folder):
    line = [sys.executable, "-m", "vilu_sdk", "score", "images.npy", "no.npy", "--scorer", "mcm", "-q"]
    done = subprocess.run([*line, "--debug"], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("Traceback")
    assert last == f"vilu: error: there is neither a file nor a folder {folder / 'no.npy'}."


def test_unexpected_errors_are_one_line_too(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)

    def fails(*_: object) -> None:
        raise KeyError("x")

    line = "score images.npy no.npy --scorer mcm -q"
    assert Run(line, capsys).err == (
        f"vilu: error: there is neither a file nor a folder {folder / 'no.npy'}.\n"
    )
    monkeypatch.setattr("vilu_sdk.cli._score.open_named", fails)
    done = Run(line, capsys)
    assert (done.code, done.err) == (70, "vilu: error: KeyError: 'x' (--debug shows where)\n")
    assert "Traceback" in Run(f"--debug {line}", capsys).err


@pytest.mark.filterwarnings("default")
def test_warnings_are_one_line(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    MCMScorer(logit_scale=10).save_pretrained("mcm")
    predicted = MCMScorer().predict(np.load("images.npy"), np.load("texts.npy"))
    np.save("labels.npy", predicted)
    done = Run("evaluate images.npy texts.npy --labels labels.npy --scorer mcm", capsys)
    assert done.code == 0
    assert done.err.startswith("vilu: warning: ")
    assert done.err.count("\n") == 1


# --- completion ------------------------------------------------------------------------------------

CASES = [
    ("vilu thr", ["threshold"]),
    ("vilu fit --lab", ["--labels"]),
    ("vilu score --engine ", ["local", "ray"]),
    ("vilu score images.npy texts.npy --scorer MC", ["MCMScorer"]),
    ("vilu info cl", ["clip-b32-imagenet"]),
    ("vilu completion ", ["bash", "fish", "zsh"]),
    ("vilu push my-scorer owner/name --pri", ["--private"]),
    ("vilu fit --labels lab", ["labels.npy"]),
    ("vilu evaluate im", ["images.npy"]),
]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    for shell in ("bash", "zsh", "fish"):
        with (folder / shell).open("w") as file, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", file)
            assert cli.main(["completion", shell]) == 0
    return folder


def ask_bash(script, line):
    """What Tab offers: the function's words, or files where it has none (which -o default means)."""
    words = line.split(" ")
    code = f"""
        source {script}
        complete -p vilu | grep -q -- '-o default' || exit 1
        COMP_WORDS=({" ".join(words[:-1])} '{words[-1]}') COMP_CWORD={len(words) - 1}
        _vilu
        (( ${{#COMPREPLY[@]}} )) || COMPREPLY=($(compgen -f -- '{words[-1]}'))
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout


def ask_fish(script, line):
    code = f"source {script}; complete -C '{line}'"
    offered = subprocess.run(["fish", "-c", code], capture_output=True, text=True, check=True).stdout
    return "\n".join(choice.partition("\t")[0] for choice in offered.splitlines())


@processes.unix
@pytest.mark.parametrize(("shell", "ask"), [("bash", ask_bash), ("fish", ask_fish)])
def test_a_shell_completes(shell, ask, scripts, folder, monkeypatch):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    monkeypatch.chdir(folder)
    for line, expected in CASES:
        assert sorted(ask(scripts / shell, line).split()) == expected, line


@processes.unix
def test_bash_completes_every_command_and_option(scripts):
    top = cli.build_parser()
    commands = top._subparsers._group_actions[0].choices
    assert sorted(ask_bash(scripts / "bash", "vilu ").split()) == sorted(commands)
    assert sorted(ask_bash(scripts / "bash", "vilu -").split()) == sorted(top._option_string_actions)
    for name, parser in commands.items():
        offered = ask_bash(scripts / "bash", f"vilu {name} -").split()
        assert sorted(offered) == sorted(parser._option_string_actions)


@processes.unix
def test_tab_in_a_real_bash(scripts, folder):
    """With readline: what is typed, Tab, and what is run."""
    import pty

    main, other = pty.openpty()
    with subprocess.Popen(
        ["bash", "--norc", "-i"], stdin=other, stdout=other, stderr=other, cwd=folder, start_new_session=True
    ) as shell:
        os.close(other)
        typed = f'source {scripts / "bash"}; vilu() {{ echo "<$*>"; }}\nvilu thr\t--met\tsg\t\nexit\n'
        os.write(main, typed.encode())
        seen = b""
        while b"<threshold --method sgr>" not in seen and shell.poll() is None:
            seen += os.read(main, 4096)
        os.close(main)
    assert b"<threshold --method sgr>" in seen
