"""Temperature scaling and Rel-U."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vilu_sdk import DoctorScorer, MCMScorer, RelUScorer, TemperatureScaledMCMScorer
from vilu_sdk.evaluation import expected_calibration_error, failure_metrics


def nll(z_img, z_txt, labels, scale):
    unit = lambda z: torch.nn.functional.normalize(torch.as_tensor(z, dtype=torch.float64))  # noqa: E731
    logits = scale * unit(z_img) @ unit(z_txt).T
    return float(torch.nn.functional.cross_entropy(logits, torch.as_tensor(labels)))


def sampled(rng, n, k, d, scale):
    """Embeddings whose labels follow softmax(scale · cosine) exactly."""
    z_img, z_txt = rng.normal(size=(n, d)), rng.normal(size=(k, d))
    unit = lambda z: z / np.linalg.norm(z, axis=1, keepdims=True)  # noqa: E731
    logits = scale * unit(z_img) @ unit(z_txt).T
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return z_img, z_txt, labels


@pytest.mark.parametrize("objective", ["nll", "ece"])
def test_temperature_recovers_the_scale_that_made_the_labels(objective):
    z_img, z_txt, labels = sampled(np.random.default_rng(0), 20_000, 5, 16, scale=6.0)
    scorer = TemperatureScaledMCMScorer(logit_scale=10.0, objective=objective)
    scorer.fit(z_img, z_txt, labels)
    assert 1 / scorer.temperature_ == pytest.approx(0.6, abs=0.03)


@pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.LogitScaleWarning")  # of some scales that are drawn
@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.floats(0.5, 50))
def test_temperature_never_worsens_the_likelihood_it_was_fitted_on(seed, scale):
    z_img, z_txt, labels = sampled(np.random.default_rng(seed), 200, 4, 8, scale=5.0)
    scorer = TemperatureScaledMCMScorer(logit_scale=scale).fit(z_img, z_txt, labels)
    after = nll(z_img, z_txt, labels, scale / scorer.temperature_)
    assert after <= nll(z_img, z_txt, labels, scale) + 1e-6
    for factor in (0.97, 1.03):
        assert after <= nll(z_img, z_txt, labels, scale / scorer.temperature_ * factor) + 1e-6


def test_the_ece_objective_calibrates(toy):
    plain = MCMScorer(logit_scale=60.0)
    failure = plain.predict(toy.z_img, toy.z_txt) != toy.labels
    scaled = TemperatureScaledMCMScorer(logit_scale=60.0, objective="ece").fit(
        toy.z_img, toy.z_txt, toy.labels
    )
    errors = [
        expected_calibration_error(s.predict_uncertainty(toy.z_img, toy.z_txt), failure)
        for s in (plain, scaled)
    ]
    assert errors[1] < errors[0] / 2


def test_a_temperature_of_one_is_mcm_bit_for_bit(toy):
    scaled = TemperatureScaledMCMScorer(logit_scale=20.0).fit(toy.z_img, toy.z_txt, toy.labels)
    scaled.temperature_ = 1.0
    np.testing.assert_array_equal(
        scaled.decision_function(toy.z_img, toy.z_txt),
        MCMScorer(logit_scale=20.0).decision_function(toy.z_img, toy.z_txt),
    )


def test_two_classes_keep_their_ranking_and_more_do_not(toy):
    def auc(k, temperature):
        keep = toy.labels < k
        z_img, z_txt, labels = toy.z_img[keep], toy.z_txt[:k], toy.labels[keep]
        scaled = TemperatureScaledMCMScorer(logit_scale=20.0).fit(z_img, z_txt, labels)
        scaled.temperature_ = temperature
        failure = scaled.predict(z_img, z_txt) != labels
        return failure_metrics(scaled.decision_function(z_img, z_txt), failure)["auc"]

    assert auc(2, 0.3) == pytest.approx(auc(2, 2.0), abs=1e-12)
    assert abs(auc(6, 0.3) - auc(6, 2.0)) > 1e-4


@pytest.mark.parametrize(("labels", "bound"), [([0, 1], 1e-3), ([1, 0], 1e3)])
def test_separable_labels_stop_at_the_bound_with_a_warning(labels, bound):
    with pytest.warns(UserWarning, match="no finite optimum"):
        scorer = TemperatureScaledMCMScorer().fit(np.eye(2), np.eye(2), labels)
    assert scorer.temperature_ == bound


def test_temperature_needs_to_know_the_classes(toy):
    with pytest.raises(ValueError, match="labels"):
        TemperatureScaledMCMScorer().fit(toy.z_img, toy.z_txt, correct=toy.labels == 0)
    with pytest.raises(ValueError, match="objective"):
        TemperatureScaledMCMScorer(objective="mse").fit(toy.z_img, toy.z_txt, toy.labels)


def test_temperature_learns_from_captions(toy):
    captions = toy.z_img + 2.0 * np.random.default_rng(0).normal(size=toy.z_img.shape)
    scorer = TemperatureScaledMCMScorer(logit_scale=50.0).fit(toy.z_img, captions)
    assert scorer.temperature_ > 1


def relu_from_probabilities(right, wrong, **options):
    """Fit on images whose softmax at temperature 1 is the given one."""
    p = np.log(np.clip(np.vstack([right, wrong]), 1e-30, None))
    cosines = (p - p.max(axis=1, keepdims=True)) / 100
    rest = np.sqrt(1 - (cosines**2).sum(axis=1, keepdims=True))
    k = p.shape[1]
    z_img, z_txt = np.hstack([cosines, rest]), np.hstack([np.eye(k), np.zeros((k, 1))])
    correct = np.arange(len(p)) < len(right)
    return RelUScorer(logit_scale=100.0, temperature=1.0, **options).fit(z_img, z_txt, correct=correct), z_txt


def score_probabilities(scorer, z_txt, p):
    cosines = np.log(p) / 100
    cosines = cosines - cosines.max()
    z = np.append(cosines, np.sqrt(1 - (cosines**2).sum()))
    return scorer.predict_uncertainty(z[None], z_txt)[0]


@pytest.mark.parametrize(
    ("lam", "pairs", "expected"),
    [
        (0.5, {(0, 1): 0.0, (0, 2): 0.4911524908, (1, 2): 0.5086936512}, 0.1592737363),
        (0.15, {(0, 1): 0.0, (0, 2): 0.0, (1, 2): 0.7071067812}, 0.0848528137),
    ],
)
def test_golden_distances_of_relu(lam, pairs, expected):
    scorer, z_txt = relu_from_probabilities([[0.8, 0.2, 0.0], [0.6, 0.3, 0.1]], [[0.4, 0.35, 0.25]], lam=lam)
    for pair, value in pairs.items():
        assert float(scorer.distance_[pair]) == pytest.approx(value, abs=1e-4)
    assert score_probabilities(scorer, z_txt, [0.5, 0.3, 0.2]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("lam", [0.0, 0.15, 0.5, 1.0])
def test_the_distance_is_feasible_and_best(toy, lam):
    scorer = RelUScorer(logit_scale=20.0, lam=lam).fit(toy.z_img, toy.z_txt, toy.labels)
    d = scorer.distance_.double()
    assert torch.equal(d, d.T)
    assert (d >= 0).all()
    assert (d.diagonal() == 0).all()
    assert float(torch.linalg.matrix_norm(d)) == pytest.approx(1, abs=1e-6)
    assert scorer.used_fallback_ == (lam == 0 or bool((d[d > 0] == d.max()).all()))
    u = scorer.predict_uncertainty(toy.z_img, toy.z_txt)
    assert (u >= 0).all()
    assert (u <= 1).all()


def test_relu_without_confusions_ranks_as_doctor(toy):
    relu = RelUScorer(logit_scale=20.0, lam=0.0).fit(toy.z_img, toy.z_txt, toy.labels)
    assert relu.used_fallback_
    doctor = DoctorScorer(logit_scale=20.0, temperature=0.5)
    k = len(toy.z_txt)
    odds = doctor.predict_uncertainty(toy.z_img, toy.z_txt)
    np.testing.assert_allclose(
        relu.predict_uncertainty(toy.z_img, toy.z_txt), odds / (1 + odds) / np.sqrt(k * (k - 1)), rtol=1e-5
    )


def test_relu_equals_its_quadratic_form(toy):
    scorer = RelUScorer(logit_scale=20.0, lam=0.7).fit(toy.z_img, toy.z_txt, toy.labels)
    unit = lambda z: torch.nn.functional.normalize(torch.as_tensor(z, dtype=torch.float64))  # noqa: E731
    p = torch.softmax(40 * unit(toy.z_img) @ unit(toy.z_txt).T, dim=1)
    expected = torch.einsum("ni,ij,nj->n", p, scorer.distance_.double(), p)
    np.testing.assert_allclose(
        scorer.predict_uncertainty(toy.z_img, toy.z_txt), expected, rtol=1e-4, atol=1e-12
    )


def test_relu_is_equivariant_to_the_order_of_classes(toy):
    order = np.random.default_rng(0).permutation(len(toy.z_txt))
    position = np.argsort(order)
    a = RelUScorer(logit_scale=20.0, lam=0.5).fit(toy.z_img, toy.z_txt, toy.labels)
    b = RelUScorer(logit_scale=20.0, lam=0.5).fit(toy.z_img, toy.z_txt[order], position[toy.labels])
    np.testing.assert_allclose(
        a.decision_function(toy.z_img, toy.z_txt),
        b.decision_function(toy.z_img, toy.z_txt[order]),
        atol=1e-4,
    )


@pytest.mark.parametrize("outcome", [True, False])
def test_relu_on_one_outcome_warns_and_stays_finite(toy, outcome):
    scorer = RelUScorer(logit_scale=20.0)
    with pytest.warns(UserWarning, match="all right" if outcome else "all wrong"):
        scorer.fit(toy.z_img, toy.z_txt, correct=np.full(len(toy.z_img), outcome))
    assert scorer.used_fallback_ == outcome
    assert np.isfinite(scorer.decision_function(toy.z_img, toy.z_txt)).all()


def test_relu_refuses_what_it_cannot_do(toy):
    with pytest.raises(ValueError, match="fixed class set"):
        RelUScorer().fit(toy.z_img, toy.z_img)
    scorer = RelUScorer().fit(toy.z_img, toy.z_txt, toy.labels)
    with pytest.raises(ValueError, match="6 classes but z_txt_set has 5"):
        scorer.decision_function(toy.z_img, toy.z_txt[:5])
    with pytest.raises(ValueError, match="lam"):
        RelUScorer(lam=2.0).fit(toy.z_img, toy.z_txt, toy.labels)


def test_descending_the_calibration_error_ends_no_higher_than_it_began_and_near_the_grid_s_best():
    z_img, z_txt, labels = sampled(np.random.default_rng(0), 4000, 5, 16, scale=6.0)
    wrong = MCMScorer().predict(z_img, z_txt) != labels

    def error(scale):
        return expected_calibration_error(
            MCMScorer(logit_scale=scale).predict_uncertainty(z_img, z_txt), wrong
        )

    found = {
        search: TemperatureScaledMCMScorer(logit_scale=10.0, objective="ece", search=search)
        .fit(z_img, z_txt, labels)
        .temperature_
        for search in ("grid", "lbfgs")
    }
    assert error(10 / found["lbfgs"]) < error(10.0) / 2
    assert 1 / found["lbfgs"] == pytest.approx(0.6, abs=0.05)
    assert error(10 / found["grid"]) <= error(10 / found["lbfgs"]) + 2e-3
    with pytest.raises(ValueError, match="search must be"):
        TemperatureScaledMCMScorer(search="newton").fit(z_img, z_txt, labels)
