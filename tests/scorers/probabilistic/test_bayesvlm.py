import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit

from vilu_sdk import BayesVLMScorer, MCMScorer
from vilu_sdk.inputs.precision import in_float64
from vilu_sdk.scorers import KroneckerFactors
from vilu_sdk.scorers.probabilistic import kfac
from vilu_sdk.scorers.probabilistic.kfac import ggn_sum
from vilu_sdk.scorers.probabilistic.laplace import (
    GaussianEmbeddings,
    LastLayer,
    best_prior_precision,
    log_evidence,
    prob_cosine,
    probit_logits,
)
from vilu_sdk.scorers.probabilistic.pairs import contrastive_batches

seeds = st.integers(0, 2**31 - 1)
few = settings(max_examples=15, deadline=None)


@pytest.fixture
def double():
    with in_float64():
        yield


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def embeddings(seed, n, d, spread=1.0):
    return GaussianEmbeddings(
        normal(seed, n, d), spread * normal(seed + 1, n).square(), normal(seed + 2, d).square() / d
    )


def wishart(seed, d, n=None):
    x = normal(seed, n or 3 * d, d)
    return x.T @ x


# -- golden values: two texts, one image, small enough to do by hand ---------------------------------

GOLDEN = {
    "z_img": [[3.0, 4.0]],
    "a_img": [[1.0, 2.0]],
    "z_txt": [[1.0, 0.0], [0.0, 2.0]],
    "a_txt": [[1.0, 1.0], [2.0, 0.0]],
    # With λ = n_p = 1 the damped factors are diag(2, 4), diag(5, 10), diag(10, 10/3), diag(2, 4).
    "image_factors": KroneckerFactors(np.diag([1.0, 3.0]), np.diag([4.0, 9.0]), 1.0),
    "text_factors": KroneckerFactors(np.diag([9.0, 7 / 3]), np.diag([1.0, 3.0]), 1.0),
}


def golden_scorer():
    factors = {key: GOLDEN[key] for key in ("image_factors", "text_factors")}
    scorer = BayesVLMScorer(mode="exact", logit_scale=10.0)
    return scorer.fit(GOLDEN["z_img"], GOLDEN["z_txt"], **factors)


def golden_embeddings(side):
    layer = LastLayer.of(GOLDEN[f"{'image' if side == 'img' else 'text'}_factors"], None)
    return layer.embed(*(torch.tensor(GOLDEN[f"{kind}_{side}"]) for kind in "za"))


def test_golden_distribution(double):
    mean, variance = prob_cosine(golden_embeddings("img"), golden_embeddings("txt"))
    probit = probit_logits(mean, variance, 10.0)
    expected = {
        "mean": (mean, [0.5215616916, 0.7647365824]),
        "variance": (variance, [0.1141000453, 0.0372367159]),
        "k": (probit / (10 * mean), [0.4271516143, 0.6372811437]),
        "P": (probit.softmax(dim=1), [0.0662568309, 0.9337431691]),
    }
    for name, (value, golden) in expected.items():
        np.testing.assert_allclose(value[0], golden, atol=1e-9, rtol=0, err_msg=name)


def test_golden_score(double):
    scorer = golden_scorer()
    arguments = GOLDEN["z_img"], GOLDEN["z_txt"]
    activations = {"a_img": GOLDEN["a_img"], "a_txt_set": GOLDEN["a_txt"]}
    u = scorer.predict_uncertainty(*arguments, **activations)
    np.testing.assert_allclose(u, [1 - 0.9337431691], atol=1e-9, rtol=0)
    np.testing.assert_allclose(expit(scorer.decision_function(*arguments, **activations)), u, rtol=1e-12)
    mcm = MCMScorer(logit_scale=10.0).predict_uncertainty(*arguments)
    np.testing.assert_allclose(mcm, [0.1192029220], atol=1e-9, rtol=0)
    assert scorer.predict(*arguments).tolist() == [1]


