"""What docs/command_line.md shows is what a shell prints."""

import doctest
import io
import os
import re
import shlex
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from support import processes
from support.cli_tools import Run
from support.fake_hub import TOKEN, FakeHub
from support.official import official_content, saved
from support.paths import DOCS
from vilu_sdk import cli
from vilu_sdk.cli import _demo
from vilu_sdk.datasets import DigitsVLM

PAGE = (DOCS / "command_line.md").read_text(encoding="utf-8")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def shown() -> list[tuple[str, str]]:
    """Command lines and what is shown below them, in order."""
    text = "".join(blocks("console"))
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)


def shell(line: str) -> str:
    """Run a line; `vilu` runs in this process, what follows it in a bash that gets its output and code."""
    if line.startswith("cd "):
        os.chdir(line.removeprefix("cd "))
        return ""
    command, rest = re.fullmatch(r"(vilu [^|;>]*)?(.*)", line).groups()
    out, err, code = io.StringIO(), io.StringIO(), 0
    if command:
        with redirect_stdout(out), redirect_stderr(err):
            code = cli.main(shlex.split(command)[1:])
        rest = f"printed {rest}"
    before = f"printed() {{ printf '%s' \"$OUTPUT\"; return {code}; }}\n"
    environment = {**os.environ, "OUTPUT": out.getvalue()}
    if rest != "printed ":
        done = subprocess.run(["bash", "-c", before + rest], capture_output=True, text=True, env=environment)
        return err.getvalue() + done.stdout + done.stderr
    return err.getvalue() + out.getvalue()


@processes.unix
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_every_example_prints_what_is_shown(
    server: FakeHub, digits: DigitsVLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(_demo, "load_digits_vlm", lambda _: digits)
    monkeypatch.setattr("vilu_sdk.compute.progress._enabled", True)
    (tmp_path / "digits").mkdir()
    saved(tmp_path / "digits", official_content()).rename(tmp_path / "digits" / "vilu.ckpt")
    checker = doctest.OutputChecker()
    wrong = []
    for line, expected in shown():
        printed = shell(line).replace(server.url, "https://huggingface.co")
        if not checker.check_output(expected or "", printed, FLAGS):
            wrong.append(f"$ {line}\n--- shown\n{expected}--- printed\n{printed}")
    assert not wrong, "\n".join(wrong)


def test_every_command_is_shown() -> None:
    lines = [line for line, _ in shown()] + "".join(blocks("bash")).splitlines()
    used = {word for line in lines for word in re.findall(r"(?:vilu|vilu_sdk) ([a-z]+)", line)}
    commands = cli.build_parser()._subparsers._group_actions[0].choices
    assert used == set(commands)
    assert set(re.findall(r"^\| `vilu ([a-z]+)`", PAGE, re.MULTILINE)) == set(commands)


def test_what_is_not_run_is_parsed(capsys: pytest.CaptureFixture[str]) -> None:
    (torchrun,) = [line for text in blocks("bash") for line in text.splitlines() if "torchrun" in line]
    arguments = cli.build_parser().parse_args(shlex.split(torchrun.partition("-m vilu_sdk ")[2]))
    assert arguments.command == "fit"
    assert Run("completion fish", capsys).code == 0
