"""The demonstration: every scorer on a tiny, real vision-language model, told in plain words."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from vilu_sdk.datasets import TRAIN_IMAGES, DigitsVLM, load_digits_vlm, single_thread
from vilu_sdk.evaluation import compare, risk_at_coverage
from vilu_sdk.report import report
from vilu_sdk.scorers import (
    BayesVLMScorer,
    DoctorScorer,
    EntropyScorer,
    LVUScorer,
    MCMScorer,
    PaperRecipe,
    ProbVLMScorer,
    RelUScorer,
    TemperatureScaledMCMScorer,
    ViLUEstimator,
)
from vilu_sdk.scorers.base.scorer import Scorer
from vilu_sdk.selective import SelectivePredictor

# The scorer whose predictions are shown.
SHOWN = "ViLU"
REPORT = "vilu-demo-report.html"
# From paper to ink.
SHADES = " .:-=+*#%@"


def scorers(logit_scale: float, random_state: int = 0) -> dict[str, Scorer]:
    """Return every scorer of the SDK, unfitted, under the name its row of the table gets.

    Where a scorer's default training is longer than a demonstration allows, it is shortened: fewer
    epochs, with the largest learning rate of the paper's grid.

    Parameters
    ----------
    logit_scale : float
        The model's learnt scale.
    random_state : int
        Seeds the scorers that train.

    Returns
    -------
    dict of str to scorer
    """
    short: dict[str, Any] = {"epochs": 100, "learning_rate": 0.1}
    chosen: dict[str, Scorer] = {
        "MCM": MCMScorer(),
        "MCM, temperature-scaled": TemperatureScaledMCMScorer(),
        "Entropy": EntropyScorer(),
        "DOCTOR": DoctorScorer(),
        "Rel-U": RelUScorer(),
        "LVU": LVUScorer(target="correct", **short),
        "ProbVLM": ProbVLMScorer(epochs=20),
        "BayesVLM (identity head)": BayesVLMScorer(),
        "ViLU, paper recipe": ViLUEstimator(PaperRecipe(**short)),
        "ViLU": ViLUEstimator(),
    }
    common = {"logit_scale": logit_scale, "random_state": random_state}
    for scorer in chosen.values():
        known = scorer.get_params(deep=False)
        scorer.set_params(**{name: value for name, value in common.items() if name in known})
    return chosen


def run(random_state: int = 0, report_path: str | Path | None = None) -> Iterator[tuple[str, str]]:
    """Run the demonstration and tell it as it goes.

    Parameters
    ----------
    random_state : int
        Seeds the data set and the scorers.
    report_path : path-like, optional
        Where to write a page with everything. If it cannot be written, the demonstration says so and
        goes on.

    Yields
    ------
    chapter : str
        "data", "fit" (one for each scorer), "table", "examples", "report" (if there is a path) or "next".
    text : str
        What happened, in lines.

    Raises
    ------
    ValueError
        If `random_state` is no seed of numpy.
    """
    start = time.perf_counter()
    data = load_digits_vlm(random_state)
    yield "data", _describe(data, time.perf_counter() - start)

    fitted = scorers(data.logit_scale, random_state)
    seconds: dict[str, float] = {}
    for name, scorer in fitted.items():
        start = time.perf_counter()
        with single_thread():
            scorer.fit(data.z_img_fit, data.z_txt, data.labels_fit)
        seconds[name] = time.perf_counter() - start
        yield "fit", f"  {name:<26}{seconds[name]:6.2f} s"

    # Fitted here and not by `compare`, which keeps no fitted scorer to show predictions of.
    with single_thread():
        scored = compare(fitted, data.z_img_test, data.z_txt, data.labels_test, fit=False)
    rows = [row | {"fit_seconds": seconds[row["scorer"]]} for row in scored.to_dicts()]
    table = replace(scored, rows=rows)
    yield "table", str(table)

    shown = fitted[SHOWN]
    yield "examples", "\n".join([_triage(shown, fitted["MCM"], data), "", *show_examples(shown, data)])
    if report_path is not None:
        yield "report", write_report(fitted, data, report_path)
    yield "next", _next_step(data.logit_scale)


def write_report(fitted: Mapping[str, Scorer], data: DigitsVLM, path: str | Path) -> str:
    """Write a page on the fitted scorers and on a threshold with a guarantee, and say where it is.

    Parameters
    ----------
    fitted : mapping of str to scorer
        The scorers under their names.
    data : DigitsVLM
        What they were fitted on, and what to test them on.
    path : path-like
        Of the page.

    Returns
    -------
    str
        Where the page is, or why there is none.
    """
    learn, calibrate = slice(None, None, 2), slice(1, None, 2)
    name = f"{SHOWN}, {len(data.labels_fit[learn])} labels"
    try:
        with single_thread():
            # A guarantee needs labels that the scorer did not learn from.
            half = clone(fitted[SHOWN]).fit(data.z_img_fit[learn], data.z_txt, data.labels_fit[learn])
            selective = SelectivePredictor(half, target_risk=0.05).fit(
                data.z_img_fit[calibrate], data.z_txt, data.labels_fit[calibrate]
            )
            page = report(
                {**fitted, name: half},
                data.z_img_test,
                data.z_txt,
                data.labels_test,
                path,
                class_names=data.class_names,
                title="vilu-sdk: failures of a tiny vision-language model on handwritten digits",
                focus=name,
                reference="MCM",
                selective=selective,
            )
    except (ImportError, OSError) as error:
        return f"There is no report: {error}"
    return f"""\