# -- the predictive distribution ----------------------------------------------------------------------


def test_mean_and_variance_match_monte_carlo():
    d, draws = 64, 40_000
    image, text = embeddings(0, 1, d), embeddings(10, 1, d)
    rng = np.random.default_rng(0)
    v, t = (
        e.mean.numpy() + np.sqrt(e.leverage.numpy() * e.variance.numpy()) * rng.normal(size=(draws, d))
        for e in (image, text)
    )
    mean, variance = (value.item() for value in prob_cosine(image, text))

    inner, norms = (v * t).sum(axis=1), math.sqrt(image.squared_norm.item() * text.squared_norm.item())
    # The inner product is exact, so only the draws are off: 5 standard errors.
    assert inner.mean() == pytest.approx(mean * norms, abs=5 * inner.std() / draws**0.5)
    assert inner.var() == pytest.approx(variance * norms**2, rel=5 * (3 / draws) ** 0.5)
    cosine = inner / np.linalg.norm(v, axis=1) / np.linalg.norm(t, axis=1)
    # Norms are replaced by the root of their expected squares.
    assert cosine.mean() == pytest.approx(mean, rel=0.02)
    assert cosine.var() == pytest.approx(variance, rel=0.1)


@few
@given(seeds, st.integers(2, 6), st.integers(2, 8), st.floats(1, 200))
def test_no_covariance_is_mcm(seed, k, d, scale):
    image, text = (embeddings(seed + i, n, d, spread=0.0) for i, n in ((0, 3), (5, k)))
    mean, variance = prob_cosine(image, text)
    cosine = torch.nn.functional.cosine_similarity(image.mean[:, None], text.mean, dim=2)
    torch.testing.assert_close(mean, cosine)
    assert not variance.any()
    torch.testing.assert_close(probit_logits(mean, variance, scale), scale * cosine)


@few
@given(seeds, st.integers(2, 8), st.floats(0.001, 1), st.floats(0.001, 1))
def test_isotropic_covariance_is_a_temperature(seed, d, image_variance, text_variance):
    unit = [torch.nn.functional.normalize(normal(seed + i, 4, d), dim=1) for i in (0, 1)]
    image, text = (
        GaussianEmbeddings(z, torch.full((4,), value, dtype=z.dtype), torch.ones_like(z[0]))
        for z, value in zip(unit, (image_variance, text_variance), strict=True)
    )
    mean, variance = prob_cosine(image, text)
    norms = (1 + d * image_variance) * (1 + d * text_variance)
    expected = (image_variance + text_variance + d * image_variance * text_variance) / norms
    torch.testing.assert_close(variance, torch.full_like(variance, expected))
    torch.testing.assert_close(mean, unit[0] @ unit[1].T / norms**0.5)


@few
@given(seeds, st.integers(1, 8), st.floats(0.1, 10))
def test_distribution_of_the_cosine(seed, d, factor):
    image, text = embeddings(seed, 5, d), embeddings(seed + 7, 4, d)
    mean, variance = prob_cosine(image, text)
    cosine = torch.nn.functional.cosine_similarity(image.mean[:, None], text.mean, dim=2)
    assert (mean.abs() <= cosine.abs() + 1e-12).all()
    k = probit_logits(torch.ones_like(mean), variance, 100.0) / 100
    assert ((k > 0) & (k <= 1)).all()

    scaled = GaussianEmbeddings(factor * image.mean, factor**2 * image.leverage, image.variance)
    for value, other in zip(prob_cosine(scaled, text), (mean, variance), strict=True):
        torch.testing.assert_close(value, other)
    for value, swapped in zip((mean, variance), prob_cosine(text, image), strict=True):
        torch.testing.assert_close(value, swapped.T)


