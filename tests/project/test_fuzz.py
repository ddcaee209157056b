"""Files of nobody: whatever is in them, they are read, or refused in a sentence, soon and in little memory.

Hypothesis changes good files. ``VILU_FUZZ=100`` tries a hundred times as many and prints how it went; with
``-s`` one sees it.
"""

import json
import os
import subprocess
import tempfile
import unicodedata
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.all_scorers import EXAMPLES, fitted
from support.data import draw_task
from support.mutations import TEXTS, Good, changed, changed_tensor, damaged, fitted_to, places
from support.watched import Watch
from vilu_sdk import MCMScorer, cli
from vilu_sdk.inputs import open_embeddings
from vilu_sdk.inputs.formats import read_vector
from vilu_sdk.inputs.places import BEGINNING, END, BadRowError
from vilu_sdk.persistence.storage import CONFIG_FILE, TENSORS_FILE
from vilu_sdk.scorers import Scorer
from vilu_sdk.scorers.official import COUNTER, convert_official_checkpoint
from vilu_sdk.selective import SelectivePredictor, SetPredictor

TIMES = int(os.environ.get("VILU_FUZZ", 1))
#: Kinds of errors that are documented, and no kinds derived from them, which are those of libraries.
DOCUMENTED = (ValueError, TypeError, BadRowError, FileNotFoundError, NotADirectoryError)
TASK = draw_task()
LONGEST = BEGINNING + END + 3


def tries(examples: int) -> Callable[[Any], Any]:
    """Try as many, the same ones each time unless more are asked for."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=examples * TIMES,
        deadline=None,  # `Watch` has one, which leaves out what hypothesis itself does
        derandomize=TIMES == 1,
        database=None,
        suppress_health_check=checks,
    )


def is_quiet(text: str) -> bool:
    """Whether a text is a line of characters that steer no terminal."""
    return not {unicodedata.category(character) for character in text} & {"Cc", "Cs", "Zl", "Zp"}


class Place:
    """A folder to write into, and what became of the files there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.watch, self.ends = Watch(folder), Counter[str]()

    def read(self, act: Callable[[], Any], *names: str) -> Any:
        """Return what is read, or None where it is refused in words that name the file."""
        with warnings.catch_warnings(action="ignore"), self.watch():
            try:
                found, error = act(), None
            except Exception as raised:
                error = raised
        self.ends["read" if error is None else type(error).__name__] += 1
        if error is None:
            return found
        if type(error) not in DOCUMENTED:
            raise error
        said = " ".join([str(error), *getattr(error, "__notes__", [])])
        assert any(name in said for name in (*names, str(self.folder)))
        assert len(str(error)) <= LONGEST
        assert is_quiet(said)
        return None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder / "tmp"))
        yield Place(folder)


@pytest.fixture(autouse=True)
def figures(place: Place, request: pytest.FixtureRequest) -> Iterator[None]:
    place.watch, place.ends = Watch(place.folder), Counter()
    yield
    if TIMES > 1:
        seen, ends = place.watch, ", ".join(f"{n:,} {end}" for end, n in place.ends.most_common())
        name = request.node.name.removeprefix("test_")
        print(f"\n| {name} | {seen.calls:,} | {ends} | {seen.seconds:.2f} | {seen.bytes / 1e6:.0f} |")


# --- heads -----------------------------------------------------------------------------------------


