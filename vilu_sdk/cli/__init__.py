"""The command `vilu`: arguments, reading, writing and printing, no logic."""

import io
import sys
import traceback
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from importlib import import_module
from itertools import pairwise
from typing import Any, cast

import vilu_sdk
from vilu_sdk.cli import _asking, _making, _serving
from vilu_sdk.cli._exits import (
    BROKEN_PIPE,
    INTERRUPTED,
    MEANINGS,
    TERMINATED,
    Terminated,
    code_of,
    give_up_output,
    message_of,
    terminable,
)
from vilu_sdk.cli._parser import Formatter, Parser, of_all
from vilu_sdk.cli._streams import LOG, Printable, logged

__all__ = ["main"]

DEFAULTS = {"debug": False, "quiet": False, "log_level": "info", "log_format": "text"}
#: The commands, in the order of the help.
COMMANDS = (
    *(_making.DEMO, _making.EXAMPLES, _making.FIT, _making.ADAPT),
    *(_asking.SCORE, _asking.EVALUATE, _asking.COMPARE),
    *(_asking.BENCHMARK, _asking.REPORT, _asking.THRESHOLD, _asking.SETS, _asking.DECIDE),
    *(_asking.FIND_LABELS, _serving.SERVE, _serving.EXPORT),
    *(_making.CONVERT, _making.INFO, _making.PUSH, _making.COMPLETION),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, by default with the arguments of the process, and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = Namespace(**DEFAULTS)
    if "--log-format=json" in argv or ("--log-format", "json") in pairwise(argv):
        arguments.log_format = "json"  # for what is wrong with the others
    try:
        arguments = build_parser().parse_args(argv)
        if isinstance(sys.stdout, io.TextIOWrapper):
            if sys.stdout.isatty():
                # A terminal without arrows in its encoding still gets the table.
                sys.stdout.reconfigure(errors="replace")
            else:  # as in files, so that no name is lost and no text gets other line ends
                sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        with terminable(), logged(arguments):
            code = _run(arguments)
            sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt, Terminated) as error:
        give_up_output()
        code = code_of(error)
        if arguments.debug:
            traceback.print_exc()
        if code != BROKEN_PIPE:
            how: dict[str, Any] = {"fields": {"code": code}}
            if code in (INTERRUPTED, TERMINATED):
                how["kind"] = ""
            with logged(arguments):
                LOG.error(message_of(error, arguments), extra=how)
        return code


def _run(arguments: Namespace) -> int:
    """Import what a command needs, and do its work."""
    module, _, function = arguments.run.partition(".")
    run = getattr(import_module(f"{__name__}.{module}"), function)
    with ExitStack() as held:
        held.enter_context(redirect_stdout(cast(Any, Printable(sys.stdout))))
        if arguments.quiet:
            vilu_sdk.set_progress(False)
            held.callback(vilu_sdk.set_progress, True)  # for who calls `main` from Python
        if not hasattr(arguments, "output"):
            return int(run(arguments))
        from vilu_sdk.cli._outputs import output_held, refuse_overwriting, refuse_to_repeat

        refuse_to_repeat(arguments)
        refuse_overwriting(arguments)
        with output_held(arguments):
            return int(run(arguments))


def build_parser() -> Parser:
    """Return the parser with all commands."""
    codes = "\n".join(f"{code:5}  {meaning}" for code, meaning in MEANINGS.items())
    parser = Parser(
        prog="vilu",
        description="Tells when a vision-language model is likely wrong.",
        epilog=f"exit codes:\n{codes}",
        formatter_class=Formatter,
    )
    parser.add_argument("--version", action="version", version=f"vilu-sdk {vilu_sdk.__version__}")
    for argument in of_all():
        argument(parser)
    parser.set_defaults(**DEFAULTS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for add in COMMANDS:
        add(commands)
    parser.set_defaults(commands=commands.choices)
    return parser
