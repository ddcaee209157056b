"""TrustVLM, against its formula."""

import numpy as np
import pytest
from scipy.special import softmax

from support.data import draw_task
from vilu_sdk import MahalanobisScorer, MCMScorer, TrustVLMScorer

SCALE = 20.0
TASK = draw_task(n=600, k=6, noise=1.0, beside=0.8)
FIT, LABELS = TASK.z_img[:400], TASK.labels[:400]
NEW, TEXT = TASK.z_img[400:], TASK.z_txt


def unit(x):
    return x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)


P = softmax(SCALE * unit(NEW) @ unit(TEXT).T, axis=1)
ROWS, FIRST = np.arange(200), P.argmax(axis=1)


def trust(readout="cosine", **parameters):
    return TrustVLMScorer(readout=readout, logit_scale=SCALE, **parameters)


@pytest.mark.parametrize("readout", ["cosine", "softmax"])
def test_the_score_is_the_formula(readout):
    prototypes = unit(np.stack([unit(FIT)[c == LABELS].mean(axis=0) for c in range(6)]))
    cosines = unit(NEW) @ prototypes.T
    q = softmax(cosines / 0.05, axis=1)
    first = P[ROWS, FIRST]
    expected = {
        "cosine": 2 - first - cosines[ROWS, FIRST],
        "softmax": 1 - (first + q[ROWS, FIRST]) / 2,
    }
    scorer = trust(readout, temperature=0.05).fit(FIT, TEXT, LABELS)
    np.testing.assert_allclose(scorer.predict_uncertainty(NEW, TEXT), expected[readout], atol=1e-5)
    assert scorer.is_probability == (readout == "softmax")


def test_a_class_without_images_has_the_prototype_of_all():
    known = LABELS < 5
    scorer = trust().fit(FIT[known], TEXT, LABELS[known])
    expected = unit(unit(FIT[known]).mean(axis=0)[None])[0]
    np.testing.assert_allclose(scorer.prototypes_[5], expected, atol=1e-5)
    assert np.isfinite(scorer.decision_function(NEW, TEXT)).all()


@pytest.mark.parametrize("readout", ["cosine", "softmax"])
def test_prototypes_that_are_the_texts_say_what_mcm_says(readout):
    """With the texts for images and their temperature, q is p."""
    scorer = trust(readout, temperature=1 / SCALE).fit(TEXT, TEXT, np.arange(6))
    if readout == "softmax":
        mcm = MCMScorer(logit_scale=SCALE).decision_function(NEW, TEXT)
        np.testing.assert_allclose(scorer.decision_function(NEW, TEXT), mcm, atol=1e-3)
    else:
        assert scorer.predict_uncertainty(TEXT, TEXT).max() < 0.1


def test_sure_images_are_no_ties():
    z_img = np.array([[1.0, 0.02, 0], [1.0, 0.01, 0], [1.0, 0, 0]])
    scorer = TrustVLMScorer(readout="softmax", logit_scale=300.0).fit(np.eye(3), np.eye(3), [0, 1, 2])
    assert (np.diff(scorer.decision_function(z_img, np.eye(3))) < -0.5).all()


@pytest.mark.parametrize("scorer", [trust(), MahalanobisScorer()], ids=["trustvlm", "mahalanobis"])
def test_weights_count_as_copies_and_none_leaves_out(scorer):
    twice = np.arange(400) % 3 == 0
    weighted = scorer.fit(FIT, TEXT, LABELS, sample_weight=1 + twice).decision_function(NEW, TEXT)
    rows = np.concatenate([np.arange(400), np.flatnonzero(twice)])
    copied = scorer.fit(FIT[rows], TEXT, LABELS[rows]).decision_function(NEW, TEXT)
    np.testing.assert_allclose(weighted, copied, atol=1e-4)
    left = scorer.fit(FIT, TEXT, LABELS, sample_weight=twice).decision_function(NEW, TEXT)
    alone = scorer.fit(FIT[twice], TEXT, LABELS[twice]).decision_function(NEW, TEXT)
    np.testing.assert_allclose(left, alone, atol=1e-4)


def test_images_of_no_candidate_are_not_learned_from():
    strange = np.random.default_rng(1).normal(size=(50, 16)).astype(np.float32)
    alone = trust().fit(FIT, TEXT, LABELS).prototypes_
    images, labels = np.vstack([FIT, strange]), np.append(LABELS, np.full(50, -1))
    np.testing.assert_allclose(trust().fit(images, TEXT, labels).prototypes_, alone, atol=1e-6)


def test_what_cannot_be_learned_from_is_named():
    with pytest.raises(
        ValueError, match="TrustVLMScorer learns where images of classes lie, not from captions"
    ):
        trust().fit(FIT, TEXT, correct=LABELS > 2)
    with pytest.raises(ValueError, match="readout must be 'cosine' or 'softmax', got 'mean'"):
        trust("mean").fit(FIT, TEXT, LABELS).decision_function(NEW, TEXT)
    with pytest.raises(ValueError, match="temperature must be finite and above 0"):
        trust("softmax", temperature=0.0).fit(FIT, TEXT, LABELS).decision_function(NEW, TEXT)
    with pytest.raises(ValueError, match="all images of candidates have a sample_weight of 0"):
        trust().fit(FIT, TEXT, np.append(LABELS[:-1], -1), sample_weight=np.eye(400)[-1])
