"""The figures that the paper prints."""

import json
from pathlib import Path
from typing import Any

FIGURES: dict[str, Any] = json.loads(Path(__file__).with_name("figures.json").read_text(encoding="utf-8"))
ROWS: dict[tuple[str, str, str, str], dict[str, float]] = {
    (entry, dataset, method, setting): values
    for entry, found in FIGURES["entries"].items()
    for dataset, method, setting, values in found["rows"]
}


def published(entry: str, dataset: str, method: str, setting: str = "") -> dict[str, float]:
    """Return what an entry prints of a method, in percent by metric; nothing where it prints nothing."""
    return ROWS.get((entry, dataset, method, setting), {})
