import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import gennorm

from vilu_sdk import ProbVLMScorer
from vilu_sdk.scorers.probabilistic import probvlm_adapter
from vilu_sdk.scorers.probabilistic.probvlm import cross_modal_logits
from vilu_sdk.scorers.probabilistic.probvlm_adapter import (
    AdapterTraining,
    GeneralisedGaussian,
    ProbVLMAdapter,
    aleatoric_log_variance,
    log_variance,
    negative_log_likelihood,
    train_adapters,
)

SMALL = {"epochs": 2, "hidden": 16, "random_state": 0}
TRAINING = AdapterTraining(
    likelihood="official",
    hidden=8,
    dropout=0.1,
    mae_weight=1.0,
    likelihood_weight=0.05,
    cross_weight=1e-4,
    learning_rate=1e-3,
    epochs=3,
    batch_size=8,
    batches_per_epoch=100,
)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)


def nll(residual, inverse_scale, shape, likelihood="exact"):
    return negative_log_likelihood(column(residual), column(inverse_scale), column(shape), likelihood).item()


@pytest.fixture(scope="module")
def fitted(toy):
    return ProbVLMScorer(**SMALL).fit(toy.z_img, toy.z_txt, toy.labels)


def as_cross_modal(scorer):
    """The other read-out of the same adapters."""
    cross = ProbVLMScorer(**{**scorer.get_params(), "readout": "cross_modal"})
    for name, value in vars(scorer).items():
        if name.endswith("_"):
            setattr(cross, name, value)
    return cross


# -- the generalised Gaussian -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "official", "exact"),
    [
        (0.5, 0.8, 1.2649110641),
        (1.0, 0.9068528194, 0.9068528194),
        (2.0, 2.3860705818, 1.7460705818),
    ],
)
def test_golden_likelihoods(shape, official, exact):
    assert nll(0.8, 2.0, shape, "official") == pytest.approx(official, abs=1e-9)
    assert nll(0.8, 2.0, shape) - math.log(2) == pytest.approx(exact, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.floats(-5, 5), st.floats(0.01, 5), st.floats(0.2, 4))
def test_exact_likelihood_is_the_generalised_gaussian(residual, scale, shape):
    if not 1e-4 < (abs(residual) / scale) ** shape < 1e3:
        return  # the distance is cut there
    expected = -gennorm.logpdf(residual, shape, scale=scale)
    assert nll(residual, 1 / scale, shape) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("shape", [0.1, 0.5, 1.0, 1.7, 5.0])
def test_variance_is_the_generalised_gaussian(shape):
    variance = log_variance(column(2.0), column(shape)).exp().item()
    assert variance == pytest.approx(gennorm.var(shape, scale=0.5), rel=1e-9)


def test_variance_of_laplace_and_gauss():
    alpha = 0.7
    assert log_variance(column(1 / alpha), column(1.0)).exp().item() == pytest.approx(2 * alpha**2)
    assert log_variance(column(1 / alpha), column(2.0)).exp().item() == pytest.approx(alpha**2 / 2)


@pytest.mark.parametrize("likelihood", ["exact", "official"])
def test_dead_heads_have_finite_losses_and_gradients(likelihood):
    z = torch.zeros(3, 2)
    outputs = [torch.zeros(3, 2, requires_grad=True) for _ in range(3)]
    settings = AdapterTraining(**{**vars(TRAINING), "likelihood": likelihood})
    loss = settings.loss(GeneralisedGaussian(*outputs), z)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(value.grad).all() for value in outputs)
    assert torch.isfinite(aleatoric_log_variance(GeneralisedGaussian(*outputs))).all()


# -- adapters and their training -------------------------------------------------------------------------


def test_loss_of_pairs_is_the_published_sum():
    torch.manual_seed(0)
    image, text = (ProbVLMAdapter(6, 8, 0.0).eval() for _ in range(2))
    z = torch.randn(4, 6), torch.randn(4, 6)

    def loss(adapter, own, target):
        mean, inverse_scale, shape = adapter(own)
        a, b = inverse_scale + 1e-4, shape + 1e-4
        r = ((mean - target).abs() * a * b).clamp(1e-4, 1e3)
        likelihood = (r - torch.log(a) + torch.lgamma(1 / b) - torch.log(b)).mean()
        return (mean - target).abs().mean() + 0.05 * likelihood

    cross = loss(image, z[0], z[1]) + loss(text, z[1], z[0])
    expected = loss(image, z[0], z[0]) + loss(text, z[1], z[1]) + 1e-4 * cross
    torch.testing.assert_close(TRAINING.pair_loss(image, text, *z), expected)


