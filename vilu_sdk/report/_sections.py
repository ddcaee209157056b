"""The sections of a report."""

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any

import numpy as np

from vilu_sdk import displays
from vilu_sdk.inputs.names import name_of
from vilu_sdk.report import _words as words
from vilu_sdk.report._html import SORTS, code, fold, number, percent, picture, scroll, table, text
from vilu_sdk.report._images import Images
from vilu_sdk.report._subject import Subject
from vilu_sdk.report._thresholds import HEADER, cells, effect, usual_thresholds

PACKAGES = ("vilu-sdk", "torch", "numpy", "scipy", "scikit-learn", "matplotlib")
# Images in the table of all of them, which a browser still sorts at once.
MOST_ROWS = 1000


def comparison(subject: Subject) -> str:
    """Return the table of all scorers."""
    # Screen readers need the scope of each head.
    body = subject.table.to_html().replace("<th ", '<th scope="col" ').replace("<table", SORTS, 1)
    return text(words.COMPARISON) + scroll(body, "Comparison of the scorers")


def pictures(subject: Subject) -> str:
    """Return the pictures of ranking and calibration."""
    scores, failures, names = subject.table.scores, subject.table.failures, subject.curves
    shown = words.NOT_ALL * (len(names) < len(scores))
    promises = {name: found for name, found in reversed(subject.promises) if found.accepted}
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
    return _beside(parts)


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
    said = [f"{name}: {promise.sentence}" for name, promise in subject.selective]
    quotes = [f"{name}: {promise}" for name, promise in subject.selective]
    rows = []
    for name, promise in subject.promises:
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
    p, focus = subject.probability, subject.focus
    values = list(map(number, subject.decision)) if p is None else [percent(one, 2) for one in p]
    uncertainty = {"uncertainty": values}
    order = np.argsort(-subject.decision, kind="stable").tolist()
    mistakes = [row for row in order[::-1] if subject.failure[row]]
    lists = {
        f"The most uncertain predictions of {focus}": order,
        f"The most certain mistakes of {focus}": mistakes,
    }
    n, most = len(order), min(len(order), MOST_ROWS)
    which = f"All {n:,} images" if n == most else f"The {most:,} most uncertain of {n:,} images"
    right = {"right": ["no" if wrong else "yes" for wrong in subject.failure]}
    return (
        text(words.EXAMPLES)
        + _beside(
            _images(subject, images, title, rows[:top], uncertainty) for title, rows in lists.items() if rows
        )
        + fold(
            f"{which} as a table",
            _images(subject, images.without_pictures, which, order[:most], uncertainty, right),
        )
    )


def unknown(subject: Subject, top: int, images: Images) -> str:
    """Return how the novelty tells images of none of the candidates from the others."""
    novelty, none = subject.novelty, subject.unknown
    assert novelty is not None

    def draw(ax: Any) -> None:
        displays.NoveltyDisplay.from_scores(novelty, none, ax=ax)

    found = subject.row
    said = words.UNKNOWN.format(
        n=f"{int(none.sum()):,}",
        share=percent(found["unknown_share"]),
        focus=subject.focus,
        auc=percent(found["novelty_auc"]),
        fpr95=percent(found["novelty_fpr95"]),
        by=percent(found["unknown_auc"]),
    )
    order = np.argsort(-novelty, kind="stable").tolist()
    lists = {
        "Images of none most like a candidate": [row for row in order[::-1] if none[row]],
        "Images of a candidate most like none": [row for row in order if not none[row]],
    }
    shown = {"novelty": list(map(number, novelty))}
    return _beside(
        [
            f"<div>{text(said)}</div>",
            picture("n0", f"Novelty by {subject.focus}", words.NOVELTY, draw),
            *(_images(subject, images, title, rows[:top], shown) for title, rows in lists.items()),
        ]
    )


def _images(
    subject: Subject,
    images: Images,
    title: str,
    rows: Sequence[int],
    numbers: Mapping[str, Sequence[str]],
    said: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str:
    """Return a table of some images, with more columns of words and of numbers, each of all images."""
    found = [
        [
            *images.cells(row),
            subject.candidates[subject.predicted[row]],
            subject.true_name(row),
            *(values[row] for values in (*said.values(), *numbers.values())),
        ]
        for row in rows
    ]
    header = [*images.header, "predicted", "true", *said]
    return table(title, [*header, *numbers], found, words=len(header), sorts=True)


def _beside(parts: Iterable[str]) -> str:
    """Put figures or tables side by side where there is room."""
    return f'<div class="beside">{"".join(parts)}</div>'


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
    return _beside(parts) + fold(
        f"All {len(rows)} classes as a table",
        table(f"Classes, by {subject.focus}", header, rows, sorts=True),
    )


def reproduction(subject: Subject, path: str, options: Mapping[str, str]) -> str:
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
    given = "".join(f",\n    {name}={value}" for name, value in options.items())
    labels = "None" if subject.labels is None else "labels"
    snippet = words.SNIPPET.format(labels=labels, path=path, options=given)
    return (
        text(words.REPRODUCTION)
        + table("Scorers and all their parameters", ["name", "scorer"], rows, words=2)
        + _beside(
            [
                table("Data", ["argument", "shape", "what"], data, words=3),
                table("Versions", ["package", "version"], versions, words=2),
            ]
        )
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
