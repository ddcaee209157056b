"""Settings of the published networks that its paper does not state, compared on train rows left out.

    python benchmarks/views.py noise --embeddings FOLDER --sets dtd,ucf101_objects [--epochs 300] [--folds 3]
    python benchmarks/views.py adapt --embeddings FOLDER [--sets caltech101,dtd,ucf101_objects] [--scorer lvu]

`noise` fits the published recipe, or LVU, on three quarters of the train rows of each set with several levels
of `view_noise`, and scores the rest; with several folds it prints the mean. `adapt` fits on the train rows of
the first set, adapts to 50 and to 5 images a class of each other set with several settings, and scores the
other train rows of that set. AUC / FPR95 in percent; no test row is looked at.
"""

import copy
from itertools import islice
from typing import Any

import numpy as np
import torch
from _sets import open_sets, parser
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from vilu_sdk import LVUScorer, MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.evaluation import failure_metrics

LEVELS = (0.0, 0.5, 0.7, 1.0, 1.4)
# Epochs, batch size and rate.
SETTINGS = {
    "vilu": ((50, 128, 0.001), (50, 32, 0.01), (20, 32, 0.1), (50, 32, 0.1), (100, 32, 0.1), (50, 16, 0.1)),
    "lvu": ((50, 128, 0.001), (50, 32, 0.01), (20, 32, 0.05), (50, 32, 0.05), (100, 32, 0.05), (50, 32, 0.1)),
}


def build(scorer: str, scale: float, epochs: int, seed: int = 0, **changes: Any) -> Any:
    """Return the published recipe or LVU, unfitted."""
    if scorer == "lvu":
        return LVUScorer(logit_scale=scale, epochs=epochs, random_state=seed, **changes)
    return ViLUEstimator(PaperRecipe(epochs=epochs, **changes), logit_scale=scale, random_state=seed)


def judge(scorer, images, text, labels) -> NDArray[np.float64]:
    """AUC and FPR95 in percent."""
    found = failure_metrics(scorer.decision_function(images, text), scorer.predict(images, text) != labels)
    return 100 * np.array([found["auc"], found["fpr95"]])


def cell(found: NDArray[np.float64]) -> str:
    return f"{found[0]:.1f} / {found[1]:.1f}"


def noise(sets, scorer: str, epochs: int, n_folds: int) -> None:
    print(f"| set | {' | '.join(f'{level:g}' for level in LEVELS)} |\n|---|{'---:|' * len(LEVELS)}")
    for name, ((images, text, labels), _, scale) in sets.items():
        folds = StratifiedKFold(4, shuffle=True, random_state=0)
        found = np.zeros((len(LEVELS), 2))
        for seed, (rest, held) in enumerate(islice(folds.split(images, labels), n_folds)):
            for row, level in enumerate(LEVELS):
                fitted = build(scorer, scale, epochs, seed, view_noise=level)
                fitted.fit(images[rest], text, labels[rest])
                found[row] += judge(fitted, images[held], text, labels[held]) / n_folds
        print(f"| {name} | {' | '.join(map(cell, found))} |", flush=True)


def adapt(sets, scorer: str, epochs: int) -> None:
    (source, (train, _, scale)), *targets = sets.items()
    changes = {} if scorer == "lvu" else {"mcm_input": True}
    fitted = build(scorer, scale, epochs, **changes).fit(*train)
    headers = [f"{rounds} × {batch}, {rate:g}" for rounds, batch, rate in SETTINGS[scorer]]
    print(f"fitted on {source}; epochs × batch, rate\n")
    print(f"| set | images | MCM | before | {' | '.join(headers)} |\n|---|{'---:|' * (3 + len(headers))}")
    for name, ((images, text, labels), _, _) in targets:
        order = np.random.default_rng(0).permutation(len(labels))
        of_class = [order[labels[order] == label][:5] for label in range(len(text))]
        for few in (order[:50], np.concatenate(of_class)):
            rest = np.setdiff1d(order, few)
            known = images[rest], text, labels[rest]
            cells = [judge(MCMScorer(logit_scale=scale), *known), judge(fitted, *known)]
            for rounds, batch, rate in SETTINGS[scorer]:
                moved = copy.deepcopy(fitted)
                settings = {"adapt_epochs": rounds, "adapt_batch_size": batch, "adapt_learning_rate": rate}
                (moved if scorer == "lvu" else moved.recipe).set_params(**settings)
                cells.append(judge(moved.adapt(images[few], text, labels[few]), *known))
            print(f"| {name} | {len(few)} | {' | '.join(map(cell, cells))} |", flush=True)


def main() -> None:
    made = parser(__doc__, ("caltech101", "dtd", "ucf101_objects"))
    made.add_argument("what", choices=("noise", "adapt"))
    made.add_argument(
        "--scorer", choices=sorted(SETTINGS), default="vilu", help="vilu is the published recipe"
    )
    made.add_argument("--epochs", type=int, default=150)
    made.add_argument("--folds", type=int, default=1, help="of four, of `noise`")
    arguments = made.parse_args()
    torch.set_num_threads(1)
    sets = open_sets(arguments.embeddings, arguments.sets)
    if arguments.what == "noise":
        noise(sets, arguments.scorer, arguments.epochs, arguments.folds)
    else:
        adapt(sets, arguments.scorer, arguments.epochs)


if __name__ == "__main__":
    main()
