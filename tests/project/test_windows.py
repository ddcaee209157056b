"""What only Linux has is used nowhere: paths, files, signals and consoles as Windows has them."""

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest

from support.cli_tools import DATA, LABELLED
from support.paths import ROOT
from vilu_sdk import cli
from vilu_sdk.cli import _inputs
from vilu_sdk.cli._exits import BROKEN_PIPE, MACHINE, code_of
from vilu_sdk.inputs import stored
from vilu_sdk.inputs.remote import is_remote
from vilu_sdk.inputs.stored import replace
from vilu_sdk.persistence import hub

ENCODINGS = ("ascii", "cp1252", "utf-8")
needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="plays Windows on Linux")

#: Every way in which the command reads and writes, one after the other; those that write do it twice.
LINES = [
    f"fit images.npy texts.npy --labels labels.npy --names names.txt --logit-scale 13.9 -o head{n} -q"
    for n in ("", "", "-b")
]
LINES += [
    "fit images.npy texts.npy --labels labels.npy --scorer lvu --set epochs=2 -o lvu --checkpoint state -q",
    *[f"adapt {DATA} --scorer head -o adapted -q"] * 2,
    *[f"score {DATA} --scorer head -o {output} -q --piece-rows 100" for output in ("s.csv", "s.parquet", "s")]
    * 2,
    "score new-im*.npy texts.npy --scorer head -o s.npy -q",
    f"evaluate {LABELLED} --scorer head -o e.csv -q",
    f"compare {LABELLED} --scorer mcm --scorer entropy --logit-scale 13.9 -o t.md -q",
    *[f"report {LABELLED} --scorer head -o r.html -q"] * 2,
    *[f"threshold {LABELLED} --scorer head --risk 0.05 -o promise -q"] * 2,
    f"score {DATA} --scorer promise -o a.json -q",
    f"sets {LABELLED} --scorer head -o sets -q",
    f"sets {DATA} --scorer sets -o sets.json -q",
    f"labels {LABELLED} --scorer mcm --logit-scale 13.9 -o issues.csv -q",
]
PLAY = """
import json, os, sys
from pathlib import Path
import matplotlib.pyplot, pyarrow.parquet
from support import windows
from vilu_sdk import cli

windows.install(Path.cwd())
for line in json.loads(sys.argv[1]):
    code = cli.main(line.split())
    if code:
        sys.exit(f"{line}: {code}")
"""
#: What the play forbids, each of which must be noticed, or the test above could not fail.
FORBIDDEN = {
    "replacing what is open": "f = open('a.txt'); os.replace('b.txt', 'a.txt')",
    "replacing what is mapped": "m = np.load('m.npy', mmap_mode='r'); os.replace('b.txt', 'm.npy')",
    "removing what is open": "f = open('a.txt'); os.unlink('a.txt')",
    "a colon in a name": "open('a:b', 'w')",
    "a dot at the end": "os.mkdir('a.')",
    "a device": "open('aux.txt', 'w')",
    "the same name": "open('A.txt', 'w')",
}


