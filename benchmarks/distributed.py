"""Fits of two gloo processes against one: weights, scores, a killed process, rows a second.

Digits are in memory, pairs in eight shards of which each process reads its own half; they are synthetic, or
those of a file with the arrays z_img and z_txt. Weights are compared as they are saved; of BayesVLM, whose
root is unique up to a rotation, the covariance. In float64 what differs shows whether the sums are the same,
in float32 also how far training carries a rounding error. One process of two is killed by SIGKILL in the
middle of a fit, and one process goes on. Rates are of an epoch, by the clock and by CPU time.

python benchmarks/distributed.py
python benchmarks/distributed.py --pairs pairs.npz --only captions
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _sets import read_set
from torch.optim.optimizer import register_optimizer_step_post_hook

from vilu_sdk import (
    BayesVLMScorer,
    LVUScorer,
    PaperRecipe,
    ProbVLMScorer,
    RelUScorer,
    TemperatureScaledMCMScorer,
    ViLUEstimator,
)
from vilu_sdk.compute.distributed import process_group, rank, world_size
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.inputs.precision import in_float64
from vilu_sdk.inputs.shards import open_pairs
from vilu_sdk.inputs.task import Task
from vilu_sdk.persistence.storage import read_folder
from vilu_sdk.training import resume

SHARDS = 8
DTYPES = {"float32": nullcontext, "float64": in_float64}
KILLED_AT = 200
SCORERS = {
    "ViLU as published": ViLUEstimator(PaperRecipe(epochs=40), random_state=0),
    "  at a rate of 0.01": ViLUEstimator(PaperRecipe(epochs=40, learning_rate=0.01), random_state=0),
    "LVU": LVUScorer(epochs=40, random_state=0),
    "ViLU, default recipe": ViLUEstimator(random_state=0),
    "BayesVLM (identity head)": BayesVLMScorer(batch_size=512, random_state=0),
    "ProbVLM": ProbVLMScorer(epochs=5, random_state=0),
    "Rel-U": RelUScorer(),
    "temperature": TemperatureScaledMCMScorer(),
}


def write_pairs(root: Path, z_img: np.ndarray, z_txt: np.ndarray) -> None:
    """Write pairs as clip-retrieval does."""
    for name, whole in (("img_emb", z_img), ("text_emb", z_txt)):
        (root / name).mkdir(parents=True)
        for i, part in enumerate(np.array_split(whole, SHARDS)):
            np.save(root / name / f"{name}_{i}.npy", part.astype(np.float16))


def synthetic_pairs(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Captions, and images beside them."""
    rng = np.random.default_rng(0)
    z_txt = rng.standard_normal((n, d), dtype=np.float32)
    return z_txt + 2 * rng.standard_normal((n, d), dtype=np.float32), z_txt


def problems(root: Path) -> Iterator[tuple[str, Any, tuple[Any, ...], float]]:
    """Yield data, names of scorers, what they are fitted on, and the logit scale."""
    digits = load_digits_vlm()
    yield "digits", SCORERS, (digits.z_img_fit, digits.z_txt, digits.labels_fit), digits.logit_scale
    fixed = ("Rel-U", "temperature")
    yield "captions", [name for name in SCORERS if name not in fixed], open_pairs(root / "pairs"), 100.0


def fit_all(root: Path, only: list[str]) -> None:
    """Fit every scorer on every problem, in both precisions, and save it with its decision values."""
    for data, names, args, scale in problems(root):
        for name, dtype in product(names if data in only else (), DTYPES):
            scorer = SCORERS[name].set_params(logit_scale=scale)
            with DTYPES[dtype]():
                with process_group(timeout=120):
                    scorer.fit(*args)
                    target = root / f"{data}-{name}-{dtype}-{world_size()}"
                if rank() == 0:
                    scorer.save_pretrained(target)
                    np.save(target / "scores.npy", scorer.decision_function(args[0][:500], args[1][:500]))


def killed(root: Path) -> None:
    """Fit with a checkpoint; in the second of two processes, die after some steps."""
    resume.EVERY_SECONDS = 0.2
    steps = 0

    def step(*_: Any) -> None:
        nonlocal steps
        steps += 1
        if rank() == 1 and steps == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_post_hook(step)
    scorer = SCORERS["ViLU as published"].set_params(logit_scale=100.0)
    with in_float64(), process_group(timeout=120):
        scorer.fit(*open_pairs(root / "pairs"), checkpoint=root / "state")
    scorer.save_pretrained(root / "resumed")
    print(f"the fit went on and took {steps} of {len(scorer.model_.loss_curve)} steps", flush=True)