def test_adapter_is_the_published_network():
    torch.manual_seed(0)
    adapter = ProbVLMAdapter(6, 8, 0.5).eval()
    z = torch.randn(4, 6)
    w = dict(adapter.named_parameters())

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    inner = linear(linear(linear(z, "trunk.0").relu(), "trunk.2").relu(), "trunk.5") + z
    heads = [linear(linear(inner, f"{head}.0").relu(), f"{head}.2") for head in adapter(z)._fields]
    expected = heads[0], heads[1].relu(), heads[2].relu()
    for value, other in zip(adapter(z), expected, strict=True):
        torch.testing.assert_close(value, other)


def pairs(n=40, d=6):
    rng = torch.Generator().manual_seed(0)
    z = torch.nn.functional.normalize(torch.randn(2, n, d, generator=rng), dim=2)
    return lambda rows: (z[0][rows], z[1][rows])


@pytest.mark.parametrize("likelihood", ["exact", "official"])
def test_training_lowers_the_loss(likelihood):
    settings = AdapterTraining(**{**vars(TRAINING), "likelihood": likelihood, "epochs": 5})
    rows = torch.arange(40)
    *_, history = train_adapters(6, rows, rows[:0], pairs(), settings, torch.Generator().manual_seed(0))
    assert len(history) == 5
    assert history[-1] < history[0]


def test_the_epoch_of_the_smallest_validation_error_is_kept(monkeypatch):
    errors, states = iter([3.0, 1.0, 2.0]), []

    def scripted(adapters, *_):
        states.append({name: value.clone() for name, value in adapters[0].state_dict().items()})
        return next(errors)

    monkeypatch.setattr(probvlm_adapter, "_mean_error", scripted)
    rows = torch.arange(40)
    image, *_ = train_adapters(6, rows[8:], rows[:8], pairs(), TRAINING, torch.Generator().manual_seed(0))
    weight = image.state_dict()["mean.0.weight"]
    assert torch.equal(weight, states[1]["mean.0.weight"])
    assert not torch.equal(weight, states[2]["mean.0.weight"])


def test_validation_error_is_that_of_both_means():
    torch.manual_seed(0)
    image, text = (ProbVLMAdapter(6, 8, 0.0).eval() for _ in range(2))
    z_img, z_txt = pairs()(torch.arange(40))
    expected = (image(z_img).mean - z_img).abs().mean() + (text(z_txt).mean - z_txt).abs().mean()
    error = probvlm_adapter._mean_error((image, text), torch.arange(40), pairs(), 7)
    assert error == pytest.approx(expected.item(), rel=1e-5)


def test_fit_depends_on_the_seed_alone(toy, fitted):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = ProbVLMScorer(**SMALL).fit(toy.z_img, toy.z_txt, toy.labels)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.loss_curve_ == fitted.loss_curve_
    other = ProbVLMScorer(**{**SMALL, "random_state": 1}).fit(toy.z_img, toy.z_txt, toy.labels)
    assert other.loss_curve_ != fitted.loss_curve_


# -- read-outs -----------------------------------------------------------------------------------------------


def test_visual_aleatoric_is_the_mean_variance_and_blind_to_texts(toy, fitted):
    u = fitted.predict_uncertainty(toy.z_img, toy.z_txt)
    np.testing.assert_allclose(u, fitted.predict_uncertainty(toy.z_img, -toy.z_txt[:2]), rtol=1e-6)
    z = torch.nn.functional.normalize(torch.from_numpy(toy.z_img), dim=1)
    with torch.no_grad():
        _, inverse_scale, shape = fitted.image_adapter_(z)
    alpha = np.clip(1 / (inverse_scale.double().numpy() + 1e-5), 1e-4, 5)
    beta = np.clip(shape.double().numpy() + 0.1, 0.1, 5)
    np.testing.assert_allclose(u, gennorm.var(beta, scale=alpha).mean(axis=1), rtol=1e-3)
    assert not fitted.is_probability
    np.testing.assert_allclose(np.log(u), fitted.decision_function(toy.z_img, toy.z_txt))


def test_log_mean_pools_logarithms(toy, fitted):
    pooled = ProbVLMScorer(**{**SMALL, "pooling": "log_mean"}).fit(toy.z_img, toy.z_txt, toy.labels)
    # The geometric mean is below the arithmetic one.
    assert (
        pooled.decision_function(toy.z_img, toy.z_txt) < fitted.decision_function(toy.z_img, toy.z_txt)
    ).all()


