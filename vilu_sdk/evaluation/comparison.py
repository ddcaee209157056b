"""Evaluate one scorer, or compare several on the same split."""

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import train_test_split

from vilu_sdk.evaluation.metrics import calibration_metrics, failure_metrics
from vilu_sdk.evaluation.problem import FailureScorer, Problem, check_problem, zero_shot_failures
from vilu_sdk.evaluation.table import ComparisonTable
from vilu_sdk.progress import track

NO_VALUES = dict.fromkeys(
    [
        *("auc", "fpr95", "fpr95_conservative", "fpr95_error", "aupr_error", "aupr_success"),
        *("aurc", "e_aurc", "augrc", "e_augrc", "accuracy", "error_rate", "n", "ece", "brier", "nll"),
        *("fit_seconds", "score_seconds"),
    ],
    math.nan,
)


def score(method: Any, problem: Problem) -> NDArray[np.float64]:
    """Apply a bound method of a scorer to every part and pool the values."""
    return np.concatenate([np.asarray(method(z_img, z_txt)) for z_img, z_txt in problem.parts()])


class Scored(NamedTuple):
    """What a scorer says of the rows: values (N,), P(failure) (N,) where it has one, seconds."""

    decision: NDArray[np.float64]
    probability: NDArray[np.float64] | None
    seconds: float

    def metrics(self, failure: NDArray[np.bool_]) -> dict[str, float]:
        """All metrics that the scores allow."""
        metrics = failure_metrics(self.decision, failure)
        return (
            metrics if self.probability is None else metrics | calibration_metrics(self.probability, failure)
        )


def score_rows(scorer: FailureScorer, problem: Problem) -> Scored:
    """Score all rows once, and once more for probabilities."""
    start = time.perf_counter()
    decision = score(scorer.decision_function, problem)
    seconds = time.perf_counter() - start
    is_probability = getattr(scorer, "is_probability", False)
    return Scored(decision, score(scorer.predict_uncertainty, problem) if is_probability else None, seconds)


