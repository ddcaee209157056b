"""`vilu evaluate`, `vilu compare` and `vilu report`: how well failures are predicted."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from vilu_sdk.cli._arguments import STDOUT
from vilu_sdk.cli._exits import UsageError, usage
from vilu_sdk.cli._inputs import open_both, read_each, read_groups, read_labels, read_task
from vilu_sdk.cli._outputs import (
    as_blocks,
    check_output,
    check_printed,
    plain_json,
    write_printed,
    write_table,
)
from vilu_sdk.cli._parser import given
from vilu_sdk.cli._scorers import choose_one, choose_scorers, refuse_to_fit_saved
from vilu_sdk.evaluation import compare, evaluate
from vilu_sdk.metrics.text import align, lines
from vilu_sdk.persistence.files import check_parent
from vilu_sdk.report import report


def run_evaluate(arguments: Namespace) -> int:
    """Print one metric a line."""
    check_output(arguments.output)
    chosen = choose_one(arguments)
    images, texts, known = read_task(arguments)
    metrics = evaluate(chosen.scorer, images, texts, known["labels"], batch_size=arguments.batch_size)
    if arguments.output != STDOUT:
        write_table(
            as_blocks([{"scorer": chosen.label, **metrics}]), arguments.output, raw_csv=arguments.raw_csv
        )
    elif arguments.json:
        print(plain_json(metrics))
    else:
        rows = [(name, f"{value:.0f}" if name == "n" else f"{value:.4f}") for name, value in metrics.items()]
        print("\n".join(lines(align(rows, left=2))))
    return 0


def run_compare(arguments: Namespace) -> int:
    """Print or write the table."""
    check_printed(arguments)
    chosen = choose_scorers(arguments, own=True)
    images, texts, known = read_task(arguments)
    labels = known["labels"]
    options = given(arguments, "test_size", "n_splits")
    if arguments.test is not None:
        test_images, *rest = arguments.test
        if len(rest) != 1:
            raise UsageError("--test takes two files: images and their labels (of captions: their texts).")
        options["test"] = open_both(test_images, rest[0] if labels is None else arguments.texts)
        if labels is not None:
            test = options["test"][0]
            options["test"] = (test, texts, read_labels(rest[0], len(test), texts))
    fit = bool(options) or any(not one.saved and getattr(one.scorer, "learns", True) for one in chosen)
    if fit:
        refuse_to_fit_saved(chosen, "without --test, --test-size and --n-splits")
    table = compare(
        {one.label: one.scorer for one in chosen},
        images,
        texts,
        labels,
        fit=fit,
        groups=read_groups(arguments.groups, len(images)),
        **given(arguments, "batch_size", "random_state", "reference", "confidence"),
        **options,
    )
    write_printed(table, arguments, intervals=arguments.intervals)
    return 0


def run_report(arguments: Namespace) -> int:
    """Write the page and print its path."""
    path = Path(arguments.output).expanduser()
    if path.suffix != ".html":
        raise UsageError(f"{path} must end in .html: the report is a page.")
    with usage():
        check_parent(path)
    chosen = choose_scorers(arguments, fitted=True)
    images, texts, known = read_task(arguments)
    shown: dict[str, Any] = {
        name: read_each(getattr(arguments, name), len(images)) for name in ("ids", "paths", "thumbnails")
    }
    written = report(
        {one.label: one.scorer for one in chosen},
        images,
        texts,
        known["labels"],
        path,
        selective=[one.predictor for one in chosen if one.predictor is not None] or None,
        **shown,
        **given(arguments, "title", "focus", "reference", "batch_size", "top"),
    )
    print(written)
    return 0
