"""`check_scorer` passes every scorer of the package, and finds each breach of the contract."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone

from support.all_scorers import EXAMPLES
from vilu_sdk import MCMScorer, NegLabelScorer
from vilu_sdk.testing import check_scorer


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_every_scorer_of_the_package_keeps_it(scorer):
    scorer = clone(scorer)  # the examples are those of all tests
    if isinstance(scorer, NegLabelScorer):
        scorer.set_params(negatives=np.random.default_rng(1).normal(size=(20, 12)))
    lacking = check_scorer(scorer)
    assert any(line.startswith("no is_probability") for line in lacking) != bool(scorer.is_probability)


class Own(BaseEstimator):
    """Keeps the contract."""

    def __init__(self, random_state=0):
        self.random_state = random_state

    def fit(self, z_img, z_txt, labels=None):
        return self

    def predict(self, z_img, z_txt_set):
        return (z_img @ z_txt_set.T).argmax(axis=1)

    def decision_function(self, z_img, z_txt_set):
        return -(z_img @ z_txt_set.T).max(axis=1)

    def predict_uncertainty(self, z_img, z_txt_set):
        return self.decision_function(z_img, z_txt_set)


def test_what_it_need_not_have_is_told():
    assert [line.split(":")[0] for line in check_scorer(Own())] == [
        "no predict_proba",
        "no novelty",
        "no is_probability",
    ]


class NoSelf(Own):
    def fit(self, z_img, z_txt, labels=None):
        self.fitted_ = True


class Wide(Own):
    def decision_function(self, z_img, z_txt_set):
        return z_img @ z_txt_set.T


class Names(Own):
    def predict(self, z_img, z_txt_set):
        return np.array(["cat"] * len(z_img))


class Outside(Own):
    is_probability = True


class Neighbours(Own):
    def decision_function(self, z_img, z_txt_set):
        found = super().decision_function(z_img, z_txt_set)
        return found - found.mean()


class Writes(Own):
    def decision_function(self, z_img, z_txt_set):
        z_img *= 1 + 1e-3
        return super().decision_function(z_img, z_txt_set)


class Chance(Own):
    def fit(self, z_img, z_txt, labels=None):
        self.noise_ = np.random.rand()  # noqa: NPY002, the fault
        return self

    def decision_function(self, z_img, z_txt_set):
        return super().decision_function(z_img, z_txt_set) + self.noise_


class Infinite(Own):
    def predict_uncertainty(self, z_img, z_txt_set):
        return np.full(len(z_img), np.inf)


class Remembers(Own):
    def fit(self, z_img, z_txt, labels=None):
        self.text_ = z_txt
        return self

    def predict(self, z_img, z_txt_set):
        return (z_img @ self.text_.T).argmax(axis=1)


class Unnormed(Own):
    def predict_proba(self, z_img, z_txt_set):
        return np.ones((len(z_img), len(z_txt_set)))


class Turned(Own):
    def predict_uncertainty(self, z_img, z_txt_set):
        return -self.decision_function(z_img, z_txt_set)


class Raises(Own):
    def predict(self, z_img, z_txt_set):
        raise KeyError("here")


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (NoSelf, "fit must return the scorer itself"),
        (Wide, r"decision_function must have shape \(240,\), got \(240, 6\)"),
        (Names, r"predict must hold integers in \[0, 6\)"),
        (Outside, r"must lie in \[0, 1\], since is_probability"),
        (Neighbours, "decision_function of an image depends on the rows beside it"),
        (Writes, "a method changes its arguments"),
        (Chance, "two fits with the same random_state differ"),
        (Infinite, "predict_uncertainty must hold finite numbers"),
        (Remembers, "with fewer candidates than in the fit: predict must hold integers"),
        (Unnormed, "which add up to 1"),
        (Turned, "predict_uncertainty must rise with decision_function"),
        (Raises, "it raises KeyError: 'here'"),
    ],
)
def test_each_breach_is_found(cls, message):
    with pytest.raises(AssertionError, match=message):
        check_scorer(cls())


def test_classes_and_lacking_methods_are_named():
    with pytest.raises(TypeError, match="got the class MCMScorer"):
        check_scorer(MCMScorer)
    with pytest.raises(TypeError, match="which has no fit, predict, decision_function, predict_uncertainty"):
        check_scorer(object())
    verbs = dict.fromkeys(("predict", "decision_function", "predict_uncertainty"), MCMScorer.predict)
    with pytest.raises(TypeError, match=r"has no fit\. A scorer has fit\(z_img, z_txt, labels=None\),"):
        check_scorer(type("Fitless", (), verbs)())
