"""Embeddings on disk, cut into pieces, and a folder with a parquet file for each piece that is done.

A piece is written whole or not at all, so that the files in the folder say which pieces are done, and
processes that share the work need no other agreement. Nothing here knows a scorer.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.arrays import ROW
from vilu_sdk.inputs.containers import vector, what_it_holds
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.foreign import MANIFEST_BYTES, check_file, parse_json, read_bytes
from vilu_sdk.inputs.formats import File, tables
from vilu_sdk.inputs.identity import Identity, changes, touched
from vilu_sdk.inputs.parquet import ParquetFile
from vilu_sdk.inputs.places import BadRowError, brief
from vilu_sdk.inputs.rows import CHUNK_ELEMENTS
from vilu_sdk.inputs.shards import Shards
from vilu_sdk.inputs.tables import count_rows
from vilu_sdk.persistence.files import whole_file
from vilu_sdk.persistence.locks import PATIENCE, held
from vilu_sdk.persistence.storage import differences

#: Manifest that identifies the job that owns a folder. Readers of folders of parquet skip names with "_".
MANIFEST = "_manifest.json"
MANIFEST_VERSION = 2
#: Column of what the user calls the rows of arrays.
ID = "id"
#: Name, in the metadata of a parquet file of scores, of the checksum of the rows that were scored.
SCORED = b"vilu_sdk.scored"
#: Name, in the same metadata, of the number of rows that could not be scored; skipped ones are not there.
BAD, SKIPPED = b"vilu_sdk.bad_rows", b"vilu_sdk.skipped_rows"
# Differences that are told.
SHOWN = 5


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of one file, and the parquet file for their results. Holds nothing open."""

    file: File
    rows: range
    first: int  # number of the first of them among all rows of all files
    output: Path
    #: Whether the output notes a checksum of the rows, where nobody else does.
    is_noted: bool = False
    #: What the user calls these rows, where the file does not say it.
    ids: NDArray[Any] | None = field(default=None, compare=False)

    def is_done(self) -> bool:
        """Whether the output is there, with as many rows; a damaged one does not count."""
        parquet = require("pyarrow.parquet", "data")
        try:
            check_file(self.output)
            found = parquet.read_metadata(self.output)
            skipped = int((found.metadata or {}).get(SKIPPED, 0))
            return bool(found.num_rows + skipped == len(self.rows))
        except (FileNotFoundError, ValueError):  # pyarrow's ArrowInvalid is a ValueError
            return False

    def bad_rows(self) -> int:
        """Return how many rows of the output, which is there, could not be scored."""
        metadata = require("pyarrow.parquet", "data").read_metadata(self.output).metadata or {}
        return int(metadata.get(BAD, 0))

    def is_of_these_rows(self) -> bool:
        """Whether the output, which is there, is of the rows as they are now."""
        metadata = require("pyarrow.parquet", "data").read_metadata(self.output).metadata or {}
        return metadata.get(SCORED) == self.file.checksum(self.rows).encode()

    def map(self, work: Callable[[Any], Any]) -> Iterator[Any]:
        """Yield `work` of each small table of the rows (`File.tables`), with a note on where an error is."""
        size = max(1, CHUNK_ELEMENTS // max(1, self.file.shape[1]))
        done = 0
        try:
            for rows in tables(self.file, self.rows, size, self.first):
                if self.ids is not None:
                    rows = {ROW: rows.pop(ROW), ID: self.ids[done : done + count_rows(rows)], **rows}
                yield work(rows)
                done += count_rows(rows)
            self.file.check()
        except BadRowError as error:
            if error.args[3] is not None:  # it is not of this batch, and says so
                raise
            row = self.rows.start + done + error.row
            before = self.first - self.rows.start  # rows of the files before this one
            inside = f" (row {row} of the file)" if before else ""
            where = f"row {before + row}{inside} of {self.file.path}"
            raise error.moved(self.first + done, where) from None
        except (ValueError, TypeError) as error:
            error.add_note(f"In {self.file.path}, in a batch that begins with row {self.rows.start + done}.")
            raise


def as_ids(ids: Any) -> NDArray[Any] | None:
    """Return what rows are called, if they are, as a vector that a file can hold; paths are texts."""
    if ids is None:
        return None
    own = vector(ids, "ids")
    wants = "ids must hold a text or a number for each row, got"
    if own.dtype.kind == "O" and all(isinstance(value, str | os.PathLike) for value in own):
        own = np.array([str(value) for value in own])
    if own.dtype.kind == "f" and own.dtype.itemsize > 8:
        own = own.astype(np.float64)
    own = own.astype(own.dtype.newbyteorder("="), copy=False)
    are_mixed = own.dtype.kind == "O" and len({type(value) for value in own}) > 1
    if are_mixed or own.dtype.kind in "cV":
        raise TypeError(f"{wants} {what_it_holds(own)}.")
    try:
        pa = require("pyarrow", "data")
    except ImportError:  # texts and numbers of a CSV file need none
        return own
    try:
        pa.array(own)
    except (pa.ArrowException, ValueError) as error:
        said = f"{wants} {what_it_holds(own)}, which parquet files cannot hold ({brief(error)})."
        raise TypeError(said) from error
    return own


def write_parquet(
    tables: Iterable[Any],
    file: IO[bytes],
    checksum: str | None = None,
    notes: Callable[[], dict[bytes, str]] = dict,
) -> None:
    """Write dicts of columns or record batches, all of the same columns, holding one at a time.

    The checksum, if there is one, is that of the rows that were scored; notes are asked for at the end.
    """
    parquet = require("pyarrow.parquet", "data")
    import pyarrow as pa

    tables = (pa.table(table) if isinstance(table, dict) else table for table in tables)
    first = next(tables)
    metadata = {name: value for name, value in (first.schema.metadata or {}).items() if name != SCORED}
    if checksum is not None:
        metadata[SCORED] = checksum
    with parquet.ParquetWriter(file, first.schema.with_metadata(metadata or None)) as writer:
        for table in chain([first], tables):
            writer.write(table)
        if found := notes():
            writer.add_key_value_metadata(found)


def plan(
    source: Shards,
    folder: Path,
    piece_rows: int,
    *,
    is_noted: bool = False,
    ids: NDArray[Any] | None = None,
) -> list[Piece]:
    """Cut files into pieces of about `piece_rows` rows, none of which reaches into another file."""
    if ids is not None and any(isinstance(file, ParquetFile) for file in source.files):
        raise ValueError(f"ids are of arrays: the scores of {source.path} keep the other columns.")
    if ids is not None and len(ids) != len(source):
        what = f"{len(ids)} ids for {len(source)} rows of {source.path}"
        raise ValueError(f"there are {what}; pass one for each.")
    parts = [
        (file, range(part.start, part.stop), int(start) + part.start)
        for start, file in zip(source.starts, source.files, strict=False)
        for part in file.pieces(piece_rows)
    ]
    return [
        Piece(
            *(file, rows, first, folder / f"part-{number:05d}.parquet", is_noted),
            None if ids is None else ids[first : first + len(rows)],
        )
        for number, (file, rows, first) in enumerate(parts)
    ]


def claim(
    folder: Path, pieces: list[Piece], source: Identity, texts: Identity, work: Mapping[str, Any]
) -> None:
    """Mark a folder as that of some work, described in JSON, or raise where it is of other work."""
    path = folder / MANIFEST
    if not path.exists():
        with held(folder, inside=True, patience=PATIENCE):
            return _claim(folder, pieces, source, texts, work)
    return _claim(folder, pieces, source, texts, work)


def _claim(
    folder: Path, pieces: list[Piece], source: Identity, texts: Identity, work: Mapping[str, Any]
) -> None:
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
            file.write(json.dumps({**header, "source": source, "z_txt_set": texts, "work": work}).encode())
        return
    known = _read_manifest(path)
    other = changes(known["source"], source) + changes(known["z_txt_set"], texts, "z_txt_set")
    if not other:
        again = {source["files"][number][0] for number in touched(known["source"], source)}
        done = (piece for piece in pieces if piece.file.path.name in again and piece.is_done())
        changed = (piece for piece in done if not piece.is_of_these_rows())
        other = [
            f"{piece.file.path.name} has changed since: in rows {piece.rows.start} to {piece.rows.stop - 1}"
            for piece in islice(changed, 1)
        ]
    other += [f"it differs in {place}" for place in differences(known["work"], work)]
    if other:
        raise ValueError(
            f"output={str(folder)!r} belongs to other work: {'; '.join(other[:SHOWN])}; score into another "
            "folder, or remove this one."
        )


def _read_manifest(path: Path) -> dict[str, Any]:
    """Return what a folder is of, or say why this version does not know."""
    try:
        found = parse_json(read_bytes(path, MANIFEST_BYTES, "score into another folder"))
        number, writer = found["manifest_version"], found.get("vilu_sdk_version")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged or not a manifest of vilu-sdk ({brief(repr(error))}); score into another "
            "folder."
        ) from error
    if number != MANIFEST_VERSION or not {"source", "z_txt_set", "work"} <= found.keys():
        raise ValueError(
            f"{path} is not a manifest that this version of vilu-sdk reads: vilu-sdk {writer} wrote it in "
            f"format {number}, and this one knows format {MANIFEST_VERSION}, which says what the source "
            "holds. Score into another folder, or finish there with that version."
        )
    return dict(found)
