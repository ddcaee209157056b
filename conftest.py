"""For all tests and examples: settings before numpy and torch load, and pictures closed after use."""

import os
import sys
from collections.abc import Iterator

# In products as small as these, threads only wait for each other; test processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests of progress bars see no switch but their own; tqdm and the Hub's client read theirs as they load.
os.environ.pop("TQDM_DISABLE", None)
os.environ.pop("HF_HUB_DISABLE_PROGRESS_BARS", None)

import pytest

import vilu_sdk

# pytest finds the examples of public classes in the module that holds them, which takes them when asked for.
for _name in vilu_sdk.__all__:
    getattr(vilu_sdk, _name)


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    """Close the figures that a test or an example opened."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
