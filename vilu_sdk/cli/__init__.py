"""The command `vilu`: arguments, reading, writing and printing, no logic."""

import io
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, cast

from vilu_sdk import __version__
from vilu_sdk.cli import (
    _adapt,
    _benchmark,
    _completion,
    _decide,
    _demo,
    _evaluate,
    _fit,
    _labels,
    _score,
    _sets,
    _share,
    _threshold,
)
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
from vilu_sdk.cli._outputs import Printable, output_held, refuse_overwriting
from vilu_sdk.cli._parser import Formatter, Parser
from vilu_sdk.compute.progress import set_progress
from vilu_sdk.inputs.places import cut

__all__ = ["main"]

#: The commands, in the order of the help.
COMMANDS = (
    *(_demo.run, _fit.run, _adapt.run, _score.run, _evaluate.run_evaluate, _evaluate.run_compare),
    *(_benchmark.run, _evaluate.run_report),
    *(
        _threshold.run,
        _sets.run,
        _decide.run,
        _labels.run,
        _share.run_convert,
        _share.run_info,
        _share.run_push,
        _completion.run,
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, by default with the arguments of the process, and return its exit code."""
    arguments = build_parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        if sys.stdout.isatty():
            # A terminal without arrows in its encoding still gets the table.
            sys.stdout.reconfigure(errors="replace")
        else:  # as in files, so that no name is lost
            sys.stdout.reconfigure(encoding="utf-8")
    if getattr(arguments, "quiet", False):
        set_progress(False)
    try:
        with terminable(), _brief_warnings(), redirect_stdout(cast(Any, Printable(sys.stdout))):
            refuse_overwriting(arguments)
            with output_held(arguments):
                code: int = arguments.run(arguments)
            sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt, Terminated) as error:
        give_up_output()
        code = code_of(error)
        if getattr(arguments, "debug", False):
            traceback.print_exc()
        if code != BROKEN_PIPE:
            kind = "" if code in (INTERRUPTED, TERMINATED) else "error: "
            print(f"vilu: {kind}{message_of(error, arguments)}", file=sys.stderr)
        return code


def build_parser() -> Parser:
    """Return the parser with all commands."""
    codes = "\n".join(f"{code:5}  {meaning}" for code, meaning in MEANINGS.items())
    parser = Parser(
        prog="vilu",
        description="Tells when a vision-language model is likely wrong.",
        epilog=f"exit codes:\n{codes}",
        formatter_class=Formatter,
    )
    parser.add_argument("--version", action="version", version=f"vilu-sdk {__version__}")
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for add in COMMANDS:
        add(commands)
    parser.set_defaults(commands=commands.choices)
    return parser


@contextmanager
def _brief_warnings() -> Iterator[None]:
    """Print each warning in one line, without its place in the code."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"vilu: warning: {cut(str(message))}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
