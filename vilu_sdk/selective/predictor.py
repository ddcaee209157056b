"""Selective prediction: for a target risk, for a target coverage, or for the least cost."""

import math
from typing import Literal

import numpy as np
from scipy.stats import binom

from vilu_sdk.intake import positive
from vilu_sdk.scorers._base import Scorer
from vilu_sdk.selective._base import ThresholdPredictor, share
from vilu_sdk.selective.bounds import (
    Ranking,
    fixed_sequence,
    labels_needed,
    risk_upper_bound,
    sgr,
    smallest_risk,
)
from vilu_sdk.selective.report import SelectionReport


class SelectivePredictor(ThresholdPredictor):
    r"""Answers only where it may: the error rate among accepted predictions is at most a target.

    On a calibration set that the scorer was **not** fitted on, `fit` finds the largest threshold t with

    .. math:: P\bigl(\Pr(\text{wrong} \mid s < t) \le \text{target risk}\bigr) \ge \text{confidence},

    where s is the decision value and the outer probability is over calibration sets. If no threshold
    can promise it, everything is abstained on, and `report_` says what could be promised.

    Parameters
    ----------
    scorer : Scorer
        Ranks the predictions. Used as it is: fitted before, on other rows.
    target_risk : float
        Highest error rate among accepted predictions, in (0, 1).
    confidence : float
        In (0, 1).
    method : {"fixed_sequence", "sgr"}
        "fixed_sequence": Learn-then-Test with exact binomial tests, one after the other from a start
        that is fixed in advance to the least certain row. "sgr": the binary search of Geifman and
        El-Yaniv, which pays for each bound it looks at and so accepts less.
    per_class : bool
        A threshold for each predicted class. Classes with too few calibration rows are abstained on.
    simultaneous : bool
        With groups or classes, what `confidence` is about: each group's promise by itself (False) or
        all of them together (True, by Bonferroni, which needs more rows).

    Attributes
    ----------
    report_ : SelectionReport
        The threshold, what was seen on the calibration set and what is promised; prints.

    Notes
    -----
    The promise rests on calibration rows that are drawn independently from where later images come
    from, with the same candidates, and on using them once: neither the scorer nor the target may be
    chosen by their labels. It is about all later images taken together, not about each of them.

    Ties do not harm: rows of equal value are accepted together or not at all. "fixed_sequence" keeps its
    level for any scorer, also if the risk does not grow with the decision value. The published proof of
    "sgr" takes the thresholds that its search visits as if they did not depend on the labels.

    In a caption task images share their candidates and so are not independent; the promise is then an
    approximation.

    References
    ----------
    Angelopoulos et al., "Learn then Test: calibrating predictive algorithms to achieve risk control",
    Annals of Applied Statistics 19(2), 2025.
    Geifman & El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.

    Examples
    --------
    >>> from vilu_sdk import MCMScorer
    >>> from vilu_sdk.datasets import load_digits_vlm
    >>> from vilu_sdk.selective import SelectivePredictor
    >>> data = load_digits_vlm()
    >>> mcm = MCMScorer(logit_scale=data.logit_scale)
    >>> selective = SelectivePredictor(mcm, target_risk=0.05)
    >>> selective = selective.fit(data.z_img_fit, data.z_txt, data.labels_fit)
    >>> answer = selective.predict(data.z_img_test, data.z_txt)
    >>> accepted = answer != -1
    >>> bool((answer != data.labels_test)[accepted].mean() <= 0.05)
    True
    """

    def __init__(
        self,
        scorer: Scorer,
        target_risk: float = 0.05,
        confidence: float = 0.95,
        *,
        method: Literal["fixed_sequence", "sgr"] = "fixed_sequence",
        per_class: bool = False,
        simultaneous: bool = False,
    ) -> None:
        self.scorer = scorer
        self.target_risk = target_risk
        self.confidence = confidence
        self.method = method
        self.per_class = per_class
        self.simultaneous = simultaneous

    def _check(self) -> None:
        super()._check()
        share(self.target_risk, "target_risk")
        if self.method not in ("fixed_sequence", "sgr"):
            raise ValueError(f"method must be 'fixed_sequence' or 'sgr', got {self.method!r}.")

    def _report(self, ranking: Ranking, delta: float) -> SelectionReport:
        target = self.target_risk
        if self.method == "sgr":
            m, bound = sgr(ranking, target, delta)
        else:
            m, bound = fixed_sequence(ranking, target, delta), target
        least, least_share = smallest_risk(ranking, delta)
        return SelectionReport(
            goal=f"Error rate of at most {100 * target:g} %",
            method=self.method.replace("_", " "),
            confidence=1 - delta,
            n=len(ranking),
            accepted=m,
            errors=int(ranking.errors[m]),
            threshold=ranking.threshold(m),
            risk_bound=bound if m else math.nan,
            coverage_bound=_coverage_bound(m, len(ranking), delta),
            smallest_risk=least,
            smallest_risk_coverage=least_share,
            labels_needed=None if m else labels_needed(ranking, target, delta),
        )


