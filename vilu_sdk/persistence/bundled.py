"""The heads that come with the package, found without an import, so that a shell completes their names."""

from pathlib import Path

#: The file without which a folder holds no saved scorer.
CONFIG_FILE = "config.json"
#: Folder of the heads that come with the package, each a folder of its own.
PRETRAINED = Path(__file__).parents[1] / "pretrained"


def bundled_heads() -> dict[str, Path]:
    """Return the folders of the heads that come with the package by name; no other name is looked up."""
    return {file.parent.name: file.parent for file in sorted(PRETRAINED.glob(f"*/{CONFIG_FILE}"))}
