"""Intervals and tests: exact oracles, and calibration by simulation."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import roc_auc_score

from vilu_sdk import EntropyScorer, MCMScorer, RelUScorer
from vilu_sdk.evaluation import ComparisonTable, compare, failure_metrics
from vilu_sdk.metrics.bootstrap import CALIBRATION, RANKING, Gaps, SortedRows, bootstrap, draw_weights
from vilu_sdk.metrics.significance import (
    DIRECTIONS,
    OF_GIVEN_FAILURES,
    delong,
    holm,
    of_rows,
    of_splits,
    pairwise_tests,
    same_rows,
)

PROPERTY = settings(deadline=None, max_examples=40)


def draw(rng, n_wrong=60, n_right=90, separations=(1.0, 1.0), shared=0.8):
    """Normal scores that share noise, with exactly known AUCs; failures first."""
    failure = np.repeat([True, False], [n_wrong, n_right])
    common, own = rng.normal(size=len(failure)), rng.normal(size=(len(separations), len(failure)))
    return np.outer(separations, failure) + shared * common + math.sqrt(1 - shared**2) * own, failure


def measure(u, failure):
    """The tested metrics of probabilities; quicker than `failure_metrics`, and equal to it, see below."""
    once = np.ones((len(failure), 1))
    values = dict(zip(RANKING, SortedRows(u, failure).metrics(once)[:, 0], strict=True))
    values |= dict(zip(CALIBRATION, Gaps(u, failure).metrics(once)[:, 0], strict=True))
    return values | {"auc": delong(u[None], failure)[0][0], "accuracy": 1 - failure.mean()}


def estimate(p, failure, *, n_bootstrap=100, confidence=0.95):
    """What `compare` knows of scorers whose uncertainties are probabilities."""
    metrics = [measure(u, failure) for u in p]
    values = {name: np.array([row[name] for row in metrics]) for name in DIRECTIONS}
    return of_rows(values, p, failure, dict(enumerate(p)), confidence, n_bootstrap)


EVERY_NAN = dict.fromkeys(DIRECTIONS, np.array([math.nan]))


@st.composite
def tied_scores(draw):
    """Scores of several scorers with many ties, at least two rows of each class."""
    n = draw(st.integers(4, 30))
    levels = draw(st.sampled_from([1, 3, 10, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    failure = rng.random(n) < 0.4
    failure[:4] = [True, False, True, False]
    return rng.integers(levels + 1, size=(3, n)) / levels, failure


# --- DeLong -----------------------------------------------------------------------------------


@PROPERTY
@given(tied_scores())
def test_delong_is_its_definition(data):
    u, y = data
    auc, covariance = delong(u, y)
    wins = np.stack([(s[y][:, None] > s[~y]) + (s[y][:, None] == s[~y]) / 2 for s in u])  # (S, m, n)
    np.testing.assert_allclose(auc, wins.mean(axis=(1, 2)), atol=1e-12)
    np.testing.assert_allclose(auc, [roc_auc_score(y, s) for s in u], atol=1e-12)
    expected = np.cov(wins.mean(axis=2)) / y.sum() + np.cov(wins.mean(axis=1)) / (~y).sum()
    np.testing.assert_allclose(covariance, expected, atol=1e-12)
    same = delong(np.exp(3 * u) - 7, y)
    np.testing.assert_array_equal(auc, same[0])
    np.testing.assert_allclose(covariance, same[1], atol=1e-12)


def test_delong_agrees_with_the_bootstrap():
    scores, failure = draw(np.random.default_rng(0), 300, 500, (1.0, 1.3))
    weights = draw_weights(800, 1000, np.random.default_rng(1))
    wins = scores[:, :300, None] > scores[:, None, 300:]
    pairs = weights[:300].sum(axis=0) * weights[300:].sum(axis=0)
    aucs = [((one @ weights[300:]) * weights[:300]).sum(axis=0) / pairs for one in wins]
    ratio = np.cov(aucs) / delong(scores, failure)[1]
    # The variance of 1,000 draws has a relative error of 4.5 %.
    assert np.abs(ratio - 1).max() < 0.15


# --- bootstrap --------------------------------------------------------------------------------


@settings(PROPERTY, max_examples=30)
@given(tied_scores(), st.integers(0, 2**32))
def test_weights_are_resampled_rows(data, seed):
    scores, failure = data
    weights = draw_weights(len(failure), 2, np.random.default_rng(seed))
    np.testing.assert_array_equal(weights.sum(axis=0), len(failure))
    # As `bootstrap` does.
    weights = weights[:, (weights[failure].sum(axis=0) > 0) & (weights[~failure].sum(axis=0) > 0)]
    for u in scores:
        ranking = SortedRows(u, failure).metrics(weights)
        calibration = Gaps(u, failure).metrics(weights)
        for column, times in enumerate(weights.T.astype(int)):
            rows = np.repeat(np.arange(len(u)), times)
            metrics = failure_metrics(u[rows], failure[rows], probability=True)
            expected = [metrics[name] for name in RANKING], [metrics[name] for name in CALIBRATION]
            np.testing.assert_allclose(ranking[:, column], expected[0], atol=1e-12)
            np.testing.assert_allclose(calibration[:, column], expected[1], atol=1e-12)


@PROPERTY
@given(tied_scores())
def test_all_rows_once_are_the_metrics(data):
    scores, failure = data
    for u in scores:
        expected = failure_metrics(u, failure, probability=True)
        got = measure(u, failure)
        assert got == pytest.approx({name: expected[name] for name in got}, abs=1e-12)


def test_resamples_are_shared_between_scorers():
    scores, failure = draw(np.random.default_rng(0))
    p = expit(scores)
    failures = np.stack([failure, failure])
    both = bootstrap(p, failures, {0: p[0]}, 50, np.random.default_rng(3))
    alone = bootstrap(p[1:], failures[1:], {}, 50, np.random.default_rng(3))
    for name in RANKING:
        np.testing.assert_array_equal(both[name][1:], alone[name])
    assert np.isnan(both["ece"][1]).all()
    assert not np.isnan(both["ece"][0]).any()
    twins = bootstrap(scores[[0, 0]], failures, {}, 50, np.random.default_rng(3))
    np.testing.assert_array_equal(twins["aurc"][0], twins["aurc"][1])


def test_the_spread_of_a_mean_is_known():
    scores, failure = draw(np.random.default_rng(0), 40, 60)
    p = expit(scores[0])
    drawn = bootstrap(p[None], failure[None], {0: p}, 4000, np.random.default_rng(0))["brier"][0]
    gaps = (p - failure) ** 2
    exact = gaps.std() / math.sqrt(100)
    assert drawn.std() == pytest.approx(exact, rel=0.05)
    assert drawn.mean() == pytest.approx(gaps.mean(), abs=5 * exact / math.sqrt(4000))


# --- intervals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "rate", "draws"),
    [
        (200, 0.4, 150),
        (200, 0.05, 150),
        *(pytest.param(*world, 600, marks=pytest.mark.slow) for world in ((200, 0.02), (200, 0.55))),
        *(pytest.param(*world, 600, marks=pytest.mark.slow) for world in ((500, 0.02), (2000, 0.02))),
        pytest.param(2000, 0.3, 600, marks=pytest.mark.slow),
    ],
)
def test_intervals_hold_for_a_new_sample(n, rate, draws):
    """The share of intervals that hold the truth is the confidence at least, within its noise."""
    rng = np.random.default_rng(0)
    separations = (1.0, 2.0)
    names = ("auc", "fpr95", "aupr_error", "aurc", "augrc", "brier", "accuracy")

    def probabilities(n):
        wrong = int((rng.random(n) < rate).sum())
        scores, failure = draw(rng, wrong, n - wrong, separations)
        return expit(scores - 1), failure

    many, failure = probabilities(200_000)
    truth = [measure(u, failure) for u in many]
    hits, differences = ({name: [] for name in names} for _ in range(2))
    for _ in range(draws):
        p, failure = probabilities(n)
        if failure.sum() < 2:
            continue
        found = estimate(p, failure, n_bootstrap=200)
        judged = pairwise_tests(found, 0, 0.95)[1]
        for name in names:
            ends = np.stack([found[name].low, found[name].high], axis=1)
            known = [(*end, one[name]) for end, one in zip(ends, truth, strict=True)]
            hits[name] += [low <= true <= high for low, high, true in known if not math.isnan(low)]
            low, high = judged[f"{name}_difference_low"], judged[f"{name}_difference_high"]
            differences[name].append(low <= truth[1][name] - truth[0][name] <= high)
    for name in names:
        least = stats.binom.ppf(0.001, draws, 0.93) / draws  # few rows may take two points
        assert np.mean(hits[name]) >= least, (name, np.mean(hits[name]))
        if rate * n >= 40:
            assert np.mean(hits[name]) < 0.995 or name in ("fpr95", "accuracy")
            assert np.mean(differences[name]) >= least, (name, np.mean(differences[name]))


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("n_wrong", [5, 10, 20])
def test_the_auc_of_few_failures(n_wrong, spread):
    """DeLong's own interval holds the truth in 60 to 90 of 100 of these."""
    rng = np.random.default_rng(0)
    shift = 1.8 * math.hypot(1, spread)
    truth, held = stats.norm.cdf(1.8), 0
    failure = np.arange(300) < n_wrong
    for _ in range(400):
        scores = np.where(failure, shift + spread * rng.normal(size=300), rng.normal(size=300))[None]
        found = of_rows(EVERY_NAN | {"auc": delong(scores, failure)[0]}, scores, failure, {}, 0.95, 2)["auc"]
        held += found.low[0] <= truth <= found.high[0]
        assert 0 < found.low[0] < found.high[0] <= 1
    assert held >= stats.binom.ppf(0.001, 400, 0.93)


