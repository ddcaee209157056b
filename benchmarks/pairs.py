"""Pairs of processes that write into one place at one time: what is lost, and what the second is told.

python benchmarks/pairs.py
python benchmarks/pairs.py --pairs 10 --only score
"""

import argparse
import contextlib
import io
import multiprocessing
import random
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from vilu_sdk import LVUScorer, ViLUEstimator, cli
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.exceptions import BusyError
from vilu_sdk.scorers import Scorer

WHO = re.compile(r"process \d+ on \S+ since [\d:+ -]+")


def score(folder: Path) -> str:
    """Score piece by piece into a file."""
    line = (
        f"score {folder}/images.npy {folder}/texts.npy --scorer mcm --logit-scale 14 --piece-rows 100 -q -o"
    )
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = cli.main([*line.split(), f"{folder}/out/scores.csv"])
    return f"exit {code}: {said.getvalue().strip()}"


def fit(folder: Path) -> str:
    """Fit with a checkpoint."""
    scorer = LVUScorer(logit_scale=14, epochs=8, hidden=(32,), random_state=0)
    data = (np.load(folder / f"{name}.npy") for name in ("images", "texts", "labels"))
    try:
        scorer.fit(*data, checkpoint=folder / "out" / "checkpoint")
    except BusyError as error:
        return f"BusyError: {error}"
    scorer.save_pretrained(folder / "out" / f"fitted-{threading.get_native_id()}")
    return "done: "


def save(folder: Path) -> str:
    """Save the same scorer again and again."""
    known = ViLUEstimator.from_pretrained(folder / random.choice(["one", "other"]))
    for _ in range(10):
        known.save_pretrained(folder / "out" / "head")
    return "done: "


def adapt(folder: Path) -> str:
    """Adapt an estimator in one thread and save it in another, each time to a place of its own."""
    scorer = ViLUEstimator.from_pretrained(folder / "one")
    images, texts, labels = (np.load(folder / f"{name}.npy") for name in ("images", "texts", "labels"))
    thread = threading.Thread(target=lambda: [scorer.adapt(images, texts, labels) for _ in range(3)])
    thread.start()
    number = 0
    while thread.is_alive():
        number += 1
        scorer.save_pretrained(folder / "out" / f"fitted-{threading.get_native_id()}-{number}")
    thread.join()
    return "done: "


def run(job: Callable[[Path], str], folder: Path, told: Connection) -> None:
    random.seed(threading.get_native_id())
    told.send(None)  # it is there, and waits for a word
    told.recv()
    try:
        told.send(job(folder))
    except BaseException as error:
        told.send(f"lost: {type(error).__name__}: {error}")


# --- what must be there afterwards -----------------------------------------------------------------


def scored(folder: Path, ends: list[str]) -> bool:
    """All rows, in their order, with the numbers of a run alone; nothing of the pieces is left."""
    alone = folder / "alone.csv"
    files = sorted(path.name for path in (folder / "out").iterdir())
    return files == ["scores.csv"] and (folder / "out" / "scores.csv").read_bytes() == alone.read_bytes()


def fitted(folder: Path, ends: list[str]) -> bool:
    """A scorer of each fit that was done, equal to that of a fit alone, and no checkpoint."""
    found = sorted((folder / "out").glob("fitted-*"))
    done = sum(end.startswith("done") for end in ends)
    return len(found) == done and not (folder / "out" / "checkpoint").exists() and _equal(folder, found)


def saved(folder: Path, ends: list[str]) -> bool:
    """One of the two scorers, whole."""
    hidden = [path for path in (folder / "out" / "head").iterdir() if path.name.startswith(".")]
    return not hidden and any(
        _same(folder, folder / "out" / "head", folder / name) for name in ("one", "other")
    )


