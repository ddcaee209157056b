"""What it costs to know a source by its content: a folder of scores with the checks and without.

Synthetic float16 embeddings in one .npy file are scored by MCM, the cheapest scorer, by turns with the checks
and without, first with a checksum of all at the beginning and then, as a source above a gigabyte is, with one
of each piece.

python benchmarks/known_sources.py
python benchmarks/known_sources.py --rows 50000 --candidates 100
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

from vilu_sdk import MCMScorer
from vilu_sdk.inputs import identity
from vilu_sdk.scale import job, score_to_folder


def seconds(root: Path, texts: np.ndarray, piece_rows: int) -> float:
    """Score into a new folder, and return CPU seconds."""
    shutil.rmtree(root / "scores", ignore_errors=True)
    start = time.process_time()
    score_to_folder(root / "z_img.npy", root / "scores", MCMScorer(), texts, piece_rows=piece_rows)
    return time.process_time() - start


def unchecked(root: Path, texts: np.ndarray, piece_rows: int) -> float:
    """The same without a look at the content."""
    with (
        mock.patch.object(job, "identify", return_value={"whole": []}),
        mock.patch.object(job, "claim", lambda folder, *_: folder.mkdir()),
    ):
        return seconds(root, texts, piece_rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--piece-rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(args.candidates, args.d)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = np.lib.format.open_memmap(root / "z_img.npy", "w+", np.float16, (args.rows, args.d))
        for start in range(0, args.rows, 10_000):
            rows[start : start + 10_000] = rng.normal(size=rows[start : start + 10_000].shape)
        rows.flush()
        del rows
        seconds(root, texts, args.piece_rows)
        for name, limit in (("a checksum of all", identity.WHOLE_BYTES), ("one of each piece", 0)):
            with mock.patch.object(identity, "WHOLE_BYTES", limit):
                pairs = [
                    (seconds(root, texts, args.piece_rows), unchecked(root, texts, args.piece_rows))
                    for _ in range(args.rounds)
                ]
            checked, plain = np.median(pairs, axis=0)
            ratio = np.median([one / other for one, other in pairs])
            print(f"{name}: {checked:.2f} CPU s with, {plain:.2f} without, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
