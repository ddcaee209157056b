"""Embeddings on disk, cut into pieces, and a folder with a parquet file for each piece that is done.

A piece is written whole or not at all, so that the files in the folder say which pieces are done, and
processes that share the work need no other agreement. Nothing here knows a scorer.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import IO, Any

from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.formats import File, read_header, tables
from vilu_sdk.inputs.places import BadRowError
from vilu_sdk.inputs.rows import CHUNK_ELEMENTS
from vilu_sdk.inputs.shards import Shards
from vilu_sdk.inputs.tables import count_rows
from vilu_sdk.persistence.storage import differences, whole_file

#: Manifest that identifies the job that owns a folder. Readers of folders of parquet skip names with "_".
MANIFEST = "_manifest.json"
MANIFEST_VERSION = 1


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of one file, and the parquet file for their results. Holds nothing open."""

    file: File
    rows: range
    first: int  # number of the first of them among all rows of all files
    output: Path

    def is_done(self) -> bool:
        """Whether the output is there, with as many rows; a damaged one does not count."""
        parquet = require("pyarrow.parquet", "data")
        try:
            return bool(parquet.read_metadata(self.output).num_rows == len(self.rows))
        except (FileNotFoundError, ValueError):  # pyarrow's ArrowInvalid is a ValueError
            return False

    def map(self, work: Callable[[Any], Any]) -> Iterator[Any]:
        """Yield `work` of each small table of the rows (`File.tables`), with a note on where an error is."""
        if read_header(self.file.path, self.file.column) != self.file:
            raise ValueError(f"{self.file.path} has changed since the pieces were planned; start again.")
        size = max(1, CHUNK_ELEMENTS // max(1, self.file.shape[1]))
        done = 0
        try:
            for rows in tables(self.file, self.rows, size, self.first):
                yield work(rows)
                done += count_rows(rows)
        except BadRowError as error:
            if error.args[3] is not None:  # it is not of this batch, and says so
                raise
            row = self.rows.start + done + error.args[1]
            before = self.first - self.rows.start  # rows of the files before this one
            inside = f" (row {row} of the file)" if before else ""
            where = f"row {before + row}{inside} of {self.file.path}"
            raise error.moved(self.first + done, where) from None
        except (ValueError, TypeError) as error:
            error.add_note(f"In {self.file.path}, in a batch that begins with row {self.rows.start + done}.")
            raise


def write_parquet(tables: Iterable[Any], file: IO[bytes]) -> None:
    """Write dicts of columns or record batches, all of the same columns, holding one at a time."""
    parquet = require("pyarrow.parquet", "data")
    import pyarrow as pa

    tables = (pa.table(table) if isinstance(table, dict) else table for table in tables)
    first = next(tables)
    with parquet.ParquetWriter(file, first.schema) as writer:
        for table in chain([first], tables):
            writer.write(table)


def plan(source: Shards, folder: Path, piece_rows: int) -> list[Piece]:
    """Cut files into pieces of about `piece_rows` rows, none of which reaches into another file."""
    parts = [
        (file, range(part.start, part.stop), int(start) + part.start)
        for start, file in zip(source.starts, source.files, strict=False)
        for part in file.pieces(piece_rows)
    ]
    return [Piece(*part, folder / f"part-{number:05d}.parquet") for number, part in enumerate(parts)]


def claim(folder: Path, work: Mapping[str, Any]) -> None:
    """Mark a folder as that of some work, described in JSON, or raise where it is of other work."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MANIFEST
    if not path.exists():
        strange = sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
        if strange:
            raise ValueError(
                f"output={str(folder)!r} holds {strange[0]!r} and no {MANIFEST}, so it is not of this work; "
                "pass a new or empty folder."
            )
        with whole_file(path) as file:
            header = {"manifest_version": MANIFEST_VERSION, "vilu_sdk_version": version("vilu-sdk")}
            file.write(json.dumps(header | dict(work), indent=1).encode())
        return
    try:
        found = json.loads(path.read_bytes())
        if found.pop("manifest_version") != MANIFEST_VERSION:
            raise KeyError("another manifest_version")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is not a manifest that this version of vilu-sdk reads ({error!r}); pass a new folder."
        ) from error
    found.pop("vilu_sdk_version", None)
    if different := differences(found, work):
        raise ValueError(
            f"output={str(folder)!r} belongs to other work: it differs in {'; '.join(different[:5])}. Repeat "
            "that work, pass another folder or remove this one."
        )
