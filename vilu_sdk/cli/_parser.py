"""What a command is: a function, what the help says of it, and its arguments."""

import argparse
import math
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import Any, NoReturn

#: Adds an argument to a parser, or to a group of one.
Argument = Callable[[Any], Any]
#: Does what a command is for, and returns its exit code.
Run = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def command(
    name: str, summary: str, example: str, *arguments: Argument, about: str = ""
) -> Callable[[Run], Callable[[Any], None]]:
    """Turn a function into a command, which adds itself with these arguments, in this order, to a parser."""
    debug = switch("--debug", default=argparse.SUPPRESS, help="show where an error came from")

    def add(run: Run, commands: Any) -> None:
        parser = commands.add_parser(
            name,
            help=summary,
            description=about or f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=Formatter,
        )
        parser.set_defaults(run=run, example=example)
        for argument in (debug, *arguments):
            argument(parser)

    return lambda run: partial(add, run)


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

    def read(text: str) -> Any:
        value = kind(text)
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


class Formatter(argparse.HelpFormatter):
    """A formatter that leaves examples and tables as they are, so that they can be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)
