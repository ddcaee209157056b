"""The logit scale as models hold it."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone

from support.all_scorers import EXAMPLES
from vilu_sdk import MCMScorer
from vilu_sdk.exceptions import LogitScaleWarning

LOG = torch.nn.Parameter(torch.tensor(np.log(100.0), dtype=torch.float32))
# Wrappers leave the scale to the scorer inside.
OWN_SCALE = [example for example in EXAMPLES if getattr(example.values[0], "scorer", None) is None]
AS_NUMBERS = [
    LOG.exp(),
    LOG.exp().detach(),
    torch.nn.Parameter(LOG[None]).exp(),
    np.array([[100.0]]),
    np.float32(100),
    torch.tensor(100.0, dtype=torch.bfloat16),
]


@pytest.mark.parametrize("scorer", OWN_SCALE)
def test_a_number_of_any_kind_is_a_logit_scale(scorer, toy, tmp_path):
    expected = clone(scorer).fit(toy.z_img, toy.z_txt, toy.labels).decision_function(toy.z_img, toy.z_txt)
    for scale in AS_NUMBERS:
        used = clone(clone(scorer).set_params(logit_scale=scale))
        used.fit(toy.z_img, toy.z_txt, toy.labels)
        np.testing.assert_allclose(
            used.decision_function(toy.z_img, toy.z_txt), expected, rtol=1e-3, atol=1e-3
        )
        used.save_pretrained(tmp_path)


@pytest.mark.parametrize("scale", [LOG, 4.6052, torch.tensor([4.76]), 0.01, 1 / 117.3])
def test_a_logarithm_or_a_temperature_warns(scale, toy):
    with pytest.warns(LogitScaleWarning, match=r"pass \.exp\(\) of it|pass 1 / temperature") as caught:
        MCMScorer(logit_scale=scale).predict_uncertainty(toy.z_img, toy.z_txt)
    assert caught[0].filename == __file__


def test_other_scales_do_not(toy):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale in (1.0, 5.0, 13.9, 100.0, 117.3, 1000.0):
            MCMScorer(logit_scale=scale).predict_uncertainty(toy.z_img, toy.z_txt)
