"""Heads that come with the package: small, safe to load anywhere, and not below MCM."""

import runpy
import socket
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from support.paths import ROOT
from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.compute.random import seeded
from vilu_sdk.inputs.task import check_task
from vilu_sdk.persistence import bundled
from vilu_sdk.persistence.encoding import encode
from vilu_sdk.scorers.base.among import Chunk
from vilu_sdk.scorers.posterior.classes import class_model, learn_blend
from vilu_sdk.scorers.posterior.portable import MAX_WEIGHT, learn_portable

SHARED = ROOT.parent / "shared" / "embeddings"
NAME = "clip-b32-imagenet"


@pytest.fixture(scope="module")
def head():
    """The bundled head, loaded where there is no network."""

    def refuse(*_, **__):
        raise AssertionError("loading a bundled head reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        return ViLUEstimator.from_pretrained(NAME)


def toy(head, n, k):
    """Rows in the cones of the head's embeddings, so that it does not warn of another model."""
    rng = np.random.default_rng(n + k)
    means = head.seen_.images.mean.numpy(), head.seen_.texts.mean.numpy()
    return [mean + 0.03 * rng.normal(size=(rows, 512)) for mean, rows in zip(means, (n, k), strict=True)]


def arrays_of(scorer):
    tensors = {}
    encode(scorer, "", tensors)
    return {name: tensor.float().numpy() for name, tensor in tensors.items()}


@pytest.mark.parametrize("k", [2, 3, 47, 1000])
def test_scores_are_probabilities_for_any_number_of_candidates(head, k):
    z_img, z_txt = toy(head, 50, k)
    uncertainty = head.predict_uncertainty(z_img, z_txt)
    assert uncertainty.shape == (50,)
    assert ((uncertainty > 0) & (uncertainty <= 1)).all()  # 1: like no image of the candidates
    assert len(np.unique(head.decision_function(z_img, z_txt))) == 50


def test_loading_twice_gives_the_same_bits(head):
    z_img, z_txt = toy(head, 50, 20)
    again = ViLUEstimator.from_pretrained(NAME)
    np.testing.assert_array_equal(again.decision_function(z_img, z_txt), head.decision_function(z_img, z_txt))


def test_the_order_of_candidates_does_not_matter(head):
    z_img, z_txt = toy(head, 50, 20)
    order = np.random.default_rng(0).permutation(20)
    np.testing.assert_allclose(
        head.decision_function(z_img, z_txt[order]), head.decision_function(z_img, z_txt), atol=1e-3
    )


def test_another_width_is_refused(head):
    with pytest.raises(ValueError, match="width 768, expected 512"):
        head.predict_uncertainty(np.ones((2, 768)), np.eye(2, 768))


def test_heads_are_small_and_say_what_they_are():
    for name, folder in bundled.bundled_heads().items():
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 6_000_000
        card = ViLUEstimator.from_pretrained(name).card_
        assert card.backbone
        assert card.license
        readme = (folder / "README.md").read_text()
        for part in (card.dataset, "**Limits.**", "What more images would add", "train_head.py"):
            assert part in readme
    assert "4,000 images" in (bundled.PRETRAINED / NAME / "README.md").read_text()


def test_no_kernel_and_no_array_of_images_is_inside(head):
    assert head.model_.known.keys() == {"class Gaussians", "class intercepts"}
    assert head.model_.text.shape == (1000, 64)  # keys, not texts
    assert not any(4000 in array.shape for array in arrays_of(head).values())


# --- the form to give away -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(beside):
    """A model as it is learned and in the form to give away, from the same labels."""
    task = check_task(beside.z_img, beside.z_txt, beside.labels)
    whole = class_model(learn_blend(task, 5.0, seeded(0)), 5.0, task.text, None)
    return whole, learn_portable(task, 5.0, seeded(0))


def decide(model, z_img, z_txt):
    unit = [torch.nn.functional.normalize(torch.as_tensor(z), dim=1) for z in (z_img, z_txt)]
    among = model.among(unit[1])
    return among.decision(Chunk(unit[0], among)).numpy()


@pytest.mark.parametrize("columns", [slice(None), [3, 1, 4], [5, 0]], ids=["all", "some", "two"])
def test_among_known_classes_nothing_but_half_precision_is_lost(pair, beside, columns):
    whole, portable = (decide(model, beside.z_img, beside.z_txt[columns]) for model in pair)
    assert np.ptp(whole) > 5
    np.testing.assert_allclose(portable, whole, atol=0.02)


def test_texts_are_recognised_by_their_keys(pair, beside):
    rng = np.random.default_rng(0)
    text = torch.nn.functional.normalize(torch.as_tensor(beside.z_txt), dim=1)
    order = torch.from_numpy(rng.permutation(6))
    assert torch.equal(pair[1].match(text[order]), order)
    half = torch.nn.functional.normalize(text.half().float(), dim=1)
    assert torch.equal(pair[1].match(half), torch.arange(6))
    other = torch.nn.functional.normalize(torch.randn(50, 16, generator=seeded(0)), dim=1)
    assert (pair[1].match(other) == -1).all()
    mixed = torch.cat([other[:2], text[2:3]])
    assert pair[1].match(mixed).tolist() == [-1, -1, 2]


def test_new_texts_move_the_ranking_less_than_an_estimator_may(pair):
    assert 0 <= pair[1].open_weights[1] <= MAX_WEIGHT
    assert pair[1].open_weights[0] == pytest.approx(pair[0].open_weights[0])


def test_images_are_not_kept_even_where_a_kernel_would_earn_its_place():
    rng = np.random.default_rng(0)
    plane = rng.choice([-1.0, 1.0], size=(1200, 2))
    labels = (plane.prod(axis=1) > 0).astype(int)  # opposite corners of a square: no line tells them apart
    z_img = np.concatenate([plane + 0.2 * rng.normal(size=(1200, 2)), np.full((1200, 1), 2.0)], axis=1)
    task = check_task(z_img, np.eye(2, 3), labels)
    assert "kernel" in class_model(learn_blend(task, 5.0, seeded(0)), 5.0, task.text, None).known
    assert "kernel" not in learn_portable(task, 5.0, seeded(0)).known


def test_the_script_trains_measures_and_saves(tmp_path, beside, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["train_head.py", *map(str, arguments)])
        runpy.run_path(str(ROOT / "benchmarks" / "train_head.py"), run_name="__main__")
        return capsys.readouterr().out

    given = {"z_txt": beside.z_txt}
    for part, rows in (("train", slice(0, 400)), ("test", slice(400, None))):
        given |= {f"z_img_{part}": beside.z_img[rows], f"labels_{part}": beside.labels[rows]}
    file, folder = tmp_path / "mine.npz", tmp_path / "head"
    np.savez(file, **given)
    printed = run("--train", file, "--output", folder, "--test", file, "--logit-scale", 5, "--draws", 2)
    head = ViLUEstimator.from_pretrained(folder)
    data = given["z_img_test"], given["z_txt"]
    wrong = head.predict(*data) != given["labels_test"]
    metrics = head.card_.metrics
    assert metrics["mine"]["auc"] == roc_auc_score(wrong, head.decision_function(*data))
    assert metrics["mine"]["auc"] > roc_auc_score(wrong, MCMScorer().decision_function(*data))
    assert metrics.keys() == {"mine"}
    # Measuring what was saved prints the same tables again.
    assert run("--head", folder, "--test", file, "--draws", 2) == printed[: printed.index("\nSaved in")]
    np.savez(file, z_txt=beside.z_txt)
    with pytest.raises(SystemExit, match="lacks z_img_test, labels_test; it holds z_txt"):
        run("--head", folder, "--test", file)


# --- on real embeddings --------------------------------------------------------------------------

real = [
    pytest.mark.real,
    pytest.mark.skipif(not SHARED.is_dir(), reason="no real embeddings beside the project"),
]


def aucs(head, file):
    """AUC of the head and of MCM on the test images, in percent."""
    with np.load(SHARED / f"{file}.npz") as arrays:
        data = arrays["z_img_test"].astype(np.float32), arrays["z_txt"]
        labels = arrays["labels_test"]
    wrong = head.predict(*data) != labels
    return [100 * roc_auc_score(wrong, scorer.decision_function(*data)) for scorer in (head, MCMScorer())]


@pytest.mark.parametrize(
    ("file", "gain"),
    [
        pytest.param("imagenet", 6.0, marks=real),
        pytest.param("dtd", 2.0, marks=real),
        pytest.param("stanford_cars", 2.0, marks=real),
    ],
)
def test_the_head_is_better_than_mcm(head, file, gain):
    ours, mcm = aucs(head, file)
    assert ours > mcm + gain


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real embeddings beside the project")
def test_no_embedding_is_in_the_head(head):
    """Neither as a row nor as a column, nor about one of the centres, is an image or a text stored."""
    with np.load(SHARED / "imagenet.npz") as arrays:
        rows = np.concatenate([arrays["z_img_train"], arrays["z_img_test"], arrays["z_txt"]])
    rows = rows.astype(np.float32) / np.linalg.norm(rows.astype(np.float32), axis=1, keepdims=True)
    densities = head.model_.open_set
    centres = [0, densities.centre.numpy(), densities.text_centre.numpy()]
    for name, array in arrays_of(head).items():
        for matrix in (np.atleast_2d(array), np.atleast_2d(array).T):
            for centre in centres if matrix.shape[1] == 512 else []:
                stored = matrix + centre
                stored = stored / np.linalg.norm(stored, axis=1, keepdims=True).clip(1e-9)
                assert (stored @ rows.T).max() < 0.98, name
