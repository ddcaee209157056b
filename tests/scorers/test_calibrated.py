"""Calibration of any scorer: what a probability must be, and what must not be lost on the way."""

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from vilu_sdk import (
    DoctorScorer,
    EntropyScorer,
    MCMScorer,
    RelUScorer,
    TemperatureScaledMCMScorer,
    ViLUEstimator,
)
from vilu_sdk.evaluation import brier_score, evaluate, expected_calibration_error
from vilu_sdk.inputs.task import check_task
from vilu_sdk.scorers.base.among import Among
from vilu_sdk.scorers.base.scorer import Scorer
from vilu_sdk.scorers.calibrated import CalibratedScorer, calibrate

METHODS = ["platt", "beta", "isotonic"]
every_method = pytest.mark.parametrize("method", METHODS)


def draw(n, seed=0):
    """Log-odds that are too extreme by a factor of 3 and off by 1, and errors."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-0.5, 1.2, size=n)
    return 3 * truth - 1, rng.random(n) < expit(truth), truth


# --- curves ----------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("is_probability", [True, False])
def test_the_truth_is_found_with_many_rows(method, is_probability):
    x, wrong, truth = draw(20_000)
    found = calibrate(x, wrong, method, is_probability)(x)
    assert np.abs(expit(found) - expit(truth)).mean() < 0.02


def test_platt_is_logistic_regression_where_there_are_many_rows():
    x, wrong, _ = draw(20_000)
    model = LogisticRegression(C=1e6).fit(x[:, None], wrong)
    curve = calibrate(x, wrong, "platt", True)
    np.testing.assert_allclose(curve(x), model.decision_function(x[:, None]), atol=0.02)


def test_isotonic_is_isotonic_regression_up_to_thirty_rows():
    x, wrong, _ = draw(3000)
    steps = IsotonicRegression(out_of_bounds="clip").fit(x, wrong).predict(x)
    assert np.abs(expit(calibrate(x, wrong, "isotonic", True)(x)) - steps).max() <= 30 / 3030


@every_method
def test_curves_are_strictly_increasing_and_finite_far_outside(method):
    x, wrong, _ = draw(80)
    curve = calibrate(x, wrong, method, True)
    for grid in (np.linspace(-30, 30, 5001), np.linspace(x.min(), x.max(), 5001)):
        assert (np.diff(curve(grid)) > 0).all()
    assert np.isfinite(curve(np.array([-1e3, 1e3]))).all()


@every_method
def test_the_unit_of_a_score_that_is_no_probability_does_not_matter(method):
    x, wrong, _ = draw(300)
    one, other = calibrate(x, wrong, method, False), calibrate(7 + 0.01 * x, wrong, method, False)
    np.testing.assert_allclose(other(7 + 0.01 * x), one(x), rtol=1e-4, atol=1e-4)


@every_method
@pytest.mark.parametrize("n", [1, 5, 200])
@pytest.mark.parametrize("outcome", [True, False])
def test_one_outcome_alone_warns_and_shrinks_to_the_rule_of_succession(method, n, outcome):
    x = np.random.default_rng(0).normal(size=n)
    with pytest.warns(UserWarning, match=f"all {n} predictions are {'wrong' if outcome else 'right'}"):
        curve = calibrate(x, np.full(n, outcome), method, True)
    expected = (n + 1) / (n + 2) if outcome else 1 / (n + 2)
    p = expit(curve(x))
    assert ((p > 0) & (p < 1)).all()
    if method != "isotonic":
        np.testing.assert_allclose(p, expected, atol=0.02)


@every_method
def test_a_ranking_that_is_upside_down_warns_and_is_not_turned_over(method):
    x, wrong, _ = draw(400)
    with pytest.warns(UserWarning, match="they rank no failures"):
        curve = calibrate(-x, wrong, method, True)
    assert (np.diff(curve(np.sort(x))) >= 0).all()
    np.testing.assert_allclose(expit(curve(x)), wrong.mean(), atol=0.05)


def test_the_regression_is_pulled_towards_the_base_rate_with_few_rows():
    x = np.array([-1.0, -0.9, 0.9, 1.0])
    p = expit(calibrate(x, x > 0, "platt", True)(x))
    assert (p > 0.1).all()
    assert (p < 0.9).all()


# --- the scorer ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def given(digits):
    return digits.z_img_fit, digits.z_txt, digits.labels_fit


@every_method
@pytest.mark.parametrize(
    "scorer", [EntropyScorer(), DoctorScorer(), RelUScorer(), MCMScorer(), ViLUEstimator(random_state=0)]
)
def test_scores_become_probabilities_and_the_ranking_stays(scorer, method, given, digits):
    scorer = clone(scorer).set_params(logit_scale=2 * digits.logit_scale)
    calibrated = CalibratedScorer(scorer, method=method, random_state=0).fit(*given)
    test = digits.z_img_test, digits.z_txt, digits.labels_test
    assert evaluate(calibrated, *test)["ece"] < 0.05
    inner = calibrated.scorer_.decision_function(*test[:2])
    assert spearmanr(calibrated.decision_function(*test[:2]), inner).statistic > 1 - 1e-9


def test_it_is_better_calibrated_than_an_overconfident_softmax(given, digits):
    mcm = MCMScorer(logit_scale=4 * digits.logit_scale)
    test = digits.z_img_test, digits.z_txt, digits.labels_test
    before, after = evaluate(mcm, *test), evaluate(CalibratedScorer(mcm).fit(*given), *test)
    assert after["ece"] < before["ece"] / 2
    assert after["brier"] < before["brier"]
    assert after["auc"] == pytest.approx(before["auc"], abs=1e-6)


def failures(task):
    return task.wrong(MCMScorer().predict(task.images.source, task.texts.source))


class Parrot(Scorer):
    """Knows each image of its fit by heart, and is as certain of others as of the nearest of them."""

    learns = True

    def __init__(self, *, logit_scale=100.0):
        self.logit_scale = logit_scale

    def _learn(self, task):
        self.memory_ = task.images.read()
        self.decision_ = torch.as_tensor(np.where(failures(task), 4.0, -4.0)).float()

    def _among(self, text):
        return Among(text, decision=lambda chunk: self.decision_[(chunk.z @ self.memory_.T).argmax(dim=1)])


def test_a_scorer_that_learns_is_calibrated_on_rows_it_did_not_see(beside):
    train, test = slice(0, 320), slice(320, 640)
    args = beside.z_img[train], beside.z_txt, beside.labels[train]
    parrot = Parrot().fit(*args)
    seen = parrot.decision_function(*args[:2])
    by_heart = calibrate(seen, failures(check_task(*args)), "platt", True)
    wrong = parrot.predict(beside.z_img[test], beside.z_txt) != beside.labels[test]

    calibrated = CalibratedScorer(Parrot(), random_state=0).fit(*args)
    u = calibrated.predict_uncertainty(beside.z_img[test], beside.z_txt)
    naive = expit(by_heart(parrot.decision_function(beside.z_img[test], beside.z_txt)))
    assert expected_calibration_error(u, wrong) < 0.1 < expected_calibration_error(naive, wrong)
    assert brier_score(u, wrong) < 0.25 < brier_score(naive, wrong)
    np.testing.assert_array_equal(calibrated.scorer_.memory_, parrot.memory_)


def test_right_and_wrong_is_enough_where_it_is_for_the_scorer(given, digits):
    right = MCMScorer().predict(*given[:2]) == given[2]
    one = CalibratedScorer(EntropyScorer()).fit(*given[:2], correct=right)
    other = CalibratedScorer(EntropyScorer()).fit(*given)
    test = digits.z_img_test, digits.z_txt
    np.testing.assert_array_equal(one.decision_function(*test), other.decision_function(*test))
    CalibratedScorer(RelUScorer(), random_state=0).fit(*given[:2], correct=right)
    with pytest.raises(ValueError, match="pass `labels` instead"):
        CalibratedScorer(TemperatureScaledMCMScorer()).fit(*given[:2], correct=right)


@pytest.mark.parametrize("scorer", [EntropyScorer(logit_scale=20.0), TemperatureScaledMCMScorer()])
def test_captions(scorer):
    rng = np.random.default_rng(0)
    text = rng.normal(size=(1600, 16))
    images = text + rng.normal(scale=0.9, size=text.shape)
    calibrated = CalibratedScorer(scorer, random_state=0).fit(images[:800], text[:800])
    assert evaluate(calibrated, images[800:], text[800:])["ece"] < 0.08


def test_duplicate_captions_are_right():
    text = np.repeat(np.eye(3), 2, axis=0)
    np.testing.assert_array_equal(failures(check_task(text, text)), False)


@every_method
def test_saved_and_loaded_it_scores_the_same(method, given, digits, tmp_path):
    calibrated = CalibratedScorer(RelUScorer(), method=method, random_state=0).fit(*given)
    calibrated.save_pretrained(tmp_path)
    again = CalibratedScorer.from_pretrained(tmp_path)
    test = digits.z_img_test, digits.z_txt
    np.testing.assert_array_equal(again.predict_uncertainty(*test), calibrated.predict_uncertainty(*test))


@pytest.mark.filterwarnings("ignore:Nothing can be learned")
@every_method
@pytest.mark.parametrize("n", [2, 3, 10, 20])
def test_a_handful_of_labels_gives_something_sensible(method, n, given, digits):
    few = given[0][:n], given[1], given[2][:n]
    scorer = CalibratedScorer(EntropyScorer(logit_scale=digits.logit_scale), method=method).fit(*few)
    metrics = evaluate(scorer, digits.z_img_test, digits.z_txt, digits.labels_test)
    assert metrics["brier"] < 0.25
    assert metrics["nll"] < 0.7


def test_the_default_is_mcm_at_the_given_scale(given, digits):
    calibrated = CalibratedScorer(logit_scale=7.0).fit(*given)
    assert repr(calibrated.scorer_) == "MCMScorer(logit_scale=7.0)"
    curve = calibrated.calibration_
    x = MCMScorer(logit_scale=7.0).decision_function(digits.z_img_test, digits.z_txt)
    np.testing.assert_allclose(
        logit(calibrated.predict_uncertainty(digits.z_img_test, digits.z_txt)), curve(x), atol=1e-6
    )


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"method": "sigmoid"}, ValueError, "method must be"),
        ({"cv": 1}, ValueError, "cv must be"),
        ({"cv": 2.5}, ValueError, "cv must be"),
        ({"scorer": "mcm"}, TypeError, "scorer must be a scorer"),
        ({"scorer": EntropyScorer(), "logit_scale": 17.0}, ValueError, "has a logit_scale of its own"),
    ],
)
def test_bad_parameters_are_named_at_fit(params, error, message, given):
    with pytest.raises(error, match=message):
        CalibratedScorer(**params).fit(*given)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_row_cannot_be_left_out(given):
    with pytest.raises(ValueError, match="single row"):
        CalibratedScorer(ViLUEstimator()).fit(given[0][:1], given[1], given[2][:1])
