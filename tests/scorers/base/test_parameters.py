"""Parameters of another type are named by fit and by verbs, of every scorer and of the published recipe."""

from typing import Any, Literal, get_origin

import numpy as np
import pytest
import torch
from sklearn.base import clone

from support.all_scorers import EXAMPLES
from vilu_sdk import LVUScorer, PaperRecipe, ProbVLMScorer, ViLUEstimator
from vilu_sdk.persistence.types import _types_of_parameters, fits

OF_NO_TYPE: list[Any] = [
    *(1j, [1.5], ("x",), np.array([1.5, 2.5]), float("nan"), 10**400, "", b""),
    *(torch.empty((), device="meta"), torch.ones(2).to_sparse(), 1e-300, -1e300),
]
# No widths of layers.
NO_WIDTHS: list[Any] = ["", (0,), (-1,), (2**62,), (10**30,), (float("nan"),), (70_000, 70_000)]
FEW = slice(0, 60)


def wrong_for(value: Any) -> list[Any]:
    """Return values that nobody takes for a parameter like this one."""
    if isinstance(value, bool):
        return ["no", 1.5, None, *OF_NO_TYPE]
    if isinstance(value, int | float):
        return ["1", None, True, *OF_NO_TYPE, *([1.5] if isinstance(value, int) else [])]
    return OF_NO_TYPE


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_a_parameter_of_another_type_is_named(scorer, toy):
    data = toy.z_img[FEW], toy.z_txt, toy.labels[FEW]
    for name, hint in _types_of_parameters(type(scorer)).items():
        for value in wrong_for(scorer.get_params()[name]):
            if value is None and fits(None, hint):
                continue
            with pytest.raises((ValueError, TypeError), match=name):
                clone(scorer).set_params(**{name: value}).fit(*data)


def test_a_parameter_that_is_set_after_the_fit_is_named_when_it_counts(toy):
    for name, value in (("predicts", [1]), ("logit_scale", "100")):
        scorer = ViLUEstimator(random_state=0).fit(toy.z_img, toy.z_txt, toy.labels)
        with pytest.raises((ValueError, TypeError), match=name):
            scorer.set_params(**{name: value}).predict_uncertainty(toy.z_img, toy.z_txt)


WORDS = [
    pytest.param(example.values[0], name, id=f"{example.id}-{name}")
    for example in EXAMPLES
    for name, hint in _types_of_parameters(type(example.values[0])).items()
    if get_origin(hint) is Literal
]


@pytest.mark.parametrize(("scorer", "name"), WORDS)
def test_a_word_that_a_parameter_does_not_know_is_named_at_every_door(scorer, name, toy, tmp_path):
    data = toy.z_img[FEW], toy.z_txt, toy.labels[FEW]
    late = clone(scorer).fit(*data)
    late.set_params(**{name: "no such word"})
    late.save_pretrained(tmp_path)
    doors = {
        "fit": lambda: clone(late).fit(*data),
        "scoring": lambda: late.predict_uncertainty(*data[:2]),
        "judge": lambda: late.judge(*data[:2]),
        "loading": lambda: type(late).from_pretrained(tmp_path),
    }
    if hasattr(late, "adapt"):
        doors["adapt"] = lambda: late.adapt(*data)
    for door in doors.values():
        with pytest.raises((ValueError, TypeError), match=name):
            door()


@pytest.mark.parametrize("widths", NO_WIDTHS, ids=repr)
def test_widths_that_no_network_has_are_named(widths, toy):
    data = toy.z_img[FEW], toy.z_txt, toy.labels[FEW]
    networks = [LVUScorer(hidden=widths), ViLUEstimator(PaperRecipe(hidden=widths))]
    networks += [ProbVLMScorer(hidden=widths[0])] if widths else []
    for network in networks:
        with pytest.raises((ValueError, TypeError), match="hidden"):
            network.fit(*data)


@pytest.mark.parametrize(
    "scorer",
    [
        LVUScorer(learning_rate=1e30, epochs=2, hidden=(4,)),
        ViLUEstimator(PaperRecipe(learning_rate=1e30, epochs=2, hidden=(4,))),
        ProbVLMScorer(learning_rate=1e30, epochs=1, hidden=4),
    ],
    ids=lambda scorer: type(scorer).__name__,
)
def test_a_training_that_diverges_says_so(scorer, toy):
    with pytest.raises(ValueError, match=r"diverged: its weights are NaN or overflow\. Lower learning_rate"):
        scorer.fit(toy.z_img[FEW], toy.z_txt, toy.labels[FEW])


def test_flags_and_words_of_the_published_recipe_are_checked(toy):
    recipe = PaperRecipe()
    assert len(_types_of_parameters(PaperRecipe)) == len(recipe.get_params())
    for name, value in recipe.get_params().items():
        for wrong in wrong_for(value):
            if wrong is None and fits(None, _types_of_parameters(PaperRecipe)[name]):
                continue
            published = ViLUEstimator(PaperRecipe(**{name: wrong}))
            with pytest.raises((ValueError, TypeError), match=name):
                published.fit(toy.z_img[FEW], toy.z_txt, toy.labels[FEW])


def test_numbers_of_numpy_and_torch_are_numbers(toy):
    data = toy.z_img[FEW], toy.z_txt, toy.labels[FEW]
    plain = LVUScorer(epochs=1, hidden=(4,), momentum=0.5, logit_scale=9.0, random_state=0).fit(*data)
    same = LVUScorer(
        epochs=np.int64(1),
        hidden=np.array([4]),
        momentum=np.float32(0.5),
        logit_scale=torch.tensor([9.0]),
        random_state=0,
    )
    expected = plain.decision_function(*data[:2])
    np.testing.assert_array_equal(same.fit(*data).decision_function(*data[:2]), expected)
