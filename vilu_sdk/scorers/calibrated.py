"""Any scorer's decision values as a probability of failure."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from sklearn.base import clone
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from vilu_sdk.compute.state import plain_torch
from vilu_sdk.exceptions import NothingLearnedWarning, warn
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import check_logit_scale, whole
from vilu_sdk.metrics.vectors import BoolVector, FloatVector
from vilu_sdk.persistence.encoding import storable
from vilu_sdk.persistence.types import check_parameters
from vilu_sdk.scorers.base.among import Among
from vilu_sdk.scorers.base.backbone_check import warn_of_mismatch
from vilu_sdk.scorers.base.contract import VERBS, FailureScorer, groups_argument, read, require_scorer
from vilu_sdk.scorers.base.folds import fits_without, texts_for
from vilu_sdk.scorers.base.scorer import Scorer
from vilu_sdk.scorers.base.verbs import Predicts
from vilu_sdk.scorers.softmax import MCMScorer

Method = Literal["isotonic", "platt", "beta"]

# Log-odds for each standard deviation of the decision values that are left where there is nothing to
# learn, so that a ranking stays one.
LEAST_SLOPE = 1e-3
# Rows that the steps of isotonic regression are mixed with, those of a smooth curve, so that steps do not
# tie what the scorer ranked and few labels do not make probabilities of 0 and 1.
SMOOTH_ROWS = 30.0


class CalibratedScorer(Scorer):
    r"""Turns the decision values of any scorer into a probability of failure.

    The ranking stays that of the scorer. The curve is learned on decision values out of fold: a scorer
    that learns is fitted `cv` times on the other folds, then once on all rows. Folds hold whole groups, and
    exact copies of an image are one.

    Parameters
    ----------
    scorer : scorer, optional
        The scorer to calibrate, MCM by default. It is cloned, so that earlier fits do not count.
    logit_scale : float
        Of the default MCM. A scorer that is given has its own.
    method : {"platt", "beta", "isotonic"}
        "platt": the log-odds of failure are a line in the decision value. "beta": two slopes, one for
        small and one for large values. "isotonic": any increasing curve.
    cv : int
        Number of folds, at least 2; unused where the scorer learns nothing.
    random_state : int, RandomState instance or None
        Draws the folds.

    Attributes
    ----------
    scorer_ : Scorer
        Fitted on all rows.
    calibration_ : CalibrationCurve
        From decision values to log-odds of failure.

    Warns
    -----
    NothingLearnedWarning
        In `fit`, if all predictions are right, all are wrong, or the decision values do not rank them: all
        images then get nearly the same probability.

    Notes
    -----
    Isotonic regression alone ties all rows of a step, which costs AUC, and gives probabilities of 0
    and 1. Its curve is therefore mixed with the line of "platt", as if that were 30 rows more.

    The probabilities hold for images and candidates like those of `fit`. In a caption task the
    candidates of an image are all captions given to `fit`; fit with as many as will be scored.

    References
    ----------
    Platt, "Probabilistic outputs for support vector machines", 1999.
    Zadrozny & Elkan, "Transforming classifier scores into accurate multiclass probability estimates",
    KDD 2002.
    Kull, Silva Filho & Flach, "Beta calibration", AISTATS 2017.

    Examples
    --------
    Entropies only rank; calibrated they are probabilities:

    >>> from vilu_sdk import CalibratedScorer, EntropyScorer
    >>> from vilu_sdk.datasets import load_digits_vlm
    >>> from vilu_sdk.evaluation import evaluate
    >>> data = load_digits_vlm()
    >>> scorer = CalibratedScorer(EntropyScorer(logit_scale=data.logit_scale))
    >>> scorer = scorer.fit(data.z_img_fit, data.z_txt, data.labels_fit)
    >>> evaluate(scorer, data.z_img_test, data.z_txt, data.labels_test)["ece"] < 0.05
    True
    """

    learns = True

    def __init__(
        self,
        scorer: FailureScorer | None = None,
        *,
        logit_scale: float = 100.0,
        method: Method = "platt",
        cv: int = 5,
        random_state: Any = None,
    ) -> None:
        self.scorer = scorer
        self.logit_scale = logit_scale
        self.method = method
        self.cv = cv
        self.random_state = random_state

    @property
    def min_candidates(self) -> int:  # type: ignore[override]
        """Fewest candidates with which the scorer's value has a meaning."""
        return int(getattr(self.scorer_, "min_candidates", 2))

    @property
    def fixed_candidates(self) -> bool:  # type: ignore[override]
        """Whether the scorer scores only the candidates of the fit."""
        return bool(getattr(self._template(), "fixed_candidates", False))

    @property
    def has_posterior(self) -> bool:  # type: ignore[override]
        """Whether the scorer has a posterior over the candidates."""
        return bool(getattr(self._template(), "has_posterior", False))

    @property
    def predicts(self) -> Predicts:  # type: ignore[override]
        """The prediction that is judged, as set when the scorer was fitted here."""
        predicts: Predicts = getattr(getattr(self, "scorer_", self.scorer), "predicts", "zero-shot")
        return predicts

    @property
    def softmax_scale(self) -> float:
        """Factor of the cosines in zero-shot class probabilities."""
        return float(getattr(self.scorer_, "softmax_scale", self.logit_scale))

    def _learn(self, task: Task) -> None:
        scorer = self._template()
        known = {"labels": task.labels} if task.correct is None else {"correct": task.correct}
        known |= groups_argument(scorer, task.groups)
        self.scorer_ = clone(scorer).fit(task.images.source, texts_for(scorer, task), **known)
        said = read(self.scorer_, task.images.source, task.texts.source, "prediction", "decision")
        wrong = task.wrong(said[0], is_zero_shot=self.predicts == "zero-shot")
        decision = said[1]
        if getattr(scorer, "learns", True):
            decision = np.empty(len(wrong))
            for held, fold in fits_without(scorer, task, wrong, self.cv, self.random_state):
                decision[held] = fold.decision_function(task.images.source[held], task.texts.source)
        is_probability = getattr(scorer, "is_probability", False)
        self.calibration_ = calibrate(decision, wrong, self.method, is_probability)

    @plain_torch
    def _said(self, z_img: Any, z_txt_set: Any, columns: list[str]) -> dict[str, NDArray[Any]]:
        judged = {column: column.replace("answer_", "").replace("answer", "prediction") for column in columns}
        if set(judged.values()) == {"prediction"} and self.predicts == "zero-shot":
            return super()._said(z_img, z_txt_set, columns)
        check_parameters(self)
        images, texts = self._check_score(z_img, z_txt_set)
        warn_of_mismatch(self, images, texts)
        # The calibrated prediction is the one that the scorer judges.
        asked = [column for column in dict.fromkeys(judged.values()) if hasattr(self.scorer_, VERBS[column])]
        found = dict(zip(asked, read(self.scorer_, z_img, z_txt_set, *asked), strict=True))
        if "decision" in found:
            found["decision"] = self.calibration_(found["decision"])
        if "novelty" in columns and "novelty" not in found:
            found |= super()._said(z_img, z_txt_set, ["novelty"])
        return {column: found[name] for column, name in judged.items()}

    def _texts_tried(self, d: int) -> NDArray[np.float32]:
        inner = self.scorer_
        return inner._texts_tried(d) if isinstance(inner, Scorer) else super()._texts_tried(d)

    def _knows(self, text: Tensor) -> bool:
        return isinstance(self.scorer_, Scorer) and self.scorer_._knows(text)

    def _among(self, text: Tensor) -> Among:
        return Among(text)  # of which only predictions and cosines are read

    def _template(self) -> Any:
        scale = check_logit_scale(self.logit_scale)
        if self.scorer is not None:
            require_scorer(self.scorer)
        own = getattr(self.scorer, "logit_scale", scale)
        if scale not in (100.0, own):
            raise ValueError(
                f"logit_scale={scale:g} was given, but scorer has a logit_scale of its own, {own:g}, which "
                "counts; set it there."
            )
        whole(self.cv, "cv", 2)
        return MCMScorer(logit_scale=scale) if self.scorer is None else self.scorer


