"""Sets of several scorers, each fitted without a fold: equal to MAPIE's, and their weaker promise."""

import numpy as np
import pytest
from mapie.classification import CrossConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import BaseCrossValidator

from vilu_sdk import (
    MCMScorer,
    SelectivePredictor,
    SetPredictor,
    TemperatureScaledMCMScorer,
    ViLUEstimator,
)
from vilu_sdk.inputs.candidates import open_candidates
from vilu_sdk.inputs.task import check_task
from vilu_sdk.scorers.base.folds import fits_without
from vilu_sdk.selective.cross import crossed_bound


class Folded(ClassifierMixin, BaseEstimator):
    """A scorer as a classifier of embeddings, for MAPIE."""

    def __init__(self, scorer, z_txt):
        self.scorer, self.z_txt = scorer, z_txt

    def fit(self, X, y):
        self.scorer_ = clone(self.scorer).fit(X, self.z_txt, y)
        self.classes_ = np.arange(len(self.z_txt))
        return self

    def predict_proba(self, X):
        return self.scorer_.predict_proba(X, self.z_txt).astype(np.float64)

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)


def test_crossed_sets_are_mapies_on_the_same_folds(digits):
    """For n where ⌊α (n + 1)⌋, which the theorem asks for, is ⌈α (n − 1)⌉, which MAPIE counts."""
    z_img, labels = digits.z_img_fit[:201], digits.labels_fit[:201]
    scorer = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    sets = SetPredictor(scorer, 0.95, cv=3).fit(z_img, digits.z_txt, labels)
    task = check_task(z_img, open_candidates(digits.z_txt), labels)
    outs = [out for out, _ in fits_without(scorer, task, labels, 3, 0)]
    folds = [(np.setdiff1d(np.arange(201), out), out) for out in outs]
    theirs = CrossConformalClassifier(
        Folded(scorer, digits.z_txt), confidence_level=0.95, conformity_score="lac", cv=Given(folds)
    ).fit_conformalize(z_img, labels)
    found = theirs.predict_set(digits.z_img_test, agg_scores="crossval")[1][:, :, 0]
    assert (found == sets.predict_sets(digits.z_img_test, digits.z_txt)).mean() > 0.9995
    assert found.sum(axis=1).mean() > 1.01


class Given(BaseCrossValidator):
    """Folds that are given."""

    def __init__(self, folds):
        self.folds = folds

    def get_n_splits(self, *_, **__):
        return len(self.folds)

    def split(self, *_, **__):
        yield from self.folds


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_crossed_sets_cover_more_than_is_proved_and_about_what_is_asked_for(method, digits):
    z_img = np.concatenate([digits.z_img_fit, digits.z_img_test])
    labels = np.concatenate([digits.labels_fit, digits.labels_test])
    scorer = TemperatureScaledMCMScorer(logit_scale=digits.logit_scale)
    found = []
    for seed in range(60):
        rows = np.random.default_rng(seed).permutation(len(labels))
        known, new = rows[:60], rows[60:560]
        sets = SetPredictor(scorer, 0.8, method, cv=4).fit(z_img[known], digits.z_txt, labels[known])
        found.append(sets.predict_sets(z_img[new], digits.z_txt)[np.arange(500), labels[new]].mean())
    assert sets.report_.coverage_bound == crossed_bound(60, 0.8, 4) < 0.6
    assert np.mean(found) > 0.8 - 3 * np.std(found) / 60**0.5


@pytest.mark.parametrize("n", [10, 60, 500])
@pytest.mark.parametrize("folds", [2, 5, 10])
def test_what_is_proved_of_folds_is_near_twice_the_rate(n, folds):
    assert 0.8 - (2 / n) ** 0.5 <= crossed_bound(n, 0.9, folds) <= 0.8


def test_crossed_sets_are_the_same_alone_and_saved(digits, tmp_path):
    scorer = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    sets = SetPredictor(scorer, 0.9, "aps", cv=3).fit(
        digits.z_img_fit[:120], digits.z_txt, digits.labels_fit[:120]
    )
    members = sets.predict_sets(digits.z_img_test, digits.z_txt)
    alone = [sets.predict_sets(digits.z_img_test[i : i + 1], digits.z_txt)[0] for i in range(20)]
    assert (members[:20] == alone).all()
    sets.save_pretrained(tmp_path)
    again = SetPredictor.from_pretrained(tmp_path)
    assert (again.predict_sets(digits.z_img_test, digits.z_txt) == members).all()
    assert again.report_ == sets.report_
    names = sets.predict_names(digits.z_img_test, digits.z_txt)
    assert [len(some) for some in names] == members.sum(axis=1).tolist()
    fewer = sets.set_params(cv=None).fit(digits.z_img_fit[:120], digits.z_txt, digits.labels_fit[:120])
    assert fewer.report_.folds == 0
    assert fewer.report_.fit_rows == 60


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"scorer": MCMScorer()}, "has no fit"),
        ({"scorer": SelectivePredictor(ViLUEstimator())}, "no threshold"),
        ({"size_limit": 3}, "size_limit"),
        ({"allow_empty": False}, "allow_empty"),
        ({"per_label": True}, "per_label"),
        ({"method": "raps"}, "free_ranks"),
        ({"cv": 1}, "cv"),
    ],
)
def test_what_folds_do_not_take_is_named(how, message, digits):
    with pytest.raises(ValueError, match=message):
        SetPredictor(**({"scorer": ViLUEstimator(), "cv": 3} | how)).fit(
            digits.z_img_fit[:60], digits.z_txt, digits.labels_fit[:60]
        )