def play(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8")


@needs_linux
def test_every_command_works_as_on_windows(tmp_path: Path) -> None:
    assert cli.main(["demo", "--data", str(tmp_path)]) == 0
    done = play(PLAY, tmp_path, json.dumps(LINES))
    assert done.returncode == 0, done.stderr
    expected = {"head", "head-b", "lvu", "adapted", "s.csv", "s.parquet", "s", "s.npy", "e.csv", "t.md"}
    assert expected | {"r.html", "promise", "a.json", "sets", "sets.json", "issues.csv"} <= set(
        os.listdir(tmp_path)
    )
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@needs_linux
@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_play_notices(what: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "b.txt").touch()
    np.save(tmp_path / "m.npy", np.zeros(9))
    start = "import os; import numpy as np; from pathlib import Path; from support import windows\n"
    done = play(f"{start}windows.install(Path.cwd())\n{FORBIDDEN[what]}", tmp_path)
    assert "as if on Windows" in done.stderr


# --- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "path", "name"),
    [
        (r"C:\data\img.npy", r"C:\data\img.npy", None),
        (r"C:\data\x.npz::NAME", r"C:\data\x.npz", "NAME"),
        ("C:/data/x.npz::a:b", "C:/data/x.npz", "a:b"),
        (r"\\server\share\x.npz::NAME", r"\\server\share\x.npz", "NAME"),
        (r"data\img.npy", r"data\img.npy", None),
        ("x.csv::file name", "x.csv", "file name"),
    ],
)
@pytest.mark.parametrize("flavour", [PureWindowsPath, PurePosixPath])
def test_a_drive_is_no_separator_and_no_address(
    spec: str, path: str, name: str | None, flavour: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Local(flavour):  # type: ignore[misc]
        def expanduser(self) -> Any:
            return self

    monkeypatch.setattr(_inputs, "Path", Local)
    assert not is_remote(spec)
    found, inside = _inputs.split(spec)
    assert (str(found), inside) == (str(flavour(path)), name)
    assert stored.kind(found) == flavour(path).suffix


@pytest.mark.parametrize(
    "name", ["C:/heads", r"C:\heads", "C:heads", r"heads\mine", r"\\server\share", "./a/b"]
)
def test_a_path_of_windows_is_no_repository(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_download", lambda *_, **__: pytest.fail("asked the Hub"))
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        hub.find_folder(name)


# --- files -----------------------------------------------------------------------------------------


def held(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next replacements fail as they do where somebody has the target open."""
    left, real = iter(range(times)), os.replace

    def refuse(source: Any, target: Any) -> None:
        if next(left, None) is not None:
            raise PermissionError(errno.EACCES, "Access is denied", str(source), None, str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", refuse)


@pytest.mark.parametrize(
    ("name", "times", "passes"), [("nt", 3, True), ("nt", 10**6, False), ("posix", 1, False)]
)
def test_a_file_that_is_held_for_a_moment_is_replaced_after_it(
    name: str, times: int, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / ".target.new", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    held(times, monkeypatch)
    monkeypatch.setattr(stored, "HELD_SECONDS", 0.2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", name)
        error = None
        try:
            replace(source, target)
        except PermissionError as caught:
            error = caught
    if passes:
        assert error is None
        assert target.read_bytes() == b"new"
    else:
        assert error is not None
        assert error.filename == str(target)  # and not the hidden one
        assert target.read_bytes() == b"old"


# --- consoles and pipes ----------------------------------------------------------------------------


class Console(io.TextIOWrapper):
    """Standard output of an encoding that lacks letters, on a terminal or not."""

    def __init__(self, encoding: str, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="\r\n")
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal

    def said(self) -> bytes:
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_console_lacks_a_letter_that_ends_a_command(
    encoding: str,
    is_terminal: bool,
    vilu: Callable[[str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = tmp_path / "names.txt"
    names.write_text(
        "".join(f"{name}\n" for name in ["→", "↑", "猫", "é", "✓", "±", "–", "z", "9", "≈"]), encoding="utf-8"
    )
    lines = [f"{name} --help" for name in (command for command in cli.build_parser().get_default("commands"))]
    named = f"{LABELLED} --names {names} --scorer my-scorer"
    lines += [
        "--help",
        f"compare {named}",
        f"threshold {named} --risk 0.05",
        "info my-scorer",
        f"labels {LABELLED}",
    ]
    lines += [f"score {DATA} --names {names} --scorer my-scorer"]
    for line in lines:
        with monkeypatch.context() as patch:
            console = Console(encoding, is_terminal)
            patch.setattr(sys, "stdout", console)
            done = vilu(line)
            assert done.code == 0, (line, done.err)
            said = console.said()
        assert said
        if not is_terminal and "--help" not in line:
            assert b"\r" not in said  # as in files, whatever the system
            text = said.decode("utf-8")
            assert "猫" in text or not line.startswith("score")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_errors_are_said_on_every_console(encoding: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "vilu_sdk", "score", "猫.npy", "texts.npy", "--scorer", "mcm", "-q"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 3
    assert done.stderr.startswith(b"vilu: error: there is neither a file nor a folder ")
    assert b"Traceback" not in done.stderr


def test_a_pipe_that_nobody_reads_ends_as_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    gone, other = OSError(errno.EINVAL, "Invalid argument"), OSError(errno.EINVAL, "Invalid argument", "file")
    assert [code_of(gone), code_of(other)] == [MACHINE, MACHINE]
    monkeypatch.setattr(sys, "platform", "win32")
    assert [code_of(gone), code_of(other)] == [BROKEN_PIPE, MACHINE]
