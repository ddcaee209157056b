"""The exported graph says what the package says, under a runtime that knows nothing of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from support.all_scorers import EXAMPLES, fitted
from vilu_sdk import (
    EntropyScorer,
    MCMScorer,
    PaperRecipe,
    SelectivePredictor,
    SetPredictor,
    TemperatureScaledMCMScorer,
    ViLUEstimator,
)
from vilu_sdk.export import export_onnx
from vilu_sdk.export.models import KNOWN
from vilu_sdk.inputs import precision
from vilu_sdk.persistence.encoding import decode, encode

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def exported(scorer: Any, z_txt_set: Any, folder: Path) -> Any:
    export_onnx(scorer, z_txt_set, folder / "scorer.onnx")
    return onnxruntime.InferenceSession(folder / "scorer.onnx")


def run(session: Any, z_img: Any) -> dict[str, Any]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"z_img": np.asarray(z_img, np.float32)}), strict=True))


@contextmanager
def in_float64(scorer: Any) -> Iterator[Any]:
    """Let a scorer compute in float64, so that its own rounding is out of the comparison."""
    tensors: dict[str, torch.Tensor] = {}
    encoded = json.loads(json.dumps(encode(scorer, "", tensors)).replace("float32", "float64"))
    wide = {name: x.double() if x.is_floating_point() else x for name, x in tensors.items()}
    with precision.in_float64():
        yield decode(encoded, wide)


def check(scorer: Any, z_img: Any, z_txt_set: Any, folder: Path, rounding: float = 1e-4) -> dict[str, Any]:
    """Compare all outputs with the verbs, to within their rounding, and nearly exactly in float64."""
    session = exported(scorer, z_txt_set, folder)
    found = run(session, z_img)
    compare(scorer, z_img, z_txt_set, found, rounding)
    with in_float64(scorer) as exact:
        compare(exact, z_img, z_txt_set, found, 5e-6)
    one = run(session, z_img[:1])  # any number of rows
    np.testing.assert_allclose(one["uncertainty"], found["uncertainty"][:1], rtol=0, atol=1e-12)
    scaled = run(session, 37 * z_img[:5])  # of any norm
    np.testing.assert_allclose(scaled["uncertainty"], found["uncertainty"][:5], rtol=0, atol=1e-6)
    return found


def compare(scorer: Any, z_img: Any, z_txt_set: Any, found: dict[str, Any], rounding: float) -> None:
    judged = scorer.judge(z_img, z_txt_set)
    np.testing.assert_array_equal(found["prediction"], scorer.predict(z_img, z_txt_set))
    np.testing.assert_array_equal(found["answer"], judged.answer)
    uncertainty = scorer.predict_uncertainty(z_img, z_txt_set)
    np.testing.assert_allclose(found["uncertainty"], uncertainty, rtol=0, atol=rounding)
    np.testing.assert_allclose(found["answer_uncertainty"], judged.answer_uncertainty, rtol=0, atol=rounding)


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_each_scorer_is_exported_as_it_is_or_refused(
    scorer: Any, toy: SimpleNamespace, tmp_path: Path
) -> None:
    scorer = fitted(scorer, toy)
    if isinstance(scorer, KNOWN):
        check(scorer, toy.z_img[:50], toy.z_txt, tmp_path)
        check(scorer, toy.z_img[:50], toy.z_txt[1:4], tmp_path)
    else:
        with pytest.raises(TypeError, match="has no graph; MCMScorer"):
            export_onnx(scorer, toy.z_txt, tmp_path / "no.onnx")
        assert not list(tmp_path.iterdir())


def test_all_that_the_default_recipe_learns_is_in_the_graph(beside: SimpleNamespace, tmp_path: Path) -> None:
    z_img, z_txt, labels = beside.z_img, beside.z_txt, beside.labels
    new = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    # Rings, which no line separates, so that the kernel earns a weight.
    ring = z_img * np.where(labels % 2, 1, -1)[:, None] * np.where(np.arange(len(labels)) % 2, 1, -1)[:, None]
    captioned = np.random.default_rng(2).normal(size=(200, 16)).astype(np.float32)
    unknown = np.where(np.arange(len(labels)) % 5 == 0, -1, labels)
    heads = {
        "labels": ViLUEstimator(random_state=0).fit(z_img, z_txt, labels),
        "posterior": ViLUEstimator(predicts="posterior", random_state=0).fit(z_img, z_txt, labels),
        "kernel": ViLUEstimator(random_state=0).fit(ring, z_txt, labels),
        "unknown": ViLUEstimator(unknown_rate=0.2, random_state=0).fit(z_img, z_txt, unknown),
        "correct": ViLUEstimator(random_state=0).fit(
            z_img, z_txt, correct=MCMScorer().predict(z_img, z_txt) == labels
        ),
        "captions": ViLUEstimator(random_state=0).fit(z_img[:200], z_img[:200] + captioned),
        "adapted": ViLUEstimator(random_state=0).adapt(z_img, z_txt),
    }
    sources = set()
    for name, head in heads.items():
        rounding = 1e-3 if name == "kernel" else 1e-4  # of the package, in products of large weights
        found = check(head, z_img[:100], z_txt, tmp_path, rounding)
        check(head, z_img[:100], new, tmp_path, rounding)
        check(head, z_img[:100], np.concatenate([z_txt, new]), tmp_path, rounding)
        sources |= set(head.model_.parts(_text(z_txt)))
        if name == "posterior":
            np.testing.assert_array_equal(found["prediction"], found["answer"])
            assert (found["answer"] != MCMScorer().predict(z_img[:100], z_txt)).any()
    assert {"zero-shot", "class Gaussians", "kernel"} <= sources
    assert heads["unknown"].model_.none_known is not None


def _text(z_txt: Any) -> Any:
    from vilu_sdk.inputs.candidates import Candidates

    return Candidates(z_txt).text


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"attention": False},
        {"predicted": False},
        {"mcm_input": True, "calibrated": True},
        {"tied_values": False, "attention_scale": "sqrt_d"},
        {"freeze_steps": 10_000},
        {"hidden": (8, 4, 4)},
    ],
)
def test_the_published_head_in_all_its_forms(
    toy: SimpleNamespace, tmp_path: Path, settings: dict[str, Any]
) -> None:
    recipe = PaperRecipe(**({"epochs": 2, "hidden": (8,)} | settings))
    scorer = ViLUEstimator(recipe, random_state=0).fit(toy.z_img, toy.z_txt, toy.labels)
    check(scorer, toy.z_img[:50], toy.z_txt, tmp_path)


@pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.BackboneWarning")
def test_the_bundled_head(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(30, 512)).astype(np.float32)
    z_img = (z_txt[rng.integers(30, size=40)] + 3 * rng.normal(size=(40, 512))).astype(np.float32)
    check(ViLUEstimator.from_pretrained("clip-b32-imagenet"), z_img, z_txt, tmp_path)


def test_thresholds_come_with_the_graph(toy: SimpleNamespace, tmp_path: Path) -> None:
    names = {f"class {k}": row for k, row in enumerate(toy.z_txt)}
    scorer = ViLUEstimator(random_state=0).fit(toy.z_img[:200], toy.z_txt, toy.labels[:200])
    for how in ({}, {"per_class": True}):
        threshold = SelectivePredictor(scorer, 0.1, **how)
        threshold.fit(toy.z_img[200:], names, toy.labels[200:])
        session = exported(threshold, names, tmp_path)
        found = run(session, toy.z_img)
        said = threshold.accept(toy.z_img, names)
        assert 0 < said.sum() < len(said)
        # Rows of the calibration set lie on the threshold itself, where rounding decides.
        assert (found["accepted"] != said).sum() <= len(threshold.report_.groups or [1])
        metadata = {
            name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()
        }
        assert metadata["names"] == list(names)
        assert metadata["scorer"] == "ViLUEstimator"
        limits = [part.threshold for part in threshold.report_.groups] or threshold.report_.threshold
        assert metadata["threshold"] == np.nan_to_num(limits).tolist()


def test_equal_candidates_are_the_first_of_them(toy: SimpleNamespace, tmp_path: Path) -> None:
    twice = np.concatenate([toy.z_txt, toy.z_txt])
    found = run(exported(MCMScorer(), twice, tmp_path), toy.z_img[:100])
    np.testing.assert_array_equal(found["prediction"], MCMScorer().predict(toy.z_img[:100], twice))


def test_certain_predictions_do_not_saturate(tmp_path: Path) -> None:
    z_txt = np.eye(3, dtype=np.float32)
    z_img = np.array([[1.0, 0.5, 0.1], [1.0, 0.4, 0.1]], np.float32)
    found = run(exported(MCMScorer(), z_txt, tmp_path), z_img)["uncertainty"]
    np.testing.assert_allclose(found, MCMScorer().predict_uncertainty(z_img, z_txt), rtol=1e-4)
    assert 0 < found[1] < found[0] < 1e-15


def test_what_is_no_number_stays_none(toy: SimpleNamespace, tmp_path: Path) -> None:
    found = run(exported(MCMScorer(), toy.z_txt, tmp_path), [[0.0] * 16, [np.nan] * 16, [1.0] * 16])
    assert np.isnan(found["uncertainty"]).tolist() == [True, True, False]


def test_what_has_no_graph_is_refused_and_nothing_is_written(toy: SimpleNamespace, tmp_path: Path) -> None:
    data = (toy.z_img, toy.z_txt, toy.labels)
    path = tmp_path / "no.onnx"
    with pytest.raises(NotFittedError):
        export_onnx(ViLUEstimator(), toy.z_txt, path)
    with pytest.raises(NotFittedError):
        export_onnx(TemperatureScaledMCMScorer(), toy.z_txt, path)
    with pytest.raises(NotFittedError):
        export_onnx(SelectivePredictor(MCMScorer(), 0.1), toy.z_txt, path)
    with pytest.raises(TypeError, match="SetPredictor has no graph"):
        export_onnx(SetPredictor(MCMScorer()).fit(*data), toy.z_txt, path)
    with pytest.raises(TypeError, match="EntropyScorer has no graph"):
        export_onnx(SelectivePredictor(EntropyScorer(), 0.4).fit(*data), toy.z_txt, path)
    with pytest.raises(ValueError, match="width 15, expected 16"):
        export_onnx(ViLUEstimator().fit(*data), toy.z_txt[:, :15], path)
    with pytest.raises(ValueError, match="at least 2"):
        export_onnx(MCMScorer(), toy.z_txt[:1], path)
    groups = np.arange(len(toy.labels)) % 2
    with pytest.raises(ValueError, match="thresholds of groups"):
        export_onnx(SelectivePredictor(MCMScorer(), 0.3).fit(*data, groups=groups), toy.z_txt, path)
    with pytest.raises(OSError, match="nowhere"):
        export_onnx(MCMScorer(), toy.z_txt, tmp_path / "nowhere" / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_the_command_exports(vilu: Any, digits_folder: Path, tmp_path: Path) -> None:
    done = vilu(f"export my-scorer texts.npy --names names.txt -o {tmp_path}/head.onnx")
    assert done.code == 0, done.err
    session = onnxruntime.InferenceSession(tmp_path / "head.onnx")
    z_img = np.load("new-images.npy")
    found = run(session, z_img)
    said = ViLUEstimator.from_pretrained("my-scorer").predict_uncertainty(z_img, np.load("texts.npy"))
    np.testing.assert_allclose(found["uncertainty"], said, rtol=0, atol=0.01)  # a kernel of large weights
    names = json.loads(session.get_modelmeta().custom_metadata_map["names"])
    assert names == Path("names.txt").read_text().split()
    assert vilu("export my-scorer texts.npy -o head.txt").code == 2
    assert vilu(f"export EntropyScorer texts.npy -o {tmp_path}/no.onnx").code == 3


def test_a_threshold_that_rejects_everything_is_json(toy: SimpleNamespace, tmp_path: Path) -> None:
    data = toy.z_img[:50], toy.z_txt, toy.labels[:50]
    strict = SelectivePredictor(MCMScorer(logit_scale=5.0), 0.001).fit(*data)
    session = exported(strict, toy.z_txt, tmp_path)
    said = session.get_modelmeta().custom_metadata_map["threshold"]
    assert json.loads(said, parse_constant=pytest.fail) < -1e300
    assert not run(session, toy.z_img)["accepted"].any()