@few
@given(seeds, st.floats(0.1, 100), st.floats(0.1, 100), st.floats(1.1, 10))
def test_variance_falls_with_data_and_prior(seed, precision, count, more):
    a, b, activation = wishart(seed, 4), wishart(seed + 1, 3), normal(seed + 2, 5, 4)

    def variances(precision, count):
        layer = LastLayer.of(KroneckerFactors(a, b, precision, count), None)
        embedded = layer.embed(normal(seed + 3, 5, 3), activation)
        return embedded.leverage[:, None] * embedded.variance

    assert (variances(precision, more * count) < variances(precision, count)).all()
    assert (variances(more * precision, count) < variances(precision, count)).all()


def test_endless_pseudo_data_are_mcm(toy, double):
    arguments = toy.z_img, toy.z_txt
    mcm = MCMScorer().decision_function(*arguments)
    scorer = BayesVLMScorer(pseudo_data_count=1e30, prior_precision=1e-12, random_state=0)
    sure = scorer.fit(*arguments, toy.labels).decision_function(*arguments)
    np.testing.assert_allclose(sure, mcm, rtol=1e-5, atol=1e-5)


# -- the Gauss-Newton matrix ----------------------------------------------------------------------------


def direct_ggn(x, targets, scale):
    """Jacobian of the logits, by automatic differentiation, around the Hessian of the softmax loss."""
    targets = torch.nn.functional.normalize(targets, dim=1)
    total = torch.zeros(x.shape[1], x.shape[1], dtype=x.dtype)
    for row in x:
        jacobian = torch.func.jacrev(lambda z: scale * targets @ (z / z.norm()))(row)
        p = torch.softmax(scale * targets @ (row / row.norm()), dim=0)
        total += jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
    return total


@few
@given(seeds, st.integers(1, 6), st.integers(2, 5), st.integers(2, 6), st.floats(0.5, 50))
def test_ggn_sum_is_the_direct_one(seed, n, c, d, scale):
    x, targets = 3 * normal(seed, n, d), 1 + normal(seed + 1, c, d)
    torch.testing.assert_close(ggn_sum([x], targets, scale), direct_ggn(x, targets, scale))
    torch.testing.assert_close(ggn_sum(x.split(2), targets, scale), direct_ggn(x, targets, scale))


@few
@given(seeds, st.integers(2, 5), st.integers(2, 6))
def test_ggn_ignores_the_length_of_the_source(seed, c, d):
    x, targets = normal(seed, 1, d), normal(seed + 1, c, d)
    h = ggn_sum([x], targets, 5.0)
    torch.testing.assert_close(h @ x[0], torch.zeros_like(x[0]), atol=1e-9, rtol=0)
    eigenvalues = torch.linalg.eigvalsh(h).flip(0)
    rank = min(c - 1, d - 1)
    torch.testing.assert_close(eigenvalues[rank:], torch.zeros(d - rank, dtype=x.dtype), atol=1e-9, rtol=0)


# -- the evidence -----------------------------------------------------------------------------------------


def test_evidence_has_the_determinant_of_the_kronecker_product():
    a, b, precision = wishart(0, 5), wishart(1, 3), 0.7
    damped = [m + precision**0.5 * torch.eye(len(m), dtype=m.dtype) for m in (a, b)]
    alpha, beta = (torch.linalg.eigvalsh(m) for m in (a, b))
    expected = 0.5 * (15 * math.log(precision) - precision * 4.0 - torch.logdet(torch.kron(*damped)).item())
    assert log_evidence(alpha, beta, 4.0, precision) == pytest.approx(expected, rel=1e-12)


@few
@given(seeds, st.floats(0.01, 1e3), st.floats(1e-3, 1e3))
def test_prior_precision_has_the_highest_evidence(seed, scale, squared_weights):
    alpha, beta = (scale * normal(seed + i, n).square() for i, n in ((0, 6), (1, 4)))
    found = best_prior_precision(alpha, beta, squared_weights)
    searched = minimize_scalar(
        lambda x: -log_evidence(alpha, beta, squared_weights, math.exp(x)),
        bounds=(math.log(found) - 5, math.log(found) + 5),
        method="bounded",
    )
    assert math.log(found) == pytest.approx(searched.x, abs=1e-4)


