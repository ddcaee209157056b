"""What is promised is kept: calibration sets are drawn hundreds of times and broken promises counted."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from vilu_sdk import MCMScorer
from vilu_sdk.metrics.ranking import rank
from vilu_sdk.selective import CostPredictor, CoveragePredictor, SelectivePredictor
from vilu_sdk.selective.bounds import coverage_bound, fixed_sequence, sgr, smallest_risk

DRAWS = 500
DELTA = 0.05
# A test that fails one time in a thousand when the rate of broken promises is exactly what it may be.
MOST_BROKEN = binom.ppf(0.999, DRAWS, DELTA)


class Population:
    """Finitely many images, of which calibration sets are drawn with replacement, so that risks are exact."""

    def __init__(self, rate, n=20_000, ties=None, seed=0):
        rng = np.random.default_rng(seed)
        u = rng.random(n)
        self.decision = u if ties is None else np.floor(u * ties) / ties
        self.wrong = rng.random(n) < rate(u)
        order = np.argsort(self.decision)
        self.sorted, self.errors = self.decision[order], np.append(0, np.cumsum(self.wrong[order]))

    def up_to(self, threshold):
        """Accepted rows, and errors among them."""
        m = np.searchsorted(self.sorted, threshold, side="right")
        return m, self.errors[m]

    def draw(self, n, rng):
        rows = rng.integers(len(self.decision), size=n)
        return rank(self.decision[rows], self.wrong[rows])


RATES = {
    "good ranking": lambda u: 0.5 * u**3,
    "poor ranking": lambda u: 0.02 + 0.3 * u,
    "no ranking, just too risky": lambda u: np.full_like(u, 0.051),
    "the most certain are wrong": lambda u: np.where(u < 0.06, 0.12, 0.3 * u**2),
    "risk that rises, falls and rises": lambda u: np.where(u < 0.2, 0.08, np.where(u < 0.4, 0.0, 0.3 * u)),
    "in waves": lambda u: 0.05 + 0.05 * np.sin(40 * u),
}


@pytest.mark.parametrize("ties", [None, 40], ids=["continuous", "ties"])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("target", [0.05, 0.1])
def test_the_risk_is_what_was_promised(target, rate, ties):
    population = Population(RATES[rate], ties=ties)
    rng = np.random.default_rng(1)
    broken = 0
    for _ in range(DRAWS):
        ranking = population.draw(600, rng)
        accepted, errors = population.up_to(ranking.threshold(fixed_sequence(ranking, target, DELTA)))
        broken += errors > target * accepted
    assert broken <= MOST_BROKEN


@pytest.mark.parametrize("rate", RATES)
def test_the_risk_is_what_sgr_promised(rate):
    population = Population(RATES[rate])
    rng = np.random.default_rng(5)
    broken = 0
    for _ in range(DRAWS):
        ranking = population.draw(600, rng)
        m, bound = sgr(ranking, 0.1, DELTA)
        accepted, errors = population.up_to(ranking.threshold(m))
        broken += m > 0 and errors > bound * accepted
    assert broken <= MOST_BROKEN


def test_the_promise_is_not_kept_by_accepting_next_to_nothing():
    population = Population(RATES["good ranking"])
    share = np.arange(1, len(population.sorted) + 1) / len(population.sorted)
    best = share[population.errors[1:] <= 0.05 * np.arange(1, len(share) + 1)].max()
    rng = np.random.default_rng(2)
    reached = []
    for _ in range(100):
        ranking = population.draw(2000, rng)
        reached.append(population.up_to(ranking.threshold(fixed_sequence(ranking, 0.05, DELTA)))[0])
    assert np.median(reached) / len(share) > 0.9 * best


@pytest.mark.parametrize("rate", RATES)
def test_what_could_be_promised_would_be_kept(rate):
    population = Population(RATES[rate])
    rng = np.random.default_rng(3)
    broken = 0
    for _ in range(DRAWS):
        ranking = population.draw(150, rng)
        bound, share = smallest_risk(ranking, DELTA)
        accepted, errors = population.up_to(ranking.threshold(round(share * 150)))
        broken += errors > bound * accepted
    assert broken <= MOST_BROKEN


# --- the predictors, on real images ----------------------------------------------------------------


@pytest.fixture(scope="module")
def images(digits):
    """The test images as a population: embeddings, texts, labels, decision values, errors."""
    scorer = MCMScorer(logit_scale=digits.logit_scale)
    z_img, z_txt, labels = digits.z_img_test, digits.z_txt, digits.labels_test
    return scorer, z_img, z_txt, labels, scorer.predict(z_img, z_txt) != labels


def fits(predictor, images, draws=100, n=400, **groups):
    """Fit on calibration sets drawn with replacement; yield the reports and what the population accepts."""
    _, z_img, z_txt, labels, _ = images
    rng = np.random.default_rng(4)
    for _ in range(draws):
        rows = rng.integers(len(labels), size=n)
        given = {name: values[rows] for name, values in groups.items()}
        predictor.fit(z_img[rows], z_txt, labels[rows], **given)
        yield predictor.report_, predictor.accept(z_img, z_txt, **groups)


def test_risk(images):
    wrong = images[-1]
    predictor = SelectivePredictor(images[0], target_risk=0.1, confidence=0.9)
    broken = [
        accepted.any() and wrong[accepted].mean() > 0.1 for _, accepted in fits(predictor, images, draws=200)
    ]
    assert sum(broken) <= binom.ppf(0.999, 200, 0.1)


def test_coverage_and_its_risk(images):
    wrong = images[-1]
    missed = risky = 0
    for report, accepted in fits(CoveragePredictor(images[0], 0.7, confidence=0.9), images):
        missed += accepted.mean() < 0.7
        risky += wrong[accepted].mean() > report.risk_bound
    assert missed <= binom.ppf(0.999, 100, 0.1)
    assert risky <= binom.ppf(0.999, 100, 0.1)


@pytest.mark.parametrize("n", [50, 200, 600])
@pytest.mark.parametrize(("below", "block"), [(0.79, 0.1), (0.795, 0.2), (0.3, 0.5), (0.6, 0.1), (0.0, 0.0)])
def test_coverage_where_values_are_equal(n, below, block):
    """A block of equal values that begins right below the target must not be left out."""
    rng = np.random.default_rng(0)
    predictor = CoveragePredictor(MCMScorer(), 0.8, 1 - DELTA)
    missed = low = 0
    for _ in range(DRAWS):
        u = rng.random(n)
        u[(u > below) & (u < below + block)] = below + block / 2
        ranking = rank(u, rng.random(n) < u)
        coverages = []
        for m in (predictor._report(ranking, DELTA).accepted, fixed_sequence(ranking, 0.45, DELTA)):
            t = min(max(ranking.threshold(m), 0.0), 1.0)
            inside = below < t < below + block
            coverages.append(below + block * (t >= below + block / 2) if inside else t)
        missed += coverages[0] < 0.8 - 1e-9
        low += coverages[1] < coverage_bound(m, n, DELTA) - 1e-9
    assert missed <= MOST_BROKEN
    assert low <= MOST_BROKEN


def test_cost_and_its_risk(images):
    wrong = images[-1]
    dear = risky = 0
    for report, accepted in fits(CostPredictor(images[0], 10.0, confidence=0.9), images):
        cost = 10.0 * (wrong & accepted).mean() + (~accepted).mean()
        dear += cost > report.cost_bound
        risky += accepted.any() and wrong[accepted].mean() > report.risk_bound
    assert dear <= binom.ppf(0.999, 100, 0.1)
    assert risky <= binom.ppf(0.999, 100, 0.1)


def test_groups_together(images):
    _, _, _, labels, wrong = images
    groups = (labels > 4).astype(int)
    predictor = SelectivePredictor(images[0], 0.15, 0.9, simultaneous=True)
    broken = used = 0
    for _, accepted in fits(predictor, images, groups=groups):
        rates = [wrong[accepted & (groups == g)].mean() for g in (0, 1) if accepted[groups == g].any()]
        broken += max(rates, default=0) > 0.15
        used += len(rates)
    assert broken <= binom.ppf(0.999, 100, 0.1)
    assert used > 100


def test_the_lower_bound_on_the_accepted_share(images):
    low = [
        accepted.mean() < report.coverage_bound
        for report, accepted in fits(SelectivePredictor(images[0], 0.1, 0.9), images)
    ]
    assert sum(low) <= binom.ppf(0.999, 100, 0.1)
    assert not math.isnan(sum(low))
