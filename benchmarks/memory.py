"""Time and resident memory of scoring a float16 memory map: rows × candidates never held at once.

python benchmarks/memory.py --rows 1000000 --candidates 1000
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import vilu_sdk


def resident() -> float:
    """Megabytes this process holds in memory now."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--candidates", type=int, default=1_000)
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--scorer", default="MCMScorer")
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(args.candidates, args.d)).astype(np.float32)
    scorer = getattr(vilu_sdk, args.scorer)()
    scorer.decision_function(z_txt[:2], z_txt)  # load what loads lazily
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "z_img.npy"
        z_img = np.lib.format.open_memmap(path, "w+", np.float16, (args.rows, args.d))
        for start in range(0, args.rows, 10_000):
            stop = min(start + 10_000, args.rows)
            z_img[start:stop] = rng.standard_normal((stop - start, args.d), dtype=np.float32)
        z_img.flush()
        del z_img

        peak = before = resident()
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.005):
                peak = max(peak, resident())

        watcher = threading.Thread(target=watch)
        watcher.start()
        start_time = time.perf_counter()
        scores = scorer.decision_function(np.load(path, mmap_mode="r"), z_txt)
        seconds = time.perf_counter() - start_time
        done.set()
        watcher.join()
    assert np.isfinite(scores).all()
    print(
        f"{args.scorer}: {args.rows:,} rows × {args.candidates:,} candidates in {seconds:.1f} s, "
        f"{peak - before:.0f} MB above the imports"
    )


if __name__ == "__main__":
    main()
