"""What `from_pretrained` and `push_to_hub` say to bad files, names, versions and answers of the Hub.

Every case is a row of the table in docs/hub.md: what was given, the error, and what it says.
"""

import json
import os
import pickle
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
from huggingface_hub import constants

from support.fake_hub import TOKEN, FakeHub, forget_connections
from support.paths import DOCS
from vilu_sdk import MCMScorer, RelUScorer
from vilu_sdk.persistence import storage
from vilu_sdk.scorers import Scorer

# The client of some releases warns of how it calls its own HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

DOCS = DOCS / "hub.md"
CONFIG, TENSORS = storage.CONFIG_FILE, storage.TENSORS_FILE
TENSOR = "distance_"


class Place(NamedTuple):
    """Where a case happens: a good head in `folder` and, as owner/name, on the Hub; an empty cache."""

    folder: Path
    cache: Path
    hub: FakeHub
    patch: pytest.MonkeyPatch

    def load(self, name: Any = "owner/name", **options: Any) -> Scorer:
        return Scorer.from_pretrained(name, cache_dir=self.cache, **options)


class Case(NamedTuple):
    """What is given, what it gets, a part of what that says, and how it comes to be."""

    given: str
    error: type[Exception]
    says: str
    act: Callable[[Place], Any]


def file(name: str, change: Callable[[bytes], bytes] | None) -> Callable[[Place], Any]:
    """Change the bytes of a file, or remove it."""

    def act(place: Place) -> Any:
        path = place.folder / name
        path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))
        return place.load(place.folder)

    return act


def config(**changes: Any) -> Callable[[Place], Any]:
    """Change entries of the configuration."""
    return file(CONFIG, lambda text: json.dumps(json.loads(text) | changes).encode())


def data(change: Callable[[dict[str, torch.Tensor]], bytes]) -> Callable[[Place], Any]:
    """Change the tensors as somebody does who corrects the checksum too."""

    def act(place: Place) -> Any:
        content = change(safetensors.torch.load_file(place.folder / TENSORS))
        (place.folder / TENSORS).write_bytes(content)
        return config(tensors_sha256=sha256(content).hexdigest())(place)

    return act


def tensors(**changes: torch.Tensor) -> Callable[[Place], Any]:
    """Replace or add tensors."""
    return data(lambda old: safetensors.torch.save({**old, **changes}))


def name(text: Any, **options: Any) -> Callable[[Place], Any]:
    return lambda place: place.load(text, **options)


def answer(request: str, fault: str) -> Callable[[Place], Any]:
    """Spoil answers of the Hub."""

    def act(place: Place) -> Any:
        place.hub.fail(request, fault)
        return place.load()

    return act


def fifo(place: Place) -> Any:
    (place.folder / CONFIG).unlink()
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with a name")
    os.mkfifo(place.folder / CONFIG)
    return place.load(place.folder)


def other_save(place: Place) -> Any:
    make(3).save_pretrained(place.folder.parent / "other")
    (place.folder.parent / "other" / TENSORS).replace(place.folder / TENSORS)
    return place.load(place.folder)


def link(place: Place) -> Any:
    (place.folder / TENSORS).unlink()
    (place.folder / TENSORS).symlink_to("/etc/hostname" if Path("/etc/hostname").exists() else __file__)
    return place.load(place.folder)


def private(place: Place) -> Any:
    place.hub.private.add("owner/name")
    return place.load(token=False)


def gated(place: Place) -> Any:
    place.hub.gated.add("owner/name")
    return place.load(token=False)


def empty(place: Place) -> Any:
    place.hub.commit("owner/empty", "main", {"README.md": b"nothing here"})
    return place.load("owner/empty")


def poisoned(place: Place) -> Any:
    """A repository whose tensors are a pickle, with the right checksum."""
    evil = pickle.dumps({"w": 1})
    text = json.loads((place.folder / CONFIG).read_text()) | {"tensors_sha256": sha256(evil).hexdigest()}
    place.hub.commit("owner/evil", "main", {CONFIG: json.dumps(text).encode(), TENSORS: evil})
    return place.load("owner/evil")


