"""How seconds and memory of scoring and fitting grow with images, candidates and width.

One of N, K and d is doubled at a time, the others stay. Seconds are CPU seconds of one thread, the least of
some rounds; memory is the most that the process held meanwhile above what it held before, as the operating
system counts it (Linux). The exponent is the slope of the logarithms over the larger half of the
sizes, where what a call costs at least no longer counts.

python benchmarks/growth.py --picture docs/img/growth.svg
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vilu_sdk import MCMScorer, ViLUEstimator, set_progress

MIDDLE = {"N": 4096, "K": 512, "d": 256}
SIZES = {
    "N": [1024, 2048, 4096, 8192, 16384, 32768],
    "K": [64, 128, 256, 512, 1024, 2048, 4096],
    "d": [64, 128, 256, 512, 1024],
}
WORK = ("MCM", "ViLU", "fit")


def unit(n: int, d: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def call(work: str, size: dict[str, int]) -> Any:
    """What is measured, ready to be called."""
    n, k, d = size.values()
    text, labels = unit(k, d, 1), np.arange(n) % k
    z = unit(n, d, 2) / 2 + text[labels]
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    if work == "fit":
        return lambda: ViLUEstimator(random_state=0).fit(z, text, labels)
    scorer = MCMScorer()
    if work == "ViLU":
        few = np.arange(len(z)) < 2048
        scorer = ViLUEstimator(random_state=0).fit(z[few], text, labels[few])
    return lambda: scorer.decision_function(z, text)


def held(what: str) -> float:
    """Megabytes that this process holds now (VmRSS), or has held at most (VmHWM)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what)) / 1024


def measure(work: str, size: dict[str, int], rounds: int) -> tuple[float, float]:
    """CPU seconds and megabytes of one size."""
    run = call(work, size)
    if work != "fit":
        run()  # what is made of the candidates, and what loads lazily
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # so that the peak is counted from here
    before, times = held("VmRSS"), []
    for _ in range(rounds):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times), max(0.0, held("VmHWM") - before)


def exponent(sizes: list[int], values: list[float]) -> float:
    """Slope of the logarithms over the larger half."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(np.maximum(values[half:], 1e-9)), 1)[0])


def draw(found: dict[tuple[str, str], list[tuple[float, float]]], path: Path) -> None:
    """Draw seconds above and megabytes below, against each of the three."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(9, 5), sharey="row", layout="constrained")
    for column, (name, sizes) in enumerate(SIZES.items()):
        for row, what in enumerate(("CPU seconds", "megabytes")):
            ax = axes[row, column]
            for work in WORK:
                values = [pair[row] for pair in found[work, name]]
                ax.plot(sizes, np.maximum(values, 0.1 if row else 1e-4), marker="o", ms=3, label=work)
            ax.set(xscale="log", yscale="log")
            ax.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45, fontsize=7)
            ax.minorticks_off()
            if not column:
                ax.set_ylabel(what)
            if row:
                ax.set_xlabel({"N": "images N", "K": "candidates K", "d": "width d"}[name])
    axes[0, 0].legend(frameon=False, fontsize=8)
    plt.rcParams["svg.hashsalt"] = "growth"
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    set_progress(False)
    warnings.simplefilter("ignore")
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    print("| work | grows with | sizes | CPU seconds | exponent | megabytes | exponent |")
    print("|---|---|---|---|---:|---|---:|")
    for work in WORK:
        for name, sizes in SIZES.items():
            pairs = [measure(work, MIDDLE | {name: size}, args.rounds) for size in sizes]
            found[work, name] = pairs
            seconds, memory = ([pair[at] for pair in pairs] for at in (0, 1))
            print(
                f"| {work} | {name} | {sizes[0]:,} to {sizes[-1]:,} | "
                f"{seconds[0]:.4f} to {seconds[-1]:.4f} | "
                f"{exponent(sizes, seconds):.2f} | {memory[0]:.0f} to {memory[-1]:.0f} | "
                f"{exponent(sizes, memory):.2f} |",
                flush=True,
            )
    if args.picture:
        draw(found, args.picture)


if __name__ == "__main__":
    main()