def test_p_values_are_uniform_under_no_difference():
    rng = np.random.default_rng(0)
    p = {name: [] for name in ("auc", "fpr95", "aupr_error", "aurc", "brier")}
    for _ in range(250):
        scores, failure = draw(rng, 100, 150)
        row = pairwise_tests(estimate(expit(scores), failure), 0, 0.95)[1]
        for name, values in p.items():
            values.append(row[f"{name}_p"])
    for name, values in p.items():
        for level in (0.05, 0.2):
            wrong = int(np.sum(np.array(values) < level))
            assert stats.binomtest(wrong, len(values), level).pvalue > 1e-3, (name, level, wrong)


def test_no_best_is_claimed_among_equals():
    """Four scorers of the same quality: a mark that any is worse than the best is an error."""
    rng = np.random.default_rng(0)
    errors = 0
    for _ in range(300):
        scores, failure = draw(rng, 100, 150, (1.0,) * 4, shared=0.5)
        values = {name: np.full(4, math.nan) for name in DIRECTIONS}
        auc, _ = delong(scores, failure)
        found = of_rows(values | {"auc": auc}, scores, failure, {}, 0.95, 2)
        errors += any(row["auc_p_best"] < 0.05 for row in pairwise_tests(found, None, 0.95))
    assert stats.binomtest(errors, 300, 0.05, alternative="greater").pvalue > 1e-3