def test_identity_leverage_is_the_original_for_an_invertible_projection_and_less_for_a_wide_one(double):
    a = normal(0, 40, 5)
    for rows, holds in ((5, torch.isclose), (3, torch.le)):
        z = a @ normal(1, rows, 5).T
        leverages = [
            LastLayer.of(KroneckerFactors(x.T @ x, np.eye(2), 1e-20), None).embed(a[:, :2], x).leverage
            for x in (z, a)
        ]
        assert holds(*leverages).all()


# -- estimating factors ---------------------------------------------------------------------------------


@few
@given(seeds, st.integers(2, 6), st.integers(1, 30), st.integers(2, 7))
def test_batches_hold_every_pair_once_and_no_text_twice(seed, k, m, size):
    texts = torch.from_numpy(np.random.default_rng(seed).integers(k, size=m))
    batches = list(contrastive_batches(texts, size, torch.Generator().manual_seed(seed)))
    assert sorted(torch.cat(batches).tolist()) == list(range(m))
    for batch in batches:
        assert len(batch) <= size
        assert len(torch.unique(texts[batch])) == len(batch)


class Exact:
    """Activations and what two random projections make of them."""

    def __init__(self, n=24, k=4, p=7, d=5):
        rng = np.random.default_rng(0)
        self.projection_img, self.projection_txt = rng.normal(size=(2, d, p))
        self.a_txt = rng.normal(size=(k, p))
        self.labels = np.arange(n) % k
        self.a_img = self.a_txt[self.labels] + rng.normal(size=(n, p))
        self.z_img, self.z_txt = self.a_img @ self.projection_img.T, self.a_txt @ self.projection_txt.T

    def fit(self, labels=True, **arguments):
        given = ("a_img", "a_txt", "projection_img", "projection_txt")
        keywords = {name: getattr(self, name) for name in given} | arguments
        parameters = {"mode": "exact", "logit_scale": 10.0, "random_state": 0}
        parameters |= {key: keywords.pop(key) for key in ("prior_precision",) if key in keywords}
        z = [keywords.pop(key, getattr(self, key)) for key in ("z_img", "z_txt")]
        return BayesVLMScorer(**parameters).fit(*z, self.labels if labels else None, **keywords)

    def score(self, scorer, **arguments):
        keywords = {"a_img": self.a_img, "a_txt_set": self.a_txt} | arguments
        return scorer.decision_function(self.z_img, self.z_txt, **keywords)


def test_factors_of_a_class_set_are_the_direct_sums(double, monkeypatch):
    data = Exact(n=24, k=4)
    seen = []
    monkeypatch.setattr(kfac, "KroneckerFactors", lambda a, b: seen.append((a, b)) or KroneckerFactors(a, b))
    data.fit()
    z_img, z_txt = torch.from_numpy(data.z_img), torch.from_numpy(data.z_txt)
    (a_img, b_img), (a_txt, b_txt) = seen
    texts = torch.from_numpy(data.a_txt[data.labels])
    torch.testing.assert_close(a_img, torch.from_numpy(data.a_img.T @ data.a_img) / 24**0.5)
    torch.testing.assert_close(a_txt, texts.T @ texts / 24**0.5)
    torch.testing.assert_close(b_img, direct_ggn(z_img, z_txt, 10.0) / 24**0.5)
    # Six batches of one image a class; which image meets which is drawn, their traces differ little.
    assert 0.5 < b_txt.trace() / (direct_ggn(z_txt, z_img[:4], 10.0).trace() * 6 / 24**0.5) < 2


