"""What the default recipe weighs: source weights, calibration, class intercepts, matched texts."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp, softmax

from support.data import draw_task
from vilu_sdk.inputs.task import check_task
from vilu_sdk.scorers.posterior.blend import EVEN
from vilu_sdk.scorers.posterior.classes import learn_blend
from vilu_sdk.scorers.posterior.intercepts import (
    class_frequencies,
    fit_intercepts,
    leave_groups_out_intercepts,
)
from vilu_sdk.scorers.posterior.moments import Moments
from vilu_sdk.scorers.posterior.training_data import TrainingData
from vilu_sdk.scorers.posterior.transfer import SAME_TEXT, match_texts, transferred_weight
from vilu_sdk.scorers.posterior.weights import LEAST_BASE, Outcomes, fit_platt, fit_weights

N, K = 400, 5


def problem(seed, sharpness=(1.0, 1.0)):
    """Labels, and sources that each tell something about them on their own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(K, size=N)
    truth = np.eye(K)[labels]
    sources = [s * truth + rng.normal(size=(N, K)) for s in sharpness]
    return [torch.tensor(s) for s in sources], torch.tensor(labels)


def weigh(sources, labels, correct, prediction, tightness):
    """Weights and loss with a prior on the first source alone."""
    column = labels if correct is None else prediction
    precision = [tightness] + [1e-6] * (len(sources) - 1)
    return fit_weights([Outcomes.of(sources, column, correct)], precision)


def cross_entropy(weights, sources, labels, tightness):
    q = sum(w * source.numpy() for w, source in zip(weights, sources, strict=True))
    loss = -log_softmax(q, axis=1)[np.arange(len(q)), labels.numpy()].sum()
    return loss + 0.5 * tightness * (weights[0] - 1) ** 2


def bit_loss(weights, sources, prediction, correct, tightness):
    q = sum(w * source.numpy() for w, source in zip(weights, sources, strict=True))
    rows, prediction = np.arange(len(q)), prediction.numpy()
    others = q.copy()
    others[rows, prediction] = -np.inf
    odds = logsumexp(others, axis=1) - q[rows, prediction]
    loss = np.logaddexp(0, np.where(correct.numpy(), odds, -odds)).sum()
    return loss + 0.5 * tightness * (weights[0] - 1) ** 2


def best(objective, size):
    """The minimum by another optimiser, from several starts."""
    bounds = [(LEAST_BASE, None)] + [(0, None)] * (size - 1)
    starts = np.random.default_rng(0).uniform(0.1, 1.5, size=(4, size))
    return min((minimize(objective, start, bounds=bounds) for start in starts), key=lambda found: found.fun)


# --- weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tightness", [1e-6, 5.0, 400.0])
@pytest.mark.parametrize("sharpness", [(1.0, 2.0), (0.0, 1.0), (1.0, 0.0, 1.0), (-1.0, 0.5, -0.5)])
def test_weights_minimise_the_cross_entropy(sharpness, tightness):
    sources, labels = problem(1, sharpness)
    weights, loss = weigh(sources, labels, None, sources[0].argmax(dim=1), tightness)
    found = best(lambda w: cross_entropy(w, sources, labels, tightness), len(sources))
    assert loss == pytest.approx(cross_entropy(weights, sources, labels, tightness), abs=1e-3)
    assert loss == pytest.approx(found.fun, abs=0.05)
    np.testing.assert_allclose(weights, found.x, atol=0.03)
    assert weights[0] >= LEAST_BASE
    assert (weights[1:] >= 0).all()


@pytest.mark.parametrize("sharpness", [(1.0, 2.0), (2.0, 0.0), (1.0, -1.0)])
def test_weights_minimise_the_log_loss_of_right_and_wrong(sharpness):
    sources, labels = problem(2, sharpness)
    prediction = sources[0].argmax(dim=1)
    correct = prediction == labels
    weights, loss = weigh(sources, labels, correct, prediction, 5.0)
    found = best(lambda w: bit_loss(w, sources, prediction, correct, 5.0), 2)
    assert loss == pytest.approx(found.fun, abs=0.05)
    np.testing.assert_allclose(weights, found.x, atol=0.05)
    assert weights[0] >= LEAST_BASE
    assert weights[1] >= 0


