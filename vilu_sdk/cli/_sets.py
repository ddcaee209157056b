"""`vilu sets`: the candidates among which the right one is."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vilu_sdk.cli._arguments import STDOUT
from vilu_sdk.cli._exits import UsageError
from vilu_sdk.cli._fit import check_folder
from vilu_sdk.cli._inputs import open_named, read_groups
from vilu_sdk.cli._outputs import Block, check_output, write_table
from vilu_sdk.cli._parser import given
from vilu_sdk.cli._scorers import choose_one
from vilu_sdk.cli._streams import LOG
from vilu_sdk.cli._threshold import calibrate
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.shards import Shards
from vilu_sdk.inputs.slices import cut
from vilu_sdk.selective import SetPredictor

# Rows of a table that are held at a time.
ROWS = 4096


def run(arguments: Namespace) -> int:
    """Calibrate, or write the sets of saved ones."""
    return _write(arguments) if arguments.labels is None and not arguments.captions else _calibrate(arguments)


def _calibrate(arguments: Namespace) -> int:
    """Print what was found and what is promised."""
    folder = None if arguments.output is None else check_folder(arguments.output, arguments.overwrite)
    params: dict[str, Any] = given(arguments, "coverage", "method", "size_limit", "per_class", "per_label")
    chosen = choose_one(arguments)
    is_threshold = chosen.predictor is not None and chosen.predictor.is_threshold
    scorer: Any = chosen.predictor if is_threshold else chosen.scorer
    calibrate(SetPredictor(scorer, allow_empty=not arguments.no_empty, **params), arguments, folder)
    return 0


def _write(arguments: Namespace) -> int:
    """Write the set of each image as a table."""
    given_too = given(arguments, "coverage", "method", "size_limit", "units", "frequencies")
    if given_too or arguments.no_empty or arguments.per_class or arguments.per_label:
        raise UsageError("labels of calibration images are missing: pass --labels or --captions.")
    output = arguments.output or STDOUT
    check_output(output)
    sets = choose_one(arguments).predictor
    if not isinstance(sets, SetPredictor):
        raise UsageError("without --labels, --scorer is a folder that vilu sets has written with them.")
    images, texts = open_named(arguments)
    groups = read_groups(arguments.groups, len(images))
    kind = Path(output).suffix if output != STDOUT else ".json" if arguments.json else ".csv"
    blocks = _blocks(sets, images, texts, groups, kind)
    write_table(blocks, output, as_json=arguments.json, raw_csv=arguments.raw_csv)
    if output != STDOUT:
        LOG.info(f"{len(images)} rows: {output}")
    return 0


def _blocks(sets: SetPredictor, images: Shards, texts: Any, groups: Any, kind: str) -> Iterator[Block]:
    """Yield the rows of the table; a cell of CSV holds the candidates of a set, one after the other."""
    for rows in cut(len(images), ROWS):
        some = None if groups is None else groups[rows]
        found = sets.predict_names(images[rows], texts, groups=some)
        cells: Any = found if kind != ".csv" else ["; ".join(map(str, candidates)) for candidates in found]
        if kind == ".parquet":  # whose type does not wait for a set that is not empty
            arrow = require("pyarrow", "data")
            cells = arrow.array(found, arrow.list_(arrow.int64() if texts.names is None else arrow.string()))
        yield {
            "row": list(range(rows.start, rows.start + len(found))),
            "size": [len(candidates) for candidates in found],
            "candidates": cells,
        }
