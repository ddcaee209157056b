"""No command writes onto what it reads, by whatever path or link."""

import os
import shutil

import pytest

from vilu_sdk.cli import build_parser
from vilu_sdk.cli._exits import UsageError
from vilu_sdk.cli._outputs import SOURCES, refuse_overwriting

# What each command reads beside images and texts, in the folder of the digits.
COMMANDS = {
    "score": ("--scorer mcm --names names.txt", ["new-images.npy", "texts.npy", "names.txt"]),
    "score --piece-rows 50": ("--scorer mcm", ["new-images.npy", "texts.npy"]),
    "evaluate": ("--labels new-labels.npy --scorer mcm", ["new-images.npy", "texts.npy", "new-labels.npy"]),
    "compare": ("--labels new-labels.npy --scorer mcm", ["new-images.npy", "texts.npy", "new-labels.npy"]),
    "report": ("--labels new-labels.npy --scorer mcm", ["new-images.npy", "texts.npy", "new-labels.npy"]),
    "fit": ("--labels new-labels.npy", ["new-images.npy", "texts.npy", "new-labels.npy"]),
    "adapt": ("", ["new-images.npy", "texts.npy"]),
    "labels": ("--labels new-labels.npy", ["new-images.npy", "texts.npy", "new-labels.npy"]),
    "threshold": (
        "--labels new-labels.npy --scorer mcm --risk 0.1 --groups new-labels.npy",
        ["new-images.npy", "texts.npy", "new-labels.npy"],
    ),
}
COMMANDS["sets"] = (
    "--labels new-labels.npy --scorer mcm --groups new-labels.npy",
    ["new-images.npy", "texts.npy", "new-labels.npy"],
)
PATHS = {
    "the same name": lambda file: file.name,
    "another path": lambda file: f"./../{file.parent.name}/{file.name}",
    "a symbolic link": lambda file: link(file, os.symlink),
    "a hard link": lambda file: link(file, os.link),
}


def link(file, make):
    other = file.with_name(f"link-{make.__name__}{file.suffix}")
    other.unlink(missing_ok=True)
    make(file, other)
    return other.name


@pytest.fixture
def folder(digits_folder, tmp_path, monkeypatch):
    """A copy of the files, which a test may spoil."""
    copy = shutil.copytree(digits_folder, tmp_path / "digits")
    monkeypatch.chdir(copy)
    return copy


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_writes_onto_what_it_reads(vilu, folder, command, path):
    arguments, sources = COMMANDS[command]
    for source in sources:
        file = folder / source
        before = file.read_bytes()
        done = vilu(f"{command} new-images.npy texts.npy {arguments} -q -o {PATHS[path](file)}")
        assert done.code == 2
        assert "is where" in done.err
        assert done.out == ""
        assert file.read_bytes() == before


def test_no_command_writes_onto_a_shard(vilu, folder):
    (folder / "shards").mkdir()
    shard = folder / "shards" / "z_0.npy"
    shard.write_bytes((folder / "new-images.npy").read_bytes())
    before = shard.read_bytes()
    assert vilu("score shards texts.npy --scorer mcm -q -o shards/z_0.npy").code == 2
    assert shard.read_bytes() == before


def test_a_report_is_a_page(vilu, folder):
    done = vilu("report new-images.npy texts.npy --labels new-labels.npy --scorer mcm -q -o notes.txt")
    assert done.code == 2
    assert "must end in .html" in done.err


@pytest.mark.parametrize("label", ["", "ViLU="])
@pytest.mark.parametrize("command", ["threshold --risk 0.1", "sets"])
def test_no_command_writes_onto_the_scorer_that_it_reads(vilu, folder, fitted, command, label):
    fitted.save_pretrained(folder / "head")
    before = {file.name: file.read_bytes() for file in (folder / "head").iterdir()}
    given = f"new-images.npy texts.npy --labels new-labels.npy --scorer {label}head -q --overwrite"
    done = vilu(f"{command.split()[0]} {given} {' '.join(command.split()[1:])} -o ./head")
    assert done.code == 2
    assert "is where" in done.err
    assert {file.name: file.read_bytes() for file in (folder / "head").iterdir()} == before


def test_every_file_that_a_command_reads_is_looked_at():
    (commands,) = (action for action in build_parser()._actions if action.dest == "command")
    files = {
        action.dest
        for parser in commands.choices.values()
        for action in parser._actions
        if action.metavar == "FILE" and action.dest != "output"
    }
    assert "units" in files
    assert files <= set(SOURCES)


@pytest.mark.parametrize("label", ["", "mine="])
def test_the_query_of_an_address_is_no_file(label, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "head.csv").write_text("old")
    given = f"{label}http://127.0.0.1:9/head?file=head.csv"
    line = f"score i.npy t.npy --scorer {given} -o head.csv"
    refuse_overwriting(build_parser().parse_args(line.split()))
    with pytest.raises(UsageError, match="scorer are read from"):
        refuse_overwriting(build_parser().parse_args(line.replace(given, "m=head.csv").split()))
