import copy
import json
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from all_scorers import EXAMPLES, fitted
from fake_hub import TOKEN, FakeHub, running_hub
from huggingface_hub import constants, file_download
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone
from torch import Tensor

from vilu_sdk import DoctorScorer, MCMScorer, hub, set_progress
from vilu_sdk.scorers._base import Scorer
from vilu_sdk.scorers._encoding import decode, encode, storable

CONFIG = {"settings": [1, 2.5, None]}


def tensors(value: float = 1.0) -> dict[str, Tensor]:
    return {"w": torch.full((3, 2), value), "s": torch.tensor(2.0, dtype=torch.float64)}


def edit(folder: Path, **changes: object) -> None:
    file = folder / hub.CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class ToyScorer(Scorer):
    """Has a parameter and a learned attribute of every kind that is stored."""

    def __init__(self, *, bias=None, random_state=None):
        self.bias = bias
        self.random_state = random_state

    def _learn(self, task):
        self.weight_ = torch.arange(4.0)[::2]
        self.array_ = np.asfortranarray(np.arange(6, dtype=">f8").reshape(2, 3))
        self.flags_ = np.array([True, False])
        self.scalar_array_ = np.array(2.5)
        self.mixed_ = [np.float32(1.5), None, "x", True, 2, (1, {"a": torch.ones(2)}), float("-inf")]
        self.dtype_ = torch.bfloat16
        self.device_ = torch.device("cpu")
        self._scratch_ = object()

    def _decision(self, text):
        return lambda z: z @ text.mean(dim=0)


# --- scorers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_a_saved_scorer_scores_bit_equal_and_so_does_a_pickled_one(scorer, toy, tmp_path):
    scorer = fitted(scorer, toy)
    expected = scorer.decision_function(toy.z_img, toy.z_txt)
    scorer.save_pretrained(tmp_path / "scorer")
    assert visible(tmp_path / "scorer") == [hub.CONFIG_FILE, hub.TENSORS_FILE]
    for loaded in (
        type(scorer).from_pretrained(tmp_path / "scorer"),
        Scorer.from_pretrained(str(tmp_path / "scorer")),
        pickle.loads(pickle.dumps(scorer)),
        copy.deepcopy(scorer),
    ):
        assert type(loaded) is type(scorer)
        assert repr(loaded) == repr(scorer)
        np.testing.assert_array_equal(loaded.decision_function(toy.z_img, toy.z_txt), expected)


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_an_unfitted_scorer_is_saved_unfitted(scorer, tmp_path):
    clone(scorer).save_pretrained(tmp_path)
    loaded = type(scorer).from_pretrained(tmp_path)
    assert repr(loaded) == repr(scorer)
    assert loaded.__sklearn_is_fitted__() is not scorer.learns


def test_every_kind_of_value_survives(toy, tmp_path):
    scorer = ToyScorer(bias=np.array([1, 2], dtype=np.int8)).fit(toy.z_img, toy.z_txt, toy.labels)
    scorer.save_pretrained(tmp_path)
    loaded = ToyScorer.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded.bias, scorer.bias, strict=True)
    torch.testing.assert_close(loaded.weight_, torch.tensor([0.0, 2.0]), rtol=0, atol=0)
    np.testing.assert_array_equal(loaded.array_, np.arange(6.0).reshape(2, 3), strict=True)
    np.testing.assert_array_equal(loaded.flags_, scorer.flags_, strict=True)
    np.testing.assert_array_equal(loaded.scalar_array_, scorer.scalar_array_, strict=True)
    *plain, (one, nested), infinite = loaded.mixed_
    assert plain == [1.5, None, "x", True, 2]
    assert one == 1
    assert torch.equal(nested["a"], torch.ones(2))
    assert infinite == float("-inf")
    assert (loaded.dtype_, loaded.device_) == (torch.bfloat16, torch.device("cpu"))
    assert not hasattr(loaded, "_scratch_")


def test_random_streams_are_not_stored_and_seeds_are(tmp_path):
    for stream, expected in [(3, 3), (np.random.RandomState(3), None), (np.random.default_rng(3), None)]:
        ToyScorer(random_state=stream).save_pretrained(tmp_path)
        assert ToyScorer.from_pretrained(tmp_path).random_state == expected


