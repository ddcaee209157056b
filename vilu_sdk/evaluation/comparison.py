"""Evaluate one scorer, or compare several on the same splits."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vilu_sdk.compute.random import check_random_state
from vilu_sdk.compute.state import plain_torch
from vilu_sdk.evaluation.own import Given, check_metrics
from vilu_sdk.evaluation.problem import ask, check_problem
from vilu_sdk.evaluation.run import Round, metrics_of, random_rounds, run
from vilu_sdk.evaluation.summary import summarise
from vilu_sdk.evaluation.table import ComparisonTable
from vilu_sdk.exceptions import ScorerFailedWarning, warn
from vilu_sdk.inputs.values import flag, fraction, whole
from vilu_sdk.metrics.failure import warn_single_class
from vilu_sdk.scorers.base.contract import FailureScorer, require_scorer


@plain_torch
def evaluate(
    scorer: FailureScorer,
    z_img: ArrayLike,
    z_txt: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    batch_size: int | None = None,
    metrics: Given = None,
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
        True class of each image, an integer in [0, K), or -1 for none of the candidates, whose prediction
        is always a failure. Without labels this is a caption task: row i pairs with caption i, the
        candidates are the captions of the batch, and a row is right if no other caption of the batch is more
        similar than its own (exact ties are right).
    batch_size : int, optional
        Rows of a batch in a caption task, consecutive; by default all rows make one batch. A last batch
        that is smaller is dropped, unless it is the only one. Scores are pooled over batches, and metrics
        computed once on the pool.
    metrics : mapping of str to callable or Metric, optional
        Metrics of your own by name, as `Metric` describes them.

    Returns
    -------
    dict of str to float
        As `failure_metrics` gives them, all rates as fractions; ``n`` is the number of rows scored.
        ``ece``, ``brier`` and ``nll`` are there if `scorer.is_probability` is True, ``zero_shot_accuracy``
        and ``answer_accuracy`` if it has answers of its own; ``accuracy`` is that of what `predicts` chooses.
        With labels of -1: ``unknown_share``; ``unknown_auc`` and ``unknown_fpr95``, how the uncertainty tells
        images of none of the candidates from the others, ``novelty_auc`` and ``novelty_fpr95``, how the
        novelty does; ``known_auc``, the AUC among the others alone. All other metrics count a prediction for
        such an image as a failure: they are those of selective classification with out-of-distribution
        detection (SCOD).

    Raises
    ------
    ValueError
        If an array is malformed, `batch_size` is given with labels or is less than 2, or the scorer cannot
        score the task.
    sklearn.exceptions.NotFittedError
        If the scorer learns and was not fitted.

    Warns
    -----
    UndefinedScoreWarning
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
    own = check_metrics(metrics)
    problem = check_problem(z_img, z_txt, labels, batch_size)
    answers = ask(scorer, problem)
    warn_single_class(answers.failure)
    return metrics_of(answers, own)


@plain_torch
def compare(
    scorers: Mapping[str, FailureScorer],
    z_img: ArrayLike,
    z_txt: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    test: Sequence[ArrayLike] | None = None,
    test_size: float = 0.5,
    fit: bool = True,
    groups: ArrayLike | None = None,
    batch_size: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    n_splits: int = 1,
    reference: str | None = None,
    confidence: float | None = 0.95,
    n_bootstrap: int = 400,
    metrics: Given = None,
) -> ComparisonTable:
    """Fit and score several scorers on the same rows, and test which differences are significant.

    There are three ways to say what is fitted and what is scored:

    - by default, `test_size` of the rows are held out at random and scored, the others fitted;
    - with `test`, all given rows are fitted, and those of `test` scored;
    - with ``fit=False``, the scorers are fitted already, and all given rows are scored.

    Parameters
    ----------
    scorers : mapping of str to scorer
        The scorers under the names that the table shows. They are cloned before they are fitted, never
        changed.
    z_img, z_txt, labels : array-like
        As in `evaluate`; without labels a caption task.
    test : tuple (z_img, z_txt, labels) or (z_img, z_txt), optional
        The rows to score, in the order of the first arguments; without labels in a caption task. The
        candidates may differ from those of the fit, in order and in number.
    test_size : float or int, default=0.5
        Share (or number) of rows to hold out if `test` is not given; with groups, or exact copies of images,
        of groups. With labels the split is stratified, if every class can be on both sides.
    fit : bool, default=True
        Whether to fit. If False, scorers are used as they are.
    groups : array-like of shape (N,), optional
        The image or video of each row of `z_img`, integers or strings, as in `Scorer.fit`: a group is fitted
        or scored as a whole, scorers are told it in their fit, and standard errors are those of groups. Exact
        copies of an image are one group always, near ones only if they are told.
    batch_size : int, optional
        Rows of a batch when a caption task is scored, as in `evaluate`.
    random_state : int, RandomState instance or None, default=None
        Of the splits. Scorers have their own.
    n_splits : int, default=1
        How many random splits to fit and score on. With several, each value is the mean over them. A
        `random_state` of a scorer that is a number s is s + j on split j = 0, 1, …, so that the spread
        holds the randomness of its training too.
    reference : str, optional
        Name of the scorer whose difference to every other is estimated and tested.
    confidence : float or None, default=0.95
        Of intervals and tests; None leaves both out.
    n_bootstrap : int, default=400
        Resamples that the standard errors of all but the AUC and the accuracy are computed from.
    metrics : mapping of str to callable or Metric, optional
        Metrics of your own by name, as `Metric` describes them. They stand in the table, with intervals and
        tests by the bootstrap, or over several splits by the variance between them.

    Returns
    -------
    ComparisonTable
        Prints in a terminal and in a notebook; `to_markdown`, `to_html` and `to_dicts` export the rows.
        Each scorer is judged on its own predictions. Where these are not those of the first, a note says
        so, and AUC, FPR95 and AUPR-error, which are about given failures, are not tested between the two;
        the other metrics are, row by row. Seconds are wall-clock, of `fit` and of one pass over the rows.

    Raises
    ------
    ValueError
        If `scorers` is empty, the arguments do not fit together, or an array is malformed.

    Warns
    -----
    UndefinedScoreWarning
        Once, if all predictions are correct or all are wrong.
    ScorerFailedWarning
        If a scorer lacks a verb, or raises a ValueError, TypeError, AttributeError or NotImplementedError,
        for instance because it cannot do caption tasks: it gets a row of NaN with the reason as its note, and
        the others go on.

    Notes
    -----
    Intervals are for new samples of as many rows, of the same population: the error rate varies too. On one
    split, standard errors come from DeLong (AUC) and from a bootstrap of the rows, and intervals allow for
    how few failures there are; that of the accuracy is Clopper and Pearson's. Fewer than two failures or two
    correct rows give no others, but NaN. On several splits, standard errors come from the variance between
    splits with the correction of Nadeau and Bengio, an approximation. Where rows are in groups, DeLong's
    components are summed in each group first, and the bootstrap draws groups. Differences are paired, as
    all scorers see the same rows. P-values are corrected by Holm's rule: against the reference for all
    scorers but it, against the best value of a column for all pairs, since the data choose the best.

    References
    ----------
    DeLong et al., Biometrics 44(3), 1988; Nadeau & Bengio, "Inference for the generalization error",
    Machine Learning 52, 2003; Holm, Scandinavian Journal of Statistics 6(2), 1979.

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
    check_scorers(scorers)
    _check_settings(scorers, n_splits, reference, confidence, n_bootstrap)
    flag(fit, "fit")
    own = check_metrics(metrics)
    if n_splits > 1 and (test is not None or not fit):
        raise ValueError("n_splits draws random splits of the given rows; leave out test and fit=False.")
    if test is not None and not fit:
        raise ValueError(
            "test and fit=False exclude each other: with fit=False, the rows of z_img are scored."
        )
    rng = check_random_state(random_state)
    if test is not None:
        rounds = iter([_given_round((z_img, z_txt, labels), groups, test, batch_size)])
    elif fit:
        problem = check_problem(z_img, z_txt, labels, None, groups)
        rounds = random_rounds(problem, test_size, batch_size, rng, n_splits)
    else:
        rounds = iter([Round(None, check_problem(z_img, z_txt, labels, batch_size, groups))])
    results = run({str(name): scorer for name, scorer in scorers.items()}, rounds, n_splits, own)

    for name, outcome in results.outcomes.items():
        if outcome.note:
            warn(f"{name} has no values: {outcome.note}", ScorerFailedWarning)
    if results.first is not None:
        warn_single_class(results.first.failure)
    return summarise(results, reference, confidence, n_bootstrap, own)


