"""Selective prediction for a target coverage, and for the least cost."""

import math

import numpy as np
from scipy.stats import binom

from vilu_sdk.inputs.values import fraction, positive
from vilu_sdk.metrics.binomial import risk_upper_bound
from vilu_sdk.metrics.ranking import Ranking
from vilu_sdk.scorers.base.contract import FailureScorer
from vilu_sdk.selective._base import ThresholdPredictor
from vilu_sdk.selective.bounds import coverage_bound, uniform_slack
from vilu_sdk.selective.report import SelectionReport


class CoveragePredictor(ThresholdPredictor):
    """Answers for a given share of the images, the most certain ones, and bounds the risk of doing so.

    Parameters
    ----------
    scorer : scorer
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
        scorer: FailureScorer,
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
        fraction(self.target_coverage, "target_coverage")

    def _report(self, ranking: Ranking, delta: float) -> SelectionReport:
        n = len(ranking)
        # The mass up to the m-th of n values, itself included, is at least the target unless m of them fall
        # below the target's quantile. Right below the next one, a tie there would be left out.
        m = ranking.uncut(min(n, int(binom.ppf(1 - delta, n, self.target_coverage)) + 1), +1)
        errors = int(ranking.cumulative_errors[m])
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
    scorer : scorer
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
        scorer: FailureScorer,
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
        error_cost = positive(self.error_cost, "error_cost")
        abstention_cost = positive(self.abstention_cost, "abstention_cost")
        cost = (error_cost * ranking.cumulative_errors + abstention_cost * (n - m)) / n
        # Only where no tie is cut in two.
        cost[1:-1][ranking.uncertainty[1:] == ranking.uncertainty[:-1]] = np.inf
        best = int(cost.argmin())
        errors = int(ranking.cumulative_errors[best])
        slack = uniform_slack(n, delta / 2)
        wrong, right = errors / n + slack, max(0.0, (best - errors) / n - slack)
        bound = error_cost * wrong + abstention_cost * max(0.0, 1 - wrong - right)
        return SelectionReport(
            goal=f"Least cost at {error_cost:g} an error and {abstention_cost:g} an abstention",
            method="empirical minimum",
            confidence=1 - delta,
            n=n,
            accepted=best,
            errors=errors,
            threshold=ranking.threshold(best),
            risk_bound=wrong / (wrong + right) if best else math.nan,
            coverage_bound=coverage_bound(best, n, delta),
            cost=float(cost[best]),
            cost_bound=min(bound, error_cost) if best else abstention_cost,
        )
