from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from support.fake_hub import TOKEN, FakeHub, forget_connections
from support.toy_scorer import ToyScorer
from vilu_sdk import MCMScorer
from vilu_sdk.compute import progress
from vilu_sdk.persistence import bundled, hub
from vilu_sdk.scorers import Card, Scorer

# The client of some releases warns of how it calls its own HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

FILES = {"config.json", "model.safetensors", "README.md"}


def push(scale: float, repo: str = "owner/name", **options: object) -> str:
    return MCMScorer(logit_scale=scale).push_to_hub(repo, token=TOKEN, **options)


def load(cache: Path, name: str = "owner/name", **options: object) -> float:
    return MCMScorer.from_pretrained(name, cache_dir=cache, **options).logit_scale


# --- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["./nowhere", "~/no/where", "a/b/c", "/no/where", Path("nowhere"), "a\\b"])
def test_what_looks_like_a_path_is_never_looked_for_on_the_hub(name, monkeypatch):
    monkeypatch.setattr(hub, "_api", None)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        hub.find_folder(name)


@pytest.fixture
def pretrained(tmp_path, monkeypatch):
    """A package with one head and, beside the heads, something else."""
    monkeypatch.setattr(bundled, "PRETRAINED", tmp_path / "package" / "pretrained")
    MCMScorer(logit_scale=1.0).save_pretrained(bundled.PRETRAINED / "small-head")
    MCMScorer(logit_scale=9.0).save_pretrained(tmp_path / "package" / "secret")
    (bundled.PRETRAINED / "empty").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("pretrained")
def test_names_resolve_in_order(server: FakeHub, tmp_path, monkeypatch):
    """Each source in turn is the first that knows the name."""
    push(4.0, "owner/name")
    first = server.branches["owner/name"]["main"]
    push(5.0, "owner/name")
    monkeypatch.setattr(hub, "ALIASES", {"short": ("owner/name", first), "small-head": ("owner/name", first)})
    cache = tmp_path / "cache"
    assert load(cache, "owner/name") == 5.0
    assert load(cache, "short") == 4.0  # the commit it is pinned to, not the newest
    assert load(cache, "short", revision="main") == 5.0
    assert load(cache, "small-head") == 1.0
    MCMScorer(logit_scale=0.5).save_pretrained("small-head")
    MCMScorer(logit_scale=0.6).save_pretrained("owner/name")
    assert load(cache, "small-head") == 0.5
    assert load(cache, "owner/name") == 0.6


@pytest.mark.usefixtures("pretrained")
def test_a_bundled_head_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "_api", None)
    assert list(bundled.bundled_heads()) == ["small-head"]
    assert load(tmp_path, "small-head") == 1.0
    for name in ("../secret", "small-head/../../secret", "empty", "secret", "small-head/", "."):
        with pytest.raises(FileNotFoundError):
            load(tmp_path, name)


@pytest.mark.usefixtures("pretrained")
def test_what_was_tried_is_told(server: FakeHub, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "ALIASES", {"short": ("owner/name", "0" * 40)})
    with pytest.raises(FileNotFoundError) as caught:
        load(tmp_path, "smal-head")
    message = str(caught.value)
    for part in ("'smal-head'", str(tmp_path), "(small-head)", "(short)", "owner/name", "'small-head'?"):
        assert part in message
    for name in ("owner/nothing", "short"):
        with pytest.raises(FileNotFoundError, match=rf"Nothing is called '{name}'.* token if it is private"):
            load(tmp_path, name)


def test_a_folder_comes_before_a_repository_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    MCMScorer(logit_scale=7.0).save_pretrained("owner/name")
    assert load(tmp_path) == 7.0


# --- transfers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [(".safetensors",), ()], ids=["git LFS", "inline"])
def test_push_and_load(large, server: FakeHub, toy, tmp_path):
    server.large = large
    scorer = ToyScorer(bias=3).fit(toy.z_img, toy.z_txt, toy.labels)
    address = scorer.push_to_hub("owner/name", token=TOKEN, card=Card(notes="Of toys."))
    first = server.branches["owner/name"]["main"]
    assert address == f"{server.url}/owner/name/commit/{first}"
    assert server.messages == ["Upload ToyScorer"]
    assert not server.private
    assert server.commits[first].keys() - {".gitattributes"} == FILES
    assert b'ToyScorer.from_pretrained("owner/name")' in server.commits[first]["README.md"]
    uploads = [line for line in server.log if line.startswith("PUT /lfs")]
    assert len(uploads) == len(large)
    assert bool([line for line in server.log if "lfs-verify" in line]) is bool(large)

    loaded = Scorer.from_pretrained("owner/name", cache_dir=tmp_path)
    assert loaded.bias == 3
    assert loaded.card_.notes == "Of toys."
    assert torch.equal(loaded.weight_, scorer.weight_)
    expected = scorer.decision_function(toy.z_img, toy.z_txt)
    np.testing.assert_array_equal(loaded.decision_function(toy.z_img, toy.z_txt), expected)

    scorer.set_params(bias=4).push_to_hub("owner/name", token=TOKEN, commit_message="Second")
    assert server.messages[-1] == "Second"
    assert [line for line in server.log if line.startswith("PUT /lfs")] == uploads  # the tensors are known
    assert ToyScorer.from_pretrained("owner/name", cache_dir=tmp_path).bias == 4
    assert ToyScorer.from_pretrained("owner/name", cache_dir=tmp_path, revision=first).bias == 3


