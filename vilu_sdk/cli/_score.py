"""`vilu score`: from embeddings to predictions and their uncertainty, going on where it was killed."""

import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.cli._inputs import open_images, open_texts, read_names, split
from vilu_sdk.cli._outputs import STDOUT, Block, check_output, columns, with_column, write_table
from vilu_sdk.cli._parser import add_data, add_names, add_quiet, add_scorers, command
from vilu_sdk.cli._scorers import Chosen, choose_one
from vilu_sdk.compute.progress import track
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.rows import CHUNK_ELEMENTS
from vilu_sdk.inputs.shards import Shards
from vilu_sdk.scale.partition import PIECE_ROWS, PREDICTION, UNCERTAINTY, score_to_folder, scored_tables
from vilu_sdk.scale.pieces import plan

# Column that comes with --names.
NAME = "name"


def add(commands: Any) -> None:
    """Add the command."""
    parser = command(
        commands,
        "score",
        run,
        "predict, and say how likely each prediction is wrong",
        "vilu score images.npy texts.npy --scorer my-scorer -o scores.parquet",
        "Predict, and say how likely each prediction is wrong: higher = more likely wrong. Killed and "
        "started again with the same arguments, it goes on where it was.",
    )
    add_data(parser, texts_optional=False)
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        default=STDOUT,
        help="a .csv, .json, .parquet or .npy file (the last of the uncertainty alone), a folder (of parquet "
        "files), or - for standard output (the default)",
    )
    add_names(parser)
    add_scorers(parser)
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="who works on the pieces (default: local)"
    )
    parser.add_argument(
        "--piece-rows",
        type=int,
        default=PIECE_ROWS,
        metavar="N",
        help=f"rows of a piece, which is what a killed run does again (default: {PIECE_ROWS})",
    )
    parser.add_argument("--json", action="store_true", help="on standard output: JSON in the place of CSV")
    add_quiet(parser)


def run(arguments: Namespace) -> int:
    """Score into a folder, into a file or to standard output."""
    output = arguments.output
    path = Path(output).expanduser()
    to_folder = output != STDOUT and (not path.suffix or path.is_dir())
    if output == STDOUT and arguments.engine != "local":
        raise ValueError(f"--engine {arguments.engine} writes into a folder or a file: pass -o.")
    if output != STDOUT and not to_folder:
        check_output(output, UNCERTAINTY)
    chosen = choose_one(arguments)
    images, texts = open_images(arguments.images), open_texts(arguments.texts)
    if not len(images):
        raise ValueError(f"{images.path} has no rows; there is nothing to score.")
    names = read_names(arguments.names, len(texts))
    if to_folder:
        if names is not None:
            raise ValueError(
                "names go into a file or to standard output, not into a folder; leave out --names."
            )
        parts = _score_pieces(arguments, chosen, images, texts, path)
        _say(arguments, f"{len(images)} rows in {len(parts)} files: {output}")
        return 0
    in_pieces = arguments.engine != "local" or len(images) > arguments.piece_rows
    if output == STDOUT or not in_pieces:  # a single piece saves no work of a killed run
        blocks = _score_blocks(images, np.asarray(texts), chosen)
        write_table(_with_names(blocks, names), output, as_json=arguments.json, array=UNCERTAINTY)
    else:
        pieces = path.with_name(f".{path.name}.pieces")
        parts = _score_pieces(arguments, chosen, images, texts, pieces)
        write_table(_with_names(_read_parts(parts), names), output, array=UNCERTAINTY)
        shutil.rmtree(pieces)
    if output != STDOUT:
        _say(arguments, f"{len(images)} rows: {output}")
    return 0


def _score_pieces(
    arguments: Namespace, chosen: Chosen, images: Shards, texts: Shards, folder: Path
) -> list[Path]:
    """Score piece by piece into a folder, with the engine of the command line."""
    how: dict[str, Any] = {"column": split(arguments.images)[1], "piece_rows": arguments.piece_rows}
    if arguments.engine == "ray":
        from vilu_sdk.scale.ray import score_dataset

        score_dataset(images.path, chosen.judge, texts, output=folder, **how)
    return score_to_folder(images.path, folder, chosen.judge, texts, **how).files


def _score_blocks(images: Shards, texts: NDArray[Any], chosen: Chosen) -> Iterator[Block]:
    """Yield the scores of all rows, some at a time, in the order of the files."""
    for piece in track(plan(images, Path(), max(1, CHUNK_ELEMENTS // images.shape[1])), "scoring"):
        yield from scored_tables(piece, chosen.judge, texts)


def _read_parts(parts: list[Path]) -> Iterator[Block]:
    """Yield the rows of parquet files, some at a time."""
    for part in parts:
        yield from require("pyarrow.parquet", "data").ParquetFile(part).iter_batches()


def _with_names(blocks: Iterator[Block], names: list[str] | None) -> Iterator[Block]:
    """Add the name of each prediction."""
    for block in blocks:
        if names is None:
            yield block
        else:
            yield with_column(block, NAME, [names[row] for row in columns(block)[PREDICTION]])


def _say(arguments: Namespace, text: str) -> None:
    if not arguments.quiet:
        print(f"vilu: {text}", file=sys.stderr)
