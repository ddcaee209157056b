"""A process that dies while it saves leaves the old scorer or the new one."""

import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from support.toy_scorer import ToyScorer
from vilu_sdk.scorers import Card

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system kills processes in other ways")


def make(number: int) -> ToyScorer:
    """A scorer whose two files and card all tell which one it is."""
    scorer = ToyScorer(bias=number)
    scorer.weight_ = torch.full((20_000,), number + 0.1)
    scorer.n_features_in_ = 3
    return scorer


def save(number: int, folder: Path) -> None:
    make(number).save_pretrained(folder, card=Card(notes=f"number {number}"))


def load(folder: Path) -> int:
    """Load, and prove that what was loaded is one save and no mixture."""
    scorer = ToyScorer.from_pretrained(folder)
    assert torch.equal(scorer.weight_, make(scorer.bias).weight_)
    assert scorer.card_.notes == f"number {scorer.bias}"
    return scorer.bias


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def start(work: Callable[[], None]) -> int:
    """Run `work` in a process of its own and return its number."""
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, of which the work needs none
        child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def end(child: int) -> bool:
    """Wait for a process and return whether it was killed."""
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def dying(folder: Path, step: int) -> None:
    """Save number 2 and die before the given one of the operations that touch the folder."""
    left = iter(range(step))

    def count() -> None:
        if next(left, None) is None:
            die()

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("open", "os.rename", "os.remove") and str(folder) in str(arguments[0]):
            count()

    flush = os.fsync

    def fsync(file: int) -> None:
        count()
        flush(file)

    os.fsync = fsync
    sys.addaudithook(audit)
    save(2, folder)


def test_death_before_any_step_of_a_save_leaves_one_whole_scorer(tmp_path):
    found = []
    for step in range(60):
        folder = tmp_path / str(step)
        save(1, folder)
        killed = end(start(lambda folder=folder, step=step: dying(folder, step)))
        found.append(load(folder))
        if not killed:
            break
        save(3, folder)
        assert load(folder) == 3
    assert not killed
    assert len(found) > 12  # files opened, flushed and renamed
    assert found == sorted(found)  # the old one up to some step, the new one from there on
    assert set(found) == {1, 2}


def test_death_before_any_step_of_a_first_save_leaves_nothing_or_the_scorer(tmp_path):
    for step in range(60):
        folder = tmp_path / str(step)
        killed = end(start(lambda folder=folder, step=step: dying(folder, step)))
        if (folder / "config.json").exists():
            assert load(folder) == 2
        else:
            with pytest.raises(FileNotFoundError, match=r"has no config\.json|There is no folder"):
                load(folder)
        if not killed:
            break
    assert not killed
    assert load(folder) == 2


def test_a_process_killed_at_random_moments_leaves_one_whole_scorer(tmp_path):
    draw = random.Random(0)
    save(0, tmp_path)
    started = time.perf_counter()
    save(0, tmp_path)
    took = time.perf_counter() - started

    def forever(first: int) -> None:
        for number in range(first, 1_000_000):
            save(number % 7, tmp_path)

    found: set[int] = set()
    for first in range(400):  # on a busy machine most are killed before they have saved
        if first >= 40 and len(found) > 1 and hidden(tmp_path):
            break
        child = start(lambda first=first: forever(first))
        time.sleep(draw.uniform(0, 3 * took))
        os.kill(child, signal.SIGKILL)
        assert end(child)
        found.add(load(tmp_path))
    assert len(found) > 1  # it did save between the kills
    assert hidden(tmp_path)  # and some kills did hit a save


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]