def test_cross_modal_is_the_loss_as_a_softmax(toy, fitted):
    scorer = as_cross_modal(fitted)
    z, text = (torch.nn.functional.normalize(torch.from_numpy(x), dim=1) for x in (toy.z_img, toy.z_txt))
    with torch.no_grad():
        # The part that candidates share is 1e5 times as large as what tells them apart: not for float32.
        mean, inverse_scale, shape = (x[:, None].double() for x in fitted.image_adapter_(z))
        loss = negative_log_likelihood(mean - text, inverse_scale + 1e-4, shape + 1e-4, "exact").mean(dim=2)
    p = torch.softmax(-loss, dim=1).numpy()
    predicted = scorer.predict(toy.z_img, toy.z_txt)
    u = scorer.predict_uncertainty(toy.z_img, toy.z_txt)
    np.testing.assert_allclose(u, 1 - p[np.arange(len(p)), predicted], rtol=1e-3)
    assert scorer.is_probability
    np.testing.assert_allclose(expit(scorer.decision_function(toy.z_img, toy.z_txt)), u)


def test_cross_modal_of_gaussians_around_the_embeddings_is_the_zero_shot_softmax():
    generator = torch.Generator().manual_seed(0)
    z, text = (
        torch.nn.functional.normalize(torch.randn(n, 6, generator=generator, dtype=torch.float64), dim=1)
        for n in (5, 4)
    )
    inverse_scale, shape = torch.full_like(z, 3.0 - 1e-4), torch.full_like(z, 2.0 - 1e-4)
    logits = cross_modal_logits(GeneralisedGaussian(z, inverse_scale, shape), text, "exact")
    # -|z - t|² / α² averaged over d coordinates is (2 cos - 2) / (α² d).
    torch.testing.assert_close(logits.softmax(dim=1), (2 * 9 / 6 * (z @ text.T)).softmax(dim=1))


@pytest.mark.parametrize("likelihood", ["exact", "official"])
def test_permuted_candidates_permute_the_logits(toy, fitted, likelihood):
    text = torch.from_numpy(toy.z_txt)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    outputs = fitted.image_adapter_(torch.from_numpy(toy.z_img))
    logits = cross_modal_logits(outputs, text, likelihood)
    torch.testing.assert_close(cross_modal_logits(outputs, text[order], likelihood), logits[:, order])


@pytest.mark.parametrize("elements", [1, 8 * 16 * 4, 8 * 16 * 6 * 7])
def test_chunks_do_not_change_the_logits(toy, fitted, elements, monkeypatch):
    text = torch.from_numpy(toy.z_txt)
    outputs = fitted.image_adapter_(torch.from_numpy(toy.z_img[:20]))
    whole = cross_modal_logits(outputs, text, "exact")
    monkeypatch.setattr("vilu_sdk.scorers.probabilistic.probvlm.CHUNK_ELEMENTS", elements)
    torch.testing.assert_close(cross_modal_logits(outputs, text, "exact"), whole)


# -- the scorer -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.LabelWarning")
def test_captions(toy):
    scorer = ProbVLMScorer(**SMALL, readout="cross_modal").fit(toy.z_img, toy.z_img[::-1].copy())
    u = scorer.predict_uncertainty(toy.z_img[:30], toy.z_img[-30:])
    assert ((u > 0) & (u < 1)).all()


def test_right_predictions_are_labels(toy):
    predicted = ProbVLMScorer().predict(toy.z_img, toy.z_txt)
    curves = [
        ProbVLMScorer(**SMALL).fit(toy.z_img, toy.z_txt, **known).loss_curve_
        for known in ({"labels": predicted}, {"correct": np.ones(len(predicted), dtype=bool)})
    ]
    assert curves[0] == curves[1]


def test_image_scale_of_none_is_the_logit_scale(toy):
    curves = [
        ProbVLMScorer(**SMALL, **scales).fit(toy.z_img, toy.z_txt, toy.labels).loss_curve_
        for scales in ({"image_scale": None, "logit_scale": 20.0}, {"image_scale": 20.0}, {})
    ]
    assert curves[0] == curves[1] != curves[2]


def test_no_validation_keeps_the_last_epoch(toy):
    scorer = ProbVLMScorer(**SMALL, validation_fraction=0.0).fit(toy.z_img, toy.z_txt, toy.labels)
    assert len(scorer.loss_curve_) == 2


@pytest.mark.parametrize(
    "parameters",
    [
        {"readout": "other"},
        {"likelihood": "other"},
        {"pooling": "other"},
        {"epochs": 0},
        {"hidden": 0},
        {"batch_size": 0},
        {"batches_per_epoch": 0},
        {"dropout": 1.0},
        {"validation_fraction": -0.1},
        {"cross_weight": -1.0},
        {"learning_rate": 0.0},
        {"image_scale": 0.0},
        {"logit_scale": -1.0},
    ],
)
def test_parameters_are_checked(toy, parameters):
    with pytest.raises(ValueError, match=f"{next(iter(parameters))} must"):
        ProbVLMScorer(**parameters).fit(toy.z_img, toy.z_txt, toy.labels)
