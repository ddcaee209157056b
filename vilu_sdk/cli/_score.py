"""`vilu score`: from embeddings to predictions and their uncertainty, going on where it was killed."""

import shutil
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vilu_sdk.cli._arguments import STDOUT
from vilu_sdk.cli._exits import UsageError
from vilu_sdk.cli._inputs import open_named, read_values
from vilu_sdk.cli._outputs import Block, check_output, write_table
from vilu_sdk.cli._scorers import Chosen, choose_one
from vilu_sdk.cli._streams import LOG
from vilu_sdk.compute.distributed import leads, process_group, world_size
from vilu_sdk.compute.progress import track
from vilu_sdk.inputs.candidates import Opened
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.remote import is_remote
from vilu_sdk.inputs.rows import CHUNK_ELEMENTS
from vilu_sdk.inputs.shards import Shards
from vilu_sdk.numerals import from_environment
from vilu_sdk.scale.job import score_to_folder, scored_tables
from vilu_sdk.scale.partition import loaded
from vilu_sdk.scale.pieces import as_ids, plan

# Seconds that a process waits for the others at the end; torchrun ends all when one dies.
SHARED_SECONDS = 30 * 86400.0


def run(arguments: Namespace) -> int:
    """Score into a folder, into a file or to standard output; processes of torchrun share a folder."""
    if from_environment("WORLD_SIZE", 1, 1) == 1:
        return _score(arguments)
    with process_group(SHARED_SECONDS):
        return _score(arguments)


def _score(arguments: Namespace) -> int:
    output = arguments.output
    path = Path(output).expanduser()
    to_folder = output != STDOUT and (not path.suffix or path.is_dir())
    if world_size() > 1 and (not to_folder or arguments.engine != "local"):
        raise UsageError("under torchrun the output is a folder, whose pieces are shared, without --engine.")
    remote = is_remote(output)
    if remote and (to_folder or arguments.engine != "local"):
        raise UsageError(f"{output} is an address, written whole: name a file, without --engine.")
    if output == STDOUT and arguments.engine != "local":
        raise UsageError(f"--engine {arguments.engine} writes into a folder or a file: pass -o.")
    if output != STDOUT and not to_folder:
        check_output(output, ".npy")
        if path.suffix == ".npy" and arguments.bad_rows == "skip":
            raise UsageError(
                "a .npy file has no row numbers, so nobody could tell what was skipped: pass --bad-rows "
                "mark, or write a .csv."
            )
    elif to_folder and path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, and no .csv, .json, .parquet or .npy; name another.")
    chosen = choose_one(arguments)
    images, texts = open_named(arguments)
    if not len(images):
        raise ValueError(f"{images.path} has no rows; there is nothing to score.")
    if to_folder:
        parts, bad = _score_pieces(arguments, chosen, images, texts, path)
        _say_bad(arguments, bad["rows"], len(images))
        if leads():
            LOG.info(f"{len(images)} rows in {len(parts)} files: {output}")
        return 0
    in_pieces = not remote and (arguments.engine != "local" or len(images) > arguments.piece_rows)
    if output == STDOUT or not in_pieces:  # a single piece saves no work of a killed run
        bad = Counter[str]()
        blocks = _score_blocks(images, loaded(texts, images.shape[1]), chosen, arguments, bad)
        write_table(blocks, output, as_json=arguments.json, raw_csv=arguments.raw_csv)
    else:
        pieces = path.with_name(f".{path.name}.pieces")
        parts, bad = _score_pieces(arguments, chosen, images, texts, pieces)
        parquet = require("pyarrow.parquet", "data")
        blocks = (block for part in parts for block in parquet.ParquetFile(part).iter_batches())
        write_table(blocks, output, raw_csv=arguments.raw_csv)
        shutil.rmtree(pieces)
    _say_bad(arguments, bad["rows"], len(images))
    if output != STDOUT:
        written = len(images) - (bad["rows"] if arguments.bad_rows == "skip" else 0)
        LOG.info(f"{written} rows: {output}")
    return 0


def _score_pieces(
    arguments: Namespace, chosen: Chosen, images: Shards, texts: Any, folder: Path
) -> tuple[list[Path], Counter[str]]:
    """Score piece by piece into a folder, with the engine of the command line."""
    how: dict[str, Any] = {"column": images.column, "piece_rows": arguments.piece_rows}
    how["bad_rows"] = arguments.bad_rows
    how["ids"] = _ids(arguments)
    if arguments.engine == "ray":
        from vilu_sdk.scale.ray import score_dataset

        score_dataset(images.source, chosen.judge, texts, output=folder, **how)
    done = score_to_folder(images.source, folder, chosen.judge, texts, **how)
    return done.files, Counter(rows=done.bad)


def _say_bad(arguments: Namespace, bad: int, n: int) -> None:
    """Count the rows that could not be scored."""
    if bad and leads():
        done = "are marked in the column reason" if arguments.bad_rows == "mark" else "were skipped"
        said = f"{bad:,} of {n:,} rows are no embeddings and {done}"
        LOG.warning(said, extra={"fields": {"bad_rows": bad}})


def _score_blocks(
    images: Shards, texts: Opened, chosen: Chosen, arguments: Namespace, bad: Counter[str]
) -> Iterator[Block]:
    """Yield the scores of all rows, some at a time, in the order of the files."""
    size = max(1, CHUNK_ELEMENTS // images.shape[1])
    for piece in track(plan(images, Path(), size, ids=_ids(arguments)), "scoring"):
        yield from scored_tables(piece, chosen.judge, texts, arguments.bad_rows, bad)


def _ids(arguments: Namespace) -> Any:
    return as_ids(None if arguments.ids is None else read_values(arguments.ids).values)
