"""What `ViLUEstimator().partial_adapt` makes of a stream of unlabelled images, as a Markdown table.

    python benchmarks/streams.py --embeddings FOLDER [--sets dtd,sun397] [--batches 20] [--seeds 2]

AUC on test images, in percent, after all train images: `adapt` with all at once, and `partial_adapt` in so
many batches; of images in random order, in the order of their classes, and of one half of the classes after
the other (scored on images of the half that came last), with a memory of half the images.
FOLDER holds .npz files as `benchmarks/_sets.py` reads them.
"""

import _sets
import numpy as np
from _sets import open_sets
from adaptation import Rows
from sklearn.metrics import roc_auc_score

from vilu_sdk import MCMScorer, ViLUEstimator

SETS = ("dtd", "stanford_cars", "imagenet", "sun397", "caltech101", "ucf101_objects")
HEAD = (
    *("set", "MCM", "at once", "batches", "by class", "lowest on the way"),
    *("last half: MCM", "at once", "batches"),
)


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for name, data in open_sets(arguments.embeddings, arguments.sets).items():
        (z_img, z_txt, labels), (test, _, known) = data.train, data.test
        scale, runs = {"logit_scale": data.logit_scale}, []

        def auc(scorer: MCMScorer | ViLUEstimator, rows: Rows) -> float:
            wrong = scorer.predict(test[rows], z_txt) != known[rows]  # noqa: B023, called at once
            values = scorer.decision_function(test[rows], z_txt)  # noqa: B023
            return 100 * float(roc_auc_score(wrong, values))

        def follow(order: Rows, rows: Rows, memory: float = 10_000) -> list[float]:
            estimator, found = ViLUEstimator(**scale), []  # noqa: B023
            for batch in np.array_split(order, arguments.batches):
                estimator.partial_adapt(z_img[batch], z_txt, memory=memory)  # noqa: B023
                found.append(auc(estimator, rows))
            return found

        for seed in range(arguments.seeds):
            rng = np.random.default_rng(seed)
            order, every = rng.permutation(len(labels)), np.arange(len(known))
            late = rng.permutation(len(z_txt)) < len(z_txt) // 2
            last, halves = np.flatnonzero(late[known]), order[np.argsort(late[labels[order]], kind="stable")]
            by_class = follow(order[np.argsort(labels[order], kind="stable")], every)
            at_once = ViLUEstimator(**scale).adapt(z_img, z_txt)
            runs.append(
                [
                    *(auc(MCMScorer(**scale), every), auc(at_once, every), follow(order, every)[-1]),
                    *(by_class[-1], min(by_class), auc(MCMScorer(**scale), last), auc(at_once, last)),
                    follow(halves, last, len(labels) / 2)[-1],
                ]
            )
        cells = " | ".join(f"{value:.1f}" for value in np.mean(runs, axis=0))
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
