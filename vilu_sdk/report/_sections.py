"""The sections of a report."""

import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from vilu_sdk import displays
from vilu_sdk.inputs.names import name_of
from vilu_sdk.report import _words as words
from vilu_sdk.report._html import code, fold, number, percent, picture, scroll, table, text
from vilu_sdk.report._images import Images
from vilu_sdk.report._subject import Subject
from vilu_sdk.report._thresholds import HEADER, cells, effect, usual_thresholds
from vilu_sdk.selective import SelectionReport, SetReport

PACKAGES = ("vilu-sdk", "torch", "numpy", "scipy", "scikit-learn", "matplotlib")


def comparison(subject: Subject) -> str:
    """Return the table of all scorers."""
    # Screen readers need the scope of each head.
    body = subject.table.to_html().replace("<th ", '<th scope="col" ')
    return text(words.COMPARISON) + scroll(body, "Comparison of the scorers")


def pictures(subject: Subject) -> str:
    """Return the pictures of ranking and calibration."""
    scores, failures, names = subject.table.scores, subject.table.failures, subject.curves
    shown = words.NOT_ALL * (len(names) < len(scores))
    promises = dict(
        reversed(
            [
                (name, found)
                for name, found in subject.selective
                if isinstance(found, SelectionReport) and found.accepted and not found.groups
            ]
        )
    )
    parts: list[str] = []

    def add(title: str, caption: str, draw: Callable[[Any], Any]) -> None:
        parts.append(picture(f"p{len(parts)}", title, caption, draw))

    def roc(ax: Any) -> None:
        for name in both_kinds:
            displays.ROCDisplay.from_scores(scores[name], failures[name], name=name, ax=ax)

    def risk(ax: Any) -> None:
        for name in names:
            promise = promises.get(name)
            limit = {"threshold": promise.threshold, "bound": promise.risk_bound} if promise else {}
            displays.RiskCoverageDisplay.from_scores(scores[name], failures[name], name=name, ax=ax, **limit)

    def reliability(ax: Any) -> None:
        for name in likely:
            displays.ReliabilityDisplay.from_scores(
                subject.table.probabilities[name], failures[name], name=name, ax=ax
            )

    def distribution(name: str) -> Callable[[Any], Any]:
        p = subject.table.probabilities.get(name)
        if p is not None:
            return lambda ax: displays.ScoreDistributionDisplay.from_scores(
                p, failures[name], probability=True, ax=ax
            )
        return lambda ax: displays.ScoreDistributionDisplay.from_scores(
            scores[name], failures[name], xlabel="log uncertainty (nats)", ax=ax
        )

    both_kinds = [name for name in names if failures[name].any() and not failures[name].all()]
    if both_kinds:
        add("ROC", words.ROC + shown, roc)
    add("Risk and coverage", words.RISK + words.STAR * bool(promises) + shown, risk)
    likely = [name for name in names if name in subject.table.probabilities]
    if likely:
        add("Reliability", words.RELIABILITY, reliability)
    # Pictures stand in pairs.
    for name in names[: 2 - len(parts) % 2]:
        add(f"Distribution of the uncertainty: {name}", words.DISTRIBUTION, distribution(name))
    return f'<div class="pictures">{"".join(parts)}</div>'


def thresholds(subject: Subject) -> str:
    """Return what each threshold would do to these images, and the guarantees."""
    decision, failure, focus = subject.decision, subject.failure, subject.focus
    is_probability = subject.probability is not None
    rows = [
        cells(aim, effect(decision, failure, threshold), is_probability)
        for aim, threshold in usual_thresholds(decision, failure).items()
    ]
    body = text(words.THRESHOLDS.format(focus=focus), words.BOUND)
    body += table(f"Thresholds of {focus}", HEADER, rows)
    if not subject.selective:
        return body
    rows, said, quotes = [], [], []
    for name, promise in subject.selective:
        said.append(f"{name}: {promise.sentence}")
        quotes.append(f"{name}: {promise}")
        if isinstance(promise, SetReport):
            continue
        if promise.groups:
            continue
        done = effect(subject.table.scores[name], failure, promise.threshold)
        aim = f"{promise.goal[0].lower()}{promise.goal[1:]}".replace(" %", "\N{NO-BREAK SPACE}%")
        row = cells(f"{name}: {aim}", done, name in subject.table.probabilities)
        row[4] = percent(promise.risk_bound)
        rows.append(row)
    header = [*HEADER[:4], "promised at most", *HEADER[5:]]
    body += "<h3>With a guarantee</h3>" + text(*said, words.GUARANTEE)
    if rows:
        body += table("Thresholds with a guarantee", header, rows, marked=range(len(rows)))
    return body + fold("What was seen on the calibration set", code("\n\n".join(quotes)))


