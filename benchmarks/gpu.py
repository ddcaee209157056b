"""What one GPU does: parity with the CPU, rates, fits, transfers, memory, and what may go wrong there.

One run of under eight minutes on one card prints every section as a table, and ends with what differed from
what is promised: decision values within 1e-5 of those of the CPU, in units of their spread, and the same
predictions but for ties. `--device cpu --small` runs the same code without a card, to see that it runs.

python benchmarks/gpu.py
"""

import argparse
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import vilu_sdk
from vilu_sdk import (
    BayesVLMScorer,
    CalibratedScorer,
    DoctorScorer,
    EnergyScorer,
    EntropyScorer,
    LVUScorer,
    MahalanobisScorer,
    MaxLogitScorer,
    MCMScorer,
    NegLabelScorer,
    NeighbourScorer,
    PaperRecipe,
    ProbVLMScorer,
    RelUScorer,
    TemperatureScaledMCMScorer,
    ViLUEstimator,
)
from vilu_sdk.scale import process_group

D, CLASSES = 512, 100
CLOSE = 1e-5


class Run:
    """The device, the sizes and what was promised and not kept."""

    def __init__(self, device: str, small: bool) -> None:
        self.device, self.small = torch.device(device), small
        self.broken: list[str] = []

    @property
    def has_cuda(self) -> bool:
        """Whether there is a card; without, what only a card has is left out."""
        return self.device.type == "cuda"

    def size(self, full: int, small: int) -> int:
        """A number of rows or rounds."""
        return small if self.small else full

    def wait(self) -> None:
        """Wait for what was sent to the card."""
        if self.has_cuda:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any], rounds: int = 5) -> float:
        """Median seconds of some work, after a first time that does not count."""
        times = []
        for _ in range(rounds + 1):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - start)
        return float(np.median(times[1:]))

    def check(self, holds: bool, what: str) -> str:
        """Write down what does not hold."""
        if not holds:
            self.broken.append(what)
        return "yes" if holds else "NO"


def unit(n: int, seed: int, around: Tensor | None = None) -> Tensor:
    """Rows of norm 1, by themselves or with noise around others."""
    rows = torch.randn(n, D, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows if around is None else around + 0.12 * rows, dim=1)


