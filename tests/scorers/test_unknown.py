"""Scorers made for images of none of the candidates, against other computations of the same."""

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from sklearn.covariance import ShrunkCovariance
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from support.data import draw_task
from vilu_sdk import (
    DeltaMDSScorer,
    EnergyScorer,
    MahalanobisScorer,
    MaxLogitScorer,
    NegLabelScorer,
    NeighbourScorer,
)
from vilu_sdk.exceptions import NothingLearnedWarning

TASK = draw_task(n=600, k=6, noise=0.8)
FIT, LABELS = TASK.z_img[:400], TASK.labels[:400]
NEW = TASK.z_img[400:]
STRANGE = np.random.default_rng(1).normal(size=(200, 16)).astype(np.float32)


def unit(x):
    return x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)


LOGITS = 20.0 * unit(NEW) @ unit(TASK.z_txt).T


def test_logits_are_read_as_they_are():
    for scorer, expected in (
        (MaxLogitScorer(logit_scale=20.0), -LOGITS.max(axis=1)),
        (EnergyScorer(logit_scale=20.0), -logsumexp(LOGITS, axis=1)),
    ):
        np.testing.assert_allclose(scorer.decision_function(NEW, TASK.z_txt), expected, atol=1e-4)


@pytest.mark.parametrize("relative", [False, True])
def test_mahalanobis_distances_are_scikit_learn_s(relative):
    x, new = unit(FIT), unit(NEW)
    means = np.stack([x[c == LABELS].mean(axis=0) for c in range(6)])
    within = ShrunkCovariance(shrinkage=0.1, assume_centered=True).fit(x - means[LABELS])
    nearest = np.min([within.mahalanobis(new - mean) for mean in means], axis=0)
    expected = np.log(nearest)
    if relative:
        expected = (nearest - ShrunkCovariance(shrinkage=0.1).fit(x).mahalanobis(new)) / 32
    scorer = MahalanobisScorer(relative=relative).fit(FIT, TASK.z_txt, LABELS)
    np.testing.assert_allclose(scorer.decision_function(NEW, TASK.z_txt), expected, atol=1e-3)


def test_neighbours_are_scikit_learn_s():
    distances, _ = NearestNeighbors(n_neighbors=7).fit(unit(FIT)).kneighbors(unit(NEW))
    scorer = NeighbourScorer(k=7).fit(FIT, TASK.z_txt, LABELS)
    np.testing.assert_allclose(scorer.predict_uncertainty(NEW, TASK.z_txt), distances[:, -1], atol=1e-4)


def test_negatives_are_more_columns_of_one_softmax():
    negatives = np.random.default_rng(3).normal(size=(8, 16))
    scorer = NegLabelScorer(negatives=negatives, keep=1.0, logit_scale=20.0)
    every = softmax(np.hstack([LOGITS, 20.0 * unit(NEW) @ unit(negatives).T]), axis=1)
    expected = every[:, 6:].sum(axis=1)
    np.testing.assert_allclose(scorer.predict_uncertainty(NEW, TASK.z_txt), expected, atol=1e-5)
    # Negatives that are candidates themselves are the first to go.
    mixed = np.vstack([TASK.z_txt, negatives])
    kept = NegLabelScorer(negatives=mixed, keep=8 / 14, logit_scale=20.0)
    np.testing.assert_allclose(kept.predict_uncertainty(NEW, TASK.z_txt), expected, atol=1e-5)
    with pytest.raises(ValueError, match="keep must lie in"):
        NegLabelScorer(negatives=negatives, keep=0.0).decision_function(NEW, TASK.z_txt)
    with pytest.raises(ValueError, match="negatives"):
        NegLabelScorer(negatives=negatives[:, :5]).decision_function(NEW, TASK.z_txt)


def test_without_negatives_the_ranking_is_that_of_the_energy():
    alone, energy = (
        scorer.decision_function(NEW, TASK.z_txt)
        for scorer in (NegLabelScorer(logit_scale=5.0), EnergyScorer(logit_scale=5.0))
    )
    assert (np.diff(alone[np.argsort(energy)]) >= -1e-9).all()


@pytest.mark.parametrize(
    "scorer",
    [MaxLogitScorer(), EnergyScorer(), MahalanobisScorer(), NeighbourScorer()],
    ids=["maxlogit", "energy", "mahalanobis", "neighbour"],
)
def test_strange_images_come_first(scorer):
    used = scorer.fit(FIT, TASK.z_txt, LABELS)
    known, strange = (used.decision_function(x, TASK.z_txt) for x in (NEW, STRANGE))
    assert roc_auc_score(np.repeat([0, 1], 200), np.concatenate([known, strange])) > 0.8


