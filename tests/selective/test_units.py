"""Rows of one image or video are not independent: one of each calibrates, and so promises are kept."""

import numpy as np
import pytest

from vilu_sdk import MCMScorer, SetPredictor, ViLUEstimator
from vilu_sdk.exceptions import RepeatedImagesWarning
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.selective import CostPredictor, CoveragePredictor, SelectivePredictor, ShiftMonitor

VIEWS = 6
PREDICTORS = {
    "risk": lambda scorer: SelectivePredictor(scorer, 0.1),
    "sgr": lambda scorer: SelectivePredictor(scorer, 0.1, method="sgr"),
    "coverage": lambda scorer: CoveragePredictor(scorer, 0.7),
    "cost": lambda scorer: CostPredictor(scorer, 4.0),
    "classes": lambda scorer: CoveragePredictor(scorer, 0.7, per_class=True),
    "sets": lambda scorer: SetPredictor(scorer),
    "sets of classes": lambda scorer: SetPredictor(scorer, per_class=True),
    "sets of labels": lambda scorer: SetPredictor(scorer, per_label=True),
    "raps": lambda scorer: SetPredictor(scorer, method="raps"),
}
every = pytest.mark.parametrize("make", PREDICTORS.values(), ids=PREDICTORS)


@pytest.fixture(scope="module")
def world(digits):
    """Images, texts and labels, and a scorer that learns nothing."""
    return digits.z_img_test, digits.z_txt, digits.labels_test, MCMScorer(logit_scale=digits.logit_scale)


def views(z, noise, seed=0):
    """Views of images, all first ones and then all second ones."""
    moved = np.random.default_rng(seed).normal(size=(VIEWS * len(z), z.shape[1]))
    return np.tile(z, (VIEWS, 1)) + noise * z.std(axis=0) * moved


@every
def test_units_of_one_row_change_nothing(make, world):
    z, texts, labels, scorer = world
    names = np.array([f"image {row}" for row in range(len(z))])
    found, expected = (make(scorer).fit(z, texts, labels, units=units) for units in (names, None))
    assert found.report_ == expected.report_


