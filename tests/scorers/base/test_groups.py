"""Which rows are independent: exact copies, groups that are given, near copies that nobody mentioned."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

from vilu_sdk import ViLUEstimator
from vilu_sdk.evaluation import cross_val_uncertainty
from vilu_sdk.exceptions import RepeatedImagesWarning
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.task import check_task
from vilu_sdk.scorers.base.class_means import leave_own_out
from vilu_sdk.scorers.base.groups import (
    MOST_OF_GROUP,
    copies,
    correlation_in_groups,
    distinct_rows,
    draw_groups,
    group_weights,
    near_copies,
    number,
)


def unit(z):
    return torch.nn.functional.normalize(torch.as_tensor(z, dtype=torch.float32), dim=1)


def noisy(z, noise, rng):
    """Add noise of so many times the images' spread."""
    spread = np.sqrt(np.square(z - z.mean(axis=0)).sum(axis=1).mean())
    return z + noise * spread * rng.normal(size=z.shape) / z.shape[1] ** 0.5


# --- rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [2, 16, 300])
def test_copies_are_found_wherever_they_stand_and_however_long_they_are(d, dtype):
    rng = np.random.default_rng(0)
    source = rng.integers(40, size=500)
    z = rng.normal(size=(40, d))[source] * rng.uniform(0.1, 10, size=(500, 1))
    found = copies(Rows(z.astype(dtype), "z_img"))
    assert torch.equal(number(found), number(torch.tensor(source)))


def test_images_that_differ_are_no_copies():
    z = np.random.default_rng(0).normal(size=(2000, 8))
    assert len(torch.unique(copies(Rows(z, "z_img")))) == 2000
    assert len(torch.unique(copies(Rows(np.concatenate([z, z + 1e-3]), "z_img")))) == 4000


def test_what_was_said_already_is_said_once():
    z = np.eye(4)[[0, 1, 0, 0, 2, 1]]
    rows, groups, which = distinct_rows(check_task(z, np.eye(4), [0, 1, 0, 1, 2, 1]))
    assert rows.tolist() == [0, 1, 3, 4]
    assert which.tolist() == [0, 1, 0, 2, 3, 1]
    assert groups.tolist() == [0, 1, 0, 2]  # one image with two labels
    rows, groups, _ = distinct_rows(check_task(z, np.eye(4), [0, 1, 0, 1, 2, 1], groups=list("aabbcc")))
    assert rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert groups.tolist() == [0, 0, 1, 1, 2, 2]
    captions = np.random.default_rng(0).normal(size=(6, 4))
    rows, groups, _ = distinct_rows(check_task(z, captions))
    assert groups.tolist() == [0, 1, 0, 0, 2, 1]


def test_long_groups_are_read_at_even_steps():
    z = np.random.default_rng(0).normal(size=(1100, 3))
    groups = np.repeat([0, 1], [1000, 100])
    rows, kept, which = distinct_rows(check_task(z, np.eye(3), np.zeros(1100, int), groups=groups))
    assert torch.bincount(kept).tolist() == [MOST_OF_GROUP, 100]
    assert np.diff(rows[:MOST_OF_GROUP]).max() <= 4
    assert torch.equal(which[rows], torch.arange(len(rows)))
    assert int((which < 0).sum()) == 1100 - len(rows)


@pytest.mark.parametrize("most", [1, 10, 37])
def test_groups_are_drawn_whole(most):
    groups = torch.tensor(np.random.default_rng(0).integers(12, size=60))
    rows = draw_groups(number(groups), most, torch.Generator().manual_seed(0))
    drawn = torch.unique(groups[rows])
    assert torch.equal(rows, torch.nonzero(torch.isin(groups, drawn))[:, 0])
    assert len(rows) <= most or len(drawn) == 1


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 1.0])
def test_a_group_weighs_what_its_rows_say_beside_each_other(correlation):
    rng = np.random.default_rng(0)
    groups, classes = torch.arange(100).repeat_interleave(4), torch.arange(100).repeat_interleave(4) % 5
    shared = rng.normal(size=(100, 30))[groups]
    own = rng.normal(size=(400, 30))
    x = torch.tensor(correlation**0.5 * shared + (1 - correlation) ** 0.5 * own + 5 * np.eye(5, 30)[classes])
    found = correlation_in_groups(x, classes, groups)
    assert found == pytest.approx(correlation, abs=0.04)
    total = group_weights(groups, correlation).sum()
    assert float(total) == pytest.approx(100 * 4 / (1 + 3 * correlation))
    assert correlation_in_groups(x[:16], classes[:16], groups[:16]) == 1.0  # no class has two groups


# --- near copies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [30, 100, 400])
@pytest.mark.parametrize("d", [2, 5, 40])
@pytest.mark.parametrize("k", [3, 60])
def test_near_copies_are_told_from_different_images(n, d, k):
    rng = np.random.default_rng(n)
    labels = rng.integers(k, size=n)
    for spread in (0.5, 2.0):
        z = rng.normal(size=(k, d))[labels] + spread * rng.normal(size=(n, d))
        assert near_copies(unit(z), torch.tensor(labels)) < 0.3
    if d == 40:
        for noise, views in ((0.02, 2), (0.2, 4)):
            near = noisy(z.repeat(views, axis=0), noise, rng)
            assert near_copies(unit(near), torch.tensor(labels.repeat(views))) > 0.7


# --- the default recipe ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd():
    """Images and labels of twelve classes in many dimensions, where memory looks like knowledge."""
    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(12, 48))
    labels = rng.integers(12, size=900)
    centres = z_txt + rng.normal(size=(12, 48))
    return centres[labels] + 2.5 * rng.normal(size=(900, 48)), z_txt, labels


