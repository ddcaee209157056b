"""One writer at a time: the second is told who the first is, and nobody works without a lock."""

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from vilu_sdk.exceptions import BusyError
from vilu_sdk.persistence import locks
from vilu_sdk.persistence.locks import held

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there are no locks on Windows")


@pytest.mark.parametrize("inside", [False, True])
def test_the_second_is_told_who_the_first_is_and_comes_after_it(inside, tmp_path):
    target = tmp_path / "target"
    with held(target, inside=inside) as alone:
        assert alone
        with (
            pytest.raises(BusyError, match=rf"target is being written by process {os.getpid()} on "),
            held(target, inside=inside),
        ):
            pytest.fail("two hold it")
    with held(target, inside=inside) as alone:
        assert alone
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_that_its_last_holder_removes_is_made_again(tmp_path, monkeypatch):
    """It goes at the worst of moments: after it was made, and before the lock in it was."""
    folder, take, left = tmp_path / "a" / "folder", locks._take, iter(range(5))

    def removed_before(lock: Path) -> int | None:
        if next(left, None) is not None:
            lock.parent.rmdir()
        return take(lock)

    monkeypatch.setattr(locks, "_take", removed_before)
    with held(folder, inside=True) as alone:
        assert alone
        assert [path.name for path in folder.iterdir()] == [".lock"]


def test_threads_that_make_and_remove_a_folder_all_hold_it(tmp_path):
    counts, inside = [], []

    def work() -> None:
        for _ in range(100):
            with held(tmp_path / "folder", inside=True, patience=60) as alone:
                inside.append(1)
                counts.append((alone, len(inside)))
                inside.pop()
            with suppress(OSError):  # another has a lock in it, or has removed it
                (tmp_path / "folder").rmdir()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [(True, 1)] * 300


def test_what_is_no_folder_or_no_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="file"), held(tmp_path / "file", inside=True):
        pytest.fail("there is no folder")
    os.mkfifo(tmp_path / ".name.lock")
    with pytest.raises(FileExistsError, match=r"name\.lock is no file"), held(tmp_path / "name"):
        pytest.fail("there is no file")
