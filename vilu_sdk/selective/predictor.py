"""Selective prediction for a target risk."""

import math
from typing import Literal

from vilu_sdk.inputs.values import fraction
from vilu_sdk.metrics.ranking import Ranking
from vilu_sdk.scorers.base.contract import FailureScorer
from vilu_sdk.selective._base import ThresholdPredictor
from vilu_sdk.selective.bounds import (
    coverage_bound,
    fixed_sequence,
    labels_needed,
    sgr,
    smallest_risk,
)
from vilu_sdk.selective.report import SelectionReport


class SelectivePredictor(ThresholdPredictor):
    r"""Answers where it is certain enough: the error rate among accepted predictions is at most a target.

    On a calibration set that the scorer was **not** fitted on, `fit` finds the largest threshold t with

    .. math:: P\bigl(\Pr(\text{wrong} \mid s \le t) \le \text{target risk}\bigr) \ge \text{confidence},

    where s is the decision value and the outer probability is over calibration sets. If no threshold
    can guarantee it, the predictor abstains on every image, and `report_` says what can be guaranteed.

    Parameters
    ----------
    scorer : scorer
        Ranks the predictions. It is used as it is, fitted before on other rows. A scorer that learns and is
        not fitted is fitted by `fit` on half of the rows.
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
        With groups or classes, whether `confidence` holds for all guarantees together (by Bonferroni, which
        needs more rows) or for that of each group by itself.

    Attributes
    ----------
    report_ : SelectionReport
        The threshold, the counts on the calibration set and the guarantee; prints.

    Notes
    -----
    The promise rests on calibration rows that are drawn independently from where later images come
    from, with the same candidates, and on using them once: neither the scorer nor the target may be
    chosen by their labels. It is about all later images taken together, not about each of them.

    Ties do no harm: rows of equal value are accepted together or not at all. "fixed_sequence" keeps its
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
        scorer: FailureScorer,
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
        fraction(self.target_risk, "target_risk")
        super()._check()

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
            errors=int(ranking.cumulative_errors[m]),
            threshold=ranking.threshold(m),
            risk_bound=bound if m else math.nan,
            coverage_bound=coverage_bound(m, len(ranking), delta),
            smallest_risk=least,
            smallest_risk_coverage=least_share,
            labels_needed=None if m else labels_needed(ranking, target, delta, self.method),
        )
