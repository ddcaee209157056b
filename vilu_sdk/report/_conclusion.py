"""What follows from the numbers: one sentence, and what to do next."""

import math
from typing import NamedTuple

import numpy as np

from vilu_sdk.inputs.names import NONE, name_of
from vilu_sdk.metrics.ranking import rank
from vilu_sdk.report._html import listing, percent, strong, text
from vilu_sdk.report._subject import Subject
from vilu_sdk.report._thresholds import effect
from vilu_sdk.selective import SelectionReport, SetReport

# Error rate that the sentence is about if nothing is guaranteed.
TARGET = 0.05
# Smaller differences are not worth a step.
GAIN, FAR, OFTEN = 0.01, 0.05, 3


class Answered(NamedTuple):
    """Share answered without a person, with the errors among the answers and among the rest."""

    scorer: str
    share: float
    wrong: float
    wrong_of_rest: float
    promise: SelectionReport | None = None


def conclusion(subject: Subject) -> str:
    """Return the sentence that a reader takes along."""
    return strong(sentence(subject)) + text(*_sets(subject))


def advice(subject: Subject) -> str:
    """Return what to do next."""
    return listing(steps(subject))


def sentence(subject: Subject) -> str:
    """Say how many images can be answered without a person, and how often wrongly."""
    found = answered(subject)
    rest = percent(1 - found.share, 0)
    if found.promise is not None:
        often = f"at most {percent(found.promise.risk_bound)} of these answers will be wrong"
        said = f"Let {found.scorer} answer {percent(found.share, 0)} of the images: {often}"
        said += f" (with {percent(found.promise.confidence, 0)} confidence)."
    elif not found.share:
        return (
            f"Let people look at every image: no threshold of {found.scorer} brings the errors on these "
            f"images down to {percent(TARGET, 0)}."
        )
    elif found.share == 1:
        return f"Answer every image: {percent(found.wrong)} of the predictions on these images are wrong."
    else:
        said = (
            f"{found.scorer} can answer {percent(found.share, 0)} of these images with {percent(TARGET, 0)} "
            f"of the answers wrong. This is measured with the labels in hand; it guarantees nothing yet."
        )
    if found.share == 1:
        return said
    return f"{said} Send the other {rest} to people: {percent(found.wrong_of_rest, 0)} of them are wrong."


def answered(subject: Subject) -> Answered:
    """Find what is answered: by the promise there is, of the scorer in focus first, else at 5 % errors."""
    promises = [pair for pair in subject.promises if math.isfinite(pair[1].risk_bound)]
    promises.sort(key=lambda pair: pair[0] != subject.focus)
    if promises:
        name, promise = promises[0]
        decision, failure, threshold = (
            subject.table.scores[name],
            subject.table.failures[name],
            promise.threshold,
        )
    else:
        name, promise, decision, failure = subject.focus, None, subject.decision, subject.failure
        ranking = rank(decision, failure)
        few = np.flatnonzero(ranking.errors <= TARGET * ranking.rows)
        threshold = ranking.threshold(int(ranking.rows[few[-1]]) if len(few) else 0)
    done = effect(decision, failure, threshold)
    rest = done.n - done.kept
    left = (done.errors - done.let_through) / rest if rest else math.nan
    return Answered(name, done.kept / done.n, done.risk, left, promise)


def steps(subject: Subject) -> list[str]:
    """Say what to do next, the most worthwhile first."""
    focus, row = subject.focus, subject.row
    found = answered(subject)
    if found.promise is None:
        steps = [
            "Guarantee an error rate for new images: SelectivePredictor(scorer, target_risk=0.05).fit(z_cal, "
            "z_txt, labels_cal), on a few hundred labelled images that no scorer was fitted on."
        ]
    else:
        steps = [
            "Answer with the threshold: its predict(z_img, z_txt) returns the candidate, or -1 for a person. "
            "Watch it with ShiftMonitor, and with RiskMonitor if people check some of the answers."
        ]
    gain = row.get("answer_accuracy", math.nan) - row["accuracy"]
    if gain > GAIN:
        right, before = percent(row["answer_accuracy"]), percent(row["accuracy"])
        steps.append(
            f"Use the answers of {focus}, which are right for {right} of the images; the predictions are "
            f'right for {before}: set_params(predicts="posterior").'
        )
    if subject.labels is not None and subject.failure.any():
        steps.append(
            "Check the most certain mistakes below: their labels may be wrong, and find_label_issues lists "
            f"such labels{' (leave out the images labelled -1)' if subject.unknown.any() else ''}."
        )
        steps += _confused(subject)
    if row.get("ece", math.nan) > FAR:
        steps.append(
            f"Do not use the uncertainties of {focus} as probabilities: they differ from the failure rate by "
            f"{percent(row['ece'])} on average (ECE). CalibratedScorer corrects them with labels."
        )
    return steps


def _confused(subject: Subject) -> list[str]:
    """Name the most frequent confusion, and images of no candidate."""
    assert subject.labels is not None
    wrong = subject.failure & (subject.labels != NONE)
    said = []
    pairs, counts = np.unique(
        np.stack([subject.labels[wrong], subject.predicted[wrong]]), axis=1, return_counts=True
    )
    if len(counts) and counts.max() >= OFTEN:
        true, taken = (name_of(subject.candidates, int(k)) for k in pairs[:, counts.argmax()])
        said.append(
            f"“{true}” is predicted as “{taken}” {counts.max()} times, the most frequent confusion: "
            "write texts that tell them apart."
        )
    unknown = int((subject.labels == NONE).sum())
    if unknown:
        said.append(
            f"{unknown} images show none of the candidates: give some such images to fit, with the label "
            "-1, or add candidates for them."
        )
    return said


def _sets(subject: Subject) -> list[str]:
    return [f"{name}: {found.sentence}" for name, found in subject.selective if isinstance(found, SetReport)]
