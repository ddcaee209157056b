"""Where things are that tests read."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS, EXAMPLES, BENCHMARKS = ROOT / "docs", ROOT / "examples", ROOT / "benchmarks"
SUPPORT, GOLDEN = ROOT / "tests" / "support", ROOT / "tests" / "golden"
# Real data and published weights, which cannot be in the repository.
SHARED = ROOT.parent / "shared"
EMBEDDINGS = SHARED / "embeddings"