def setting(constant: str, value: Any) -> Callable[[Place], Any]:
    def act(place: Place) -> Any:
        place.patch.setattr(constants, constant, value)
        forget_connections()
        return place.load()

    return act


def make(seed: int) -> RelUScorer:
    rng = np.random.default_rng(seed)
    z_txt = rng.normal(size=(3, 8))
    return RelUScorer().fit(z_txt[np.arange(30) % 3] + 2 * rng.normal(size=(30, 8)), z_txt, np.arange(30) % 3)


DAMAGED = "is damaged or belongs to another save"
NOTHING = "Nothing is called"
NO_FOLDER = "There is no folder"
ABSENT = "could not be asked for 'owner/name', and the cache does not hold it"

FILES = [
    Case("a folder without config.json", FileNotFoundError, "has no config.json", file(CONFIG, None)),
    Case("without model.safetensors", FileNotFoundError, "has no model.safetensors", file(TENSORS, None)),
    Case("a pipe for config.json", FileNotFoundError, "has no config.json", fifo),
    Case("config.json cut off", ValueError, "is not valid JSON", file(CONFIG, lambda text: text[:200])),
    Case(
        "config.json nested 100,000 deep",
        ValueError,
        "is not valid JSON",
        file(CONFIG, lambda _: b"[" * 10**5),
    ),
    Case(
        "config.json of another library", ValueError, "has no format_version", file(CONFIG, lambda _: b"{}")
    ),
    Case("model.safetensors cut off", ValueError, DAMAGED, file(TENSORS, lambda old: old[:-4])),
    Case(
        "one bit of it changed",
        ValueError,
        DAMAGED,
        file(TENSORS, lambda old: old[:-1] + bytes([old[-1] ^ 1])),
    ),
    Case("that of another save", ValueError, DAMAGED, other_save),
    Case("a link to a file outside", ValueError, DAMAGED, link),
    Case(
        "a pickle, with its checksum",
        ValueError,
        "is not a safetensors file",
        data(lambda _: pickle.dumps(1)),
    ),
    Case(
        "a tensor missing, with the checksum",
        ValueError,
        "lacks the tensor 'distance_'",
        data(lambda old: safetensors.torch.save({k: v for k, v in old.items() if k != TENSOR})),
    ),
    Case("a tensor too many", ValueError, "unexpected tensors: extra", tensors(extra=torch.ones(1))),
    Case("a tensor of another shape", ValueError, "has shape [3, 4]", tensors(distance_=torch.ones(3, 4))),
    Case(
        "a tensor of another dtype",
        ValueError,
        "and torch.int64, but",
        tensors(distance_=torch.ones(3, 3).long()),
    ),
    Case("the class `os.system`", ValueError, "names the class 'os.system'", config(__class__="os.system")),
    Case("a class that is no scorer", ValueError, "which is not a scorer", config(__class__="Card")),
    Case(
        "a head of another class",
        TypeError,
        "call RelUScorer.from_pretrained instead",
        lambda place: MCMScorer.from_pretrained(place.folder),
    ),
    Case("an unknown parameter", ValueError, "does not know: scale", config(params={"scale": 2})),
    Case("a list for the parameters", ValueError, "which should be a dict", config(params=[])),
    Case(
        "a learned attribute `predict`",
        ValueError,
        "impossible names: predict",
        config(fitted={"predict": 1}),
    ),
    Case(
        "another width for the backbone",
        ValueError,
        "says of the backbone",
        config(backbone={"dimension": 9}),
    ),
]
VERSIONS = [
    Case("format 2", ValueError, "reads formats up to 1; install vilu-sdk", config(format_version=2)),
    Case("format 0", ValueError, "has the format_version 0, and there is no", config(format_version=0)),
    Case('format "1"', ValueError, "has the format_version '1', and there is no", config(format_version="1")),
    Case("format true", ValueError, "has the format_version True, and there is", config(format_version=True)),
]
NAMES = [
    Case("an empty name", ValueError, "name_or_path is empty", name("")),
    Case("a number", TypeError, "not int", name(3)),
    Case("a name that is not known", FileNotFoundError, NOTHING, name("clip-b32-imagnet")),
    Case("`../nowhere`", FileNotFoundError, NO_FOLDER, name("../nowhere")),
    Case("`clip-b32-imagenet/../x`", FileNotFoundError, NO_FOLDER, name("clip-b32-imagenet/../x")),
    Case("`owner/..`", FileNotFoundError, "which is not a possible name", name("owner/..")),
    Case("`owner/na me`", FileNotFoundError, "which is not a possible name", name("owner/na me")),
    Case(
        "an address, `https://…`",
        FileNotFoundError,
        "there is neither a file nor a folder",
        name("https://example.org/owner/name"),
    ),
    Case(
        "the path of a file", NotADirectoryError, "is a file", lambda place: place.load(place.folder / CONFIG)
    ),
    Case(
        "revision `../../x`", ValueError, "revision must be a branch", name("owner/name", revision="../../x")
    ),
    Case("device `cuda`", ValueError, "device must be 'auto' or 'cpu'", name("owner/name", device="cuda")),
    Case(
        "an upload to `name`",
        ValueError,
        "repo_id must be 'owner/name'",
        lambda place: make(0).push_to_hub("name"),
    ),
]
HUB = [
    Case(
        "a repository that is not there", FileNotFoundError, "the Hub shows you none", name("owner/nothing")
    ),
    Case("a private one, no token", FileNotFoundError, "pass token if it is private", private),
    Case("a gated one, no token", PermissionError, "is gated; ask for access", gated),
    Case(
        "403 for another reason", PermissionError, "does not let you read", answer("GET /api/models", "403")
    ),
    Case("no such revision", FileNotFoundError, "has no revision 'v9'", name("owner/name", revision="v9")),
    Case("a repository without a head", FileNotFoundError, "has no config.json", empty),
    Case("one with a pickle in disguise", ValueError, "is not a safetensors file", poisoned),
    Case("500", ConnectionError, ABSENT, answer("GET /api/models", "500")),
    Case("503", ConnectionError, ABSENT, answer("GET /api/models", "503")),
    Case("429, again and again", ConnectionError, ABSENT, answer("HEAD /owner/name/resolve", "429")),
    Case("a web page for JSON", ConnectionError, "from the Hub failed", answer("GET /api/models", "garbage")),
    Case(
        "a transfer that always breaks off", ConnectionError, "from the Hub failed", answer("GET /lfs", "cut")
    ),
    Case(
        "a file shorter than announced", ConnectionError, "from the Hub failed", answer("GET /lfs", "short")
    ),
    Case("a file changed on its way", ValueError, DAMAGED, answer("GET /lfs", "corrupt")),
    Case("no Hub in reach, empty cache", ConnectionError, ABSENT, setting("ENDPOINT", "http://127.0.0.1:1")),
    Case("`HF_HUB_OFFLINE=1`, empty cache", ConnectionError, ABSENT, setting("HF_HUB_OFFLINE", True)),
    Case(
        "`local_files_only`, empty cache",
        FileNotFoundError,
        "local_files_only=True forbids",
        name("owner/name", local_files_only=True),
    ),
]
CASES = FILES + VERSIONS + NAMES + HUB


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.given)
def test_what_is_bad_gets_its_error_and_the_docs_say_so(case, server, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    make(0).save_pretrained(tmp_path / "head")
    make(0).push_to_hub("owner/name", token=TOKEN)
    place = Place(tmp_path / "head", tmp_path / "cache", server, monkeypatch)
    with pytest.raises(case.error) as caught:
        case.act(place)
    assert type(caught.value) is case.error
    assert case.says in str(caught.value)
    assert row(case) in DOCS.read_text().splitlines()


def test_the_docs_list_nothing_else():
    table = DOCS.read_text().split("| given | error | says |")[1].split("\n\n")[0]
    assert len(table.strip().splitlines()) - 1 == len(CASES) == len({case.given for case in CASES})


def row(case: Case) -> str:
    """The line of docs/hub.md."""
    return f"| {case.given} | `{case.error.__name__}` | … {case.says} … |"
