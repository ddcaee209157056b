"""The decision of least expected cost under a posterior, or asking a person, which has a cost too."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilu_sdk.compute.state import plain_torch
from vilu_sdk.inputs.candidates import Opened, open_candidates
from vilu_sdk.inputs.containers import to_numpy
from vilu_sdk.inputs.names import NONE
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.values import check_labels, positive, whole
from vilu_sdk.metrics.vectors import FloatVector
from vilu_sdk.scorers.base.contract import FailureScorer, in_parts, read_posterior, require_posterior
from vilu_sdk.selective.report import percent

#: Instead of a decision: a person is asked.
ASK = -1
# The largest cost, of which sums and means stay finite.
MOST = 1e100


@dataclass(frozen=True, eq=False)
class CostDecisions:
    """Decisions of least expected cost for N images; prints as a sentence.

    Attributes
    ----------
    decision : ndarray of shape (N,)
        Column of the cost matrix, or -1 where a person is asked.
    expected_cost : ndarray of shape (N,)
        Its expected cost under the posterior, or `ask_cost`.
    alone_cost : ndarray of shape (N,)
        Expected cost of the best decision without a person.
    costs : ndarray of shape (K, A)
        The cost matrix.
    ask_cost : float
        Cost of asking a person; infinity where nobody can be asked.
    """

    decision: NDArray[np.int64]
    expected_cost: FloatVector
    alone_cost: FloatVector
    costs: NDArray[np.float64]
    ask_cost: float

    @property
    def asked(self) -> NDArray[np.bool_]:
        """Where a person is asked, (N,)."""
        return np.equal(self.decision, ASK)

    def cost(self, labels: ArrayLike) -> FloatVector:
        """Return what each decision costs, (N,), where the true classes are known.

        Parameters
        ----------
        labels : array-like of shape (N,)
            True classes, as rows of the cost matrix.

        Raises
        ------
        ValueError
            If there are not N, or one is no row of the matrix, as -1 for none of the candidates.
        """
        truth = check_labels(labels, len(self.decision), len(self.costs)).numpy()
        if (unknown := np.flatnonzero(truth == NONE)).size:
            raise ValueError(f"labels[{unknown[0]}] is -1, none of the candidates; costs have no row for it.")
        return np.where(self.asked, self.ask_cost, self.costs[truth, self.decision])

    def __str__(self) -> str:
        n = len(self.decision)
        said = (
            f"Decides {percent(1 - self.asked.mean())} of the images by itself and asks a person about "
            f"{int(self.asked.sum())} of {n}; expected cost of an image {self.expected_cost.mean():.3g}"
        )
        alone = f"{self.alone_cost.mean():.3g} if nobody were asked"
        every = "" if math.isinf(self.ask_cost) else f", {self.ask_cost:.3g} if somebody were always asked"
        return f"{said}, {alone}{every}."


@plain_torch
def least_cost(
    scorer: FailureScorer,
    z_img: ArrayLike,
    z_txt_set: ArrayLike,
    costs: ArrayLike,
    *,
    ask_cost: float | None = None,
    budget: int | None = None,
) -> CostDecisions:
    r"""Make the decision of least expected cost, or ask a person where that costs less.

    With costs :math:`c_{ya}` of decision a where the truth is y, the decision for image x minimises
    :math:`\sum_y p(y \mid x)\, c_{ya}` (Bayes's rule), and a person is asked where even that is above
    `ask_cost`. Of more such images than the `budget`, those are asked about where it saves most.

    Parameters
    ----------
    scorer : scorer with `predict_proba`
        Fitted, if it learns. The expected costs are right only if its probabilities are calibrated.
    z_img : array-like of shape (N, d)
        Image embeddings; with a budget, all images that share it, such as those of a day.
    z_txt_set : array-like of shape (K, d)
        Candidate texts.
    costs : array-like of shape (K, A)
        Cost of each decision (column) for each true class (row). Usually A = K and the decision is an answer;
        there can be fewer decisions, such as "allow" and "block".
    ask_cost : float, optional
        Cost of asking a person, who is assumed to be right; above 0. By default nobody is asked.
    budget : int, optional
        Most images that a person is asked about, at least 0; by default as many as pay.

    Returns
    -------
    CostDecisions
        The decisions and their expected costs; prints as a sentence.

    Raises
    ------
    ValueError, TypeError
        As in `Scorer.predict_proba`; also if the scorer has no posterior, the costs are not (K, A) finite
        numbers, or a budget has no `ask_cost`.

    Notes
    -----
    Nothing is guaranteed; `CostPredictor` bounds the cost from labelled images, if all errors cost the same.
    `CostDecisions.cost` measures the cost of the decisions on labelled images. If two decisions cost the same
    up to rounding, the choice between them may depend on the other images of the call.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import ViLUEstimator
    >>> from vilu_sdk.datasets import load_digits_vlm
    >>> from vilu_sdk.selective import least_cost
    >>> data = load_digits_vlm()
    >>> scorer = ViLUEstimator(logit_scale=data.logit_scale, random_state=0)
    >>> scorer = scorer.fit(data.z_img_fit, data.z_txt, data.labels_fit)
    >>> costs = 1.0 - np.eye(10)
    >>> costs[8] *= 20  # an eight that is taken for something else
    >>> decisions = least_cost(scorer, data.z_img_test, data.z_txt, costs, ask_cost=0.3, budget=40)
    >>> print(decisions)
    Decides ... % of the images by itself and asks a person about 40 of 799; expected cost ...
    >>> float(decisions.cost(data.labels_test).mean()) < 0.3
    True
    """
    require_posterior(scorer)
    opened = open_candidates(z_txt_set, d=Rows(z_img, "z_img").d)
    matrix = check_costs(costs, opened)
    price = math.inf if ask_cost is None else positive(ask_cost, "ask_cost")
    if budget is not None:
        whole(budget, "budget", 0)
        if ask_cost is None:
            raise ValueError("budget limits how often a person is asked: pass ask_cost too.")
    images = Rows(z_img, "z_img")
    decision, alone = np.empty(len(images), dtype=np.int64), np.empty(len(images))
    for rows, z in in_parts(images, len(opened)):
        _, log_p = read_posterior(scorer, z, opened)
        p = np.exp(log_p)
        expected = p / p.sum(axis=1, keepdims=True) @ matrix
        decision[rows], alone[rows] = expected.argmin(axis=1), expected.min(axis=1)
    asked = alone > price
    if budget is not None and asked.sum() > budget:
        asked[np.argsort(-alone, kind="stable")[budget:]] = False
    chosen = np.where(asked, ASK, decision)
    return CostDecisions(chosen, np.where(asked, price, alone), alone, matrix, price)


def check_costs(costs: Any, given: Opened) -> NDArray[np.float64]:
    """Return costs (K, A) as float64, rows of a frame found by the names of its index."""
    matrix, k = to_numpy(costs, "costs"), len(given)
    if matrix.ndim != 2 or matrix.shape[0] != k or not matrix.shape[1]:
        raise ValueError(
            f"costs must have a row for each of the {k} candidates, what is true, and a column for each "
            f"decision, got shape {matrix.shape}."
        )
    if matrix.dtype.kind not in "biuf" or not (np.abs(matrix.astype(np.float64)) <= MOST).all():
        raise ValueError(f"costs must be finite numbers of at most {MOST:g}.")
    if hasattr(costs, "iloc"):
        if all(isinstance(name, str) for name in costs.index):
            matrix = matrix[given.in_order(dict(zip(costs.index, range(k), strict=True)), "costs")]
        elif list(costs.index) != list(range(k)):
            raise ValueError(
                f"costs is a frame whose index is neither names nor 0 to {k - 1} in order; give it the names "
                "of the candidates, or pass an array."
            )
    return matrix.astype(np.float64)
