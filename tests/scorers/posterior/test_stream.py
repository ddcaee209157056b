"""Following a stream of images without labels."""

import numpy as np
import pytest
import torch

from support.data import draw_task
from vilu_sdk import MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.scorers.posterior.moments import Moments

SCALE = 20.0
TASK = draw_task(n=1200, k=8, d=24, noise=1.6, beside=1.0)
FIT, TEST = slice(0, 800), slice(800, None)
KINDS = ("nothing", "a fit", "a fit with none", "a fit of other classes", "captions")


def estimator(**options):
    return ViLUEstimator(logit_scale=SCALE, random_state=0, **options)


def followed(batches, est=None, **options):
    est = estimator() if est is None else est
    for rows in np.array_split(np.arange(800), batches):
        est = est.partial_adapt(TASK.z_img[rows], TASK.z_txt, **options)
    return est


def decision(est, z_txt=TASK.z_txt):
    return est.decision_function(TASK.z_img[TEST], z_txt)


def begun(kind):
    labelled = TASK.z_img[:200], TASK.z_txt, TASK.labels[:200]
    none = np.where(TASK.labels[:200] == 7, -1, TASK.labels[:200])
    return {
        "nothing": estimator,
        "a fit": lambda: estimator().fit(*labelled),
        "a fit with none": lambda: estimator().fit(*labelled[:2], none),
        "a fit of other classes": lambda: estimator().fit(TASK.z_img[:200], TASK.z_txt[:7], none),
        "captions": lambda: estimator().fit(TASK.z_img[:200], TASK.z_img[:200] + 1),
    }[kind]()


@pytest.mark.parametrize("kind", KINDS)
def test_one_batch_is_adapt(kind):
    at_once = begun(kind).adapt(TASK.z_img[FIT], TASK.z_txt)
    np.testing.assert_allclose(decision(followed(1, begun(kind))), decision(at_once), atol=1e-9)


@pytest.mark.parametrize("batches", [4, 80])
def test_many_batches_come_to_where_one_does(batches):
    one, many = decision(followed(1)), decision(followed(batches, memory=1e9))
    way = np.abs(one - decision(MCMScorer(logit_scale=SCALE))).mean()
    assert np.abs(many - one).mean() < 0.2 * way


def test_moments_of_parts_add_up():
    x = torch.tensor(TASK.z_img[:300]).double() + 5
    labels = torch.tensor(TASK.labels[:300])
    cuts = slice(0, 40), slice(40, 41), slice(41, 300)
    parts = [Moments.gather([(x[rows], labels[rows])], 8) for rows in cuts]
    whole, added = Moments.gather([(x, labels)], 8), Moments.none(8, x) + parts[0] + parts[1] + parts[2]
    for name in ("centre", "counts", "sums", "scatter"):
        np.testing.assert_allclose(getattr(added, name), getattr(whole, name), atol=1e-9)
    half = Moments.gather([(x, labels, torch.full((300,), 0.5))], 8)
    for name in ("centre", "counts", "sums", "scatter"):
        np.testing.assert_allclose(getattr(whole.times(0.5), name), getattr(half, name), atol=1e-9)


def test_a_saved_follower_goes_on(tmp_path):
    est = followed(4)
    est.save_pretrained(tmp_path)
    loaded = ViLUEstimator.from_pretrained(tmp_path)
    more = TASK.z_img[:100]
    np.testing.assert_array_equal(
        decision(loaded.partial_adapt(more, TASK.z_txt)), decision(est.partial_adapt(more, TASK.z_txt))
    )
    assert loaded.fitted_on_.adapted == 900


def test_it_does_not_grow_and_forgets():
    est = followed(40, memory=100)
    assert getattr(est.model_.base, "base", None) is None
    assert est.model_.stream.images < 120
    assert followed(40).model_.stream.images == pytest.approx(800, rel=0.05)


def test_the_world_of_the_last_images_counts():
    """Images move half-way; a short memory follows them."""
    rng = np.random.default_rng(0)
    moved = TASK.z_img - 3 * rng.normal(size=(8, 24))[TASK.labels].astype(np.float32)

    def after(memory):
        est = estimator(predicts="posterior")
        for world in (TASK.z_img, moved):
            for rows in np.array_split(np.arange(800), 8):
                est.partial_adapt(world[rows], TASK.z_txt, memory=memory)
        return torch.linalg.norm(est.model_.stream.moments.centre - est_centre(moved))

    def est_centre(images):
        unit = images[FIT] / np.linalg.norm(images[FIT], axis=1, keepdims=True)
        return torch.tensor(unit.mean(axis=0))

    assert after(100) < 0.3 * after(1e9)


def test_other_candidates_begin_anew_and_another_order_goes_on():
    order = np.random.default_rng(0).permutation(8)
    est = followed(4)
    there = followed(4).partial_adapt(TASK.z_img[:50], TASK.z_txt[order])
    np.testing.assert_allclose(
        decision(there), decision(est.partial_adapt(TASK.z_img[:50], TASK.z_txt)), atol=1e-3
    )
    few = followed(4).partial_adapt(TASK.z_img[:50], TASK.z_txt[:5])
    fresh = estimator().partial_adapt(TASK.z_img[:50], TASK.z_txt[:5])
    np.testing.assert_array_equal(decision(few, TASK.z_txt[:5]), decision(fresh, TASK.z_txt[:5]))


@pytest.mark.parametrize("n", [1, 2])
def test_batches_of_single_images_are_taken(n):
    est = estimator()
    for row in range(0, 10, n):
        est.partial_adapt(TASK.z_img[row : row + n], TASK.z_txt)
    assert np.isfinite(decision(est)).all()


@pytest.mark.parametrize(
    ("memory", "error", "message"),
    [(memory, ValueError, "memory must be finite") for memory in (0, -1, np.nan, 10**400)]
    + [("2", TypeError, "memory must be a number")],
)
def test_bad_memories_are_named_and_change_nothing(memory, error, message):
    est = followed(2)
    before = decision(est)
    with pytest.raises(error, match=message):
        est.partial_adapt(TASK.z_img[:5], TASK.z_txt, memory=memory)
    with pytest.raises(ValueError, match="z_img"):
        est.partial_adapt(np.full((5, 24), np.nan), TASK.z_txt)
    np.testing.assert_array_equal(decision(est), before)


def test_the_published_recipe_needs_labels():
    est = estimator(recipe=PaperRecipe(epochs=1, hidden=(4,)))
    est.fit(TASK.z_img[:200], TASK.z_txt, TASK.labels[:200])
    with pytest.raises(ValueError, match="with labels"):
        est.partial_adapt(TASK.z_img[:5], TASK.z_txt)


def test_small_batches_do_not_replace_what_embeddings_look_like():
    est = followed(1)
    assert est.partial_adapt(TASK.z_img[:5], TASK.z_txt).seen_.images.n == 800
    assert est.adapt(TASK.z_img[:5], TASK.z_txt).seen_.images.n == 5  # the user's word for a new domain