@pytest.mark.parametrize("seed", range(5))
def test_a_source_that_knows_nothing_or_the_opposite_gets_no_weight(seed):
    sources, labels = problem(seed, (1.5, 0.0, -1.0))
    prediction = sources[0].argmax(dim=1)
    for correct in (None, prediction == labels):
        for tightness in (1e-6, 50.0):
            weights, _ = weigh(sources, labels, correct, prediction, tightness)
            # The base's own weight is about 1.5; noise of the same spread is worth a tenth of it.
            assert weights[1] < 0.2
            assert weights[2] < 0.05


def test_the_unit_of_a_source_does_not_matter():
    sources, labels = problem(3, (1.0, 1.0))
    prediction = sources[0].argmax(dim=1)
    for correct in (None, prediction == labels):
        weights, loss = weigh(sources, labels, correct, prediction, 5.0)
        scaled, same = weigh([sources[0], 100 * sources[1]], labels, correct, prediction, 5.0)
        np.testing.assert_allclose(scaled * [1, 100], weights, rtol=0.02)
        assert same == pytest.approx(loss, abs=0.02)


def test_constants_of_a_row_do_not_matter():
    sources, labels = problem(4, (1.0, 1.0))
    prediction = sources[0].argmax(dim=1)
    shifted = [source + torch.randn(N, 1, generator=torch.Generator().manual_seed(0)) for source in sources]
    for correct in (None, prediction == labels):
        one, _ = weigh(sources, labels, correct, prediction, 5.0)
        other, _ = weigh(shifted, labels, correct, prediction, 5.0)
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_tight_prior_keeps_the_base():
    sources, labels = problem(5, (0.0, 0.0))
    weights, _ = weigh(sources, labels, None, sources[0].argmax(dim=1), 1e8)
    np.testing.assert_allclose(weights[0], 1, atol=1e-3)


# --- calibration -----------------------------------------------------------------------------------


def test_no_data_leave_the_log_odds_alone():
    assert fit_platt(torch.empty(0), torch.empty(0, dtype=torch.bool)) == (1.0, 0.0)
    slope, offset = fit_platt(torch.tensor([0.5]), torch.tensor([True]))
    assert abs(slope - 1) < 0.1
    assert abs(offset) < 0.1


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.4, -1.0), (2.0, 0.7)])
def test_much_data_recover_the_line(slope, offset):
    rng = np.random.default_rng(0)
    log_odds = rng.normal(size=50_000) * 2
    wrong = rng.random(50_000) < 1 / (1 + np.exp(-(slope * log_odds + offset)))
    found = fit_platt(torch.tensor(log_odds), torch.tensor(wrong))
    np.testing.assert_allclose(found, (slope, offset), atol=0.06)


def test_calibration_never_turns_a_ranking_round():
    log_odds = torch.linspace(-3, 3, 1000)
    for wrong in (log_odds < 0, log_odds > 9, log_odds < 9, log_odds > 0):
        slope, offset = fit_platt(log_odds, wrong)
        assert slope > 0
        assert math.isfinite(offset)


@pytest.mark.parametrize("seed", range(4))
def test_two_sources_that_leave_nothing_open_stay_finite(seed):
    sources, labels = problem(seed, (30.0, 30.0))
    weights, loss = weigh(sources, labels, None, labels, 1e-6)
    assert np.isfinite(weights).all()
    assert 0 <= loss < 1e-2


# --- class frequencies and intercepts --------------------------------------------------------------


def test_even_counts_mean_equal_classes_and_skewed_ones_do_not():
    even, concentration = class_frequencies(torch.arange(600) % 6, 6)
    assert math.isinf(concentration)
    torch.testing.assert_close(even, torch.full((6,), 1 / 6))
    skewed = torch.cat([torch.zeros(500, dtype=torch.long), torch.arange(1, 6).repeat(2)])
    frequencies, concentration = class_frequencies(skewed, 6)
    assert math.isfinite(concentration)
    assert frequencies[0] > 0.9
    assert (frequencies > 0).all()
    assert float(frequencies.sum()) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_draws_from_equal_classes_pass_for_equal(seed):
    for k in (3, 50, 500):
        labels = torch.tensor(np.random.default_rng(seed).integers(k, size=400))
        assert math.isinf(class_frequencies(labels, k)[1])


