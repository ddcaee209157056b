"""A parameter that is True or False takes no word, which would count as True whatever it says."""

import inspect
from typing import Any

import numpy as np
import pytest

from vilu_sdk import MCMScorer, scorers, selective
from vilu_sdk.scorers.base.scorer import Scorer

FLAGS = [
    (cls, name)
    for module in (scorers, selective)
    for cls in map(module.__dict__.get, module.__all__)
    if isinstance(cls, type) and hasattr(cls, "fit")
    for name, parameter in inspect.signature(cls).parameters.items()
    if isinstance(parameter.default, bool)
]


@pytest.mark.parametrize(("cls", "name"), FLAGS, ids=str)
@pytest.mark.parametrize("word", ["False", "x", None, 2])
def test_a_word_is_neither_true_nor_false(cls: Any, name: str, word: Any, toy: Any) -> None:
    inner = {"scorer": MCMScorer()} if "scorer" in inspect.signature(cls).parameters else {}
    made = cls(**inner, **{name: word})

    def use() -> None:
        made.fit(toy.z_img, toy.z_txt, toy.labels).predict_uncertainty(toy.z_img, toy.z_txt)

    with pytest.raises(TypeError, match=f"{name} must be True or False, got"):
        use()
    if issubclass(cls, Scorer):
        sure = cls(**{name: np.True_}).fit(toy.z_img, toy.z_txt, toy.labels)
        assert np.isfinite(sure.decision_function(toy.z_img[:3], toy.z_txt)).all()
