"""How long the default recipe takes to rank as well as the published one does after all its epochs.

Both learn from the training part of class sets (npz files with z_img_train, labels_train, z_img_test,
labels_test, z_txt and perhaps logit_scale; by default the digits of the demonstration) and are judged on the
test part, in one process; with --seeds an AUC is a mean, with its standard deviation.

python benchmarks/time_to_auc.py --seeds 3
python benchmarks/time_to_auc.py --seeds 3 EMBEDDINGS/dtd.npz EMBEDDINGS/stanford_cars.npz
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from _sets import read_set

from vilu_sdk import MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.evaluation import evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, nargs="*")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=1, help="how many runs to average")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads\n")
    print("| set | images | MCM | published | its seconds | default | its seconds | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for path in args.sets or [None]:
        train, test, scale = read_set(path)
        recipe = PaperRecipe(epochs=args.epochs, learning_rate=args.learning_rate)
        cells, means = [], []
        for way in (recipe, "auto"):
            runs = []
            for seed in range(args.seeds):
                scorer = ViLUEstimator(recipe=way, logit_scale=scale, random_state=seed)
                start = time.perf_counter()
                scorer.fit(*train)
                runs.append((100 * evaluate(scorer, *test)["auc"], time.perf_counter() - start))
            auc, seconds = np.array(runs).T
            spread = f" ± {auc.std(ddof=1):.2f}" if args.seeds > 1 else ""
            cells.append(f"{auc.mean():.2f}{spread} | {seconds.mean():.2f}")
            means.append(seconds.mean())
        auc = 100 * evaluate(MCMScorer(logit_scale=scale), *test)["auc"]
        cells.append(f"{means[0] / means[1]:.0f}")
        print(
            f"| {path.stem if path else 'digits'} | {len(train[0]):,} | {auc:.2f} | {' | '.join(cells)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
