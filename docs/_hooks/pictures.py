"""Draw the pictures of `docs/concepts.md` and `docs/open_world.md` from the digits data set.

    python docs/_hooks/pictures.py

writes them into docs/img. Each file holds, as its description, the numbers it shows; the suite computes them
anew and compares.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.datasets import DigitsVLM, load_digits_vlm, single_thread
from vilu_sdk.displays import ReliabilityDisplay, RiskCoverageDisplay, ROCDisplay, ScoreDistributionDisplay
from vilu_sdk.displays._style import FONT, RIGHT, WRONG
from vilu_sdk.selective import SelectivePredictor

FOLDER = Path(__file__).parents[1] / "img"
# Test images that calibrate the threshold of the risk-coverage picture; the others draw its curves.
CALIBRATION = 400


def pictures() -> Iterator[tuple[str, Figure, dict[str, float]]]:
    """Yield name, figure and the numbers shown, for each picture."""
    data = load_digits_vlm()
    mcm = MCMScorer(logit_scale=data.logit_scale)
    with single_thread():
        vilu = ViLUEstimator(logit_scale=data.logit_scale, random_state=0)
        vilu.fit(data.z_img_fit, data.z_txt, data.labels_fit)
        yield "softmax", *draw_softmax(data)
        yield "images", *draw_images(data, vilu)
        for name, kind in (("roc", ROCDisplay), ("reliability", ReliabilityDisplay)):
            ax, numbers = None, {}
            for scorer, label in ((mcm, "MCM"), (vilu, "ViLU")):
                display = kind.from_estimator(
                    scorer, data.z_img_test, data.z_txt, data.labels_test, name=label, ax=ax
                )
                ax = display.ax_
                numbers[label] = display.auc if name == "roc" else display.ece
            yield name, ax.figure, numbers
        yield "distribution", *draw_distribution(data, vilu)
        yield "risk_coverage", *draw_risk_coverage(data, mcm, vilu)
        yield "none", *draw_none(data)


def draw_softmax(data: DigitsVLM) -> tuple[Figure, dict[str, float]]:
    """Cosines of two images with the texts and their softmax: a sure prediction and an unsure one."""
    cosines = data.z_img_test @ data.z_txt.T
    p = np.exp(data.logit_scale * cosines)
    p /= p.sum(axis=1, keepdims=True)
    wrong = p.argmax(axis=1) != data.labels_test
    rows = [int(np.where(wrong, -1, p.max(axis=1)).argmax()), int(np.where(wrong, p.max(axis=1), 2).argmin())]
    figure = Figure(figsize=(6.8, 2.9), layout="constrained")
    axes = figure.subplots(2, 3, width_ratios=[1, 2.4, 2.4])
    for row, (image, cosine, softmax) in zip(rows, axes, strict=True):
        image.imshow(16 - data.images_test[row], cmap="gray", vmin=0, vmax=16)
        image.set_xticks([])
        image.set_yticks([])
        image.set_ylabel(f"a {data.class_names[data.labels_test[row]]}", size=FONT)
        for ax, values, top in ((cosine, cosines[row], 1), (softmax, p[row], 1)):
            colours = ["#BBBBBB"] * len(values)
            colours[values.argmax()] = WRONG if wrong[row] else RIGHT
            ax.bar(range(len(values)), values, color=colours)
            ax.set_ylim(min(0, values.min()) * 1.05, top)
            ax.set_xticks(range(len(values)), labels=data.class_names, rotation=90)
            ax.tick_params(labelsize=FONT - 1)
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 1].set_title("cosine with each text", size=FONT)
    axes[0, 2].set_title("softmax of the cosines × logit scale", size=FONT)
    for ax in axes[0, 1:]:
        ax.set_xticklabels([])
    return figure, {"sure": float(p[rows[0]].max()), "unsure": float(p[rows[1]].max())}


def draw_images(data: DigitsVLM, vilu: ViLUEstimator) -> tuple[Figure, dict[str, float]]:
    """The test images ViLU is surest of and least sure of, with predictions and uncertainties."""
    prediction = vilu.predict(data.z_img_test, data.z_txt)
    u = vilu.predict_uncertainty(data.z_img_test, data.z_txt)
    order = np.argsort(u, kind="stable")
    shown = [order[:8], order[::-1][:8]]
    figure = Figure(figsize=(6.8, 2.5), layout="constrained")
    axes = figure.subplots(2, 8)
    for rows, line in zip(shown, axes, strict=True):
        for row, ax in zip(rows, line, strict=True):
            right = prediction[row] == data.labels_test[row]
            ax.imshow(16 - data.images_test[row], cmap="gray", vmin=0, vmax=16)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_title(data.class_names[prediction[row]], size=FONT, color=RIGHT if right else WRONG)
            ax.set_xlabel(f"{100 * u[row]:.1f} %", size=FONT)
            for spine in ax.spines.values():
                spine.set_color(RIGHT if right else WRONG)
    wrong = [float((prediction[rows] != data.labels_test[rows]).sum()) for rows in shown]
    return figure, {"wrong among the surest": wrong[0], "wrong among the least sure": wrong[1]}


def draw_distribution(data: DigitsVLM, vilu: ViLUEstimator) -> tuple[Figure, dict[str, float]]:
    """ViLU's uncertainty of right and of wrong predictions."""
    display = ScoreDistributionDisplay.from_estimator(
        vilu, data.z_img_test, data.z_txt, data.labels_test, name="ViLU"
    )
    u = vilu.predict_uncertainty(data.z_img_test, data.z_txt)
    wrong = vilu.predict(data.z_img_test, data.z_txt) != data.labels_test
    return display.figure_, {"right": float(np.median(u[~wrong])), "wrong": float(np.median(u[wrong]))}


