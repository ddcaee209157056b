"""Two checkouts of this project side by side: medians, quartiles and the least of work that takes turns.

Each checkout has a process of its own, which does a round of one kind of work when it is told to, so that
both meet the same moods of a shared machine. Times are CPU seconds of one thread.

python benchmarks/side_by_side.py BEFORE AFTER --rounds 20
"""

import argparse
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

D = 512
# Calls of a round, and seconds in a unit of the table.
UNITS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}
Work = tuple[str, int, Callable[[], Any]]


def works() -> dict[str, Work]:
    """What is timed by its name: the unit, how many calls make a round, and the call."""
    from scoring import fastest, fitted, products, unit

    from vilu_sdk import MCMScorer, ViLUEstimator

    def narrow(n: int, k: int) -> tuple[Any, Any, Any]:
        """Images, texts and labels that share a direction, as those of a model do."""
        cone, labels = 2 * unit(1, D, 9), np.arange(n) % k
        z = (unit(k, D, 5)[labels] + unit(n, D, 3) + cone).numpy()
        return z / np.linalg.norm(z, axis=1, keepdims=True), (unit(k, D, 4) + cone).numpy(), labels

    default, _ = fitted(D)
    own = narrow(2000, 10)
    fitted_to_own = ViLUEstimator(random_state=0).fit(*own)
    found: dict[str, Work] = {}
    for n, k, word, calls in (
        (1, 10, "µs", 100),
        (1, 1_000, "µs", 30),
        (50_000, 10, "ms", 1),
        (23_437, 1_000, "ms", 1),
    ):
        z, text = unit(n, D, 3).numpy(), unit(k, D, 4).numpy()
        size = f"{n:,} × {k:,}"
        for name, scorer, passes in (("MCM", MCMScorer(), 1), ("ViLU", default, 2)):
            found[f"{size}, {name}"] = word, calls, partial(scorer.decision_function, z, text)
            if n > 1:
                bound = fastest(products(n, [(D, k)] * passes))
                found[f"{size}, the products of {name}"] = word, calls, bound
        found[f"{size}, MCM, judge"] = word, calls, partial(MCMScorer().judge, z, text)
        found[f"{size}, MCM, predict_proba"] = word, calls, partial(MCMScorer().predict_proba, z, text)
    one = partial(fitted_to_own.decision_function, own[0][:1], own[1])
    found["1 × 10 of its fit, ViLU"] = "µs", 30, one
    for n, k in ((25_000, 10), (5_250, 397), (4_000, 1_000)):
        found[f"fit of {n:,} × {k:,}"] = "s", 1, partial(ViLUEstimator(random_state=0).fit, *narrow(n, k))
    return found


def serve() -> None:
    """Do a round of the work whose name stands in each line, and say how long a call took."""
    import torch

    from vilu_sdk import set_progress

    torch.set_num_threads(1)
    set_progress(False)
    warnings.simplefilter("ignore")
    found = works()
    print(*(f"{name}\t{unit}" for name, (unit, _, _) in found.items()), "", sep="\n", flush=True)
    for line in sys.stdin:
        _, calls, run = found[line.rstrip("\n")]
        start = time.thread_time()
        for _ in range(calls):
            run()
        print((time.thread_time() - start) / calls, flush=True)


def start(checkout: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(checkout.resolve()), str(Path(__file__).parent.resolve())])
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--serve"]
    return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str], name: str) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(name + "\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs="*", help="folders that hold vilu_sdk")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="", help="work whose name has this in it")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve()
        return
    processes = [start(checkout) for checkout in args.checkouts]
    names: dict[str, str] = {}
    for process in processes:
        assert process.stdout is not None
        while line := process.stdout.readline().rstrip("\n"):
            name, unit = line.split("\t")
            names[name] = unit
    each = "median (quartiles), least"
    print(f"| work | unit | before: {each} | after: {each} | after / before |")
    print("|---|---|---:|---:|---:|")
    for name, unit in names.items():
        if args.only not in name:
            continue
        turns = np.array([[told(p, name) for p in processes] for _ in range(args.rounds + 1)][1:])
        digits = 0 if unit == "µs" else 1 if unit == "ms" else 2
        cells = []
        for column in (turns / UNITS[unit]).T:
            low, middle, high = (f"{value:.{digits}f}" for value in np.percentile(column, [25, 50, 75]))
            cells.append(f"{middle} ({low} to {high}), {column.min():.{digits}f}")
        ratio = float(np.median(turns[:, -1] / turns[:, 0]))
        print(f"| {name} | {unit} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
