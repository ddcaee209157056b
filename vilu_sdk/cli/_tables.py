"""Arguments of the commands that write tables to read."""

from vilu_sdk.cli._arguments import JSON, QUIET, RAW_CSV
from vilu_sdk.cli._outputs import STDOUT
from vilu_sdk.cli._parser import Argument, option, switch, within

COLUMNS = option(
    "--columns", nargs="+", type=str.lower, metavar="METRIC", help="only these metrics, such as auc fpr95"
)
DIGITS = option("--digits", type=within(int, 0, 12), metavar="N", help="decimals of printed numbers")
MARKDOWN = switch("--markdown", help="print Markdown")


def output(kinds: str = ".csv, .json, .parquet, .md, .html or .tex") -> Argument:
    """Return where a table goes."""
    return option(
        "-o", "--output", metavar="FILE", default=STDOUT, help=f"{kinds} file, by default standard output (-)"
    )


#: What every table of scorers takes.
TABLE = (COLUMNS, DIGITS, MARKDOWN, output(), RAW_CSV, JSON, QUIET)