def test_only_the_order_matters():
    scores, failure = draw(np.random.default_rng(0))
    found, same = (estimate(u, failure) for u in (expit(scores), expit(scores) ** 3 / 2))
    for name in ("auc", "fpr95", "aupr_error", "aurc", "augrc"):
        for value, other in zip(found[name], same[name], strict=True):
            np.testing.assert_allclose(value, other, atol=1e-7)


def test_identical_scorers_do_not_differ():
    scores, failure = draw(np.random.default_rng(0))
    p = expit(np.stack([scores[0], scores[0], scores[0] + 1e-3]))
    rows = pairwise_tests(estimate(p, failure), 0, 0.95)
    for name in DIRECTIONS:
        assert rows[1][f"{name}_difference"] == rows[1][f"{name}_difference_low"] == 0
        assert rows[1][f"{name}_p"] == rows[1][f"{name}_p_best"] == 1
        assert math.isnan(rows[0][f"{name}_p"])
    assert rows[2]["auc_p"] == 1
    assert rows[2]["brier_p"] < 1


def test_augrc_is_decided_about_as_the_auc():
    scores, failure = draw(np.random.default_rng(0), separations=(1.0, 1.4, 2.0))
    for row in pairwise_tests(estimate(expit(scores), failure, n_bootstrap=2000), 0, 0.95)[1:]:
        z, expected = (stats.norm.isf(row[f"{name}_p"] / 2) for name in ("augrc", "auc"))
        assert z == pytest.approx(expected, rel=0.1)
        assert row["augrc_low"] < row["augrc_high"]


