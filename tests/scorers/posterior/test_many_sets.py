"""What several class sets teach carries over to another one, and does no harm where nothing does."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.compute.random import seeded
from vilu_sdk.inputs.task import check_task
from vilu_sdk.scorers.posterior.many_sets import learn_transfer
from vilu_sdk.scorers.posterior.portable import learn_portable

D, SCALE = 24, 8.0


def draw(seed, turn=None, k=12, n=600):
    """A class set: images lie about their texts, moved by a map that all sets share, and by the set."""
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(k, D))
    labels = rng.integers(k, size=n)
    means = text if turn is None else text @ turn
    wide = np.where(np.arange(D) < 4, 4.0, 0.7)  # directions in which all classes scatter
    return means[labels] + 0.3 * rng.normal(size=D) + wide * rng.normal(size=(n, D)), text, labels


@pytest.fixture(scope="module")
def turn():
    rng = np.random.default_rng(99)
    return 0.6 * np.eye(D) + 0.15 * rng.normal(size=(D, D))


def tasks(turn, seeds=range(4)):
    return [check_task(z_img, text, labels) for z_img, text, labels in (draw(seed, turn) for seed in seeds)]


def head(turn):
    first, *others = tasks(turn)
    estimator = ViLUEstimator(logit_scale=SCALE).fit(*draw(0, turn))
    estimator.model_ = learn_portable(first, SCALE, seeded(0), others)
    return estimator


def gain(scorer, z_img, text, labels):
    mcm = MCMScorer(logit_scale=SCALE)
    wrong = mcm.predict(z_img, text) != labels
    return roc_auc_score(wrong, scorer.decision_function(z_img, text)) - roc_auc_score(
        wrong, mcm.decision_function(z_img, text)
    )


@pytest.mark.parametrize("seed", [10, 11, 12])
def test_a_set_never_seen_is_ranked_better(turn, seed):
    assert gain(head(turn), *draw(seed, turn)) > 0.02


def test_texts_that_say_nothing_of_their_images_earn_no_weight():
    rng = np.random.default_rng(0)
    noise = [check_task(rng.normal(size=(400, D)), draw(s)[1], rng.integers(12, size=400)) for s in range(4)]
    assert learn_transfer(noise, SCALE).weight < 0.3 * learn_transfer(tasks(np.eye(D)), SCALE).weight


def test_the_order_of_sets_and_of_classes_does_not_matter(turn):
    sets = tasks(turn)
    once, again = learn_transfer(sets, SCALE), learn_transfer(sets[::-1], SCALE)
    assert again.weight == pytest.approx(once.weight, rel=1e-3)
    torch.testing.assert_close(again.regression.precision, once.regression.precision, rtol=1e-3, atol=1e-3)
    text = torch.nn.functional.normalize(torch.as_tensor(draw(20)[1]).float(), dim=1)
    torch.testing.assert_close(
        again.regression.predicted(text), once.regression.predicted(text), rtol=1e-3, atol=1e-4
    )


def test_a_set_counts_the_same_however_many_images_it_has(turn):
    """Twice the images of one set, the same ones again, change what is learned by little."""
    once = tasks(turn)
    z_img, text, labels = draw(0, turn)
    twice = [check_task(np.tile(z_img, (2, 1)), text, np.tile(labels, 2)), *once[1:]]
    found, expected = learn_transfer(twice, SCALE), learn_transfer(once, SCALE)
    assert found.weight == pytest.approx(expected.weight, rel=0.02)
    torch.testing.assert_close(found.regression.text_map, expected.regression.text_map, rtol=1e-3, atol=1e-4)


def test_known_classes_alone_are_scored_as_without_other_sets(turn):
    """What was learned of a set's own classes is not changed by what others teach of new ones."""
    first, *others = tasks(turn)
    text, x = first.text, first.images.read(slice(None))
    alone, among = (learn_portable(first, SCALE, seeded(0), more) for more in ((), others))
    for columns in (slice(None), [3, 1, 4]):
        parts = [model.parts(text[columns]) for model in (alone, among)]
        found = [sum(part(x) for group in one.values() for part in group) for one in parts]
        found = [one - one.mean(dim=1, keepdim=True) for one in found]
        torch.testing.assert_close(found[1], found[0], atol=0.02, rtol=1e-3)
