import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_quickstart_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "quickstart.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "799 rows scored" in out
    assert out.count("predicted") == 5
    assert out.endswith("the same after saving and loading: True\n")


def test_the_sdk_imports_no_vision_language_model() -> None:
    sources = (Path(__file__).parents[1] / "vilu_sdk").rglob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    assert not [name for name in ("open_clip", "transformers", "torchvision") if f"import {name}" in text]
