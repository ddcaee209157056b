"""The same image gets the same decision, whatever is scored with it, so promises hold for repeats."""

import pickle
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.base import clone

from support.all_scorers import EXAMPLES
from vilu_sdk import MCMScorer
from vilu_sdk.scale import score_partition
from vilu_sdk.selective import CostPredictor, CoveragePredictor, SelectivePredictor

K, D = 47, 128


@contextmanager
def threads(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    yield
    torch.set_num_threads(before)


def draw(rng, texts, n, frame, share=0.25):
    """Images of which a share is one and the same frame, and their classes."""
    labels = rng.integers(len(texts), size=n)
    images = texts[labels] + 3.0 * rng.normal(size=(n, texts.shape[1])).astype(np.float32)
    images[rng.random(n) < share] = frame
    return images.astype(np.float32), labels


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(K, D)).astype(np.float32)
    frame = (2 * texts.mean(axis=0) + rng.normal(size=D)).astype(np.float32)
    return rng, texts, frame


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_the_same_image_gets_the_same_decision_whatever_is_scored_with_it(scorer, world):
    rng, texts, frame = world
    fit = draw(rng, texts, 300, frame, share=0.0)
    calibration, new = (draw(rng, texts, n, frame) for n in (300, 120))
    used = clone(scorer).fit(fit[0], texts, fit[1])
    for predictor in (
        SelectivePredictor(used, 0.3),
        SelectivePredictor(used, 0.3, method="sgr"),
        CoveragePredictor(used, 0.6),
        CostPredictor(used, 4.0),
    ):
        chosen = predictor.fit(calibration[0], texts, calibration[1])
        assert chosen.accept(calibration[0], texts).sum() == chosen.report_.accepted
        images = np.concatenate([new[0], calibration[0][:60]])  # some of them beside the threshold
        expected = chosen.accept(images, texts)
        order = rng.permutation(len(images))
        assert (chosen.accept(images[order], texts) == expected[order]).all()
        alone = np.concatenate([chosen.accept(image[None], texts) for image in images])
        np.testing.assert_array_equal(alone, expected)
        pieces = np.concatenate([chosen.accept(part, texts) for part in np.array_split(images, 7)])
        np.testing.assert_array_equal(pieces, expected)
        table = score_partition({"z": images}, pickle.loads(pickle.dumps(chosen)), texts)
        np.testing.assert_array_equal(table["accepted"], expected)
        with threads(2):
            np.testing.assert_array_equal(chosen.accept(torch.tensor(images), texts), expected)


@pytest.mark.parametrize("draws", [pytest.param(500, marks=pytest.mark.slow), 40])
@pytest.mark.parametrize("cls", [SelectivePredictor, CostPredictor])
def test_promises_hold_image_by_image_where_a_quarter_of_the_stream_is_one_frame(cls, draws):
    rng = np.random.default_rng(1)
    texts = rng.normal(size=(K, D)).astype(np.float32)
    mcm = MCMScorer(logit_scale=20.0)
    broken, shares = 0, []
    for _ in range(draws):
        frame = (2 * texts.mean(axis=0) + rng.normal(size=D)).astype(np.float32)
        calibration, new = draw(rng, texts, 400, frame), draw(rng, texts, 2000, frame)
        chosen = cls(mcm, 0.1 if cls is SelectivePredictor else 5.0).fit(
            calibration[0], texts, calibration[1]
        )
        accepted = chosen.accept(new[0], texts)
        block = np.flatnonzero((new[0] == frame).all(axis=1))
        alone = chosen.accept(new[0][block[:1]], texts)
        assert (accepted[block] == alone).all()  # as a service would decide, one image a call
        n, wrong = accepted.sum(), mcm.predict(new[0], texts) != new[1]
        bound = chosen.report_.risk_bound
        # Two standard deviations for what these 2,000 images have by chance.
        broken += n > 0 and wrong[accepted].mean() > bound + 2 * (bound * (1 - bound) / n) ** 0.5
        shares.append(accepted.mean())
    assert binomtest(int(broken), draws, 0.05, alternative="greater").pvalue > 0.01
    assert np.mean(shares) > 0.05


def test_a_block_beside_the_threshold_is_decided_at_once(world):
    rng, texts, frame = world
    calibration, new = draw(rng, texts, 400, frame), draw(rng, texts, 4000, frame, share=0.5)
    block = (new[0] == frame).all(axis=1)
    for coverage in (0.3, 0.5, 0.7, 0.9):
        chosen = CoveragePredictor(MCMScorer(logit_scale=20.0), coverage).fit(
            calibration[0], texts, calibration[1]
        )
        assert len(np.unique(chosen.accept(new[0], texts)[block])) == 1
