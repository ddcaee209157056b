"""Failure-prediction metrics of one uncertainty score."""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from vilu_sdk.exceptions import UndefinedScoreWarning, warn
from vilu_sdk.inputs.values import flag
from vilu_sdk.metrics.calibration import brier_score, expected_calibration_error, negative_log_likelihood
from vilu_sdk.metrics.ranking import Ranking, rank
from vilu_sdk.metrics.vectors import BoolVector, FloatVector, check_probabilities, check_scores

# Error rates, in percent, at which the share of answered rows is told.
ANSWERED_AT = (1, 5, 10)
FPR95Method = Literal["official", "conservative", "error"]


def warn_single_class(failure: BoolVector, undefined: str | None = None, returned: float = math.nan) -> bool:
    """Warn if all predictions are right or all are wrong, once for all metrics that need both, and say so."""
    if failure.any() and not failure.all():
        return False
    kind, absent = ("wrong", "aupr_success") if failure.all() else ("correct", "aupr_error")
    undefined = undefined or f"auc, fpr95 and {absent} are"
    value = "NaN" if math.isnan(returned) else f"{returned:g}"
    warn(
        f"All {len(failure)} predictions are {kind}: {undefined} undefined and returned as {value}. "
        "Evaluate on rows that hold both right and wrong predictions.",
        UndefinedScoreWarning,
    )
    return True


def false_positive_rate(ranking: Ranking, method: FPR95Method) -> float:
    """FPR95 of a ranking; NaN if there is only one class."""
    rows, errors = np.append(0, ranking.rows), np.append(0, ranking.errors)
    correct = rows - errors
    if method == "error":
        # Rejecting from the least confident on: failures are the positives.
        positive, negative = errors[-1] - errors[::-1], correct[-1] - correct[::-1]
    else:
        positive, negative = correct, errors
    if positive[-1] == 0 or negative[-1] == 0:
        return math.nan
    # In integers, 20 tp >= 19 P, "at 95 %" is exact.
    have, need = 20 * positive, 19 * positive[-1]
    if method != "official":
        return float(negative[np.searchsorted(have, need, side="left")] / negative[-1])
    at = int(np.searchsorted(have, need, side="right")) - 1
    share = (need - have[at]) / (have[at + 1] - have[at])
    return float((negative[at] + share * (negative[at + 1] - negative[at])) / negative[-1])


def fpr95(uncertainty: npt.ArrayLike, failure: npt.ArrayLike, *, method: FPR95Method = "official") -> float:
    """False-positive rate at a true-positive rate of 95 %, lower is better.

    Three conventions are in use under this one name; never compare values of different ones.

    Parameters
    ----------
    uncertainty, failure : array-like of shape (N,)
        As in `failure_metrics`.
    method : {"official", "conservative", "error"}, default="official"
        - "official": the share of failures accepted when 95 % of the correct predictions are,
          interpolated linearly between the points of the ROC curve. Where a point lies at exactly
          95 %, the largest false-positive rate there. The convention of the ViLU paper.
        - "conservative": the same share at the first threshold that accepts at least 95 % of the
          correct predictions; no interpolation, so a threshold with this rate exists.
        - "error": the share of correct predictions rejected at the first threshold that rejects at
          least 95 % of the failures. The convention of the DOCTOR and Rel-U papers.

    Returns
    -------
    float
        In [0, 1]; NaN, with an `UndefinedScoreWarning`, if all predictions are correct or all are
        wrong. If all scores are tied: 0.95 ("official"), 1 (the others).

    Raises
    ------
    ValueError, TypeError
        If `method` is unknown, or as in `failure_metrics`.

    References
    ----------
    Lafon et al., "ViLU: learning vision-language uncertainties for failure prediction", ICCV 2025;
    Granese et al., "DOCTOR: a simple method for detecting misclassification errors", NeurIPS 2021.

    Examples
    --------
    >>> u = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    >>> failure = [0, 0, 1, 0, 0, 1, 0, 1]
    >>> round(fpr95(u, failure), 3), fpr95(u, failure, method="error")
    (0.667, 0.6)
    """
    if method not in ("official", "conservative", "error"):
        raise ValueError(f'method must be "official", "conservative" or "error", got {method!r}.')
    u, y = check_scores(uncertainty, failure)
    warn_single_class(y, "FPR95 is")
    return false_positive_rate(rank(u, y), method)


