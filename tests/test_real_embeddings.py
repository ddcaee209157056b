"""What is promised on real CLIP embeddings; skipped where they are absent."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vilu_sdk import DoctorScorer, MCMScorer, RelUScorer
from vilu_sdk.evaluation import failure_metrics

EMBEDDINGS = Path(__file__).resolve().parents[2] / "shared" / "embeddings"
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
