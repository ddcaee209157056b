import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_quickstart_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "quickstart.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "799 rows scored" in out
    assert out.count("predicted") == 5
    assert out.endswith("the same after saving and loading: True\n")


def test_class_embeddings_average_the_templates_of_a_class() -> None:
    """The part of the extraction that is arithmetic; the models themselves are not installed here."""
    embed_classes = runpy.run_path(str(EXAMPLES / "extract_clip_embeddings.py"))["embed_classes"]
    directions = {"a cat": [2.0, 0.0], "the cat": [0.0, 5.0], "a dog": [1.0, 0.0], "the dog": [3.0, 0.0]}

    def embed_texts(texts: list[str]) -> torch.Tensor:
        return torch.tensor([directions[text] for text in texts])

    z_txt = embed_classes(["cat", "dog"], ["a {}", "the {}"], (None, embed_texts, 100.0))
    np.testing.assert_allclose(z_txt, [[0.5, 0.5], [1.0, 0.0]])


def test_the_sdk_imports_no_vision_language_model() -> None:
    sources = (Path(__file__).parents[1] / "vilu_sdk").rglob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    assert not [name for name in ("open_clip", "transformers", "torchvision") if f"import {name}" in text]
