"""Who knows the candidates of the fit alone says so of others, whether or not they have names."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone

from support.all_scorers import EXAMPLES
from vilu_sdk.exceptions import LabelWarning
from vilu_sdk.scorers.base.scorer import Scorer

FIXED = pytest.mark.parametrize(
    "scorer", [example for example in EXAMPLES if example.values[0].fixed_candidates]
)
K, D = 60, 16


@pytest.fixture(scope="module")
def classes():
    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(K, D)).astype(np.float32)
    labels = rng.integers(K, size=900)
    z_img = (z_txt[labels] + rng.normal(size=(900, D))).astype(np.float32)
    return z_img, z_txt, labels


def permuted(rng, how):
    order = np.arange(K)
    if how == "two swapped":
        order[[7, 31]] = 31, 7
    elif how == "rolled":
        order = np.roll(order, 1)
    else:
        order = rng.permutation(K)
    return order


@FIXED
@pytest.mark.parametrize("how", ["two swapped", "rolled", "shuffled"])
def test_candidates_of_the_fit_in_another_order_are_refused(scorer, how, classes, tmp_path):
    z_img, z_txt, labels = classes
    scorer = clone(scorer).fit(z_img, z_txt, labels)
    scorer.save_pretrained(tmp_path)
    moved = z_txt[permuted(np.random.default_rng(1), how)]
    for used in (scorer, Scorer.from_pretrained(tmp_path)):
        named = dict(zip(map(str, range(100, 160)), moved, strict=True))
        for given in (moved, moved.astype(np.float16), named):
            with pytest.raises(ValueError, match=r"text that was in row \d+ of the fit"):
                used.predict_uncertainty(z_img[:3], given)
        with pytest.raises(ValueError, match="text that was in row"):
            used.judge(z_img[:3], moved)


@FIXED
def test_the_same_candidates_at_another_precision_or_length_are_the_same(scorer, classes):
    z_img, z_txt, labels = classes
    z_txt = np.vstack([z_txt, z_txt[:1]])  # with two that are equal
    scorer = clone(scorer).fit(z_img, z_txt, labels)
    expected = scorer.decision_function(z_img[:50], z_txt)
    for given in (z_txt.astype(np.float16), 3.0 * z_txt.astype(float), z_txt[:, None, :]):
        found = scorer.decision_function(z_img[:50], given)
        np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.05)


@FIXED
def test_other_texts_for_the_same_classes_are_taken_and_other_classes_are_warned_of(scorer, classes):
    z_img, z_txt, labels = classes
    scorer = clone(scorer).fit(z_img, z_txt, labels)
    reworded = z_txt + 0.3 * np.random.default_rng(2).normal(size=z_txt.shape).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(scorer.decision_function(z_img, reworded)).all()
    for other in (reworded[::-1], np.random.default_rng(3).normal(size=z_txt.shape)):
        with pytest.warns(LabelWarning, match="another order"):
            scorer.decision_function(z_img, other)
