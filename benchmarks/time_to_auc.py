"""How long the default recipe takes to rank as well as the published one does after all its epochs.

Both learn from the training part of class sets (npz files with z_img_train, labels_train, z_img_test,
labels_test, z_txt and perhaps logit_scale; by default the digits of the demonstration) and are judged on the
test part, in one process.

python benchmarks/time_to_auc.py
python benchmarks/time_to_auc.py EMBEDDINGS/dtd.npz EMBEDDINGS/stanford_cars.npz
"""

import argparse
import time
from pathlib import Path

import torch
from _sets import read_set

from vilu_sdk import MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.evaluation import evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, nargs="*")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads\n")
    print("| set | images | MCM | published | its seconds | default | its seconds | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for path in args.sets or [None]:
        train, test, scale = read_set(path)
        recipe = PaperRecipe(epochs=args.epochs, learning_rate=args.learning_rate)
        ways = [
            ViLUEstimator(recipe=recipe, logit_scale=scale, random_state=0),
            ViLUEstimator(logit_scale=scale, random_state=0),
        ]
        cells, seconds = [], []
        for scorer in ways:
            start = time.perf_counter()
            scorer.fit(*train)
            seconds.append(time.perf_counter() - start)
            cells.append(f"{100 * evaluate(scorer, *test)['auc']:.2f} | {seconds[-1]:.2f}")
        auc = 100 * evaluate(MCMScorer(logit_scale=scale), *test)["auc"]
        cells.append(f"{seconds[0] / seconds[1]:.0f}")
        print(
            f"| {path.stem if path else 'digits'} | {len(train[0]):,} | {auc:.2f} | {' | '.join(cells)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
