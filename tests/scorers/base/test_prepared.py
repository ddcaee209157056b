"""What a scorer has computed from candidates alone is used again, and only while it holds."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from support.all_scorers import EXAMPLES, fitted
from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.inputs.candidates import Candidates
from vilu_sdk.scorers.posterior import classes


def counted(scorer, monkeypatch):
    calls = []
    among = type(scorer)._among
    monkeypatch.setattr(type(scorer), "_among", lambda self, text: calls.append(1) or among(self, text))
    return calls


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_other_candidates_never_get_the_scores_of_the_last_ones(scorer, toy):
    used = fitted(scorer, toy)
    fresh = pickle.dumps(used)
    sets = [toy.z_txt, 3 * toy.z_txt, toy.z_txt]
    if not scorer.fixed_candidates:
        sets += [toy.z_txt[::-1], toy.z_txt, toy.z_txt[:4], toy.z_txt]
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


@pytest.mark.parametrize(
    "kind", ["float16", "float32", "float64", "tensor", "half tensor", "bfloat16 tensor"]
)
def test_candidates_changed_in_place_are_read_again(toy, kind):
    z_txt = toy.z_txt.astype(kind) if "tensor" not in kind else torch.tensor(toy.z_txt)
    if kind.endswith(" tensor"):
        z_txt = z_txt.to(getattr(torch, kind.removesuffix(" tensor")))
    scorer = MCMScorer()
    before = scorer.decision_function(toy.z_img, z_txt)
    z_txt[:] = z_txt[[1, 0, *range(2, len(z_txt))]] * 2  # an order and norms that do not change MCM's score
    np.testing.assert_allclose(scorer.decision_function(toy.z_img, z_txt), before, rtol=1e-3, atol=1e-5)
    swapped = scorer.predict(toy.z_img, z_txt)
    np.testing.assert_array_equal(swapped, MCMScorer().predict(toy.z_img, z_txt))
    z_txt[0] += 1
    np.testing.assert_array_equal(
        scorer.decision_function(toy.z_img, z_txt), MCMScorer().decision_function(toy.z_img, z_txt)
    )


def test_a_changed_width_or_type_of_the_candidates_is_noticed(toy):
    scorer = MCMScorer()
    scorer.decision_function(toy.z_img, toy.z_txt)
    with pytest.raises(ValueError, match="width"):
        scorer.decision_function(toy.z_img[:, :-1], toy.z_txt)
    narrow = scorer.decision_function(toy.z_img[:, :-1], toy.z_txt[:, :-1])
    np.testing.assert_array_equal(narrow, MCMScorer().decision_function(toy.z_img[:, :-1], toy.z_txt[:, :-1]))
    bad = toy.z_txt.copy()
    bad[1] = np.nan
    with pytest.raises(ValueError, match="row 1"):
        scorer.decision_function(toy.z_img, bad)


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


def test_what_is_said_is_the_caller_s_own(toy):
    for scorer in (MCMScorer(), ViLUEstimator(random_state=0).fit(toy.z_img, toy.z_txt, toy.labels)):
        said = scorer.judge(toy.z_img[:5], toy.z_txt)
        before = said.answer.copy()
        said.prediction[:] = -7
        said.uncertainty[:] = -7
        np.testing.assert_array_equal(said.answer, before)
        assert (scorer.predict(toy.z_img[:5], toy.z_txt) >= 0).all()


def test_texts_are_matched_once_for_a_new_set(toy, monkeypatch):
    scorer = ViLUEstimator(random_state=0).fit(toy.z_img, toy.z_txt, toy.labels)
    calls = []
    for name in ("match_texts", "zero_shot"):
        function = getattr(classes, name)
        monkeypatch.setattr(
            classes, name, lambda *given, name=name, function=function: calls.append(name) or function(*given)
        )
    scorer.decision_function(toy.z_img, toy.z_txt[:4])
    assert sorted(calls) == ["match_texts", "zero_shot"]
    scorer.decision_function(toy.z_img, toy.z_txt[:5])
    assert len(calls) == 4


def test_equal_candidates_are_found_wherever_they_are():
    rows = np.random.default_rng(0).normal(size=(300, 7)).astype(np.float32)
    assert Candidates(rows).first is None
    rows[270] = rows[3]
    expected = np.arange(300)
    expected[270] = 3
    np.testing.assert_array_equal(Candidates(rows).first, expected)
