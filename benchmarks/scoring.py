"""How close scoring comes to the matrix products it cannot avoid, and how it compares with plain code.

For each number of candidates, images are scored by MCM, by the default ViLU among candidates new to it, and
by the published ViLU. The bare products of the same shapes are timed too, into arrays that are there
already, in whichever of several ways to cut them is fastest; the table says what share of the time of scoring
they would take. The published ViLU is also run as a plain torch module, a batch of 1,024 images at a time.
All of them take turns, and each share is the median over the turns: the speed of shared machines drifts.

python benchmarks/scoring.py --threads 2
"""

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vilu_sdk import MCMScorer, PaperRecipe, ViLUEstimator, set_progress

Shapes = list[tuple[int, int]]


def products(n: int, shapes: Shapes) -> list[Callable[[], None]]:
    """Ways to multiply n rows with matrices of the given shapes, all that scoring needs and no more."""
    left = {inner: torch.randn(n, inner) for inner, _ in shapes}
    right = [torch.randn(columns, inner).T for inner, columns in shapes]

    def way(rows: int, width: int) -> Callable[[], None]:
        out = torch.empty(rows, width)

        def run() -> None:
            for (inner, columns), matrix in zip(shapes, right, strict=True):
                for i in range(0, n, rows):
                    for j in range(0, columns, width):
                        a, b = left[inner][i : i + rows], matrix[:, j : j + width]
                        torch.mm(a, b, out=out.view(-1)[: len(a) * b.shape[1]].view(len(a), -1))

        return run

    def turned(rows: int) -> Callable[[], None]:
        out = torch.empty(rows * max(columns for _, columns in shapes))

        def run() -> None:
            for (inner, columns), matrix in zip(shapes, right, strict=True):
                for i in range(0, n, rows):
                    a = left[inner][i : i + rows].T
                    torch.mm(matrix.T, a, out=out[: columns * a.shape[1]].view(columns, -1))

        return run

    ways = [way(rows, width) for rows in (512, 2048) for width in (1024, 4096)]
    few = max(columns for _, columns in shapes) <= 100  # which is faster candidate by candidate
    return ways + [turned(rows) for rows in (512, 2048)] if few else ways


def plain(est: ViLUEstimator, z: Tensor, text: Tensor) -> Callable[[], None]:
    """The published forward pass as its equations say it."""
    head = est.model_.head
    value = head.attention.in_proj_t.weight, head.attention.in_proj_v.weight

    def run() -> None:
        with torch.no_grad():
            for batch in z.split(1024):
                logits = est.logit_scale * batch @ text.T
                keys = text @ value[0].T
                attention = torch.softmax(est.logit_scale * (batch @ value[1].T) @ keys.T, dim=1)
                predicted = text[logits.argmax(dim=1)]
                torch.sigmoid(-head.mlp(torch.cat([batch, attention @ keys, predicted], dim=1)))

    return run


def seconds(run: Callable[[], None]) -> float:
    """Seconds of CPU time of one thread, which others on the machine disturb less, of the clock with more."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    run()
    return clock() - start


def fastest(ways: list[Callable[[], None]], rounds: int = 5) -> Callable[[], None]:
    """Of several ways to do the same thing, the one whose median of some rounds is least."""
    times = [[seconds(way) for way in ways] for _ in range(rounds)]
    return ways[int(np.median(times, axis=0).argmin())]


def unit(n: int, d: int, seed: int) -> Tensor:
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def fitted(d: int) -> tuple[ViLUEstimator, ViLUEstimator]:
    """The default and the published ViLU, fitted on a class set."""
    text = unit(100, d, 1)
    labels = torch.arange(2000) % 100
    z = (text + unit(100, d, 5))[labels] + 10 * unit(2000, d, 2)  # beside the texts, for Gaussians to learn
    default = ViLUEstimator(random_state=0).fit(z, text, labels)
    # Random classes have nothing in common that would carry over; what is timed is the work if they had.
    default.model_ = replace(default.model_, open_weights=(0.01, 0.01))
    return default, ViLUEstimator(recipe=PaperRecipe(epochs=2), random_state=0).fit(z, text, labels)


def measure(
    k: int, d: int, n: int, norm: float, default: ViLUEstimator, published: ViLUEstimator, rounds: int
) -> str:
    """A row of the table: how much of the time of scoring is that of the products, for k candidates."""
    z, text = norm * unit(n, d, 3), unit(k, d, 4)
    hidden = published.model_.head.config["hidden"]
    layers = [*pairwise(hidden), (hidden[-1], 1)]
    methods: dict[str, tuple[Any, Shapes]] = {
        "MCM": (MCMScorer(), [(d, k)]),
        "ViLU": (default, [(d, k), (d, k)]),
        "published": (published, [(d, k), (d, k), (k, hidden[0]), (d, hidden[0]), *layers]),
    }
    runs = {"plain": plain(published, z, text)}
    for name, (scorer, shapes) in methods.items():
        runs[name] = partial(scorer.decision_function, z, text)
        runs[f"{name} bound"] = fastest(products(n, shapes))
    turns = [{name: seconds(run) for name, run in runs.items()} for _ in range(rounds + 1)][1:]

    def ratio(over: str, under: str) -> float:
        return float(np.median([turn[over] / turn[under] for turn in turns]))

    shares = [f"{100 * ratio(f'{name} bound', name):.0f} %" for name in methods]
    return f"| {k:,} | {n:,} | {' | '.join(shares)} | {ratio('plain', 'published'):.2f} × as fast |"


def small_calls(d: int, default: ViLUEstimator, rounds: int = 60, calls: int = 10) -> str:
    """CPU microseconds of scoring one image at a time: medians, quartiles and the least of some rounds."""
    cells = []
    for k in (10, 1000):
        z, text = unit(1, d, 3).numpy(), unit(k, d, 4).numpy()
        for name, scorer in {"MCM": MCMScorer(), "ViLU": default}.items():
            times = []
            for _ in range(rounds + 1):
                start = time.thread_time_ns()
                for _ in range(calls):
                    scorer.decision_function(z, text)
                times.append((time.thread_time_ns() - start) / calls / 1e3)
            low, median, high = np.percentile(times[1:], [25, 50, 75])
            cells.append(
                f"{name} among {k:,}: {median:.0f} ({low:.0f} to {high:.0f}, least {min(times):.0f})"
            )
    return f"One image a call, CPU µs, the median after the first: {', '.join(cells)}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--candidates", type=int, nargs="*", default=[10, 100, 1000, 8192, 32768])
    parser.add_argument("--norm", type=float, default=1.0, help="of the images; others than 1 are divided by")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--gigaflop", type=float, default=24.0, help="work of one product in a round")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    set_progress(False)
    warnings.filterwarnings("ignore", "This ViLUEstimator seems to be given embeddings of another model")
    default, published = fitted(args.d)
    print(f"torch {torch.__version__}, {args.threads} threads, float32, d = {args.d}\n")
    print("| candidates | images | MCM | ViLU | published ViLU | published, against plain torch |")
    print("|---:|---:|---:|---:|---:|---:|")
    for k in args.candidates:
        n = int(np.clip(args.gigaflop * 1e9 / (2 * args.d * k), 1024, 50_000))
        print(measure(k, args.d, n, args.norm, default, published, args.rounds), flush=True)
    print(f"\n{small_calls(args.d, default)}")


if __name__ == "__main__":
    main()
