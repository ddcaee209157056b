"""What repeated images do to the default recipe: views, frames or copies of the images of a fit, as Markdown.

    python benchmarks/repeats.py --embeddings FOLDER [--sets dtd,sun397] [--images 300] [--seeds 3]

FOLDER holds class sets as .npz files. So many images of the train rows are given in 1, 2, 4 or 10 copies,
each with noise of its own in units of the spread within classes, and judged on the test rows: the AUC of
finding failures in percent, the negative log-likelihood in nats and the calibration error, with the groups
told and not told. "warned" is in how many of the fits without groups there was a warning.
"""

import sys
import warnings

import numpy as np
from _sets import EmbeddingSet, open_sets, parser
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from vilu_sdk import ViLUEstimator
from vilu_sdk.evaluation import evaluate
from vilu_sdk.exceptions import RepeatedImagesWarning

SETS = ("dtd", "ucf101_objects", "sun397")
COPIES, NOISES = (1, 2, 4, 10), (0.0, 0.1, 0.2, 0.4)


def repeat(given: EmbeddingSet, rows: NDArray[np.int64], noise: float, seed: int) -> NDArray[np.float32]:
    """Return images of some train rows with noise of so many times the spread within classes."""
    z_img, _, labels = given.train
    z_img = z_img / np.linalg.norm(z_img, axis=1, keepdims=True)
    sums = np.zeros((labels.max() + 1, z_img.shape[1]))
    np.add.at(sums, labels, z_img)
    means = sums / np.maximum(np.bincount(labels), 1)[:, None]
    spread = np.sqrt(np.square(z_img - means[labels]).sum(axis=1).mean())
    drawn = np.random.default_rng(seed).normal(size=(len(rows), z_img.shape[1])) / z_img.shape[1] ** 0.5
    return np.asarray(z_img[rows] + noise * spread * drawn, dtype=np.float32)


def measure(given: EmbeddingSet, n: int, copies: int, noise: float, told: bool, seed: int) -> list[float]:
    """Return the metrics on the test rows, and whether the fit warned."""
    assert given.test is not None
    z_img, z_txt, labels = given.train
    rows = np.random.default_rng(seed).permutation(len(z_img))[:n].repeat(copies)
    est = ViLUEstimator(logit_scale=given.logit_scale, random_state=seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est.fit(repeat(given, rows, noise, seed), z_txt, labels[rows], groups=rows if told else None)
        found = evaluate(est, *given.test)
        wrong = est.predict(*given.test[:2]) != given.test[2]
        nll = log_loss(wrong, est.predict_uncertainty(*given.test[:2]))
    warned = any(issubclass(one.category, RepeatedImagesWarning) for one in caught)
    return [100 * found["auc"], nll, found["ece"], float(warned)]


def main() -> int:
    made = parser(__doc__, SETS)
    made.add_argument("--images", type=int, default=300)
    made.add_argument("--seeds", type=int, default=3)
    arguments = made.parse_args()
    print("| set | noise | copies | groups told: AUC / NLL / ECE | not told | warned |")
    print("|---|---|---|---|---|---|")
    for name, given in open_sets(arguments.embeddings, arguments.sets).items():
        for noise in NOISES:
            for copies in COPIES:
                told, blind = (
                    np.mean(
                        [
                            measure(given, arguments.images, copies, noise, know, seed)
                            for seed in range(arguments.seeds)
                        ],
                        axis=0,
                    )
                    for know in (True, False)
                )
                cells = [f"{x[0]:.1f} / {x[1]:.3f} / {x[2]:.3f}" for x in (told, blind)]
                print(
                    f"| {name} | {noise} | {copies} | {cells[0]} | {cells[1]} | {blind[3]:.0%} |", flush=True
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
