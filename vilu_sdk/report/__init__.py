"""One HTML page on how well failures are predicted."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from vilu_sdk.compute.progress import track
from vilu_sdk.compute.state import plain_torch
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.places import shown
from vilu_sdk.inputs.values import as_path, whole
from vilu_sdk.persistence.files import check_parent, whole_file
from vilu_sdk.report import _html, _sections
from vilu_sdk.report._conclusion import advice, conclusion
from vilu_sdk.report._images import Images
from vilu_sdk.report._subject import Subject, gather
from vilu_sdk.scorers.base.contract import FailureScorer
from vilu_sdk.selective.arrangement import Calibrated

__all__ = ["report"]


@plain_torch
def report(
    scorers: FailureScorer | Mapping[str, FailureScorer],
    z_img: ArrayLike,
    z_txt: ArrayLike,
    labels: ArrayLike | None,
    path: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    title: str = "How well failures are predicted",
    focus: str | None = None,
    reference: str | None = None,
    selective: Calibrated | Sequence[Calibrated] | None = None,
    batch_size: int | None = None,
    top: int = 10,
    ids: Sequence[Any] | None = None,
    paths: Sequence[str | os.PathLike[str]] | None = None,
    thumbnails: Sequence[Any] | None = None,
) -> Path:
    """Score labelled images and write the results into one HTML page.

    The page needs no network: tables and pictures, as SVG, are inside. Its one script, a few lines in the
    page, sorts tables; without scripts you can still read them. The page begins with the conclusion, in one
    sentence, and the next steps. Then follow the comparison of the scorers with intervals, pictures of
    ranking and calibration, the effect of each threshold, the images to look at, how well images labelled
    -1 are found, the classes that fail, and the code that makes the page again. It needs the extra ``plot``.

    Parameters
    ----------
    scorers : scorer or mapping of str to scorer
        Fitted, where they learn; they are used as they are.
    z_img : array-like of shape (N, d)
        Image embeddings, none that a scorer was fitted on.
    z_txt : array-like of shape (K, d)
        Candidate texts.
    labels : array-like of shape (N,) or None
        True class of each image. None for a caption task, as in `evaluate`; classes are then left out.
    path : path-like
        Where to write; an existing file is replaced, whole or not at all.
    class_names : sequence of K str, optional
        Names of the candidates, by default "class 0", "class 1" and so on.
    title : str
        Of the page.
    focus : str, optional
        The scorer whose thresholds, examples and classes are shown, by default that of the highest AUC.
    reference : str, optional
        The scorer to compare the others with, as in `compare`.
    selective : predictor with a threshold, `SetPredictor`, or sequence of them, optional
        Fitted on a calibration set other than `z_img`, each around one of the `scorers`. The page shows their
        guarantees, and the effect of thresholds.
    batch_size : int, optional
        Rows of a batch in a caption task, as in `evaluate`.
    top : int, default=10
        Number of images in each list. One more table has up to 1,000 images, the most uncertain.
    ids, paths : sequence of N, optional
        Names of the images, shown beside their row: any values, or file names, of which the last part is
        shown. Pass only one of the two.
    thumbnails : sequence of N images, optional
        File names of pictures, images of Pillow, or arrays of shape (height, width) or (height, width, 3), as
        bytes, as fractions from 0 to 1, or as other numbers, stretched from black to white. The page
        holds those of the listed rows, and only these are opened.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    ValueError, TypeError, sklearn.exceptions.NotFittedError
        If an argument is malformed or does not fit to the others, or a thumbnail is no picture.
    ImportError
        If matplotlib is missing.
    OSError
        If the page cannot be written, or there is no file of a listed thumbnail.

    Warns
    -----
    ScorerFailedWarning
        If a scorer cannot score the rows; the page says so, and shows the others.

    Examples
    --------
    >>> import tempfile
    >>> from vilu_sdk import MCMScorer
    >>> from vilu_sdk.datasets import load_digits_vlm
    >>> data = load_digits_vlm()
    >>> mcm = MCMScorer(logit_scale=data.logit_scale)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = report(
    ...         mcm, data.z_img_test, data.z_txt, data.labels_test, f"{folder}/page.html",
    ...         class_names=data.class_names,
    ...     )
    ...     page.name, page.read_text(encoding="utf-8")[:15]
    ('page.html', '<!DOCTYPE html>')
    """
    path = as_path(path, "path")
    require("matplotlib", "plot")
    check_parent(path)
    whole(top, "top", 1)
    if not isinstance(title, str):
        raise TypeError(f"title must be a text, got {shown(title)}.")
    subject = gather(scorers, z_img, z_txt, labels, class_names, focus, reference, selective, batch_size)
    settings = {"title": title, "focus": focus, "reference": reference, "batch_size": batch_size, "top": top}
    values = {"class_names": class_names, "selective": selective, "ids": ids, "paths": paths}
    values["thumbnails"] = thumbnails
    options = {name: repr(value) for name, value in settings.items() if value is not None}
    options |= {name: name for name, value in values.items() if value is not None}  # as they were given
    images = Images(len(subject.problem.images), ids, paths, thumbnails)
    steps: dict[str, Callable[[], str]] = {
        "What to do next": lambda: advice(subject),
        "Which scorer finds the failures": lambda: _sections.comparison(subject),
        "Pictures": lambda: _sections.pictures(subject),
        "What a threshold would do": lambda: _sections.thresholds(subject),
        "Predictions to look at": lambda: _sections.examples(subject, int(top), images),
        "Images of none of the candidates": lambda: _sections.unknown(subject, int(top), images),
        "Classes": lambda: _sections.classes(subject),
        "How to make this page again": lambda: _sections.reproduction(subject, path.name, options),
    }
    if subject.labels is None:
        del steps["Classes"]
    if subject.novelty is None:
        del steps["Images of none of the candidates"]
    sections = {heading: make() for heading, make in track(steps.items(), "writing the report")}
    made = f"Written by vilu-sdk on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
    with whole_file(path) as file:
        file.write(
            _html.page(title, conclusion(subject) + _lead(subject), sections, _html.text(made)).encode()
        )
    return path


def _lead(subject: Subject) -> str:
    """Return the most important numbers in large print."""
    row = subject.row
    right = row.get("answer_accuracy", math.nan)
    answers = (
        {} if math.isnan(right) else {f"answers of {subject.focus} that are right": _html.percent(right)}
    )
    return _html.facts(
        {
            "images": f"{len(subject.failure):,}",
            "captions" if subject.labels is None else "candidate classes": f"{len(subject.candidates):,}",
            "predictions that are right": _html.percent(1 - float(subject.failure.mean())),
            **answers,
            f"answered by {subject.focus} at 5 % errors": _html.percent(row["answered_at_5"]),
            f"AUC of {subject.focus}": _html.percent(row["auc"]),
            f"FPR95 of {subject.focus}": _html.percent(row["fpr95"]),
        }
    )