def draw_none(data: DigitsVLM) -> tuple[Figure, dict[str, float]]:
    """Nines among 0 to 4, sure mistakes of a fit: what it says, and what one that saw nines as -1 says."""
    few, known = data.z_txt[:5], data.labels_fit < 5
    labels = np.where(known, data.labels_fit, -1)
    fits = []
    for rows, rate in ((known, 0.0), (known | (data.labels_fit == 9), None)):
        fitted = ViLUEstimator(unknown_rate=rate, logit_scale=data.logit_scale, random_state=0)
        fits.append(fitted.fit(data.z_img_fit[rows], few, labels[rows]))
    nines = data.labels_test == 9
    images, z_img = data.images_test[nines], data.z_img_test[nines]
    before, after = (fitted.predict_uncertainty(z_img, few) for fitted in fits)
    prediction = fits[0].predict(z_img, few)
    sure = np.flatnonzero(before < 0.01)
    figure = Figure(figsize=(6.8, 2.5), layout="constrained")
    axes = figure.subplots(2, 8)
    for u, line, which in ((before, axes[0], "0 to 4 alone"), (after, axes[1], "nines shown")):
        line[0].set_ylabel(which, size=FONT)
        for row, ax in zip(sure[:8], line, strict=True):
            colour = RIGHT if u[row] > 0.5 else WRONG
            ax.imshow(16 - images[row], cmap="gray", vmin=0, vmax=16)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_title(data.class_names[prediction[row]], size=FONT, color=WRONG)
            ax.set_xlabel(f"{100 * u[row]:.1f} %", size=FONT, color=colour)
            for spine in ax.spines.values():
                spine.set_color(colour)
    caught = float((after[sure] > 0.5).sum())
    return figure, {"confident mistakes": float(len(sure)), "caught": caught}


def draw_risk_coverage(
    data: DigitsVLM, mcm: MCMScorer, vilu: ViLUEstimator
) -> tuple[Figure, dict[str, float]]:
    """Errors among predictions kept, with ViLU's threshold for at most 5 %."""
    z_cal, labels_cal = data.z_img_test[:CALIBRATION], data.labels_test[:CALIBRATION]
    rest = (data.z_img_test[CALIBRATION:], data.z_txt, data.labels_test[CALIBRATION:])
    promised = SelectivePredictor(vilu, target_risk=0.05).fit(z_cal, data.z_txt, labels_cal)
    display = RiskCoverageDisplay.from_estimator(mcm, *rest, name="MCM")
    display = RiskCoverageDisplay.from_estimator(promised, *rest, name="ViLU", ax=display.ax_)
    coverage, risk, _ = display.certified
    return display.figure_, {"coverage": float(coverage), "risk": float(risk)}


def describe(numbers: dict[str, float]) -> str:
    """The numbers as text, for the file's description."""
    return "; ".join(f"{name}: {value:.4f}" for name, value in numbers.items())


def main(folder: Path) -> None:
    """Write all pictures."""
    folder.mkdir(exist_ok=True)
    for name, figure, numbers in pictures():
        figure.savefig(folder / f"{name}.png", dpi=160, metadata={"Description": describe(numbers)})
        print(f"{name}: {describe(numbers)}")


if __name__ == "__main__":
    mpl.use("agg")
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
