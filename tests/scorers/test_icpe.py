"""ICPE, against densities of scipy."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from support.data import draw_task
from vilu_sdk import ICPEScorer

SCALE = 20.0
TASK = draw_task(n=600, k=6, noise=1.0, beside=0.8)
FIT, LABELS = TASK.z_img[:400], TASK.labels[:400]
NEW, TEXT = TASK.z_img[400:], TASK.z_txt


def unit(x):
    return x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)


def shrunk(covariance):
    """As in the package, a thousandth is spread over all directions."""
    return 0.999 * covariance + 0.001 * np.diag(covariance).mean() * np.eye(len(covariance))


def icpe(**parameters):
    return ICPEScorer(logit_scale=SCALE, **parameters)


@pytest.mark.parametrize("components", [4, 16])
def test_the_score_is_the_formula(components):
    pca = PCA(components).fit(unit(FIT))
    y, new = pca.transform(unit(FIT)), pca.transform(unit(NEW))
    means = np.stack([y[c == LABELS].mean(axis=0) for c in range(6)])
    away = y - means[LABELS]
    within = away.T @ away / 400
    log_densities = np.empty((200, 6))
    for c in range(6):
        own = away[c == LABELS]
        covariance = (own.T @ own + 3 * within) / (len(own) + 3)
        log_densities[:, c] = multivariate_normal(means[c], shrunk(covariance)).logpdf(new)
    p, q = softmax(SCALE * unit(NEW) @ unit(TEXT).T, axis=1), softmax(log_densities, axis=1)
    rows, first = np.arange(200), p.argmax(axis=1)
    scorer = icpe(components=components, strength=3.0).fit(FIT, TEXT, LABELS)
    expected = 1 - (p[rows, first] + q[rows, first]) / 2
    np.testing.assert_allclose(scorer.predict_uncertainty(NEW, TEXT), expected, atol=2e-3)


def test_one_shared_covariance_is_the_limit():
    """Then the densities are those of linear discriminants, whose logits are linear in the image."""
    scorer = icpe(strength=1e9).fit(FIT, TEXT, LABELS)
    roots = scorer.roots_
    np.testing.assert_allclose(roots, roots[:1].expand_as(roots), rtol=1e-4, atol=1e-4)


def test_a_class_of_few_images_or_none_has_a_density():
    few = np.concatenate([np.flatnonzero(c == LABELS)[: 2 + c] for c in range(5)])
    scorer = icpe().fit(FIT[few], TEXT, LABELS[few])
    assert np.isfinite(scorer.decision_function(NEW, TEXT)).all()
    assert (scorer.means_[5] == 0).all()  # where all images lie
    single = [int(np.flatnonzero(c == LABELS)[0]) for c in range(6)]
    assert np.isfinite(icpe().fit(FIT[single], TEXT, LABELS[single]).decision_function(NEW, TEXT)).all()


def test_weights_count_as_copies_and_none_leaves_out():
    twice = np.arange(400) % 3 == 0
    # Of weighted images a strength of s counts for as much as one of s / share does of their copies.
    given = 1.0 + twice
    share = given.sum() / np.square(given).sum()
    weighted = icpe(strength=6.0).fit(FIT, TEXT, LABELS, sample_weight=given).decision_function(NEW, TEXT)
    rows = np.concatenate([np.arange(400), np.flatnonzero(twice)])
    copied = icpe(strength=6.0 / share).fit(FIT[rows], TEXT, LABELS[rows]).decision_function(NEW, TEXT)
    np.testing.assert_allclose(weighted, copied, atol=1e-3)
    left = icpe().fit(FIT, TEXT, LABELS, sample_weight=twice).decision_function(NEW, TEXT)
    alone = icpe().fit(FIT[twice], TEXT, LABELS[twice]).decision_function(NEW, TEXT)
    np.testing.assert_allclose(left, alone, atol=1e-3)


def test_what_cannot_be_used_is_named():
    with pytest.raises(ValueError, match="ICPEScorer learns where images of classes lie, not from captions"):
        icpe().fit(FIT, TEXT, correct=LABELS > 2)
    with pytest.raises(ValueError, match="strength must be finite and above 0"):
        icpe(strength=0.0).fit(FIT, TEXT, LABELS)
    with pytest.raises(ValueError, match="components must be an integer of at least 1"):
        icpe(components=0).fit(FIT, TEXT, LABELS)