def nll(est, crowd):
    z_img, z_txt, labels = (crowd[0][200:], crowd[1], crowd[2][200:])
    wrong = est.predict(z_img, z_txt) != labels
    return log_loss(wrong, est.predict_uncertainty(z_img, z_txt))


def fit(crowd, rows, *, noise=0.0, correct=False, **known):
    z_img, z_txt, labels = crowd
    z = noisy(z_img[rows], noise, np.random.default_rng(1))
    est = ViLUEstimator(logit_scale=20, random_state=0)
    if correct:
        return est.fit(z, z_txt, correct=est.predict(z_img[rows], z_txt) == labels[rows], **known)
    return est.fit(z, z_txt, labels[rows], **known)


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("times", [2, 5])
def test_exact_copies_change_nothing(crowd, times, correct):
    rows = np.arange(200)
    once, often = (fit(crowd, some, correct=correct) for some in (rows, rows.repeat(times)))
    np.testing.assert_array_equal(*(x.decision_function(crowd[0], crowd[1]) for x in (once, often)))


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("noise", [0.1, 0.4])
def test_groups_keep_near_copies_from_passing_for_new_images(crowd, noise, correct):
    rows = np.arange(200).repeat(5)
    once = nll(fit(crowd, np.arange(200), noise=noise, correct=correct), crowd)
    with pytest.warns(RepeatedImagesWarning, match="pass groups="):
        blind = nll(fit(crowd, rows, noise=noise, correct=correct), crowd)
    told = nll(fit(crowd, rows, noise=noise, correct=correct, groups=rows), crowd)
    assert told < once + 0.01
    assert told < blind - 0.1 or correct  # which says little, and so is trusted little


def test_groups_of_one_row_are_no_groups(crowd):
    names = [f"image {i}" for i in range(200)]
    plain, told = fit(crowd, np.arange(200)), fit(crowd, np.arange(200), groups=names)
    np.testing.assert_array_equal(*(x.decision_function(crowd[0], crowd[1]) for x in (plain, told)))


def test_groups_are_counted_and_checked(crowd):
    with pytest.warns(UserWarning, match="9 different images"):
        fit(crowd, np.arange(9).repeat(30))
    wrong = (
        np.arange(7),
        np.zeros((200, 1), int),
        np.full(200, np.nan),
        np.full(200, np.inf),
        np.arange(200) < 9,
    )
    for groups in wrong:
        with pytest.raises(ValueError, match="groups"):
            fit(crowd, np.arange(200), groups=groups)


@pytest.mark.parametrize("n", [50, 300])
def test_different_images_raise_no_alarm(digits, n):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RepeatedImagesWarning)
        ViLUEstimator(random_state=0).fit(digits.z_img_fit[:n], digits.z_txt, digits.labels_fit[:n])


# --- captions, folds and class means ---------------------------------------------------------------


def test_pairs_given_twice_are_pairs_given_once():
    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(300, 24))
    z_img = z_txt + 2 * rng.normal(size=(300, 24))
    once = ViLUEstimator(logit_scale=20, random_state=0).fit(z_img, z_txt)
    twice = ViLUEstimator(logit_scale=20, random_state=0).fit(np.tile(z_img, (2, 1)), np.tile(z_txt, (2, 1)))
    assert once.model_.sources
    np.testing.assert_array_equal(*(x.decision_function(z_img, z_txt) for x in (once, twice)))


def test_too_few_images_of_many_captions_are_too_few():
    rng = np.random.default_rng(0)
    z_img = rng.normal(size=(100, 24)).repeat(5, axis=0)
    with pytest.warns(UserWarning, match="100 different pairs are fewer"):
        ViLUEstimator(random_state=0).fit(z_img, z_img + 0.5 * rng.normal(size=(500, 24)))


def test_folds_hold_whole_groups(crowd):
    z_img, z_txt, labels = (crowd[0][:200].repeat(4, axis=0), crowd[1], crowd[2][:200].repeat(4))
    z_img = noisy(z_img, 0.05, np.random.default_rng(0))
    groups = np.arange(200).repeat(4)
    bound = ViLUEstimator(logit_scale=20, random_state=0).bind(z_txt)
    wrong = bound.fit(z_img, labels, groups=groups).find_failures(z_img, labels)
    u = cross_val_uncertainty(bound, z_img, labels, groups=groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepeatedImagesWarning)
        shuffled = StratifiedKFold(5, shuffle=True, random_state=0)
        blind = cross_val_uncertainty(bound, z_img, labels, cv=shuffled)
    assert log_loss(wrong, blind) < log_loss(wrong, u)  # siblings in the fit tell the answer


def test_class_means_are_those_without_the_group():
    rng = np.random.default_rng(0)
    groups, labels = np.arange(40).repeat(3), np.arange(40).repeat(3) % 4
    z = rng.normal(size=(4, 30))[labels] + noisy(3 * rng.normal(size=(40, 30))[groups], 0.05, rng)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    means = np.stack([z[labels == c].mean(axis=0) for c in range(4)])
    turned = leave_own_out(z, labels, means, torch.ones(120).double(), torch.tensor(groups))
    for row in range(0, 120, 7):
        rest = z[(labels == labels[row]) & (groups != groups[row])].mean(axis=0)
        own = means[labels[row]]
        expected = z[row] @ rest / np.linalg.norm(rest)
        found = turned[row] @ own / np.linalg.norm(own)
        plain = z[row] @ own / np.linalg.norm(own)
        assert abs(found - expected) < 0.3 * abs(plain - expected)
