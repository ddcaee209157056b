"""A folder of files as users have them, and the command in this process."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from vilu_sdk import ViLUEstimator, cli
from vilu_sdk.cli import _demo
from vilu_sdk.datasets import DigitsVLM

SCALE = 13.9
DATA = "new-images.npy texts.npy"
LABELLED = f"{DATA} --labels new-labels.npy"


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


@pytest.fixture(scope="session")
def _digits_folder(tmp_path_factory: pytest.TempPathFactory, digits: DigitsVLM) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    fit = f"fit images.npy texts.npy --labels labels.npy --logit-scale {SCALE} -o my-scorer"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_demo, "load_digits_vlm", lambda _: digits)
        assert cli.main(["demo", "--data", str(folder)]) == 0
        patch.chdir(folder)
        assert cli.main(fit.split()) == 0
    return folder


@pytest.fixture
def digits_folder(_digits_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `vilu demo --data` writes and a scorer fitted on it, in the working directory."""
    monkeypatch.chdir(_digits_folder)
    monkeypatch.setattr("vilu_sdk.compute.progress._enabled", True)
    return _digits_folder


@pytest.fixture
def vilu(digits_folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], Run]:
    """Run a command line."""
    return lambda line: Run(line, capsys)


@pytest.fixture
def fitted(digits_folder: Path) -> ViLUEstimator:
    return ViLUEstimator.from_pretrained(digits_folder / "my-scorer")
