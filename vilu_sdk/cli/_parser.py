"""Arguments that several commands share."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from vilu_sdk.cli._scorers import CLASSES, DEFAULT

EMBEDDINGS = ".npy, .npz, .safetensors or .parquet, or a folder of such shards; PATH::NAME names an array"
VALUES = (
    "in a .npy, .npz, .safetensors, .parquet, .csv, .tsv or .txt file; PATH::NAME names an array or column"
)
SCORER = (
    "a folder written by vilu fit, a head that comes with vilu-sdk, a Hub repository owner/name, or a scorer "
    "by name, such as MCMScorer or mcm"
)


class Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class _Formatter(argparse.HelpFormatter):
    """A formatter that does not wrap examples, so that they can be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("example:") else super()._fill_text(text, width, indent)


class _Set(argparse.Action):
    """Stores a setting with the number of its scorer: the last one before it, or else the first."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        position = max(len(namespace.scorer or []), 1) - 1
        namespace.set = [*(namespace.set or []), (position, values)]


def command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    example: str,
    about: str = "",
) -> Parser:
    """Add a command with one example, and the options that every command has."""
    parser: Parser = commands.add_parser(
        name,
        help=summary,
        description=about or f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=_Formatter,
    )
    parser.set_defaults(run=run, example=example)
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show where an error came from"
    )
    return parser


def add_quiet(parser: Parser) -> None:
    """Add the switch for notes and progress bars."""
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bars and no notes")


def add_data(parser: Parser, *, texts_optional: bool = True) -> None:
    """Add images and texts."""
    parser.add_argument("images", metavar="IMAGES", help=f"image embeddings: {EMBEDDINGS}")
    parser.add_argument(
        "texts",
        metavar="TEXTS",
        nargs="?" if texts_optional else None,
        help="embeddings of the candidate texts, likewise"
        + ("; none where IMAGES is a folder with img_emb/ and text_emb/" if texts_optional else ""),
    )


def add_known(parser: Parser, *, correct: bool = False, batches: bool = False) -> None:
    """Add labels, feedback and captions."""
    known = parser.add_mutually_exclusive_group()
    known.add_argument("--labels", metavar="FILE", help=f"row of TEXTS of each image, or its name: {VALUES}")
    if correct:
        known.add_argument("--correct", metavar="FILE", help="whether each prediction was right, likewise")
    known.add_argument("--captions", action="store_true", help="row i of TEXTS is the caption of image i")
    add_names(parser)
    if batches:
        parser.add_argument(
            "--batch-size", type=int, metavar="N", help="with captions: how many are the candidates at once"
        )


def add_names(parser: Parser) -> None:
    """Add the names of the candidates."""
    parser.add_argument("--names", metavar="FILE", help="the name of each row of TEXTS, as for --labels")


def add_scorers(parser: Parser, *, several: bool = False, required: bool = True) -> None:
    """Add the choice of scorers and of their settings."""
    again = "; again for each further one, [LABEL=]NAME gives it a name" if several else ""
    parser.add_argument(
        "--scorer",
        metavar="NAME",
        action="append",
        required=required,
        help=(SCORER if required else f"what to fit: {', '.join(CLASSES)} (default: {DEFAULT})") + again,
    )
    parser.add_argument(
        "--logit-scale",
        type=float,
        metavar="SCALE",
        help="what the model multiplies cosines by: 100 for CLIP (the default), for other models the "
        "exponential of their learnt logit_scale; a saved scorer has its own",
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action=_Set,
        help="a parameter of the scorer before it; again for each further one",
    )
    parser.add_argument(
        "--random-state", type=int, default=0, metavar="N", help="seed of what is random (default: 0)"
    )


def add_json(parser: Parser) -> None:
    """Add the switch for JSON."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_card(parser: Parser) -> None:
    """Add the fields of the card of a saved scorer."""
    parser.add_argument(
        "--backbone", metavar="MODEL", help="for its card: the model that made the embeddings"
    )
    parser.add_argument("--dataset", metavar="TEXT", help="for its card: what it was fitted on")
    parser.add_argument("--notes", metavar="TEXT", help="for its card: what it is good for, in Markdown")
    parser.add_argument("--license", metavar="ID", help="for its card: such as apache-2.0")
