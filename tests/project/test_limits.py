"""Every limit of docs/security.md: what is beyond it is refused in words, and the table says the number."""

import os
import pickle
import signal
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from support.cli_tools import Run
from support.paths import DOCS
from vilu_sdk import MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.cli._inputs import read_groups, read_values
from vilu_sdk.inputs import foreign, open_embeddings, places, rows, values
from vilu_sdk.inputs.formats import read_vector
from vilu_sdk.persistence import pickled, storage
from vilu_sdk.scale import pieces
from vilu_sdk.scorers import Scorer
from vilu_sdk.scorers.official import convert_official_checkpoint

PAGE = DOCS / "security.md"
MIB = 1 << 20


class Limit(NamedTuple):
    """A row of the table, what is refused beyond it, and what the refusal says."""

    what: str
    most: str
    says: str
    act: Callable[[Path], Any]


def head(folder: Path, scorer: Scorer | None = None) -> Path:
    (scorer or MCMScorer()).save_pretrained(folder / "head")
    return folder / "head"


def grown(path: Path, size: int) -> Path:
    """Make a file longer by zeros that take no room on the disk."""
    path.touch()
    os.truncate(path, size)
    return path


def longer(file: str, size: int) -> Callable[[Path], Any]:
    def act(folder: Path) -> Any:
        grown(head(folder) / file, size)
        return Scorer.from_pretrained(folder / "head")

    return act


def safetensors(folder: Path) -> Any:
    path = grown(folder / "a.safetensors", foreign.JSON_BYTES + 100)
    with path.open("r+b") as file:
        file.write(struct.pack("<Q", foreign.JSON_BYTES + 1))
    return open_embeddings(path)


def lines(text: str) -> Callable[[Path], Any]:
    def act(folder: Path) -> Any:
        (folder / "v.txt").write_text(text)
        return read_values(f"{folder / 'v.txt'}")

    return act


def group(folder: Path) -> Any:
    (folder / "g.txt").write_text("g" * (foreign.GROUP_CHARACTERS + 1))
    return read_groups(f"{folder / 'g.txt'}", 1)


def array(dtype: str, n: int) -> Callable[[Path], Any]:
    """A file of numpy whose header promises so many values, and which is as long."""

    def act(folder: Path) -> Any:
        with (folder / "v.npy").open("wb") as file:
            header = {"descr": dtype, "fortran_order": False, "shape": (n,)}
            np.lib.format.write_array_header_1_0(file, header)
        grown(folder / "v.npy", 1000 + n * np.dtype(dtype).itemsize)
        return read_values(f"{folder / 'v.npy'}")

    return act


def parquet(*columns: Any) -> Callable[[Path], Any]:
    """Values that a dictionary keeps in some bytes."""

    def act(folder: Path) -> Any:
        arrow, files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        value, n = columns
        table = arrow.table({"v": arrow.DictionaryArray.from_arrays(arrow.array(np.zeros(n, "i4")), [value])})
        files.write_table(table, folder / "v.parquet")
        return read_values(f"{folder / 'v.parquet'}")

    return act


def archive(method: int, *names: str) -> Callable[[Path], Any]:
    def act(folder: Path) -> Any:
        with zipfile.ZipFile(folder / "a.npz", "w", method) as file:
            for name in names:
                file.writestr(name, b"0" * 100)
        return open_embeddings(folder / "a.npz")

    return act


def header(folder: Path) -> Any:
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)}"
    start = b"\x93NUMPY\2\0" + struct.pack("<I", foreign.NPY_HEADER_BYTES)
    (folder / "a.npy").write_bytes(start + text.ljust(foreign.NPY_HEADER_BYTES) + bytes(4))
    return open_embeddings(folder / "a.npy")


def checkpoint(content: bytes, method: int = zipfile.ZIP_STORED) -> Callable[[Path], Any]:
    def act(folder: Path) -> Any:
        with zipfile.ZipFile(folder / "a.ckpt", "w", method) as file:
            file.writestr("a/data.pkl", content)
        return convert_official_checkpoint(folder / "a.ckpt")

    return act


def manifest(folder: Path) -> Any:
    path = grown(folder / pieces.MANIFEST, foreign.MANIFEST_BYTES + 1)
    return pieces._read_manifest(path)


def deep(folder: Path) -> Any:
    """A network of a hundred thousand layers in the configuration, and of two in the file."""
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(30, 4)), np.arange(30) % 3
    path = (
        head(folder, ViLUEstimator(PaperRecipe(epochs=1, hidden=(2,))).fit(z, z[:3], labels)) / "config.json"
    )
    path.write_text(path.read_text().replace('"hidden": [', f'"hidden": [{"2, " * 100_000}'))
    return Scorer.from_pretrained(folder / "head")