class Head(Good):
    """A saved scorer, as its two files."""

    def __init__(self, scorer: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            scorer.save_pretrained(folder)
            config = json.loads(Path(folder, CONFIG_FILE).read_text())
            super().__init__(config, safetensors.torch.load_file(Path(folder, TENSORS_FILE)))

    def __repr__(self) -> str:
        return str(self.config["__class__"])

    def write(self, folder: Path, config: Any, tensors: dict[str, torch.Tensor]) -> None:
        data = safetensors.torch.save(tensors)
        if isinstance(config, dict) and "tensors_sha256" in config:
            config = config | {"tensors_sha256": sha256(data).hexdigest()}
        folder.mkdir(exist_ok=True)
        (folder / TENSORS_FILE).write_bytes(data)
        (folder / CONFIG_FILE).write_text(json.dumps(config))


@pytest.fixture(scope="module")
def heads() -> list[Head]:
    with warnings.catch_warnings(action="ignore"):
        scorers = [fitted(*example.values, TASK) for example in EXAMPLES]
        data = TASK.z_img, TASK.z_txt, TASK.labels
        promises = [
            SelectivePredictor(MCMScorer(), 0.3).fit(*data),
            SetPredictor(MCMScorer(), 0.9).fit(*data),
        ]
    return [Head(scorer) for scorer in scorers + promises]


def score(place: Place, folder: Path) -> None:
    """Load a head, and score with it: numbers, or a sentence."""
    scorer = place.read(lambda: Scorer.from_pretrained(folder))
    if scorer is None:
        return
    width = getattr(scorer, "n_features_in_", None) or TASK.z_img.shape[1]
    images, texts = np.resize(TASK.z_img, (5, width)), np.resize(TASK.z_txt, (len(TASK.z_txt), width))
    found = place.read(
        lambda: scorer.predict_uncertainty(images, texts), "z_", "scorer", "texts", "candidates"
    )
    assert found is None or np.isfinite(found).all()


@tries(400)
@given(data=st.data())
def test_configurations(data, heads, place):
    head = data.draw(st.sampled_from(heads))
    head.write(place.folder / "head", data.draw(changed(head)), head.tensors)
    score(place, place.folder / "head")


@tries(200)
@given(data=st.data())
def test_tensors(data, heads, place):
    head = data.draw(st.sampled_from([head for head in heads if head.tensors]))
    name, _, tensor = data.draw(changed_tensor(head))
    tensors = {key: value for key, value in head.tensors.items() if key != name}
    tensors |= {} if tensor is None else {name: tensor}
    config = fitted_to(head.config, tensors) if data.draw(st.booleans()) else head.config
    head.write(place.folder / "head", config, tensors)
    score(place, place.folder / "head")


@pytest.mark.slow
@pytest.mark.parametrize("value", [None, True, "x", -1, 0.5, [], {}, {"__tuple__": [1]}], ids=repr)
def test_fields_of_another_type(value, heads, place):
    for head in heads:
        for number in range(len(places(head.config))):
            config = deepcopy(head.config)
            holder, key = places(config)[number]
            if holder is not config:
                holder[key] = value
                head.write(place.folder / "head", config, head.tensors)
                score(place, place.folder / "head")


# --- embeddings ------------------------------------------------------------------------------------


def saved(kind: str) -> bytes:
    """A good file of embeddings."""
    z, file = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32), BytesIO()
    if kind == "parquet":
        arrow, files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        files.write_table(arrow.table({"z": list(z), "id": range(20)}), file, row_group_size=7)
    elif kind == "safetensors":
        return safetensors.torch.save({"z": torch.tensor(z)})
    else:
        {"npy": np.save, "npz": np.savez, "packed.npz": np.savez_compressed}[kind](file, z)
    return file.getvalue()


def read(place: Place, path: Path) -> None:
    """Open embeddings, and read them in every way."""
    opened = place.read(lambda: open_embeddings(path))
    if opened is not None and 0 < opened.shape[0] <= 10_000 and opened.shape[1] < 10_000:
        place.read(lambda: (opened[:3], opened[[0, -1]], opened[-2:]))
        scores = place.read(
            lambda: MCMScorer().predict_uncertainty(opened, np.eye(opened.shape[1])[:2]), "z_"
        )
        assert scores is None or np.isfinite(scores).all()


@pytest.mark.parametrize("kind", ["npy", "npz", "packed.npz", "safetensors", "parquet"])
@tries(120)
@given(data=st.data())
def test_bytes_of(data, kind, place):
    path = place.folder / f"e.{kind}"
    path.write_bytes(data.draw(damaged(saved(kind))))
    read(place, path)
    place.read(lambda: read_vector(path, None))


@tries(200)
@given(data=st.data())
def test_headers_of_safetensors(data, place):
    good = saved("safetensors")
    length = int.from_bytes(good[:8], "little")
    header = json.dumps(data.draw(changed(Good(json.loads(good[8 : 8 + length]))))).encode()
    path = place.folder / "e.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + good[8 + length :])
    read(place, path)


NAMES = st.lists(
    st.text(st.sampled_from("0019²٣-_. xé\x1b\n"), max_size=12)
    | st.from_regex(r"x_[0-9]{1,30}|e-[0-9]{5}-of-[0-9]{5}|t_20[0-9]{6}(T[0-9]{6})?", fullmatch=True),
    min_size=1,
    max_size=4,
)


@tries(150)
@given(names=NAMES)
def test_names_of_shards(names, place):
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            Path(folder, f"{name}.npy").write_bytes(saved("npy"))
        opened = place.read(lambda: open_embeddings(folder))
        shown = {name for name in names if name and name[0] != "."}
        assert opened is None or len(opened) == 20 * len(shown)


# --- checkpoints, and values -----------------------------------------------------------------------


