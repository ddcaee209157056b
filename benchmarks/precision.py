"""What half precision costs in AUC: embeddings rounded to float16 or bfloat16, computed with in float32.

For bfloat16 that is what processors with units for it do to the products of float32 numbers after
``torch.set_float32_matmul_precision("medium")``: inputs are rounded, sums are not. Scorers are fitted and
judged on embeddings of the same precision, as in `time_to_auc.py`.

python benchmarks/precision.py
python benchmarks/precision.py EMBEDDINGS/dtd.npz EMBEDDINGS/stanford_cars.npz
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from _sets import read_set

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.evaluation import evaluate

TYPES = (torch.float32, torch.float16, torch.bfloat16)


def rounded(part: tuple, dtype: torch.dtype) -> tuple:
    """Images, texts and labels, with the embeddings rounded."""
    *embeddings, labels = part
    return *(torch.from_numpy(np.asarray(rows)).float().to(dtype) for rows in embeddings), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, nargs="*")
    args = parser.parse_args()
    print("| set | scorer | float32 | float16 | bfloat16 | other predictions, float16 | bfloat16 |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for path in args.sets or [None]:
        train, test, scale = read_set(path)
        for scorer in (MCMScorer(logit_scale=scale), ViLUEstimator(logit_scale=scale, random_state=0)):
            aucs, predictions = [], []
            for dtype in TYPES:
                z_img, z_txt, labels = rounded(test, dtype)
                scorer.fit(*rounded(train, dtype))
                aucs.append(evaluate(scorer, z_img, z_txt, labels)["auc"])
                predictions.append(scorer.predict(z_img, z_txt))
            cells = [f"{100 * auc:.2f}" for auc in aucs]
            cells += [f"{100 * (found != predictions[0]).mean():.2f} %" for found in predictions[1:]]
            print(f"| {path.stem if path else 'digits'} | {type(scorer).__name__} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
