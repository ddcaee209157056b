"""What a scorer has computed from candidates alone is used again, and only while it holds."""

import copy
import pickle

import numpy as np
import pytest
from all_scorers import EXAMPLES, fitted
from sklearn.base import clone

from vilu_sdk import MCMScorer, ViLUEstimator


def counted(scorer, monkeypatch):
    calls = []
    decision = type(scorer)._decision
    monkeypatch.setattr(type(scorer), "_decision", lambda self, text: calls.append(1) or decision(self, text))
    return calls


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_other_candidates_never_get_the_scores_of_the_last_ones(scorer, toy):
    used = fitted(scorer, toy)
    fresh = pickle.dumps(used)
    sets = [toy.z_txt, 3 * toy.z_txt, toy.z_txt[::-1], toy.z_txt]
    if not scorer.fixed_candidates:
        sets += [toy.z_txt[:4], toy.z_txt]
    for z_txt in sets:
        expected = pickle.loads(fresh).decision_function(toy.z_img, z_txt)
        np.testing.assert_array_equal(used.decision_function(toy.z_img, z_txt), expected)


def test_equal_candidates_are_prepared_once_whatever_holds_them(toy, monkeypatch):
    scorer = MCMScorer()
    calls = counted(scorer, monkeypatch)
    for z_txt in (toy.z_txt, toy.z_txt.copy(), toy.z_txt.tolist()):
        scorer.decision_function(toy.z_img, z_txt)
    assert len(calls) == 1
    changed = toy.z_txt.copy()
    scorer.decision_function(toy.z_img, changed)
    changed[0, 0] += 1  # in place, in the array that was given
    scorer.decision_function(toy.z_img, changed)
    assert len(calls) == 2


def test_a_changed_scorer_prepares_anew(toy, beside):
    scorer = MCMScorer()
    scorer.decision_function(toy.z_img, toy.z_txt)
    scorer.set_params(logit_scale=3.0)
    expected = MCMScorer(logit_scale=3.0).decision_function(toy.z_img, toy.z_txt)
    np.testing.assert_array_equal(scorer.decision_function(toy.z_img, toy.z_txt), expected)

    est = ViLUEstimator(logit_scale=5.0, random_state=0).fit(toy.z_img, toy.z_txt, toy.labels)
    est.decision_function(toy.z_img, toy.z_txt)
    expected = clone(est).fit(beside.z_img, toy.z_txt, beside.labels).decision_function(toy.z_img, toy.z_txt)
    refitted = est.fit(beside.z_img, toy.z_txt, beside.labels)
    np.testing.assert_array_equal(refitted.decision_function(toy.z_img, toy.z_txt), expected)


def test_copies_do_not_carry_it(toy):
    scorer = MCMScorer()
    size = len(pickle.dumps(scorer))
    scorer.decision_function(toy.z_img, toy.z_txt)
    assert len(pickle.dumps(scorer)) == size
    assert vars(copy.deepcopy(scorer)) == vars(clone(scorer))