def test_what_cannot_be_stored_is_named_and_leaves_the_old_files(tmp_path):
    ToyScorer(bias=1).save_pretrained(tmp_path)
    for bad in (len, {"__class__": "x"}, np.array(["a"]), object(), {1: 2}):
        with pytest.raises(TypeError, match=r"params\.bias is a .* not stored"):
            ToyScorer(bias=bad).save_pretrained(tmp_path)
    assert ToyScorer.from_pretrained(tmp_path).bias == 1


@storable
class Layer:
    def __init__(self, weight: Tensor, sizes: tuple[int, ...]) -> None:
        self.weight, self.sizes = weight, sizes

    def to_state(self):
        return {"sizes": self.sizes}, {"weight": self.weight}

    @classmethod
    def from_state(cls, config, tensors):
        return cls(tensors["weight"], config["sizes"])


@storable
class Recipe(BaseEstimator):
    def __init__(self, depth=1, inner=None):
        self.depth = depth
        self.inner = inner


def test_objects_and_nested_estimators_are_stored_by_their_own_account(toy, tmp_path):
    scorer = ToyScorer(bias=Recipe(2, inner=Recipe(3))).fit(toy.z_img, toy.z_txt, toy.labels)
    scorer.layers_ = [Layer(torch.eye(2), (2, 2)), Layer(torch.ones(1), (1,))]
    scorer.save_pretrained(tmp_path)
    loaded = ToyScorer.from_pretrained(tmp_path)
    assert repr(loaded) == repr(scorer)
    assert [layer.sizes for layer in loaded.layers_] == [(2, 2), (1,)]
    assert torch.equal(loaded.layers_[0].weight, torch.eye(2))
    assert set(safetensors.torch.load_file(tmp_path / hub.TENSORS_FILE)) > {"layers_.0.weight", "weight_"}


def test_another_class_is_refused_by_both_names(tmp_path):
    DoctorScorer().save_pretrained(tmp_path)
    with pytest.raises(TypeError, match=r"MCMScorer.from_pretrained was given a saved DoctorScorer"):
        MCMScorer.from_pretrained(tmp_path)


def test_a_second_class_of_the_same_name_cannot_pose_as_the_first(tmp_path):
    impostor = type("MCMScorer", (Scorer,), {"__module__": "elsewhere"})
    with pytest.raises(TypeError, match="not stored"):
        impostor().save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="no estimator, no dataclass"):
        storable(type("Plain", (), {}))


# --- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, r"was written by vilu-sdk 0\.\S+ in format 2, .* up to 1; upgrade"),
        ({"format_version": None}, "no format_version"),
        ({"tensors_sha256": "0" * 64}, "damaged or belongs to another save"),
        ({"surprise": 1}, "unknown or missing keys .*surprise"),
        ({"__class__": "os.system"}, "names the class 'os.system'"),
        ({"__class__": "PaperRecipe", "fitted": {}}, "not a scorer|names the class"),
        ({"params": {"logit_scale": 1.0, "scale": 2}}, "MCMScorer does not know: scale"),
        ({"params": {"logit_scale": {"__module__": "os"}}}, "unknown or missing keys beside __module__"),
        ({"params": {"logit_scale": {"__dtype__": "load"}}}, "dtype 'load'"),
        ({"fitted": {"_decision": 1}}, "impossible names: _decision"),
        ({"fitted": {"predict": 1}}, "impossible names: predict"),
        (
            {"fitted": {"w_": {"__tensor__": "w_", "shape": [1], "dtype": "float32"}}},
            "lacks the tensor 'w_'",
        ),
        ({"fitted": {"w_": {"__tensor__": "w_"}}}, "keys beside __tensor__: dtype, shape"),
        ({"params": []}, "params: .*, which should be a dict"),
    ],
)
def test_a_changed_configuration_is_refused(changes, message, tmp_path):
    MCMScorer().fit(np.eye(3), np.eye(3)).save_pretrained(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        MCMScorer.from_pretrained(tmp_path)


def test_missing_and_unexpected_tensors_are_errors(toy, tmp_path):
    scorer = ToyScorer().fit(toy.z_img, toy.z_txt, toy.labels)
    state: dict[str, Tensor] = {}
    config = encode(scorer, "", state)
    hub.write_folder(tmp_path, config, state | {"extra": torch.ones(1)})
    with pytest.raises(ValueError, match="unexpected tensors: extra") as caught:
        ToyScorer.from_pretrained(tmp_path)
    assert str(tmp_path) in caught.value.__notes__[0]
    state.pop("weight_")
    hub.write_folder(tmp_path, config, state)
    with pytest.raises(ValueError, match="lacks the tensor 'weight_'"):
        ToyScorer.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="saved Layer does not fit"):
        decode({"__object__": "Layer", "config": {}, "tensors": {}}, {})