def test_images_of_no_candidate_are_not_learned_from():
    images, labels = np.vstack([FIT, STRANGE]), np.append(LABELS, np.full(200, -1))
    for scorer in (MahalanobisScorer(), MahalanobisScorer(relative=True), NeighbourScorer(k=3)):
        alone = scorer.fit(FIT, TASK.z_txt, LABELS).decision_function(NEW, TASK.z_txt)
        beside = scorer.fit(images, TASK.z_txt, labels).decision_function(NEW, TASK.z_txt)
        np.testing.assert_allclose(beside, alone, atol=1e-4)


def test_what_needs_no_fit_is_loaded_without_one(tmp_path):
    scorer = NegLabelScorer(negatives=np.random.default_rng(3).normal(size=(8, 16)), logit_scale=20.0)
    scorer.save_pretrained(tmp_path)
    loaded = NegLabelScorer.from_pretrained(tmp_path)
    expected = scorer.predict_uncertainty(NEW, TASK.z_txt)
    np.testing.assert_array_equal(loaded.predict_uncertainty(NEW, TASK.z_txt), expected)


@pytest.mark.parametrize(
    ("scorer", "error", "message"),
    [
        (NeighbourScorer(k=1.5), ValueError, "k must be an integer"),
        (NeighbourScorer(k=0), ValueError, "k must be an integer of at least 1"),
        (NeighbourScorer(k=True), ValueError, "k must be an integer"),
        (NeighbourScorer(max_images=0), ValueError, "max_images must be an integer of at least 1"),
        (MahalanobisScorer(shrinkage="3"), TypeError, "shrinkage must be a number"),
        (MahalanobisScorer(shrinkage=True), TypeError, "shrinkage must be a number"),
        (MahalanobisScorer(shrinkage=0), ValueError, r"shrinkage must lie in \(0, 1\]"),
        (NegLabelScorer(keep=None), TypeError, "keep must be a number"),
    ],
)
def test_bad_parameters_are_named(scorer, error, message):
    with pytest.raises(error, match=message):
        scorer.fit(TASK.z_img, TASK.z_txt, TASK.labels).decision_function(NEW, TASK.z_txt)


def test_classes_far_tighter_than_their_distance_are_learned():
    tight = TASK.z_txt[TASK.labels] + 1e-3 * np.random.default_rng(0).normal(size=TASK.z_img.shape)
    scorer = MahalanobisScorer().fit(tight, TASK.z_txt, TASK.labels)
    near, far = scorer.decision_function(np.stack([tight[0], tight[0] + 0.1]), TASK.z_txt)
    assert far > near + 5


@pytest.mark.parametrize("scorer", [MahalanobisScorer(), MahalanobisScorer(relative=True), DeltaMDSScorer()])
def test_far_images_have_a_finite_uncertainty(scorer):
    rng = np.random.default_rng(0)
    text = rng.normal(size=(4, 256))
    labels = np.arange(80) % 4
    z_img = text[labels] + 0.05 * rng.normal(size=(80, 256))
    z_img[::7] = -text[0] + 0.05 * rng.normal(size=(12, 256))  # wrong ones
    used = scorer.fit(z_img, text, labels)
    assert np.isfinite(used.predict_uncertainty(rng.normal(size=(50, 256)), text)).all()


def test_what_mahalanobis_distances_cannot_be_learned_from_is_named():
    with pytest.raises(ValueError, match="all labels are -1"):
        MahalanobisScorer().fit(TASK.z_img, TASK.z_txt, np.full(600, -1))
    with pytest.raises(ValueError, match="shrinkage=1e-30 leaves directions"):
        MahalanobisScorer(shrinkage=1e-30).fit(TASK.z_img[:8], TASK.z_txt, TASK.labels[:8])
    with pytest.warns(NothingLearnedWarning, match="relative distances are 0"):
        MahalanobisScorer(relative=True).fit(TASK.z_img, TASK.z_txt, np.zeros(600, dtype=int))
    with pytest.raises(ValueError, match="shrinkage must be finite"):
        MahalanobisScorer(shrinkage=10**400).fit(TASK.z_img, TASK.z_txt, TASK.labels)


@pytest.mark.parametrize("relative", [False, True])
def test_classes_of_single_images_have_euclidean_distances(relative):
    first = [int(np.flatnonzero(TASK.labels == k)[0]) for k in range(3)]
    for rows in (first[:2], first, [first[0]] * 2):
        with pytest.warns(NothingLearnedWarning, match="no class has two different images"):
            scorer = MahalanobisScorer(relative=relative).fit(TASK.z_img[rows], TASK.z_txt, TASK.labels[rows])
        classes, new, centre = unit(TASK.z_img[rows]), unit(NEW), unit(TASK.z_img[rows]).mean(axis=0)
        squares = ((new[:, None] - classes[None]) ** 2).sum(axis=2).min(axis=1)
        expected = (squares - ((new - centre) ** 2).sum(axis=1)) / 32 if relative else np.log(squares)
        np.testing.assert_allclose(scorer.decision_function(NEW, TASK.z_txt), expected, rtol=1e-3, atol=1e-4)
