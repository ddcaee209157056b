"""How seconds and memory of scoring and fitting grow with images, candidates and width.

One of N, K and d is doubled at a time, the others stay. Seconds are CPU seconds of one thread, the least of
some rounds; memory is the most that the process held in the first call above what it held before, as the
operating system counts it (Linux, glibc). The exponent is the slope of the logarithms over the larger half of
the sizes, where what a call costs at least no longer counts.

python benchmarks/growth.py --picture docs/img/growth.svg
"""

import argparse
import ctypes
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scoring import fitted

from vilu_sdk import MCMScorer, ViLUEstimator, set_progress

MIDDLE = {"N": 4096, "K": 512, "d": 256}
SIZES = {
    "N": [1024, 2048, 4096, 8192, 16384, 32768],
    "K": [64, 128, 256, 512, 1024, 2048, 4096],
    "d": [64, 128, 256, 512, 1024],
}
# Below so many seconds or megabytes there is no slope to speak of.
LEAST, LEAST_MEMORY = 1e-3, 4.0
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
    scorer = MCMScorer() if work == "MCM" else fitted(d)[0]
    return lambda: scorer.decision_function(z, text)


def held(what: str) -> float:
    """Megabytes that this process holds now (VmRSS), or has held at most (VmHWM)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what)) / 1024


def settled() -> float:
    """Megabytes that this process holds, once it has given back what it can; the peak counts from here."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    return held("VmRSS")


def measure(work: str, size: dict[str, int], rounds: int) -> tuple[float, float]:
    """CPU seconds and megabytes of one size."""
    run = call(work, size)
    before, times = settled(), []
    for _ in range(rounds + 1):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
        if len(times) == 1:  # in which more is made of the candidates, and loads lazily
            most = held("VmHWM") - before
    return min(times[1:]), max(0.0, most)


def exponent(sizes: list[int], values: list[float], least: float = LEAST) -> float:
    """Slope of the logarithms over the larger half."""
    half = len(sizes) // 2
    if min(values[half:]) < least:
        return float("nan")
    return float(np.polyfit(np.log(sizes[half:]), np.log(values[half:]), 1)[0])


def draw(found: dict[tuple[str, str], list[tuple[float, float]]], path: Path) -> None:
    """Draw seconds above and megabytes below, against each of the three, with the exponents fitted."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from vilu_sdk.displays._style import COLOURS, DASHES, FONT, MARKERS

    figure = Figure(figsize=(9, 5.4), layout="constrained")
    axes = figure.subplots(2, 3, sharey="row")
    for column, (name, sizes) in enumerate(SIZES.items()):
        for row, what in enumerate(("CPU seconds", "megabytes")):
            ax = axes[row, column]
            for work, color, dash, marker in zip(WORK, COLOURS, DASHES, MARKERS, strict=False):
                values = [pair[row] for pair in found[work, name]]
                slope = exponent(sizes, values, least=(LEAST, LEAST_MEMORY)[row])
                label = work if np.isnan(slope) else f"{work}: exponent {slope:.2f}"
                shown = np.maximum(values, (1e-4, 0.1)[row])
                ax.plot(sizes, shown, color=color, linestyle=dash, marker=marker, ms=3.5, lw=1.2, label=label)
            ax.set(xscale="log", yscale="log")
            ax.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
            ax.minorticks_off()
            ax.tick_params(labelsize=FONT - 1)
            ax.spines[["top", "right"]].set_visible(False)
            ax.legend(frameon=False, fontsize=FONT - 1)
            if not column:
                ax.set_ylabel(what, size=FONT)
            if row:
                ax.set_xlabel({"N": "images N", "K": "candidates K", "d": "width d"}[name], size=FONT)
    mpl.rcParams["svg.hashsalt"] = "growth"  # so that equal numbers make equal files
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
                f"{exponent(sizes, memory, LEAST_MEMORY):.2f} |",
                flush=True,
            )
    if args.picture:
        draw(found, args.picture)


if __name__ == "__main__":
    main()
