"""`vilu evaluate`, `vilu compare` and `vilu report`: how well failures are predicted."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from vilu_sdk.cli._inputs import open_both, read_known, read_labels, read_names
from vilu_sdk.cli._outputs import (
    STDOUT,
    as_blocks,
    check_output,
    plain_json,
    write_table,
    write_text,
)
from vilu_sdk.cli._parser import add_data, add_json, add_known, add_quiet, add_scorers, command
from vilu_sdk.cli._scorers import Chosen, choose_one, choose_scorers
from vilu_sdk.evaluation import compare, evaluate
from vilu_sdk.evaluation.table import ComparisonTable
from vilu_sdk.metrics.text import align, lines
from vilu_sdk.persistence.storage import check_parent
from vilu_sdk.report import report


def add(commands: Any) -> None:
    """Add the three commands."""
    parser = command(
        commands,
        "evaluate",
        run_evaluate,
        "print all metrics of a scorer on labelled images",
        "vilu evaluate images.npy texts.npy --labels labels.npy --scorer my-scorer",
    )
    add_data(parser)
    add_known(parser, batches=True)
    add_scorers(parser)
    _add_output(parser, ".csv, .json or .parquet")
    add_json(parser)
    add_quiet(parser)

    parser = command(
        commands,
        "compare",
        run_compare,
        "compare scorers on the same labelled images",
        "vilu compare images.npy texts.npy --labels labels.npy --scorer mcm --scorer ViLU=ViLUEstimator",
        "Compare scorers on the same labelled images. Scorers that learn, given by name, are fitted on a "
        "part of the images (or on all, with --test) and compared on the others; saved ones are compared as "
        "they are.",
    )
    add_data(parser)
    add_known(parser, batches=True)
    add_scorers(parser, several=True)
    parser.add_argument(
        "--test",
        nargs="+",
        metavar="FILE",
        help="images to compare on and their labels (of captions: their texts)",
    )
    parser.add_argument("--test-size", type=float, metavar="SHARE", help="share to compare on (default: 0.5)")
    parser.add_argument(
        "--n-splits", type=int, metavar="N", help="repeat on so many random splits (default: 1)"
    )
    parser.add_argument("--reference", metavar="LABEL", help="the scorer to test the others against")
    parser.add_argument(
        "--confidence", type=float, default=0.95, help="of intervals and tests (default: 0.95)"
    )
    parser.add_argument(
        "--intervals", action="store_true", help="in Markdown and HTML: an interval for each value"
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    _add_output(parser, ".csv, .json, .parquet, .md or .html")
    add_json(parser)
    add_quiet(parser)

    parser = command(
        commands,
        "report",
        run_report,
        "write one HTML page on how well failures are predicted",
        "vilu report images.npy texts.npy --labels labels.npy --scorer mcm --scorer my-scorer -o report.html",
        "Write one HTML page on how well failures are predicted. Scorers are used as they are.",
    )
    add_data(parser)
    add_known(parser, batches=True)
    add_scorers(parser, several=True)
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the page")
    parser.add_argument("--title", metavar="TEXT", help="of the page")
    parser.add_argument("--focus", metavar="LABEL", help="the scorer whose thresholds and examples are shown")
    parser.add_argument("--reference", metavar="LABEL", help="the scorer to test the others against")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="examples of a kind (default: 10)")
    add_quiet(parser)


def run_evaluate(arguments: Namespace) -> int:
    """Print one metric a line."""
    _check(arguments)
    chosen = choose_one(arguments)
    images, texts = open_both(arguments.images, arguments.texts)
    known = read_known(arguments, len(texts))
    metrics = evaluate(chosen.scorer, images, texts, known["labels"], batch_size=arguments.batch_size)
    if arguments.output != STDOUT:
        write_table(as_blocks([{"scorer": chosen.label, **metrics}]), arguments.output)
    elif arguments.json:
        print(plain_json(metrics))
    else:
        rows = [(name, f"{value:.0f}" if name == "n" else f"{value:.4f}") for name, value in metrics.items()]
        print("\n".join(lines(align(rows, left=2))))
    return 0


def run_compare(arguments: Namespace) -> int:
    """Print or write the table."""
    _check(arguments, ".md", ".html")
    chosen = choose_scorers(arguments)
    images, texts = open_both(arguments.images, arguments.texts)
    labels = read_known(arguments, len(texts))["labels"]
    options: dict[str, Any] = {}
    if arguments.test is not None:
        test_images, *rest = arguments.test
        if len(rest) != 1:
            raise ValueError("--test takes two files: images and their labels (of captions: their texts).")
        options["test"] = open_both(test_images, rest[0] if labels is None else arguments.texts)
        if labels is not None:
            names = read_names(arguments.names, len(texts))
            options["test"] += (read_labels(rest[0], names),)
    if arguments.test_size is not None:
        options["test_size"] = arguments.test_size
    if arguments.n_splits is not None:
        options["n_splits"] = arguments.n_splits
    fit = bool(options) or any(one.scorer.learns and not one.saved for one in chosen)
    _refuse_to_fit_anew(chosen, fit)
    table = compare(
        {one.label: one.scorer for one in chosen},
        images,
        texts,
        labels,
        fit=fit,
        batch_size=arguments.batch_size,
        random_state=arguments.random_state,
        reference=arguments.reference,
        confidence=arguments.confidence,
        **options,
    )
    _write(table, arguments)
    return 0


def run_report(arguments: Namespace) -> int:
    """Write the page and print its path."""
    check_parent(Path(arguments.output).expanduser())
    chosen = choose_scorers(arguments, fitted=True)
    images, texts = open_both(arguments.images, arguments.texts)
    known = read_known(arguments, len(texts))
    options = {} if arguments.title is None else {"title": arguments.title}
    page = report(
        {one.label: one.scorer for one in chosen},
        images,
        texts,
        known["labels"],
        Path(arguments.output).expanduser(),
        class_names=read_names(arguments.names, len(texts)),
        focus=arguments.focus,
        reference=arguments.reference,
        selective=[one.predictor for one in chosen if one.predictor is not None] or None,
        batch_size=arguments.batch_size,
        top=arguments.top,
        **options,
    )
    print(page)
    return 0


def _add_output(parser: Any, kinds: str) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE", default=STDOUT, help=f"{kinds} file, by default standard output (-)"
    )


def _check(arguments: Namespace, *more: str) -> None:
    """Refuse an output that cannot be written, before anything is computed."""
    path = Path(arguments.output).expanduser()
    if arguments.output == STDOUT or path.suffix in more:
        check_parent(path)
    else:
        check_output(arguments.output)


def _refuse_to_fit_anew(chosen: list[Chosen], fit: bool) -> None:
    saved = [one.label for one in chosen if one.saved]
    if fit and saved:
        raise ValueError(
            f"{saved[0]} is saved and would be fitted anew. Saved scorers are compared as they are, beside "
            "scorers that learn nothing and without --test, --test-size and --n-splits: save the others too, "
            "with vilu fit."
        )


def _write(table: ComparisonTable, arguments: Namespace) -> None:
    suffix = Path(arguments.output).suffix
    if arguments.output == STDOUT and arguments.json:
        print(plain_json(table.to_dicts()))
    elif arguments.markdown or suffix == ".md":
        write_text(table.to_markdown(intervals=arguments.intervals) + "\n", arguments.output)
    elif suffix == ".html":
        write_text(table.to_html(intervals=arguments.intervals) + "\n", arguments.output)
    elif arguments.output == STDOUT:
        print(table)
    else:
        write_table(as_blocks(table.to_dicts()), arguments.output)
