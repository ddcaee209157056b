"""Risk-coverage analysis: the error rate of the predictions one keeps.

A threshold accepts the predictions whose uncertainty is at most the threshold. It cannot tell tied ones
apart: every curve here has one point for each distinct value, and no result depends on the order of rows.
"""

import math
from typing import NamedTuple

import numpy.typing as npt

from vilu_sdk.exceptions import UndefinedScoreWarning, warn
from vilu_sdk.inputs.values import share, unit
from vilu_sdk.metrics.ranking import rank
from vilu_sdk.metrics.vectors import FloatVector


class RiskCoverageCurve(NamedTuple):
    """Points of a risk-coverage curve, in increasing order of coverage."""

    coverage: FloatVector
    risk: FloatVector
    generalized_risk: FloatVector
    threshold: FloatVector


def risk_coverage_curve(uncertainty: npt.ArrayLike, failure: npt.ArrayLike) -> RiskCoverageCurve:
    """Compute selective and generalised risk at every reachable coverage.

    Parameters
    ----------
    uncertainty, failure : array-like of shape (N,)
        As in `failure_metrics`, with the same errors.

    Returns
    -------
    RiskCoverageCurve
        Named tuple of four arrays of shape (T,), T the number of distinct scores:
        ``coverage`` in (0, 1], increasing, the share of rows accepted; ``risk`` in [0, 1], the
        errors among the accepted rows over the accepted rows; ``generalized_risk`` in [0, 1], the
        same errors over all rows; ``threshold``: a row is accepted if its uncertainty is at most
        this.

    References
    ----------
    Geifman & El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.

    Examples
    --------
    >>> curve = risk_coverage_curve([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1])
    >>> curve.coverage.tolist(), curve.risk.tolist()[:2]
    ([0.25, 0.5, 0.75, 1.0], [0.0, 0.5])
    """
    ranking = rank(uncertainty, failure)
    rows, errors, n = ranking.rows, ranking.errors, len(ranking)
    return RiskCoverageCurve(rows / n, errors / rows, errors / n, ranking.distinct)


def aurc(uncertainty: npt.ArrayLike, failure: npt.ArrayLike) -> float:
    """Area under the risk-coverage curve, lower is better.

    Trapezoid rule over the points of `risk_coverage_curve`, the first of which is extended to
    coverage 0. Implementations differ in this detail and in their treatment of ties; the
    differences vanish as N grows.

    Parameters
    ----------
    uncertainty, failure : array-like of shape (N,)
        As in `failure_metrics`, with the same errors.

    Returns
    -------
    float
        In [0, 1]. 0 without failures, 1 with nothing but failures, the error rate if all scores
        are tied.

    References
    ----------
    Geifman & El-Yaniv, NeurIPS 2017; Jaeger et al., "A call to reflect on evaluation practices
    for failure detection in image classification", ICLR 2023.

    Examples
    --------
    >>> aurc([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1])
    0.03125
    """
    return rank(uncertainty, failure).aurc


def e_aurc(uncertainty: npt.ArrayLike, failure: npt.ArrayLike) -> float:
    """Excess AURC: `aurc` minus that of a perfect ranking with the same error rate.

    The optimum ``e + (1 - e) ln(1 - e)`` is that of infinitely many rows, so a perfect ranking of
    few rows can come out slightly below zero.

    Parameters
    ----------
    uncertainty, failure : array-like of shape (N,)
        As in `failure_metrics`, with the same errors.

    Returns
    -------
    float
        0 without failures and with nothing but failures.

    References
    ----------
    Geifman, Uziel & El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers",
    ICLR 2019.

    Examples
    --------
    >>> round(e_aurc([0.4, 0.3, 0.2, 0.1], [0, 0, 0, 1]), 4)
    0.5803
    """
    return rank(uncertainty, failure).e_aurc


def augrc(uncertainty: npt.ArrayLike, failure: npt.ArrayLike) -> float:
    """Area under the generalised-risk-coverage curve, lower is better.

    The mean rate of undetected failures over all coverages. With accuracy ``a`` it equals
    ``(1 - AUC) a (1 - a) + (1 - a)^2 / 2``, exactly, also with ties.

    Parameters
    ----------
    uncertainty, failure : array-like of shape (N,)
        As in `failure_metrics`, with the same errors.

    Returns
    -------
    float
        In [0, 0.5]. 0 without failures, 0.5 with nothing but failures, half the error rate if all
        scores are tied.

    References
    ----------
    Traub et al., "Overcoming common flaws in the evaluation of selective classification systems",
    NeurIPS 2024.

    Examples
    --------
    >>> augrc([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1])
    0.03125
    """
    return rank(uncertainty, failure).augrc


def risk_at_coverage(uncertainty: npt.ArrayLike, failure: npt.ArrayLike, coverage: float) -> float:
    """Error rate among the most confident ``ceil(coverage * N)`` rows.

    Where the cut goes through a group of tied scores, the result is the expectation over a random
    choice from that group. One minus this is the selective accuracy.

    Parameters
    ----------
    uncertainty, failure : array-like of shape (N,)
        As in `failure_metrics`.
    coverage : float
        Share of rows to accept, in (0, 1].

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError, TypeError
        If `coverage` is not in (0, 1], or as in `failure_metrics`.

    Examples
    --------
    >>> risk_at_coverage([0.1, 0.2, 0.2, 0.4], [0, 1, 0, 1], coverage=0.5)
    0.25
    """
    coverage = share(coverage, "coverage")
    return float(rank(uncertainty, failure).risk_at(coverage))


def coverage_at_risk(uncertainty: npt.ArrayLike, failure: npt.ArrayLike, risk: float) -> float:
    """Largest coverage a threshold can reach with an error rate of at most `risk`.

    An observed rate on this very sample, not a guarantee for new data.

    Parameters
    ----------
    uncertainty, failure : array-like of shape (N,)
        As in `failure_metrics`.
    risk : float
        Highest tolerated error rate among the accepted rows, in [0, 1].

    Returns
    -------
    float
        In (0, 1]; NaN, with an `UndefinedScoreWarning`, if no threshold is that safe.

    Raises
    ------
    ValueError, TypeError
        If `risk` is not in [0, 1], or as in `failure_metrics`.

    Examples
    --------
    >>> coverage_at_risk([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1], risk=0.4)
    0.75
    """
    risk = unit(risk, "risk")
    ranking = rank(uncertainty, failure)
    if answered := ranking.answered_at(risk):
        return answered
    lowest = float((ranking.errors / ranking.rows).min())
    warn(
        f"No threshold reaches a risk of {risk:g}; the lowest is {lowest:g}. The coverage at this risk is "
        "returned as NaN.",
        UndefinedScoreWarning,
    )
    return math.nan
