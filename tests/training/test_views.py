"""Several views of an image, and noise on one: what a step sees is drawn anew, and off by default."""

import numpy as np
import pytest
import torch

from vilu_sdk import LVUScorer, MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.inputs.task import check_task
from vilu_sdk.training.feed import Feed
from vilu_sdk.training.views import Views

D, K, N, V = 8, 4, 60, 3


def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    z_txt, labels = rng.normal(size=(K, D)), rng.integers(K - 1, size=N)  # the last class has no image
    z_img = z_txt[labels][:, None] + rng.normal(size=(N, V, D)) * [[[0.3]], [[0.6]], [[1.2]]][0]
    return z_img / np.linalg.norm(z_img, axis=2, keepdims=True), z_txt, labels


def scorers(**options):
    options = {"epochs": 3, "batch_size": 16, "hidden": (8,)} | options
    return [LVUScorer(**options, random_state=0), ViLUEstimator(PaperRecipe(**options), random_state=0)]


def test_a_step_sees_one_of_the_views_of_each_of_its_images_and_all_in_time(data):
    z_img, z_txt, labels = data
    task = check_task(z_img, z_txt, labels, takes_views=True)
    seen = np.zeros((N, V), int)
    for batch in Feed(task, N, 60, generator()):
        near = np.einsum("nvd,bd->bnv", z_img, batch.z.numpy())
        rows, views = np.divmod(near.reshape(N, -1).argmax(axis=1), V)
        assert (near.max(axis=(1, 2)) > 1 - 1e-5).all()
        assert sorted(rows) == list(range(N))
        assert (labels[rows] == batch.labels.numpy()).all()
        seen[rows, views] += 1
    assert (seen.sum(axis=1) == 60).all()
    assert (seen > 5).all()


def test_what_is_right_is_that_of_the_view(data):
    task = check_task(*data, takes_views=True)
    rows = torch.arange(N)
    views = Views(task, 0.0, generator())
    drawn = torch.zeros(N, 3)
    drawn[:, 0] = 0.999
    batch = views.batch(task, rows, drawn)
    torch.testing.assert_close(batch.z, torch.tensor(data[0][:, V - 1]).float())
    prediction = (batch.z @ batch.text.T).argmax(dim=1)
    assert not torch.equal(batch.right(prediction), task.batch(rows).right(prediction * 0))


def test_noise_has_the_covariance_of_the_classes_and_no_mean(data):
    z_img, z_txt, labels = (data[0][:, 0], *data[1:])
    task = check_task(z_img, z_txt, labels)
    level, small = 0.5, 1e-3  # so small that the norm hardly matters
    views = Views(task, small, generator())
    moved = []
    for step in range(2000):
        batch = views.batch(task, torch.arange(N), views.draw(step, N))
        torch.testing.assert_close(batch.z.norm(dim=1), torch.ones(N))
        moved.append((batch.z - torch.tensor(z_img).float()).numpy() / small)
    moved = np.stack(moved)
    for c in range(K - 1):
        z, e = z_img[labels == c], moved[:, labels == c].reshape(-1, D)
        # The part along an image is taken out by the norm.
        away = np.eye(D) - z.mean(axis=0)[:, None] * z.mean(axis=0) / (z.mean(axis=0) ** 2).sum()
        assert np.abs(e.mean(axis=0)).max() < 0.02
        np.testing.assert_allclose(away @ np.cov(e.T) @ away, away @ np.cov(z.T, bias=True) @ away, atol=0.01)
    whole = Views(task, level, generator())
    assert not torch.equal(
        whole.batch(task, torch.arange(N), whole.draw(0, N)).z,
        whole.batch(task, torch.arange(N), whole.draw(1, N)).z,
    )


def test_without_views_and_noise_the_rows_are_what_they_were(data):
    z_img, z_txt, labels = (data[0][:, 0], *data[1:])
    task = check_task(z_img, z_txt, labels)
    assert not Views(task, 0.0, generator()).changes
    order = torch.randperm(N, generator=generator())
    (batch,) = Feed(task, N, 1, generator())
    assert torch.equal(batch.z, task.images.read(order))


@pytest.mark.parametrize("number", [0, 1])
def test_views_and_noise_are_learned_from_and_change_what_is_learned(data, number, tmp_path):
    z_img, z_txt, labels = data
    np.save(tmp_path / "views.npy", z_img)
    found = {}
    for name, images, noise in (
        ("one", z_img[:, 0], 0.0), ("views", z_img, 0.0), ("noise", z_img[:, 0], 0.5), ("both", z_img, 0.5),
        ("on disk", np.load(tmp_path / "views.npy", mmap_mode="r"), 0.5),
        ("tensor", torch.tensor(z_img), 0.5),
        ("one of one", z_img[:, :1], 0.0),
    ):  # fmt: skip
        scorer = scorers(view_noise=noise)[number].fit(images, z_txt, labels)
        found[name] = scorer.decision_function(z_img[:, 0], z_txt)
        assert np.isfinite(found[name]).all()
    np.testing.assert_array_equal(found["both"], found["on disk"])
    np.testing.assert_array_equal(found["both"], found["tensor"])
    np.testing.assert_array_equal(found["one"], found["one of one"])
    assert len({found[name].tobytes() for name in ("one", "views", "noise", "both")}) == 4


def test_pairs_have_views_too(data):
    z_img, z_txt, labels = data
    for scorer in scorers():
        assert np.isfinite(scorer.fit(z_img, z_txt[labels]).decision_function(z_img[:, 0], z_txt)).all()


@pytest.mark.parametrize("number", [0, 1])
def test_refusals(data, number):
    z_img, z_txt, labels = data
    with pytest.raises(ValueError, match="several views"):
        scorers(target="correct")[number].fit(z_img, z_txt, correct=labels == 0)
    with pytest.raises(ValueError, match="view_noise moves images within their classes"):
        scorers(view_noise=0.5)[number].fit(z_img[:, 0], z_txt[labels])
    for noise in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="view_noise must be"):
            scorers(view_noise=noise)[number].fit(z_img[:, 0], z_txt, labels)
    bad = z_img.copy()
    bad[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"z_img\.reshape\(-1, 8\) has a NaN.* row 13"):
        scorers(epochs=60)[number].fit(bad, z_txt, labels)
    with pytest.raises(ValueError, match="z_img must be two-dimensional"):
        scorers()[number].fit(z_img[:, 0], z_txt, labels).predict_uncertainty(z_img, z_txt)


@pytest.mark.parametrize("scorer", [MCMScorer(), ViLUEstimator()])
def test_others_take_one_embedding_of_each_image(data, scorer):
    with pytest.raises(ValueError, match="z_img must be two-dimensional"):
        scorer.fit(*data)
