"""Results to standard output or into files, which appear whole or not at all."""

import csv
import glob
import io
import json
import math
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from vilu_sdk.cli._arguments import STDOUT
from vilu_sdk.cli._exits import UsageError, usage
from vilu_sdk.cli._inputs import split, split_label
from vilu_sdk.inputs.escape import csv_cells, line
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.formats import SUFFIXES
from vilu_sdk.inputs.remote import is_remote, require_writable
from vilu_sdk.inputs.stored import kind
from vilu_sdk.numerals import from_environment
from vilu_sdk.persistence.files import check_parent, final_file, sweep, whole_file
from vilu_sdk.persistence.locks import held
from vilu_sdk.scale.partition import UNCERTAINTY
from vilu_sdk.scale.pieces import write_parquet

#: Some rows: a dict of columns, or a record batch of pyarrow.
Block = Any


def write_table(
    blocks: Iterable[Block], output: str, *, as_json: bool = False, raw_csv: bool = False
) -> None:
    """Write blocks of rows one after the other, holding one at a time, to ``-`` or a file of known kind."""
    kind = Path(output).suffix if output != STDOUT else ".json" if as_json else ".csv"
    if kind == ".csv" and not raw_csv:
        blocks = (
            {line(name): csv_cells(cells) for name, cells in columns(block).items()} for block in blocks
        )
    with opened(output, text=kind in (".csv", ".json")) as file:
        WRITERS[kind](blocks, file)


#: What names a row of a table of scorers, and how names of values end that are derived from a metric.
NAMES, DERIVED = ("set", "scorer", "labels", "note"), "_(std|low|high|p|p_best|difference(_low|_high)?)$"
#: Forms in which tables are read, by the suffix of a file.
PRINTED = {".md": "to_markdown", ".html": "to_html", ".tex": "to_latex"}


def write_printed(table: Any, arguments: Namespace, *, layout: str | None = None, **how: Any) -> None:
    """Print or write a table of scorers: to read in one of the `PRINTED` forms, or its rows."""
    chosen, form = arguments.columns, _form(arguments)
    if form is not None:
        shown = {"digits": arguments.digits} | ({} if layout is None else {"layout": layout})
        shown |= {} if form == "to_text" else how
        with opened(arguments.output, text=True) as file:
            file.write(getattr(table, form)(chosen, **shown) + "\n")
        return
    rows = table.to_dicts()
    if chosen is not None:
        if rows and (unknown := [name for name in chosen if name not in rows[0]]):
            raise UsageError(f"--columns has no {unknown[0]!r}; there are {', '.join(rows[0])}.")
        names = ("set", "scorer", "labels", *chosen, "note")
        rows = [{name: row[name] for name in names if name in row} for row in rows]
    if arguments.output == STDOUT:
        print(plain_json(rows))
    else:
        write_table(as_blocks(rows), arguments.output, raw_csv=arguments.raw_csv)


def check_printed(arguments: Namespace) -> None:
    """Raise where a table of scorers could not be written, before the work that it takes."""
    from vilu_sdk.evaluation.columns import choose_columns  # which other commands need not wait for

    check_output(arguments.output, *PRINTED)
    with usage():
        wanted = arguments.columns or ()
        if _form(arguments) is None:  # rows have more columns than a table prints
            wanted = [re.sub(DERIVED, "", name) for name in wanted if name not in NAMES]
        choose_columns(wanted, (), (), arguments.digits)


def _form(arguments: Namespace) -> str | None:
    """Return the method that prints a table; None where its rows are written."""
    to_stdout = arguments.output == STDOUT
    if to_stdout and arguments.json:
        return None
    if arguments.markdown:
        return "to_markdown"
    return "to_text" if to_stdout else PRINTED.get(Path(arguments.output).suffix)


#: Arguments that name what a command reads.
SOURCES = (
    "sets",
    "images",
    "texts",
    "labels",
    "correct",
    "names",
    "ids",
    "paths",
    "thumbnails",
    "groups",
    "units",
    "weights",
    "frequencies",
    "cost_file",
    "test",
    "scorer",
    "checkpoint",
)


def refuse_overwriting(arguments: Namespace) -> None:
    """Raise where the output of a command is one of the files or folders that it reads, by whatever path."""
    output = getattr(arguments, "output", None)
    if output is None or output == STDOUT or is_remote(output):
        return
    if not (path := Path(output).expanduser()).exists():
        return
    for name in SOURCES:
        given = getattr(arguments, name, None)
        values = [value for value in (given if isinstance(given, list) else [given]) if value]
        if name == "scorer":
            values = [split_label(value)[1] for value in values]
        for source in (split(value)[0] for value in values if not is_remote(value)):
            inside = source.is_dir() and path.is_file() and source.resolve() in path.resolve().parents
            if source.exists() and (path.samefile(source) or (inside and kind(path) in SUFFIXES)):
                raise UsageError(
                    f"the output {path} is where {name} are read from, {source}; nothing was read or "
                    "written. Write into another file."
                )