def test_factors_of_captions_are_the_direct_sums(double, monkeypatch):
    data = Exact(n=9, k=9)
    seen = []
    monkeypatch.setattr(kfac, "KroneckerFactors", lambda a, b: seen.append((a, b)) or KroneckerFactors(a, b))
    monkeypatch.setattr(kfac, "CHUNK_ELEMENTS", 20)
    data.fit(labels=False)
    z_img, z_txt = torch.from_numpy(data.z_img), torch.from_numpy(data.z_txt)
    torch.testing.assert_close(seen[0][1], direct_ggn(z_img, z_txt, 10.0) / 3)
    torch.testing.assert_close(seen[1][1], direct_ggn(z_txt, z_img, 10.0) / 3)


def test_right_predictions_are_labels(toy):
    labels = BayesVLMScorer().predict(toy.z_img, toy.z_txt)
    fits = ({"labels": labels}, {"correct": np.ones(len(labels), dtype=bool)})
    scores = [
        BayesVLMScorer(random_state=0)
        .fit(toy.z_img, toy.z_txt, **known)
        .decision_function(toy.z_img, toy.z_txt)
        for known in fits
    ]
    np.testing.assert_array_equal(*scores)


def test_wrong_predictions_inform_the_images_only(toy):
    scorer = BayesVLMScorer(random_state=0)
    correct = scorer.predict(toy.z_img, toy.z_txt) == toy.labels
    scorer.fit(toy.z_img, toy.z_txt, correct=correct)
    labelled = BayesVLMScorer(random_state=0).fit(toy.z_img, toy.z_txt, toy.labels)
    torch.testing.assert_close(scorer.image_root_, labelled.image_root_)
    assert not torch.allclose(scorer.text_root_, labelled.text_root_)


# -- the scorer --------------------------------------------------------------------------------------------


def test_captions(toy):
    rng = np.random.default_rng(0)
    z_txt = toy.z_img + rng.normal(size=toy.z_img.shape)
    scorer = BayesVLMScorer(batch_size=100, random_state=0).fit(toy.z_img, z_txt)
    u = scorer.predict_uncertainty(toy.z_img[:50], z_txt[:50])
    assert u.shape == (50,)
    assert ((u > 0) & (u < 1)).all()


def test_far_from_the_data_the_scorer_knows_less(double):
    rng = np.random.default_rng(0)
    z_txt = np.eye(4, 8)
    labels = rng.integers(4, size=400)
    z_img = z_txt[labels] + 0.1 * np.pad(rng.normal(size=(400, 4)), ((0, 0), (0, 4)))
    scorer = BayesVLMScorer(logit_scale=10.0, random_state=0).fit(z_img, z_txt, labels)
    # Same cosines to all texts, but the second leaves the span of the training images.
    seen, unseen = [[1.0, 0.5, 0.6, 0.6, 0, 0, 0, 0]], [[1.0, 0.5, 0.0, 0.0, 0.6, 0.6, 0, 0]]
    u = [scorer.predict_uncertainty(z, z_txt[:2])[0] for z in (seen, unseen)]
    assert u[1] > u[0]


def test_decision_is_not_saturated(toy, double):
    scorer = BayesVLMScorer(pseudo_data_count=1e12, logit_scale=1000.0, random_state=0)
    scorer.fit(toy.z_img, toy.z_txt, toy.labels)
    decision = scorer.decision_function(toy.z_img, toy.z_txt)
    assert len(np.unique(decision)) == len(decision)
    assert np.isfinite(decision).all()


def test_chunks_do_not_change_the_exact_mode(monkeypatch):
    data = Exact()
    scorer = data.fit()
    whole = data.score(scorer)
    monkeypatch.setattr("vilu_sdk.inputs.rows.CHUNK_ELEMENTS", 30)
    np.testing.assert_allclose(data.score(scorer), whole, rtol=1e-5)
    np.testing.assert_allclose(data.score(data.fit()), whole, rtol=1e-3)


def test_exact_mode_is_saved(tmp_path):
    data = Exact()
    scorer = data.fit()
    scorer.save_pretrained(tmp_path)
    np.testing.assert_array_equal(data.score(BayesVLMScorer.from_pretrained(tmp_path)), data.score(scorer))