def evaluate(
    scorer: FailureScorer,
    z_img: ArrayLike,
    z_txt: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Compute all metrics of a scorer on labelled rows.

    A row is a failure if the zero-shot prediction, the argmax of the similarity, is wrong. The ranking
    metrics use `decision_function`, the calibration metrics `predict_uncertainty`.

    Parameters
    ----------
    scorer : scorer
        Fitted, if it is one that learns. It is not changed.
    z_img : array-like of shape (N, d)
        Image embeddings.
    z_txt : array-like of shape (K, d)
        Candidate texts.
    labels : array-like of shape (N,), optional
        True class of each image, an integer in [0, K). Without labels this is a caption task: row i pairs
        with caption i, the candidates are the captions of the batch, and a row is right if no other
        caption of the batch is more similar than its own (exact ties are right).
    batch_size : int, optional
        Rows of a batch in a caption task, consecutive; by default all rows make one batch. A last batch
        that is smaller is dropped, unless it is the only one. Scores are pooled over batches, and metrics
        computed once on the pool.

    Returns
    -------
    dict of str to float
        As `failure_metrics` gives them, all rates as fractions; ``n`` is the number of rows scored.
        ``ece``, ``brier`` and ``nll`` are there if `scorer.is_probability` is True.

    Raises
    ------
    ValueError
        If an array is malformed, `batch_size` is given with labels or is less than 2, or the scorer cannot
        score the task.
    sklearn.exceptions.NotFittedError
        If the scorer learns and was not fitted.

    Warns
    -----
    UndefinedMetricWarning
        Once, if all predictions are correct or all are wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import MCMScorer
    >>> z_txt = np.eye(2)
    >>> z_img = [[1.0, 0.1], [0.2, 1.0], [0.6, 0.7], [1.0, 0.3]]
    >>> metrics = evaluate(MCMScorer(logit_scale=5), z_img, z_txt, labels=[0, 1, 0, 0])
    >>> metrics["accuracy"], metrics["auc"], round(metrics["ece"], 3)
    (0.75, 1.0, 0.174)
    """
    problem = check_problem(z_img, z_txt, labels, batch_size)
    return score_rows(scorer, problem).metrics(zero_shot_failures(scorer, problem))


def split(problem: Problem, test_size: float, random_state: Any) -> list[NDArray[np.int64]]:
    """Return train and test rows, stratified by class where every class can be in both."""
    n = len(problem.images)

    def draw(stratify: NDArray[np.int64] | None) -> list[NDArray[np.int64]]:
        rows: list[NDArray[np.int64]] = train_test_split(
            np.arange(n), test_size=test_size, random_state=random_state, stratify=stratify
        )
        return rows

    parts = draw(None)
    if problem.labels is None:
        return parts
    counts = np.bincount(problem.labels)
    counts = counts[counts > 0]
    return draw(problem.labels) if counts.min() > 1 and len(counts) <= min(map(len, parts)) else parts


def compare(
    scorers: Mapping[str, FailureScorer],
    z_img: ArrayLike,
    z_txt: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    test: Sequence[ArrayLike] | None = None,
    test_size: float = 0.5,
    fit: bool = True,
    batch_size: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> ComparisonTable:
    """Fit and score any set of scorers on one split.

    There are three ways to say what is fitted and what is scored:

    - by default, `test_size` of the rows are held out at random and scored, the others fitted;
    - with `test`, all given rows are fitted, and those of `test` scored;
    - with ``fit=False``, the scorers are fitted already, and all given rows are scored.

    Parameters
    ----------
    scorers : mapping of str to scorer
        The scorers under the names that the table shows. They are cloned before they are fitted, never
        changed.
    z_img : array-like of shape (N, d)
        Image embeddings.
    z_txt : array-like of shape (K, d)
        Candidate texts.
    labels : array-like of shape (N,), optional
        True class of each image, an integer in [0, K). Without labels a caption task, as in `evaluate`.
    test : tuple (z_img, z_txt, labels) or (z_img, z_txt), optional
        The rows to score, in the order of the first arguments; without labels in a caption task. The
        candidates may differ from those of the fit, in order and in number.
    test_size : float or int, default=0.5
        Share (or number) of rows to hold out if `test` is not given. With labels the split is stratified,
        if every class can be on both sides.
    fit : bool, default=True
        Whether to fit. If False, scorers are used as they are.
    batch_size : int, optional
        Rows of a batch when a caption task is scored, as in `evaluate`.
    random_state : int, RandomState instance or None, default=None
        Of the split. Scorers have their own.

    Returns
    -------
    ComparisonTable
        Prints in a terminal and in a notebook; `to_markdown` and `to_dicts` give the rows away. All rows
        share the same failures. Seconds are wall-clock, of `fit` and of one `decision_function`.

    Raises
    ------
    ValueError
        If `scorers` is empty, the arguments do not fit together, or an array is malformed.

    Warns
    -----
    FitFailedWarning
        If a scorer raises a ValueError or NotImplementedError, for instance because it cannot do caption
        tasks: it gets a row of NaN with the reason as its note, and the others go on.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import EntropyScorer, MCMScorer
    >>> rng = np.random.default_rng(0)
    >>> z_txt = rng.normal(size=(5, 8))
    >>> labels = rng.integers(5, size=200)
    >>> z_img = z_txt[labels] + rng.normal(scale=1.5, size=(200, 8))
    >>> scorers = {"MCM": MCMScorer(), "entropy": EntropyScorer()}
    >>> table = compare(scorers, z_img, z_txt, labels, random_state=0)
    >>> [row["scorer"] for row in table.to_dicts()]
    ['MCM', 'entropy']
    """
    if not isinstance(scorers, Mapping) or not scorers:
        raise ValueError(
            'scorers must be a non-empty mapping from names to scorers, as in {"MCM": MCMScorer()}.'
        )
    fit_on: tuple[Any, ...] | None = None
    if test is not None:
        if not fit:
            raise ValueError(
                "test and fit=False exclude each other: with fit=False, the rows of z_img are scored."
            )
        if len(test) != (2 if labels is None else 3):
            names = "(z_img, z_txt)" if labels is None else "(z_img, z_txt, labels)"
            raise ValueError(
                f"test must be a tuple {names} like the first arguments, got {len(test)} entries."
            )
        fit_on = check_problem(z_img, z_txt, labels, None)[:3]
        z_img_test, z_txt_test, labels_test = (*test, None)[:3]
        try:
            problem = check_problem(z_img_test, z_txt_test, labels_test, batch_size)
        except (TypeError, ValueError) as error:
            raise type(error)(f"test: {error}") from error
    else:
        problem = check_problem(z_img, z_txt, labels, None if fit else batch_size)
        if fit:
            train, held_out = split(problem, test_size, random_state)
            fit_on = problem.take(train)
            problem = check_problem(*problem.take(held_out), batch_size)

    rows: list[dict[str, Any]] = []
    scores: dict[str, NDArray[np.float64]] = {}
    probabilities: dict[str, NDArray[np.float64]] = {}
    failure = None
    for name, scorer in track(scorers.items(), "comparing"):
        values: dict[str, Any] = {"scorer": str(name), **NO_VALUES, "note": ""}
        try:
            if fit_on is not None:
                scorer = clone(scorer)
                start = time.perf_counter()
                scorer.fit(*fit_on)
                values["fit_seconds"] = time.perf_counter() - start
            if failure is None:
                failure = zero_shot_failures(scorer, problem)
            scored = score_rows(scorer, problem)
            values |= scored.metrics(failure) | {"score_seconds": scored.seconds}
            scores[str(name)] = scored.decision
            if scored.probability is not None:
                probabilities[str(name)] = scored.probability
        except (ValueError, NotImplementedError) as error:
            values |= NO_VALUES | {"note": " ".join(str(error).split()) or type(error).__name__}
            warnings.warn(f"{name} has no values: {values['note']}", FitFailedWarning, stacklevel=2)
        rows.append(values)
    return ComparisonTable(rows, scores, failure if scores else None, probabilities)
