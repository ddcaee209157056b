"""From what became of each scorer to the rows of a table."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.evaluation.columns import COLUMNS
from vilu_sdk.evaluation.own import Metric, own_estimates
from vilu_sdk.evaluation.problem import Answers
from vilu_sdk.evaluation.run import Outcome, Results
from vilu_sdk.evaluation.table import ComparisonTable
from vilu_sdk.metrics import significance
from vilu_sdk.metrics.failure import ANSWERED_AT

METRICS = (
    *("auc", "fpr95", "fpr95_conservative", "fpr95_error", "aupr_error", "aupr_success"),
    *("aurc", "e_aurc", "augrc", "e_augrc", "accuracy", "error_rate", "n", "ece", "brier", "nll"),
    *(f"answered_at_{risk}" for risk in ANSWERED_AT),
    *("zero_shot_accuracy", "answer_accuracy", "fit_seconds", "score_seconds"),
)
# Where some images show none of the candidates.
OF_UNKNOWN = ("unknown_share", "unknown_auc", "unknown_fpr95", "novelty_auc", "novelty_fpr95", "known_auc")


def summarise(
    results: Results,
    reference: str | None,
    confidence: float | None,
    n_bootstrap: int,
    own: Mapping[str, Metric],
) -> ComparisonTable:
    """Average over splits, and add intervals and tests."""
    done = {name: outcome for name, outcome in results.outcomes.items() if outcome.first is not None}
    first = {name: one.first for name, one in done.items() if one.first is not None}
    scores = {name: answers.decision for name, answers in first.items()}
    probabilities = {name: answers.uncertainty for name, answers in first.items() if answers.is_probability}
    failures = {name: answers.failure for name, answers in first.items()}
    predictions = {name: answers.predicted for name, answers in first.items()}
    novelties = {name: answers.novelty for name, answers in first.items() if answers.novelty is not None}
    told = any(one.unknown is not None and one.unknown.any() for one in first.values())
    unknown = OF_UNKNOWN if told else ()
    values = {metric: _values(metric, done) for metric in (*METRICS, *unknown, *own)}
    n_splits = max((len(one.metrics) for one in done.values()), default=1)
    rows = [_averages({metric: table[:, i] for metric, table in values.items()}) for i in range(len(done))]
    if confidence is not None and failures:
        every_failure = np.stack(list(failures.values()))
        shared = significance.same_rows(every_failure)
        directions = significance.DIRECTIONS | {name: metric.direction for name, metric in own.items()}
        groups = results.first.groups if results.first else None
        if n_splits > 1:
            estimates = significance.of_splits(values, results.test_share, confidence, shared, directions)
        else:
            one_split = {metric: table[0] for metric, table in values.items()}
            estimates = significance.of_rows(
                one_split,
                np.stack(list(scores.values())),
                every_failure,
                {i: probabilities[name] for i, name in enumerate(done) if name in probabilities},
                confidence,
                n_bootstrap,
                groups,
            )
            every = list(first.values())
            estimates |= own_estimates(own, every, one_split, confidence, n_bootstrap, groups)
        position = list(done).index(reference) if reference in done else None
        judged = significance.pairwise_tests(estimates, position, confidence, shared, directions)
        rows = [row | entries for row, entries in zip(rows, judged, strict=True)]
    nothing = dict.fromkeys(rows[0] if rows else (*METRICS, *own), math.nan)
    by_name = dict(zip(done, rows, strict=True))
    table = [
        {"scorer": name, **by_name.get(name, nothing), "note": outcome.note or _other_answers(name, first)}
        for name, outcome in results.outcomes.items()
    ]
    leader = next(iter(first), "")
    return ComparisonTable(
        table,
        scores,
        failures.get(leader),
        probabilities,
        confidence,
        reference,
        n_splits,
        predictions.get(leader),
        failures,
        predictions,
        (*COLUMNS, *(metric.column(name) for name, metric in own.items())),
        novelties,
    )


def _other_answers(name: str, first: dict[str, Answers]) -> str:
    """Say where a scorer is judged on predictions of its own."""
    leader = next(iter(first))
    others = int((first[name].predicted != first[leader].predicted).sum())
    if not others:
        return ""
    note = f"predicts otherwise than {leader} on {others} of {len(first[name].predicted)} rows"
    if (first[name].failure == first[leader].failure).all():
        return note + ", with the same failures"
    accuracies = [f"{100 * (1 - first[one].failure.mean()):.1f} %" for one in (name, leader)]
    return (
        f"{note}, so its failures are its own (accuracy {' against '.join(accuracies)}): AUC, FPR95 and "
        "AUPR-error are not tested against scorers of other failures"
    )


def _values(metric: str, done: dict[str, Outcome]) -> NDArray[np.float64]:
    """Values (J, S) of a metric on each split."""
    by_scorer = [[split.get(metric, math.nan) for split in one.metrics] for one in done.values()]
    return np.array(by_scorer, dtype=np.float64).T


def _averages(values: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Mean over the splits (J,) of each metric, and with several their standard deviation."""
    row: dict[str, Any] = {metric: float(of_splits.mean()) for metric, of_splits in values.items()}
    row["n"] = int(row["n"])
    if len(values["n"]) > 1:
        row |= {f"{metric}_std": float(of_splits.std(ddof=1)) for metric, of_splits in values.items()}
    return row