#: Commands whose processes share their work where torchrun has started several.
SHARED = ("fit", "score")


def refuse_to_repeat(arguments: Namespace) -> None:
    """Raise where each of several processes would do all of the work, and write over the others."""
    with usage():
        started = from_environment("WORLD_SIZE", 1, 1)
    if started > 1 and arguments.command not in SHARED:
        raise UsageError(
            f"torchrun has started {started} processes (WORLD_SIZE), and only vilu "
            f"{' and vilu '.join(SHARED)} share their work; start one without torchrun."
        )


@contextmanager
def output_held(arguments: Namespace) -> Iterator[None]:
    """Hold the output of a command against others that write there, and remove what killed ones have left."""
    output = getattr(arguments, "output", None)
    # Of processes that torchrun has started, the first one writes.
    if output in (None, STDOUT) or is_remote(output) or from_environment("RANK", 0):
        yield
        return
    with usage():
        path = final_file(Path(output).expanduser())
    with held(path) as alone:
        if alone:
            sweep(path.parent, glob.escape(path.name), older=0)
        yield


def check_output(output: str, *more: str) -> None:
    """Raise where a table cannot be written, or is of neither the usual kinds nor of these."""
    path = Path(output).expanduser()
    known = [".csv", ".json", ".parquet", *more]
    if output != STDOUT and path.suffix not in known:
        raise UsageError(f"{path} is of no known kind; results are written to {', '.join(known)} or -.")
    with usage():
        if is_remote(output):
            require_writable(output)
        else:
            check_parent(path)
    if path.suffix == ".parquet":
        require("pyarrow.parquet", "data")


@contextmanager
def opened(output: str | Path, text: bool = False) -> Iterator[IO[Any]]:
    """Give standard output, or a file that has its name once all of it is on the disk, or never."""
    if output == STDOUT:
        yield sys.stdout
        return
    path = output if is_remote(output) else Path(output).expanduser()
    with whole_file(path) as file:
        if not text:
            yield file
        else:
            lines = io.TextIOWrapper(file, encoding="utf-8", newline="")
            yield lines
            lines.detach()


def write_folder(folder: Path, files: Mapping[str, bytes], *, overwrite: bool) -> None:
    """Write files into a folder, none of them where one is there and holds something else, or is no file."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; what is written here goes into a folder.")
    for name, content in files.items():
        path = folder / name
        if path.exists() and not path.is_file():
            raise FileExistsError(f"{path} is there and is no file; name another folder.")
        if not overwrite and path.exists() and path.read_bytes() != content:
            raise FileExistsError(
                f"{path} is there and holds something else; name another folder, or pass --overwrite."
            )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with opened(folder / name) as file:
            file.write(content)


def columns(block: Block) -> dict[str, list[Any]]:
    """Return the columns of some rows by name."""
    found = block if isinstance(block, dict) else block.to_pydict()
    return {
        name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in found.items()
    }


def as_blocks(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Return rows as one block."""
    return [{name: [row[name] for row in rows] for name in rows[0]}] if rows else []


def plain_json(value: Any, indent: int | None = 2) -> str:
    """Return JSON that every reader takes: null for NaN, the largest number for infinity."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False, ensure_ascii=False)


def _csv(blocks: Iterable[Block], file: IO[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    for number, block in enumerate(map(columns, blocks)):
        if not number:
            writer.writerow(block)
        writer.writerows(zip(*block.values(), strict=True))
        file.flush()


def _json(blocks: Iterable[Block], file: IO[str]) -> None:
    """Write a list with an object on each line."""
    lead = "[\n"
    for block in map(columns, blocks):
        for row in zip(*block.values(), strict=True):
            file.write(lead + _json_line(dict(zip(block, row, strict=True))))
            lead = ",\n"
    file.write("[]\n" if lead == "[\n" else "\n]\n")


def _json_line(row: Mapping[str, Any]) -> str:
    try:
        return json.dumps(row, default=str, allow_nan=False, ensure_ascii=False)
    except ValueError:  # plain_json takes several times as long, so it is for such rows only
        return plain_json(row, indent=None)


def _npy(blocks: Iterable[Block], file: IO[bytes]) -> None:
    """Write the uncertainties alone; their number is put into the header at the end."""
    n = 0
    _npy_header(0, file)
    for block in map(columns, blocks):
        file.write(np.array(block[UNCERTAINTY], dtype="<f8").tobytes())
        n += len(block[UNCERTAINTY])
    file.seek(0)
    _npy_header(n, file)


def _npy_header(n: int, file: IO[bytes]) -> None:
    # numpy leaves room behind the shape, so that headers of all lengths are equally long.
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (n,)})


#: Writers, by suffix.
WRITERS: dict[str, Callable[[Iterable[Block], IO[Any]], None]] = {
    ".csv": _csv,
    ".json": _json,
    ".npy": _npy,
    ".parquet": write_parquet,
}


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
