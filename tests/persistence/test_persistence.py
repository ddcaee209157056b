import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone
from torch import Tensor

from support.all_scorers import EXAMPLES, fitted
from support.toy_scorer import ToyScorer
from vilu_sdk import DoctorScorer, MCMScorer
from vilu_sdk.persistence import storage
from vilu_sdk.persistence.encoding import decode, encode, storable
from vilu_sdk.scorers import Scorer
from vilu_sdk.scorers.base import unknown


def edit(folder: Path, **changes: object) -> None:
    file = folder / storage.CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_pickle_may_name_the_former_module_of_unknown_images():
    made = pickle.dumps(unknown.Background(0.5), protocol=0)
    former = made.replace(b"scorers.base.unknown", b"scorers.base.background")
    assert former != made
    assert pickle.loads(former) == unknown.Background(0.5)


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_a_saved_scorer_scores_bit_equal_and_so_does_a_pickled_one(scorer, toy, tmp_path):
    scorer = fitted(scorer, toy)
    expected = scorer.decision_function(toy.z_img, toy.z_txt)
    scorer.save_pretrained(tmp_path / "scorer")
    files = {storage.CONFIG_FILE, storage.TENSORS_FILE, storage.README_FILE}
    assert {path.name for path in (tmp_path / "scorer").iterdir()} == files
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
    assert set(safetensors.torch.load_file(tmp_path / storage.TENSORS_FILE)) > {"layers_.0.weight", "weight_"}


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, r"in format 2, .* up to 1; install vilu-sdk 0\.\S+ or newer"),
        ({"format_version": 2, "vilu_sdk_version": "?"}, r"install vilu-sdk in a newer version"),
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
    storage.write_folder(tmp_path, config, state | {"extra": torch.ones(1)})
    with pytest.raises(ValueError, match="unexpected tensors: extra") as caught:
        ToyScorer.from_pretrained(tmp_path)
    assert str(tmp_path) in caught.value.__notes__[0]
    state.pop("weight_")
    storage.write_folder(tmp_path, config, state)
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
        if not np.isnan(array).any():  # torch and numpy round the payload of a NaN differently
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
