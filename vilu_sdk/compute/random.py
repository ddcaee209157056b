"""Random streams of one's own: no global generator moves."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state as scikit_learns_check

from vilu_sdk.compute.distributed import from_first
from vilu_sdk.inputs.values import seed


def check_random_state(random_state: Any) -> np.random.RandomState:
    """Return a stream as scikit-learn does, but a fresh one for None: numpy's own is not ours to move."""
    if random_state is None:
        return np.random.RandomState(np.random.MT19937())
    if isinstance(random_state, Integral):
        random_state = seed(random_state, "random_state")
    try:
        stream: np.random.RandomState = scikit_learns_check(random_state)
    except ValueError:
        got = repr(random_state)
        raise ValueError(f"random_state must be an integer, a RandomState or None, got {got}.") from None
    return stream


def seeded(random_state: Any) -> torch.Generator:
    """Return a torch generator for scikit-learn's kinds of `random_state`, the same in every process."""
    drawn = from_first(lambda: check_random_state(random_state).randint(np.iinfo(np.int32).max))
    return torch.Generator().manual_seed(int(drawn))


@contextmanager
def seeded_init(generator: torch.Generator) -> Iterator[None]:
    """Initialise modules from `generator`, leaving torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        drawn = int(torch.randint(2**31 - 1, (), generator=generator))
        torch.default_generator.manual_seed(drawn)
        yield
