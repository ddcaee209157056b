"""How far exported graphs are from the package on real embeddings, and how fast they are.

For each set and scorer: the largest difference of an uncertainty, of an answer's uncertainty, and how many
predictions or answers differ; then milliseconds of CPU for 1,000 images, one thread each, in turns. The graph
computes in float64 and the package in float32, so that a difference is the package's rounding.

python benchmarks/onnx_parity.py FOLDER/dtd.npz FOLDER/stanford_cars.npz ...
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from _sets import read_set

from vilu_sdk import MCMScorer, PaperRecipe, ViLUEstimator, set_progress
from vilu_sdk.export import export_onnx
from vilu_sdk.scorers.base.contract import read

FIELDS = ("prediction", "answer", "uncertainty", "answer_uncertainty")
FIT_ROWS, ROWS, TURNS = 5000, 1000, 7


def session_of(scorer: Any, z_txt: np.ndarray) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(scorer, z_txt, f"{folder}/scorer.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(f"{folder}/scorer.onnx", options)


def milliseconds(run: Any) -> float:
    start = time.process_time()
    run()
    return 1000 * (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--head", default="clip-b32-imagenet")
    given = parser.parse_args()
    torch.set_num_threads(1)
    set_progress(False)
    warnings.simplefilter("ignore")
    print("| set | K | scorer | uncertainty | answer's | differ | package, ms | graph, ms |")
    print("|---|---:|---|---:|---:|---:|---:|---:|")
    for path in given.sets:
        train, test, scale = read_set(path)
        if test is None:  # pairs, of which the first half is fitted on
            half = len(train[0]) // 2
            test = tuple(part[half : half + ROWS] for part in train)
            train = tuple(part[:half] for part in train)
        rows = np.random.default_rng(0).permutation(len(train[0]))[:FIT_ROWS]
        is_pairs = len(train) == 2
        fit = (train[0][rows], train[1][rows] if is_pairs else train[1], *(part[rows] for part in train[2:]))
        z_img, z_txt = test[:2]
        scorers = {
            "MCM": MCMScorer(logit_scale=scale),
            "default recipe": ViLUEstimator(logit_scale=scale, random_state=0).fit(*fit),
            "published": ViLUEstimator(PaperRecipe(epochs=3), logit_scale=scale, random_state=0).fit(*fit),
        }
        if z_txt.shape[1] == 512 and scale == 100.0:
            scorers["bundled head"] = ViLUEstimator.from_pretrained(given.head)
        for name, scorer in scorers.items():
            session = session_of(scorer, z_txt)
            found = dict(zip(FIELDS, session.run(FIELDS, {"z_img": z_img}), strict=True))
            said = dict(zip(FIELDS, read(scorer, z_img, z_txt, *FIELDS), strict=True))
            worst = [np.abs(found[field] - said[field]).max() for field in FIELDS[2:]]
            differ = sum(int((found[field] != said[field]).sum()) for field in FIELDS[:2])
            some = z_img[:ROWS]
            times = [
                (
                    milliseconds(lambda s=scorer, z=some, t=z_txt: read(s, z, t, *FIELDS)),
                    milliseconds(lambda s=session, z=some: s.run(FIELDS, {"z_img": z})),
                )
                for _ in range(TURNS)
            ]
            package, graph = np.median(times, axis=0) * 1000 / len(some)
            print(
                f"| {path.stem} | {len(z_txt)} | {name} | {worst[0]:.1e} | {worst[1]:.1e} | {differ} of "
                f"{2 * len(z_img)} | {package:.0f} | {graph:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
