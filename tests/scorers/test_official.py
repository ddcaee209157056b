"""The authors' checkpoints: the same outputs as theirs, and nothing unsafe or unfit gets in."""

import pickle
import zipfile
from contextlib import nullcontext, suppress

import numpy as np
import pytest
import torch

from support.official import FREEZE, GOLDEN, NAMES, D, convert, official_content, saved
from support.paths import SHARED
from vilu_sdk import LVUScorer, ViLUEstimator
from vilu_sdk.evaluation import failure_metrics
from vilu_sdk.inputs.precision import in_float64
from vilu_sdk.scorers.official import convert_official_checkpoint


def confidence(scorer):
    return -scorer.decision_function(GOLDEN["z_img"], GOLDEN["z_txt"])


@pytest.fixture(params=[(torch.float64, 1e-9), (torch.float32, 1e-5)], ids=["float64", "float32"])
def tolerance(request):
    with in_float64() if request.param[0] == torch.float64 else nullcontext():
        yield request.param[1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("branch", "steps", "keep_frozen"),
    [
        ("identity", 0, False),
        ("identity", FREEZE, False),
        ("projected", FREEZE + 1, False),
        ("identity", FREEZE + 1, True),
    ],
)
def test_outputs_are_the_official_ones(tmp_path, tolerance, name, branch, steps, keep_frozen):
    path = saved(tmp_path, official_content(name, steps))
    scorer = convert(path, d=D, keep_frozen=keep_frozen)
    assert type(scorer) is (LVUScorer if name == "visual_only" else ViLUEstimator)
    expected = GOLDEN["forward"][name][f"output_{branch}_branch"]
    np.testing.assert_allclose(confidence(scorer), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_a_converted_scorer_saves_and_loads(tmp_path, name):
    scorer = convert(saved(tmp_path, official_content(name)), d=D)
    scorer.save_pretrained(tmp_path / "head")
    again = type(scorer).from_pretrained(tmp_path / "head")
    np.testing.assert_array_equal(confidence(again), confidence(scorer))
    assert again.get_params(deep=False).keys() == scorer.get_params(deep=False).keys()


def test_only_without_attention_and_with_predicted_text_must_d_be_told(tmp_path):
    for name, other in [("full", 16), ("visual_attention", 16), ("visual_only", 5), ("visual_pred", 5)]:
        path = saved(tmp_path, official_content(name))
        assert convert(path).n_features_in_ == (16 if name == "visual_pred" else D)
        with pytest.raises(
            ValueError, match=rf"model\.ckpt .*width {D if name in ('full', 'visual_attention') else other}"
        ):
            convert(path, d=other)


def test_what_follows_from_the_target(tmp_path):
    path = saved(tmp_path, official_content("visual_only"))
    assert convert(path).is_probability
    assert not convert(path, target="tcp").is_probability


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": "right"}, "target"),
        ({"logit_scale": 0.0}, "logit_scale"),
        ({"logit_scale": "100"}, "logit_scale"),
    ],
)
def test_arguments_are_checked(tmp_path, options, says):
    with pytest.raises((ValueError, TypeError), match=says):
        convert(saved(tmp_path, official_content()), **options)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numbers_of_numpy_1_and_2_are_read(tmp_path, module):
    path = saved(tmp_path, official_content())
    rewritten = tmp_path / "other.ckpt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(rewritten, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                spelled = np.float64(0).__reduce__()[0].__module__.encode()
                assert spelled in content
                content = content.replace(b"c" + spelled + b"\n", b"c" + module.encode() + b"\n")
            new.writestr(name, content)
    np.testing.assert_array_equal(confidence(convert(rewritten)), confidence(convert(path)))


# --- what must not get in ------------------------------------------------------------------------