def test_confidence_widens_intervals():
    scores, failure = draw(np.random.default_rng(0))
    narrow, wide = (estimate(expit(scores), failure, confidence=c) for c in (0.8, 0.99))
    for name in ("auc", "fpr95", "aurc", "augrc"):
        assert (wide[name].low < narrow[name].low).all()
        assert (narrow[name].low < narrow[name].value).all()
        assert (narrow[name].value < narrow[name].high).all()
        assert (narrow[name].high < wide[name].high).all()


@pytest.mark.parametrize("n_wrong", [0, 1, 2, 4, 5])
def test_few_rows_give_nan_or_sense_and_no_warnings(n_wrong):
    failure = np.arange(5) < n_wrong
    scores = np.array(
        [[0.1, 0.5, 0.2, 0.9, 0.2], [0.3] * 5, [0.1, 0.2, 0.3, 0.4, 0.5], [0.9, 0.8, 0.2, 0.1, 0]]
    )
    values = {name: np.full(4, 0.5) for name in DIRECTIONS} | {"auc": delong(scores, failure)[0]}
    found = of_rows(values, scores, failure, dict(enumerate(scores)), 0.95, 50)
    rows = pairwise_tests(found, 0, 0.95)
    for name in DIRECTIONS:
        low, high = found[name].low, found[name].high
        assert (np.isnan(low) | ((low >= 0) & (low <= high) & (high <= 1))).all()
        for row in rows:
            assert math.isnan(row[f"{name}_p"]) or 0 <= row[f"{name}_p"] <= 1
    if n_wrong in (0, 1, 4, 5):
        assert all(math.isnan(row["auc_low"]) for row in rows)
    else:
        # A perfect ranking of five rows says little.
        assert 0 < rows[3]["auc_low"] < 0.5 < rows[3]["auc_high"]


# --- failures of their own ---------------------------------------------------------------------


def test_scorers_that_fail_on_other_rows_are_compared_where_that_means_something():
    rng = np.random.default_rng(0)
    scores, failure = draw(rng, separations=(1.0, 1.0, 1.0))
    other = failure.copy()
    other[rng.choice(60, 20, replace=False)] = False  # a third of the failures mended
    failures = np.stack([failure, failure, other])
    metrics = [measure(u, wrong) for u, wrong in zip(expit(scores), failures, strict=True)]
    values = {name: np.array([row[name] for row in metrics]) for name in DIRECTIONS}
    found = of_rows(values, scores, failures, dict(enumerate(expit(scores))), 0.95, 200)
    rows = pairwise_tests(found, 0, 0.95)
    for name in DIRECTIONS:
        assert not math.isnan(rows[1][f"{name}_p"])
        assert math.isnan(rows[2][f"{name}_p"]) == (name in OF_GIVEN_FAILURES)
        assert math.isnan(rows[2][f"{name}_difference_low"]) == (name in OF_GIVEN_FAILURES)
        assert math.isnan(rows[2][f"{name}_low"]) == (name == "ece")
    assert rows[2]["accuracy_difference"] == pytest.approx(20 / 150)
    assert rows[2]["accuracy_p"] < 1e-4
    # McNemar's test, of which it is the large-sample form.
    assert rows[2]["accuracy_p"] == pytest.approx(2 * stats.norm.sf(math.sqrt(20)), abs=1e-4)
    assert rows[1]["accuracy_p"] == 1
    # The same numbers as in a table without the third.
    alone = of_rows({n: v[:2] for n, v in values.items()}, scores[:2], failure, {}, 0.95, 200)
    assert found["auc"].error[0, 1] == alone["auc"].error[0, 1]
    splits = {name: value + 0.01 * rng.normal(size=(5, 3)) for name, value in values.items()}
    for name, one in of_splits(splits, 0.5, 0.95, same_rows(failures)).items():
        assert math.isnan(one.error[0, 2]) == (name in OF_GIVEN_FAILURES)
        assert not np.isnan(one.error[0, 1])


