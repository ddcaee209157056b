"""The command `vilu`: argument parsing and printing, no logic."""

import argparse
import io
import sys
from collections.abc import Sequence
from typing import NoReturn

from vilu_sdk import __version__, demo, set_progress
from vilu_sdk.scorers import Scorer
from vilu_sdk.scorers._card import describe

# What stands before each chapter of the demonstration.
TITLES = {
    "data": "A tiny vision-language model",
    "table": "Which scorer finds the failures",
    "examples": "What a user sees",
    "report": "The whole report",
    "next": "What to do now",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the command's name, by default those of the process.

    Returns
    -------
    int
        Exit code: 0, 2 after an error, 130 if interrupted.

    Examples
    --------
    >>> from vilu_sdk.cli import main
    >>> main(["demo", "--random-state", "7", "--quiet"])  # doctest: +SKIP
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show an arrow shall still get the table.
        sys.stdout.reconfigure(errors="replace")
    try:
        if arguments.command == "info":
            _info(arguments.name, arguments.revision)
        else:
            _demo(arguments.random_state, arguments.quiet, arguments.report)
    except (ValueError, TypeError, OSError, ImportError) as error:
        message = " ".join([str(error), *getattr(error, "__notes__", [])])
        print(f"{parser.prog}: error: {' '.join(message.split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> _Parser:
    parser = _Parser(prog="vilu", description="Tells when a vision-language model is likely wrong.")
    parser.add_argument("--version", action="version", version=f"vilu-sdk {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    demo_parser = commands.add_parser(
        "demo", help="compare all scorers on real handwritten digits, in less than a minute"
    )
    demo_parser.add_argument(
        "--random-state", type=int, default=0, metavar="N", help="seed of data and scorers (default: 0)"
    )
    demo_parser.add_argument("--quiet", action="store_true", help="print the table only")
    demo_parser.add_argument(
        "--report",
        metavar="PATH",
        help=f"where to write the report (default: {demo.REPORT}, with --quiet none)",
    )
    info_parser = commands.add_parser("info", help="print the card of a saved scorer")
    info_parser.add_argument(
        "name",
        metavar="NAME",
        help="a folder, a head that comes with vilu-sdk or a Hub repository owner/name",
    )
    info_parser.add_argument("--revision", metavar="REV", help="branch, tag or commit of the repository")
    return parser


def _info(name: str, revision: str | None) -> None:
    set_progress(False)
    print(describe(Scorer.from_pretrained(name, revision=revision), name), end="")


def _demo(random_state: int, quiet: bool, report: str | None) -> None:
    if quiet:
        set_progress(False)
    elif report is None:
        report = demo.REPORT
    for chapter, text in demo.run(random_state, report):
        if quiet and chapter != "table":
            continue
        if not quiet and chapter in TITLES:
            print(f"\n{TITLES[chapter]}\n{'=' * len(TITLES[chapter])}\n")
        print(text, flush=True)
