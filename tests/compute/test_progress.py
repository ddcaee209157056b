"""Bars on terminals only; elsewhere lines of the log, with rows, rate and time left."""

import io
import logging
import re

import pytest

import vilu_sdk
from vilu_sdk.compute import progress
from vilu_sdk.inputs.slices import cut


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Time that passes where a test says so."""
    now = [100.0]
    monkeypatch.setattr("vilu_sdk.compute.progress.time.monotonic", lambda: now[0])
    return now


@pytest.fixture(autouse=True)
def as_imported(monkeypatch):
    """Whatever other tests have switched off, or listen to."""
    monkeypatch.setattr(progress, "_enabled", True)
    loggers = {logging.getLogger(): logging.WARNING, logging.getLogger("vilu_sdk"): logging.NOTSET}
    loggers[progress.LOG] = logging.NOTSET
    before = {logger: logger.level for logger in loggers}
    for logger, level in loggers.items():
        logger.setLevel(level)
    yield
    for logger, level in before.items():
        logger.setLevel(level)


def lines(caplog):
    return [record for record in caplog.records if record.name == "vilu_sdk.progress"]


def test_lines_tell_rows_rate_and_time_left(clock, caplog):
    caplog.set_level(logging.INFO, "vilu_sdk")
    for _ in progress.track(cut(1_000_000, 100_000), "scoring"):
        clock[0] += 20.0
    said = [record.getMessage() for record in lines(caplog)]
    assert said[0] == "scoring: 200,000 of 1,000,000 done (20 %), 5,000 a second, 2 min 40 s left"
    assert said[-1] == "scoring: 1,000,000 of 1,000,000 done (100 %), 5,000 a second, 0 s left"
    assert len(said) == 5
    assert lines(caplog)[0].fields == {
        **{"work": "scoring", "done": 200_000, "total": 1_000_000, "rate": 5000.0},
        **{"seconds": 40.0, "seconds_left": 160.0},
    }


def test_short_work_says_nothing(clock, caplog):
    caplog.set_level(logging.INFO, "vilu_sdk")
    for _ in progress.track(cut(1_000, 100), "scoring"):
        clock[0] += 1.0
    assert not lines(caplog)


def test_what_has_no_end_is_counted(clock, caplog):
    caplog.set_level(logging.INFO, "vilu_sdk")
    for _ in progress.track(iter(range(3)), "waiting"):
        clock[0] += 60.0
    assert [record.getMessage() for record in lines(caplog)][-1] == "waiting: 3 done, 0.017 a second"


@pytest.mark.parametrize("how", ["switch", "level", "rank"])
def test_it_can_be_silenced(how, clock, caplog, monkeypatch, capsys):
    caplog.set_level(logging.WARNING if how == "level" else logging.INFO, "vilu_sdk")
    if how == "rank":
        monkeypatch.setattr(progress, "rank", lambda: 1)
    vilu_sdk.set_progress(how != "switch")
    try:
        for _ in progress.track(range(10), "scoring"):
            clock[0] += 60.0
    finally:
        vilu_sdk.set_progress(True)
    assert not lines(caplog)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("silenced", [False, True])
def test_a_terminal_has_a_bar_and_no_lines(silenced, clock, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "vilu_sdk")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    if silenced:
        monkeypatch.setenv("TQDM_DISABLE", "1")
    assert progress.bars_are_shown() is not silenced
    monkeypatch.setattr(progress, "tqdm", lambda steps, **how: [terminal.write("bar"), *steps][1:])
    monkeypatch.setattr(progress, "bars_are_shown", lambda: not silenced)
    for _ in progress.track(range(10), "scoring"):
        clock[0] += 60.0
    assert ("bar" in terminal.getvalue()) is not silenced
    assert bool(re.search("left", caplog.text)) is silenced


def test_a_process_that_listens_to_nothing_gets_nothing(capsys, caplog):
    caplog.set_level(logging.WARNING, "vilu_sdk")
    assert not progress.LOG.isEnabledFor(logging.INFO)
    assert list(progress.track([1, 2], "scoring")) == [1, 2]
    assert capsys.readouterr() == ("", "")
