"""Decisions of least expected cost."""

import numpy as np
import pandas as pd
import pytest

from support.all_scorers import EXAMPLES, fitted
from vilu_sdk import LVUScorer, MCMScorer
from vilu_sdk.selective import least_cost

COSTS = np.random.default_rng(0).random((10, 10)) + 1 - np.eye(10)


@pytest.fixture(scope="module")
def mcm(digits):
    return MCMScorer(logit_scale=digits.logit_scale)


@pytest.fixture(scope="module")
def new(digits):
    return digits.z_img_test, digits.z_txt


def test_equal_costs_of_errors_give_the_likeliest_candidate_and_chows_rule(mcm, new):
    p = mcm.predict_proba(*new)
    found = least_cost(mcm, *new, 1 - np.eye(10), ask_cost=0.3)
    np.testing.assert_array_equal(found.asked, 1 - p.max(axis=1) > 0.3)
    np.testing.assert_array_equal(found.decision[~found.asked], p.argmax(axis=1)[~found.asked])
    assert 0 < found.asked.sum() < len(p)


@pytest.mark.parametrize("actions", [1, 2, 10])
def test_no_other_decision_costs_less(actions, mcm, new, digits):
    costs = COSTS[:, :actions]
    found = least_cost(mcm, *new, costs)
    p = mcm.predict_proba(*new).astype(np.float64)
    expected = p / p.sum(axis=1, keepdims=True) @ costs
    np.testing.assert_allclose(found.expected_cost, expected.min(axis=1), rtol=1e-5)
    assert (expected[np.arange(len(p)), found.decision] <= expected.min(axis=1) + 1e-6).all()
    np.testing.assert_array_equal(found.cost(digits.labels_test), costs[digits.labels_test, found.decision])


def test_costs_and_person_scale_together(mcm, new):
    one, other = (least_cost(mcm, *new, c * COSTS, ask_cost=c * 0.4, budget=50) for c in (1.0, 8.0))
    np.testing.assert_array_equal(one.decision, other.decision)
    np.testing.assert_allclose(8 * one.expected_cost, other.expected_cost)


def test_what_is_the_same_whatever_is_decided_decides_nothing(mcm, new):
    """A cost of each class that no decision changes moves no decision."""
    one = least_cost(mcm, *new, COSTS).decision
    np.testing.assert_array_equal(one, least_cost(mcm, *new, COSTS + np.arange(10)[:, None]).decision)


@pytest.mark.parametrize("budget", [0, 1, 30, 10**6])
def test_a_budget_goes_where_it_saves_most(budget, mcm, new):
    free = least_cost(mcm, *new, COSTS, ask_cost=0.4)
    found = least_cost(mcm, *new, COSTS, ask_cost=0.4, budget=budget)
    assert found.asked.sum() == min(budget, free.asked.sum())
    assert not (found.asked & ~free.asked).any()
    left = free.asked & ~found.asked
    if budget and left.any():
        assert found.alone_cost[found.asked].min() >= found.alone_cost[left].max()
    assert f"asks a person about {found.asked.sum()} of 799" in str(found)


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_every_scorer_with_a_posterior_decides(scorer, toy):
    z_img, z_txt = toy.z_img[:9], toy.z_txt
    if not hasattr(scorer, "predict_proba"):
        with pytest.raises(TypeError, match="has no predict_proba"):
            least_cost(scorer, z_img, z_txt, 1 - np.eye(6))
        return
    scorer = fitted(scorer, toy)
    found = least_cost(scorer, z_img, z_txt, 1 - np.eye(6))
    np.testing.assert_array_equal(found.decision, scorer.predict_proba(z_img, z_txt).argmax(axis=1))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"costs": np.ones((9, 10))}, ValueError, "a row for each of the 10 candidates"),
        ({"costs": np.ones(10)}, ValueError, "a row for each of the 10 candidates"),
        ({"costs": np.full((10, 2), np.nan)}, ValueError, "finite"),
        ({"costs": np.full((10, 2), 1e200)}, ValueError, r"at most 1e\+100"),
        ({"costs": pd.DataFrame(COSTS, index=list("abcdefghij"))}, ValueError, "z_txt_set has none"),
        ({"costs": pd.DataFrame(COSTS)[::-1]}, ValueError, "neither names nor 0 to 9 in order"),
        ({"ask_cost": 10**400}, ValueError, "ask_cost must be finite"),
        ({"ask_cost": 0.0}, ValueError, "ask_cost must be finite and above 0"),
        ({"ask_cost": 1.0, "budget": 1.5}, ValueError, "budget must be an integer"),
        ({"budget": 3}, ValueError, "pass ask_cost too"),
        ({"scorer": LVUScorer()}, TypeError, "has no predict_proba"),
    ],
)
def test_what_cannot_be_decided_is_refused_in_words(change, error, message, mcm, new):
    options = {"scorer": mcm, "z_img": new[0], "z_txt_set": new[1], "costs": COSTS} | change
    with pytest.raises(error, match=message):
        least_cost(**options)


def test_rows_of_a_frame_are_found_by_name(mcm, new):
    names = [f"class {row}" for row in range(10)]
    named, frame = dict(zip(names, new[1], strict=True)), pd.DataFrame(COSTS, index=names)
    expected = least_cost(mcm, new[0], new[1], COSTS).expected_cost
    for costs in (frame, frame.iloc[::-1]):
        np.testing.assert_array_equal(least_cost(mcm, new[0], named, costs).expected_cost, expected)
    with pytest.raises(ValueError, match="other"):
        least_cost(mcm, new[0], named, frame.rename(index={"class 3": "other"}))


def test_images_of_no_candidate_have_no_cost(mcm, new, digits):
    labels = np.where(np.arange(799) == 5, -1, digits.labels_test)
    with pytest.raises(ValueError, match=r"labels\[5\] is -1"):
        least_cost(mcm, *new, COSTS).cost(labels)
