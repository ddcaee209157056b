"""`vilu decide`: what costs least in expectation, or a person."""

from argparse import Namespace
from typing import Any

from vilu_sdk.cli._arguments import IMAGES, JSON, NAMES, QUIET, RAW_CSV, SCORER, TEXTS
from vilu_sdk.cli._exits import UsageError
from vilu_sdk.cli._inputs import open_named, read_costs
from vilu_sdk.cli._outputs import STDOUT, check_output, say, write_table
from vilu_sdk.cli._parser import SCALE, command, given, option, within
from vilu_sdk.cli._scorers import choose_one
from vilu_sdk.inputs.names import name_of
from vilu_sdk.selective.costs import ASK, least_cost


@command(
    "decide",
    "decide what costs least, or ask a person",
    "vilu decide images.npy texts.npy --names names.txt --scorer my-scorer --costs costs.csv --ask-cost 0.5",
    IMAGES,
    TEXTS,
    option(
        "--costs",
        metavar="FILE",
        required=True,
        dest="cost_file",
        help="what each decision costs for each true class: a .csv or .tsv table with the decisions in its "
        "header and a row for each candidate, its name (or row number) first; or an array (texts, decisions) "
        "as .npy",
    ),
    NAMES,
    option(
        "--ask-cost",
        type=SCALE,
        metavar="COST",
        help="of asking a person (default: nobody is asked)",
    ),
    option("--budget", type=within(int, 0), metavar="N", help="most images that a person is asked about"),
    *SCORER,
    option(
        "-o",
        "--output",
        metavar="OUT",
        default=STDOUT,
        help="a .csv, .json or .parquet file, or - for standard output (the default)",
    ),
    RAW_CSV,
    JSON,
    QUIET,
    about="For each image the decision that costs least in expectation under the posterior, or none where a "
    "person is asked. On standard error: what that costs.",
)
def run(arguments: Namespace) -> int:
    """Write a row for each image: its decision, whether a person is asked, and the expected cost."""
    if arguments.budget is not None and arguments.ask_cost is None:
        raise UsageError("--budget is of a person who can be asked: pass --ask-cost too.")
    check_output(arguments.output)
    scorer = choose_one(arguments).scorer
    images, texts = open_named(arguments)
    costs, called = read_costs(arguments.cost_file, texts)
    if called is None and costs.shape[1] == len(texts):
        called = texts.called()
    decisions = least_cost(scorer, images, texts, costs, **given(arguments, "ask_cost", "budget"))
    chosen: list[Any] = [None if row == ASK else name_of(called, row) for row in decisions.decision]
    table = {
        "row": list(range(len(chosen))),
        "decision": chosen,
        "asked": decisions.asked.tolist(),
        "expected_cost": decisions.expected_cost.tolist(),
    }
    write_table([table], arguments.output, as_json=arguments.json, raw_csv=arguments.raw_csv)
    say(arguments, str(decisions))
    if arguments.output != STDOUT:
        say(arguments, f"{len(images)} rows: {arguments.output}")
    return 0
