"""AUC after training on rows that lie sorted by class, shuffled in memory and block by block from disk.

python benchmarks/shuffling.py
python benchmarks/shuffling.py --embeddings path/to/dtd.npz
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _sets import read_set

from vilu_sdk import LVUScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.evaluation import evaluate
from vilu_sdk.inputs.shards import open_embeddings
from vilu_sdk.training import feed

BUFFERS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--embeddings", type=Path, help="by default the digits")
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    (z_img, z_txt, labels), test, scale = read_set(args.embeddings)
    if args.embeddings is None:
        scorer: Any = LVUScorer(logit_scale=scale, target="correct", epochs=40, batch_size=32)
        blocks = [2, 8]
    else:
        scorer, blocks = ViLUEstimator(recipe=PaperRecipe(epochs=60), logit_scale=scale), [1, 4]
    by_class = np.argsort(labels, kind="stable")
    z_img, labels = z_img[by_class], labels[by_class]
    n, d = z_img.shape
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/z_img.npy", z_img)
        on_disk = open_embeddings(f"{folder}/z_img.npy")
        feed.BUFFER_ELEMENTS = n // BUFFERS * d
        cases = {"all rows, in memory": (z_img, 1)}
        cases |= {f"blocks of {size}": (on_disk, size) for size in blocks}
        cases["none but inside the buffer"] = (on_disk, n // BUFFERS)
        for name, (source, size) in cases.items():
            feed.BLOCK_ELEMENTS = size * d
            aucs = []
            for seed in range(args.seeds):
                scorer.set_params(random_state=seed).fit(source, z_txt, labels)
                aucs.append(evaluate(scorer, *test)["auc"])
            spread = np.std(aucs, ddof=1) if len(aucs) > 1 else 0.0
            print(f"{name:<28} {100 * np.mean(aucs):6.2f} ± {100 * spread:.2f}", flush=True)


if __name__ == "__main__":
    main()
