"""`vilu examples`: listed, copied, and part of the wheel."""

import tomllib
from pathlib import Path

import pytest

import vilu_sdk
from support.cli_tools import Run
from support.paths import EXAMPLES, ROOT
from vilu_sdk.cli import _examples

NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_all_are_listed_with_their_titles(vilu: Run) -> None:
    lines = vilu("examples").out.splitlines()
    assert [line.split()[0] for line in lines[: len(NAMES)]] == NAMES
    assert all(line.endswith("?") for line in lines[: len(NAMES)])
    assert lines[-1] == "vilu examples FOLDER copies them."


def test_all_are_copied_as_they_are_and_nothing_else_is_replaced(vilu: Run, tmp_path: Path) -> None:
    folder = tmp_path / "some where"
    for _ in range(2):  # again onto the same files
        assert "quickstart.py" in vilu(f"examples '{folder}'").out
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            path.name: path.read_bytes() for path in EXAMPLES.glob("*.py")
        }
    (folder / NAMES[-1]).write_text("mine")
    (folder / NAMES[0]).unlink()
    refused = vilu(f"examples '{folder}'")
    assert refused.code == 3
    assert f"{NAMES[-1]} is there and holds something else" in refused.err
    assert not (folder / NAMES[0]).exists()  # nothing was written
    assert vilu(f"examples '{folder}' --overwrite").code == 0
    assert (folder / NAMES[-1]).read_bytes() == (EXAMPLES / NAMES[-1]).read_bytes()
    (folder / NAMES[0]).write_text("mine")
    (folder / NAMES[-1]).unlink()
    (folder / NAMES[-1]).mkdir()
    for overwrite in ("", "--overwrite"):
        refused = vilu(f"examples '{folder}' {overwrite}")
        assert refused.code == 3
    assert f"{NAMES[-1]} is there and is no file" in refused.err
    assert (folder / NAMES[0]).read_text() == "mine"  # nothing was written
    refused = vilu(f"examples '{folder / NAMES[0]}'")
    assert refused.code == 2
    assert "is a file" in refused.err


def test_quiet_leaves_out_how_to_go_on(vilu: Run, tmp_path: Path) -> None:
    assert len(vilu("examples -q").out.splitlines()) == len(NAMES)
    assert vilu(f"-q examples '{tmp_path / 'mine'}'").out == ""
    said = vilu(f"demo -q --data '{tmp_path / 'digits'}'").out
    assert said == "798 images to fit on and 799 new ones, 10 texts, logit scale 13.91.\n"


def test_the_wheel_has_them_where_the_command_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"][
        "targets"
    ]["wheel"]
    assert _examples.folder() == EXAMPLES
    installed = tmp_path / wheel["force-include"]["examples"]
    installed.mkdir(parents=True)
    monkeypatch.setattr(vilu_sdk, "__file__", str(tmp_path / "vilu_sdk" / "__init__.py"))
    assert _examples.folder() == installed


def test_an_address_is_no_folder_of_this_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = Run("examples memory://x/y", capsys)
    assert (found.code, "a folder of this machine" in found.err) == (2, True)
    assert not list(tmp_path.iterdir())
