"""Results to standard output or into files, which appear whole or not at all."""

import csv
import glob
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.extras import require
from vilu_sdk.persistence.storage import check_parent, sweep, whole_file
from vilu_sdk.scale.pieces import write_parquet

#: Standard output.
STDOUT = "-"
#: Some rows: a dict of columns, or a record batch of pyarrow.
Block = Any


def write_table(blocks: Iterable[Block], output: str, *, as_json: bool = False, array: str = "") -> None:
    """Write blocks of rows one after the other, holding one at a time.

    `output` is ``-`` or a file, whose suffix names the format. A ``.npy`` file gets the column ``array``.
    """
    if output == STDOUT:
        write = _json if as_json else _csv
        write(blocks, sys.stdout)
        return
    path = check_output(output, array)
    if path.suffix in TEXT:
        with whole(path, text=True) as file:
            TEXT[path.suffix](blocks, file)
        return
    with whole(path) as file:
        if path.suffix == ".npy":
            _npy((columns(block)[array] for block in blocks), file)
        else:
            write_parquet(blocks, file)


def check_output(output: str, array: str = "") -> Path:
    """Return the path of a table that can be written, before its rows are computed."""
    path = Path(output).expanduser()
    known = [*TEXT, ".parquet", *([".npy"] if array else [])]
    if path.suffix not in known:
        raise ValueError(f"{path} is of no known kind; results are written to {', '.join(known)} or -.")
    check_parent(path)
    if path.suffix == ".parquet":
        require("pyarrow.parquet", "data")
    return path


def write_text(text: str, output: str) -> None:
    """Write text that ends in a line end."""
    if output == STDOUT:
        sys.stdout.write(text)
        return
    path = Path(output).expanduser()
    check_parent(path)
    with whole(path, text=True) as file:
        file.write(text)


def columns(block: Block) -> Mapping[str, Sequence[Any] | NDArray[Any]]:
    """Return the columns of some rows by name."""
    found: Mapping[str, Any] = block if isinstance(block, dict) else block.to_pydict()
    return found


def with_column(block: Block, name: str, values: Sequence[Any] | NDArray[Any]) -> Block:
    """Return some rows with one more column."""
    if isinstance(block, dict):
        return {**block, name: values}
    import pyarrow as pa

    fields = [*block.schema, pa.field(name, (array := pa.array(values)).type)]
    return pa.RecordBatch.from_arrays([*block.columns, array], schema=pa.schema(fields))


def as_blocks(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Return rows as one block."""
    return [{name: [row[name] for row in rows] for name in rows[0]}] if rows else []


def plain_json(value: Any, indent: int | None = 2) -> str:
    """Return JSON that every reader takes: null for NaN, the largest number for infinity."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False, ensure_ascii=False)


@contextmanager
def whole(path: Path, text: bool = False) -> Iterator[IO[Any]]:
    """Give a file that appears under its name once all of it is on the disk, or never."""
    with whole_file(path) as file:
        if not text:
            yield file
        else:
            lines = io.TextIOWrapper(file, encoding="utf-8", newline="")
            yield lines
            lines.detach()
    sweep(path.parent, glob.escape(path.name))


def _csv(blocks: Iterable[Block], file: IO[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    for number, block in enumerate(map(columns, blocks)):
        if not number:
            writer.writerow(block)
        writer.writerows(zip(*map(_values, block.values()), strict=True))
        file.flush()


def _json(blocks: Iterable[Block], file: IO[str]) -> None:
    """Write a list with an object on each line."""
    lead = "[\n"
    for block in map(columns, blocks):
        for row in zip(*map(_values, block.values()), strict=True):
            file.write(lead + _json_line(dict(zip(block, row, strict=True))))
            lead = ",\n"
    file.write("[]\n" if lead == "[\n" else "\n]\n")


def _json_line(row: Mapping[str, Any]) -> str:
    try:
        return json.dumps(row, default=str, allow_nan=False, ensure_ascii=False)
    except ValueError:  # plain_json takes several times as long, so it is for such rows only
        return plain_json(row, indent=None)


def _npy(blocks: Iterable[Sequence[Any] | NDArray[Any]], file: IO[bytes]) -> None:
    """Write one vector of float64; the length is put into its header at the end."""
    n = 0
    _npy_header(0, file)
    for block in blocks:
        file.write(np.asarray(block, dtype="<f8").tobytes())
        n += len(block)
    file.seek(0)
    _npy_header(n, file)


def _npy_header(n: int, file: IO[bytes]) -> None:
    # numpy leaves room behind the shape, so that headers of all lengths are equally long.
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (n,)})


#: Writers of text, by suffix.
TEXT: dict[str, Callable[[Iterable[Block], IO[str]], None]] = {".csv": _csv, ".json": _json}


def _values(column: Sequence[Any] | NDArray[Any]) -> Sequence[Any]:
    values: Sequence[Any] = column.tolist() if isinstance(column, np.ndarray) else column
    return values


def _plain(value: Any) -> Any:
    """Return the value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else math.copysign(sys.float_info.max, value)
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
