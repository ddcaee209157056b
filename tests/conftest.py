"""What several test files share."""

import pytest

from vilu_sdk.datasets import DigitsVLM, load_digits_vlm


@pytest.fixture(scope="session")
def digits() -> DigitsVLM:
    return load_digits_vlm()