def rate(root: Path, batch_size: int) -> None:
    """Time an epoch of LVU and of ViLU as published on pairs in shards."""
    sources = open_pairs(root / "many")
    n = len(sources[0])
    recipe = {"epochs": 1, "batch_size": batch_size, "freeze_steps": 0}
    scorers = {
        "LVU": LVUScorer(epochs=1, batch_size=batch_size, random_state=0),
        "ViLU as published": ViLUEstimator(PaperRecipe(**recipe), random_state=0),
    }
    for name, scorer in scorers.items():
        scorer.fit(sources[0][:2000], sources[1][:2000])  # what torch loads with its first fit is not timed
        clock, cpu = time.perf_counter(), time.process_time()
        with process_group(timeout=120):
            joined = time.perf_counter() - clock, time.process_time() - cpu
            scorer.fit(*sources)
            clock, cpu = time.perf_counter() - clock - joined[0], time.process_time() - cpu - joined[1]
            processes = world_size()
        if rank() == 0:
            print(
                f"{name:18} batch {batch_size:4}, {processes} process{'es' * (processes > 1)}: "
                f"{n / clock:7.0f} rows a second, {1e6 * cpu / n:6.1f} CPU microseconds a row and process",
                flush=True,
            )


def reorder() -> None:
    """Print how far apart two fits of one process are, if the rows inside a batch come in another order."""
    digits, batch = load_digits_vlm(), Task.batch
    args = digits.z_img_fit, digits.z_txt, digits.labels_fit
    draw = torch.Generator().manual_seed(0)
    for seed in range(4):
        curves = []
        for shuffles in (False, True):
            if shuffles:
                Task.batch = lambda task, rows: batch(task, rows[torch.randperm(len(rows), generator=draw)])
            scorer = ViLUEstimator(PaperRecipe(epochs=40), logit_scale=digits.logit_scale, random_state=seed)
            curves.append(scorer.fit(*args).decision_function(digits.z_img_test, digits.z_txt))
            Task.batch = batch
        apart = np.abs(curves[0] - curves[1]).max()
        print(f"one process, rows of batches in another order, seed {seed}: scores differ by {apart:.0e}")


def launch(root: Path, processes: int, work: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run this file's work in one process or under torchrun."""
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*start, __file__, "--work", work, "--root", str(root), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> tuple[float, float]:
    """Return the largest difference of two sets of tensors, and the largest number in the first."""
    roots = [name for name in a if name.endswith("_root_")]
    a, b = ({**t, **{name: t[name] @ t[name].T for name in roots}} for t in (a, b))
    learned = [name for name in a if a[name].is_floating_point()]  # not the hashes of the rows of the fit
    apart = [float((a[name].double() - b[name].double()).abs().max()) for name in learned]
    return max(apart, default=0.0), max((float(a[name].abs().max()) for name in learned), default=0.0)


def report(root: Path, only: list[str]) -> None:
    """Print the differences of one process and two."""
    heads = "".join(f"{dtype + ' weights':>17} {'scores':>8}" for dtype in DTYPES)
    print(f"{'data':9} {'scorer':25} {'largest':>8} {heads}")
    for data, names, _, _ in problems(root):
        for name in names if data in only else ():
            cells = ""
            for dtype in DTYPES:
                one, two = (root / f"{data}-{name}-{dtype}-{processes}" for processes in (1, 2))
                apart, size = difference(read_folder(one)[1], read_folder(two)[1])
                scores = np.abs(np.load(one / "scores.npy") - np.load(two / "scores.npy")).max()
                cells += f"{apart:17.1e} {scores:8.0e}"
            print(f"{data:9} {name:25} {size:8.2g} {cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, help="npz with z_img and z_txt, instead of synthetic pairs")
    parser.add_argument("--only", nargs="*", default=["digits", "captions", "killed", "order", "rate"])
    parser.add_argument("--rows", type=int, default=8_192, help="of the pairs that rates are taken on")
    parser.add_argument("--work", choices=["fit", "killed", "rate"], help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--batch-size", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work == "fit":
        return fit_all(args.root, args.only)
    if args.work == "killed":
        return killed(args.root)
    if args.work == "rate":
        return rate(args.root, args.batch_size)
    if "order" in args.only:
        reorder()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pairs = read_set(args.pairs).train if args.pairs else synthetic_pairs(2000, 64)
        write_pairs(root / "pairs", *pairs)
        print(f"pairs: {len(pairs[0])} of width {pairs[0].shape[1]} in {SHARDS} shards")
        fits = [data for data in ("digits", "captions") if data in args.only]
        for processes in (1, 2) if fits else ():
            done = launch(root, processes, "fit", "--only", *fits)
            assert done.returncode == 0, done.stderr
        if fits:
            report(root, fits)
        if "killed" in args.only and "captions" in fits:
            died = launch(root, 2, "killed")
            errors = [line for line in died.stderr.splitlines() if "ProcessDiedError:" in line]
            print(f"\ntorchrun ended with exit status {died.returncode}, and said", *errors, sep="\n  ")
            print(f"the state holds {len(read_folder(root / 'state')[1]['history'])} steps")
            print(launch(root, 1, "killed").stdout.strip())
            alone = read_folder(root / "captions-ViLU as published-float64-1")[1]
            apart, size = difference(alone, read_folder(root / "resumed")[1])
            print(f"largest difference to a fit never killed: {apart:.1e} of {size:.2g}")
        if "rate" in args.only:
            print()
            write_pairs(root / "many", *synthetic_pairs(args.rows, 512))
            for batch_size in (128, 1024):
                for processes in (1, 2):
                    done = launch(root, processes, "rate", "--batch-size", str(batch_size))
                    print(done.stdout.strip() or done.stderr)
    return None


if __name__ == "__main__":
    main()
