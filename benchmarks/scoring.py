"""How close scoring comes to the matrix products it cannot avoid, and how it compares with plain code.

For each number of candidates, images are scored by MCM, by the default ViLU among candidates it was fitted
on and among new ones, and by the published ViLU; then the bare products of the same shapes are timed, into
arrays that are there already, whichever of several ways to cut them is fastest. The published ViLU is also
run as a plain torch module, on whole arrays, a batch of 1,024 images at a time. Rounds of all of them
alternate; the least time of each counts.

python benchmarks/scoring.py --threads 2
"""

import argparse
import time
from collections.abc import Callable

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

    return [way(rows, width) for rows in (512, 2048) for width in (1024, 4096)]


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


def fastest(runs: dict[str, list[Callable[[], None]]], rounds: int) -> dict[str, float]:
    """Least seconds of each, of rounds that alternate; a list holds ways to do the same thing."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds + 1):  # the first warms up, which least times forgive
        for name, ways in runs.items():
            for way in ways:
                start = time.perf_counter()
                way()
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def unit(n: int, d: int, seed: int) -> Tensor:
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def fitted(d: int) -> tuple[ViLUEstimator, ViLUEstimator, Tensor]:
    """The default and the published ViLU, fitted on a class set, and its texts."""
    text = unit(100, d, 1)
    labels = torch.arange(2000) % 100
    z = text[labels] + 2 * unit(2000, d, 2)
    default = ViLUEstimator(random_state=0).fit(z, text, labels)
    published = ViLUEstimator(recipe=PaperRecipe(epochs=2), random_state=0).fit(z, text, labels)
    return default, published, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--candidates", type=int, nargs="+", default=[10, 100, 1000, 8192, 32768])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--gigaflop", type=float, default=20.0, help="work of one product in a round")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    set_progress(False)
    d = args.d
    default, published, known = fitted(d)
    kernel = default.model_.kernel
    hidden = published.model_.head.config["hidden"]
    print(f"torch {torch.__version__}, {args.threads} threads, float32, d = {d}\n")
    print("| candidates | images | MCM | ViLU | published ViLU | published, against plain torch |")
    print("|---:|---:|---:|---:|---:|---:|")
    for k in args.candidates:
        n = int(np.clip(args.gigaflop * 1e9 / (2 * d * k), 256, 50_000))
        z, text = unit(n, d, 3), unit(k, d, 4)
        layers = [*zip(hidden, hidden[1:], strict=False), (hidden[-1], 1)]
        shapes: dict[str, Shapes] = {
            "MCM": [(d, k)],
            "ViLU": [(d, k), (d, k)],
            "published": [(d, k), (d, k), (k, hidden[0]), (d, hidden[0]), *layers],
        }
        runs = {name: products(n, shape) for name, shape in shapes.items()}
        scorers = {"MCM": MCMScorer(), "ViLU": default, "published": published}
        for name, scorer in scorers.items():
            runs[f"{name} scored"] = [lambda scorer=scorer: scorer.decision_function(z, text)]
        runs["plain"] = [plain(published, z, text)]
        seconds = fastest(runs, args.rounds)
        share = [f"{100 * seconds[name] / seconds[f'{name} scored']:.0f} %" for name in shapes]
        faster = seconds["plain"] / seconds["published scored"]
        print(f"| {k:,} | {n:,} | {' | '.join(share)} | {faster:.2f} × as fast |", flush=True)
    del kernel, known


if __name__ == "__main__":
    main()