class CoveragePredictor(ThresholdPredictor):
    """Answers for a given share of the images, the most certain ones, and bounds the risk of doing so.

    Parameters
    ----------
    scorer : Scorer
        As in `SelectivePredictor`.
    target_coverage : float
        At least this share of later images is accepted, with the given confidence; in (0, 1).
    confidence : float
        In (0, 1). Holds for the coverage and for the bound on the risk, each by itself.
    per_class, simultaneous : bool
        As in `SelectivePredictor`.

    Attributes
    ----------
    report_ : SelectionReport
        ``risk_bound`` is the bound of Clopper and Pearson. With ties, the group of equal rows that the
        coverage cuts through is accepted as a whole, and the bound takes it as given.

    Notes
    -----
    As in `SelectivePredictor`.

    Examples
    --------
    >>> from vilu_sdk import MCMScorer
    >>> from vilu_sdk.datasets import load_digits_vlm
    >>> from vilu_sdk.selective import CoveragePredictor
    >>> data = load_digits_vlm()
    >>> selective = CoveragePredictor(MCMScorer(logit_scale=data.logit_scale), 0.8)
    >>> selective = selective.fit(data.z_img_fit, data.z_txt, data.labels_fit)
    >>> bool(selective.accept(data.z_img_test, data.z_txt).mean() > 0.75)
    True
    >>> bool(selective.report_.risk_bound < 0.15)
    True
    """

    def __init__(
        self,
        scorer: Scorer,
        target_coverage: float = 0.8,
        confidence: float = 0.95,
        *,
        per_class: bool = False,
        simultaneous: bool = False,
    ) -> None:
        self.scorer = scorer
        self.target_coverage = target_coverage
        self.confidence = confidence
        self.per_class = per_class
        self.simultaneous = simultaneous

    def _check(self) -> None:
        super()._check()
        share(self.target_coverage, "target_coverage")

    def _report(self, ranking: Ranking, delta: float) -> SelectionReport:
        n = len(ranking)
        # The mass below the (m + 1)-th of n values is at least the target unless more than m fall below it.
        m = ranking.whole(int(binom.ppf(1 - delta, n, self.target_coverage)), +1)
        errors = int(ranking.errors[m])
        return SelectionReport(
            goal=f"At least {100 * self.target_coverage:g} % accepted",
            method="order statistic",
            confidence=1 - delta,
            n=n,
            accepted=m,
            errors=errors,
            threshold=ranking.threshold(m),
            risk_bound=risk_upper_bound(errors, m, 1 - delta),
            coverage_bound=self.target_coverage if m < n else 1.0,
        )


