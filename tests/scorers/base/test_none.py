"""The label -1, none of the candidates: every prediction for such an image is wrong, whoever asks."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from support.all_scorers import EXAMPLES
from support.data import draw_task
from vilu_sdk import (
    CalibratedScorer,
    MCMScorer,
    SelectivePredictor,
    TemperatureScaledMCMScorer,
    ViLUEstimator,
)
from vilu_sdk.displays import CandidatesDisplay, ClassFailureDisplay, ConfusionDisplay
from vilu_sdk.evaluation import compare, cross_val_uncertainty, evaluate
from vilu_sdk.evaluation.summary import OF_UNKNOWN
from vilu_sdk.inputs.task import check_task
from vilu_sdk.labels import find_label_issues
from vilu_sdk.report import report
from vilu_sdk.selective import CostPredictor, CoveragePredictor
from vilu_sdk.training.views import Views

TASK = draw_task(n=640, k=6, noise=1.2, beside=0.8)
STRANGE = np.random.default_rng(1).normal(size=(160, 16)).astype(np.float32)
IMAGES = np.concatenate([TASK.z_img, STRANGE])
LABELS = np.concatenate([TASK.labels, np.full(160, -1)])
ORDER = np.random.default_rng(2).permutation(800)
FIT, NEW = ORDER[:400], ORDER[400:]
IMAGES_FIT, LABELS_FIT, IMAGES_NEW, LABELS_NEW = IMAGES[FIT], LABELS[FIT], IMAGES[NEW], LABELS[NEW]
TEXT = TASK.z_txt


def fitted(scorer):
    return clone(scorer).fit(IMAGES_FIT, TEXT, LABELS_FIT)


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_every_scorer_learns_beside_such_images_and_is_judged_on_them(scorer, tmp_path):
    used = fitted(scorer)
    predicted = used.predict(IMAGES_NEW, TEXT)
    wrong = predicted != LABELS_NEW
    assert wrong[LABELS_NEW == -1].all()
    assert ((predicted >= 0) & (predicted < 6)).all()
    for verb in ("decision_function", "predict_uncertainty", "novelty"):
        assert np.isfinite(getattr(used, verb)(IMAGES_NEW, TEXT)).all()
    metrics = evaluate(used, IMAGES_NEW, TEXT, LABELS_NEW)
    assert metrics["accuracy"] == pytest.approx(1 - wrong.mean())
    assert metrics["auc"] == pytest.approx(roc_auc_score(wrong, used.decision_function(IMAGES_NEW, TEXT)))
    unknown = LABELS_NEW == -1
    for name, verb in (("unknown_auc", used.decision_function), ("novelty_auc", used.novelty)):
        assert metrics[name] == pytest.approx(roc_auc_score(unknown, verb(IMAGES_NEW, TEXT)))
    closed = evaluate(used, IMAGES_NEW[~unknown], TEXT, LABELS_NEW[~unknown])
    assert metrics["known_auc"] == pytest.approx(closed["auc"], abs=1e-4)
    assert metrics["unknown_share"] == unknown.mean()
    assert "unknown_auc" not in closed
    table = compare({"a": used}, IMAGES_NEW, TEXT, LABELS_NEW, fit=False)
    for name in OF_UNKNOWN:
        assert table.rows[0][name] == pytest.approx(metrics[name], abs=1e-3)
    np.testing.assert_array_equal(table.failures["a"], wrong)
    for kind in (SelectivePredictor(used, 0.4), CoveragePredictor(used, 0.5), CostPredictor(used, 2.0, 1.0)):
        seen = kind.fit(IMAGES_NEW, TEXT, LABELS_NEW).report_
        accepted = kind.accept(IMAGES_NEW, TEXT)
        assert seen.accepted == accepted.sum()
        assert seen.errors == (wrong & accepted).sum()
    bound = used.bind(TEXT)
    np.testing.assert_array_equal(bound.find_failures(IMAGES_NEW, LABELS_NEW), wrong)
    page = report(
        {"a": used}, IMAGES_NEW, TEXT, LABELS_NEW, tmp_path / "page.html", class_names=list("abcdef")
    )
    assert "<td>none</td>" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_every_scorer_is_fitted_and_compared_with_such_images(scorer):
    table = compare({"a": scorer, "MCM": MCMScorer()}, IMAGES, TEXT, LABELS, random_state=0)
    assert not table.rows[0]["note"]
    for metric in OF_UNKNOWN:
        assert all(0 <= row[metric] <= 1 for row in table.rows)
    uncertainty = cross_val_uncertainty(scorer.bind(TEXT), IMAGES, LABELS, cv=2)
    assert np.isfinite(uncertainty).all()


def test_a_likelihood_of_classes_is_learned_from_images_of_classes_alone():
    shown = LABELS_FIT >= 0
    scorer = TemperatureScaledMCMScorer()
    alone = clone(scorer).fit(IMAGES_FIT[shown], TEXT, LABELS_FIT[shown])
    assert fitted(scorer).temperature_ == pytest.approx(alone.temperature_, rel=1e-6)
    with pytest.raises(ValueError, match="all labels are -1"):
        clone(scorer).fit(IMAGES_FIT, TEXT, 0 * LABELS_FIT - 1)


def test_noise_within_classes_is_that_of_images_of_classes_alone():
    task = check_task(IMAGES_FIT, TEXT, LABELS_FIT)
    views = Views(task, 1.0, torch.Generator().manual_seed(0))
    rows = torch.arange(len(LABELS_FIT))
    moved = views.batch(task, rows, views.draw(0, len(rows))).z
    distance = (moved - task.images.read()).norm(dim=1).numpy()
    assert distance[LABELS_FIT < 0].max() < 1e-5
    assert (distance[LABELS_FIT >= 0] > 0.01).mean() > 0.9


def test_the_gaussians_of_the_default_recipe_are_those_without_such_images():
    with_none = fitted(ViLUEstimator(random_state=0)).model_
    known = LABELS_FIT >= 0
    alone = ViLUEstimator(random_state=0).fit(IMAGES_FIT[known], TEXT, LABELS_FIT[known]).model_
    assert with_none.known.keys() == alone.known.keys()
    np.testing.assert_allclose(
        with_none.known["class Gaussians"].directions, alone.known["class Gaussians"].directions, atol=1e-4
    )


def test_nothing_but_such_labels_leaves_mcm():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scorer = ViLUEstimator().fit(STRANGE, TEXT, np.full(160, -1))
    assert "learned nothing" in str(caught[-1].message)
    expected = MCMScorer().decision_function(IMAGES_NEW, TEXT)
    np.testing.assert_allclose(scorer.decision_function(IMAGES_NEW, TEXT), expected, rtol=1e-6)


def test_pictures_call_them_none():
    mcm = MCMScorer()
    rates = ClassFailureDisplay.from_estimator(mcm, IMAGES_NEW, TEXT, LABELS_NEW)
    assert rates.classes[0] == -1
    assert rates.wrong[0] == rates.n[0] == (LABELS_NEW == -1).sum()
    assert rates.ax_.get_yticklabels()[0].get_text().startswith("none")
    pairs = ConfusionDisplay.from_estimator(mcm, IMAGES_NEW, TEXT, LABELS_NEW, top=None)
    counted = (pairs.flagged + pairs.missed)[pairs.pairs[:, 0] == -1].sum()
    assert counted == (LABELS_NEW == -1).sum()
    assert any(label.get_text().startswith("none →") for label in pairs.ax_.get_yticklabels())
    with pytest.raises(ValueError, match="predicted must be class numbers"):
        ConfusionDisplay.from_scores([0.1, 0.2], [0, 1], [0, -1])


def test_they_are_no_image_of_the_last_class_among_fewer_candidates():
    """An index of -1 must not count from the end."""
    mcm = MCMScorer(logit_scale=10.0)
    sweep = CandidatesDisplay.from_estimator(mcm, IMAGES_NEW, TEXT, LABELS_NEW, sizes=[6], n_draws=2)
    np.testing.assert_allclose(sweep.auc, evaluate(mcm, IMAGES_NEW, TEXT, LABELS_NEW)["auc"])


def test_their_labels_cannot_be_mistaken():
    with pytest.raises(ValueError, match=r"labels\[\d+\] is -1; leave such images out"):
        find_label_issues(IMAGES, TEXT, LABELS)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 6\).*-2"):
        MCMScorer().fit(IMAGES, TEXT, LABELS - 1)


def test_a_stream_is_told_from_what_is_known():
    """What images of no candidate teach, what is said of their share, and what neither changes."""
    known = LABELS_FIT >= 0
    plain = (IMAGES_FIT[known], TEXT, LABELS_FIT[known])
    closed = ViLUEstimator(random_state=0, unknown_rate=0).fit(*plain)
    half = ViLUEstimator(random_state=0, unknown_rate=0.5).fit(*plain)
    default = ViLUEstimator(random_state=0).fit(*plain)
    shown = fitted(ViLUEstimator(random_state=0))
    wrong = closed.predict(IMAGES_NEW, TEXT) != LABELS_NEW

    def auc(scorer):
        return roc_auc_score(wrong, scorer.decision_function(IMAGES_NEW, TEXT))

    assert auc(default) >= auc(closed) - 1e-3
    assert min(auc(half), auc(shown)) > auc(closed) + 0.01
    for scorer in (half, default, shown):
        assert (
            scorer.decision_function(IMAGES_NEW, TEXT) >= closed.decision_function(IMAGES_NEW, TEXT) - 1e-6
        ).all()
        np.testing.assert_allclose(
            scorer.predict_proba(IMAGES_NEW, TEXT), closed.predict_proba(IMAGES_NEW, TEXT), atol=1e-5
        )
    told = shown.predict_uncertainty(IMAGES_NEW, TEXT)
    assert abs(told.mean() - wrong.mean()) < 0.05


@pytest.mark.parametrize("rate", [-0.1, 1.0, "much", True])
def test_a_share_is_checked(rate):
    with pytest.raises((TypeError, ValueError), match="unknown_rate must be a number"):
        ViLUEstimator(unknown_rate=rate).fit(IMAGES_FIT, TEXT, LABELS_FIT)
    with pytest.raises(ValueError, match="unknown_rate is for recipe='auto'"):
        ViLUEstimator("paper", unknown_rate=0.1).fit(IMAGES_FIT, TEXT, LABELS_FIT)


def test_it_is_saved_with_the_estimator(tmp_path):
    used = fitted(ViLUEstimator(random_state=0))
    used.save_pretrained(tmp_path)
    loaded = ViLUEstimator.from_pretrained(tmp_path)
    assert loaded.model_.none_known == used.model_.none_known
    np.testing.assert_array_equal(
        loaded.decision_function(IMAGES_NEW, TEXT), used.decision_function(IMAGES_NEW, TEXT)
    )


def test_calibration_counts_them():
    used = CalibratedScorer(random_state=0).fit(IMAGES_FIT, TEXT, LABELS_FIT)
    wrong = used.predict(IMAGES_NEW, TEXT) != LABELS_NEW
    assert abs(used.predict_uncertainty(IMAGES_NEW, TEXT).mean() - wrong.mean()) < 0.08


def uncertainty_of(z_img, labels, digits, **given):
    est = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    return est.fit(z_img, digits.z_txt, labels, **given).decision_function(digits.z_img_test, digits.z_txt)


def test_copies_and_groups_of_images_of_no_candidate_count_once(digits):
    z_img, labels = digits.z_img_fit[:300], np.where(np.arange(300) % 5 == 0, -1, digits.labels_fit[:300])
    none = labels == -1
    expected = uncertainty_of(z_img, labels, digits)
    again = np.repeat(z_img[none], 20, axis=0)
    more = np.concatenate([z_img, again]), np.append(labels, np.full(len(again), -1))
    np.testing.assert_allclose(uncertainty_of(*more, digits), expected, rtol=1e-5, atol=1e-4)
    source = np.append(np.arange(300), np.repeat(np.flatnonzero(none), 20))
    noisy = more[0] + 1e-4 * np.random.default_rng(0).normal(size=more[0].shape)
    grouped = uncertainty_of(noisy, more[1], digits, groups=source)
    assert np.abs(grouped - expected).mean() < 0.3
    # One image, however often, is no evidence.
    shown = z_img[~none], labels[~none]
    one = np.concatenate([shown[0], np.repeat(z_img[:1], 100, axis=0)]), np.append(shown[1], np.full(100, -1))
    np.testing.assert_allclose(
        uncertainty_of(*one, digits), uncertainty_of(*shown, digits), rtol=1e-5, atol=1e-4
    )


def test_a_weight_of_0_is_the_image_left_out_beside_images_of_no_candidate(digits):
    z_img, labels = digits.z_img_fit[:300], np.where(np.arange(300) % 5 == 0, -1, digits.labels_fit[:300])
    weights = (np.arange(300) % 3 > 0).astype(float)
    kept = weights > 0
    np.testing.assert_array_equal(
        uncertainty_of(z_img, labels, digits, sample_weight=weights),
        uncertainty_of(z_img[kept], labels[kept], digits),
    )
