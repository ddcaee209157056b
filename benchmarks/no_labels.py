"""What each path without labels gains on class sets that the head never saw, beside 50 labels.

    python benchmarks/no_labels.py --embeddings FOLDER [--sets dtd,sun397] [--seeds 3]

Each set in turn is left out, and a head trained on the others as `benchmarks/train_head.py` does. Cells are
AUC / FPR95 on the test images, in percent. "adapt" and "head, adapt" see the train images of the set without
labels, "50 labels" are the mean over seeds of as many random train images. FOLDER holds .npz files of one
backbone as `benchmarks/_sets.py` reads them, two at least.
"""

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import _sets
import numpy as np
import torch
from _sets import open_sets
from adaptation import ClassSet
from train_head import Problem, train

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.evaluation import evaluate

SETS = ("imagenet", "sun397", "stanford_cars", "dtd", "caltech101", "ucf101_objects")
LABELS = 50


def paths(data: ClassSet, head: ViLUEstimator, seed: int) -> Iterator[tuple[str, Any]]:
    """Yield the name of each path, and a scorer for the set."""
    fresh = data.estimator(seed)
    some = np.random.default_rng(seed).permutation(len(data.labels))[:LABELS]
    few = data.z_img[some], data.z_txt, data.labels[some]
    images = data.z_img, data.z_txt
    both = copy.copy(head).adapt(*images)
    yield "MCM", MCMScorer(logit_scale=data.logit_scale)
    yield "head", head
    yield "adapt", copy.copy(fresh).adapt(*images)
    yield "head, adapt", both
    yield f"{LABELS} labels", copy.copy(fresh).fit(*few)
    yield f"head, {LABELS} labels", copy.copy(head).adapt(*few)
    yield f"head, adapt, {LABELS} labels", copy.copy(both).adapt(*few)


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--seeds", type=int, default=3, help="draws of the labelled images")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "ViLUEstimator learned nothing")
    sets = {
        name: ClassSet.of(found) for name, found in open_sets(arguments.embeddings, arguments.sets).items()
    }
    every = []
    for name, data in sets.items():
        others = [Problem(one.z_img, one.z_txt, one.labels) for key, one in sets.items() if key != name]
        head = train(others, data.logit_scale, 0)
        test = data.z_img_test, data.z_txt, data.labels_test
        found: dict[str, list[tuple[float, float]]] = {}
        for seed in range(arguments.seeds):
            for path, scorer in paths(data, head, seed):
                metrics = evaluate(scorer, *test)
                found.setdefault(path, []).append((100 * metrics["auc"], 100 * metrics["fpr95"]))
        if not every:
            print(f"\n| left out | {' | '.join(found)} |\n|---|{'---:|' * len(found)}")
        every.append([np.mean(runs, axis=0) for runs in found.values()])
        show(name, every[-1])
    show("mean", np.mean(every, axis=0))


def show(name: str, cells: Any) -> None:
    """Print a row."""
    print(f"| {name} | {' | '.join(f'{auc:.1f} / {fpr95:.1f}' for auc, fpr95 in cells)} |", flush=True)


if __name__ == "__main__":
    main()
