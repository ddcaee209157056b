"""`vilu score`: from embeddings to predictions and their uncertainty, going on where it was killed."""

import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vilu_sdk.cli._inputs import open_images, open_texts, read_names, split
from vilu_sdk.cli._outputs import STDOUT, Block, check_output, write_table
from vilu_sdk.cli._parser import add_data, add_names, add_quiet, add_scorers, command
from vilu_sdk.cli._scorers import Chosen, choose_one
from vilu_sdk.formats import ParquetFile, _parquet
from vilu_sdk.intake import CHUNK_ELEMENTS
from vilu_sdk.partition import PIECE_ROWS, PREDICTION, UNCERTAINTY, score_partition, score_to_folder
from vilu_sdk.pieces import ROW
from vilu_sdk.shards import Shards

# Columns that come with --names and with a saved threshold.
NAME, ACCEPTED = "name", "accepted"
EMBEDDING = "embedding"


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
    to_folder = output != STDOUT and (not Path(output).suffix or Path(output).is_dir())
    if output != STDOUT and not to_folder:
        check_output(output, UNCERTAINTY)
    chosen = choose_one(arguments)
    images, texts = open_images(arguments.images), open_texts(arguments.texts)
    names = read_names(arguments.names, len(texts))
    if to_folder:
        if names is not None or chosen.predictor is not None:
            raise ValueError(
                "names and what a threshold accepts are columns of a file or of standard output; in a folder "
                "there are none: leave out --names, and pass the scorer in the place of the saved threshold."
            )
        parts = _score_pieces(arguments, chosen, images, texts, Path(output).expanduser())
        _say(arguments, f"{len(images)} rows in {len(parts)} files: {output}")
        return 0
    # What is one piece is done again as a whole, and a threshold wants more than the pieces keep.
    in_pieces = len(images) > arguments.piece_rows and chosen.predictor is None
    if output == STDOUT or not (in_pieces or arguments.engine == "ray"):
        blocks = _with_names(_score_blocks(images, texts, chosen), names)
        write_table(blocks, output, as_json=arguments.json, array=UNCERTAINTY)
    else:
        path = Path(output).expanduser()
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
    """Score piece by piece into a folder, by the engine that was asked for."""
    if arguments.engine == "ray":
        from vilu_sdk.ray import score_dataset

        score_dataset(
            images.path,
            chosen.scorer,
            texts,
            column=split(arguments.images)[1],
            output=folder,
            piece_rows=arguments.piece_rows,
        )
    return score_to_folder(
        images.path,
        folder,
        chosen.scorer,
        texts,
        column=split(arguments.images)[1],
        piece_rows=arguments.piece_rows,
    ).files


def _score_blocks(images: Shards, texts: Shards, chosen: Chosen) -> Iterator[Block]:
    """Score some rows after the others, as they come from the files."""
    candidates, first = np.asarray(texts), 0
    for column, rows in _tables(images):
        scored = score_partition(rows, chosen.scorer, candidates, column=column)
        block = dict(scored) if isinstance(scored, dict) else scored.to_pydict()
        n = len(block[PREDICTION])
        if chosen.predictor is not None:
            block[ACCEPTED] = chosen.predictor.accept(images[first : first + n], candidates)
        first += n
        yield block


def _tables(images: Shards) -> Iterator[tuple[str, Any]]:
    """Yield some rows at a time, and which column of them holds the embeddings.

    Of parquet these are all columns, of arrays the numbers of the rows and the embeddings.
    """
    size, first = max(1, CHUNK_ELEMENTS // images.shape[1]), 0
    for file in images._files:
        if isinstance(file, ParquetFile):
            for batch in _parquet().ParquetFile(file.path).iter_batches(size, use_threads=False):
                yield file.column, batch
        else:
            for part in file.blocks(size):
                start, stop = first + part.start, first + part.stop
                yield EMBEDDING, {ROW: np.arange(start, stop), EMBEDDING: images[start:stop]}
        first += file.shape[0]


def _read_parts(parts: list[Path]) -> Iterator[Block]:
    """Yield the rows of parquet files, some at a time."""
    for part in parts:
        for batch in _parquet().ParquetFile(part).iter_batches():
            yield batch.to_pydict()


def _with_names(blocks: Iterator[Block], names: list[str] | None) -> Iterator[Block]:
    """Put the name of each prediction behind it."""
    for block in blocks:
        if names is None:
            yield block
            continue
        named: dict[str, Any] = {}
        for column, values in block.items():
            named[column] = values
            if column == PREDICTION:
                named[NAME] = [names[row] for row in values]
        yield named


def _say(arguments: Namespace, text: str) -> None:
    if not arguments.quiet:
        print(f"vilu: {text}", file=sys.stderr)