With intervals, pictures, what each threshold would do and one that promises at most 5 % errors, in one page:

    {page.resolve()}"""


def show_examples(scorer: Scorer, data: DigitsVLM) -> list[str]:
    """Draw three test images with their prediction: the most certain, the most uncertain, a mistake.

    The mistake is the one of median uncertainty among the mistakes.

    Parameters
    ----------
    scorer : scorer
        Fitted, if it learns.
    data : DigitsVLM
        Whose test part is shown.

    Returns
    -------
    list of str
        Lines of text.
    """
    predicted = scorer.predict(data.z_img_test, data.z_txt)
    uncertainty = scorer.predict_uncertainty(data.z_img_test, data.z_txt)
    order = np.argsort(scorer.decision_function(data.z_img_test, data.z_txt), kind="stable")
    mistakes = [row for row in order if predicted[row] != data.labels_test[row]]
    chosen = [("Most certain", order[0]), ("Most uncertain", order[-1])]
    if mistakes:
        chosen.insert(1, ("A typical mistake", mistakes[len(mistakes) // 2]))
    lines: list[str] = []
    for title, row in chosen:
        rank = 1 + int(np.flatnonzero(order == row)[0])
        caption = [
            "",
            title,
            "",
            f"predicted    {data.class_names[predicted[row]]}",
            f"true         {data.class_names[data.labels_test[row]]}",
            f"uncertainty  {uncertainty[row]:.3f}",
            f"rank         {rank} of {len(order)}, from certain to uncertain",
            "",
        ]
        lines += [
            f"  |{left}|  {right}".rstrip()
            for left, right in zip(draw(data.images_test[row]), caption, strict=True)
        ]
        lines.append("")
    return lines[:-1]


def draw(image: NDArray[np.float64]) -> list[str]:
    """Draw an image of values in [0, 16] as lines of characters, two a pixel because they are narrow.

    Parameters
    ----------
    image : ndarray of shape (height, width)
        The pixels, 0 for paper.

    Returns
    -------
    list of str
        One line a row.

    Examples
    --------
    >>> draw(np.array([[0.0, 16.0], [8.0, 0.0]]))
    ['  @@', '==  ']
    """
    levels = (image / 16 * (len(SHADES) - 1)).astype(int)
    return ["".join(2 * SHADES[level] for level in row) for row in levels]


def _describe(data: DigitsVLM, seconds: float) -> str:
    n_fit, n_test = len(data.labels_fit), len(data.labels_test)
    return f"""\
{TRAIN_IMAGES + n_fit + n_test} real handwritten digits of 8 x 8 pixels. On {TRAIN_IMAGES} of them, \
with captions such as "the digit seven",
a small image-text model was trained the way CLIP is ({seconds:.1f} s). It names a digit by comparing its
image with the texts "a handwritten zero" to "a handwritten nine", and is sometimes wrong.

On {n_fit} other images every scorer learns when the model is wrong (some need no learning); it sees
embeddings only. On the last {n_test} images all are compared: do the wrong answers get the higher
uncertainty?

Fitting takes"""


def _triage(scorer: Scorer, baseline: Scorer, data: DigitsVLM) -> str:
    """Say what handing the most uncertain fifth to a person would bring."""
    failure = scorer.predict(data.z_img_test, data.z_txt) != data.labels_test

    def accuracy(chosen: Scorer) -> str:
        decision = chosen.decision_function(data.z_img_test, data.z_txt)
        return f"{100 * (1 - risk_at_coverage(decision, failure, 0.8)):.1f} %"

    return f"""\
The model is right on {100 * (1 - failure.mean()):.1f} % of the images. If a person takes over the fifth \
that is most uncertain,
it is right on {accuracy(scorer)} of the others with {SHOWN}, and on {accuracy(baseline)} with MCM.

Three predictions and their uncertainty by {SHOWN}:"""


def _next_step(logit_scale: float) -> str:
    return f"""\
Next: your own embeddings. With image embeddings z_img (N, d), text embeddings z_txt (K, d) of the class
names, the labels (N,) and the logit scale of your model (here {logit_scale:.1f}, 100 for CLIP):

    from vilu_sdk import ViLUEstimator
    est = ViLUEstimator(logit_scale=100).fit(z_img, z_txt, labels)
    u = est.predict_uncertainty(new_z_img, z_txt)  # higher = more likely wrong

How to get them from CLIP, and everything else: examples/ and README.md of the repository."""
