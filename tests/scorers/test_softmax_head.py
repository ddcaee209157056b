"""The lead of the first candidate, and the logistic head that sees it beside other statistics."""

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from support.data import draw_task
from vilu_sdk import (
    DoctorScorer,
    EnergyScorer,
    EntropyScorer,
    MarginScorer,
    MCMScorer,
    SoftmaxHeadScorer,
)
from vilu_sdk.exceptions import NothingLearnedWarning

SCALE = 12.0
TASK = draw_task(n=600, k=6, noise=1.2)
FIT, LABELS = TASK.z_img[:400], TASK.labels[:400]
NEW, TEXT = TASK.z_img[400:], TASK.z_txt


def unit(x):
    return x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)


LOGITS = SCALE * unit(NEW) @ unit(TEXT).T


def test_margins_are_differences_of_the_two_largest():
    p = np.sort(softmax(LOGITS, axis=1), axis=1)
    of_p = MarginScorer(logit_scale=SCALE).predict_uncertainty(NEW, TEXT)
    np.testing.assert_allclose(of_p, 1 - (p[:, -1] - p[:, -2]), atol=1e-5)
    top = np.sort(LOGITS, axis=1)
    of_logits = MarginScorer(logit_scale=SCALE, of="logits").decision_function(NEW, TEXT)
    np.testing.assert_allclose(of_logits, top[:, -2] - top[:, -1], atol=1e-4)


@pytest.mark.parametrize("of", ["probabilities", "logits"])
def test_with_two_candidates_a_margin_ranks_as_mcm(of):
    scorers = MarginScorer(logit_scale=SCALE, of=of), MCMScorer(logit_scale=SCALE)
    one, other = (scorer.decision_function(NEW, TEXT[:2]) for scorer in scorers)
    assert (np.diff(one[np.argsort(other)]) >= -1e-5).all()


def test_a_lead_of_hundreds_of_nats_is_no_tie():
    z_img = np.array([[1.0, 0.2, 0], [1.0, 0.1, 0], [1.0, 0, 0]])
    for of in ("probabilities", "logits"):
        decision = MarginScorer(logit_scale=1000.0, of=of).decision_function(z_img, np.eye(3))
        assert (np.diff(decision) < -50).all()


def test_what_is_no_margin_is_named():
    with pytest.raises(ValueError, match="of must be 'probabilities' or 'logits', got 'cosines'"):
        MarginScorer(of="cosines").decision_function(NEW, TEXT)


def head(**parameters):
    return SoftmaxHeadScorer(logit_scale=SCALE, **parameters)


def said(z_img):
    """What the head sees, from the scorers themselves."""
    kinds = MCMScorer, EntropyScorer, DoctorScorer
    scorers = [*(kind(logit_scale=SCALE) for kind in kinds), MarginScorer(logit_scale=SCALE, of="logits")]
    columns = [scorer.decision_function(z_img, TEXT) for scorer in scorers]
    return np.column_stack([*columns, EnergyScorer(logit_scale=SCALE).decision_function(z_img, TEXT)])


def test_the_head_is_a_logistic_regression_on_decision_values_of_scorers():
    scorer = head(ridge=1e-3).fit(FIT, TEXT, LABELS)
    decision = scorer.decision_function(NEW, TEXT)
    slopes = scorer.slopes_.numpy()
    np.testing.assert_allclose(decision, said(NEW) @ slopes + scorer.offset_, atol=1e-3)
    # Drawn to MCM's slopes instead of to 0, and Platt's targets: hardly another fit where the data decide.
    wrong = scorer.predict(FIT, TEXT) != LABELS
    peer = LogisticRegression(C=1e3, max_iter=10_000).fit(said(FIT), wrong).decision_function(said(NEW))
    assert np.corrcoef(peer, decision)[0, 1] > 0.99


def test_a_strong_ridge_leaves_mcm_with_an_offset():
    scorer = head(ridge=1e9).fit(FIT, TEXT, LABELS)
    shift = scorer.decision_function(NEW, TEXT) - MCMScorer(logit_scale=SCALE).decision_function(NEW, TEXT)
    np.testing.assert_allclose(shift, scorer.offset_, atol=1e-4)


def test_the_mean_probability_is_the_share_of_failures():
    scorer = head().fit(FIT, TEXT, LABELS)
    wrong = scorer.predict(FIT, TEXT) != LABELS
    assert scorer.predict_uncertainty(FIT, TEXT).mean() == pytest.approx(wrong.mean(), abs=0.01)


def test_weights_count_as_copies():
    twice = np.arange(400) % 3 == 0
    weighted = head().fit(FIT, TEXT, LABELS, sample_weight=1 + twice)
    rows = np.concatenate([np.arange(400), np.flatnonzero(twice)])
    copied = head(ridge=10 * len(rows) / 400).fit(FIT[rows], TEXT, LABELS[rows])
    # Platt's targets know the number of rows, so not the same to the last digit.
    np.testing.assert_allclose(weighted.slopes_, copied.slopes_, atol=0.1)
    left = head().fit(FIT, TEXT, LABELS, sample_weight=twice)
    alone = head().fit(FIT[twice], TEXT, LABELS[twice])
    np.testing.assert_allclose(left.slopes_, alone.slopes_, atol=1e-4)


def test_right_or_wrong_teaches_as_labels_do():
    labels = head().fit(FIT, TEXT, LABELS)
    bits = head().fit(FIT, TEXT, correct=labels.predict(FIT, TEXT) == LABELS)
    np.testing.assert_allclose(bits.slopes_, labels.slopes_)


def test_of_one_kind_alone_nothing_is_learned_and_mcm_s_ranking_stays():
    right = head().predict(FIT, TEXT) == LABELS
    for kind, word in ((right, "right"), (~right, "wrong")):
        with pytest.warns(NothingLearnedWarning, match=f"all {word}"):
            scorer = clone(head()).fit(FIT[kind], TEXT, LABELS[kind])
        wrong = scorer.predict(NEW, TEXT) != TASK.labels[400:]
        one, other = (
            roc_auc_score(wrong, used.decision_function(NEW, TEXT))
            for used in (scorer, MCMScorer(logit_scale=SCALE))
        )
        assert one == pytest.approx(other, abs=1e-6)


def test_captions_are_learned_from():
    z_txt = TASK.z_txt[TASK.labels[:300]] + 0.3 * np.random.default_rng(0).normal(size=(300, 16))
    scorer = head().fit(TASK.z_img[:300], z_txt)
    wrong = scorer.predict(TASK.z_img[:300], z_txt) != np.arange(300)
    assert scorer.predict_uncertainty(TASK.z_img[:300], z_txt).mean() == pytest.approx(wrong.mean(), abs=0.02)


def test_logits_are_summed_up_once():
    """What the energy is, beside the others, against its formula."""
    np.testing.assert_allclose(said(NEW)[:, -1], -logsumexp(LOGITS, axis=1), atol=1e-4)


def test_a_bad_ridge_is_named():
    with pytest.raises(ValueError, match="ridge must be"):
        head(ridge=0).fit(FIT, TEXT, LABELS)
