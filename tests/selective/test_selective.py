"""Bounds, thresholds and the predictors built on them; that the promise is kept is in test_guarantee.py."""

import math
from dataclasses import replace

import numpy as np
import pytest
from mapie.risk_control import BinaryClassificationController, precision
from mapie.risk_control.fwer_control import control_fwer
from scipy.stats import binom, binomtest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.evaluation import risk_coverage_curve
from vilu_sdk.exceptions import PromiseWarning
from vilu_sdk.metrics.ranking import rank
from vilu_sdk.report._thresholds import effect
from vilu_sdk.selective import (
    CostPredictor,
    CoveragePredictor,
    SelectionReport,
    SelectivePredictor,
    SetPredictor,
    risk_upper_bound,
)
from vilu_sdk.selective.bounds import (
    errors_allowed,
    fixed_sequence,
    labels_needed,
    rows_needed,
    sequence_start,
    sgr,
    smallest_risk,
)

PREDICTORS = [SelectivePredictor, CoveragePredictor, CostPredictor]
every_predictor = pytest.mark.parametrize("cls", PREDICTORS)


def draw(n, seed=0, ties=None):
    """Decision values and errors whose rate grows from 0 to about a half."""
    rng = np.random.default_rng(seed)
    u = rng.random(n)
    wrong = rng.random(n) < 0.5 * u**2
    return (u if ties is None else np.round(u * ties) / ties), wrong


@pytest.fixture(scope="module")
def mcm(digits):
    return MCMScorer(logit_scale=digits.logit_scale)


@pytest.fixture(scope="module")
def calibration(digits):
    return digits.z_img_fit, digits.z_txt, digits.labels_fit


# --- bounds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 59), (3, 100), (17, 40), (99, 100)])
def test_the_bound_is_scipys_exact_one(k, n):
    exact = binomtest(k, n, alternative="less").proportion_ci(0.95, method="exact").high
    assert risk_upper_bound(k, n, 0.95) == pytest.approx(exact, abs=1e-9)


def test_the_bound_at_its_ends():
    assert risk_upper_bound(0, 0, 0.95) == risk_upper_bound(7, 7, 0.95) == 1.0


@pytest.mark.parametrize("errors", [0, 1, 4])
@pytest.mark.parametrize("target", [0.001, 0.05, 0.3])
def test_rows_needed_are_the_fewest(errors, target):
    n = rows_needed(errors, target, 0.05)
    assert binom.cdf(errors, n, target) <= 0.05 < binom.cdf(errors, n - 1, target)


def test_without_errors_the_rule_of_three():
    assert rows_needed(0, 0.05, 0.05) == 59


