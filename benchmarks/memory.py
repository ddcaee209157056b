"""Time and resident memory of scoring a float16 memory map: rows × candidates never held at once.

A scorer that learns is fitted on the map first, with random labels.

python benchmarks/memory.py --rows 1000000 --candidates 1000
python benchmarks/memory.py --rows 32768 --candidates 32768 --scorer EntropyScorer
python benchmarks/memory.py --rows 1000000 --candidates 100 --scorer ViLUEstimator
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
    if not scorer.learns:
        scorer.decision_function(z_txt[:2], z_txt)  # load what loads lazily
    labels = rng.integers(args.candidates, size=args.rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "z_img.npy"
        z_img = np.lib.format.open_memmap(path, "w+", np.float16, (args.rows, args.d))
        noise = rng.standard_normal((20_000, args.d), dtype=np.float32).astype(np.float16)
        for start in range(0, args.rows, 10_000):
            stop = min(start + 10_000, args.rows)
            shift = rng.integers(10_000)
            z_img[start:stop] = noise[shift : shift + stop - start]
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
        z_img = np.load(path, mmap_mode="r")
        times = [time.perf_counter()]
        if scorer.learns:
            scorer.fit(z_img, z_txt, labels)
            times.append(time.perf_counter())
        scores = scorer.decision_function(z_img, z_txt)
        times.append(time.perf_counter())
        done.set()
        watcher.join()
    assert np.isfinite(scores).all()
    seconds = " + ".join(f"{step:.1f}" for step in np.diff(times))
    print(
        f"{args.scorer}: {args.rows:,} rows × {args.candidates:,} candidates in {seconds} s, "
        f"{peak - before:.0f} MB above the imports"
    )


if __name__ == "__main__":
    main()
