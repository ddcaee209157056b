"""A process that dies while it saves leaves the old scorer or the new one."""

import random
import shutil
import time
from multiprocessing import Pipe
from pathlib import Path

import pytest
import torch

from support.processes import end, kill, kills, numbered, save, save_and_die, save_for_ever, start
from support.toy_scorer import ToyScorer

pytestmark = kills


def load(folder: Path) -> int:
    """Load, and prove that what was loaded is one save and no mixture."""
    scorer = ToyScorer.from_pretrained(folder)
    assert torch.equal(scorer.weight_, numbered(scorer.bias).weight_)
    assert scorer.card_.notes == f"number {scorer.bias}"
    return scorer.bias


def test_death_before_any_step_of_a_save_leaves_one_whole_scorer(tmp_path):
    found = []
    for step in range(60):
        folder = tmp_path / str(step)
        save(1, folder)
        killed = end(start(save_and_die, step, folder))
        found.append(load(folder))
        if not killed:
            break
        save(3, folder)
        assert load(folder) == 3
    assert not killed
    assert len(found) > 12  # files opened, flushed and renamed
    assert found == sorted(found)  # the old one up to some step, the new one from there on
    assert set(found) == {1, 2}


def test_a_second_death_loses_nothing_either(tmp_path):
    """Of a save that died in the middle of its switch, the tensors lie in a hidden file until the next."""
    for first in range(60):
        began = tmp_path / f"{first}"
        save(1, began)
        end(start(save_and_die, first, began))
        if load(began) == 2 and any("safetensors" in name for name in hidden(began)):
            break
    assert load(began) == 2
    for step in range(60):
        folder = tmp_path / f"again {step}"
        shutil.copytree(began, folder)
        killed = end(start(save_and_die, step, folder))
        assert load(folder) == 2
        if not killed:
            break
    assert not killed
    assert not hidden(folder)


def test_death_before_any_step_of_a_first_save_leaves_nothing_or_the_scorer(tmp_path):
    for step in range(60):
        folder = tmp_path / str(step)
        killed = end(start(save_and_die, step, folder))
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
    found: set[int] = set()
    for first in range(400):
        if first >= 40 and hidden(tmp_path):
            break
        here, told = Pipe(duplex=False)
        child = start(save_for_ever, first, tmp_path, told)
        told.close()
        with here:
            took = here.recv()
        time.sleep(draw.uniform(0, 3 * took))
        kill(child)
        found.add(load(tmp_path))
    assert len(found) > 1  # it did save between the kills
    assert hidden(tmp_path)  # and some kills did hit a save


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]
