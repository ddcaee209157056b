"""Random streams of one's own."""

import numpy as np
import pytest

from vilu_sdk.compute.random import check_random_state, seeded


@pytest.mark.parametrize("bad", ["x", 1.5, -1, 2**32, True, [1.5]])
def test_what_starts_no_stream_is_named(bad):
    for start in (check_random_state, seeded):
        with pytest.raises(ValueError, match="random_state must be"):
            start(bad)


def test_streams_are_those_of_numpy():
    for seed in (0, 2**32 - 1, np.int64(7)):
        assert check_random_state(seed).randint(10**6) == np.random.RandomState(seed).randint(10**6)
    given = np.random.RandomState(3)
    assert check_random_state(given) is given
    assert check_random_state(None).randint(2**31) != check_random_state(None).randint(2**31)
