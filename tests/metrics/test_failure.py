"""Metrics: official and hand-computed values, edge cases, and properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import UndefinedMetricWarning

from vilu_sdk.evaluation import (
    augrc,
    aurc,
    brier_score,
    coverage_at_risk,
    e_aurc,
    expected_calibration_error,
    failure_metrics,
    fpr95,
    negative_log_likelihood,
    risk_at_coverage,
    risk_coverage_curve,
)

# Outputs of the metrics code of the official ViLU repository: uncertainty, failure, metrics.
OFFICIAL = [
    (
        """
        -1.2590655321041202 2.7139237747390625 2.5458754237823045 1.9813114007004273 0.2644556303293035
        -0.3139228145364278 1.4580206835369587 1.9602583164499647 1.801634869866125 1.31510376473437
        0.357380410658956 -0.008318632282171556 -0.004454133120083229 1.8564749350763359
        -1.2883614637495544 1.5951220601820082 0.42986369482223 0.6960427239628685 0.0158820332428109
        -0.6617025720390349 0.7635647528567787 0.030198092227135875 1.739367877130134 -0.4959107284421519
        0.3289696294602021 -0.258572545473924 1.5834728788021222 1.3203609870818391 0.6333526228249152
        -2.2035098806466507 0.05202897425988651 0.6836861907765345 2.2039615758421696 -0.6179070447076008
        1.8220113633283233 -0.1204309700132935 -0.6615280218152191 0.9350499881140221 0.049054613825311656
        2.002392583645255
        """,
        "0111000000010101001011000000000010010000",
        {"auc": 0.6990595611285266, "fpr95": 0.6363636363636364, "aupr_error": 0.6161274433052939},
    ),
    (
        """
        0.8 0.8 0.1 -1.4 -0.1 -0.8 -0.2 0.3 -0.6 -1.0 0.2 0.3 0.4 1.3 1.2 1.0 1.4 1.2 -2.4 2.4 0.3 0.4 1.6
        0.4 0.3 -0.4 -0.7 -0.1 -0.8 2.3 -0.3 1.3 -0.8 -0.5 -0.0 -0.3 0.3 1.1 0.0 -2.4
        """,
        "0000001000100010000100100010010100010110",
        {"auc": 0.7021943573667712, "fpr95": 0.6863636363636362, "aupr_error": 0.6033176593521421},
    ),
    (
        """
        -1.0 1.0 1.0 2.0 -0.0 -0.0 -3.0 3.0 0.0 -2.0 1.0 2.0 1.0 1.0 1.0 1.0 0.0 2.0 1.0 2.0 2.0 -1.0 0.0
        2.0 1.0 2.0 1.0 1.0 1.0 -1.0 1.0 2.0 -1.0 3.0 1.0 1.0 1.0 -1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.0 0.0
        1.0 1.0 0.0 1.0 -1.0 1.0 -1.0 -1.0 1.0 1.0 0.0 1.0 1.0
        """,
        "010000010001110101011011010100110100101010110010101000001111",
        {"auc": 0.7700892857142857, "fpr95": 0.6571428571428571, "aupr_error": 0.6965646258503401},
    ),
]

# Eight predictions, three of them wrong, without and with ties.
A = 1 - np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]), np.array([0, 0, 1, 0, 0, 1, 0, 1])
B = 1 - np.array([0.9, 0.9, 0.8, 0.8, 0.8, 0.5, 0.5, 0.3]), np.array([0, 1, 0, 0, 1, 1, 0, 1])
# No deadline: on a busy machine one slow example is no defect.
PROPERTY = settings(deadline=None, max_examples=60)
SINGLE_CLASS = pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")


@st.composite
def scored(draw, both=True, probability=False):
    """Scores with many ties, and failures; of both classes if asked."""
    n = draw(st.integers(2, 25))
    value = st.sampled_from([0.0, 0.1, 0.2, 1 / 3, 0.5, 0.6, 1.0]) if draw(st.booleans()) else st.floats(0, 1)
    if not probability and draw(st.booleans()):
        value = st.floats(-1e6, 1e6)
    u = draw(st.lists(value, min_size=n, max_size=n))
    y = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    if both:
        y[:2] = [False, True]
    order = draw(st.permutations(range(n)))
    return np.array(u)[order], np.array(y)[order]


@pytest.mark.parametrize(("u", "y", "expected"), OFFICIAL, ids=["distinct", "ties", "few values"])
def test_official_values(u, y, expected):
    u, y = [float(x) for x in u.split()], [int(x) for x in y]
    metrics = failure_metrics(u, y)
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, abs=1e-12)
    assert fpr95(u, y) == metrics["fpr95"]


def test_values_without_ties():
    metrics = failure_metrics(*A, probability=True)
    expected = {
        "auc": 0.7333333333,
        "fpr95": 0.6666666667,
        "fpr95_error": 0.6,
        "aupr_error": 0.7222222222,
        "aurc": 0.198735,
        "e_aurc": 0.117487,
        "augrc": 0.1328125,
        "e_augrc": 0.0625,
        "brier": 0.2003125,
        "nll": 0.5749631433,
        "ece": 0.38125,
        "accuracy": 0.625,
        "error_rate": 0.375,
        "n": 8,
    }
    assert {k: metrics[k] for k in expected} == pytest.approx(expected, abs=6e-7)
    assert expected_calibration_error(*A, n_bins=10) == pytest.approx(0.38125)
    assert aurc(*A) == metrics["aurc"]
    assert e_aurc(*A) == metrics["e_aurc"]
    assert augrc(*A) == metrics["augrc"]
    assert brier_score(*A) == metrics["brier"]
    assert negative_log_likelihood(*A) == metrics["nll"]


def test_values_with_ties():
    metrics = failure_metrics(*B)
    expected = {"auc": 0.625, "aurc": 0.455357, "e_aurc": 0.301931, "augrc": 0.21875}
    assert {k: metrics[k] for k in expected} == pytest.approx(expected, abs=6e-7)


def test_values_of_few_rows():
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.75, 0.65, 0.1])
    metrics = failure_metrics(-confidence, [0, 0, 0, 0, 1, 1, 1])
    assert metrics["auc"] == pytest.approx(0.75)
    assert metrics["fpr95"] == pytest.approx(2 / 3)
    assert metrics["aupr_error"] == pytest.approx(0.7555555556)


def test_perfect_ranking():
    metrics = failure_metrics(np.arange(8), [0, 0, 0, 0, 0, 1, 1, 1])
    expected = {"aurc": 0.079985, "e_aurc": -0.001263, "augrc": 0.0703125, "e_augrc": 0.0, "auc": 1.0}
    assert {k: metrics[k] for k in expected} == pytest.approx(expected, abs=6e-7)


def test_fpr95_methods_differ_where_a_point_lies_at_95_percent():
    u = -np.array([*range(30, 10, -1), 11.5, 11.6, 11.7, 5])
    y = np.repeat([0, 1], [20, 4])
    assert fpr95(u, y) == 0.75
    assert fpr95(u, y, method="conservative") == 0.0
    with pytest.raises(ValueError, match="method"):
        fpr95(u, y, method="best")


def fpr95_reference(u, y):
    """The official rule in words: scan the ROC from (0, 0), stop at the last point at or below 95 %."""
    points = [(0.0, 0.0)]
    for c in sorted(set(-u), reverse=True):
        accepted = -u >= c
        points.append((np.mean(accepted[~y]), np.mean(accepted[y])))
    i = max(k for k, (tpr, _) in enumerate(points) if tpr <= 0.95)
    (tpr, fpr), (next_tpr, next_fpr) = points[i], points[i + 1]
    return fpr if tpr == 0.95 else fpr + (0.95 - tpr) * (next_fpr - fpr) / (next_tpr - tpr)


@PROPERTY
@given(scored(), st.integers(1, 20))
def test_against_slow_references(data, repeat):
    # Repeated correct rows reach numbers divisible by 20, where points lie at exactly 95 %.
    u, y = data
    u, y = np.append(u, np.repeat(u[~y], repeat)), np.append(y, np.repeat(y[~y], repeat))
    metrics = failure_metrics(u, y)
    pairs = u[y][:, None] - u[~y][None, :]
    assert metrics["auc"] == pytest.approx(np.mean((pairs > 0) + (pairs == 0) / 2), abs=1e-12)
    assert metrics["fpr95"] == pytest.approx(fpr95_reference(u, y), abs=1e-12)
    thresholds = np.unique(u)
    keep = [t for t in thresholds if 20 * np.sum(u[~y] <= t) >= 19 * np.sum(~y)]
    assert metrics["fpr95_conservative"] == np.mean(u[y] <= keep[0])
    catch = [t for t in thresholds if 20 * np.sum(u[y] >= t) >= 19 * np.sum(y)]
    assert metrics["fpr95_error"] == np.mean(u[~y] >= catch[-1])


@PROPERTY
@given(scored(both=False))
@SINGLE_CLASS
def test_identities_and_bounds(data):
    u, y = data
    metrics = failure_metrics(u, y)
    a, e = metrics["accuracy"], metrics["error_rate"]
    auc = 0.5 if a * e == 0 else metrics["auc"]
    assert metrics["augrc"] == pytest.approx((1 - auc) * a * e + e**2 / 2, abs=1e-12)
    for name, value in metrics.items():
        if name not in ("n", "e_aurc") and not math.isnan(value):
            assert -1e-12 <= value <= 1, name
    assert metrics["augrc"] <= 0.5


@PROPERTY
@given(scored(both=False))
@SINGLE_CLASS
def test_only_the_order_matters(data):
    u, y = data
    metrics = failure_metrics(u, y)
    ranks = np.unique(u, return_inverse=True)[1]
    for same in (ranks, np.ldexp(u, 3), np.exp(ranks / 2.0) - 7):
        assert failure_metrics(same, y) == pytest.approx(metrics, abs=1e-12, nan_ok=True)
    order = np.random.default_rng(0).permutation(len(u))
    assert failure_metrics(u[order], y[order]) == pytest.approx(metrics, abs=1e-12, nan_ok=True)


@PROPERTY
@given(scored())
def test_swapping_roles_mirrors_the_metrics(data):
    u, y = data
    metrics, mirrored = failure_metrics(u, y), failure_metrics(-u, ~y)
    assert mirrored["auc"] == pytest.approx(metrics["auc"], abs=1e-12)
    assert mirrored["aupr_success"] == pytest.approx(metrics["aupr_error"], abs=1e-12)
    assert mirrored["fpr95_error"] == metrics["fpr95_conservative"]


@PROPERTY
@given(scored(both=False), st.integers(1, 25), st.floats(0, 0.99))
def test_risk_at_coverage_is_the_mean_over_random_tie_breaking(data, m, less):
    u, y = data
    m = min(m, len(u))
    at_most, below = np.sort(u)[m - 1], u < np.sort(u)[m - 1]
    block = u == at_most
    expected = (y[below].sum() + y[block].mean() * (m - below.sum())) / m
    assert risk_at_coverage(u, y, (m - less) / len(u)) == pytest.approx(expected, abs=1e-12)


def test_tie_breaking_average_by_simulation():
    u, y = B
    rng = np.random.default_rng(0)
    draws = np.array([y[np.lexsort((rng.random(len(u)), u))] for _ in range(4000)])
    for m in range(1, 9):
        expected = draws[:, :m].mean()
        assert risk_at_coverage(u, y, m / 8) == pytest.approx(expected, abs=0.03)


def test_coverage_counts_rows_exactly():
    u, y = np.arange(100), np.arange(100) == 7
    assert risk_at_coverage(u, y, 0.07) == 0  # 0.07 * 100 > 7 in floating point
    assert risk_at_coverage(u, y, 0.08) == 1 / 8
    assert risk_at_coverage(u, y, 1e-9) == 0
    for bad in (0, -0.1, 1.01, math.nan):
        with pytest.raises(ValueError, match="coverage"):
            risk_at_coverage(u, y, bad)


@PROPERTY
@given(scored(both=False), st.floats(0, 1))
@SINGLE_CLASS
def test_coverage_at_risk_keeps_its_promise(data, risk):
    u, y = data
    coverage = coverage_at_risk(u, y, risk)
    curve = risk_coverage_curve(u, y)
    if math.isnan(coverage):
        assert curve.risk.min() > risk
    else:
        assert risk_at_coverage(u, y, coverage) <= risk
        assert (curve.risk[curve.coverage > coverage] > risk).all()
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == curve.generalized_risk[-1] == y.mean()
    accepted = u[:, None] <= curve.threshold
    np.testing.assert_allclose(accepted.mean(axis=0), curve.coverage)


@PROPERTY
@given(scored(both=False))
@SINGLE_CLASS
@pytest.mark.filterwarnings("ignore:No threshold reaches")
def test_the_share_answered_is_the_coverage_at_that_risk(data):
    u, failure = data
    metrics = failure_metrics(u, failure)
    for percent in (1, 5, 10):
        share = coverage_at_risk(u, failure, percent / 100)
        assert metrics[f"answered_at_{percent}"] == (0 if math.isnan(share) else share)


def test_coverage_at_risk_out_of_reach():
    with pytest.warns(UndefinedMetricWarning, match="lowest is 0.5") as record:
        assert math.isnan(coverage_at_risk([1, 1], [0, 1], risk=0.2))
    assert len(record) == 1
    with pytest.raises(ValueError, match="risk must be in"):
        coverage_at_risk([1, 1], [0, 1], risk=2)


@PROPERTY
@given(scored(both=False, probability=True), st.integers(1, 20))
@SINGLE_CLASS
def test_calibration_against_slow_references(data, n_bins):
    u, y = data
    gap = 0.0
    for b in range(n_bins):
        inside = (u > b / n_bins) & (u <= (b + 1) / n_bins) | ((b == 0) & (u == 0))
        if inside.any():
            gap += inside.mean() * abs(u[inside].mean() - y[inside].mean())
    assert expected_calibration_error(u, y, n_bins) == pytest.approx(gap, abs=1e-12)
    p = np.clip([x if f else 1 - x for x, f in zip(u, y, strict=True)], 1e-12, 1 - 1e-12)
    metrics = failure_metrics(u, y, probability=True)
    assert metrics["nll"] == pytest.approx(-np.mean(np.log(p)))
    assert metrics["brier"] == pytest.approx(np.mean((u - y) ** 2))
    # A constant at the failure rate is calibrated, and its Brier score is the variance.
    rate = y.mean()
    constant = np.full(len(y), rate)
    assert expected_calibration_error(constant, y, n_bins) == pytest.approx(0, abs=1e-12)
    assert brier_score(constant, y) == pytest.approx(rate * (1 - rate))


@pytest.mark.parametrize(("wrong", "absent"), [(0, "aupr_error"), (1, "aupr_success")])
def test_single_class(wrong, absent):
    with pytest.warns(UndefinedMetricWarning, match=f"{absent} are undefined") as record:
        metrics = failure_metrics([0.1, 0.5, 0.5], [wrong] * 3, probability=True)
    assert len(record) == 1
    assert record[0].filename == __file__
    undefined = {k for k, v in metrics.items() if math.isnan(v)}
    assert undefined == {"auc", "fpr95", "fpr95_conservative", "fpr95_error", absent}
    present = ({"aupr_error", "aupr_success"} - {absent}).pop()
    assert metrics[present] == 1
    assert (metrics["aurc"], metrics["e_aurc"], metrics["augrc"]) == (wrong, 0, wrong / 2)
    assert metrics["e_augrc"] == 0
    with pytest.warns(UndefinedMetricWarning, match="FPR95 is undefined") as record:
        assert math.isnan(fpr95([0.1, 0.5, 0.5], [wrong] * 3))
    assert len(record) == 1
    assert record[0].filename == __file__


def test_all_scores_tied():
    metrics = failure_metrics(np.full(10, 0.3), np.arange(10) < 3)
    e = 0.3
    optimum = e + (1 - e) * math.log(1 - e)
    expected = {"auc": 0.5, "fpr95": 0.95, "aupr_error": e, "aurc": e, "e_aurc": e - optimum, "augrc": e / 2}
    assert {k: metrics[k] for k in expected} == pytest.approx(expected)
    assert metrics["fpr95_conservative"] == metrics["fpr95_error"] == 1


@pytest.mark.parametrize("convert", [list, tuple, torch.tensor, np.float32, np.asarray])
@pytest.mark.parametrize(
    "flags", [list, torch.tensor, lambda y: torch.tensor(y).bool(), lambda y: y.astype(bool)]
)
def test_input_types(convert, flags):
    u, y = B
    u = np.round(16 * u)  # exact in every type
    assert failure_metrics(convert(u), flags(y)) == failure_metrics(u, y)


def test_torch_tensors_of_any_kind():
    u = torch.tensor([0.25, 0.5, 0.75], dtype=torch.bfloat16, requires_grad=True)
    assert failure_metrics(u, torch.tensor([0, 0, 1]))["auc"] == 1


def test_extreme_scores_do_not_overflow():
    metrics = failure_metrics([-1.7e308, 1.7e308, 5e-324, 0.0], [0, 1, 1, 0])
    assert metrics["auc"] == metrics["aupr_error"] == 1


@pytest.mark.parametrize(
    ("u", "y", "error", "message"),
    [
        ([0.1, math.nan], [0, 1], ValueError, r"uncertainty has 1 value\(s\) .* row 1 \(nan\)"),
        ([0.1, math.inf], [0, 1], ValueError, r"uncertainty .* row 1 \(inf\)"),
        ([], [], ValueError, "uncertainty is empty"),
        ([0.1], [], ValueError, "failure is empty"),
        ([0.1, 0.2], [0], ValueError, "uncertainty has 2 rows and failure has 1"),
        ([[0.1], [0.2]], [0, 1], ValueError, r"uncertainty .* shape \(2, 1\).*ravel"),
        ([[0.1], [0.2, 0.3]], [0, 1], ValueError, "uncertainty is not a vector"),
        (0.5, [0], ValueError, r"uncertainty must be one-dimensional"),
        ([0.1, 0.2], [0, 2], ValueError, "failure must be boolean or 0/1 .* got 2 in row 1"),
        ([0.1, 0.2], [0.0, 0.5], ValueError, "failure must be boolean or 0/1"),
        ([0.1, 0.2], [math.nan, 0], ValueError, "failure has 1 value"),
        (["a", "b"], [0, 1], TypeError, "uncertainty must hold real numbers"),
        (torch.tensor([1j, 2]), [0, 1], TypeError, "uncertainty must hold real numbers"),
    ],
)
def test_errors_name_the_argument(u, y, error, message):
    for metric in (failure_metrics, fpr95, aurc, e_aurc, augrc, brier_score, risk_coverage_curve):
        with pytest.raises(error, match=message):
            metric(u, y)


def test_probabilities_must_be_probabilities():
    for metric in (brier_score, expected_calibration_error, negative_log_likelihood):
        with pytest.raises(ValueError, match=r"uncertainty must lie in \[0, 1\] .* 1.5 in row 1"):
            metric([0.5, 1.5], [0, 1])
    with pytest.raises(ValueError, match="probability of failure"):
        failure_metrics([-0.5, 0.5], [0, 1], probability=True)
    for bad in (0, -1, 2.5):
        with pytest.raises(ValueError, match="n_bins"):
            expected_calibration_error([0.5], [0], n_bins=bad)