def data(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images of classes whose texts are near, the texts and the labels."""
    text = unit(CLASSES, 1)
    labels = torch.arange(n) % CLASSES
    shifted = torch.nn.functional.normalize(text + unit(CLASSES, 5), dim=1)
    return unit(n, seed + 2, shifted[labels]), text, labels


def scorers() -> dict[str, Any]:
    """All that can be fitted with labels, quickly."""
    found: list[Any] = [MCMScorer(), EntropyScorer(), DoctorScorer(), MaxLogitScorer(), EnergyScorer()]
    found += [NegLabelScorer(negatives=unit(300, 9)), CalibratedScorer(MCMScorer())]
    found += [TemperatureScaledMCMScorer(), RelUScorer(), MahalanobisScorer(), NeighbourScorer()]
    found += [BayesVLMScorer(random_state=0), ProbVLMScorer(epochs=1, random_state=0)]
    found += [LVUScorer(epochs=2, random_state=0), ViLUEstimator(random_state=0)]
    named = {type(scorer).__name__: scorer for scorer in found}
    named["ViLUEstimator, posterior"] = ViLUEstimator(random_state=0, predicts="posterior")
    named["ViLUEstimator, published"] = ViLUEstimator(PaperRecipe(epochs=2), random_state=0)
    return named


def fit(scorer: Any, z: Tensor, text: Tensor, labels: Tensor) -> Any:
    """Fit by labels, or by pairs where a method learns from captions alone."""
    try:
        return scorer.fit(z, text, labels)
    except ValueError:
        return scorer.fit(z, text[labels])


def on(device: str | torch.device, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function with the device set."""
    vilu_sdk.set_device(device)
    try:
        return function(*args)
    finally:
        vilu_sdk.set_device("cpu")


def said(scorer: Any, z: Any, text: Any) -> tuple[Any, Any]:
    """Decision values and predictions."""
    return scorer.decision_function(z, text), scorer.predict(z, text)


def parity(run: Run) -> Iterator[str]:
    """Scores of the card against those of the CPU, of the same fitted scorers."""
    z, text, labels = data(run.size(4000, 800))
    test = data(run.size(20_000, 500), seed=7)[0]
    yield "| scorer | largest difference, in standard deviations | other predictions | within 1e-5 |"
    yield "|---|---:|---:|---|"
    for name, scorer in scorers().items():
        fitted = fit(scorer, z, text, labels)
        here, there = (on(device, said, fitted, test, text) for device in ("cpu", run.device))
        off = float(np.abs(here[0] - there[0]).max() / (here[0].std() or 1.0))
        others = np.flatnonzero(here[1] != there[1])
        cosines = (test[others].double() @ text.double().T).sort(dim=1).values
        ties = len(others) == 0 or float((cosines[:, -1] - cosines[:, -2]).max()) < 1e-6
        held = run.check(off <= CLOSE and (ties or "posterior" in name), f"parity of {name}")
        yield f"| {name} | {off:.1e} | {len(others)} | {held} |"


def products(run: Run, n: int, k: int, count: int, dtype: torch.dtype) -> Callable[[], None]:
    """Bare products of images on the card with candidates, in chunks."""
    z = torch.randn(min(n, 65_536), D, device=run.device, dtype=dtype)
    text = torch.randn(D, k, device=run.device, dtype=dtype)
    rows = max(1, (1 << 26) // k)

    def work() -> None:
        for _ in range(count * max(1, n // len(z))):
            for part in z.split(rows):
                torch.mm(part, text)

    return work


def rates(run: Run) -> Iterator[str]:
    """Images a second, from memory of the CPU, against bare products of images that are there already."""
    z, text, labels = data(2000)
    fitted = {
        "MCM": (MCMScorer(), 1),
        "ViLU": (fit(ViLUEstimator(random_state=0), z, text, labels), 2),
    }
    yield "| candidates | scorer | images a second | share of the products, float32 | bfloat16 products |"
    yield "|---:|---|---:|---:|---:|"
    for k in (10, 1000, 8192, 32_768):
        n = run.size(min(1_000_000, 4 * 10**9 // k), 512)
        images, candidates = unit(n, 3).numpy(), unit(k, 4).numpy()
        for name, (scorer, count) in fitted.items():
            work = partial(scorer.decision_function, images, candidates)
            whole = on(run.device, run.seconds, work, 3)
            bare = [
                run.seconds(products(run, n, k, count, dtype), 3) / whole
                for dtype in (torch.float32, torch.bfloat16)
            ]
            yield f"| {k:,} | {name} | {n / whole:,.0f} | {bare[0]:.0%} | {bare[1]:.0%} |"


def rounded(run: Run) -> Iterator[str]:
    """Float32 products that may be rounded first: what torch makes of them, and what it changes."""
    images, text = unit(run.size(200_000, 500), 3).numpy(), unit(1000, 4).numpy()
    yield "| torch.set_float32_matmul_precision | seconds | other predictions | rank correlation |"
    yield "|---|---:|---:|---:|"
    exact: Any = None
    for precision in ("highest", "high", "medium"):
        torch.set_float32_matmul_precision(precision)
        work = partial(said, MCMScorer(), images, text)
        seconds = on(run.device, run.seconds, work, 2)
        decision, prediction = on(run.device, work)
        exact = exact or (decision, prediction)
        ranks = [values.argsort().argsort() for values in (exact[0], decision)]
        same = float(np.corrcoef(*ranks)[0, 1])
        yield f"| {precision} | {seconds:.3f} | {(exact[1] != prediction).mean():.2%} | {same:.6f} |"
    torch.set_float32_matmul_precision("highest")


def fits(run: Run) -> Iterator[str]:
    """Training of the networks, on the CPU and on the card."""
    z, text, labels = data(run.size(20_000, 600))
    epochs = run.size(5, 1)
    trained = {
        "LVU": LVUScorer(epochs=epochs, random_state=0),
        "ViLU as published": ViLUEstimator(PaperRecipe(epochs=epochs), random_state=0),
        "ProbVLM": ProbVLMScorer(epochs=epochs, random_state=0),
    }
    yield f"| {len(z):,} images, {epochs} epochs | seconds, CPU | card | memory of the card, MB |"
    yield "|---|---:|---:|---:|"
    for name, scorer in trained.items():
        times = []
        for device in ("cpu", run.device):
            if run.has_cuda:
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            on(device, fit, scorer, z, text, labels)
            times.append(time.perf_counter() - start)
        peak = torch.cuda.max_memory_allocated() / 1e6 if run.has_cuda else 0.0
        yield f"| {name} | {times[0]:.1f} | {times[1]:.1f} | {peak:,.0f} |"


def transfers(run: Run) -> Iterator[str]:
    """How much of copying is hidden behind computing, and how much memory of the card scoring takes."""
    if not run.has_cuda:
        yield "left out: there is no card."
        return
    images, k = unit(400_000, 3), 4096
    text = unit(k, 4)
    copying = run.seconds(partial(images.pin_memory().to, run.device, non_blocking=True), 3)
    pageable = run.seconds(partial(images.to, run.device), 3)
    computing = run.seconds(products(run, len(images), k, 1, torch.float32), 3)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    z, candidates = images.numpy(), text.numpy()
    whole = on(run.device, run.seconds, partial(MCMScorer().decision_function, z, candidates), 3)
    hidden = (copying + computing + max(0.0, pageable - copying) - whole) / min(copying, computing)
    yield (
        f"copying {copying:.3f} s pinned, {pageable:.3f} s pageable; products {computing:.3f} s; all of it "
        f"{whole:.3f} s; hidden of the shorter: {min(1.0, max(0.0, hidden)):.0%}; "
        f"{torch.cuda.max_memory_allocated() / 1e6:,.0f} MB of the card."
    )


def states(run: Run) -> Iterator[str]:
    """Torch's global state changes no number there either."""
    z, text, labels = data(800)
    fitted = {name: fit(one, z, text, labels) for name, one in scorers().items() if "Prob" not in name}

    def entered(kind: str) -> Any:
        if kind == "default device":
            return torch.device(run.device)
        if kind == "autocast":
            return torch.autocast(run.device.type, dtype=torch.bfloat16)
        return torch.inference_mode()

    yield "| state | scorers | the same values to the last bit |"
    yield "|---|---:|---|"
    for kind in ("autocast", "default device", "inference mode"):
        same = True
        for name, scorer in fitted.items():
            plain = on(run.device, scorer.decision_function, z, text)
            with entered(kind):
                inside = on(run.device, scorer.decision_function, z, text)
            if not np.array_equal(plain, inside):
                same = False
                run.broken.append(f"{kind}, {name}")
        yield f"| {kind} | {len(fitted)} | {'yes' if same else 'NO'} |"


def group(run: Run) -> Iterator[str]:
    """A fit in a group of one process, by nccl where there is a card."""
    z, text, labels = data(run.size(4000, 600))
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29531"}
    alone = on(run.device, LVUScorer(epochs=1, random_state=0).fit, z, text, labels)
    backend = "cpu:gloo,cuda:nccl" if run.has_cuda else "gloo"
    torch.distributed.init_process_group(backend, rank=0, world_size=1)
    try:
        if run.has_cuda:
            summed = torch.ones(1, device=run.device)
            torch.distributed.all_reduce(summed)
        with process_group():
            joined = on(run.device, LVUScorer(epochs=1, random_state=0).fit, z, text, labels)
    finally:
        torch.distributed.destroy_process_group()
    off = float(np.abs(alone.decision_function(z, text) - joined.decision_function(z, text)).max())
    yield f"{backend}: largest difference of decision values {off:.1e}, "
    yield f"as alone: {run.check(off < 1e-3, 'a fit in a group of one')}."


def memory(run: Run) -> Iterator[str]:
    """What is said where the memory of the card does not suffice."""
    if not run.has_cuda:
        yield "left out: there is no card."
        return
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(run.device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 300e6 / total))
    try:
        on(run.device, MCMScorer().decision_function, unit(20_000, 3), unit(60_000, 4))
        yield "300 MB sufficed for 60,000 candidates."
    except RuntimeError as error:
        yield f"{type(error).__name__}: {str(error).splitlines()[0]}"
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    run.check(
        bool(np.isfinite(on(run.device, lambda: MCMScorer().predict(unit(9, 3), unit(5, 4)))).all()), "after"
    )


SECTIONS = [parity, rates, rounded, fits, transfers, states, group, memory]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes of seconds, to see that the script runs")
    parser.add_argument("--only", nargs="+", choices=[one.__name__ for one in SECTIONS])
    args = parser.parse_args()
    vilu_sdk.set_progress(False)
    warnings.simplefilter("ignore", UserWarning)
    on(args.device, lambda: None)  # says now where there is no such device
    run = Run(args.device, args.small)
    name = torch.cuda.get_device_name() if run.has_cuda else "no card"
    print(f"torch {torch.__version__}, {name}, d = {D}")
    for section in SECTIONS:
        if args.only and section.__name__ not in args.only:
            continue
        print(f"\n## {section.__doc__.rstrip('.')}\n", flush=True)
        start = time.perf_counter()
        try:
            for line in section(run):
                print(line, flush=True)
        except Exception:
            traceback.print_exc(file=sys.stdout)
            run.broken.append(section.__name__)
        print(f"\n({time.perf_counter() - start:.0f} s)", flush=True)
    print("\nnot as promised:", "; ".join(run.broken) or "nothing")
    sys.exit(bool(run.broken))


if __name__ == "__main__":
    main()
