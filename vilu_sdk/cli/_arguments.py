"""Arguments that several commands share, with their help.

Nothing of this needs torch or numpy, so that help, completion and wrong arguments take no time.
"""

import argparse
from typing import Any

import vilu_sdk
from vilu_sdk.cli._parser import COUNT, SCALE, SEED, Argument, one_of, option, switch, within

#: The scorers by the names of their classes.
CLASSES = tuple(
    sorted(
        (name for name in vilu_sdk.__all__ if name.endswith(("Scorer", "Estimator")) and name != "Scorer"),
        key=str.lower,
    )
)
#: The scorer that `vilu fit` fits by default.
DEFAULT = "ViLUEstimator"
#: Standard output.
STDOUT = "-"
# What the library calls so too; tests/cli/test_cli_start.py compares both.
METHODS, LAYOUTS, ALL = ("lac", "aps", "raps"), ("sets", "scorers", "means"), "all"
PIECE_ROWS, TOP, REPORT_PAGE = 1 << 18, 20, "vilu-demo-report.html"

EMBEDDINGS = ".npy, .npz, .safetensors or .parquet, or a folder of such shards; PATH::NAME names an array"
VALUES = (
    "in a .npy, .npz, .safetensors, .parquet, .csv, .tsv or .txt file; PATH::NAME names an array or column"
)

IMAGES = option("images", metavar="IMAGES", help=f"image embeddings: {EMBEDDINGS}")
_TEXTS = "embeddings of the candidate texts, in the same kinds of files"
TEXTS = option("texts", metavar="TEXTS", help=_TEXTS)
_OR_PAIRS = f"{_TEXTS}; omit if IMAGES is a folder with img_emb/ and text_emb/"
DATA = (IMAGES, option("texts", metavar="TEXTS", nargs="?", help=_OR_PAIRS))

NAMES = option(
    "--names",
    metavar="FILE",
    help="the name of each row of TEXTS, in a file as for --labels; each name once. With names, labels that "
    "are text are names, and only integers, in .npy or .parquet, are row numbers",
)
_LABELS_HELP = f"row of TEXTS for each image, or its name, {VALUES}"
_LABELS = option("--labels", metavar="FILE", help=_LABELS_HELP)
_CORRECT = option(
    "--correct", metavar="FILE", help="whether each prediction was right, in the same kinds of files"
)
_CAPTIONS = switch("--captions", help="row i of TEXTS is the caption of image i")
_SIZE = "with captions: number of candidates for each image"
_BATCHES = option("--batch-size", type=within(int, 2), metavar="N", help=_SIZE)
#: What each image is called.
IDS = option("--ids", metavar="FILE", help=f"a name for each image, for a column id, {VALUES}")
#: What is independent of each other.
GROUPS = option(
    "--groups",
    metavar="FILE",
    help=f"the original of each view, frame or copy, {VALUES}",
)
#: The same, where groups are slices with thresholds of their own.
UNITS = option(
    "--units",
    metavar="FILE",
    help="the original of each view, frame or copy, so that one of each "
    "calibrates, in the same kinds of files",
)
#: Of later images, for which a promise is to hold.
FREQUENCIES = option(
    "--frequencies",
    metavar="WHAT",
    help="how often the candidates will occur among later images, if that differs: balanced, or a number for "
    f"each, in any unit, {VALUES}",
)
#: How much each image counts.
WEIGHTS = option("--weights", metavar="FILE", help=f"how much each image counts in the fit, {VALUES}")
#: Labels alone, which there must be.
LABELS = option("--labels", metavar="FILE", required=True, help=_LABELS_HELP)
#: Labels or feedback.
FEEDBACK = (one_of(_LABELS, _CORRECT, _CAPTIONS), NAMES)
#: Data with labels.
LABELLED = (*DATA, one_of(_LABELS, _CAPTIONS), NAMES, _BATCHES)


