"""Which images are worth a label? Ask the uncertainty that the labels so far have taught.

    python examples/active_learning.py
    python examples/active_learning.py --files z_img.npy z_txt.npy labels.npy --logit-scale 100

Starts with a few random labels. Then, in rounds, it asks for those of the images whose uncertainty is nearest
to one half, of which it knows least whether the prediction is right. Compares this with the most uncertain
images and with random ones, by how well ViLU then finds failures among images never used.
"""

import argparse
import warnings
from typing import Any

import numpy as np

from vilu_sdk import ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.evaluation import evaluate

# From uncertainties (n,) to what is asked first, smallest first.
STRATEGIES = {
    "random": lambda uncertainty, rng: rng.random(len(uncertainty)),
    "most uncertain": lambda uncertainty, rng: -uncertainty,
    "nearest one half": lambda uncertainty, rng: np.abs(uncertainty - 0.5),
}


def fit(z_img: Any, z_txt: Any, labels: Any, logit_scale: float) -> ViLUEstimator:
    with warnings.catch_warnings():
        # Where the first labels hold too few failures, it says so and stays at MCM.
        warnings.filterwarnings("ignore", message="ViLUEstimator learned nothing", category=UserWarning)
        return ViLUEstimator(logit_scale=logit_scale, random_state=0).fit(z_img, z_txt, labels)


def main(
    z_img: Any, z_txt: Any, labels: Any, logit_scale: float, *, step: int, seeds: int, rounds: int = 3
) -> dict[str, np.ndarray]:
    """Return for each strategy the AUC in percent, (seeds, rounds + 1)."""
    columns = [f"{step * (j + 1):6} labels" for j in range(rounds + 1)]
    print("AUC % with       " + "".join(columns), "  failures labelled")
    results = {}
    for name, priority in STRATEGIES.items():
        auc, found = np.empty((seeds, rounds + 1)), np.empty(seeds)
        for seed in range(seeds):
            rng = np.random.default_rng(seed)  # for every strategy the same halves and first labels
            pool, held = np.array_split(rng.permutation(len(labels)), 2)
            labelled, pool = pool[:step], pool[step:]
            for j in range(rounds + 1):
                vilu = fit(z_img[labelled], z_txt, labels[labelled], logit_scale)
                auc[seed, j] = 100 * evaluate(vilu, z_img[held], z_txt, labels[held])["auc"]
                if j < rounds:
                    asked = np.argsort(priority(vilu.predict_uncertainty(z_img[pool], z_txt), rng))[:step]
                    labelled, pool = np.append(labelled, pool[asked]), np.delete(pool, asked)
            found[seed] = (vilu.predict(z_img[labelled], z_txt) != labels[labelled]).sum()
        results[name] = auc
        print(
            f"{name:17}" + "".join(f"{value:13.1f}" for value in auc.mean(axis=0)) + f"{found.mean():20.0f}"
        )
    lead = results["nearest one half"] - results["random"]
    print("\nnearest one half minus random: " + ", ".join(f"{x:+.1f}" for x in lead.mean(axis=0)[1:]), end="")
    print(f" points; at the end better in {(lead[:, -1] > 0).sum()} of {seeds} seeds")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Active learning by uncertainty.")
    parser.add_argument("--files", nargs=3, metavar=("IMAGES", "TEXTS", "LABELS"), help=".npy files")
    parser.add_argument("--logit-scale", type=float, default=100.0, help="of the model behind the files")
    parser.add_argument("--step", type=int, default=50, help="labels of a round")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    if options.files:
        arrays, scale = map(np.load, options.files), options.logit_scale
        main(*arrays, scale, step=options.step, seeds=options.seeds)
    else:
        data = load_digits_vlm()
        images = np.concatenate([data.z_img_fit, data.z_img_test])
        digits = np.concatenate([data.labels_fit, data.labels_test])
        main(images, data.z_txt, digits, data.logit_scale, step=options.step, seeds=options.seeds)