def calibration_metrics(uncertainty: npt.ArrayLike, failure: npt.ArrayLike) -> dict[str, float]:
    """ECE, Brier score and NLL of an uncertainty that is a probability of failure."""
    u, y = check_probabilities(uncertainty, failure)
    return {
        "ece": expected_calibration_error(u, y),
        "brier": brier_score(u, y),
        "nll": negative_log_likelihood(u, y),
    }


def failure_metrics(
    uncertainty: npt.ArrayLike, failure: npt.ArrayLike, *, probability: bool = False
) -> dict[str, float]:
    """Compute all metrics of a failure predictor, as fractions.

    Parameters
    ----------
    uncertainty : array-like of shape (N,)
        Scores, higher = more likely wrong. Any finite values; only their order matters, unless
        `probability` is True. numpy, torch, a list or a column of a table.
    failure : array-like of shape (N,)
        Boolean or 0/1; 1 where the prediction is wrong.
    probability : bool, default=False
        Read the uncertainty as the probability of failure and add the calibration metrics. It must
        then lie in [0, 1].

    Returns
    -------
    dict of str to float
        ``auc``: probability that a failure is ranked above a correct prediction, ties count half.
        ``fpr95``, ``fpr95_conservative``, ``fpr95_error``: see `fpr95`.
        ``aupr_error``, ``aupr_success``: average precision with failures, or correct predictions,
        as the positive class.
        ``aurc``, ``e_aurc``, ``augrc``: see the functions of that name; ``e_augrc``: AUGRC minus
        that of a perfect ranking, half the squared error rate.
        ``accuracy``, ``error_rate``, ``n``: of the predictions.
        ``answered_at_1``, ``answered_at_5``, ``answered_at_10``: the largest share of rows, the most certain
        ones, of which at most 1, 5 or 10 % are wrong; 0 if none. Observed on these rows, no guarantee.
        With `probability`, ``ece``, ``brier``, ``nll`` too.

    Raises
    ------
    ValueError
        If a vector is empty, not one-dimensional or not finite, the two differ in length, `failure`
        is not 0/1, or `probability` is True and an uncertainty is outside [0, 1].
    TypeError
        If a vector does not hold real numbers.

    Warns
    -----
    UndefinedScoreWarning
        Once, if all predictions are correct or all are wrong. The AUC, the three FPR95 and the
        average precision of the absent class are then NaN; the others are defined.

    Examples
    --------
    >>> metrics = failure_metrics([0.1, 0.2, 0.7, 0.4], [0, 0, 1, 0])
    >>> metrics["auc"], metrics["accuracy"], metrics["aurc"]
    (1.0, 0.75, 0.03125)
    """
    u, y = check_scores(uncertainty, failure)
    calibration = calibration_metrics(u, y) if flag(probability, "probability") else {}
    warn_single_class(y)
    return ranking_metrics(u, y) | calibration


def ranking_metrics(u: FloatVector, y: BoolVector) -> dict[str, float]:
    """All metrics of a ranking, from checked vectors and without warnings."""
    ranking = rank(u, y)
    n, errors = len(y), int(ranking.errors[-1])
    error_rate = errors / n
    # Ranks have the order and the ties of the scores, and cannot overflow where scikit-learn
    # takes differences of neighbouring scores.
    ranks = np.searchsorted(ranking.distinct, u)
    return {
        "auc": float(roc_auc_score(y, ranks)) if 0 < errors < n else math.nan,
        "fpr95": false_positive_rate(ranking, "official"),
        "fpr95_conservative": false_positive_rate(ranking, "conservative"),
        "fpr95_error": false_positive_rate(ranking, "error"),
        "aupr_error": float(average_precision_score(y, ranks)) if errors else math.nan,
        "aupr_success": float(average_precision_score(~y, -ranks)) if errors < n else math.nan,
        "aurc": ranking.aurc,
        "e_aurc": ranking.e_aurc,
        "augrc": ranking.augrc,
        "e_augrc": ranking.augrc - error_rate**2 / 2,
        "accuracy": (n - errors) / n,
        "error_rate": error_rate,
        "n": n,
        **{f"answered_at_{risk}": ranking.answered_at(risk / 100) for risk in ANSWERED_AT},
    }