def packed(pickled: bytes, rest: dict[str, bytes]) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {**rest, "archive/data.pkl": pickled}.items():
            archive.writestr(name, content)
    return file.getvalue()


def checkpoint() -> tuple[bytes, dict[str, bytes]]:
    """A checkpoint as the authors write them: its pickle, and its other members."""
    layers = {"mlp.0": (4, 6), "mlp.2": (1, 4)}
    state: dict[str, torch.Tensor] = {COUNTER: torch.tensor(7)}
    for name, shape in layers.items():
        state |= {f"{name}.weight": torch.ones(shape), f"{name}.bias": torch.zeros(shape[0])}
    file = BytesIO()
    torch.save({"state_dict": state, "epoch": 3}, file)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return members.pop("archive/data.pkl"), members


OPERATIONS = [
    b"(",
    b"]",
    b"}",
    b")",
    b"t",
    b"\x85",
    b"\x86",
    b"R",
    b"b",
    b"s",
    b"u",
    b"e",
    b"a",
    b"q\0",
    b"h\0",
    b"Q",
]
OPERATIONS += [b"N", b"K\1", b"2", b"0", b"1", b"\x94", b"\x81", b"X\1\0\0\0a", b"ctorch\nFloatStorage\n"]
OPERATIONS += [
    b"cbuiltins\nset\n",
    b"cos\nsystem\n",
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
]


@tries(300)
@given(data=st.data())
def test_checkpoints(data, place):
    pickled, members = checkpoint()
    how = data.draw(st.sampled_from(["pickle", "operations", "file"]))
    if how == "pickle":
        pickled = data.draw(damaged(pickled))
    elif how == "operations":
        pickled = b"\x80\2" + b"".join(data.draw(st.lists(st.sampled_from(OPERATIONS), max_size=40))) + b"."
    content = packed(pickled, members)
    path = place.folder / "c.ckpt"
    path.write_bytes(data.draw(damaged(content)) if how == "file" else content)
    place.read(lambda: convert_official_checkpoint(path, d=6))


def test_unchanged_they_are_read(place):
    """Or what is refused would say nothing."""
    (place.folder / "c.ckpt").write_bytes(packed(*checkpoint()))
    assert place.read(lambda: convert_official_checkpoint(place.folder / "c.ckpt", d=6)) is not None
    for kind in ("npy", "npz", "packed.npz", "safetensors", "parquet"):
        path = place.folder / f"good.{kind}"
        path.write_bytes(saved(kind))
        assert place.read(lambda path=path: open_embeddings(path)[:]).shape == (20, 6)


@tries(150)
@given(
    kind=st.sampled_from(["txt", "csv", "tsv"]),
    content=st.binary(max_size=60)
    | st.lists(TEXTS, max_size=8).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass"))
    | st.lists(TEXTS, max_size=8).map(lambda lines: ",".join(lines).encode("utf-16", "surrogatepass")),
)
def test_files_of_names(kind, content, place, capsys):
    path, out = place.folder / f"n.{kind}", place.folder / "out.csv"
    path.write_bytes(content)
    values = place.read(lambda: read_vector(path, None))
    np.save(place.folder / "t.npy", np.eye(4)[: max(1, min(4, 0 if values is None else len(values)))])
    line = [
        "score",
        f"{place.folder / 't.npy'}",
        f"{place.folder / 't.npy'}",
        "--names",
        str(path),
        "--scorer",
        "mcm",
    ]
    code = place.read(lambda: cli.main([*line, "--logit-scale", "9", "-q", "-o", str(out)]))
    said = capsys.readouterr().err
    assert code in (0, 3)
    assert said.count("\n") == (code == 3)
    assert is_quiet(said.strip())


def test_what_is_watched_for_is_seen(tmp_path, monkeypatch):
    """Or the tests above could not fail."""
    (tmp_path / "in").mkdir()
    watch = Watch(tmp_path / "in")
    with watch():
        (tmp_path / "in" / "a").write_text("a")
    for act in (
        lambda: (tmp_path / "out").write_text("a"),
        lambda: os.rename(tmp_path / "in" / "a", tmp_path / "b"),
        lambda: subprocess.run(["true"], check=True),
    ):
        with pytest.raises(AssertionError), watch():
            act()
    monkeypatch.setattr("support.watched.SECONDS", 0.01)
    with pytest.raises(AssertionError), watch():
        sum(range(3_000_000))
    if Path("/proc/self/clear_refs").exists():
        monkeypatch.setattr("support.watched.BYTES", 10_000_000)
        with pytest.raises(AssertionError), watch():
            bytearray(b"1") * 300_000_000  # far more than may be given back meanwhile