class _Set(argparse.Action):
    """Stores a setting with the number of its scorer: the last one before it, or else the first."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, flag: Any = None) -> None:
        position = max(len(namespace.scorer or []), 1) - 1
        namespace.set = [*(namespace.set or []), (position, values)]


def _scorer(help: str, required: bool = True) -> tuple[Argument, ...]:
    """Return the choice of scorers, and of their settings."""
    return (
        option("--scorer", metavar="NAME", action="append", required=required, help=help),
        option(
            "--logit-scale",
            type=SCALE,
            metavar="SCALE",
            help="the number by which the model multiplies cosines: 100 for CLIP (the default), for other "
            "models the exponential of their learnt logit_scale; a saved scorer has its own",
        ),
        option(
            "--set",
            metavar="NAME=VALUE",
            action=_Set,
            help="a parameter of the preceding scorer; repeat for more",
        ),
        option(
            "--random-state", type=SEED, default=0, metavar="N", help="seed of random numbers (default: 0)"
        ),
    )


_KINDS = (
    "a folder written by vilu fit, a head that comes with vilu-sdk, a Hub repository owner/name, or a scorer "
    "by name, such as MCMScorer or mcm"
)
SCORER = _scorer(_KINDS)
#: The same but for the scorer itself, which is the first argument.
HEAD = (option("scorer", metavar="HEAD", nargs=1, help=_KINDS), *SCORER[1:])
SCORERS = _scorer(f"{_KINDS}; repeat for more, and give one a label by LABEL=NAME")
TO_FIT = _scorer(f"what to fit: {', '.join(CLASSES)} (default: {DEFAULT})", required=False)
TO_ADAPT = _scorer(
    "what to adapt: a head that comes with vilu-sdk, a folder written by vilu fit or vilu adapt, a Hub "
    f"repository owner/name, or a scorer by name (default: {DEFAULT})",
    required=False,
)

#: The fields of the card of a saved scorer.
CARD = (
    option("--backbone", metavar="MODEL", help="for its card: the model that made the embeddings"),
    option("--dataset", metavar="TEXT", help="for its card: what it was fitted on"),
    option("--notes", metavar="TEXT", help="for its card: what it is good for, in Markdown"),
    option("--license", metavar="ID", help="for its card: such as apache-2.0"),
)

FOLDER = option("-o", "--output", metavar="FOLDER", required=True, help="where to save the scorer")
OVERWRITE = switch("--overwrite", help="write into a folder that holds anything but a scorer")
REFERENCE = option("--reference", metavar="LABEL", help="the scorer to test the others against")
JSON = switch("--json", help="print JSON")
RAW_CSV = switch(
    "--raw-csv",
    help="leave texts in CSV as they are. By default those that a spreadsheet takes for formulas, which "
    "begin with =, +, - or @, get an apostrophe before them",
)


def budget(text: str) -> int | str:
    """Return a number of rows, or that it is all of them."""
    if text == ALL:
        return ALL
    try:
        return int(COUNT(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f'must be a number or "{ALL}", got {text}') from None


def jobs(text: str) -> int:
    """Return a number of processes, or -1 for one a core."""
    value: int = within(int, -1)(text)
    if not value:
        raise argparse.ArgumentTypeError("must be at least 1, or -1 for one process a core, got 0")
    return value


def output(kinds: str = ".csv, .json, .parquet, .md, .html or .tex") -> Argument:
    """Return where a table goes."""
    return option(
        "-o", "--output", metavar="FILE", default=STDOUT, help=f"{kinds} file, by default standard output (-)"
    )


#: What every table of scorers takes.
TABLE = (
    option(
        "--columns", nargs="+", type=str.lower, metavar="METRIC", help="only these metrics, such as auc fpr95"
    ),
    option("--digits", type=within(int, 0, 12), metavar="N", help="decimals of printed numbers"),
    switch("--markdown", help="print Markdown"),
    *(output(), RAW_CSV, JSON),
)
