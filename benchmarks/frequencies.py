"""What estimating class frequencies is worth where not all classes occur, as a Markdown table.

    python benchmarks/frequencies.py --embeddings FOLDER [--sets dtd,imagenet] [--labels 100,all] [--seeds 3]

FOLDER holds .npz files as `benchmarks/_sets.py` reads them. An estimator is fitted on `--labels` train rows
and adapted to test rows without their labels: of all classes, of a random half or fifth of them, or with
frequencies that fall as 1, 1/2, 1/3, … (Zipf). AUC in percent on the same rows: before, and the change with
`frequencies="estimated"`, averaged over seeds, with the worst one in brackets, and how often it declined.
"""

import copy
import warnings

import _sets
import numpy as np
from _sets import EmbeddingSet, by_labels
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from vilu_sdk import ViLUEstimator
from vilu_sdk.exceptions import NothingLearnedWarning

SETS = ("dtd", "stanford_cars", "imagenet", "cifar10_tower")
PRESENT = ("all", "half", "a fifth", "Zipf")
HEAD = ("set", "labels", "classes present", "AUC before", "change (worst)", "declined")


def rows_of(kind: str, labels: NDArray[np.int64], k: int, seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(k)
    if kind == "all":
        return np.arange(len(labels))
    if kind == "Zipf":
        chance = np.empty(k)
        chance[order] = 1 / np.arange(1, k + 1)
        return np.flatnonzero(rng.random(len(labels)) < chance[labels])
    count = k // 2 if kind == "half" else max(2, k // 5)
    return np.flatnonzero(np.isin(labels, order[:count]))


def measure(data: EmbeddingSet, n: int | None, seed: int) -> dict[str, tuple[float, float, bool]]:
    (z_img, z_txt, labels), (test, _, known) = data.train, data.test
    rows = np.random.default_rng(seed).permutation(len(labels))[:n]
    fitted = ViLUEstimator(logit_scale=data.logit_scale, random_state=seed)
    fitted.fit(z_img[rows], z_txt, labels[rows])
    found = {}
    for kind in PRESENT:
        chosen = rows_of(kind, known, len(z_txt), seed)
        images, wrong = test[chosen], fitted.predict(test[chosen], z_txt) != known[chosen]
        if wrong.all() or not wrong.any():
            continue
        before = roc_auc_score(wrong, fitted.decision_function(images, z_txt))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", NothingLearnedWarning)
            moved = copy.copy(fitted).adapt(images, z_txt, frequencies="estimated")
        after = roc_auc_score(wrong, moved.decision_function(images, z_txt))
        found[kind] = before, after - before, bool(caught)
    return found


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    for name, size, runs in by_labels(parser, HEAD, measure, labels="100,500,all", seeds=3):
        for kind in PRESENT:
            rows = [run[kind] for run in runs if kind in run]
            if not rows:
                continue
            before, change, declined = (np.array(column) for column in zip(*rows, strict=True))
            cells = f"{100 * before.mean():.1f} | {100 * change.mean():+.1f} ({100 * change.min():+.1f})"
            print(f"| {name} | {size} | {kind} | {cells} | {declined.sum()} of {len(rows)} |", flush=True)


if __name__ == "__main__":
    main()