def check_scorers(scorers: Any) -> None:
    """Raise where scorers are not instances by name."""
    if not isinstance(scorers, Mapping) or not scorers:
        raise ValueError(
            'scorers must be a non-empty mapping from names to scorers, as in {"MCM": MCMScorer()}.'
        )
    for name, scorer in scorers.items():
        if isinstance(scorer, type):
            require_scorer(scorer, f"scorers[{name!r}]")


def _check_settings(scorers: Any, n_splits: Any, reference: Any, confidence: Any, n_bootstrap: Any) -> None:
    """Check everything that is not data."""
    if reference is not None and not (isinstance(reference, Hashable) and reference in scorers):
        raise ValueError(f"reference must be one of {list(scorers)}, got {reference!r}.")
    if confidence is None and reference is not None:
        raise ValueError("reference needs a confidence; leave out confidence=None.")
    if confidence is not None:
        fraction(confidence, "confidence")
    whole(n_splits, "n_splits", 1)
    whole(n_bootstrap, "n_bootstrap", 2)


def _given_round(
    train: tuple[Any, Any, Any], groups: Any, test: Sequence[Any], batch_size: int | None
) -> Round:
    """Fit the first rows, score the second."""
    if len(test) != (2 if train[2] is None else 3):
        names = "(z_img, z_txt)" if train[2] is None else "(z_img, z_txt, labels)"
        raise ValueError(f"test must be a tuple {names} like the first arguments, got {len(test)} entries.")
    problem = check_problem(*train, None, groups)
    fit_on = *problem[:3], problem.known_groups()
    z_img, z_txt, labels = (*test, None)[:3]
    try:
        return Round(fit_on, check_problem(z_img, z_txt, labels, batch_size))
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"test: {error}") from error