def test_the_cache_serves_without_the_hub(server: FakeHub, tmp_path):
    push(5.0)
    load(tmp_path)
    server.log.clear()
    assert load(tmp_path, local_files_only=True) == 5.0
    assert server.log == []
    load(tmp_path, force_download=True)
    for downloaded in ("GET /owner/name/resolve", "GET /lfs"):
        assert any(line.startswith(downloaded) for line in server.log)


@pytest.mark.parametrize("trouble", ["offline", "unreachable", "500", "503"])
def test_trouble_with_the_hub_is_hidden_by_the_cache_and_told_without_it(
    trouble, server: FakeHub, tmp_path, monkeypatch
):
    push(5.0)
    load(tmp_path / "filled")
    if trouble == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        forget_connections()
    elif trouble == "unreachable":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    else:
        server.fail("GET /api/models", trouble)
    assert load(tmp_path / "filled") == 5.0
    with pytest.raises(ConnectionError, match="could not be asked for 'owner/name', and the cache does not"):
        load(tmp_path / "empty")


def test_revisions_and_private_repositories(server: FakeHub, tmp_path):
    push(1.0, private=True)
    push(2.0, revision="low")
    server.branches["owner/name"]["v1"] = server.branches["owner/name"]["low"]
    push(3.0, revision="low")
    assert server.private == {"owner/name"}
    with pytest.raises(FileNotFoundError, match="pass token if it is private"):
        load(tmp_path, token=False)
    commit = server.branches["owner/name"]["main"]
    for revision, scale in [(None, 1.0), ("low", 3.0), ("v1", 2.0), (commit, 1.0)]:
        assert load(tmp_path, token=TOKEN, revision=revision) == scale


@pytest.mark.skipif(huggingface_hub.__version__ < "1", reason="this release of the client does not try again")
@pytest.mark.parametrize(
    ("request_", "fault", "times"),
    [
        ("GET /lfs/", "cut", 3),
        ("GET /owner/name/resolve", "cut", 1),
        ("HEAD /owner/name/resolve", "503", 2),
        ("HEAD /owner/name/resolve", "429", 2),
    ],
)
def test_a_passing_fault_is_overcome(request_, fault, times, server: FakeHub, tmp_path):
    push(5.0)
    server.fail(request_, fault, times)
    assert load(tmp_path) == 5.0
    assert not any(server.faults.values())


@pytest.mark.parametrize("fault", ["cut", "short", "corrupt", "500"])
def test_a_broken_transfer_leaves_a_cache_that_the_next_one_mends(fault, server: FakeHub, tmp_path):
    push(5.0)
    server.fail("GET /lfs/", fault)
    with pytest.raises((ConnectionError, ValueError)):
        load(tmp_path)
    server.faults.clear()
    assert load(tmp_path, force_download=fault == "corrupt") == 5.0


def test_an_upload_that_breaks_changes_nothing(server: FakeHub, tmp_path):
    push(5.0)
    for request_ in ("PUT /lfs/", "POST /owner/name/lfs-verify", "POST /api/models/owner/name/commit"):
        server.blobs.clear()
        server.fail(request_, "400")
        with pytest.raises((HfHubHTTPError, RuntimeError)):
            push(6.0)
        server.faults.clear()
        assert load(tmp_path) == 5.0


@pytest.mark.parametrize("shown", [True, False])
def test_the_hub_shows_bars_where_the_sdk_does(shown, server: FakeHub, tmp_path, capfd, monkeypatch):
    from huggingface_hub.utils import are_progress_bars_disabled

    push(1.0)
    capfd.readouterr()
    monkeypatch.setattr(progress, "bars_are_shown", lambda: shown)
    load(tmp_path)
    assert bool(capfd.readouterr().err) is shown
    assert not are_progress_bars_disabled()


def test_an_upload_needs_a_name_and_a_token(server: FakeHub):
    for repo in ("mine", "a/b/c"):
        with pytest.raises(ValueError, match="repo_id must be 'owner/name'"):
            MCMScorer().push_to_hub(repo)
    with pytest.raises(ValueError, match="revision must be a branch"):
        MCMScorer().push_to_hub("owner/name", revision="../x")
    with pytest.raises(HfHubHTTPError, match="401"):
        MCMScorer().push_to_hub("owner/name", token="hf_bad")
    assert server.branches == {}
