"""How well moved labels are found, as a Markdown table.

    python benchmarks/label_issues.py --embeddings FOLDER [--sets dtd,imagenet] [--seeds 3]

FOLDER holds .npz files as `benchmarks/_sets.py` reads them. A tenth of the train labels is moved to another
class, half of them to the likeliest other one by the zero-shot model. AUC and average precision of finding
them, in percent: by the zero-shot probability of the label, by the share of the ten nearest other images
that have another label, and by `find_label_issues`; how many of the moved labels it puts right, and its
seconds.
"""

import time
from typing import Any

import _sets
import numpy as np
from _sets import EmbeddingSet, open_sets
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.compute.progress import track
from vilu_sdk.labels import find_label_issues

SETS = ("dtd", "stanford_cars", "imagenet", "ucf101_objects", "sun397", "caltech101", "cifar10_tower")
HEAD = ("set", "labels", "zero-shot p(label)", "10 neighbours", "find_label_issues", "put right", "seconds")
MOVED, NEIGHBOURS = 0.1, 10


def move_labels(labels: Any, zero_shot: Any, rng: np.random.Generator) -> Any:
    """Return labels of which some are moved, half of these to the likeliest other class."""
    n, k = zero_shot.shape
    given = labels.copy()
    likely, any_other = np.array_split(rng.permutation(n)[: round(MOVED * n)], 2)
    others = zero_shot[likely].copy()
    others[np.arange(len(likely)), labels[likely]] = -np.inf
    given[likely] = others.argmax(axis=1)
    given[any_other] = (labels[any_other] + rng.integers(1, k, size=len(any_other))) % k
    return given


def neighbours(z_img: Any, labels: Any) -> Any:
    """Share of the nearest other images, by cosine, that have another label."""
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS + 1, metric="cosine").fit(z_img)
    near = nearest.kneighbors(z_img, return_distance=False)[:, 1:]
    return (labels[near] != labels[:, None]).mean(axis=1)


def measure(data: EmbeddingSet, seed: int) -> list[float]:
    z_img, z_txt, labels = data.train
    zero_shot = MCMScorer(logit_scale=data.logit_scale).predict_log_proba(z_img, z_txt)
    given = move_labels(labels, zero_shot, np.random.default_rng(seed))
    wrong = given != labels
    est = ViLUEstimator(logit_scale=data.logit_scale, random_state=seed)
    start = time.perf_counter()
    issues = find_label_issues(z_img, z_txt, given, scorer=est)
    seconds = time.perf_counter() - start
    found = []
    for score in (-zero_shot[np.arange(len(given)), given], neighbours(z_img, given), issues.score):
        found += [roc_auc_score(wrong, score), average_precision_score(wrong, score)]
    return [*found, (issues.suggested == labels)[wrong].mean(), seconds]


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for name, data in open_sets(arguments.embeddings, arguments.sets).items():
        runs = [measure(data, seed) for seed in track(range(arguments.seeds), name)]
        *found, right, seconds = np.mean(runs, axis=0)
        pairs = [f"{100 * auc:.1f} / {100 * ap:.1f}" for auc, ap in zip(found[::2], found[1::2], strict=True)]
        cells = [name, str(len(data.train[2])), *pairs, f"{100 * right:.0f}", f"{seconds:.1f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
