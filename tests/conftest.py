"""What several test files share."""

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