def adapted(folder: Path, ends: list[str]) -> bool:
    """Every save of an estimator that was adapted meanwhile is loaded, and scores as finite numbers."""
    images, texts = (np.load(folder / f"{name}.npy") for name in ("images", "texts"))
    found = sorted((folder / "out").glob("fitted-*"))
    scores = (ViLUEstimator.from_pretrained(path).predict_uncertainty(images, texts) for path in found)
    return len(found) > 1 and all(bool(np.isfinite(values).all()) for values in scores)


def _same(folder: Path, one: Path, other: Path) -> bool:
    images, texts = (np.load(folder / f"{name}.npy") for name in ("images", "texts"))
    return bool(
        np.array_equal(
            *(Scorer.from_pretrained(path).decision_function(images, texts) for path in (one, other))
        )
    )


def _equal(folder: Path, found: list[Path]) -> bool:
    return all(_same(folder, path, folder / "alone") for path in found)


PAIRS = {
    "`vilu score`, one `-o`": (score, scored),
    "`fit`, one `checkpoint=`": (fit, fitted),
    "`save_pretrained`, one folder": (save, saved),
    "`adapt`, saved by another thread": (adapt, adapted),
}


def prepare(folder: Path) -> None:
    data = load_digits_vlm()
    for name, values in zip(
        ("images", "texts", "labels"), (data.z_img_fit, data.z_txt, data.labels_fit), strict=True
    ):
        np.save(folder / f"{name}.npy", values)
    (folder / "out").mkdir()
    score(folder)
    (folder / "out" / "scores.csv").rename(folder / "alone.csv")
    fit(folder)
    next((folder / "out").glob("fitted-*")).rename(folder / "alone")
    for name, seed in (("one", 0), ("other", 1)):
        scorer = ViLUEstimator(logit_scale=14.0, random_state=seed)
        scorer.fit(data.z_img_fit[seed::2], data.z_txt, data.labels_fit[seed::2]).save_pretrained(
            folder / name
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--only", default="", help="a word of the pairs that are run")
    args = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vilu_sdk.cli", "vilu_sdk.datasets", "pyarrow.parquet", "torch._dynamo"])
    draw = random.Random(0)
    print(
        "| two at once | pairs | both done | one done, one told | lost | the second says |\n"
        "|---|---:|---:|---:|---:|---|"
    )
    for name, (job, is_whole) in PAIRS.items():
        if args.only not in name:
            continue
        counts, said, seconds = Counter[str](), "–", 0.0
        with tempfile.TemporaryDirectory() as root:
            prepare(Path(root))
            for _ in range(args.pairs):
                ends, seconds = pair(context, job, Path(root), draw.uniform(0, 0.7 * seconds))
                busy = [end for end in ends if "is being written by" in end]
                done = [end for end in ends if end.startswith(("done", "exit 0"))]
                whole = len(done) >= 1 and len(done) + len(busy) == 2 and is_whole(Path(root), ends)
                counts["lost" if not whole else "told" if busy else "both"] += 1
                said = f"{WHO.sub('process … on … since …', busy[0]).replace(root, '…')}" if busy else said
                if not whole:
                    print(ends)
                for path in (Path(root) / "out").iterdir():
                    _remove(path)
        print(
            f"| {name} | {args.pairs} | {counts['both']} | {counts['told']} | {counts['lost']} | {said} |",
            flush=True,
        )


def pair(context: Any, job: Callable[[Path], str], folder: Path, later: float) -> tuple[list[str], float]:
    """Let two processes do a job, the second some seconds later; return how they ended, and in how long."""
    pipes = [context.Pipe() for _ in range(2)]
    children = [context.Process(target=run, args=(job, folder, theirs)) for _, theirs in pipes]
    for child in children:
        child.start()
    for ours, _ in pipes:
        ours.recv()
    started = time.perf_counter()
    for number, (ours, _) in enumerate(pipes):
        time.sleep(later * number)
        ours.send(None)
    ends = [ours.recv() for ours, _ in pipes]
    for child in children:
        child.join()
    return ends, time.perf_counter() - started


def _remove(path: Path) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            _remove(inner)
        path.rmdir()
    else:
        path.unlink()


if __name__ == "__main__":
    main()