@storable
@dataclass(frozen=True)
class CalibrationCurve:
    """An increasing curve from decision values to log-odds of failure.

    With z = (decision - centre) / spread, the smooth part is offset + low · log σ(z) - high · log σ(-z).
    Steps of isotonic regression, if there are any, are mixed with it.

    Attributes
    ----------
    centre, spread : float
        Mean and standard deviation of the decision values; 0 and 1 where these are log-odds.
    low, high : float
        Slopes of the log-odds over z, far below and far above 0. Equal ones make a line.
    offset : float
        Constant term of the log-odds.
    rows : int
        Images that the steps were learned from, and the steps' weight against `SMOOTH_ROWS`.
    steps_x, steps_p : ndarray of shape (t,), or None
        Decision values and shares of failures of the steps, None without steps.
    """

    centre: float
    spread: float
    low: float
    high: float
    offset: float
    rows: int = 0
    steps_x: FloatVector | None = None
    steps_p: FloatVector | None = None

    def __call__(self, decision: FloatVector) -> FloatVector:
        """Return log-odds of failure, (n,)."""
        z = (decision - self.centre) / self.spread
        smooth: FloatVector = self.offset + self.low * log_expit(z) - self.high * log_expit(-z)
        if self.steps_x is None or self.steps_p is None:
            return smooth
        step = self.rows * np.interp(decision, self.steps_x, self.steps_p)
        wrong = step + SMOOTH_ROWS * expit(smooth)
        right = self.rows - step + SMOOTH_ROWS * expit(-smooth)
        return np.asarray(np.log(wrong) - np.log(right))


