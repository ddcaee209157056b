"""The command as a process: pipes, signals, exit codes and tracebacks; completion in real shells."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from support.cli_tools import Run
from vilu_sdk import MCMScorer, cli
from vilu_sdk.scale import partition

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system starts processes in other ways")


def start(line: str, out: int, err: int) -> int:
    """Run the command in a process of its own, without the time that imports take, and return its number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, of which the work needs none
        child = os.fork()
    if child == 0:
        code = 99
        try:
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.closerange(3, 256)  # or it would hold the other ends of its own pipes
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            code = cli.main(shlex.split(line))
            sys.stdout.flush()
        finally:
            os._exit(code)
    return child


def end(child: int) -> int:
    """Wait for a process and return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.normal(size=(1000, 8)).astype(np.float32))
    np.save(tmp_path / "texts.npy", rng.normal(size=(5, 8)).astype(np.float32))
    np.save(tmp_path / "labels.npy", rng.integers(5, size=1000))
    return tmp_path


@pytest.fixture
def pieces(folder, monkeypatch):
    """Say in a file which pieces were scored; after the third, wait to be killed while there is a file."""
    score_piece, log = partition.score_piece, folder / "scored.txt"

    def logged(piece, *rest):
        score_piece(piece, *rest)
        with log.open("a") as file:
            file.write(f"{piece.first}\n")
        if piece.first == 200 and (folder / "wait").exists():
            time.sleep(60)

    monkeypatch.setattr(partition, "score_piece", logged)
    monkeypatch.chdir(folder)
    log.touch()
    (folder / "wait").touch()
    return log


def wait_for_third(log: Path) -> None:
    while "200" not in log.read_text():
        time.sleep(0.01)


@forks
def test_killed_and_started_again_nothing_is_scored_twice(pieces, folder):
    line = "score images.npy texts.npy --scorer mcm --logit-scale 10 -o scores.csv --piece-rows 100 -q"
    child = start(line, 1, 2)
    wait_for_third(pieces)
    os.kill(child, signal.SIGKILL)
    assert end(child) == -signal.SIGKILL
    assert not (folder / "scores.csv").exists()
    (folder / "wait").unlink()
    assert end(start(line, 1, 2)) == 0
    assert pieces.read_text().split() == [str(first) for first in range(0, 1000, 100)]
    rows = np.genfromtxt(folder / "scores.csv", delimiter=",", names=True)
    images, texts = np.load(folder / "images.npy"), np.load(folder / "texts.npy")
    expected = MCMScorer(logit_scale=10).predict_uncertainty(images, texts)
    np.testing.assert_allclose(rows["uncertainty"], expected, rtol=1e-5)
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


@forks
def test_interrupted_it_ends_quietly_with_130(pieces, folder):
    said, other = os.pipe()
    child = start("score images.npy texts.npy --scorer mcm -o scores --piece-rows 100 -q", other, other)
    os.close(other)
    wait_for_third(pieces)
    os.kill(child, signal.SIGINT)
    assert end(child) == 130
    with os.fdopen(said) as text:
        assert text.read() == ""
    assert len(list((folder / "scores").glob("part-*.parquet"))) == 3


@forks
def test_a_pipe_that_is_not_read_to_its_end_is_no_error(folder, monkeypatch):
    """More rows than a pipe holds, of which one line is read."""
    monkeypatch.chdir(folder)
    np.save("images.npy", np.tile(np.load("images.npy"), (20, 1)))
    (rows, out), (said, err) = os.pipe(), os.pipe()
    child = start("score images.npy texts.npy --scorer mcm -q", out, err)
    os.close(out)
    os.close(err)
    with os.fdopen(rows) as file:
        assert file.readline() == "row,prediction,uncertainty\n"
    assert end(child) == 141
    with os.fdopen(said) as text:
        assert text.read() == ""


def test_as_a_module_errors_are_one_line_and_debug_shows_where(folder):
    line = [sys.executable, "-m", "vilu_sdk", "score", "images.npy", "no.npy", "--scorer", "mcm", "-q"]
    done = subprocess.run([*line, "--debug"], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
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
    monkeypatch.setattr("vilu_sdk.cli._score.open_images", fails)
    done = Run(line, capsys)
    assert (done.code, done.err) == (2, "vilu: error: KeyError: 'x' (--debug shows where)\n")
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


@pytest.mark.parametrize(("shell", "ask"), [("bash", ask_bash), ("fish", ask_fish)])
def test_a_shell_completes(shell, ask, scripts, folder, monkeypatch):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    monkeypatch.chdir(folder)
    for line, expected in CASES:
        assert sorted(ask(scripts / shell, line).split()) == expected, line


def test_bash_completes_every_command_and_option(scripts):
    commands = cli.build_parser()._subparsers._group_actions[0].choices
    assert sorted(ask_bash(scripts / "bash", "vilu ").split()) == sorted(commands)
    for name, parser in commands.items():
        offered = ask_bash(scripts / "bash", f"vilu {name} -").split()
        assert sorted(offered) == sorted(parser._option_string_actions)


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
