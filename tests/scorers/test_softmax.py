"""The softmax statistics, and the scorers that only read them: MCM, entropy, DOCTOR."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax

from vilu_sdk import DoctorScorer, EntropyScorer, MCMScorer
from vilu_sdk.compute.softmax import SplitSoftmax

logit_rows = st.integers(2, 8).flatmap(
    lambda k: st.lists(st.lists(st.floats(-60, 60), min_size=k, max_size=k), min_size=1, max_size=5)
)


def embeddings(logits, scale):
    """Images and texts whose logits are the given ones up to a constant in each row."""
    logits = np.asarray(logits, dtype=float)
    cosines = (logits - logits.max(axis=1, keepdims=True)) / scale
    k = cosines.shape[1]
    rest = np.sqrt(np.clip(1 - (cosines**2).sum(axis=1, keepdims=True), 0, None))
    return np.hstack([cosines, rest]), np.hstack([np.eye(k), np.zeros((k, 1))])


def scores(scorer, logits, scale=200.0):
    z_img, z_txt = embeddings(logits, scale)
    return scorer.set_params(logit_scale=scale).predict_uncertainty(z_img, z_txt)


def test_golden_values_of_one_row():
    logits = np.log([[0.7, 0.2, 0.1]])
    assert scores(MCMScorer(), logits) == pytest.approx(0.3, abs=1e-5)
    assert scores(EntropyScorer(), logits) == pytest.approx(0.8018185525, abs=1e-5)
    assert scores(EntropyScorer(normalise=True), logits) == pytest.approx(0.7298466992, abs=1e-5)
    assert scores(DoctorScorer(), logits) == pytest.approx(0.8518518519, abs=1e-5)
    assert scores(DoctorScorer(variant="beta"), logits) == pytest.approx(0.4285714286, abs=1e-5)


@settings(deadline=None)
@given(logit_rows)
def test_statistics_match_float64_formulas(rows):
    logits = np.asarray(rows)
    p = softmax(logits, axis=1)
    posterior = SplitSoftmax(torch.from_numpy(logits))
    column = posterior.column.numpy()
    others = np.ma.masked_array(logits, np.arange(logits.shape[1]) == column[:, None]).filled(-np.inf)
    expected = logsumexp(others, axis=1) - logits.max(axis=1)
    np.testing.assert_allclose(posterior.log_odds, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(posterior.probabilities, p, atol=1e-12)
    entropy = -(p * np.log(np.clip(p, 1e-300, None))).sum(axis=1)
    np.testing.assert_allclose(posterior.log_entropy.exp(), entropy, rtol=1e-6, atol=1e-13)
    impurity = (p * (1 - p)).sum(axis=1)
    np.testing.assert_allclose(posterior.log_impurity.exp(), impurity, rtol=1e-6, atol=1e-13)


def test_a_lead_of_hundreds_of_nats_is_no_tie():
    leads = torch.tensor([15.0, 17.0, 30.0, 100.0, 300.0, 301.0])
    logits = torch.stack([leads, torch.zeros(6), torch.zeros(6) - 1], dim=1)
    posterior = SplitSoftmax(logits)
    for statistic in (posterior.log_odds, posterior.log_tail, posterior.log_entropy, posterior.log_impurity):
        assert torch.isfinite(statistic).all()
        assert (statistic.diff() < 0).all()
    torch.testing.assert_close(posterior.log_odds, math.log(1 + math.exp(-1)) - leads)


@settings(deadline=None)
@given(logit_rows)
def test_order_of_the_entropies_and_ratios(rows):
    logits = torch.tensor(rows, dtype=torch.float64)
    p = SplitSoftmax(logits)
    renyi = -torch.log1p(-p.log_impurity.exp())
    minimum = torch.nn.functional.softplus(p.log_odds)  # -log max p
    eps = 1e-9
    assert (p.log_entropy.exp() >= renyi - eps).all()
    assert (renyi >= minimum - eps).all()
    assert (renyi <= 2 * minimum + eps).all()
    assert (p.log_impurity >= p.log_tail - eps).all()


@pytest.mark.parametrize("k", [2, 5, 30])
def test_uniform_and_one_hot_rows_give_the_ends_of_the_ranges(k):
    uniform, one_hot = np.zeros((1, k)), np.where(np.arange(k) == 0, 0.0, -34.0)[None]
    for scorer, top in [
        (MCMScorer(), 1 - 1 / k),
        (EntropyScorer(), math.log(k)),
        (EntropyScorer(normalise=True), 1.0),
        (DoctorScorer(), k - 1),
        (DoctorScorer(variant="beta"), k - 1),
    ]:
        assert scores(scorer, uniform) == pytest.approx(top, rel=1e-5)
        assert scores(scorer, one_hot) == pytest.approx(0, abs=1e-10)


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=3, max_size=20))
def test_two_candidates_leave_one_ranking(gaps):
    logits = np.stack([np.asarray(gaps), np.zeros(len(gaps))], axis=1)
    order = np.argsort(np.abs(np.asarray(gaps)))[::-1]
    z_img, z_txt = embeddings(logits, 200.0)
    for scorer in (MCMScorer(), EntropyScorer(), DoctorScorer(), DoctorScorer(variant="beta")):
        ranked = scorer.set_params(logit_scale=200.0).decision_function(z_img, z_txt)[order]
        assert (np.diff(ranked) >= -1e-4).all()


def test_mcm_follows_the_candidate_set():
    rng = np.random.default_rng(0)
    z_img, z_txt = rng.normal(size=(50, 8)), rng.normal(size=(4, 8))
    scorer = MCMScorer(logit_scale=5.0)
    base = scorer.predict_uncertainty(z_img, z_txt)
    p = 1 - base
    winner = scorer.predict(z_img, z_txt)
    for i in range(5):
        copies = np.vstack([z_txt, z_txt[winner[i]], z_txt[winner[i]]])  # three copies in all
        expected = p[i] / (1 + 2 * p[i])
        assert 1 - scorer.predict_uncertainty(z_img[i : i + 1], copies)[0] == pytest.approx(
            expected, abs=1e-5
        )
    far = -z_img.mean(axis=0)
    more = np.vstack([z_txt, far])
    keeps = scorer.predict(z_img, more) == winner
    assert (scorer.predict_uncertainty(z_img, more)[keeps] >= base[keeps] - 1e-7).all()


def test_mcm_ignores_a_common_rotation_and_sees_the_scale():
    rng = np.random.default_rng(0)
    z_img, z_txt = rng.normal(size=(50, 8)), rng.normal(size=(4, 8))
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    scorer = MCMScorer(logit_scale=20.0)
    np.testing.assert_allclose(
        scorer.decision_function(z_img @ rotation, z_txt @ rotation),
        scorer.decision_function(z_img, z_txt),
        atol=1e-4,
    )
    assert MCMScorer(logit_scale=1e5).predict_uncertainty(z_img, z_txt).max() < 1e-6
    flat = MCMScorer(logit_scale=1e-4).predict_uncertainty(z_img, z_txt)
    np.testing.assert_allclose(flat, 0.75, atol=1e-4)


def test_doctors_temperature_divides_the_logits():
    rng = np.random.default_rng(0)
    z_img, z_txt = rng.normal(size=(20, 8)), rng.normal(size=(4, 8))
    np.testing.assert_allclose(
        DoctorScorer(logit_scale=20.0, temperature=2.0).decision_function(z_img, z_txt),
        DoctorScorer(logit_scale=10.0).decision_function(z_img, z_txt),
    )
    with pytest.raises(ValueError, match="variant"):
        DoctorScorer(variant="gamma").decision_function(z_img, z_txt)
