"""What several test files share."""

from types import SimpleNamespace

import numpy as np
import pytest

from support.cli_tools import _digits_folder as _digits_folder
from support.cli_tools import digits_folder as digits_folder
from support.cli_tools import fitted as fitted
from support.cli_tools import vilu as vilu
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
    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(6, 16)).astype(np.float32)
    labels = rng.integers(6, size=640)
    z_img = (z_txt[labels] + 1.8 * rng.normal(size=(640, 16))).astype(np.float32)
    return SimpleNamespace(z_img=z_img, z_txt=z_txt, labels=labels)


@pytest.fixture(scope="session")
def beside() -> SimpleNamespace:
    """Six classes whose images lie beside their texts, so that labels teach what the texts do not say."""
    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(6, 16)).astype(np.float32)
    labels = rng.integers(6, size=640)
    means = z_txt + 0.8 * rng.normal(size=(6, 16))
    z_img = (means[labels] + 1.8 * rng.normal(size=(640, 16))).astype(np.float32)
    return SimpleNamespace(z_img=z_img, z_txt=z_txt, labels=labels)
