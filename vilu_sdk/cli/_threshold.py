"""`vilu threshold`: from a score to a decision."""

from argparse import Namespace
from dataclasses import asdict
from typing import Any

from vilu_sdk.cli._fit import check_folder
from vilu_sdk.cli._inputs import open_both, read_known, read_vector
from vilu_sdk.cli._outputs import plain_json
from vilu_sdk.cli._parser import VALUES, add_data, add_json, add_known, add_quiet, add_scorers, command
from vilu_sdk.cli._scorers import choose_one
from vilu_sdk.selective import CostPredictor, CoveragePredictor, SelectivePredictor
from vilu_sdk.selective._base import ThresholdPredictor


def add(commands: Any) -> None:
    """Add the command."""
    parser = command(
        commands,
        "threshold",
        run,
        "find the threshold that keeps a promise",
        "vilu threshold images.npy texts.npy --labels labels.npy --scorer my-scorer --risk 0.05",
        "Find the threshold that keeps a promise, on labelled images that the scorer was not fitted on. Exit "
        "code 1 if there is none.",
    )
    add_data(parser)
    add_known(parser, correct=True)
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument(
        "--risk", type=float, metavar="SHARE", help="highest error rate among accepted predictions"
    )
    goal.add_argument("--coverage", type=float, metavar="SHARE", help="least share of accepted predictions")
    goal.add_argument(
        "--costs", type=float, nargs=2, metavar=("ERROR", "ABSTENTION"), help="what each of the two costs"
    )
    parser.add_argument("--confidence", type=float, default=0.95, help="of the promise (default: 0.95)")
    parser.add_argument(
        "--method",
        choices=("fixed_sequence", "sgr"),
        default="fixed_sequence",
        help="with --risk: how the threshold is found (default: fixed_sequence)",
    )
    groups = parser.add_mutually_exclusive_group()
    groups.add_argument("--per-class", action="store_true", help="a threshold for each predicted class")
    groups.add_argument("--groups", metavar="FILE", help=f"a threshold for each group of images: {VALUES}")
    parser.add_argument(
        "--simultaneous", action="store_true", help="the promises of all groups hold together"
    )
    add_scorers(parser)
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", help="save scorer and threshold, for vilu score and vilu report"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="write into a folder that holds something else than a scorer"
    )
    add_json(parser)
    add_quiet(parser)


def run(arguments: Namespace) -> int:
    """Print what was found and what is promised; 1 if no threshold can promise it."""
    folder = None if arguments.output is None else check_folder(arguments.output, arguments.overwrite)
    chosen = choose_one(arguments)
    images, texts = open_both(arguments.images, arguments.texts)
    known = read_known(arguments, len(texts))
    common = {
        "confidence": arguments.confidence,
        "per_class": arguments.per_class,
        "simultaneous": arguments.simultaneous,
    }
    predictor: ThresholdPredictor
    if arguments.risk is not None:
        predictor = SelectivePredictor(chosen.scorer, arguments.risk, method=arguments.method, **common)
    elif arguments.coverage is not None:
        predictor = CoveragePredictor(chosen.scorer, arguments.coverage, **common)
    else:
        predictor = CostPredictor(chosen.scorer, *arguments.costs, **common)
    groups = None if arguments.groups is None else read_vector(arguments.groups)
    predictor.fit(images, texts, groups=groups, **known)
    report = predictor.report_
    if folder is not None:
        predictor.save_pretrained(folder)
    print(plain_json(asdict(report)) if arguments.json else report)
    return 0 if report.accepted else 1
