"""A monitor that says, from audits of accepted predictions, when a promised risk no longer holds.

Bets against the promise: each audit multiplies what was staked by the likelihood ratio of a higher risk to
the promised one. While the promise holds, no bet grows on average, so the wealth, the sum of all bets and of
what is not staked yet, exceeds 1 / alpha at some time with probability alpha at most (Ville's inequality).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from vilu_sdk.inputs.containers import vector
from vilu_sdk.inputs.slices import cut
from vilu_sdk.inputs.values import check_correct, fraction
from vilu_sdk.metrics.vectors import FloatVector
from vilu_sdk.persistence.card import Card
from vilu_sdk.persistence.persistent import Persistent
from vilu_sdk.selective.arrangement import Calibrated
from vilu_sdk.selective.bounds import interval
from vilu_sdk.selective.report import percent

# Risks that are bet on: odds that are so many times those of the promise.
ODDS = np.geomspace(1.4, 8.0, 8)
# A half is staked at once, for a promise that never held. Of the rest, (WARM / (t + WARM)) ** DECAY is left
# after t audits, so that something is staked just before a change, also one that comes after thousands.
WARM, DECAY = 100.0, 0.5
# Audits that are taken in at once, few enough that no product of them overflows.
TOGETHER = 64
# More evidence is not counted.
LARGEST = 1e100


@dataclass(frozen=True)
class RiskReport:
    """The state after all audits so far; prints as a sentence and two lines.

    Attributes
    ----------
    promised : float
        The risk that was promised.
    alpha : float
        Probability of an alarm at any time, ever, while the promise holds.
    n, errors : int
        Audits so far, and wrong predictions among them.
    evidence : float
        Against the promise: 1 at first, and above 1 / alpha with probability alpha at most, while it holds.
    largest_evidence : float
        The largest so far.
    low, high : float
        The mean risk of the predictions that were audited lies between these, with probability 1 - alpha for
        all times at once.
    what : str
        What the risk is about, in words.
    """

    promised: float
    alpha: float
    n: int
    errors: int
    evidence: float
    largest_evidence: float
    low: float
    high: float
    what: str = Calibrated.what_fails

    @property
    def broken(self) -> bool:
        """Whether the promise should no longer be relied on; once it is so, it stays so."""
        return self.largest_evidence >= 1 / self.alpha

    def __str__(self) -> str:
        if self.broken:
            first = (
                f"More than {percent(self.promised)} of {self.what}, or were for a time: do not rely on the "
                "promise; calibrate again on newly labelled images."
            )
        else:
            first = f"No sign that more than {percent(self.promised)} of {self.what}."
        return (
            f"{first}\n"
            f"  audits    {self.n}, of which {self.errors} wrong; mean risk {percent(self.low)} to "
            f"{percent(self.high)}\n"
            f"  evidence  {self.evidence:.3g}, at most {self.largest_evidence:.3g} so far; alarm at "
            f"{1 / self.alpha:g}"
        )


class RiskMonitor(Persistent):
    """Watches from audits whether a guaranteed risk still holds, for as long as you like.

    It takes audits as they come, one or thousands at a time, and you may look at it after each: over the
    whole stream, the probability of a false alarm is at most `alpha`. It notices a change of the error rate
    among images that look as before, which `ShiftMonitor`, without labels, cannot.

    Parameters
    ----------
    promise : SelectivePredictor, CoveragePredictor, CostPredictor, SetPredictor or float
        The guarantee to watch: the risk that a fitted threshold guarantees for accepted predictions, the
        share of images whose set misses the right candidate, or a risk in (0, 1).
    alpha : float
        Rate of false alarms of the whole stream, in (0, 1).

    Attributes
    ----------
    report_ : RiskReport
        The state after all audits so far.

    Notes
    -----
    Choose audited predictions without looking at whether they are right: at random, or all of them.
    Complaints alone are no audit, because only errors cause them. Of copies of one image, audit one.

    The monitor also finds a change that comes after many audits, and a guarantee that was broken from the
    start, as those with 95 % confidence may be.

    References
    ----------
    Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86(1), 2024.
    Shin, Ramdas & Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS
    2(2), 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk.selective import RiskMonitor
    >>> monitor = RiskMonitor(0.05)
    >>> rng = np.random.default_rng(0)
    >>> monitor.update(rng.random(500) > 0.04).broken
    False
    >>> monitor.update(rng.random(500) > 0.12).broken
    True
    """

    _card_use = ("monitor", "print(monitor.update(correct))  # of accepted answers: right or wrong")
    # The state, which `_start` makes.
    promised_: float
    what_: str = RiskReport.what
    bets_: FloatVector
    reserve_: float
    n_: int
    errors_: int
    largest_: float

    def __init__(self, promise: Any, alpha: float = 0.05) -> None:
        self.promise = promise
        self.alpha = alpha

    def update(self, correct: ArrayLike | bool) -> RiskReport:
        """Take audits of accepted predictions, in the order in which they came, and return the new state.

        Parameters
        ----------
        correct : array-like of shape (n,), or bool
            Whether each was right, as booleans; of sets, whether each held the right candidate.

        Returns
        -------
        RiskReport
            Its ``broken`` is the alarm. It is also the attribute `report_`.

        Raises
        ------
        ValueError
            If these are no booleans; if nothing is promised, or a parameter is out of its range.
        TypeError
            If `promise` promises no risk.
        sklearn.exceptions.NotFittedError
            If `promise` was not fitted.
        """
        self._start()
        audits: Any = [correct] if isinstance(correct, bool | np.bool_) else correct
        count = len(vector(audits, "correct"))
        wrong = ~check_correct(audits, count).numpy() if count else np.zeros(0, dtype=bool)
        odds = ODDS * self.promised_ / (1 - self.promised_)
        if_right, if_wrong = 1 / (1 + odds) / (1 - self.promised_), odds / (1 + odds) / self.promised_
        for part in cut(len(wrong), TOGETHER):
            gains = np.where(wrong[part, None], if_wrong, if_right)
            t = self.n_ + np.arange(len(gains) + 1)
            left = self.reserve_ * ((self.n_ + WARM) / (t + WARM)) ** DECAY
            staked = -np.diff(left)[:, None] / len(ODDS)
            # Bets grow as b_t = (b_{t-1} + s_t) g_t, here for many audits at once.
            grown = np.cumprod(gains, axis=0)
            bets = grown * (self.bets_ + np.cumsum(staked * gains / grown, axis=0))
            self.largest_ = max(self.largest_, float((left[1:] + bets.sum(axis=1)).max()))
            self.bets_, self.reserve_ = np.minimum(bets[-1], LARGEST), float(left[-1])
            self.n_ += len(gains)
            self.errors_ += int(wrong[part].sum())
        return self.report_

    def merge(self, *others: Self) -> RiskReport:
        """Take in what other monitors have seen of the same promise, such as those of other machines.

        Parameters
        ----------
        *others : RiskMonitor
            They have seen other audits, and are left as they are.

        Returns
        -------
        RiskReport
            About all audits together. An alarm that this monitor has raised stays; one that another has
            raised stays with that one. The rate `alpha` is that of the audits before, and again of all.

        Raises
        ------
        ValueError
            If they watch another risk, or one of them is this monitor itself.
        """
        self._start()
        for other in others:
            if other is self:
                raise ValueError("a monitor cannot be merged into itself: its audits would count twice.")
            other._start()
            if not math.isclose(other.promised_, self.promised_):
                raise ValueError(
                    f"a monitor of a risk of {other.promised_:g} cannot be merged into one of "
                    f"{self.promised_:g}."
                )
            # Of each risk that is bet on, as if all were staked on it; independent bets multiply.
            ours, theirs = (len(ODDS) * one.bets_ + one.reserve_ for one in (self, other))
            self.reserve_ *= other.reserve_
            self.bets_ = np.minimum((ours * theirs - self.reserve_) / len(ODDS), LARGEST)
            self.n_ += other.n_
            self.errors_ += other.errors_
        self.largest_ = max(self.largest_, self._evidence())
        return self.report_

    @property
    def report_(self) -> RiskReport:
        """The state after all audits so far."""
        self._start()
        low, high = interval(self.errors_, self.n_, self.alpha)
        return RiskReport(
            promised=self.promised_,
            alpha=self.alpha,
            n=self.n_,
            errors=self.errors_,
            evidence=self._evidence(),
            largest_evidence=self.largest_,
            low=low,
            high=high,
            what=self.what_,
        )

    def _start(self) -> None:
        """Look up what is promised, once."""
        fraction(self.alpha, "alpha")
        if not hasattr(self, "promised_"):
            self.promised_ = promised_risk(self.promise)
            self.what_ = getattr(self.promise, "what_fails", RiskReport.what)
            self.bets_ = np.full(len(ODDS), 0.5 / len(ODDS))
            self.reserve_ = 0.5
            self.n_ = self.errors_ = 0
            self.largest_ = 1.0

    def _save(self, folder: Path, name: str, card: Card | None) -> None:
        """Save what is promised and what was seen; the scorer that promised it is not needed."""
        self._start()
        alone = RiskMonitor(self.promised_, self.alpha)
        alone.__dict__.update({key: value for key, value in vars(self).items() if key.endswith("_")})
        super(RiskMonitor, alone)._save(folder, name, card)

    def _evidence(self) -> float:
        return float(self.reserve_ + self.bets_.sum())


def promised_risk(promise: Any) -> float:
    """Return the risk that a threshold, sets or a number promise."""
    if isinstance(promise, float | np.floating):
        return fraction(promise, "promise")
    if not isinstance(promise, Calibrated):
        raise TypeError(
            "promise must be a fitted threshold, fitted sets or a risk in (0, 1), got "
            f"{type(promise).__name__}."
        )
    check_is_fitted(promise)
    bounds = promise._risks()
    if not bounds or not 0 < max(bounds) < 1:
        raise ValueError("nothing is accepted, or no risk below 1 is promised: there is nothing to watch.")
    return max(bounds)  # a mixture of groups errs no more than the worst of them
