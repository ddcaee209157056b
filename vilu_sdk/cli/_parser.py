"""What a command is: where its function is, what the help says of it, and its arguments."""

import argparse
import math
from collections.abc import Callable
from operator import methodcaller
from typing import Any, NoReturn

from vilu_sdk.cli._exits import UsageError
from vilu_sdk.cli._streams import FORMATS, LEVELS
from vilu_sdk.numerals import decimal, whole

#: Adds an argument to a parser, or to a group of one.
Argument = Callable[[Any], Any]


class Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        """Raise what is an error of usage, as others are."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def command(
    run: str, name: str, summary: str, example: str, *arguments: Argument, about: str = ""
) -> Callable[[Any], None]:
    """Return what adds a command with these arguments, in this order, to a parser.

    `run` names the function that does the work and returns the exit code, ``_module.function``. It is
    imported once the arguments are known to be right.
    """

    def add(commands: Any) -> None:
        parser = commands.add_parser(
            name,
            help=summary,
            description=about or f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=Formatter,
        )
        parser.set_defaults(run=run, example=example)
        for argument in (*of_all(default=argparse.SUPPRESS), *arguments):
            argument(parser)

    return add


def option(*flags: str, **how: Any) -> Argument:
    """Return an argument as `add_argument` takes it."""
    return methodcaller("add_argument", *flags, **how)


def switch(*flags: str, **how: Any) -> Argument:
    """Return an option without a value."""
    return option(*flags, action="store_true", **how)


def within(
    kind: type[Any], low: float, high: float = math.inf, *, bounds: bool = True
) -> Callable[[str], Any]:
    """Return the type of an option with numbers between `low` and `high`, with or without these two."""
    parse = whole if kind is int else decimal

    def read(text: str) -> Any:
        value = parse(text)
        if not low <= value <= high or (not bounds and value in (low, high)):
            most = "" if high == math.inf else f" and {'at most' if bounds else 'below'} {high}"
            least = f"{'at least' if bounds else 'above'} {low}"
            raise argparse.ArgumentTypeError(f"must be {least}{most}, got {text}")
        return value

    read.__name__ = kind.__name__
    return read


#: Types of options.
COUNT, SHARE, SCALE = within(int, 1), within(float, 0, 1, bounds=False), within(float, 0, bounds=False)
SEED = within(int, 0, 2**32 - 1)


def one_of(*arguments: Argument, required: bool = False) -> Argument:
    """Return arguments of which a command line has one at most."""

    def add(parser: argparse.ArgumentParser) -> None:
        group = parser.add_mutually_exclusive_group(required=required)
        for argument in arguments:
            argument(group)

    return add


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return those of the arguments that have a value, by name."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def of_all(**how: Any) -> list[Argument]:
    """Return what every command takes, before its name and after it."""
    return [
        switch("-q", "--quiet", help="no progress and no notes, only results", **how),
        switch("--debug", help="show where an error came from", **how),
        option(
            "--log-level", choices=LEVELS, help="leave out messages below this level (default: info)", **how
        ),
        option("--log-format", choices=FORMATS, help="format of standard error: text, or JSON lines", **how),
    ]


class Formatter(argparse.HelpFormatter):
    """A formatter that leaves examples and tables as they are, so that they can be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)