@pytest.mark.parametrize(
    "wrong", [torch.ones(3), torch.ones(1, 2), torch.ones(2).double(), torch.ones(2).int()]
)
def test_a_tensor_of_another_shape_or_dtype_is_refused_by_name(wrong):
    state: dict[str, Tensor] = {}
    entry = encode([torch.rand(2)], "w", state)
    assert entry == [{"__tensor__": "w.0", "shape": [2], "dtype": "float32"}]
    state["w.0"] = wrong
    with pytest.raises(ValueError, match=r"tensor 'w\.0' in .* has shape .* says \[2\] and torch\.float32"):
        decode(entry, state)


SPECIAL = [0.0, -0.0, float("inf"), -float("inf"), 65504.0, 2.0**-24, 0.1, 65536.0, 2.0**-25, float("nan")]


@given(st.lists(st.one_of(st.sampled_from(SPECIAL), st.floats(width=16), st.floats(width=32)), max_size=4))
def test_single_precision_is_halved_where_that_loses_no_bit(values):
    array = np.array(values, dtype=np.float32)
    with np.errstate(over="ignore"):
        survives = array.astype(np.float16).astype(np.float32).tobytes() == array.tobytes()
    for value in (torch.from_numpy(array), array):
        state: dict[str, Tensor] = {}
        entry = encode(value, "w", state)
        assert (state["w"].dtype == torch.float16) is survives
        again = decode(entry, state)
        assert type(again) is type(value)
        assert np.asarray(again).tobytes() == array.tobytes()
        assert np.asarray(again).dtype == np.float32


