"""Labels and candidates in different orders are noticed, whoever was given them, and said once."""

import warnings

import numpy as np
import pytest

from support.all_scorers import EXAMPLES, fitted
from support.data import draw_task
from vilu_sdk import CalibratedScorer, MCMScorer, SelectivePredictor, ViLUEstimator
from vilu_sdk.displays import RiskCoverageDisplay
from vilu_sdk.evaluation import compare, evaluate
from vilu_sdk.exceptions import LabelWarning
from vilu_sdk.inputs.order import warn_of_order
from vilu_sdk.report import report

TASK = draw_task(n=400, k=12, noise=1.2)
MCM = MCMScorer(logit_scale=10.0)
# The last class has no images, so that labels from 1 stay in range.
FEWER = draw_task(n=400, k=12, noise=1.2)
FEWER.labels = FEWER.labels % 11
FEWER.z_img = FEWER.z_txt[FEWER.labels] + 1.2 * np.random.default_rng(0).normal(size=FEWER.z_img.shape)
ORDERS = {
    "from one": (FEWER.labels + 1, "from 1: subtract 1"),
    "reversed": (11 - FEWER.labels, "Check that each label"),
    "shuffled": (np.random.default_rng(0).permutation(FEWER.labels), "Check that each label"),
}
JUDGES = {
    "evaluate": lambda z, t, y, folder: evaluate(MCM, z, t, y),
    "compare": lambda z, t, y, folder: compare({"a": MCM, "b": ViLUEstimator(random_state=0)}, z, t, y),
    "report": lambda z, t, y, folder: report({"a": MCM}, z, t, y, folder / "report.html"),
    "a threshold": lambda z, t, y, folder: SelectivePredictor(MCM, 0.3).fit(z, t, y),
    "a display": lambda z, t, y, folder: RiskCoverageDisplay.from_estimator(MCM, z, t, y),
    "calibration": lambda z, t, y, folder: CalibratedScorer(MCM).fit(z, t, y),
    "adapt": lambda z, t, y, folder: ViLUEstimator(random_state=0).adapt(z, t, y),
    "bind": lambda z, t, y, folder: ViLUEstimator(random_state=0).bind(t).fit(z, y),
}


def said(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", LabelWarning)
        call()
    return [str(item.message) for item in caught]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("judge", JUDGES)
def test_every_judge_says_it_once(judge, order, tmp_path):
    labels, remedy = ORDERS[order]
    (message,) = said(lambda: JUDGES[judge](FEWER.z_img, FEWER.z_txt, labels, tmp_path))
    assert remedy in message


@pytest.mark.parametrize("judge", JUDGES)
def test_nothing_is_said_of_the_right_order(judge, tmp_path):
    assert not said(lambda: JUDGES[judge](FEWER.z_img, FEWER.z_txt, FEWER.labels, tmp_path))


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_every_fit_says_it(scorer):
    wrong = draw_task(n=400, k=12, noise=1.2)
    wrong.labels = (wrong.labels + 5) % 12
    assert len(said(lambda: fitted(scorer, wrong))) == scorer.learns
    assert not said(lambda: fitted(scorer, TASK))


def test_captions_in_another_order_are_noticed():
    rng = np.random.default_rng(0)
    captions = rng.normal(size=(300, 16))
    images = captions + 0.5 * rng.normal(size=captions.shape)
    assert not said(lambda: ViLUEstimator(random_state=0).fit(images, captions))
    (message,) = said(lambda: ViLUEstimator(random_state=0).fit(images[1:], captions[:-1]))
    assert "moved by one" in message


@pytest.mark.parametrize("k", [2, 3, 10, 1000])
@pytest.mark.parametrize("n", [1, 5, 50, 1000])
def test_a_weak_model_is_not_taken_for_another_order(n, k):
    # Half of the way from chance to always right, which is little: CLIP's worst sets lie there.
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = rng.integers(k, size=n)
        prediction = np.where(rng.random(n) < 0.5, labels, rng.integers(k, size=n))
        assert not said(lambda p=prediction, y=labels: warn_of_order(p, y))


def test_images_of_one_class_say_nothing_of_the_order():
    assert not said(lambda: warn_of_order(np.arange(100) % 7, np.full(100, 3)))