def intercept_problem(seed=0, n=300, k=6, skew=1.0):
    rng = np.random.default_rng(seed)
    p = np.arange(1, k + 1) ** -skew
    labels = rng.choice(k, size=n, p=p / p.sum())
    q = 2 * np.eye(k)[labels] + 1.5 * rng.normal(size=(n, k)) + rng.normal(size=k)
    return torch.tensor(q), torch.tensor(labels)


@pytest.mark.parametrize("ridge", [1.0, 10.0])
@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_intercepts_balance_the_average_posterior(skew, ridge):
    q, labels = intercept_problem(skew=skew)
    frequencies = class_frequencies(labels, 6)[0].double()
    b = fit_intercepts(q, frequencies, ridge, steps=3000)
    mass = softmax((q + b).numpy(), axis=1).sum(axis=0)
    b = b - b.mean()  # which the softmax does not see
    np.testing.assert_allclose(mass + ridge * b.numpy(), len(q) * frequencies, atol=1e-4)
    # The few steps that are taken by default are nearly there.
    few = fit_intercepts(q, frequencies, ridge)
    np.testing.assert_allclose(few - few.mean(), b, atol=0.05)


def test_posteriors_that_are_right_on_average_need_no_intercepts():
    q, _ = intercept_problem()
    frequencies = torch.softmax(q, dim=1).mean(dim=0)
    torch.testing.assert_close(fit_intercepts(q, frequencies, 1.0), torch.zeros(6).double())


def test_a_class_that_is_never_meant_keeps_a_finite_intercept():
    q, _ = intercept_problem()
    q[:, 0] = -200
    b = fit_intercepts(q, torch.full((6,), 1 / 6).double(), 1.0)
    assert torch.isfinite(b).all()


@pytest.mark.parametrize("skew", [0.0, 1.5])
def test_intercepts_without_a_row_are_close_to_a_refit(skew):
    q, labels = intercept_problem(n=150, skew=skew)
    n, k = q.shape
    frequencies, concentration = class_frequencies(labels, k)
    assert math.isinf(concentration) == (skew == 0)
    b = fit_intercepts(q, frequencies.double(), 1.0, steps=200)
    rows = torch.arange(0, n, 3)
    mass, target = torch.softmax(q + b, dim=1).sum(dim=0), n * frequencies.double()
    one_each = torch.arange(len(rows)), torch.ones(len(rows))
    own = labels[rows]
    closed = leave_groups_out_intercepts(q[rows], b, mass, own, target, 1.0, concentration, *one_each)
    moved, error = [], []
    for found, row in zip(closed, rows.tolist(), strict=True):
        kept = torch.arange(n) != row
        without = frequencies.double()
        if math.isfinite(concentration):
            counts = torch.bincount(labels[kept], minlength=k).double()
            without = (counts + concentration) / (n - 1 + k * concentration)
        refit = fit_intercepts(q[kept], without, 1.0, steps=200)
        # Constants of a row mean nothing.
        step, off = refit - b, found - refit
        moved.append((step - step.mean()).abs().max())
        error.append((off - off.mean()).abs().max())
    # One step closes most of the gap between the intercepts with and without the row.
    assert float(torch.stack(error).mean()) < 0.6 * float(torch.stack(moved).mean())


# --- matching texts --------------------------------------------------------------------------------


def unit(z):
    return torch.nn.functional.normalize(torch.as_tensor(z, dtype=torch.float32), dim=1)


@pytest.fixture(scope="module")
def known():
    return unit(np.random.default_rng(0).normal(size=(40, 16)))


def test_known_texts_are_found_in_any_order_and_number(known):
    generator = torch.Generator().manual_seed(0)
    for order in (torch.arange(40), torch.randperm(40, generator=generator), torch.tensor([7, 3, 30])):
        assert torch.equal(match_texts(known[order], known), order)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_copies_at_half_precision_are_found(known, dtype):
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert torch.equal(match_texts(unit(known.to(dtype).float())[order], known), order)
    assert torch.equal(match_texts(known[order], unit(known.to(dtype).float())), order)


