"""Fit and score scorers, split by split."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import train_test_split

from vilu_sdk.compute.progress import track
from vilu_sdk.evaluation.own import Metric, own_metrics
from vilu_sdk.evaluation.problem import Answers, Problem, ask, check_problem
from vilu_sdk.inputs.values import LARGEST_SEED
from vilu_sdk.metrics.failure import calibration_metrics, ranking_metrics
from vilu_sdk.scorers.base.contract import FailureScorer, groups_argument, require_scorer
from vilu_sdk.scorers.base.groups import first_rows, rows_of

#: What a scorer raises that cannot do a task, or lacks a verb.
CANNOT = (ValueError, TypeError, AttributeError, NotImplementedError)


@dataclass
class Outcome:
    """Metrics of one scorer on each split, its answers on the first, or the reason why there are none."""

    metrics: list[dict[str, float]] = field(default_factory=list)
    first: Answers | None = None
    note: str = ""


@dataclass
class Results:
    """The outcomes by name, the first answers of the first round, and test rows over training rows."""

    outcomes: dict[str, Outcome]
    first: Answers | None = None
    test_share: float = math.nan


class Round(NamedTuple):
    """What is fitted (nothing if None; images, candidates, labels, groups) and what is scored."""

    fit_on: tuple[Any, ...] | None
    problem: Problem


def metrics_of(answers: Answers, own: Mapping[str, Metric]) -> dict[str, float]:
    """Return all metrics that the answers allow, with one's own."""
    metrics = ranking_metrics(answers.decision, answers.failure) | answers.accuracies
    if answers.is_probability:
        metrics |= calibration_metrics(answers.uncertainty, answers.failure)
    return metrics | _unknown_metrics(answers) | own_metrics(answers, own)


def _unknown_metrics(answers: Answers) -> dict[str, float]:
    """How images of none of the candidates are told from the others, where there are both."""
    unknown = answers.unknown
    if unknown is None or not unknown.any() or unknown.all():
        return {}
    found = {"unknown_share": float(unknown.mean())}
    by = {"unknown": answers.decision, "novelty": answers.novelty}
    for name, values in by.items():
        if values is not None:
            metrics = ranking_metrics(values, unknown)
            found |= {f"{name}_auc": metrics["auc"], f"{name}_fpr95": metrics["fpr95"]}
    known = ~unknown
    return found | {"known_auc": ranking_metrics(answers.decision[known], answers.failure[known])["auc"]}


def attempt(scorer: Any, fit_on: tuple[Any, ...] | None, problem: Problem, offset: int) -> tuple[Any, float]:
    """Fit a clone of a scorer, if there is anything to fit, score with it, and say how long the fit took."""
    require_scorer(scorer)
    seconds = math.nan
    if fit_on is not None:
        scorer = _reseeded(clone(scorer), offset)
        start = time.perf_counter()
        scorer.fit(*fit_on[:3], **groups_argument(scorer, fit_on[3]))
        seconds = time.perf_counter() - start
    return ask(scorer, problem), seconds


def reason(error: Exception) -> str:
    """Say in one line why a scorer has no values."""
    said, kind = " ".join(str(error).split()), type(error).__name__
    return (said or kind) if isinstance(error, CANNOT) else f"{kind}: {said}"


def run(
    scorers: Mapping[str, FailureScorer],
    rounds: Iterator[Round],
    n_rounds: int,
    own: Mapping[str, Metric],
) -> Results:
    """Fit and score every scorer in every round."""
    results = Results({name: Outcome() for name in scorers})
    for step, (j, name) in enumerate(track(list(product(range(n_rounds), scorers)), "comparing")):
        if step % len(scorers) == 0:
            fit_on, problem = next(rounds)
            results.test_share = math.nan if fit_on is None else len(problem.images) / len(fit_on[0])
        outcome = results.outcomes[name]
        if outcome.note:
            continue
        try:
            answers, seconds = attempt(scorers[name], fit_on, problem, j)
        except CANNOT as error:
            results.outcomes[name] = Outcome(note=reason(error))
            continue
        metrics = metrics_of(answers, own)
        outcome.metrics.append(metrics | {"fit_seconds": seconds, "score_seconds": answers.seconds})
        if j == 0:
            outcome.first = answers
            results.first = results.first or answers
    return results


def random_rounds(
    problem: Problem, test_size: float, batch_size: int | None, rng: np.random.RandomState, n_rounds: int
) -> Iterator[Round]:
    """Yield random splits, stratified by class where every class can be on both sides."""
    for _ in range(n_rounds):
        train, held_out = _split(problem, test_size, rng)
        scored = check_problem(*problem.take(held_out), batch_size, problem.known_groups(held_out))
        yield Round((*problem.take(train), problem.known_groups(train)), scored)


def _split(problem: Problem, test_size: float, rng: np.random.RandomState) -> list[NDArray[np.int64]]:
    """Return train and test rows, each group on one side."""
    first, strata = first_rows(problem.groups), None
    groups = np.arange(len(first))
    if len(first) < 2:
        raise ValueError("groups holds one group, of which nothing can be held out; pass test=, or more.")
    if problem.labels is not None:
        smaller = min(map(len, train_test_split(groups, test_size=test_size, random_state=0)))
        labels = problem.labels[first]
        counts = np.unique(labels, return_counts=True)[1]
        if counts.min() > 1 and len(counts) <= smaller:
            strata = labels
    sides = train_test_split(groups, test_size=test_size, random_state=rng, stratify=strata)
    return [side if len(first) == len(problem.groups) else rows_of(problem.groups, side) for side in sides]


def _reseeded(scorer: Any, offset: int) -> Any:
    """Add `offset` to every seed that is a number, so that rounds differ in them too."""
    if not offset:
        return scorer
    seeds = {
        name: (int(value) + offset) % (LARGEST_SEED + 1)
        for name, value in scorer.get_params().items()
        if name.split("__")[-1] == "random_state" and isinstance(value, Integral)
    }
    return scorer.set_params(**seeds)
