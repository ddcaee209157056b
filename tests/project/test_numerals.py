"""Numbers in options and variables of the environment are written in digits, and an error names them."""

import argparse
from typing import Any

import pytest

from vilu_sdk.cli import build_parser, main
from vilu_sdk.compute.device import _own_card
from vilu_sdk.compute.distributed import process_group, rank
from vilu_sdk.numerals import decimal, from_environment, whole

NO_NUMBERS = ("1_000", "１２", "0x10", "nan", "inf", "1e999", "", "x", "²")


def numeric_options() -> list[Any]:
    """Return each option of each command whose type reads numbers."""
    found = []
    for name, command in build_parser().get_default("commands").items():
        for action in command._actions:
            try:
                is_number = type(action.type("1")) in (int, float)
            except (TypeError, ValueError, argparse.ArgumentTypeError):
                try:
                    is_number = type(action.type("0.5")) is float
                except (TypeError, ValueError, argparse.ArgumentTypeError):
                    continue
            if is_number:
                found.append(pytest.param(name, action, id=f"{name} {action.option_strings[0]}"))
    return found


def test_there_are_such_options():
    assert len(numeric_options()) > 30


@pytest.mark.parametrize(("command", "action"), numeric_options())
def test_an_option_takes_digits_alone_and_is_named(command, action, capsys):
    for text in NO_NUMBERS:
        with pytest.raises((ValueError, argparse.ArgumentTypeError)):
            action.type(text)
        assert main([command, f"{action.option_strings[-1]}={text}"]) == 2
        assert f"argument {'/'.join(action.option_strings)}: " in capsys.readouterr().err


@pytest.mark.parametrize("text", [*NO_NUMBERS[:-3], "x", "1.5", "-1"])
def test_a_variable_of_the_environment_is_named(text, monkeypatch, capsys):
    def joined():
        with process_group():
            pass

    for name, use in (("WORLD_SIZE", joined), ("RANK", rank), ("LOCAL_RANK", _own_card)):
        with monkeypatch.context() as patched:
            patched.setenv(name, text)
            with pytest.raises(ValueError, match=f"the environment has {name}="):
                use()
    with monkeypatch.context() as patched:
        patched.setenv("WORLD_SIZE", text)
        for command in ("score x.npy y.npy", "decide x.npy y.npy --costs c.npy"):
            assert main([*command.split(), "--scorer", "mcm", "-o", "out.csv"]) == 2
            assert "WORLD_SIZE=" in capsys.readouterr().err


def test_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "")
    assert from_environment("WORLD_SIZE", 1) == 1


@pytest.mark.parametrize(
    ("text", "value"), [("7", 7), (" +7 ", 7), ("-3", -3), ("007", 7), ("9" * 18, int("9" * 18))]
)
def test_whole_numbers_are_read(text, value):
    assert whole(text) == value
    assert decimal(text) == float(value)


@pytest.mark.parametrize("text", ["0.5", ".5", "5.", "1e-3", "-2E+4", "0"])
def test_decimals_are_read_as_python_does(text):
    assert decimal(text) == float(text)