def test_equal_accuracies_are_told_apart_no_more_often_than_they_may():
    rng = np.random.default_rng(0)
    told = {"accuracy": 0, "aurc": 0, "brier": 0}
    for _ in range(200):
        hard = rng.random(200)
        failures = rng.random((2, 200)) < 0.5 * hard
        p = np.clip(0.5 * hard + 0.05 * rng.normal(size=(2, 200)), 0, 1)
        metrics = [measure(u, wrong) for u, wrong in zip(p, failures, strict=True)]
        values = {name: np.array([row[name] for row in metrics]) for name in DIRECTIONS}
        row = pairwise_tests(of_rows(values, p, failures, dict(enumerate(p)), 0.95, 200), 0, 0.95)[1]
        for name in told:
            told[name] += row[f"{name}_p"] < 0.05
    assert max(told.values()) <= stats.binom.ppf(0.999, 200, 0.05)
    assert min(told.values()) > 0


class Otherwise(MCMScorer):
    """Predicts the second candidate for every tenth image."""

    def predict(self, z_img, z_txt_set):
        predicted = super().predict(z_img, z_txt_set).copy()
        predicted[::10] = 1
        return predicted


@pytest.mark.parametrize("settings_", [{"fit": False}, {"n_splits": 3, "random_state": 0}])
def test_the_table_says_who_predicts_otherwise(toy, settings_):
    scorers = {"MCM": MCMScorer(logit_scale=5.0), "own": Otherwise(logit_scale=5.0)}
    scorers["entropy"] = EntropyScorer(logit_scale=5.0)
    table = compare(scorers, toy.z_img, toy.z_txt, toy.labels, reference="MCM", **settings_)
    first, own, entropy = table.to_dicts()
    assert first["note"] == entropy["note"] == ""
    assert "own: predicts otherwise than MCM on" in str(table)
    assert "accuracy" in table.to_markdown()
    for name in OF_GIVEN_FAILURES:
        assert math.isnan(own[f"{name}_p"])
        assert not math.isnan(entropy[f"{name}_p"])
    assert own["accuracy_difference"] == pytest.approx(own["accuracy"] - first["accuracy"])
    assert 0 <= own["aurc_p"] <= 1
    assert (table.failures["own"] != table.failure).any()
    assert table.failures["own"].mean() == pytest.approx(1 - own["accuracy"], abs=0.1)


# --- several tests ----------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=8))
def test_holm_against_its_steps(p):
    got = holm(p)
    given_p = sorted(x for x in p if not math.isnan(x))
    for x, corrected in zip(p, got, strict=True):
        if math.isnan(x):
            assert math.isnan(corrected)
            continue
        steps = [(len(given_p) - i) * other for i, other in enumerate(given_p) if other <= x]
        assert corrected == pytest.approx(min(1.0, max(steps)))


# --- several splits ---------------------------------------------------------------------------


