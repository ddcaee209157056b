"""A folder of files as users have them, and the command in this process."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from vilu_sdk import cli
from vilu_sdk.cli import _demo
from vilu_sdk.datasets import DigitsVLM

SCALE = 13.9


@contextmanager
def digits_in(folder: Path, digits: DigitsVLM) -> Iterator[Path]:
    """Write what `vilu demo --data` writes, and work there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_demo, "load_digits_vlm", lambda _: digits)
        assert cli.main(["demo", "--data", str(folder)]) == 0
        patch.chdir(folder)
        patch.setattr("vilu_sdk.progress._enabled", True)
        yield folder


class Run:
    """What a command printed and returned."""

    def __init__(self, line: str, capsys: pytest.CaptureFixture[str]) -> None:
        capsys.readouterr()
        try:
            self.code: object = cli.main(shlex.split(line))
        except SystemExit as stop:
            self.code = stop.code
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> object:
        return json.loads(self.out)


def vector(folder: Path, name: str) -> np.ndarray:
    return np.load(folder / f"{name}.npy")
