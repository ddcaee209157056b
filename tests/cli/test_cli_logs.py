"""What a command says besides its results: to standard error, as text or as JSON, down to a level."""

import json
import logging
import warnings

import numpy as np
import pytest

from support.cli_tools import DATA, LABELLED, SCALE
from vilu_sdk.cli import COMMANDS, build_parser

SCORE = f"score {DATA} --scorer my-scorer --piece-rows 100"


@pytest.fixture
def slow(monkeypatch):
    """Say after each step how far the work is."""
    monkeypatch.setattr("vilu_sdk.compute.progress.EVERY_SECONDS", 0.0)


@pytest.mark.usefixtures("slow")
def test_a_job_without_a_terminal_tells_how_far_it_is(vilu, tmp_path):
    done = vilu(f"{SCORE} -o {tmp_path / 'scores'}")
    said = done.err.splitlines()
    assert said[0].startswith("vilu: scoring pieces: 100 of 799 done (12 %), ")
    assert said[0].endswith("left")
    assert said[-1] == f"vilu: 799 rows in 8 files: {tmp_path / 'scores'}"
    assert done.out == ""


@pytest.mark.usefixtures("slow")
@pytest.mark.filterwarnings("always")
def test_json_is_an_object_on_each_line(vilu, tmp_path):
    np.save(tmp_path / "twice.npy", np.repeat(np.load("new-images.npy")[:50], 2, axis=0))
    lines = [
        (f"{SCORE} -o {tmp_path / 'scores'}", 0),
        (f"{SCORE} -o nowhere/scores.csv", 2),
        ("score --no-such-option", 2),
        (f"score nowhere.npy texts.npy --scorer mcm --logit-scale {SCALE}", 3),
        (f"evaluate {LABELLED} --scorer mcm --logit-scale 4.6", 0),
    ]
    levels = set()
    for line, code in lines:
        done = vilu(f"{line} --log-format json")
        assert done.code == code
        for said in map(json.loads, done.err.splitlines()):
            assert said.keys() >= {"time", "level", "logger", "message"}
            assert said["logger"].startswith("vilu_sdk.")
            levels.add(said["level"])
            if said["level"] == "error":
                assert said["code"] == code
            if said["logger"] == "vilu_sdk.progress":
                assert said.keys() >= {"work", "done", "total", "rate", "seconds_left"}
    assert levels == {"info", "warning", "error"}


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize(
    ("level", "first"),
    [
        *(("--log-level info", 0), ("--log-level warning", 1), ("--log-level error", 2), ("-q", 1)),
        *(("-q --log-level error", 2), ("--quiet --log-level debug", 1)),
    ],
)
def test_levels(level, first, vilu, monkeypatch):
    def told(*_):
        logging.getLogger("vilu_sdk.somewhere").info("a note")
        warnings.warn("a warning", UserWarning, stacklevel=1)
        raise ValueError("an error")

    monkeypatch.setattr("vilu_sdk.cli._score.open_named", told)
    done = vilu(f"score {DATA} --scorer mcm --logit-scale 9 {level}")
    whole = ["vilu: a note", "vilu: warning: a warning", "vilu: error: an error"]
    assert done.err.splitlines() == whole[first:]


@pytest.mark.parametrize("place", ["before", "after"])
def test_options_of_all_commands_stand_before_or_after_the_command(place, vilu):
    options, line = "--log-format json --log-level error", "info nowhere-at-all"
    done = vilu(f"{options} {line}" if place == "before" else f"{line} {options}")
    assert json.loads(done.err)["code"] == done.code == 3


@pytest.mark.parametrize("flag", ["-q", "--quiet", "--debug", "--log-level error", "--log-format json"])
def test_every_command_takes_what_all_take(flag):
    parser = build_parser()
    commands = parser.get_default("commands")
    assert len(commands) == len(COMMANDS)
    name, *value = flag.split()
    for command in commands.values():
        assert sum(name in action.option_strings for action in command._actions) == 1
    for line in (f"{flag} info somewhere", f"info somewhere {flag}"):
        given = vars(parser.parse_args(line.split()))
        where = {"-q": "quiet"}.get(name, name.lstrip("-").replace("-", "_"))
        assert given[where] == (value[0] if value else True)


def test_the_logger_is_left_as_it_was(vilu):
    library = logging.getLogger("vilu_sdk")
    before = (library.level, list(library.handlers))
    vilu("info texts.npy")
    vilu("info nowhere-at-all")
    assert (library.level, library.handlers) == before


def test_the_library_prints_nothing():
    """What is printed is printed by `vilu_sdk.cli` alone."""
    import ast
    from pathlib import Path

    import vilu_sdk

    root = Path(vilu_sdk.__file__).parent
    for path in root.rglob("*.py"):
        if path.parent.name == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{path}:{node.lineno}"