def examples(subject: Subject, top: int, images: Images) -> str:
    """Return the most uncertain rows and the most certain mistakes."""
    decision, failure = subject.decision, subject.failure
    order = np.argsort(-decision, kind="stable")
    mistakes = [row for row in order[::-1] if failure[row]]
    p = subject.probability

    def show(rows: Any) -> list[list[str]]:
        return [
            [
                *images.cells(row),
                subject.candidates[subject.predicted[row]],
                f"{subject.true_name(row)} {'✗' if failure[row] else '✓'}",
                percent(p[row], 2) if p is not None else number(decision[row]),
            ]
            for row in rows
        ]

    header = [*images.header, "predicted", "true", "uncertainty"]
    words_of = len(header) - 1
    parts = [
        table(f"The most uncertain predictions of {subject.focus}", header, show(order[:top]), words=words_of)
    ]
    if mistakes:
        title = f"The most certain mistakes of {subject.focus}"
        parts.append(table(title, header, show(mistakes[:top]), words=words_of))
    return text(words.EXAMPLES) + f'<div class="tables">{"".join(parts)}</div>'


def classes(subject: Subject) -> str:
    """Return the classes that fail and those that are confused."""
    assert subject.labels is not None
    labels, failure, p = subject.labels, subject.failure, subject.probability
    u = subject.decision if p is None else p
    options: dict[str, Any] = {"class_names": subject.candidates, "name": subject.focus}

    def rates(ax: Any) -> None:
        displays.ClassFailureDisplay.from_scores(
            u, failure, labels, probability=p is not None, ax=ax, **options
        )

    def confusions(ax: Any) -> None:
        displays.ConfusionDisplay.from_scores(subject.decision, labels, subject.predicted, ax=ax, **options)

    parts = [picture("c0", "Classes that fail most", words.CLASSES, rates)]
    if failure.any() and not failure.all():
        title = "Confusions, and which of them are flagged"
        parts.append(picture("c1", title, words.CONFUSIONS, confusions))
    header = ["class", "images", "wrong", "wrong", "mean uncertainty"]
    present, place, n = np.unique(labels, return_inverse=True, return_counts=True)
    wrong, total = np.bincount(place, failure), np.bincount(place, u)
    rows = [
        [
            str(name_of(subject.candidates, k)),
            str(n[i]),
            str(int(wrong[i])),
            percent(wrong[i] / n[i]),
            percent(total[i] / n[i]) if p is not None else number(total[i] / n[i]),
        ]
        for i, k in enumerate(present)
    ]
    return f'<div class="pictures">{"".join(parts)}</div>' + fold(
        f"All {len(rows)} classes as a table", table(f"Classes, by {subject.focus}", header, rows)
    )


def reproduction(subject: Subject, path: str, options: dict[str, Any]) -> str:
    """Return the settings, versions and code to make this report again."""
    images, candidates = subject.problem.images, subject.problem.text
    data = [
        ["z_img", _shape(images), str(getattr(images, "dtype", type(images).__name__))],
        ["z_txt", _shape(candidates), str(getattr(candidates, "dtype", type(candidates).__name__))],
    ]
    if subject.labels is not None:
        data.append(["labels", _shape(subject.labels), f"{len(np.unique(subject.labels))} classes occur"])
    rows = [[name, _call(scorer)] for name, scorer in subject.scorers.items()]
    versions = [["Python", platform.python_version()]] + [[name, _version(name)] for name in PACKAGES]
    given = "".join(f",\n    {name}={value!r}" for name, value in options.items() if value is not None)
    labels = "None" if subject.labels is None else "labels"
    snippet = words.SNIPPET.format(labels=labels, path=path, options=given)
    return (
        text(words.REPRODUCTION)
        + table("Scorers and all their parameters", ["name", "scorer"], rows, words=2)
        + '<div class="tables">'
        + table("Data", ["argument", "shape", "what"], data, words=3)
        + table("Versions", ["package", "version"], versions, words=2)
        + "</div>"
        + code(snippet)
    )


def _shape(values: Any) -> str:
    shape = getattr(values, "shape", None) or np.shape(values)
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


def _call(scorer: Any) -> str:
    """Return the call that makes such a scorer, unfitted."""
    if not hasattr(scorer, "get_params"):
        return repr(scorer)
    parameters = scorer.get_params(deep=False).items()
    return f"{type(scorer).__name__}({', '.join(f'{name}={value!r}' for name, value in parameters)})"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"