def calibrate(
    decision: FloatVector, wrong: BoolVector, method: Method, is_probability: bool
) -> CalibrationCurve:
    """Learn the curve; `is_probability` says whether decision values are log-odds already."""
    if method == "beta" and is_probability:
        centre, spread = 0.0, 1.0
    else:
        centre, spread = float(decision.mean()), float(decision.std()) or 1.0
    z = (decision - centre) / spread
    if method == "beta":
        low, high, offset = fit_slopes(np.column_stack([log_expit(z), -log_expit(-z)]), wrong)
    else:
        low, offset = fit_slopes(z[:, None], wrong)
        high = low
    if method != "isotonic":
        return CalibrationCurve(centre, spread, low, high, offset)
    steps = IsotonicRegression(y_min=0, y_max=1).fit(decision, wrong)
    return CalibrationCurve(
        centre, spread, low, high, offset, len(decision), steps.X_thresholds_, steps.y_thresholds_
    )


def fit_slopes(features: FloatVector, wrong: BoolVector) -> tuple[float, ...]:
    """Fit a logistic regression with slopes that are not negative; return them and the offset.

    Targets are Platt's, (k + 1) / (k + 2) for the k wrong rows, which keeps probabilities off 0 and 1.
    """
    k, n = int(wrong.sum()), len(wrong)
    target = np.where(wrong, (k + 1) / (k + 2), 1 / (n - k + 2))
    spread = features.std(axis=0)
    spread[spread == 0] = 1.0
    slopes = np.zeros(features.shape[1])
    free = slopes == 0
    both = np.repeat([True, False], n)
    while True:
        x = features / spread * free
        model = LogisticRegression(C=10.0).fit(
            np.concatenate([x, x]), both, sample_weight=np.concatenate([target, 1 - target])
        )
        slopes, offset = model.coef_[0] * free, float(model.intercept_[0])
        if (slopes >= 0).all():
            break
        free &= slopes > 0
    if slopes.max() < LEAST_SLOPE:
        why = (
            f"all {n} predictions are {'wrong' if k else 'right'}" if k in (0, n) else "they rank no failures"
        )
        warn(
            f"Nothing can be learned from the decision values, because {why}; every image gets nearly the "
            "same probability of failure. Fit on images that hold both right and wrong predictions.",
            NothingLearnedWarning,
        )
    return (*np.maximum(slopes, LEAST_SLOPE) / spread, offset)
