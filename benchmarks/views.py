"""Settings of the published networks that its paper does not state, compared on train rows left out.

    python benchmarks/views.py noise --embeddings FOLDER [--sets dtd,ucf101_objects] [--epochs 150]
    python benchmarks/views.py adapt --embeddings FOLDER [--sets caltech101,dtd,ucf101_objects]

`noise` fits the published recipe on three quarters of the train rows of each set with several levels of
`view_noise`, and scores the rest. `adapt` fits it on the train rows of the first set, adapts it to 50 and to
5 images a class of each other set with several settings, and scores the other train rows of that set. AUC /
FPR95 in percent; no test row is looked at.
"""

import copy

import numpy as np
import torch
from _sets import open_sets, parser
from sklearn.model_selection import StratifiedKFold

from vilu_sdk import MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.evaluation import failure_metrics

LEVELS = (0.0, 0.5, 0.7, 1.0, 1.4)
# Epochs, batch size and rate.
SETTINGS = ((50, 128, 0.001), (50, 32, 0.01), (20, 32, 0.1), (50, 32, 0.1), (100, 32, 0.1), (50, 16, 0.1))


def judge(scorer, images, text, labels) -> str:
    found = failure_metrics(scorer.decision_function(images, text), scorer.predict(images, text) != labels)
    return f"{100 * found['auc']:.1f} / {100 * found['fpr95']:.1f}"


def noise(sets, epochs: int) -> None:
    print(f"| set | {' | '.join(f'{level:g}' for level in LEVELS)} |\n|---|{'---:|' * len(LEVELS)}")
    for name, ((images, text, labels), _, scale) in sets.items():
        folds = StratifiedKFold(4, shuffle=True, random_state=0)
        rest, held = next(iter(folds.split(images, labels)))
        cells = []
        for level in LEVELS:
            recipe = PaperRecipe(epochs=epochs, view_noise=level)
            scorer = ViLUEstimator(recipe, logit_scale=scale, random_state=0)
            scorer.fit(images[rest], text, labels[rest])
            cells.append(judge(scorer, images[held], text, labels[held]))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def adapt(sets, epochs: int) -> None:
    (source, (train, _, scale)), *targets = sets.items()
    recipe = PaperRecipe(epochs=epochs, mcm_input=True)
    fitted = ViLUEstimator(recipe, logit_scale=scale, random_state=0).fit(*train)
    headers = [f"{rounds} × {batch}, {rate:g}" for rounds, batch, rate in SETTINGS]
    print(f"fitted on {source}; epochs × batch, rate\n")
    print(f"| set | images | MCM | before | {' | '.join(headers)} |\n|---|{'---:|' * (3 + len(headers))}")
    for name, ((images, text, labels), _, _) in targets:
        order = np.random.default_rng(0).permutation(len(labels))
        of_class = [order[labels[order] == label][:5] for label in range(len(text))]
        for few in (order[:50], np.concatenate(of_class)):
            rest = np.setdiff1d(order, few)
            known = images[rest], text, labels[rest]
            cells = [judge(MCMScorer(logit_scale=scale), *known), judge(fitted, *known)]
            for rounds, batch, rate in SETTINGS:
                moved = copy.deepcopy(fitted)
                moved.recipe.set_params(adapt_epochs=rounds, adapt_batch_size=batch, adapt_learning_rate=rate)
                moved.adapt(images[few], text, labels[few])
                cells.append(judge(moved, *known))
            print(f"| {name} | {len(few)} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    made = parser(__doc__, ("caltech101", "dtd", "ucf101_objects"))
    made.add_argument("what", choices=("noise", "adapt"))
    made.add_argument("--epochs", type=int, default=150)
    arguments = made.parse_args()
    torch.set_num_threads(1)
    sets = open_sets(arguments.embeddings, arguments.sets)
    {"noise": noise, "adapt": adapt}[arguments.what](sets, arguments.epochs)


if __name__ == "__main__":
    main()