class Opens:
    """Writes a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


class Unknown:
    """Harmless, but nothing a checkpoint holds."""


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_in_a_pickle_is_run(tmp_path, protocol):
    mark = tmp_path / "was run"
    content = official_content() | {"args": Opens(mark)}
    path = tmp_path / "model.ckpt"
    torch.save(content, path, pickle_protocol=protocol)
    with pytest.raises(ValueError, match=r"model\.ckpt"):
        convert(path)
    assert not mark.exists()
    with pytest.warns(ResourceWarning):  # the same file does run under an ordinary load
        torch.load(path, weights_only=False)
    assert mark.exists()


def test_a_foreign_class_is_named(tmp_path):
    path = saved(tmp_path, official_content() | {"args": Unknown()})
    with pytest.raises(ValueError, match=r"model\.ckpt names .*Unknown in its pickle.*nothing in it was run"):
        convert(path)


def test_the_allowance_ends_with_the_call(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    convert(saved(tmp_path, official_content()))
    assert set(torch.serialization.get_safe_globals()) == before


def without(key):
    content = official_content()
    del content["state_dict"][key]
    return content


def changed(key, value, name="full"):
    content = official_content(name)
    content["state_dict"][key] = value
    return content


def nan_weights():
    weights = official_content()["state_dict"]["mlp.2.weight"]
    weights[0, 0] = float("nan")
    return changed("mlp.2.weight", weights)


UNFIT = {
    "no state_dict": (lambda: {"weights": {}}, "has no state_dict.*holds: weights"),
    "a list": (lambda: [torch.ones(2)], "has no state_dict.*list"),
    "a tensor": (lambda: torch.ones(2), "has no state_dict.*Tensor"),
    "an empty state_dict": (lambda: {"state_dict": {}}, "lacks iteration_count, mlp.0.bias, mlp.0.weight"),
    "no counter": (lambda: without("iteration_count"), "lacks iteration_count"),
    "no bias": (lambda: without("mlp.4.bias"), r"lacks mlp\.4\.bias"),
    "no first layer": (lambda: without("mlp.0.weight"), r"lacks mlp\.0\.weight"),
    "no layer between": (lambda: without("mlp.2.weight"), r"lacks mlp\.2\.weight"),
    "one projection": (lambda: without("in_proj_t.weight"), r"lacks in_proj_t\.weight"),
    "extra key": (lambda: changed("norm.weight", torch.ones(8)), r"unknown keys.*norm\.weight"),
    "extra layer": (lambda: changed("mlp.8.bias", torch.ones(1)), r"unknown keys.*mlp\.8\.bias"),
    "key of a wrapped module": (
        lambda: {"state_dict": {f"module.{k}": v for k, v in official_content()["state_dict"].items()}},
        "lacks iteration_count",
    ),
    "wrong hidden width": (
        lambda: changed("mlp.2.weight", torch.ones(8, 15)), r"\(8, 15\).*mlp\.2\.weight.*\(8, 16\)"
    ),
    "two outputs": (lambda: changed("mlp.6.bias", torch.ones(2)), r"mlp\.6\.weight|mlp\.6\.bias"),
    "vector for a matrix": (lambda: changed("mlp.0.weight", torch.ones(16)), r"mlp\.0\.weight.*matrix"),
    "oblong projection": (lambda: changed("in_proj_v.weight", torch.ones(8, 7)), r"\(8, 7\).*in_proj_v"),
    "empty projection": (lambda: changed("in_proj_v.weight", torch.ones(0, 0)), r"in_proj_v\.weight"),
    "unequal projections": (lambda: changed("in_proj_t.weight", torch.eye(9)), r"in_proj_t\.weight"),
    "sum of image and attention": (
        lambda: changed("in_proj_v.weight", torch.eye(8), "visual_only")
        | {"state_dict": official_content("visual_only")["state_dict"] | {key: torch.eye(8) for key in
           ("in_proj_v.weight", "in_proj_t.weight")}},
        "adds image and attention",
    ),
    "width of no component set": (lambda: changed("mlp.0.weight", torch.ones(16, 20)), r"20 inputs.*16 or"),
    "NaN": (nan_weights, r"NaN or infinite weights at state_dict\['mlp\.2\.weight'\]"),
    "integers": (lambda: changed("mlp.6.bias", torch.ones(1, dtype=torch.int64)), r"int64.*mlp\.6\.bias"),
    "complex": (lambda: changed("mlp.6.bias", torch.ones(1) * 1j), r"complex64.*mlp\.6\.bias"),
    "no tensor": (lambda: changed("mlp.6.bias", [1.0]), r"mlp\.6\.bias"),
    "sparse": (lambda: changed("in_proj_v.weight", torch.eye(8).to_sparse()), r"in_proj_v\.weight"),
    "expanded": (lambda: changed("mlp.0.weight", torch.ones(1).expand(16, 24)), r"mlp\.0\.weight"),
    "without data": (lambda: changed("mlp.0.weight", torch.ones(16, 24, device="meta")), r"mlp\.0\.weight"),
    "fractional counter": (lambda: changed("iteration_count", torch.tensor(1.5)), "iteration_count"),
    "counters": (lambda: changed("iteration_count", torch.tensor([1, 2])), "iteration_count"),
    "key that is no string": (lambda: changed(3, torch.ones(1)), "3"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNFIT)
def test_unfit_checkpoints_are_refused_by_file_and_key(tmp_path, case):
    build, says = UNFIT[case]
    path = saved(tmp_path, build())
    with pytest.raises(ValueError, match=rf"model\.ckpt (?s:.)*({says})"):
        convert(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = saved(tmp_path, official_content())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"model\.ckpt is not what torch\.save writes, or was cut off"):
        convert(path)


def test_a_flipped_byte_in_the_pickle_is_refused_or_harmless(tmp_path):
    path = saved(tmp_path, official_content())
    content, expected = bytearray(path.read_bytes()), confidence(convert(path))
    start = content.index(b"state_dict")
    for position in range(start, start + 400, 7):
        broken = bytearray(content)
        broken[position] ^= 0x10
        path.write_bytes(broken)
        with suppress(ValueError):  # and no other error
            np.testing.assert_array_equal(confidence(convert(path)), expected)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "model.ckpt"
    path.write_bytes(pickle.dumps({"state_dict": 1}))
    with pytest.raises(ValueError, match=r"is not what torch\.save writes"):
        convert(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no checkpoint")
    with pytest.raises(ValueError, match=r"model\.ckpt is damaged or is not what torch\.save writes"):
        convert(path)
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "absent.ckpt")


# --- the published files -------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="no published checkpoints beside the project")
@pytest.mark.parametrize(
    ("file", "embeddings", "auc", "fpr95"),
    [("lvu_dtd.ckpt", "dtd", 85.06, 63.70), ("lvu_cars.ckpt", "stanford_cars", 75.22, 78.09)],
)
def test_published_checkpoints_reach_their_figures(tmp_path, file, embeddings, auc, fpr95):
    data = np.load(SHARED / "embeddings" / f"{embeddings}.npz")
    scorer = convert_official_checkpoint(SHARED / "official_checkpoints" / file)
    assert isinstance(scorer, LVUScorer)
    z_img, z_txt = data["z_img_test"], data["z_txt"]
    failure = scorer.predict(z_img, z_txt) != data["labels_test"]
    metrics = failure_metrics(scorer.decision_function(z_img, z_txt), failure)
    assert 100 * metrics["auc"] == pytest.approx(auc, abs=0.02)
    assert 100 * metrics["fpr95"] == pytest.approx(fpr95, abs=0.02)
    # What the networks put out is the chance to be right: see `target`.
    accuracy = 1 - failure.mean()
    assert 1 - scorer.predict_uncertainty(z_img, z_txt).mean() == pytest.approx(accuracy, abs=0.05)
