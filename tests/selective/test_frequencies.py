"""Calibration for class frequencies that are not those of the calibration set."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import binom

from vilu_sdk import MCMScorer, SelectivePredictor, SetPredictor, ViLUEstimator
from vilu_sdk.inputs.candidates import open_candidates
from vilu_sdk.metrics.ranking import rank
from vilu_sdk.selective.arrangement import as_frequent
from vilu_sdk.selective.bounds import fixed_sequence

DRAWS, K = 500, 4
OPENED = open_candidates(np.eye(K, 8, dtype=np.float32))
BEFORE, AFTER = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.1, 0.3, 0.5])
#: Error rates at the highest uncertainty, by class: the last one is hard.
RATES = np.array([0.05, 0.1, 0.2, 0.45])


def draw(shares, n, rng):
    labels, u = rng.choice(K, size=n, p=shares), rng.random(n)
    return labels, u, rng.random(n) < RATES[labels] * u


def picked(labels, frequencies):
    rows = np.arange(len(labels))
    return as_frequent(rows, SimpleNamespace(labels=torch.tensor(labels)), OPENED, frequencies)


def test_the_promise_holds_for_the_frequencies_that_were_given():
    rng = np.random.default_rng(0)
    _, u_new, wrong_new = draw(AFTER, 60_000, rng)
    broken = {True: 0, False: 0}
    for _ in range(DRAWS):
        labels, u, wrong = draw(BEFORE, 900, rng)
        for told in broken:
            rows = picked(labels, AFTER if told else None)
            ranking = rank(u[rows], wrong[rows])
            taken = u_new <= ranking.threshold(fixed_sequence(ranking, 0.08, 0.05))
            broken[told] += taken.any() and wrong_new[taken].mean() > 0.08
    assert broken[True] <= binom.ppf(0.999, DRAWS, 0.05)
    assert broken[False] > 0.5 * DRAWS  # else this would show nothing


def test_classes_become_as_frequent_as_given_and_none_stays():
    labels = np.append(draw(BEFORE, 20_000, np.random.default_rng(1))[0], np.full(2000, -1))
    kept = labels[picked(labels, 7 * AFTER)]
    shares = np.bincount(kept[kept >= 0], minlength=K) / (kept >= 0).sum()
    np.testing.assert_allclose(shares, AFTER, atol=0.02)
    assert (kept < 0).mean() == pytest.approx(2000 / 22_000, abs=0.01)
    assert (labels[picked(labels, [0, 0, 1, 1])] >= 2)[:-1].sum() > 0
    assert not np.isin(labels[picked(labels, [0, 0, 1, 1])], [0, 1]).any()
    np.testing.assert_array_equal(picked(labels, np.bincount(labels[labels >= 0])), np.arange(len(labels)))


@pytest.mark.parametrize("one_set", [False, True])
def test_thresholds_and_sets_draw_the_same_rows(one_set, digits):
    scale = {"logit_scale": digits.logit_scale}
    scorer = ViLUEstimator(**scale, random_state=0) if one_set else MCMScorer(**scale)
    data = digits.z_img_fit, digits.z_txt, digits.labels_fit
    shares = np.arange(1.0, 11)
    threshold = SelectivePredictor(scorer, 0.05).fit(*data, frequencies=shares)
    sets = SetPredictor(SelectivePredictor(scorer, 0.05), 0.9).fit(*data, frequencies=shares)
    report = sets.report_.answers
    assert report == threshold.report_
    assert "as frequent as given" in str(report)
    assert "as frequent as given" in str(sets.report_)
    assert sets.report_.n == report.n - report.accepted
    assert 100 < report.n < len(digits.labels_fit) - report.fit_rows
    assert report.fit_rows == (399 if one_set else 0)
    named = dict(zip(digits.class_names, digits.z_txt, strict=True))
    by_name = dict(zip(digits.class_names[::-1], shares[::-1], strict=True))
    again = SelectivePredictor(scorer, 0.05).fit(data[0], named, data[2], frequencies=by_name)
    assert again.report_ == report


def test_sets_cover_a_mixture_that_was_given(digits):
    """Of images of the first five digits, a set of all digits calibrates sets as those alone do."""
    mcm = MCMScorer(logit_scale=digits.logit_scale)
    data = digits.z_img_fit, digits.z_txt, digits.labels_fit
    few = data[2] < 5
    one = SetPredictor(mcm).fit(*data, frequencies=np.bincount(data[2][few], minlength=10)).report_
    other = SetPredictor(mcm).fit(data[0][few], data[1], data[2][few]).report_
    assert (one.n, one.threshold, one.sizes) == (other.n, other.threshold, other.sizes)


@pytest.mark.parametrize(
    ("frequencies", "message"),
    [
        (np.ones(9), "9 entries for 10 candidates"),
        ("estimated", "one number for each candidate"),
        (np.append(np.ones(9), -1), "frequencies"),
    ],
)
@pytest.mark.parametrize("cls", [SelectivePredictor, SetPredictor])
def test_what_are_no_frequencies_is_refused_in_words(cls, frequencies, message, digits):
    mcm = MCMScorer(logit_scale=digits.logit_scale)
    with pytest.raises(ValueError, match=message):
        cls(mcm).fit(digits.z_img_fit, digits.z_txt, digits.labels_fit, frequencies=frequencies)


def test_frequencies_need_labels_and_images_of_each_class(digits):
    mcm = MCMScorer(logit_scale=digits.logit_scale)
    right = np.ones(len(digits.labels_fit), dtype=bool)
    with pytest.raises(ValueError, match="pass labels"):
        SelectivePredictor(mcm).fit(digits.z_img_fit, digits.z_txt, correct=right, frequencies=np.ones(10))
    some = digits.labels_fit != 3
    with pytest.raises(ValueError, match=r"frequencies\[3\] is above 0, but no calibration image"):
        SetPredictor(mcm).fit(
            digits.z_img_fit[some], digits.z_txt, digits.labels_fit[some], frequencies=np.ones(10)
        )
