"""`vilu threshold`: from a score to a decision."""

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vilu_sdk.cli._exits import NO, usage
from vilu_sdk.cli._fit import check_folder
from vilu_sdk.cli._inputs import read_frequencies, read_groups, read_task
from vilu_sdk.cli._outputs import plain_json
from vilu_sdk.cli._parser import given
from vilu_sdk.cli._scorers import choose_one
from vilu_sdk.selective import CostPredictor, CoveragePredictor, SelectivePredictor
from vilu_sdk.selective._base import ThresholdPredictor


def run(arguments: Namespace) -> int:
    """Print what was found and what is promised; 1 if no threshold can."""
    folder = None if arguments.output is None else check_folder(arguments.output, arguments.overwrite)
    chosen = choose_one(arguments)
    common = given(arguments, "confidence", "per_class", "simultaneous")
    predictor: ThresholdPredictor
    if arguments.risk is not None:
        predictor = SelectivePredictor(chosen.scorer, arguments.risk, method=arguments.method, **common)
    elif arguments.coverage is not None:
        predictor = CoveragePredictor(chosen.scorer, arguments.coverage, **common)
    else:
        predictor = CostPredictor(chosen.scorer, *arguments.costs, **common)
    return 0 if calibrate(predictor, arguments, folder).accepted else NO


def calibrate(predictor: Any, arguments: Namespace, folder: Path | str | None) -> Any:
    """Fit a threshold or sets, save what was found, and print and return the report on it."""
    with usage():
        predictor._check()
    images, texts, known = read_task(arguments)
    groups, units = (read_groups(spec, len(images)) for spec in (arguments.groups, arguments.units))
    frequencies = read_frequencies(arguments.frequencies, texts)
    predictor.fit(images, texts, groups=groups, units=units, frequencies=frequencies, **known)
    report = predictor.report_
    if folder is not None:
        predictor.save_pretrained(folder, overwrite=arguments.overwrite)
    print(plain_json(asdict(report)) if arguments.json else report)
    return report
