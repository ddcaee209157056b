"""A kernel of large weights does not let rounding show in scores."""

import numpy as np
import pytest

from vilu_sdk import ViLUEstimator


@pytest.fixture(scope="module")
def kernel(digits):
    est = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    est.fit(digits.z_img_fit, digits.z_txt, digits.labels_fit)
    assert "kernel" in est.model_.known
    return est


@pytest.mark.parametrize("rows", [1, 3, 8, 17, 409, 410])
def test_a_score_is_the_same_in_any_company(rows, kernel, digits):
    z = digits.z_img_test
    parts = [kernel.judge(z[first : first + rows], digits.z_txt) for first in range(0, len(z), rows)]
    whole = kernel.judge(z, digits.z_txt)
    for name in ("uncertainty", "answer_uncertainty", "novelty"):
        found = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(found, getattr(whole, name), rtol=1e-5, atol=1e-7)