def test_names_that_would_meet_are_kept_apart():
    state: dict[str, Tensor] = {}
    entry = encode({"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}}, "x", state)
    again = decode(entry, state)
    assert [again["a.b"].item(), again["a"]["b"].item()] == [0.0, 1.0]


def test_damaged_files_are_refused(tmp_path):
    hub.write_folder(tmp_path, CONFIG, tensors())
    data = bytearray((tmp_path / hub.TENSORS_FILE).read_bytes())
    data[-1] ^= 1
    (tmp_path / hub.TENSORS_FILE).write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        hub.read_folder(tmp_path)
    (tmp_path / hub.TENSORS_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors"):
        hub.read_folder(tmp_path)
    (tmp_path / hub.CONFIG_FILE).write_text('{"format_version": 1')
    with pytest.raises(ValueError, match="not valid JSON"):
        hub.read_folder(tmp_path)
    (tmp_path / hub.CONFIG_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        hub.read_folder(tmp_path)


class PowerCut(BaseException):
    """Ends a write as a kill would: no handler of the code under test may catch it usefully."""


@pytest.mark.parametrize("first", [True, False], ids=["first save", "overwrite"])
@pytest.mark.parametrize("cleanup", [True, False], ids=["exception", "kill"])
@pytest.mark.parametrize("step", range(8))
def test_a_crash_at_any_step_leaves_the_old_or_the_new_files_whole(
    step, cleanup, first, tmp_path, monkeypatch
):
    if not first:
        hub.write_folder(tmp_path, CONFIG, tensors(1.0))
    calls = []

    def breaking(original):
        def wrapper(*args, **kwargs):
            calls.append(original.__name__)
            if len(calls) > step:
                raise PowerCut
            return original(*args, **kwargs)

        return wrapper

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", breaking(os.fsync))
        patch.setattr(os, "replace", breaking(os.replace))
        if not cleanup:
            patch.setattr(Path, "unlink", lambda *_, **__: None)
        if step < 7:
            with pytest.raises(PowerCut):
                hub.write_folder(tmp_path, {"new": True}, tensors(2.0))
        else:
            hub.write_folder(tmp_path, {"new": True}, tensors(2.0))
    assert calls == ["fsync", "fsync", "fsync", "replace", "fsync", "replace", "fsync"][: step + 1]
    switched = step > 3
    if first and not switched:
        with pytest.raises(FileNotFoundError, match=r"no config\.json"):
            hub.read_folder(tmp_path)
    else:
        config, state = hub.read_folder(tmp_path)
        assert config == ({"new": True} if switched else CONFIG)
        assert torch.equal(state["w"], tensors(2.0 if switched else 1.0)["w"])
    if cleanup and not switched:
        assert visible(tmp_path) == ([] if first else [hub.CONFIG_FILE, hub.TENSORS_FILE])
    hub.write_folder(tmp_path, CONFIG, tensors(3.0))
    assert torch.equal(hub.read_folder(tmp_path)[1]["w"], tensors(3.0)["w"])


def test_a_reader_meets_a_writer_and_reads_one_save(tmp_path, monkeypatch):
    hub.write_folder(tmp_path, CONFIG, tensors(1.0))
    read = hub._matching_tensors

    def overtaken(*args):
        monkeypatch.setattr(hub, "_matching_tensors", read)
        hub.write_folder(tmp_path, {"new": True}, tensors(2.0))
        return read(*args)

    monkeypatch.setattr(hub, "_matching_tensors", overtaken)
    config, state = hub.read_folder(tmp_path)
    assert config == {"new": True}
    assert torch.equal(state["w"], tensors(2.0)["w"])


def test_a_pending_file_that_moves_while_it_is_read_is_found_under_its_name(tmp_path, monkeypatch):
    hub.write_folder(tmp_path, {"new": True}, tensors(2.0))
    final, pending = tmp_path / hub.TENSORS_FILE, tmp_path / f".{hub.TENSORS_FILE}.{32 * '0'}"
    final.rename(pending)
    read = Path.read_bytes

    def moving(path):
        if path == pending:
            pending.rename(final)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", moving)
    assert torch.equal(hub.read_folder(tmp_path)[1]["w"], tensors(2.0)["w"])


def test_leftovers_of_killed_writes_go_once_they_are_old(tmp_path):
    for name, age in [("old", 2 * hub.LEFTOVER_SECONDS), ("new", 0)]:
        for file in (hub.TENSORS_FILE, hub.CONFIG_FILE):
            path = tmp_path / f".{file}.{name:0>32}"
            path.touch()
            os.utime(path, (time.time() - age,) * 2)
    (tmp_path / ".gitignore").touch()
    os.utime(tmp_path / ".gitignore", (0, 0))
    hub.write_folder(tmp_path, CONFIG, tensors())
    left = [name for name in visible(tmp_path) if name not in (hub.CONFIG_FILE, hub.TENSORS_FILE)]
    assert sorted(name[-3:] for name in left) == ["new", "new", "ore"]


# --- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["./nowhere", "~/no/where", "a/b/c", "/no/where", Path("nowhere"), "a\\b"])
def test_what_looks_like_a_path_is_never_looked_for_on_the_hub(name, monkeypatch):
    monkeypatch.setattr(hub, "_api", None)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        hub.find_folder(name)


def test_names_that_mean_nothing(tmp_path):
    with pytest.raises(ValueError, match="name_or_path is empty"):
        hub.find_folder("")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file"):
        hub.find_folder(tmp_path / "file")
    with pytest.raises(ValueError, match="repo_id must be 'owner/name'"):
        MCMScorer().push_to_hub("mine")
    with pytest.raises(ValueError, match=r"(?i)repo.id"):
        hub.find_folder("not a name")


def test_a_folder_comes_before_a_repository_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    MCMScorer(logit_scale=7.0).save_pretrained("owner/name")
    assert Scorer.from_pretrained("owner/name").logit_scale == 7.0


# --- the Hub ---------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_hub() as running:
        # What setting HF_ENDPOINT before the import of huggingface_hub would do.
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        for module in (constants, file_download):
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        yield running


def test_push_and_load(server: FakeHub, toy, tmp_path):
    scorer = ToyScorer(bias=3).fit(toy.z_img, toy.z_txt, toy.labels)
    address = scorer.push_to_hub("owner/name", token=TOKEN)
    first = server.branches["owner/name"]["main"]
    assert address == f"{server.url}/owner/name/commit/{first}"
    assert server.messages == ["Upload ToyScorer"]
    assert not server.private
    assert len(server.commits[first].keys() - {".gitattributes"}) == 2

    loaded = Scorer.from_pretrained("owner/name", cache_dir=tmp_path)
    assert loaded.bias == 3
    assert torch.equal(loaded.weight_, scorer.weight_)

    ToyScorer(bias=4).push_to_hub("owner/name", token=TOKEN, commit_message="Second")
    assert server.messages[-1] == "Second"
    assert ToyScorer.from_pretrained("owner/name", cache_dir=tmp_path).bias == 4
    assert ToyScorer.from_pretrained("owner/name", cache_dir=tmp_path, revision=first).bias == 3


def test_the_cache_serves_without_the_hub(server: FakeHub, tmp_path):
    MCMScorer(logit_scale=5.0).push_to_hub("owner/name", token=TOKEN)
    MCMScorer.from_pretrained("owner/name", cache_dir=tmp_path)
    server.log.clear()
    again = MCMScorer.from_pretrained("owner/name", cache_dir=tmp_path, local_files_only=True)
    assert again.logit_scale == 5.0
    assert server.log == []
    MCMScorer.from_pretrained("owner/name", cache_dir=tmp_path, force_download=True)
    assert sum(line.startswith("GET /owner/name/resolve") for line in server.log) == 2
    with pytest.raises(
        FileNotFoundError, match=r"cache does not hold 'owner/other', and local_files_only=True"
    ):
        MCMScorer.from_pretrained("owner/other", cache_dir=tmp_path, local_files_only=True)


def test_a_bare_name_is_a_repository_of_this_project(server: FakeHub, tmp_path):
    MCMScorer(logit_scale=5.0).push_to_hub("vilu-sdk/clip-b32-imagenet", token=TOKEN)
    assert MCMScorer.from_pretrained("clip-b32-imagenet", cache_dir=tmp_path).logit_scale == 5.0
    with pytest.raises(
        FileNotFoundError, match=r"'nothing' is neither a folder here nor, as 'vilu-sdk/nothing'"
    ):
        MCMScorer.from_pretrained("nothing", cache_dir=tmp_path)


def test_branches_and_private_repositories(server: FakeHub, tmp_path):
    MCMScorer().push_to_hub("owner/name", token=TOKEN, private=True)
    MCMScorer(logit_scale=2.0).push_to_hub("owner/name", token=TOKEN, revision="low")
    assert server.private == {"owner/name"}
    with pytest.raises(FileNotFoundError, match="pass token if it is private"):
        MCMScorer.from_pretrained("owner/name", cache_dir=tmp_path, token=False)

    def load(revision):
        return MCMScorer.from_pretrained("owner/name", cache_dir=tmp_path, token=TOKEN, revision=revision)

    assert [load(name).logit_scale for name in (None, "low")] == [100.0, 2.0]
    with pytest.raises(FileNotFoundError, match="no revision 'high'"):
        load("high")


@pytest.mark.parametrize("shown", [True, False])
def test_one_switch_silences_the_bars_of_the_hub(shown, server: FakeHub, tmp_path, capfd):
    from huggingface_hub.utils import are_progress_bars_disabled

    MCMScorer().push_to_hub("owner/name", token=TOKEN)
    capfd.readouterr()
    set_progress(shown)
    try:
        MCMScorer.from_pretrained("owner/name", cache_dir=tmp_path)
    finally:
        set_progress(True)
    assert bool(capfd.readouterr().err) is shown
    assert not are_progress_bars_disabled()


def test_what_the_hub_lacks_or_refuses(server: FakeHub, tmp_path):
    from huggingface_hub.errors import HfHubHTTPError

    with pytest.raises(HfHubHTTPError, match="401"):
        MCMScorer().push_to_hub("owner/name", token="hf_bad")
    server.commit("owner/empty", "main", {"README.md": b"nothing here"})
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        MCMScorer.from_pretrained("owner/empty", cache_dir=tmp_path)
