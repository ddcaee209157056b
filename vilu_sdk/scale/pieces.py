"""Embeddings on disk cut into pieces, and a folder with one parquet file for each piece that is done.

A piece is written whole or not at all, so that what is in the folder is what need not be done again, and
whoever works on it, in one process or many, needs no other agreement. Nothing here knows a scorer.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vilu_sdk.inputs.formats import BUFFER_BYTES, ArrayFile, File, pyarrow_parquet, read_header
from vilu_sdk.inputs.rows import CHUNK_ELEMENTS
from vilu_sdk.inputs.shards import Shards
from vilu_sdk.persistence.storage import version, whole_file

#: What says whose the parts in a folder are. Readers of folders of parquet pass over names with "_".
MANIFEST = "_manifest.json"
MANIFEST_VERSION = 1
#: Columns of the tables that arrays are read as.
ROW, EMBEDDING = "row", "embedding"


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of one file, and the file for what is made of them. Holds nothing open.

    Attributes
    ----------
    path : pathlib.Path
        File of embeddings.
    column : str or None
        Name of the array in it, as in `open_embeddings`.
    rows : range
        Rows of the file.
    first : int
        Number of the first of them among all rows of all files.
    output : pathlib.Path
        Parquet file that the piece becomes.
    """

    path: Path
    column: str | None
    rows: range
    first: int
    output: Path

    @property
    def embeddings(self) -> str:
        """Name of the embeddings in the tables."""
        return EMBEDDING if self.column is None or self.path.suffix != ".parquet" else self.column

    def is_done(self) -> bool:
        """Whether the output is there, with as many rows; what is damaged is not."""
        parquet = pyarrow_parquet()
        try:
            return bool(parquet.read_metadata(self.output).num_rows == len(self.rows))
        except (FileNotFoundError, ValueError):  # pyarrow's ArrowInvalid is a ValueError
            return False

    def tables(self) -> Iterator[Any]:
        """Yield the rows as tables of pyarrow that are small in memory.

        Of parquet they have all columns; of other files `EMBEDDING`, and `ROW`, the number of each row.
        """
        parquet = pyarrow_parquet()
        import pyarrow as pa

        file = read_header(self.path, self.column)
        if file.shape[0] < self.rows.stop:
            raise ValueError(f"{self.path} has changed since the pieces were planned; start again.")
        d = max(1, file.shape[1])
        size = max(1, CHUNK_ELEMENTS // d)
        if isinstance(file, ArrayFile):
            read = file.open()
            for start in range(self.rows.start, self.rows.stop, size):
                rows = np.arange(start, min(start + size, self.rows.stop))
                values = read(rows).ravel()
                native = values.astype(values.dtype.newbyteorder("="), copy=False)
                lists = pa.FixedSizeListArray.from_arrays(pa.array(native), d)
                yield pa.table({ROW: rows + (self.first - self.rows.start), EMBEDDING: lists})
        else:
            groups = [
                group
                for group, (start, stop) in enumerate(pairwise(file.starts))
                if self.rows.start <= start < stop <= self.rows.stop
            ]
            # With pre_buffer, on in some versions, all of a row group would be in memory.
            opened = parquet.ParquetFile(self.path, buffer_size=BUFFER_BYTES, pre_buffer=False)
            for batch in opened.iter_batches(size, row_groups=groups, use_threads=False):
                yield pa.Table.from_batches([batch])

    def map(self, work: Callable[[Any], Any]) -> Iterator[Any]:
        """Yield `work` of each table.

        Raises
        ------
        ValueError, TypeError
            If `work` does, with a note where; ValueError also if the file has changed.
        """
        done = 0
        try:
            for rows in self.tables():
                yield work(rows)
                done += len(rows)
        except (ValueError, TypeError) as error:
            error.add_note(f"In {self.path}, in a batch that begins with row {self.rows.start + done}.")
            raise
        if done != len(self.rows):
            raise ValueError(f"{self.path} has changed since the pieces were planned; start again.")

    def write(self, tables: Iterator[Any]) -> None:
        """Write tables of equal columns into the output, whole or not at all."""
        first = next(tables)
        with whole_file(self.output) as file, pyarrow_parquet().ParquetWriter(file, first.schema) as writer:
            for table in chain([first], tables):
                writer.write_table(table)


def plan(source: Shards, folder: Path, piece_rows: int) -> list[Piece]:
    """Cut files into pieces of about `piece_rows` rows, none of which reaches into another file.

    Of a parquet file a piece is one or more row groups, and a compressed ``.npz``, in which nobody can
    jump to a row, is a piece as a whole.
    """
    parts: list[tuple[File, range, int]] = []
    for start, file in zip(source.starts, source.files, strict=False):
        whole = isinstance(file, ArrayFile) and file.member is not None
        blocks = [slice(0, file.shape[0])] if whole and file.shape[0] else file.blocks(piece_rows)
        rows = range(0)
        for block in blocks:
            if len(rows) and block.stop - rows.start > piece_rows:
                parts.append((file, rows, int(start) + rows.start))
                rows = range(block.start, block.stop)
            else:
                rows = range(rows.start if len(rows) else block.start, block.stop)
        if len(rows):
            parts.append((file, rows, int(start) + rows.start))
    return [
        Piece(
            file.path,
            source.column if isinstance(file, ArrayFile) else file.column,
            rows,
            first,
            folder / f"part-{number:05d}.parquet",
        )
        for number, (file, rows, first) in enumerate(parts)
    ]


def claim(folder: Path, work: Mapping[str, Any]) -> None:
    """Mark a folder as that of some work, or see that it is.

    Parameters
    ----------
    folder : pathlib.Path
        Made if it does not exist; otherwise empty, or of the same work.
    work : mapping
        JSON-able; what must be equal for parts of two runs to go together.

    Raises
    ------
    ValueError
        If the folder is of other work, or holds files that are of none.
    """
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
            header = {"manifest_version": MANIFEST_VERSION, "vilu_sdk_version": version()}
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
    different = list(_differences(found, work))
    if different:
        raise ValueError(
            f"output={str(folder)!r} belongs to other work: it differs in {' and '.join(different)}. Repeat "
            "that work, pass another folder or remove this one."
        )


def describe(source: Shards) -> dict[str, list[int]]:
    """Return bytes and rows of each file by its name: by what a source is recognised."""
    return {file.path.name: [file.path.stat().st_size, file.shape[0]] for file in source.files}


def _differences(found: Mapping[str, Any], work: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of what differs, and of files the first one."""
    for name, value in work.items():
        before = found.get(name)
        if before == value:
            continue
        if isinstance(before, dict) and isinstance(value, dict):
            first = min(key for key in before.keys() | value.keys() if before.get(key) != value.get(key))
            yield f"{name} ({first}: {before.get(first, 'none')} there, {value.get(first, 'none')} here)"
        else:
            yield f"{name} ({before} there, {value} here)"