def laughs(levels: int) -> bytes:
    """A pickle of a dict whose key is a tuple of ten times a tuple of ten times …."""
    tuples = (b"(" + (b"h%c" % i) * 10 + b"tq%c" % (i + 1) for i in range(levels))
    return b"\x80\x02K\x01q\0" + b"".join(tuples) + b"}h%cK\x01s." % levels


LIMITS = [
    Limit(
        "`config.json`",
        f"{foreign.JSON_BYTES // MIB} MiB",
        "bytes, at most 4,194,304",
        longer("config.json", 4 * MIB + 1),
    ),
    Limit(
        "`model.safetensors`",
        f"{storage.TENSORS_BYTES >> 30} GiB",
        "bytes, at most 17,179,869,184",
        longer("model.safetensors", storage.TENSORS_BYTES + 1),
    ),
    Limit("layers of a network", "as many as tensors", "layers, but there are", deep),
    Limit(
        "the header of a `.safetensors` file", f"{foreign.JSON_BYTES // MIB} MiB", "a header of", safetensors
    ),
    Limit("the header of a `.npy` array", "10,000 bytes, numpy's own limit", "not in numpy's format", header),
    Limit(
        "members of a `.npz`",
        "stored or deflated, and none encrypted",
        "neither stored nor deflated",
        archive(zipfile.ZIP_BZIP2, "a.npy"),
    ),
    Limit(
        "the list of contents of an archive",
        f"{foreign.DIRECTORY_BYTES // MIB} MiB",
        "lists too many members",
        archive(zipfile.ZIP_STORED, *(f"{i:0200}" for i in range(foreign.DIRECTORY_BYTES // 240))),
    ),
    Limit(
        "a text file",
        f"{foreign.TEXT_BYTES // MIB} MiB",
        "bytes, at most 67,108,864",
        lambda folder: read_values(f"{grown(folder / 'v.txt', foreign.TEXT_BYTES + 1)}"),
    ),
    Limit(
        "a line of it",
        f"{foreign.LINE_CHARACTERS:,} characters",
        "characters in line 1",
        lines("x" * (foreign.LINE_CHARACTERS + 1)),
    ),
    Limit(
        "a value that is text",
        f"{foreign.NAME_CHARACTERS:,} characters",
        "a text of 10,001 characters",
        lines("x" * (foreign.NAME_CHARACTERS + 1)),
    ),
    Limit("a group", f"{foreign.GROUP_CHARACTERS} characters", "a group of 251 characters", group),
    Limit(
        "texts of a file, a row each",
        f"{foreign.TEXTS:,}",
        "texts are read",
        lines("\n" * (foreign.TEXTS + 1)),
    ),
    Limit(
        "numbers of a file, a row each",
        f"{foreign.VALUES:,}",
        "values are read",
        array("<i1", foreign.VALUES + 1),
    ),
    Limit(
        "texts in a `.npy` or `.npz`",
        f"{foreign.ARRAY_BYTES // MIB} MiB",
        "bytes of texts, at most 268,435,456",
        array("<U10000000", 7),
    ),
    Limit(
        "texts in a `.parquet`",
        f"{foreign.TEXT_BYTES // MIB} MiB, each that differs once",
        "bytes of texts",
        parquet("x" * (foreign.TEXT_BYTES + 1), 2),
    ),
    Limit(
        "the manifest of a folder of scores",
        f"{foreign.MANIFEST_BYTES // MIB} MiB",
        "bytes, at most 16,777,216",
        manifest,
    ),
    Limit(
        "the pickle of a checkpoint",
        f"{pickled.PICKLE_BYTES // MIB} MiB",
        "more than 4,194,304 bytes",
        checkpoint(bytes(pickled.PICKLE_BYTES + 1)),
    ),
    Limit(
        "its operations",
        f"{pickled.OPERATIONS:,}",
        "more than 50,000 operations",
        checkpoint(b"0" * (pickled.OPERATIONS + 1) + b"."),
    ),
    Limit(
        "those that put one thing into another",
        f"{pickled.NESTINGS:,}",
        "or 5,000 nestings",
        checkpoint(b"]" * 5002 + b"a" * 5001 + b"."),
    ),
    Limit(
        "parts of a thing in it, each as often as it is named",
        f"{pickled.OPERATIONS:,}",
        "by naming the same one again",
        checkpoint(laughs(25)),
    ),
    Limit(
        "what the pickle names",
        "a list of tensors and numbers",
        "names builtins.bytearray",
        checkpoint(pickle.dumps(bytearray(3))),
    ),
    Limit(
        "the width d of embeddings",
        f"{rows.WIDEST:,}",
        "at most 65,536 are taken",
        lambda _: MCMScorer().predict(np.ones((1, rows.WIDEST + 1)), np.ones((2, rows.WIDEST + 1))),
    ),
    Limit(
        "d of fits that keep d × d numbers",
        f"{rows.WIDEST_SQUARE:,}",
        "at most 16,384",
        lambda _: rows.check_square(rows.WIDEST_SQUARE + 1),
    ),
    Limit(
        "a logit scale",
        f"{values.LARGEST_SCALE:,.0f}",
        "at most 1e+06",
        lambda _: MCMScorer(logit_scale=1.1e6).predict_uncertainty(np.eye(2), np.eye(2)),
    ),
]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.what)
def test_beyond_a_limit_the_answer_is_a_sentence_and_the_docs_know_the_number(limit, tmp_path):
    with pytest.raises(ValueError) as caught:  # noqa: PT011, the sentence is looked at below
        limit.act(tmp_path)
    said = str(caught.value)
    assert limit.says in said
    assert len(said) <= places.BEGINNING + places.END + 3
    assert "\n" not in said
    assert f"| {limit.what} | {limit.most} |" in PAGE.read_text().splitlines()


def test_the_page_lists_nothing_else():
    table = PAGE.read_text().split("| what is read | at most |")[1].split("\n\n")[0]
    assert len(table.strip().splitlines()) - 1 == len(LIMITS) == len({limit.what for limit in LIMITS})


def test_up_to_the_limits_things_are_read(tmp_path):
    (tmp_path / "v.txt").write_text("x" * foreign.NAME_CHARACTERS + "\n" + "y\n" * 1000)
    assert len(read_values(f"{tmp_path / 'v.txt'}").values) == 1001
    with pytest.raises(ValueError, match="it holds: list") as caught:
        checkpoint(b"]" * 4000 + b"a" * 3999 + b".")(tmp_path)
    assert "nestings" not in str(caught.value)
    with pytest.raises(ValueError, match=r"has no state_dict"):
        checkpoint(laughs(3))(tmp_path)
    wide = np.eye(2, rows.WIDEST)
    assert MCMScorer(logit_scale=values.LARGEST_SCALE).predict(wide, wide).tolist() == [0, 1]


def test_a_text_that_stands_in_many_rows_is_in_memory_once(tmp_path):
    arrow, files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = ["a" * 5000, "b" * 5000, "c"] * 2000
    files.write_table(arrow.table({"v": names}), tmp_path / "v.parquet", row_group_size=1500)
    found = read_vector(tmp_path / "v.parquet", None)
    assert found.tolist() == names
    assert len({id(name) for name in found}) <= 3 * 4  # of each row group its own


PIPES = {
    "images": "score p.npy texts.npy --scorer mcm --logit-scale 9 -q",
    "texts": "score texts.npy p.npy --scorer mcm --logit-scale 9 -q",
    "names": "score texts.npy texts.npy --names p.txt --scorer mcm --logit-scale 9 -q",
    "labels": "evaluate texts.npy texts.npy --labels p.parquet --scorer mcm --logit-scale 9 -q",
    "scorer": "score texts.npy texts.npy --scorer head -q",
    "checkpoint": "convert p.ckpt -o converted",
    "output": "score texts.npy texts.npy --scorer mcm --logit-scale 9 -q -o p.csv",
    "lock": "score texts.npy texts.npy --scorer mcm --logit-scale 9 -q -o o.csv",
    "manifest": "score texts.npy texts.npy --scorer mcm --logit-scale 9 -q -o strange",
    "piece": "score texts.npy texts.npy --scorer mcm --logit-scale 9 -q -o done",
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("line", PIPES.values(), ids=PIPES)
def test_no_command_waits_for_somebody_to_write_into_a_pipe(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("texts.npy", np.eye(3, dtype=np.float32))
    head(tmp_path)
    assert Run(PIPES["piece"], capsys).code == 0
    (pipe,) = Path("done").glob("part-*")
    Path("head/config.json").unlink()
    pipe.unlink()
    Path("strange").mkdir()
    named = ("p.npy", "p.txt", "p.parquet", "p.ckpt", "p.csv", ".o.csv.lock", "head/config.json", pipe)
    for path in (*named, "strange/_manifest.json"):
        os.mkfifo(path)
    signal.alarm(20)  # what waits for a pipe waits for ever
    try:
        done = Run(line, capsys)
    finally:
        signal.alarm(0)
    assert done.code in (2, 3)
    assert done.err.count("\n") == 1
    assert "is a pipe" in done.err or "is no file" in done.err or "has no config.json" in done.err