@every
def test_a_unit_of_several_groups_is_refused(make, world):
    z, texts, labels, scorer = world
    predictor = make(scorer)
    if predictor.per_class or getattr(predictor, "per_label", False):
        return  # which have no other groups
    sites = np.arange(len(z)) % 2
    with pytest.raises(ValueError, match="a unit has rows in several groups"):
        predictor.fit(z, texts, labels, groups=sites, units=np.arange(len(z)) // 2)
    found = predictor.fit(z, texts, labels, groups=sites, units=np.arange(len(z)) // 4 * 2 + sites)
    assert [part.group for part in found.report_.groups] == [0, 1]


@every
def test_copies_in_units_count_as_the_images_once(make, world):
    z, texts, labels, scorer = world
    once = make(scorer).fit(z, texts, labels).report_
    units = np.tile(np.arange(len(z)), VIEWS)
    found = make(scorer).fit(np.tile(z, (VIEWS, 1)), texts, np.tile(labels, VIEWS), units=units).report_
    assert found.siblings == (VIEWS - 1) * len(z)
    assert (found.n, found.threshold) == (once.n, pytest.approx(once.threshold, rel=1e-5, nan_ok=True))
    for part, before in zip(found.groups, once.groups, strict=True):
        assert (part.n, part.threshold) == (before.n, pytest.approx(before.threshold, rel=1e-5))
    assert f"{found.siblings} more of these units do not count" in str(found)


@every
def test_without_units_exact_copies_count_once_and_are_told(make, world):
    z, texts, labels, scorer = world
    with pytest.warns(RepeatedImagesWarning, match="100% of the images come more than once.*units="):
        found = make(scorer).fit(np.tile(z, (3, 1)), texts, np.tile(labels, 3)).report_
    assert found.siblings == 2 * len(z)


@every
def test_near_copies_are_told(make, world):
    z, texts, labels, scorer = world
    with pytest.warns(RepeatedImagesWarning, match="near copies.*pass units="):
        assert make(scorer).fit(views(z, 0.05), texts, np.tile(labels, VIEWS)).report_.siblings == 0


def test_a_frame_that_the_stream_repeats_is_drawn_each_time(world):
    z, texts, labels, scorer = world
    some = np.append(np.arange(500), np.zeros(299, dtype=int))
    assert SelectivePredictor(scorer, 0.1).fit(z[some], texts, labels[some]).report_.n == len(some)


@pytest.mark.parametrize("make", [PREDICTORS["risk"], PREDICTORS["sets"]], ids=["risk", "sets"])
def test_units_stay_together_where_the_scorer_is_fitted_too(make, world, digits):
    _, texts, _, _ = world
    z, labels = views(digits.z_img_fit[:200], 0.3), np.tile(digits.labels_fit[:200], VIEWS)
    units = np.tile(np.arange(200), VIEWS)
    chosen = make(ViLUEstimator(logit_scale=digits.logit_scale, random_state=0))
    report = chosen.fit(z, texts, labels, units=units).report_
    assert report.n + report.siblings + report.fit_rows == len(z)
    assert report.siblings == (VIEWS - 1) * report.n
    seen = chosen.scorer_.fit_rows_
    of_units = [seen.count(Rows(z[units == unit], "z_img")) for unit in range(200)]
    assert set(of_units) == {0, VIEWS}


@pytest.mark.parametrize("units", [np.arange(5), [None] * 799, np.full(799, np.nan)])
def test_units_that_are_none_are_named(units, world):
    z, texts, labels, scorer = world
    for make in (PREDICTORS["risk"], PREDICTORS["sets"]):
        with pytest.raises(ValueError, match="units"):
            make(scorer).fit(z, texts, labels, units=units)
    with pytest.raises(ValueError, match="units"):
        ShiftMonitor(scorer).fit(z, texts, units=units)


# --- promises, by simulation: the test images are the population, so that risks are exact ------------


def drawn(n, seed, draws, count):
    """Rows of n images drawn with replacement, each in several views, and the units of these."""
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        yield np.repeat(rng.integers(count, size=n), VIEWS), np.repeat(np.arange(n), VIEWS)


def test_a_risk_is_kept_by_units_and_broken_without(world):
    z, texts, labels, scorer = world
    wrong = scorer.predict(z, texts) != labels
    broken = {True: 0, False: 0}
    for rows, units in drawn(60, 1, 150, len(z)):
        for told in broken:
            given = units if told else np.arange(len(rows))
            chosen = SelectivePredictor(scorer, 0.1, 0.9).fit(z[rows], texts, labels[rows], units=given)
            accepted = chosen.accept(z, texts)
            broken[told] += accepted.any() and wrong[accepted].mean() > 0.1
    assert broken[True] <= 26  # one time in a thousand more, where it is exactly 10 %
    assert broken[False] > 32


def test_sets_hold_the_right_one_by_units_and_too_rarely_without(world):
    z, texts, labels, scorer = world
    held = {True: [], False: []}
    for rows, units in drawn(12, 2, 300, len(z)):
        for told, found in held.items():
            given = units if told else np.arange(len(rows))
            sets = SetPredictor(scorer, 0.9).fit(z[rows], texts, labels[rows], units=given)
            found.append(sets.predict_sets(z, texts)[range(len(z)), labels].mean())
    # The 12th and the 11th of 12 scores.
    assert np.mean(held[True]) == pytest.approx(12 / 13, abs=0.02)
    assert np.mean(held[False]) == pytest.approx(11 / 13, abs=0.025)


def test_the_monitor_compares_one_of_each_unit(world):
    z, texts, _, scorer = world
    alarms = {True: 0, False: 0}
    for seed, (rows, units) in enumerate(drawn(80, 3, 60, len(z))):
        first = np.arange(len(rows)) < len(rows) // 2
        for told in alarms:
            monitor = ShiftMonitor(scorer, 0.1, n_permutations=39, random_state=seed)
            before, after = (units[part] if told else None for part in (first, ~first))
            monitor.fit(z[rows[first]], texts, units=before)
            report = monitor.check(z[rows[~first]], units=after)
            assert (report.n, report.n_reference) == ((40, 40) if told else (240, 240))
            alarms[told] += report.moved
    assert alarms[True] <= 14  # one time in a thousand more, where it is exactly 10 %
    assert alarms[False] > 30