class CostPredictor(ThresholdPredictor):
    r"""Answers where that costs less than an abstention.

    With costs :math:`c_e` of an accepted error and :math:`c_a` of an abstention, and none of an accepted
    right answer, the threshold minimises the mean cost of a calibration image. The best that any
    threshold can do is to abstain where P(wrong) is above :math:`c_a / c_e` (Chow's rule).

    Parameters
    ----------
    scorer : Scorer
        As in `SelectivePredictor`.
    error_cost : float
        Above `abstention_cost`.
    abstention_cost : float
        Above 0, for instance what it costs that a person looks at the image.
    confidence : float
        Of the bounds on risk and cost, in (0, 1).
    per_class, simultaneous : bool
        As in `SelectivePredictor`.

    Attributes
    ----------
    report_ : SelectionReport
        ``cost`` is that of the rows which chose the threshold, so a little too small. ``cost_bound`` and
        ``risk_bound`` hold for it nonetheless: they come from the inequality of Dvoretzky, Kiefer and
        Wolfowitz, which holds for all thresholds at once.

    Notes
    -----
    As in `SelectivePredictor`.

    References
    ----------
    Chow, "On optimum recognition error and reject tradeoff", IEEE Transactions on Information Theory
    16(1), 1970.
    Massart, "The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality", Annals of Probability
    18(3), 1990.

    Examples
    --------
    >>> from vilu_sdk import MCMScorer
    >>> from vilu_sdk.datasets import load_digits_vlm
    >>> from vilu_sdk.selective import CostPredictor
    >>> data = load_digits_vlm()
    >>> selective = CostPredictor(MCMScorer(logit_scale=data.logit_scale), error_cost=10.0)
    >>> selective = selective.fit(data.z_img_fit, data.z_txt, data.labels_fit)
    >>> bool(0.4 < selective.report_.cost < 0.7)
    True
    """

    def __init__(
        self,
        scorer: Scorer,
        error_cost: float = 10.0,
        abstention_cost: float = 1.0,
        confidence: float = 0.95,
        *,
        per_class: bool = False,
        simultaneous: bool = False,
    ) -> None:
        self.scorer = scorer
        self.error_cost = error_cost
        self.abstention_cost = abstention_cost
        self.confidence = confidence
        self.per_class = per_class
        self.simultaneous = simultaneous

    def _check(self) -> None:
        super()._check()
        error, abstention = (
            positive(self.error_cost, "error_cost"),
            positive(self.abstention_cost, "abstention_cost"),
        )
        if error <= abstention:
            raise ValueError(
                f"error_cost must be above abstention_cost, or abstaining never pays; got {error:g} and "
                f"{abstention:g}."
            )

    def _report(self, ranking: Ranking, delta: float) -> SelectionReport:
        n = len(ranking)
        m = np.arange(n + 1)
        cost = (self.error_cost * ranking.errors + self.abstention_cost * (n - m)) / n
        # Only where no tie is cut in two.
        cost[1:-1][ranking.decision[1:] == ranking.decision[:-1]] = np.inf
        best = int(cost.argmin())
        errors = int(ranking.errors[best])
        slack = _uniform(n, delta / 2)
        wrong, right = errors / n + slack, max(0.0, (best - errors) / n - slack)
        bound = self.error_cost * wrong + self.abstention_cost * max(0.0, 1 - wrong - right)
        return SelectionReport(
            goal=f"Least cost at {self.error_cost:g} an error and {self.abstention_cost:g} an abstention",
            method="empirical minimum",
            confidence=1 - delta,
            n=n,
            accepted=best,
            errors=errors,
            threshold=ranking.threshold(best),
            risk_bound=wrong / (wrong + right) if best else math.nan,
            coverage_bound=_coverage_bound(best, n, delta),
            cost=float(cost[best]),
            cost_bound=min(bound, self.error_cost) if best else self.abstention_cost,
        )


def _uniform(n: int, delta: float) -> float:
    """By how much a distribution function of n values is too small anywhere, at most (Massart)."""
    return math.sqrt(math.log(1 / delta) / (2 * n))


def _coverage_bound(m: int, n: int, delta: float) -> float:
    """Bound the accepted share of new rows from below, whichever threshold was chosen."""
    return 1.0 if m == n else max(0.0, m / n - _uniform(n, delta))
