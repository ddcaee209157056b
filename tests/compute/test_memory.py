"""Memory grows with images plus candidates, not with their product."""

import subprocess
import sys

import pytest

from support.paths import BENCHMARKS

BENCHMARK = BENCHMARKS / "memory.py"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads resident memory from /proc")
def test_scoring_a_memory_map_holds_neither_it_nor_the_similarities():
    # The map is 400 MB and the similarities would be 160 MB in float32; chunks are 16 MB.
    out = subprocess.run(
        [sys.executable, BENCHMARK, "--rows", "400000", "--candidates", "100"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert float(out.split(" s, ")[1].split(" MB")[0]) < 150


# from support.paths import BENCHMARKS
