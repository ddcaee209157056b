"""`vilu decide`: what costs least in expectation, or a person."""

from argparse import Namespace
from typing import Any

from vilu_sdk.cli._arguments import STDOUT
from vilu_sdk.cli._exits import UsageError
from vilu_sdk.cli._inputs import open_named, read_costs
from vilu_sdk.cli._outputs import check_output, write_table
from vilu_sdk.cli._parser import given
from vilu_sdk.cli._scorers import choose_one
from vilu_sdk.cli._streams import LOG
from vilu_sdk.inputs.names import name_of
from vilu_sdk.selective.costs import ASK, least_cost


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
    LOG.info(str(decisions))
    if arguments.output != STDOUT:
        LOG.info(f"{len(images)} rows: {arguments.output}")
    return 0
