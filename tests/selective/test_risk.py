"""The monitor of a promised risk: false alarms over whole streams, delay, and what its state survives."""

import math
from dataclasses import astuple, replace

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.exceptions import NotFittedError

from vilu_sdk import MCMScorer, SelectivePredictor, SetPredictor
from vilu_sdk.selective import CoveragePredictor, RiskMonitor
from vilu_sdk.selective.risk import interval

STREAMS = [pytest.param(2000, marks=pytest.mark.slow), 100]


def first_alarm(rng, rates, step):
    """The audit until which a stream of these risks raises the alarm, looked at every so often; 0 if none."""
    monitor = RiskMonitor(0.05)
    for part in np.split(rates, range(step, len(rates), step)):
        if monitor.update(rng.random(len(part)) > part).broken:
            return monitor.report_.n
    return 0


RISKS = {
    "exactly what was promised": lambda t: np.full(len(t), 0.05),
    "below it, then at it": lambda t: np.where(t < 500, 0.01, 0.05),
    "in waves up to it": lambda t: 0.05 * np.abs(np.sin(t / 40)),
}


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("risk", RISKS)
def test_false_alarms_over_the_whole_stream(risk, streams):
    rng = np.random.default_rng(0)
    rates = RISKS[risk](np.arange(2000))
    alarms = sum(first_alarm(rng, rates, 2000) > 0 for _ in range(streams))
    assert alarms <= binom.ppf(0.999, streams, 0.05)


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize(("change", "most"), [(0, 300), (1000, 500)])
def test_a_doubled_risk_is_found_soon(change, most, streams):
    rng = np.random.default_rng(1)
    rates = np.where(np.arange(change + 1500) < change, 0.04, 0.1)
    alarms = np.array([first_alarm(rng, rates, 100) for _ in range(streams // 3)])
    late = alarms[alarms > change] - change
    assert len(late) > 0.9 * len(alarms)
    assert np.median(late) < most


def test_the_interval_holds_for_all_times_at_once_also_where_the_risk_changes():
    rng = np.random.default_rng(2)
    rates = 0.03 + 0.1 * (np.arange(1200) > 400)
    mean = np.cumsum(rates) / np.arange(1, 1201)
    missed = 0
    for _ in range(200):
        errors = np.cumsum(rng.random(1200) < rates)
        found = {n: interval(int(errors[n - 1]), n, 0.1) for n in range(20, 1201, 60)}
        missed += any(not low <= mean[n - 1] <= high for n, (low, high) in found.items())
    assert missed <= binom.ppf(0.999, 200, 0.1)
    low, high = interval(100, 2000, 0.05)
    assert 0.03 < low < 0.05 < high < 0.075
    assert interval(0, 0, 0.05) == (0.0, 1.0)
    assert interval(0, 1000, 0.05)[1] < 0.01
    assert interval(1000, 1000, 0.05)[0] > 0.98


def test_nothing_depends_on_how_audits_come_in():
    wrong = np.random.default_rng(3).random(400) < 0.09
    whole, pieces, single = RiskMonitor(0.05), RiskMonitor(0.05), RiskMonitor(0.05)
    whole.update(~wrong)
    for part in np.array_split(wrong, 7):
        pieces.update(~part)
    for one in wrong:
        single.update(bool(~one))
    for other in (pieces.report_, single.report_):
        assert astuple(other) == pytest.approx(astuple(whole.report_))
    assert whole.report_.errors == wrong.sum()
    assert whole.update([]) == whole.report_


def test_an_alarm_stays():
    monitor = RiskMonitor(0.05)
    assert monitor.update(np.zeros(20, bool)).broken
    after = monitor.update(np.ones(2000, bool))
    assert after.evidence < 1
    assert after.broken
    assert "do not rely on the promise" in str(after)


def test_evidence_of_machines_multiplies_where_the_promise_fails_and_does_not_where_it_holds():
    rng = np.random.default_rng(4)

    def merged(risk, count=3):
        first, *others = (RiskMonitor(0.05) for _ in range(count))
        for monitor in (first, *others):
            monitor.update(rng.random(150) > risk)
        return first.merge(*others)

    alone = sum(RiskMonitor(0.05).update(rng.random(150) > 0.1).broken for _ in range(100))
    together = [merged(0.1) for _ in range(100)]
    assert sum(report.broken for report in together) > alone + 10
    assert {report.n for report in together} == {450}
    false = sum(merged(0.05).broken for _ in range(300))
    assert false <= binom.ppf(0.999, 300, 0.05)


def test_a_monitor_that_saw_nothing_changes_little_by_merging_and_evidence_is_a_mean_of_one():
    monitor = RiskMonitor(0.2)
    monitor.update(np.arange(30) % 3 > 0)
    before = monitor.report_
    after = monitor.merge(RiskMonitor(0.2))
    assert (after.n, after.errors) == (before.n, before.errors)
    assert 0.2 * before.evidence < after.evidence < before.evidence * 1.5
    # The exact expectation over all streams of 12 audits at the promised risk is 1: no bet wins on average.
    mean = 0.0
    for bits in range(2**10):
        wrong = np.array([bits >> i & 1 for i in range(10)], dtype=bool)
        mean += np.prod(np.where(wrong, 0.2, 0.8)) * RiskMonitor(0.2).update(~wrong).evidence
    assert mean == pytest.approx(1.0, abs=1e-9)


def test_saved_and_loaded_it_goes_on(tmp_path):
    wrong = np.random.default_rng(5).random(600) < 0.07
    whole, part = RiskMonitor(0.05), RiskMonitor(0.05)
    whole.update(~wrong)
    part.update(~wrong[:250])
    part.save_pretrained(tmp_path)
    loaded = RiskMonitor.from_pretrained(tmp_path)
    loaded.update(~wrong[250:])
    assert astuple(loaded.report_) == pytest.approx(astuple(whole.report_))


def test_what_is_watched_is_what_was_promised(digits, tmp_path):
    mcm = MCMScorer(logit_scale=digits.logit_scale)
    known = digits.z_img_fit, digits.z_txt, digits.labels_fit
    selective = SelectivePredictor(mcm, 0.07).fit(*known)
    assert RiskMonitor(selective).report_.promised == 0.07
    coverage = CoveragePredictor(mcm, 0.8).fit(*known)
    assert RiskMonitor(coverage).report_.promised == coverage.report_.risk_bound
    assert RiskMonitor(SetPredictor(mcm, 0.9).fit(*known)).report_.promised == pytest.approx(0.1)
    sites = np.arange(len(digits.labels_fit)) % 2
    by_site = SelectivePredictor(mcm, 0.1).fit(*known, groups=sites)
    assert RiskMonitor(by_site).report_.promised == 0.1
    answer = selective.predict(digits.z_img_test, digits.z_txt)
    taken = answer != -1
    monitor = RiskMonitor(selective)
    assert not monitor.update(answer[taken] == digits.labels_test[taken]).broken
    monitor.save_pretrained(tmp_path)
    assert RiskMonitor.from_pretrained(tmp_path).report_ == monitor.report_
    assert RiskMonitor.from_pretrained(tmp_path).promise == 0.07  # and no scorer, which may be large
    monitor = RiskMonitor(SetPredictor(mcm, 0.9).fit(*known))
    monitor.save_pretrained(tmp_path)  # before any audit
    loaded = RiskMonitor.from_pretrained(tmp_path)
    assert "the sets lack the right candidate" in str(loaded.update(True))
    assert loaded.report_ == monitor.update(True)


def test_sets_on_what_a_threshold_abstains_on_promise_the_worse_of_both(digits):
    mcm = MCMScorer(logit_scale=digits.logit_scale)
    known = digits.z_img_fit, digits.z_txt, digits.labels_fit
    selective = SelectivePredictor(mcm, 0.07).fit(*known)
    for coverage, promised in ((0.9, 0.1), (0.96, 0.07)):
        sets = SetPredictor(selective, coverage).fit(*known)
        assert RiskMonitor(sets).report_.promised == pytest.approx(promised)


def test_what_cannot_be_watched_is_refused_in_words(digits):
    mcm = MCMScorer(logit_scale=digits.logit_scale)
    with pytest.raises(NotFittedError):
        RiskMonitor(SelectivePredictor(mcm)).update(True)
    nothing = SelectivePredictor(mcm, 0.001).fit(digits.z_img_fit, digits.z_txt, digits.labels_fit)
    with pytest.raises(ValueError, match="nothing is accepted"):
        RiskMonitor(nothing).update(True)
    with pytest.raises(TypeError, match="got MCMScorer"):
        RiskMonitor(mcm).update(True)
    with pytest.raises(ValueError, match="promise must be a number strictly between 0 and 1"):
        RiskMonitor(1.5).update(True)
    with pytest.raises(ValueError, match="alpha must be"):
        RiskMonitor(0.05, alpha=0).update(True)
    with pytest.raises(ValueError, match="correct must be booleans"):
        RiskMonitor(0.05).update([0.3])
    with pytest.raises(ValueError, match="cannot be merged"):
        RiskMonitor(0.05).merge(RiskMonitor(0.1))
    assert not math.isnan(RiskMonitor(0.05).report_.evidence)


def test_sets_that_promise_nothing_cannot_be_watched(digits):
    sets = SetPredictor(MCMScorer(logit_scale=digits.logit_scale), 0.9)
    sets.fit(digits.z_img_test, digits.z_txt, digits.labels_test)
    sets.report_ = replace(sets.report_, coverage_bound=0.0)
    with pytest.raises(ValueError, match="nothing to watch"):
        RiskMonitor(sets).update(True)


def test_merging_takes_no_alarm_back_and_no_monitor_twice():
    monitor = RiskMonitor(0.05)
    monitor.update([False] * 60)
    monitor.update([True] * 2000)
    assert monitor.merge(RiskMonitor(0.05)).broken
    with pytest.raises(ValueError, match="into itself"):
        monitor.merge(monitor)