@pytest.mark.parametrize("n", [70, 300, 1000])
@pytest.mark.parametrize("target", [0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_mapie_tests_a_fixed_sequence_to_the_same_row(n, target, seed):
    decision, wrong = draw(n, seed)
    start = sequence_start(n, target, 0.05)
    found = fixed_sequence(rank(decision, wrong), target, 0.05)
    m = np.arange(start, n + 1)
    p_values = binom.cdf(np.cumsum(wrong[np.argsort(decision)])[start - 1 :], m, target)
    rejected = control_fwer(p_values, 0.05, "fixed_sequence") if len(m) else []
    assert len(rejected) == (found - start + 1 if found else 0)


# MAPIE warns of a risk that does not grow with the threshold, and if no threshold or every one is valid.
@pytest.mark.filterwarnings("ignore::UserWarning:mapie")
@pytest.mark.parametrize("target", [0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_the_p_values_are_those_of_mapies_controller(target, seed):
    n = 1000
    decision, wrong = draw(n, seed)
    start = sequence_start(n, target, 0.05)
    # It accepts where 1 - decision is at least a threshold; this one accepts m rows.
    thresholds = 1 - np.sort(decision)[start - 1 :]
    controller = BinaryClassificationController(
        lambda x: np.column_stack([x[:, 0], 1 - x[:, 0]]),
        precision,
        1 - target,
        confidence_level=0.95,
        list_predict_params=thresholds,
        fwer_method="fixed_sequence",
    ).calibrate(decision[:, None], ~wrong)
    m, errors = np.arange(start, n + 1), np.cumsum(wrong[np.argsort(decision)])[start - 1 :]
    theirs = controller.p_values[:, 0]
    exact, one_more = binom.cdf(errors, m, target), binom.cdf(errors + 1, m, target)
    # It rounds the errors up, m * (errors / m) + 1e-16 to one more: never smaller, mostly equal.
    assert (np.isclose(theirs, exact) | ((theirs > exact) & (theirs <= one_more + 1e-12))).all()
    assert np.isclose(theirs, exact).mean() > 0.5
    found = fixed_sequence(rank(decision, wrong), target, 0.05)
    assert len(controller.valid_predict_params) <= (found - start + 1 if found else 0)


@pytest.mark.parametrize("seed", range(5))
def test_sgr_promises_no_more_than_its_union_bound_allows(seed):
    ranking = rank(*draw(1000, seed))
    m, bound = sgr(ranking, 0.05, 0.05)
    assert bound == pytest.approx(risk_upper_bound(ranking.cumulative_errors[m], m, 1 - 0.05 / 10))
    assert bound <= 0.05


def test_ties_are_accepted_together_and_their_order_does_not_matter():
    decision, wrong = draw(2000, ties=20)
    ranking = rank(decision, wrong)
    for m in (fixed_sequence(ranking, 0.05, 0.05), sgr(ranking, 0.05, 0.05)[0]):
        assert m > 0
        assert (decision <= ranking.threshold(m)).sum() == m
        assert wrong[decision <= ranking.threshold(m)].sum() == ranking.cumulative_errors[m]


def test_all_tied_is_all_or_nothing():
    for errors, expected in ((0, 400), (80, 0)):
        assert fixed_sequence(rank(np.zeros(400), np.arange(400) < errors), 0.05, 0.05) == expected


def test_without_errors_everything_is_accepted_and_without_rows_nothing():
    assert fixed_sequence(rank(np.arange(100.0), np.zeros(100)), 0.05, 0.05) == 100
    assert fixed_sequence(rank(np.arange(58.0), np.zeros(58)), 0.05, 0.05) == 0
    assert rank(np.arange(3.0), np.zeros(3)).threshold(3) == math.inf
    assert rank(np.arange(3.0), np.zeros(3)).threshold(0) == -math.inf


@pytest.mark.parametrize("seed", range(3))
def test_a_higher_target_or_less_confidence_accepts_more(seed):
    ranking = rank(*draw(3000, seed))
    by_target = [fixed_sequence(ranking, target, 0.05) for target in (0.02, 0.05, 0.1, 0.2)]
    by_delta = [fixed_sequence(ranking, 0.05, delta) for delta in (0.01, 0.05, 0.2)]
    assert by_target == sorted(by_target)
    assert by_delta == sorted(by_delta)


def test_what_could_be_promised_is_a_bound_at_a_share_fixed_in_advance():
    ranking = rank(*draw(160))
    least, share = smallest_risk(ranking, 0.05)
    m = round(share * 160)
    assert m in (10, 20, 40, 80)
    assert least == pytest.approx(risk_upper_bound(ranking.cumulative_errors[m], m, 1 - 0.05 / 4))


WORLDS = {
    "certain are right": lambda u: np.where(u < 0.25, 0.0, 0.4),
    "rises": lambda u: 0.2 * u**2,
    "tied": lambda u: np.where(u < 0.3, 0.01, 0.3),
    "too few are right": lambda u: np.where(u < 0.07, 0.0, 0.5),
    "all too risky": lambda u: np.full_like(u, 0.2),
}


@pytest.mark.parametrize("method", ["fixed_sequence", "sgr"])
@pytest.mark.parametrize("world", WORLDS)
def test_the_labels_needed_are_enough_or_none_are(world, method):
    """As many labels as are advised certify the target as often as is said; where none can, none are."""
    rng = np.random.default_rng(0)

    def draw_rows(n):
        u = rng.random(n)
        wrong = rng.random(n) < WORLDS[world](u)
        return rank(np.floor(u * 4) if world == "tied" else u, wrong)

    def certified(ranking):
        return (
            fixed_sequence(ranking, 0.05, 0.05) if method == "fixed_sequence" else sgr(ranking, 0.05, 0.05)[0]
        )

    done, advised, failed = [], 0, 0
    for _ in range(40):
        seen = draw_rows(200)
        if certified(seen):
            continue
        number = labels_needed(seen, 0.05, 0.05, method)
        failed += number is None
        if number is not None and number < 10**5:
            advised += 1
            assert number > 200
            done += [certified(draw_rows(number)) > 0 for _ in range(3)]
    if world == "all too risky" or (world == "too few are right" and method == "fixed_sequence"):
        assert advised <= 0.1 * failed
    else:
        assert advised > 0 or world == "too few are right"
        assert sum(done) >= binom.ppf(0.001, len(done), 0.7)


def test_none_are_enough_where_all_are_wrong_or_few_were_seen():
    for n in (1, 2, 5, 12):
        assert labels_needed(rank(np.arange(n), np.ones(n)), 0.03, 0.05) is None
        assert labels_needed(rank(np.arange(n), np.zeros(n)), 0.001, 0.05) is None


# --- predictors ------------------------------------------------------------------------------------


@every_predictor
def test_conventions(cls, mcm, calibration, digits):
    predictor = cls(mcm)
    assert repr(clone(predictor)) == repr(predictor)
    with pytest.raises(NotFittedError):
        predictor.predict(digits.z_img_test, digits.z_txt)
    assert predictor.fit(*calibration) is predictor
    accepted = predictor.accept(digits.z_img_test, digits.z_txt)
    answer = predictor.predict(digits.z_img_test, digits.z_txt)
    assert accepted.dtype == bool
    assert 0.3 < accepted.mean() < 1
    np.testing.assert_array_equal(answer[~accepted], -1)
    np.testing.assert_array_equal(answer[accepted], mcm.predict(digits.z_img_test, digits.z_txt)[accepted])


@every_predictor
def test_the_report_tells_what_happens_on_the_calibration_set(cls, mcm, calibration):
    predictor = cls(mcm).fit(*calibration)
    report = predictor.report_
    accepted = predictor.accept(*calibration[:2])
    wrong = mcm.predict(*calibration[:2]) != calibration[2]
    assert report.n == len(accepted)
    assert report.accepted == accepted.sum()
    assert report.errors == wrong[accepted].sum()
    assert report.observed_risk < report.risk_bound
    assert report.coverage_bound < report.accepted_share
    assert f"{report.accepted} (" in str(report)


@pytest.mark.parametrize("places", [16, 1], ids=["distinct", "tied"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "choose",
    [
        lambda scorer: SelectivePredictor(scorer, 0.1),
        lambda scorer: SelectivePredictor(scorer, 0.1, method="sgr"),
        lambda scorer: SelectivePredictor(scorer, 0.999),  # everything
        lambda scorer: SelectivePredictor(scorer, 1e-6),  # nothing
        lambda scorer: CoveragePredictor(scorer, 0.5),
        lambda scorer: CostPredictor(scorer, 3.0),
    ],
)
def test_a_threshold_accepts_the_same_rows_everywhere(mcm, calibration, choose, seed, places):
    rows = np.random.default_rng(seed).choice(len(calibration[0]), 300, replace=False)
    z_img, z_txt, labels = calibration[0][rows], calibration[1], calibration[2][rows]
    decision = np.round(mcm.decision_function(z_img, z_txt), places)

    class Given(MCMScorer):
        def decision_function(self, z, _):
            return decision if len(z) > 1 else decision[(z_img == z).all(axis=1)]

    mcm = Given(logit_scale=mcm.logit_scale)
    wrong = mcm.predict(z_img, z_txt) != labels
    predictor = choose(mcm).fit(z_img, z_txt, labels)
    report = predictor.report_
    accepted = predictor.accept(z_img, z_txt)
    assert (accepted.sum(), wrong[accepted].sum()) == (report.accepted, report.errors)
    assert report.threshold == {0: -math.inf, 300: math.inf}.get(report.accepted, report.threshold)
    curve = risk_coverage_curve(decision, wrong)
    reached = curve.threshold <= report.threshold
    assert reached.any() == (report.accepted > 0)
    if report.accepted:
        assert curve.coverage[reached][-1] == report.accepted_share
        assert curve.risk[reached][-1] == report.observed_risk
    shown = effect(decision, wrong, report.threshold)
    assert (shown.kept, shown.let_through) == (report.accepted, report.errors)
    assert f"decision_function <= {report.threshold:.6g}" in str(report) or not report.accepted


@every_predictor
def test_right_and_wrong_is_enough(cls, mcm, calibration):
    right = mcm.predict(*calibration[:2]) == calibration[2]
    assert cls(mcm).fit(*calibration[:2], correct=right).report_ == cls(mcm).fit(*calibration).report_


def test_reports_are_equal_where_all_their_fields_are(mcm, calibration):
    """NaN is made anew each time, so that it is not found equal for being the same object."""

    def report(**changes):
        nothing = {"threshold": float("nan"), "risk_bound": float("nan"), "coverage_bound": 0.5}
        part = SelectionReport("goal", "method", 0.9, 10, 5, 1, **nothing, group="a")
        return replace(part, group=None, groups=(part,), **changes)

    assert report() == report()
    assert len({report(), report()}) == 1
    changes = [{"n": 11}, {"threshold": 0.0}, {"cost": 1.0}, {"labels_needed": 3}, {"goal": "nan"}]
    assert len({report(), *(report(**change) for change in changes)}) == 1 + len(changes)
    assert report() != replace(report(), groups=())
    assert report() != "goal"


@every_predictor
def test_saved_and_loaded_it_decides_the_same(cls, mcm, calibration, digits, tmp_path):
    predictor = cls(mcm, per_class=True).fit(*calibration)
    predictor.save_pretrained(tmp_path)
    again = cls.from_pretrained(tmp_path)
    assert str(again.report_) == str(predictor.report_)
    test = digits.z_img_test, digits.z_txt
    np.testing.assert_array_equal(again.accept(*test), predictor.accept(*test))


def test_an_impossible_target_is_said_and_abstained_on(mcm, calibration, digits):
    predictor = SelectivePredictor(mcm, target_risk=0.001).fit(*calibration)
    assert (predictor.predict(digits.z_img_test, digits.z_txt) == -1).all()
    report = predictor.report_
    assert report.accepted == 0
    assert report.threshold == -math.inf
    assert math.isnan(report.risk_bound)
    assert math.isnan(report.observed_risk)
    assert 0.001 < report.smallest_risk < 0.05
    assert report.labels_needed is None  # 80 rows that are right do not say that 99.9 % are
    assert "No threshold can guarantee this" in str(report)


def test_coverage_is_an_order_statistic(mcm, calibration):
    report = CoveragePredictor(mcm, 0.8).fit(*calibration).report_
    m, n = report.accepted, report.n
    # P(the mass up to the m-th of n values is at least 0.8), which one row less would miss.
    assert binom.cdf(m - 1, n, 0.8) >= 0.95 > binom.cdf(m - 2, n, 0.8)
    assert report.risk_bound == risk_upper_bound(report.errors, m, 0.95)
    assert CoveragePredictor(mcm, 0.9999).fit(*calibration).report_.threshold == math.inf


def test_the_least_cost_is_found(mcm, calibration):
    decision = mcm.decision_function(*calibration[:2])
    wrong = mcm.predict(*calibration[:2]) != calibration[2]
    report = CostPredictor(mcm, 5.0, 0.5).fit(*calibration).report_
    costs = [
        (5.0 * wrong[decision <= t].sum() + 0.5 * (decision > t).sum()) / len(wrong)
        for t in (-math.inf, *decision)
    ]
    assert report.cost == pytest.approx(min(costs))
    assert report.cost < report.cost_bound <= 5.0


def test_errors_that_cost_all_but_nothing_are_accepted_and_dear_ones_are_not(mcm, calibration, digits):
    def accepted(cost):
        return CostPredictor(mcm, cost).fit(*calibration).report_.accepted_share

    shares = [accepted(cost) for cost in (1.01, 3.0, 10.0, 1e6)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.9
    assert shares[-1] < 0.4


# --- groups ----------------------------------------------------------------------------------------


def test_each_group_is_as_if_it_were_alone(mcm, calibration, digits):
    z_img, z_txt, labels = calibration
    groups = np.where(np.arange(len(labels)) % 3 == 0, "night", "day")
    predictor = SelectivePredictor(mcm, 0.1).fit(z_img, z_txt, labels, groups=groups)
    for part in predictor.report_.groups:
        own = groups == part.group
        alone = SelectivePredictor(mcm, 0.1).fit(z_img[own], z_txt, labels[own]).report_
        assert (part.threshold, part.accepted, part.errors) == (alone.threshold, alone.accepted, alone.errors)
    assert predictor.report_.accepted == sum(part.accepted for part in predictor.report_.groups)
    assert "night" in str(predictor.report_)
    unseen = np.full(len(digits.z_img_test), "dusk")
    assert not predictor.accept(digits.z_img_test, z_txt, groups=unseen).any()


def test_promises_that_hold_together_accept_less_and_bound_the_whole(mcm, calibration):
    groups = np.arange(len(calibration[2])) % 2
    each = SelectivePredictor(mcm, 0.1).fit(*calibration, groups=groups).report_
    both = SelectivePredictor(mcm, 0.1, simultaneous=True).fit(*calibration, groups=groups).report_
    assert both.accepted < each.accepted
    assert both.risk_bound == 0.1
    assert math.isnan(each.risk_bound)
    assert [part.confidence for part in both.groups] == pytest.approx([0.975, 0.975])


def test_predicted_classes_are_groups(mcm, calibration, digits):
    groups = mcm.predict(*calibration[:2])
    one = SelectivePredictor(mcm, 0.1, per_class=True).fit(*calibration)
    other = SelectivePredictor(mcm, 0.1).fit(*calibration, groups=groups)
    test = digits.z_img_test, digits.z_txt
    np.testing.assert_array_equal(one.accept(*test), other.accept(*test, groups=mcm.predict(*test)))
    assert 0 < sum(part.accepted == 0 for part in one.report_.groups) < 10  # too few rows: abstained on


# --- captions and other candidates -----------------------------------------------------------------


def test_captions(digits):
    rng = np.random.default_rng(0)
    text = rng.normal(size=(400, 16))
    images = text + rng.normal(scale=0.9, size=text.shape)
    predictor = SelectivePredictor(MCMScorer(logit_scale=20.0), 0.1).fit(images[:200], text[:200])
    accepted = predictor.accept(images[200:], text[200:])
    assert 0.3 < accepted.mean() < 1


def test_other_candidates_are_used_with_a_warning(mcm, calibration, digits):
    predictor = SelectivePredictor(mcm).fit(*calibration)
    with pytest.warns(UserWarning, match="only for the candidates of fit"):
        predictor.accept(digits.z_img_test, digits.z_txt[:5])


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predictor", "error", "message"),
    [
        (lambda s: SelectivePredictor(s, 0.0), ValueError, "target_risk must be a number strictly between"),
        (lambda s: SelectivePredictor(s, 5), ValueError, "target_risk must be"),
        (lambda s: SelectivePredictor(s, confidence=1.0), ValueError, "confidence must be"),
        (lambda s: SelectivePredictor(s, "0.1"), ValueError, "target_risk must be"),
        (lambda s: SelectivePredictor(s, method="ltt"), ValueError, "method must be"),
        (lambda s: SelectivePredictor("mcm"), TypeError, "scorer must be a scorer"),
        (lambda s: SelectivePredictor(MCMScorer), TypeError, "scorer must be a scorer"),
        (lambda s: CoveragePredictor(s, 1.0), ValueError, "target_coverage must be"),
        (lambda s: CostPredictor(s, 1.0, 2.0), ValueError, "error_cost must be above"),
        (lambda s: CostPredictor(s, 1.0, -1.0), ValueError, "abstention_cost must be"),
    ],
)
def test_bad_parameters_are_named_at_fit(predictor, error, message, mcm, calibration):
    with pytest.raises(error, match=message):
        predictor(mcm).fit(*calibration)


@every_predictor
@pytest.mark.parametrize("supervision", ["labels", "correct", "captions"])
def test_one_labelled_set_is_split_between_scorer_and_calibration(cls, supervision, calibration, digits):
    z_img, z_txt, labels = calibration
    scorer = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    if supervision == "labels":
        predictor = cls(scorer).fit(z_img, z_txt, labels)
    elif supervision == "correct":
        predictor = cls(scorer).fit(z_img, z_txt, correct=scorer.predict(z_img, z_txt) == labels)
    else:
        z_txt = z_img + 0.1 * np.random.default_rng(0).normal(size=z_img.shape)
        predictor = cls(scorer).fit(z_img, z_txt)
    report = predictor.report_
    assert not scorer.__sklearn_is_fitted__()  # what is passed stays as it is
    assert report.n + report.fit_rows == len(labels)
    assert abs(report.n - report.fit_rows) <= 10
    assert f"the other {report.fit_rows}" in str(report)
    fit_rows = predictor.scorer_in_use.fit_rows_
    assert len(fit_rows.hashes) == report.fit_rows
    accepted = predictor.accept(digits.z_img_test, z_txt)
    if supervision == "labels":
        assert report.accepted
        wrong = predictor.scorer_in_use.predict(digits.z_img_test, z_txt) != digits.labels_test
        assert wrong[accepted].mean() < report.risk_bound + 0.02
    # Fitted with another scorer, it forgets the one it made.
    again = predictor.set_params(scorer=MCMScorer()).fit(*calibration)
    assert again.scorer_in_use is predictor.scorer
    assert again.report_.fit_rows == 0


def test_a_threshold_with_a_scorer_of_its_own_is_saved_with_it(calibration, digits, tmp_path):
    scorer = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    predictor = SelectivePredictor(scorer).fit(*calibration)
    predictor.save_pretrained(tmp_path)
    loaded = SelectivePredictor.from_pretrained(tmp_path)
    assert loaded.report_ == predictor.report_
    expected = predictor.predict(digits.z_img_test, digits.z_txt)
    np.testing.assert_array_equal(loaded.predict(digits.z_img_test, digits.z_txt), expected)


def test_groups_are_checked(mcm, calibration, digits):
    with pytest.raises(ValueError, match="groups must hold one integer or string"):
        SelectivePredictor(mcm).fit(*calibration, groups=[1, 2])
    with pytest.raises(ValueError, match="leave groups out"):
        SelectivePredictor(mcm, per_class=True).fit(*calibration, groups=calibration[2])
    with pytest.raises(ValueError, match="if, and only if"):
        SelectivePredictor(mcm).fit(*calibration).accept(
            digits.z_img_test, digits.z_txt, groups=digits.labels_test
        )
    with pytest.raises(ValueError, match="if, and only if"):
        SelectivePredictor(mcm).fit(*calibration, groups=calibration[2]).accept(
            digits.z_img_test, digits.z_txt
        )


def test_the_report_is_frozen_and_compares(mcm, calibration):
    report = SelectivePredictor(mcm).fit(*calibration).report_
    assert isinstance(report, SelectionReport)
    with pytest.raises(AttributeError):
        report.threshold = 0.0


def test_answers_by_name(digits, mcm):
    named = dict(zip(digits.class_names, digits.z_txt, strict=True))
    predictor = SelectivePredictor(mcm, 0.1).fit(digits.z_img_test, named, digits.labels_test)
    rows = predictor.predict(digits.z_img_fit, named)
    expected = [None if row == -1 else digits.class_names[row] for row in rows]
    assert {None, "zero"} < set(expected)
    assert predictor.predict_names(digits.z_img_fit, named) == expected
    found = predictor.predict_names(digits.z_img_fit, digits.z_txt)
    assert found == [None if row == -1 else row for row in rows.tolist()]


def test_groups_that_abstain_say_how_many_labels_they_need(mcm, calibration):
    report = SelectivePredictor(mcm, 0.02, per_class=True).fit(*calibration).report_
    lacking = [part for part in report.groups if not part.accepted]
    lines = str(report).splitlines()[-len(report.groups) :]
    assert len(lacking) > 0
    for part, line in zip(report.groups, lines, strict=True):
        needed = str(part.labels_needed or "unknown")
        assert line.split()[-1] == (needed if part in lacking else f"{part.threshold:.4g}")


@pytest.mark.parametrize("predictor", [SelectivePredictor, CoveragePredictor, CostPredictor])
def test_the_first_line_says_what_follows(predictor, mcm, calibration):
    report = predictor(mcm).fit(*calibration).report_
    share, risk = 100 * report.accepted_share, 100 * report.risk_bound
    first = f"Answers {share:.1f} % of the images by itself, at most {risk:.1f} % of them wrong."
    assert str(report).splitlines()[0] == report.sentence == first


def test_the_start_is_where_the_test_allows_one_error_more():
    for n in (50, 200, 700, 3000, 10**6):
        for target in (0.01, 0.05, 0.2):
            start = sequence_start(n, target, 0.05)
            allowed = errors_allowed(start, target, 0.05)
            assert start >= 0.1 * n
            assert allowed == errors_allowed(start - 1, target, 0.05) + 1
            assert binom.cdf(allowed, start, target) <= 0.05 < binom.cdf(allowed + 1, start, target)
            below = rows_needed(allowed - 1, target, 0.05) if allowed else 0
            assert below < 0.1 * n  # no earlier one is a tenth


def test_few_rows_without_an_error_need_hundreds_and_not_thousands_of_labels():
    for n, target in ((25, 0.05), (40, 0.05), (58, 0.02), (12, 0.1)):
        ranking = rank(np.arange(float(n)), np.zeros(n))
        assert 59 * 0.05 / target <= labels_needed(ranking, target, 0.05) < 4000
    twenty, fifty = (labels_needed(rank(np.arange(float(n)), np.zeros(n)), 0.05, 0.05) for n in (20, 50))
    assert twenty > fifty


@pytest.mark.parametrize("cls", [*PREDICTORS, SetPredictor])
@pytest.mark.parametrize("move", ["adapt", "partial_adapt", "fit"])
def test_a_scorer_that_was_moved_since_has_no_promise(cls, move, digits, tmp_path):
    fit = digits.z_img_fit, digits.z_txt, digits.labels_fit
    est = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0).fit(
        *(fit[0][:300], fit[1], fit[2][:300])
    )
    found = cls(est).fit(fit[0][300:], fit[1], fit[2][300:])
    found.save_pretrained(tmp_path)
    found = cls.from_pretrained(tmp_path)
    use = found.predict_sets if cls is SetPredictor else found.accept
    use(digits.z_img_test, digits.z_txt)  # without a word
    scorer = found.scorer_in_use
    if move == "fit":
        scorer.fit(fit[0][:250], fit[1], fit[2][:250])
    else:
        getattr(scorer, move)(digits.z_img_test[:100], digits.z_txt)
    with pytest.warns(PromiseWarning, match="fitted or adapted after the threshold was found"):
        use(digits.z_img_test, digits.z_txt)
