"""What several test files share."""

import os

# Before torch and numpy load: in products as small as these, threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests of progress bars see no switch but their own; tqdm and the Hub's client read theirs as they load.
os.environ.pop("TQDM_DISABLE", None)
os.environ.pop("HF_HUB_DISABLE_PROGRESS_BARS", None)

from types import SimpleNamespace

import pytest

from support.cli_tools import _digits_folder as _digits_folder
from support.cli_tools import digits_folder as digits_folder
from support.cli_tools import fitted as fitted
from support.cli_tools import vilu as vilu
from support.data import draw_task
from support.fake_hub import server as server
from vilu_sdk.datasets import DigitsVLM, load_digits_vlm

# Helpers, with no tests and no examples.
collect_ignore = ["support"]


@pytest.fixture(scope="session")
def digits() -> DigitsVLM:
    return load_digits_vlm()


@pytest.fixture(scope="session")
def toy() -> SimpleNamespace:
    """Six classes in 16 dimensions, predicted right about three times in four."""
    return draw_task()


@pytest.fixture(scope="session")
def beside() -> SimpleNamespace:
    """Six classes whose images lie beside their texts, so that labels teach what the texts do not say."""
    return draw_task(beside=0.8)