def test_corrected_resampled_t_test():
    rng = np.random.default_rng(0)
    values = 0.8 + 0.02 * rng.normal(size=(10, 2))
    found = of_splits(dict.fromkeys(DIRECTIONS, values), 0.5, 0.95)
    row = pairwise_tests(found, 0, 0.95)[1]
    d = values[:, 1] - values[:, 0]
    statistic = d.mean() / math.sqrt((1 / 10 + 0.5) * d.var(ddof=1))
    assert row["auc_difference"] == pytest.approx(d.mean())
    assert row["auc_p"] == pytest.approx(2 * stats.t.sf(abs(statistic), 9))
    # Without overlap it is the plain paired test.
    plain = pairwise_tests(of_splits(dict.fromkeys(DIRECTIONS, values), 0.0, 0.95), 0, 0.95)[1]
    assert plain["aurc_p"] == pytest.approx(stats.ttest_rel(values[:, 1], values[:, 0]).pvalue)
    interval = stats.ttest_1samp(values[:, 0], 0).confidence_interval()
    assert of_splits(dict.fromkeys(DIRECTIONS, values), 0.0, 0.95)["auc"].low[0] == pytest.approx(interval[0])


class Seeded(MCMScorer):
    """Ranks at random by its seed, which it remembers."""

    def __init__(self, *, logit_scale=100.0, random_state=None):
        super().__init__(logit_scale=logit_scale)
        self.random_state = random_state

    def decision_function(self, z_img, z_txt_set):
        USED.append(self.random_state)
        return np.random.default_rng(self.random_state).normal(size=len(z_img))


USED: list = []


def test_several_splits(toy):
    USED.clear()
    data = toy.z_img, toy.z_txt, toy.labels
    scorers = {
        "MCM": MCMScorer(logit_scale=5.0),
        "Rel-U": RelUScorer(logit_scale=5.0),
        "seeded": Seeded(random_state=7),
    }

    def seconds_apart(row):
        return {key: value for key, value in row.items() if "seconds" not in key}

    table, again = (compare(scorers, *data, n_splits=4, random_state=3, reference="MCM") for _ in range(2))
    for row, other in zip(table.to_dicts(), again.to_dicts(), strict=True):
        np.testing.assert_equal(seconds_apart(row), seconds_apart(other))
    assert dict.fromkeys(USED) == dict.fromkeys([7, 8, 9, 10])
    assert scorers["seeded"].random_state == 7
    # The first split is the one that a single run has.
    single = compare(scorers, *data, random_state=3)
    np.testing.assert_array_equal(table.failure, single.failure)
    np.testing.assert_array_equal(table.scores["Rel-U"], single.scores["Rel-U"])
    row = table.to_dicts()[1]
    assert row["n"] == 320
    assert row["auc_std"] > 0
    assert row["auc_low"] < row["auc"] < row["auc_high"]
    difference = row["auc"] - table.to_dicts()[0]["auc"]
    assert row["auc_difference"] == pytest.approx(difference)
    text = str(table)
    assert "mean ± standard deviation over 4 random splits, 320 rows scored in each" in text
    assert f"{100 * row['auc']:.2f} ± {100 * row['auc_std']:.2f}" in text
    assert str(compare(scorers, *data, n_splits=2, confidence=None)).count("±") > 2


def test_a_scorer_that_fails_later_has_no_row_of_half_the_splits(toy):
    class Once(MCMScorer):
        def fit(self, *data):
            COUNT.append(1)
            if len(COUNT) > 1:
                raise ValueError("enough")
            return super().fit(*data)

    COUNT: list = []
    data = toy.z_img, toy.z_txt, toy.labels
    with pytest.warns(FitFailedWarning, match="once has no values: enough"):
        table = compare({"once": Once(), "MCM": MCMScorer()}, *data, n_splits=3, random_state=0)
    assert len(COUNT) == 2
    assert math.isnan(table.to_dicts()[0]["auc"])
    assert list(table.scores) == ["MCM"]
    assert len(table.failure) == len(table.scores["MCM"])


# --- in compare -------------------------------------------------------------------------------


def scored(toy, **settings):
    scorers = {
        "MCM": MCMScorer(logit_scale=5.0),
        "twin": MCMScorer(logit_scale=5.0),
        "entropy": EntropyScorer(logit_scale=5.0),
    }
    return compare(scorers, toy.z_img, toy.z_txt, toy.labels, fit=False, **settings)


