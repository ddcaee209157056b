"""Processes for tests to kill.

They are forked from a server that has imported the package and computed nothing. A fork of the test
process itself waits for ever in its first parallel loop, if OpenMP has started threads before.
"""

import multiprocessing
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.toy_scorer import ToyScorer
from vilu_sdk import cli
from vilu_sdk.persistence import storage
from vilu_sdk.scale import job
from vilu_sdk.scorers import Card, Scorer
from vilu_sdk.training import resume

HAS_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
kills = pytest.mark.skipif(not HAS_SERVER, reason="this system kills processes in other ways")
unix = pytest.mark.skipif(sys.platform == "win32", reason="pipes, signals and shells are those of Unix")
if HAS_SERVER:
    CONTEXT = multiprocessing.get_context("forkserver")
    # What is slow to import. An optimiser of torch imports dynamo; the package itself imports nothing yet.
    ROOMS = ("cli._fit", "cli._score", "evaluation", "report", "scale", "selective", "training.resume")
    CONTEXT.set_forkserver_preload(
        ["pyarrow.parquet", "pytest", "torch._dynamo", *(f"vilu_sdk.{room}" for room in ROOMS)]
    )


def start(job: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Run a job, one of those below, in a process of its own."""
    child = CONTEXT.Process(target=job, args=arguments, daemon=True)
    child.start()
    return child


def kill(child: BaseProcess) -> None:
    """Kill a process, which had better live."""
    child.kill()
    assert end(child) == -signal.SIGKILL


def end(child: BaseProcess) -> int:
    """Wait for a process and return its exit code, negative for a signal."""
    child.join()
    code = child.exitcode
    child.close()
    assert code is not None
    return code


# --- jobs ------------------------------------------------------------------------------------------


def die_before(step: int, folder: Path) -> None:
    """Kill this process before the given one of the operations that touch a folder."""
    left = iter(range(step))

    def count() -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("open", "os.mkdir", "os.rename", "os.remove") and str(folder) in str(arguments[0]):
            count()

    flush = os.fsync

    def fsync(file: int) -> None:
        count()
        flush(file)

    os.fsync = fsync
    sys.addaudithook(audit)


def numbered(number: int) -> ToyScorer:
    """A scorer whose two files and card all tell which one it is."""
    scorer = ToyScorer(bias=number)
    scorer.weight_ = torch.full((20_000,), number + 0.1)
    scorer.n_features_in_ = 3
    return scorer


def save(number: int, folder: Path) -> None:
    numbered(number).save_pretrained(folder, card=Card(notes=f"number {number}"))


def save_and_die(step: int, folder: Path) -> None:
    die_before(step, folder)
    save(2, folder)


def save_for_ever(first: int, folder: Path, told: Connection) -> None:
    """Save one scorer after another, and tell after the first how many seconds it took."""
    for number in range(first, 1_000_000):
        started = time.perf_counter()
        save(number % 7, folder)
        if number == first:
            told.send(time.perf_counter() - started)


def score(source: Path, output: Path, scorer: Scorer, z_txt: np.ndarray, rows: int) -> None:
    job.score_to_folder(source, output, scorer, z_txt, piece_rows=rows)


def score_and_die(step: int, source: Path, output: Path, scorer: Scorer, z_txt: np.ndarray) -> None:
    die_before(step, output)
    score(source, output, scorer, z_txt, 20)


def fit(scorer: Scorer, data: tuple[Any, ...], name: Path, checkpoint: Path | None) -> None:
    scorer.fit(*data, checkpoint=checkpoint).save_pretrained(name)


def fit_and_tell(scorer: Scorer, data: tuple[Any, ...], checkpoint: Path, told: Connection) -> None:
    """Write a checkpoint after each step, and tell of each."""
    write = storage.write_folder

    def write_and_tell(*arguments: Any) -> None:
        write(*arguments)
        told.send_bytes(b".")

    storage.write_folder = write_and_tell
    resume.EVERY_SECONDS = 0
    scorer.fit(*data, checkpoint=checkpoint)


def command(line: str, out: Connection | None = None, err: Connection | None = None) -> None:
    """Run the command in the working directory, with other ends of its streams where they are given."""
    for stream, end_of_pipe in ((1, out), (2, err)):
        if end_of_pipe is not None:
            os.dup2(end_of_pipe.fileno(), stream)
    for end_of_pipe in {out, err} - {None}:
        end_of_pipe.close()
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
    sys.exit(cli.main(shlex.split(line)))


def logged_command(line: str, *streams: Connection) -> None:
    """Note in a file which pieces were scored; after the third, wait to be killed if a file says so."""
    score_piece = job.score_piece

    def logged(piece: Any, *rest: Any) -> None:
        score_piece(piece, *rest)
        with Path("scored.txt").open("a") as file:
            file.write(f"{piece.first}\n")
        if piece.first == 200 and Path("wait").exists():
            time.sleep(60)

    job.score_piece = logged
    command(line, *streams)
