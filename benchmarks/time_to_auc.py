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

import numpy as np
import torch

from vilu_sdk import MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.evaluation import evaluate


def read(path: Path | None) -> tuple[tuple, tuple, float]:
    """Training data, test data and logit scale of a set."""
    if path is None:
        digits = load_digits_vlm()
        train = digits.z_img_fit, digits.z_txt, digits.labels_fit
        return train, (digits.z_img_test, digits.z_txt, digits.labels_test), digits.logit_scale
    data = np.load(path, allow_pickle=False)
    scale = float(data["logit_scale"]) if "logit_scale" in data else 100.0
    train, test = (
        (data[f"z_img_{part}"], data["z_txt"], data[f"labels_{part}"]) for part in ("train", "test")
    )
    return train, test, scale


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
        train, test, scale = read(path)
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
