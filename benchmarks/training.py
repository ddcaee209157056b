"""Training from memory, from a float16 memory map and from shards: rates side by side, and peak memory.

The three sources are trained on in turns, round by round, by the same code; ratios are to memory, medians
over the rounds, of the clock and of CPU time, which a busy machine disturbs less. The share of time in
products of matrices is that of training from memory, by torch's profiler. Each peak is what the
operating system says of a process that does nothing else (VmHWM), above what its imports hold.

python benchmarks/training.py
python benchmarks/training.py --rows 1000000 --buffer-rows 131072 --rounds 1 --scorers LVU
python benchmarks/training.py --rows 1000000 --scorers --peaks LVU-map ViLU-map auto-map LVU-captions
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from vilu_sdk import LVUScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.inputs.shards import open_embeddings, open_pairs
from vilu_sdk.inputs.task import check_task
from vilu_sdk.scorers.paper.confidence import train_confidence
from vilu_sdk.scorers.paper.head import ViLUHead
from vilu_sdk.training import feed
from vilu_sdk.training.sgd import SGD

SHARDS = 10
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "scaled_dot_product")
# The parts of the published network that are trained; in the first epoch the projections are frozen.
HEADS = {
    "LVU": {"attention_scale": None, "predicted": False},
    "ViLU": {"attention_scale": 100.0},
    "ViLU-frozen": {"attention_scale": 100.0},
}


def write(root: Path, rows: int, candidates: int, d: int) -> None:
    """Write images, their captions, classes and labels, as one file and as shards."""
    rng = np.random.default_rng(0)
    z_txt = rng.standard_normal((candidates, d), dtype=np.float32)
    labels = rng.integers(candidates, size=rows)
    np.save(root / "classes.npy", z_txt)
    np.save(root / "labels.npy", labels)
    for name in ("img_emb", "text_emb"):
        whole = np.lib.format.open_memmap(root / f"{name}.npy", "w+", np.float16, (rows, d))
        (root / name).mkdir()
        for i, part in enumerate(np.array_split(np.arange(rows), SHARDS)):
            for some in np.array_split(part, max(1, len(part) // 10_000)):
                noise = rng.standard_normal((len(some), d), dtype=np.float32)
                whole[some] = z_txt[labels[some]] + 4 * noise
            np.save(root / name / f"{name}_{i}.npy", whole[part[0] : part[-1] + 1])
        whole.flush()


def one_epoch(name: str, source: Any, root: Path, steps: int | None = None) -> np.ndarray:
    """Train one epoch (or on the rows of some steps); return rows in a second, and in one of CPU time."""
    settings = SGD(epochs=1, batch_size=128, learning_rate=0.01)
    if steps is not None:
        source = source[: steps * settings.batch_size]
    task = check_task(source, np.load(root / "classes.npy"), np.load(root / "labels.npy")[: len(source)])
    head = ViLUHead(task.images.d, **HEADS[name])
    freeze = len(source) if name == "ViLU-frozen" else 0
    generator = torch.Generator().manual_seed(0)
    start = np.array([time.perf_counter(), time.process_time()])
    train_confidence(
        head, task, 100.0, settings, generator, target="correct", weighting="adaptive", freeze_steps=freeze
    )
    return len(source) / (np.array([time.perf_counter(), time.process_time()]) - start)


def share_in_products(name: str, source: Any, root: Path) -> float:
    """Return the share of the time of training from memory that passes in products of matrices."""
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        one_epoch(name, source, root, steps=50)
    times = {event.key: event.self_cpu_time_total for event in trace.key_averages()}
    products = sum(spent for key, spent in times.items() if any(part in key for part in PRODUCTS))
    return products / sum(times.values())


def compare_rates(root: Path, names: list[str], rounds: int) -> None:
    sources = {
        "float16 map": np.load(root / "img_emb.npy", mmap_mode="r"),
        f"{SHARDS} shards": open_embeddings(root / "img_emb"),
    }
    sources = {"memory": np.array(sources["float16 map"]), **sources}
    print(
        f"{'training':<12} {'source':<12} {'rows/s':>8} {'ratio':>6} {'by CPU time':>12} {'in products':>12}"
    )
    for name in names:
        rates: dict[str, list[np.ndarray]] = {source: [] for source in sources}
        one_epoch(name, sources["memory"], root, steps=5)  # load what loads lazily
        for _ in range(rounds):
            for source, rows in sources.items():
                rates[source].append(one_epoch(name, rows, root))
        share = f"{share_in_products(name, sources['memory'], root):12.0%}"
        for source, found in rates.items():
            wall, cpu = np.median(np.array(found) / np.array(rates["memory"]), axis=0)
            speed = np.median([rate[0] for rate in found])
            print(f"{name:<12} {source:<12} {speed:8.0f} {wall:6.2f} {cpu:12.2f} {share}", flush=True)
            share = ""


def status(field: str) -> float:
    """Megabytes of this process, by the operating system."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def fit_alone(what: str, root: Path) -> None:
    """Fit in this process and print seconds and peak memory."""
    scorer, source = what.split("-")
    fitted: Any = {
        "LVU": LVUScorer(epochs=1, target="correct", random_state=0),
        "ViLU": ViLUEstimator(recipe=PaperRecipe(epochs=1, batch_size=1024), random_state=0),
        "auto": ViLUEstimator(random_state=0),
    }[scorer]
    small = np.random.default_rng(0).standard_normal((256, 8))
    fitted.fit(small, small[:4], np.arange(256) % 4)  # load what loads lazily
    before = status("VmRSS")
    if source == "captions":
        arguments = open_pairs(root)
    else:
        path = root / "img_emb.npy"
        z_img = np.load(path, mmap_mode="r") if source == "map" else open_embeddings(root / "img_emb")
        arguments = z_img, np.load(root / "classes.npy"), np.load(root / "labels.npy")
    start, cpu = time.perf_counter(), time.process_time()
    fitted.fit(*arguments)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"{what:<14} {seconds:8.1f} {cpu:8.1f} {status('VmHWM') - before:8.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=32_768)
    parser.add_argument("--candidates", type=int, default=1_000)
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--buffer-rows", type=int, default=8_192, help="rows on disk in memory at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scorers", nargs="*", default=["LVU"], choices=list(HEADS))
    parser.add_argument("--peaks", nargs="*", default=["LVU-map", "LVU-shards", "auto-map", "LVU-captions"])
    parser.add_argument("--folder", type=Path, help="where the data are, or are written and stay")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        fit_alone(args.alone, args.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = args.folder or Path(temporary)
        if not (root / "classes.npy").exists():
            root.mkdir(exist_ok=True)
            write(root, args.rows, args.candidates, args.d)
        print(f"{args.rows:,} × {args.candidates:,} classes, d = {args.d}, {torch.get_num_threads()} threads")
        feed.BUFFER_ELEMENTS = args.buffer_rows * args.d
        if args.scorers:
            compare_rates(root, args.scorers, args.rounds)
        if args.peaks:
            print(f"\n{'fit':<14} {'seconds':>8} {'CPU s':>8} {'peak MB':>8}", flush=True)
        for what in args.peaks:
            command = [sys.executable, __file__, "--alone", what, "--folder", str(root)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
