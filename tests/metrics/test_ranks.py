"""Mean ranks over data sets, against the examples of Demšar's paper."""

import math

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from vilu_sdk.metrics.ranks import cliques, critical_difference, rank_over_sets, wins

# Table 6 of Demšar (2006): AUC of C4.5, with m, with cf, with both, on 14 sets.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_the_worked_example_of_the_paper():
    found = rank_over_sets(DEMSAR, 0.95)
    assert found.mean == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=1e-3)
    assert found.critical_difference == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    # The paper's F = 3.69 of F(3, 39) is a p of 0.0197; it leaves out that one set is a tie of all.
    assert 0.005 < found.p < 0.0197
    assert rank_over_sets(DEMSAR, 0.90).critical_difference == pytest.approx(1.12, abs=5e-3)


@pytest.mark.parametrize(
    ("confidence", "table"),
    [
        (0.95, [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]),
        (0.90, [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]),
    ],
)
def test_critical_values_are_those_of_the_papers_table(confidence, table):
    for count, q in enumerate(table, 2):
        of_six = critical_difference(count, 6, confidence) * 6 / math.sqrt(count * (count + 1))
        assert of_six == pytest.approx(q, abs=1.1e-3)


def test_p_is_near_friedmans_where_sets_are_many():
    for seed in range(4):
        values = np.random.default_rng(seed).normal(size=(60, 4)) + np.array([0, 0.1, 0.2, 0.4])
        assert rank_over_sets(values).p == pytest.approx(friedmanchisquare(*values.T).pvalue, abs=0.02)


def test_one_set_or_scorer_tests_nothing():
    for shape in ((1, 4), (6, 1)):
        found = rank_over_sets(np.random.default_rng(0).normal(size=shape))
        assert math.isnan(found.p)
        assert math.isnan(found.critical_difference)


def test_few_sets_that_agree_prove_little():
    # Two sets rank two scorers alike by chance every second time, three sets three scorers 1 in 36.
    assert rank_over_sets(np.array([[1.0, 2.0]] * 2)).p == pytest.approx(1 / 2, abs=0.02)
    assert rank_over_sets(np.array([[1.0, 2.0, 3.0]] * 3)).p == pytest.approx(1 / 36, abs=0.006)
    assert rank_over_sets(np.ones((4, 3))).p == 1


def test_cliques_are_the_longest_groups_within_the_difference():
    ranks = np.array([4.0, 1.0, 1.5, 2.2, 3.9])
    assert cliques(ranks, 1.0) == [[1, 2], [2, 3], [4, 0]]
    assert cliques(ranks, 10.0) == [[1, 2, 3, 4, 0]]
    assert cliques(ranks, 0.05) == []


def test_wins_of_one_are_losses_of_the_other():
    values = np.random.default_rng(1).integers(3, size=(20, 3)).astype(float)
    values[3, 0] = np.nan
    counts = wins(values)
    assert (counts[:, :, 0] == counts[:, :, 2].T).all()
    assert (counts[:, :, 1] == counts[:, :, 1].T).all()
    assert (counts.sum(axis=-1) == np.array([[19, 19, 19], [19, 20, 20], [19, 20, 20]])).all()
    assert (wins(values, within=5)[..., 1] == counts.sum(axis=-1)).all()