def test_own_prior_precision_of_the_factors_wins():
    factors = (
        KroneckerFactors(np.eye(7), np.eye(5), prior_precision=3.0),
        KroneckerFactors(np.eye(7), np.eye(5)),
    )
    scorer = Exact().fit(image_factors=factors[0], text_factors=factors[1], prior_precision=2.0)
    assert (scorer.image_prior_precision_, scorer.text_prior_precision_) == (3.0, 2.0)
    scorer = Exact().fit(image_factors=factors[0], text_factors=factors[1])
    assert scorer.image_prior_precision_ == 3.0 != scorer.text_prior_precision_ > 0


EYE = KroneckerFactors(np.eye(7), np.eye(5))
UNIT = np.eye(4, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a_img": None, "projection_img": None}, "needs a_img"),
        ({"a_img": np.ones((3, 7))}, "a_img has 3 rows"),
        ({"z_txt": UNIT}, "z_txt is normalised"),
        ({"projection_img": np.ones((7, 5))}, "projection_img must have shape"),
        ({"projection_img": np.ones((5, 7))}, "come from different models"),
        ({"projection_img": None, "projection_txt": None}, "no prior precision"),
        ({"image_factors": EYE}, "factors of one encoder"),
        ({"image_factors": EYE, "text_factors": KroneckerFactors(np.eye(7), np.eye(4))}, "text_factors.B"),
        ({"prior_precision": -1.0}, "prior_precision must be"),
    ],
)
def test_exact_mode_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Exact().fit(**arguments)


def test_exact_mode_refuses_when_scoring():
    data = Exact()
    scorer = data.fit()
    with pytest.raises(ValueError, match="needs a_img"):
        scorer.decision_function(data.z_img, data.z_txt)
    with pytest.raises(ValueError, match="activation factor is 7 wide"):
        data.score(scorer, a_img=data.a_img[:, :6])
    with pytest.raises(ValueError, match="z_img is normalised"):
        scorer.predict_uncertainty(UNIT, data.z_txt, a_img=data.a_img[:4], a_txt_set=data.a_txt)


def test_half_precision_norms_count_as_normalised():
    data = Exact()
    unit = data.z_img / np.linalg.norm(data.z_img, axis=1, keepdims=True)
    with pytest.raises(ValueError, match="z_img is normalised"):
        data.fit(z_img=unit.astype(np.float16))


@pytest.mark.parametrize(
    ("a", "message"),
    [
        (np.ones((2, 3)), "square"),
        ([[1.0, 0.5], [0.0, 1.0]], "not symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "negative eigenvalue"),
        ([[math.nan, 0.0], [0.0, 1.0]], "NaN"),
    ],
)
def test_factors_are_checked(a, message):
    with pytest.raises(ValueError, match=message):
        KroneckerFactors(a, np.eye(2))


def test_rounded_factors_are_repaired():
    factor = KroneckerFactors([[1.0, 1e-6], [0.0, -1e-6]], np.eye(2), prior_precision=1.0)
    torch.testing.assert_close(factor.A, factor.A.T, atol=0, rtol=0)
    assert torch.isfinite(LastLayer.of(factor, None).root).all()


@pytest.mark.parametrize(
    ("parameters", "arguments", "message"),
    [
        ({"mode": "other"}, {}, "mode must be"),
        ({"batch_size": 1}, {}, "batch_size must be"),
        ({"pseudo_data_count": 0.0}, {}, "pseudo_data_count must be"),
        ({}, {"a_img": np.ones((640, 3))}, "a_img is for mode='exact'"),
        ({}, {"labels": None, "correct": np.zeros(640, dtype=bool)}, "right predictions"),
        ({}, {"labels": np.zeros(640, dtype=int)}, "fewer than two different texts"),
    ],
)
def test_identity_head_refuses(toy, parameters, arguments, message):
    with pytest.raises(ValueError, match=message):
        BayesVLMScorer(**parameters).fit(toy.z_img, toy.z_txt, **{"labels": toy.labels, **arguments})