def test_new_texts_are_not_found(known):
    new = unit(np.random.default_rng(1).normal(size=(40, 16)))
    assert (match_texts(new, known) == -1).all()
    assert match_texts(torch.cat([new[:1], known[5:6]]), known).tolist() == [-1, 5]
    nearby = unit(known + 0.02 * new)
    assert ((nearby - known).square().sum(dim=1) > SAME_TEXT).all()
    assert (match_texts(nearby, known) == -1).all()


def test_equal_texts_are_taken_in_their_order(known):
    doubled = torch.cat([known[:3], known[:2], known[3:]])
    assert torch.equal(match_texts(doubled, doubled), torch.arange(42))
    swapped = torch.cat([known[3:], known[:2], known[:3]])
    assert sorted(match_texts(swapped, doubled).tolist()) == list(range(42))
    # More copies than are known share the last one of them.
    assert match_texts(known[[0, 0, 0]], known).tolist() == [0, 0, 0]


# --- transfer --------------------------------------------------------------------------------------


def training_data(x, base, labels, text):
    moments = Moments.gather([(x, labels)], len(text))
    groups, weights = torch.arange(len(x)), torch.ones(len(x))
    return TrainingData(x, base, text, base.argmax(dim=1), labels, None, moments, groups, weights)


def test_what_texts_predict_earns_a_weight_only_where_it_helps():
    rng = np.random.default_rng(0)
    text = unit(rng.normal(size=(30, 16)))
    labels = torch.tensor(rng.integers(30, size=600))
    noise = torch.tensor(rng.normal(size=(600, 16)), dtype=torch.float32)
    for signal, helps in ((text, True), (unit(rng.normal(size=(30, 16))), False)):
        x = unit(signal[labels] + 0.4 * noise)
        # The base knows where classes are, whether or not their texts do.
        weight = transferred_weight(training_data(x, 5 * x @ signal.T, labels, text))
        assert (weight > 0.01) == helps, weight


def test_too_few_classes_tell_nothing_about_new_ones(known):
    labels = torch.arange(60) % 5
    x = known[labels]
    assert transferred_weight(training_data(x, x @ known[:5].T, labels, known[:5])) == 0.0


@pytest.mark.parametrize("spread", [0.3, 6.0, 20.0, 60.0])
@pytest.mark.parametrize("rate", [0.0, 0.03, 0.5, 0.97, 1.0])
def test_calibration_finds_the_optimum_of_wide_and_one_sided_log_odds(spread, rate):
    rng = np.random.default_rng(int(10 * spread))
    log_odds, wrong = spread * rng.normal(size=500), rng.random(500) < rate

    def loss(line):
        odds = np.where(wrong, -1, 1) * (line[0] * log_odds + line[1])
        return np.logaddexp(0, odds).sum() + 5 * ((line[0] - 1) ** 2 + line[1] ** 2)

    line = fit_platt(torch.tensor(log_odds), torch.tensor(wrong))
    grid = [(a, b) for a in np.linspace(0.05, 2, 40) for b in np.linspace(-8, 8, 81)]
    assert loss(line) <= min(map(loss, grid)) + 1e-3


def test_swapped_near_duplicates_are_told_apart():
    known = torch.nn.functional.normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(0)))
    known[1] = known[0] + 0.001
    known[1] /= known[1].norm()
    order = torch.tensor([1, 0, 2, 3, 4])
    assert match_texts(known[order], known).tolist() == order.tolist()


# --- images drawn evenly from the classes ----------------------------------------------------------


@pytest.mark.parametrize("m", [1, 2, 4])
def test_where_classes_have_equally_many_images_they_count_for_more(m):
    """An image left out finds its own class one image short; new ones do not."""
    k = 120
    task = draw_task(n=8000, k=k, noise=1.2, beside=1.0)
    evenly = np.concatenate([np.flatnonzero(task.labels == c)[:m] for c in range(k)])
    found = {}
    for name, rows in ("even", evenly), ("random", np.arange(m * k)):
        given = check_task(task.z_img[rows], task.z_txt, task.labels[rows])
        blend = learn_blend(given, 20.0, torch.Generator().manual_seed(0))
        blend._least_gain, one = 0.0, {"base": 1.0, "class Gaussians": 1.0}
        found[name] = blend.data.evenness, blend._cautious(one, 1e9)["class Gaussians"]
    assert found["even"] == (1, pytest.approx(1 + EVEN / m, rel=1e-3))
    assert found["random"] == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.05))
