"""`vilu demo`: all scorers on a tiny, real vision-language model, or its data as files to try commands on."""

import io
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from vilu_sdk.cli._arguments import REPORT_PAGE as REPORT
from vilu_sdk.cli._outputs import write_folder
from vilu_sdk.datasets import TRAIN_IMAGES, DigitsVLM, load_digits_vlm, single_thread
from vilu_sdk.evaluation import compare, risk_at_coverage
from vilu_sdk.report import report
from vilu_sdk.scorers import (
    BayesVLMScorer,
    DeltaKNNScorer,
    DeltaMDSScorer,
    DoctorScorer,
    EntropyScorer,
    ICPEScorer,
    LVUScorer,
    MarginScorer,
    MCMScorer,
    PaperRecipe,
    ProbVLMScorer,
    RelUScorer,
    SoftmaxHeadScorer,
    TemperatureScaledMCMScorer,
    TrustVLMScorer,
    ViLUEstimator,
)
from vilu_sdk.scorers.base.scorer import Scorer
from vilu_sdk.selective import SelectivePredictor

# The scorer whose predictions are shown.
SHOWN = "ViLU"
# Characters for the shades of an image, from paper to ink.
SHADES = " .:-=+*#%@"
# Headings of the chapters.
TITLES = {
    "data": "A tiny vision-language model",
    "table": "Which scorer finds the failures",
    "examples": "What a user sees",
    "report": "The whole report",
    "next": "What to do now",
}


def run(arguments: Namespace) -> int:
    """Print the demonstration, or write its data."""
    if arguments.data is not None:
        folder = Path(arguments.data).expanduser()
        said, next_ = write_data(folder, arguments.random_state, arguments.overwrite)
        print(said if arguments.quiet else f"{said} {next_}")
        return 0
    quiet = arguments.quiet
    page = REPORT if arguments.report is None and not quiet else arguments.report
    for chapter, text in chapters(arguments.random_state, page):
        if not quiet and chapter in TITLES:
            print(f"\n{TITLES[chapter]}\n{'=' * len(TITLES[chapter])}\n")
        if not quiet or chapter == "table":
            print(text, flush=True)
    return 0


def write_data(folder: Path, random_state: int, overwrite: bool = False) -> tuple[str, str]:
    """Write the digits as files of embeddings and labels; return what they are, and commands to try."""
    data = load_digits_vlm(random_state)
    arrays: dict[str, NDArray[Any]] = {
        "images": data.z_img_fit,
        "labels": data.labels_fit,
        "new-images": data.z_img_test,
        "new-labels": data.labels_test,
        "texts": data.z_txt,
    }
    files = {f"{name}.npy": _npy(values) for name, values in arrays.items()}
    files["names.txt"] = "".join(f"{name}\n" for name in data.class_names).encode()
    write_folder(folder, files, overwrite=overwrite)
    said = (
        f"{len(data.labels_fit)} images to fit on and {len(data.labels_test)} new ones, "
        f"{len(data.z_txt)} texts, logit scale {data.logit_scale:.2f}."
    )
    return (
        said,
        f"""\
Go on with

    cd {folder}
    vilu fit images.npy texts.npy --labels labels.npy --logit-scale {data.logit_scale:.2f} -o my-scorer
    vilu score new-images.npy texts.npy --names names.txt --scorer my-scorer -o scores.csv""",
    )


def _npy(values: NDArray[Any]) -> bytes:
    """Return an array as the bytes of a file."""
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def scorers(logit_scale: float, random_state: int = 0) -> dict[str, Scorer]:
    """Return every scorer of the SDK, unfitted, by its name in the table; long trainings are shortened."""
    # Fewer epochs, with the largest learning rate of the paper's grid.
    short: dict[str, Any] = {"epochs": 100, "learning_rate": 0.1}
    chosen: dict[str, Scorer] = {
        "MCM": MCMScorer(),
        "MCM, temperature-scaled": TemperatureScaledMCMScorer(),
        "Entropy": EntropyScorer(),
        "DOCTOR": DoctorScorer(),
        "Margin": MarginScorer(),
        "Softmax head": SoftmaxHeadScorer(),
        "Rel-U": RelUScorer(),
        "TrustVLM": TrustVLMScorer(),
        "ICPE": ICPEScorer(),
        "Δ-KNN": DeltaKNNScorer(),
        "Δ-MDS": DeltaMDSScorer(),
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


def chapters(random_state: int = 0, report_path: str | Path | None = None) -> Iterator[tuple[str, str]]:
    """Run the demonstration, and yield the name and the text of each chapter as it ends."""
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

    # Fitted here because `compare` keeps no fitted scorer, and the examples need one.
    with single_thread():
        scored = compare(fitted, data.z_img_test, data.z_txt, data.labels_test, fit=False)
    rows = [row | {"fit_seconds": seconds[row["scorer"]]} for row in scored.to_dicts()]
    yield "table", str(replace(scored, rows=rows))

    shown = fitted[SHOWN]
    yield "examples", f"{_triage(shown, fitted['MCM'], data)}\n\n{show_examples(shown, data)}"
    if report_path is not None:
        yield "report", write_report(fitted, data, report_path)
    yield "next", _next_step(data.logit_scale)


def write_report(fitted: Mapping[str, Scorer], data: DigitsVLM, path: str | Path) -> str:
    """Write a page on the scorers and a certified threshold; return its place, or why there is none."""
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


def show_examples(scorer: Scorer, data: DigitsVLM) -> str:
    """Draw the most certain test image, the mistake of median uncertainty and the most uncertain image."""
    predicted = scorer.predict(data.z_img_test, data.z_txt)
    uncertainty = scorer.predict_uncertainty(data.z_img_test, data.z_txt)
    order = np.argsort(scorer.decision_function(data.z_img_test, data.z_txt), kind="stable")
    mistakes = [row for row in order if predicted[row] != data.labels_test[row]]
    chosen = [("Most certain", order[0]), ("Most uncertain", order[-1])]
    if mistakes:
        chosen.insert(1, ("A typical mistake", mistakes[len(mistakes) // 2]))
    examples = []
    for title, row in chosen:
        caption = f"""
{title}

predicted    {data.class_names[predicted[row]]}
true         {data.class_names[data.labels_test[row]]}
uncertainty  {uncertainty[row]:.3f}
rank         {1 + int(np.flatnonzero(order == row)[0])} of {len(order)}, from certain to uncertain
"""
        beside = zip(draw(data.images_test[row]), caption.split("\n"), strict=True)
        examples.append("\n".join(f"  |{left}|  {right}".rstrip() for left, right in beside))
    return "\n\n".join(examples)


def draw(image: NDArray[np.float64]) -> list[str]:
    """Draw an image of values in [0, 16], 0 for paper, (height, width), as lines of two characters a pixel.

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
    """Return the accuracy that is left if a person takes over the most uncertain fifth, in words."""
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

How to get them from CLIP, and everything else: vilu examples."""
