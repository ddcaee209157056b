"""The command `vilu`: arguments, reading, writing and printing, no logic."""

import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from vilu_sdk import __version__
from vilu_sdk.cli import _completion, _demo, _evaluate, _fit, _score, _share, _threshold
from vilu_sdk.cli._outputs import refuse_overwriting
from vilu_sdk.cli._parser import Parser
from vilu_sdk.compute.progress import set_progress

__all__ = ["main"]

#: The commands, in the order of the help.
COMMANDS = (
    *(_demo.run, _fit.run, _score.run, _evaluate.run_evaluate, _evaluate.run_compare, _evaluate.run_report),
    *(_threshold.run, _share.run_convert, _share.run_info, _share.run_push, _completion.run),
)
# Exit codes of a process that these signals end.
INTERRUPTED, BROKEN_PIPE = 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, by default with the arguments of the process, and return its exit code.

    It is 0; 1 if the answer to what was asked is no; 2 after an error; 130 if interrupted; 141 if nobody read
    the output to its end.
    """
    arguments = build_parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal without arrows in its encoding still gets the table.
        sys.stdout.reconfigure(errors="replace")
    if getattr(arguments, "quiet", False):
        set_progress(False)
    try:
        with _brief_warnings():
            refuse_overwriting(arguments)
            code: int = arguments.run(arguments)
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        with suppress(OSError, ValueError):  # or the flush when the interpreter ends would fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if getattr(arguments, "debug", False):
            traceback.print_exc()
        print(f"vilu: error: {_message(error)}", file=sys.stderr)
        return 2


def build_parser() -> Parser:
    """Return the parser with all commands."""
    parser = Parser(prog="vilu", description="Tells when a vision-language model is likely wrong.")
    parser.add_argument("--version", action="version", version=f"vilu-sdk {__version__}")
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for add in COMMANDS:
        add(commands)
    parser.set_defaults(commands=commands.choices)
    return parser


def _message(error: Exception) -> str:
    """Return an error in one line, with its class if it is not an expected one."""
    expected = isinstance(error, ValueError | TypeError | OSError | ImportError | NotImplementedError)
    message = " ".join([str(error), *getattr(error, "__notes__", [])])
    if not expected or not message:
        message = f"{type(error).__name__}: {message} (--debug shows where)"
    return " ".join(message.split())


@contextmanager
def _brief_warnings() -> Iterator[None]:
    """Print each warning in one line, without its place in the code."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"vilu: warning: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
