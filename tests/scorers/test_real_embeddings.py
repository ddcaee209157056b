"""What is promised on real CLIP embeddings; skipped where they are absent."""

import subprocess
import sys

import numpy as np
import pytest

from support.paths import EMBEDDINGS
from vilu_sdk import DoctorScorer, MCMScorer, RelUScorer, ViLUEstimator
from vilu_sdk.evaluation import expected_calibration_error, failure_metrics

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not EMBEDDINGS.is_dir(), reason="no real embeddings beside the project"),
]


def load(name):
    data = np.load(EMBEDDINGS / f"{name}.npz")
    return {key: data[key] for key in data.files}


@pytest.mark.parametrize(
    ("name", "auc", "fpr95"),
    [("dtd", 74.87, 82.12), ("stanford_cars", 79.45, 76.45), ("imagenet", 80.72, 69.36)],
)
def test_mcm_on_clip(name, auc, fpr95):
    data = load(name)
    scorer = MCMScorer()
    failure = scorer.predict(data["z_img_test"], data["z_txt"]) != data["labels_test"]
    metrics = failure_metrics(scorer.decision_function(data["z_img_test"], data["z_txt"]), failure)
    assert 100 * metrics["auc"] == pytest.approx(auc, abs=0.05)
    assert 100 * metrics["fpr95"] == pytest.approx(fpr95, abs=0.05)


def test_equal_rankings_give_equal_aucs():
    data = load("dtd")
    z_img, z_txt = data["z_img_test"], data["z_txt"]
    failure = MCMScorer().predict(z_img, z_txt) != data["labels_test"]

    def auc(scorer):
        return failure_metrics(scorer.decision_function(z_img, z_txt), failure)["auc"]

    assert auc(MCMScorer()) == pytest.approx(auc(DoctorScorer(variant="beta")), abs=1e-12)
    relu = RelUScorer(lam=0.0).fit(data["z_img_train"], z_txt, data["labels_train"])
    assert auc(relu) == pytest.approx(auc(DoctorScorer(temperature=0.5)), abs=1e-12)


def test_the_score_card_runs():
    card = EMBEDDINGS.parent / "score_card.py"
    out = subprocess.run(
        [sys.executable, str(card), "--sets", "dtd"], capture_output=True, text=True, check=True, timeout=300
    ).stdout
    assert "MCM          AUC  74.87  FPR95  82.12" in out


# --- the default recipe ----------------------------------------------------------------------------

CLIP_SETS = ("dtd", "stanford_cars", "imagenet")
# What must be reached in AUC and FPR95, percent.
TARGETS = {
    "dtd": (93.8, 31.0),
    "stanford_cars": (93.4, 37.0),
    "imagenet": (86.3, 57.0),
    "cifar10_tower": (84.9, 68.5),
}


def scale_of(data):
    return float(data.get("logit_scale", 100.0))


def fit_on(data, rows=slice(None), **supervision):
    scorer = ViLUEstimator(logit_scale=scale_of(data), random_state=0)
    labels = None if supervision else data["labels_train"][rows]
    return scorer.fit(data["z_img_train"][rows], data["z_txt"], labels, **supervision)


def measure(scorer, data):
    """AUC and FPR95 in percent on the test images."""
    images, text = data["z_img_test"], data["z_txt"]
    failure = scorer.predict(images, text) != data["labels_test"]
    metrics = failure_metrics(scorer.decision_function(images, text), failure)
    return 100 * metrics["auc"], 100 * metrics["fpr95"]


@pytest.fixture(scope="module")
def sets():
    return {name: load(name) for name in TARGETS}


@pytest.fixture(scope="module")
def fitted(sets):
    """Estimators with all labels of their set."""
    return {name: fit_on(data) for name, data in sets.items()}


@pytest.fixture(scope="module")
def mcm_auc(sets):
    return {name: measure(MCMScorer(logit_scale=scale_of(data)), data)[0] for name, data in sets.items()}


@pytest.mark.parametrize("name", TARGETS)
def test_all_labels(fitted, sets, name):
    auc, fpr95 = measure(fitted[name], sets[name])
    assert auc >= TARGETS[name][0]
    assert fpr95 <= TARGETS[name][1]


@pytest.mark.parametrize("name", TARGETS)
def test_probabilities_are_calibrated(fitted, sets, name):
    data = sets[name]
    uncertainty = fitted[name].predict_uncertainty(data["z_img_test"], data["z_txt"])
    failure = fitted[name].predict(data["z_img_test"], data["z_txt"]) != data["labels_test"]
    assert expected_calibration_error(uncertainty, failure) <= 0.05


@pytest.mark.parametrize(
    ("name", "target"), [("flickr8k_pairs", (86.3, 60.0)), ("fashion_pairs", (96.6, 20.0))]
)
def test_captions_by_four_folds(name, target):
    data = load(name)
    rows = np.arange(len(data["z_img"]))
    decision, failure = [], []
    for held in np.array_split(rows, 4):
        rest = np.setdiff1d(rows, held)
        scorer = ViLUEstimator(random_state=0).fit(data["z_img"][rest], data["z_txt"][rest])
        given = data["z_img"][held], data["z_txt"][held]
        decision.append(scorer.decision_function(*given))
        failure.append(scorer.predict(*given) != np.arange(len(held)))
    metrics = failure_metrics(np.concatenate(decision), np.concatenate(failure))
    assert 100 * metrics["auc"] >= target[0]
    assert 100 * metrics["fpr95"] <= target[1]


def test_fitting_one_class_set_does_no_harm_to_another(fitted, sets, mcm_auc):
    gains = [
        measure(fitted[source], sets[target])[0] - mcm_auc[target]
        for source in CLIP_SETS
        for target in CLIP_SETS
        if source != target
    ]
    assert np.mean(gains) > 0
    assert min(gains) >= -0.3


@pytest.mark.parametrize(
    ("name", "n"),
    [("dtd", 20), ("dtd", 100), ("stanford_cars", 20), ("stanford_cars", 100), ("imagenet", 100)],
)
def test_few_labels_are_not_worse_than_none(sets, mcm_auc, name, n):
    for seed in range(3):
        rows = np.random.default_rng(seed).permutation(len(sets[name]["labels_train"]))[:n]
        gain = measure(fit_on(sets[name], rows), sets[name])[0] - mcm_auc[name]
        assert gain > (0.0 if n == 100 else -0.5)


def test_right_and_wrong_alone(sets):
    data = sets["dtd"]
    right = MCMScorer().predict(data["z_img_train"], data["z_txt"]) == data["labels_train"]
    assert measure(fit_on(data, correct=right), data)[0] >= 92.0
