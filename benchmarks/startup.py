"""CPU seconds of what does no work: help, mistakes, imports, beside ``import torch``.

Run: ``python benchmarks/startup.py``. All take turns, and medians count.
"""

import resource
import statistics
import subprocess
import sys

TURNS = 5
PROCESSES = {
    "python": ["-c", ""],
    "import numpy": ["-c", "import numpy"],
    "import torch": ["-c", "import torch"],
    "import vilu_sdk": ["-c", "import vilu_sdk"],
    "from vilu_sdk import MCMScorer": ["-c", "from vilu_sdk import MCMScorer"],
    "vilu --version": ["-m", "vilu_sdk", "--version"],
    "vilu --help": ["-m", "vilu_sdk", "--help"],
    "vilu score --help": ["-m", "vilu_sdk", "score", "--help"],
    "vilu completion bash": ["-m", "vilu_sdk", "completion", "bash"],
    "vilu score --mistake": ["-m", "vilu_sdk", "score", "--mistake"],
}


def seconds(arguments: list[str]) -> float:
    """Return the user and system seconds of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Print a table."""
    found: dict[str, list[float]] = {name: [] for name in PROCESSES}
    for _ in range(TURNS):
        for name, arguments in PROCESSES.items():
            found[name].append(seconds(arguments))
    torch = statistics.median(found["import torch"])
    print("| | CPU s | of `import torch` |\n|---|---:|---:|")
    for name, values in found.items():
        median = statistics.median(values)
        print(f"| `{name}` | {median:.2f} | {100 * median / torch:.0f} % |")


if __name__ == "__main__":
    main()
