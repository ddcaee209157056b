"""The published templates, and names in them."""

import hashlib

import numpy as np
import pytest

from vilu_sdk import MCMScorer
from vilu_sdk.inputs.candidates import open_candidates
from vilu_sdk.prompts import TEMPLATES, fill


def test_templates_are_those_that_were_published():
    assert (len(TEMPLATES), len(TEMPLATES["imagenet"]), len(TEMPLATES["imagenet-7"])) == (28, 80, 7)
    assert set(TEMPLATES["imagenet-7"]) < set(TEMPLATES["imagenet"])
    assert TEMPLATES["imagenet-7"][0] == "itap of a {}."
    counts = {"dtd": 8, "stanford-cars": 8, "caltech101": 34, "kinetics700": 28, "ucf101": 48, "cifar100": 18}
    assert {key: len(TEMPLATES[key]) for key in counts} == counts
    for templates in TEMPLATES.values():
        assert len(set(templates)) == len(templates)
        assert all(template.count("{}") == 1 and template == template.strip() for template in templates)
    # Of all of them as they stand in the two files of the authors, in this order.
    known = hashlib.sha256("\n".join(text for key in TEMPLATES for text in TEMPLATES[key]).encode())
    assert known.hexdigest()[:16] == "24ba981b0ff990b5"


def test_embeddings_of_the_texts_are_candidates_in_their_order():
    names = ["c{a}t", "dog"]
    texts = fill(names, ["a {}.", "the {}"])
    assert texts == ["a c{a}t.", "the c{a}t", "a dog.", "the dog"]
    assert fill(names, "dtd")[:1] == ["a photo of a c{a}t texture."]
    assert fill(names, "one {}") == ["one c{a}t", "one dog"]
    rng = np.random.default_rng(0)
    known = {text: rng.normal(size=8) for text in texts}
    z = np.array([known[text] for text in texts]).reshape(2, 2, 8)
    z_txt = dict(zip(names, z, strict=True))
    one = open_candidates(z_txt).values[1]
    assert one @ known["a dog."] > 0
    assert MCMScorer().predict(known["the dog"][None], z_txt).tolist() == [1]


@pytest.mark.parametrize(
    ("names", "templates", "error", "message"),
    [
        ("cat", "imagenet", TypeError, r"pass \['cat'\]"),
        ([3, 4], "imagenet", TypeError, "names must be text, got int"),
        (["cat", "cat"], "imagenet", ValueError, "names has 'cat' twice"),
        (["cat"], "imagenet-9", ValueError, "no data set of TEMPLATES, which are imagenet"),
        (["cat"], ["a {}", "a {c}"], ValueError, "template 1, 'a {c}', has no {}"),
    ],
)
def test_what_cannot_be_filled_is_told(names, templates, error, message):
    with pytest.raises(error, match=message):
        fill(names, templates)
