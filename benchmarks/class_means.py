"""What it is worth to leave each image out of its class mean, where class means stand in for texts.

python benchmarks/class_means.py                                # scikit-learn's digits
python benchmarks/class_means.py --embeddings dtd.npz cars.npz  # yours: z_img_*, labels_* of train and test

Prints how well scorers do on new images, for several numbers of images a class that they were fitted on.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from _sets import read_set
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from vilu_sdk import RelUScorer, TemperatureScaledMCMScorer, ViLUEstimator
from vilu_sdk.evaluation import failure_metrics

SHOTS = (4, 8, 16, 40)
REPEATS = 5


def digits():
    X, y = load_digits(return_X_y=True)
    train, test, y_train, y_test = train_test_split(
        X - X.mean(0), y, test_size=0.5, stratify=y, random_state=0
    )
    return train, y_train, test, y_test


def embeddings(path):
    (z_img, _, labels), (z_img_test, _, labels_test), _ = read_set(path)
    return z_img, labels, z_img_test, labels_test


def measure(scorer, X, y, X_test, y_test):
    """Metrics of a fit that leaves images out of their class means, and of one that does not."""
    bound = scorer.bind(None).fit(X, y)
    naive = clone(scorer).fit(X, bound.z_txt_set_, np.searchsorted(bound.classes_, y))
    failure = bound.find_failures(X_test, y_test)
    for name, fitted in (("in sample", naive), ("left out", bound.scorer_)):
        u = fitted.predict_uncertainty(X_test, bound.z_txt_set_)
        metrics = failure_metrics(u, failure, probability=fitted.is_probability)
        yield name, [failure.mean(), metrics["auc"], metrics["aurc"], metrics.get("ece", np.nan)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--embeddings", nargs="*", type=Path, default=[])
    paths = parser.parse_args().embeddings
    sets = {path.stem: (embeddings(path), 100.0) for path in paths} or {"digits": (digits(), 10.0)}
    warnings.simplefilter("ignore")
    print("| data | images a class | scorer | fit | wrong % | AUC % | AURC % | ECE % |")
    print("|---|---|---|---|---|---|---|---|")
    for name, ((X, y, X_test, y_test), scale) in sets.items():
        scorers = [
            TemperatureScaledMCMScorer(logit_scale=scale),
            RelUScorer(logit_scale=scale),
            ViLUEstimator(logit_scale=scale, random_state=0),
        ]
        for shots in SHOTS:
            values: dict[tuple[str, str], list[list[float]]] = {}
            for seed in range(REPEATS):
                order = np.random.default_rng(seed).permutation(len(y))
                rows = np.concatenate([order[y[order] == label][:shots] for label in np.unique(y)])
                for scorer in scorers:
                    for fit, metrics in measure(scorer, X[rows], y[rows], X_test, y_test):
                        values.setdefault((type(scorer).__name__, fit), []).append(metrics)
            for (scorer, fit), rows in values.items():
                cells = " | ".join("–" if np.isnan(v) else f"{100 * v:.1f}" for v in np.mean(rows, axis=0))
                print(f"| {name} | {shots} | {scorer} | {fit} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