def test_intervals_in_the_rows(toy):
    plain, bare = scored(toy), scored(toy, confidence=None)
    with_reference = scored(toy, reference="MCM")
    for one, other, no_interval in zip(
        plain.to_dicts(), with_reference.to_dicts(), bare.to_dicts(), strict=True
    ):
        assert one["auc_low"] < one["auc"] < one["auc_high"]
        assert {"auc_p", "auc_difference"} & one.keys() == set()
        assert one.keys() < other.keys()
        assert not {key for key in no_interval if key.endswith(("_low", "_high", "_p_best"))}
        assert one["auc_low"] == other["auc_low"]  # the same scores, the same intervals
    twin = with_reference.to_dicts()[1]
    assert (twin["fpr95_difference"], twin["fpr95_p"]) == (0, 1)
    found = {name: np.array([row[name] for row in plain.to_dicts()]) for name in DIRECTIONS}
    probabilities = {i: plain.probabilities[name] for i, name in enumerate(("MCM", "twin"))}
    expected = of_rows(found, np.stack(list(plain.scores.values())), plain.failure, probabilities, 0.95, 400)
    assert plain.to_dicts()[2]["aurc_low"] == expected["aurc"].low[2]


def test_marks(toy):
    table = scored(toy, reference="MCM")
    text, markdown, page = str(table), table.to_markdown(intervals=True), table.to_html()
    lines = text.splitlines()
    assert "*: the best of its column or not distinguishable from it at 95 % (Holm, all pairs)" in lines
    assert "≈: not distinguishable from MCM at 95 % (Holm)" in lines
    row = table.to_dicts()[1]
    assert f"{100 * row['auc']:.2f}*≈" in lines[4] or f"{100 * row['auc']:.2f}≈" in lines[4]
    low, high = f"{100 * row['auc_low']:.1f}", f"{100 * row['auc_high']:.1f}"
    assert f"({low}–{high})" in markdown
    assert f"<br><small>{low}–{high}</small>" in page
    assert low + "–" not in table.to_html(intervals=False)
    assert "±" not in text
    assert table._repr_html_() == page
    # A table without tests has no marks in text.
    assert "*" not in str(scored(toy, confidence=None))
    assert "**" in scored(toy, confidence=None).to_markdown()
    rows = [{**row, "auc_p_best": p} for row, p in zip(table.rows, (1.0, 0.9, 0.01), strict=True)]
    bold = ComparisonTable(rows, confidence=0.95).to_markdown().splitlines()[2:5]
    assert ["**" in line.split("|")[2] for line in bold] == [True, True, False]


@pytest.mark.parametrize("n_wrong", [0, 1, 5])
def test_compare_on_five_rows(n_wrong):
    z = np.eye(5) + 0.1
    labels = (np.arange(5) + (np.arange(5) < n_wrong)) % 5
    scorers = {"MCM": MCMScorer(), "entropy": EntropyScorer()}
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        table = compare(scorers, z, z, labels, fit=False, reference="MCM")
    assert len(record) == (n_wrong != 1)
    assert all(math.isnan(row["auc_low"]) for row in table.to_dicts())
    assert all(
        0 <= row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] for row in table.to_dicts()
    )
    assert f"MCM, entropy: no intervals and tests, since {n_wrong} of 5 predictions are wrong" in str(table)
    assert "nan" not in str(table) + table.to_markdown() + table.to_html()


def test_settings_are_checked(toy):
    data = toy.z_img, toy.z_txt, toy.labels
    scorers = {"MCM": MCMScorer()}
    for settings_, message in (
        ({"reference": "mcm"}, r"reference must be one of \['MCM'\], got 'mcm'"),
        ({"reference": "MCM", "confidence": None}, "reference needs a confidence"),
        ({"confidence": 95}, "confidence must be a number strictly between 0 and 1"),
        ({"n_splits": 0}, "n_splits must be an integer of at least 1"),
        ({"n_splits": 2.5}, "n_splits must be an integer"),
        ({"n_bootstrap": 1}, "n_bootstrap must be an integer of at least 2"),
        ({"n_splits": 2, "fit": False}, "n_splits draws random splits"),
        ({"n_splits": 2, "test": data}, "n_splits draws random splits"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(scorers, *data, **settings_)
