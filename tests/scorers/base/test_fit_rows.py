"""The fit remembers its rows without keeping them, and whoever judges warns."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone

from support.all_scorers import EXAMPLES
from support.paths import EMBEDDINGS
from vilu_sdk import CalibratedScorer, MCMScorer, RelUScorer, Scorer, ViLUEstimator
from vilu_sdk.evaluation import compare, evaluate
from vilu_sdk.exceptions import FitRowsWarning
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.persistence.persistent import _without_fit_rows
from vilu_sdk.report import report
from vilu_sdk.scorers.base.fit_rows import FitRows
from vilu_sdk.selective import CostPredictor, CoveragePredictor, SelectivePredictor, ShiftMonitor

LEARNERS = [example for example in EXAMPLES if example.values[0].learns]


def unit(rows):
    return rows / np.linalg.norm(np.float64(rows), axis=1, keepdims=True)


def kinds(rows):
    """The same images as they come back from elsewhere."""
    half = unit(rows).astype(np.float16)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    yield from (
        rows,
        rows.astype(np.float64),
        unit(rows).astype(np.float32),
        half,
        (17 * unit(rows)).astype(np.float16),
    )
    yield from (rows[shuffled], torch.tensor(half), rows.tolist())


@pytest.mark.parametrize("d", [16, 64, 512, 1024])
def test_rows_are_known_in_every_form_and_others_are_not(d):
    rng = np.random.default_rng(d)
    rows, others = rng.normal(size=(2, 3000, d)).astype(np.float32)
    known = FitRows.of(Rows(rows, "z_img"))
    assert known.hashes.nbytes == 8 * len(rows)
    for same in kinds(rows):
        assert known.count(Rows(same, "z_img")) == len(rows)
    near = rows + 0.3 * np.linalg.norm(rows, axis=1, keepdims=True) / d**0.5 * rng.normal(size=rows.shape)
    for other in (others, near):
        assert known.count(Rows(other, "z_img")) == 0
    assert known.count(Rows(np.concatenate([others, rows[:700]]), "z_img")) == 700


@pytest.mark.parametrize("scorer", LEARNERS)
def test_whoever_judges_by_rows_of_the_fit_warns_and_by_others_does_not(scorer, toy, tmp_path):
    fit, new = slice(0, 320), slice(320, 640)
    used = clone(scorer).fit(toy.z_img[fit], toy.z_txt, toy.labels[fit])
    used.save_pretrained(tmp_path / "head")
    loaded = Scorer.from_pretrained(tmp_path / "head")
    judges = {
        "evaluate": lambda s, *data: evaluate(s, *data),
        "compare": lambda s, *data: compare({"it": s}, *data, fit=False),
        "report": lambda s, *data: report(s, *data, tmp_path / "report.html"),
        "risk": lambda s, *data: SelectivePredictor(s, 0.3).fit(*data),
        "coverage": lambda s, *data: CoveragePredictor(s).fit(*data),
        "cost": lambda s, *data: CostPredictor(s).fit(*data),
        "shift": lambda s, *data: ShiftMonitor(s, n_permutations=99).fit(*data[:2]),
    }
    for name, judge in judges.items():
        for head in (used, loaded):
            data = toy.z_img.astype(np.float16), toy.z_txt, toy.labels
            with pytest.warns(FitRowsWarning, match="320 of 640 images") as caught:
                judge(head, *data)
            assert caught[0].filename == __file__, name
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                judge(head, toy.z_img[new], toy.z_txt, toy.labels[new])


def test_what_learns_nothing_has_nothing_to_warn_of(toy):
    evaluate(MCMScorer().fit(toy.z_img, toy.z_txt, toy.labels), toy.z_img, toy.z_txt, toy.labels)


def test_labelled_rows_of_an_adaptation_count_and_others_do_not(toy):
    est = ViLUEstimator(random_state=0).fit(toy.z_img[:200], toy.z_txt, toy.labels[:200])
    est.adapt(toy.z_img[200:400], toy.z_txt, toy.labels[200:400])
    assert est.fit_rows_.count(Rows(toy.z_img, "z_img")) == 400
    est.adapt(toy.z_img[400:], toy.z_txt)
    assert est.fit_rows_.count(Rows(toy.z_img, "z_img")) == 400


def test_a_published_head_carries_no_hashes(toy):
    inner = CalibratedScorer(RelUScorer(), random_state=0).fit(toy.z_img, toy.z_txt, toy.labels)
    with pytest.warns(FitRowsWarning):
        chosen = CoveragePredictor(inner).fit(toy.z_img, toy.z_txt, toy.labels)
    published = _without_fit_rows(clone(chosen, safe=False))
    assert not hasattr(published.scorer, "fit_rows_")


@pytest.mark.real
@pytest.mark.parametrize("name", ["dtd", "stanford_cars", "imagenet"])
def test_real_test_rows_raise_no_alarm(name):
    if not EMBEDDINGS.exists():
        pytest.skip("the real embeddings are not here")
    z = np.load(EMBEDDINGS / f"{name}.npz")
    known = FitRows.of(Rows(z["z_img_train"], "z_img"))
    # One image of DTD is in both splits.
    assert known.count(Rows(z["z_img_test"], "z_img")) == (name == "dtd")
    for same in kinds(z["z_img_train"]):
        assert known.count(Rows(same, "z_img")) == len(z["z_img_train"])
