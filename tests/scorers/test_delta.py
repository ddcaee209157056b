"""Δ-KNN and Δ-MDS, against scikit-learn's neighbours and distances."""

import numpy as np
import pytest
from sklearn.covariance import ShrunkCovariance
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from support.data import draw_task
from vilu_sdk import DeltaKNNScorer, DeltaMDSScorer, MahalanobisScorer, MarginScorer, MCMScorer
from vilu_sdk.exceptions import NothingLearnedWarning

TASK = draw_task(n=1200, k=6, noise=1.5, beside=0.8)
FIT, LABELS = TASK.z_img[:900], TASK.labels[:900]
NEW, LABELS_NEW, TEXT = TASK.z_img[900:], TASK.labels[900:], TASK.z_txt
WRONG = MCMScorer().predict(FIT, TEXT) != LABELS
BOTH = [DeltaKNNScorer(k=5), DeltaMDSScorer()]
both = pytest.mark.parametrize("scorer", BOTH, ids=["knn", "mds"])


def unit(x):
    return x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)


def test_neighbours_are_scikit_learn_s():
    def log_distance(bank):
        distances, _ = NearestNeighbors(n_neighbors=7).fit(unit(bank)).kneighbors(unit(NEW))
        return np.log(distances).mean(axis=1)

    expected = log_distance(FIT[~WRONG]) - log_distance(FIT[WRONG])
    found = DeltaKNNScorer(k=7).fit(FIT, TEXT, LABELS).decision_function(NEW, TEXT)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_distances_are_scikit_learn_s():
    def nearest(side):
        x, labels = unit(FIT)[side], LABELS[side]
        means = np.stack([x[c == labels].mean(axis=0) for c in range(6)])
        within = ShrunkCovariance(shrinkage=0.6, assume_centered=True).fit(x - means[labels])
        return np.min([within.mahalanobis(unit(NEW) - mean) for mean in means], axis=0)

    expected = (nearest(~WRONG) - nearest(WRONG)) / 32
    found = DeltaMDSScorer().fit(FIT, TEXT, LABELS).decision_function(NEW, TEXT)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@both
def test_the_margin_is_taken_off(scorer):
    used = scorer.fit(FIT, TEXT, LABELS)
    alone = used.decision_function(NEW, TEXT)
    less = MarginScorer(of="logits").decision_function(NEW, TEXT)
    try:
        combined = used.set_params(margin_weight=0.25).decision_function(NEW, TEXT)
    finally:
        used.set_params(margin_weight=0.0)
    np.testing.assert_allclose(combined, alone + 0.25 * less, rtol=1e-4, atol=1e-4)


@both
def test_where_others_failed_is_doubtful(scorer):
    wrong = MCMScorer().predict(NEW, TEXT) != LABELS_NEW
    assert roc_auc_score(wrong, scorer.fit(FIT, TEXT, LABELS).decision_function(NEW, TEXT)) > 0.7


@both
def test_images_of_no_candidate_are_wrong_ones(scorer):
    strange = np.random.default_rng(1).normal(size=(300, 16)).astype(np.float32)
    images, labels = np.vstack([FIT, strange[:200]]), np.append(LABELS, np.full(200, -1))
    taught = scorer.fit(images, TEXT, labels)
    u_new, u_strange = (taught.decision_function(x, TEXT) for x in (NEW, strange[200:]))
    untaught = scorer.fit(FIT, TEXT, LABELS)
    before = [untaught.decision_function(x, TEXT) for x in (NEW, strange[200:])]
    kinds = np.repeat([0, 1], [300, 100])
    after = roc_auc_score(kinds, np.concatenate([u_new, u_strange]))
    assert after > roc_auc_score(kinds, np.concatenate(before))


def test_feedback_teaches_neighbours_as_labels_do():
    labels, bits = DeltaKNNScorer().fit(FIT, TEXT, LABELS), DeltaKNNScorer().fit(FIT, TEXT, correct=~WRONG)
    np.testing.assert_array_equal(labels.decision_function(NEW, TEXT), bits.decision_function(NEW, TEXT))
    with pytest.raises(ValueError, match="DeltaMDSScorer learns where images of classes lie"):
        DeltaMDSScorer().fit(FIT, TEXT, correct=~WRONG)


def test_captions_teach_neighbours():
    texts = unit(FIT[:200]) + 0.2 * np.random.default_rng(0).normal(size=(200, 16))
    scorer = DeltaKNNScorer(k=3).fit(FIT[:200], texts)
    wrong = scorer.predict(FIT[:200], texts) != np.arange(200)
    assert (len(scorer.right_), len(scorer.wrong_)) == ((~wrong).sum(), wrong.sum())


@both
def test_of_one_kind_alone_the_distance_to_it_ranks(scorer):
    for kind, word, sign in ((~WRONG, "right", 1), (WRONG, "wrong", -1)):
        with pytest.warns(NothingLearnedWarning, match=f"all {word}"):
            decision = scorer.fit(FIT[kind], TEXT, LABELS[kind]).decision_function(NEW, TEXT)
        assert np.isfinite(decision).all()
        distance = MahalanobisScorer().fit(FIT[kind], TEXT, LABELS[kind]).decision_function(NEW, TEXT)
        assert sign * np.corrcoef(decision, distance)[0, 1] > 0.5


def test_no_more_images_are_kept_than_asked_for():
    scorer = DeltaKNNScorer(max_images=50).fit(FIT, TEXT, LABELS)
    assert (len(scorer.right_), len(scorer.wrong_)) == (50, 50)


def test_weights_count_as_copies_and_none_leaves_out():
    twice = np.arange(900) % 3 == 0
    weighted = DeltaMDSScorer().fit(FIT, TEXT, LABELS, sample_weight=1 + twice)
    rows = np.concatenate([np.arange(900), np.flatnonzero(twice)])
    copied = DeltaMDSScorer().fit(FIT[rows], TEXT, LABELS[rows])
    found, expected = (used.decision_function(NEW, TEXT) for used in (weighted, copied))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@both
def test_one_image_of_each_kind_is_enough(scorer):
    rows = [int(np.flatnonzero(kind)[0]) for kind in (WRONG, ~WRONG)]
    used = scorer.fit(FIT[rows], TEXT, LABELS[rows])
    assert np.isfinite(used.predict_uncertainty(NEW, TEXT)).all()
    wrong, right = used.decision_function(FIT[rows], TEXT)
    assert wrong > right


@pytest.mark.parametrize(
    ("scorer", "error", "message"),
    [
        (DeltaKNNScorer(k=0), ValueError, "k must be an integer of at least 1"),
        (DeltaKNNScorer(margin_weight=-1), ValueError, "margin_weight must be finite and at least 0"),
        (DeltaKNNScorer(margin_weight="1"), TypeError, "margin_weight must be a number"),
        (DeltaMDSScorer(shrinkage=0), ValueError, r"shrinkage must lie in \(0, 1\]"),
        (DeltaMDSScorer(margin_weight=np.inf), ValueError, "margin_weight must be finite"),
    ],
)
def test_bad_parameters_are_named(scorer, error, message):
    with pytest.raises(error, match=message):
        scorer.fit(FIT, TEXT, LABELS)
