import os
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vilu_sdk.persistence import storage
from vilu_sdk.persistence.files import LEFTOVER_SECONDS

CONFIG = {"settings": [1, 2.5, None]}


def tensors(value: float = 1.0) -> dict[str, Tensor]:
    return {"w": torch.full((3, 2), value), "s": torch.tensor(2.0, dtype=torch.float64)}


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_damaged_files_are_refused(tmp_path):
    storage.write_folder(tmp_path, CONFIG, tensors())
    data = bytearray((tmp_path / storage.TENSORS_FILE).read_bytes())
    data[-1] ^= 1
    (tmp_path / storage.TENSORS_FILE).write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        storage.read_folder(tmp_path)
    (tmp_path / storage.TENSORS_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors"):
        storage.read_folder(tmp_path)
    (tmp_path / storage.CONFIG_FILE).write_text('{"format_version": 1')
    with pytest.raises(ValueError, match="not valid JSON"):
        storage.read_folder(tmp_path)
    (tmp_path / storage.CONFIG_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        storage.read_folder(tmp_path)


# What a save does to the disk, in order; Windows flushes no folders.
FLUSH = ["fsync"] * hasattr(os, "O_DIRECTORY")
STEPS = ["fsync", "fsync", *FLUSH, "replace", *FLUSH, "replace", *FLUSH]


class PowerCut(BaseException):
    """Ends a write as a kill would: no handler of the code under test may catch it usefully."""


@pytest.mark.parametrize("first", [True, False], ids=["first save", "overwrite"])
@pytest.mark.parametrize("cleanup", [True, False], ids=["exception", "kill"])
@pytest.mark.parametrize("step", range(len(STEPS) + 1))
def test_a_crash_at_any_step_leaves_the_old_or_the_new_files_whole(
    step, cleanup, first, tmp_path, monkeypatch
):
    if not first:
        storage.write_folder(tmp_path, CONFIG, tensors(1.0))
    calls = []

    def breaking(original):
        def wrapper(*args, **kwargs):
            calls.append(original.__name__)
            if len(calls) > step:
                raise PowerCut
            return original(*args, **kwargs)

        return wrapper

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", breaking(os.fsync))
        patch.setattr(os, "replace", breaking(os.replace))
        if not cleanup:
            patch.setattr(Path, "unlink", lambda *_, **__: None)
        if step < len(STEPS):
            with pytest.raises(PowerCut):
                storage.write_folder(tmp_path, {"new": True}, tensors(2.0))
        else:
            storage.write_folder(tmp_path, {"new": True}, tensors(2.0))
    assert calls == STEPS[: step + 1]
    switched = "replace" in STEPS[:step]
    if first and not switched:
        with pytest.raises(FileNotFoundError, match=r"no config\.json"):
            storage.read_folder(tmp_path)
    else:
        config, state = storage.read_folder(tmp_path)
        assert config == ({"new": True} if switched else CONFIG)
        assert torch.equal(state["w"], tensors(2.0 if switched else 1.0)["w"])
    if cleanup and not switched:
        assert visible(tmp_path) == ([] if first else [storage.CONFIG_FILE, storage.TENSORS_FILE])
    storage.write_folder(tmp_path, CONFIG, tensors(3.0))
    assert torch.equal(storage.read_folder(tmp_path)[1]["w"], tensors(3.0)["w"])


def test_a_reader_meets_a_writer_and_reads_one_save(tmp_path, monkeypatch):
    storage.write_folder(tmp_path, CONFIG, tensors(1.0))
    read = storage._matching_tensors

    def overtaken(*args):
        monkeypatch.setattr(storage, "_matching_tensors", read)
        storage.write_folder(tmp_path, {"new": True}, tensors(2.0))
        return read(*args)

    monkeypatch.setattr(storage, "_matching_tensors", overtaken)
    config, state = storage.read_folder(tmp_path)
    assert config == {"new": True}
    assert torch.equal(state["w"], tensors(2.0)["w"])


def test_a_pending_file_that_moves_while_it_is_read_is_found_under_its_name(tmp_path, monkeypatch):
    storage.write_folder(tmp_path, {"new": True}, tensors(2.0))
    final, pending = tmp_path / storage.TENSORS_FILE, tmp_path / f".{storage.TENSORS_FILE}.{32 * '0'}"
    final.rename(pending)
    read = Path.read_bytes

    def moving(path):
        if path == pending:
            pending.rename(final)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", moving)
    assert torch.equal(storage.read_folder(tmp_path)[1]["w"], tensors(2.0)["w"])


def test_leftovers_of_killed_writes_go_once_they_are_old(tmp_path):
    for name, age in [("01d", 2 * LEFTOVER_SECONDS), ("4e3", 0)]:
        for file in (storage.TENSORS_FILE, storage.CONFIG_FILE):
            path = tmp_path / f".{file}.{name:0>32}"
            path.touch()
            os.utime(path, (time.time() - age,) * 2)
    (tmp_path / ".gitignore").touch()
    os.utime(tmp_path / ".gitignore", (0, 0))
    storage.write_folder(tmp_path, CONFIG, tensors())
    left = [name for name in visible(tmp_path) if name not in (storage.CONFIG_FILE, storage.TENSORS_FILE)]
    assert sorted(name[-3:] for name in left) == ["4e3", "4e3", "ore"]
