"""The background among candidates that no label taught: other texts, captions, adapting, streams, heads."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from support.data import draw_task
from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.compute.random import seeded
from vilu_sdk.inputs.task import check_task
from vilu_sdk.scorers.posterior import adapt
from vilu_sdk.scorers.posterior.captions import CaptionModel
from vilu_sdk.scorers.posterior.portable import learn_portable

SCALE = 20.0
TASK = draw_task(n=1200, k=30, d=24, noise=0.8, beside=0.3)
SEEN = TASK.labels < 20
TEXT = TASK.z_txt[20:]
IMAGES, LABELS = TASK.z_img[~SEEN], TASK.labels[~SEEN] - 20
STRANGE = np.random.default_rng(1).normal(size=(300, 24)).astype(np.float32)


def fit_on_others(rate):
    return estimator(rate).fit(TASK.z_img[SEEN], TASK.z_txt[:20], TASK.labels[SEEN])


def adapted(rate):
    return estimator(rate).adapt(IMAGES, TEXT)


def followed(rate):
    follower = estimator(rate)
    for batch in np.array_split(IMAGES, 8):
        follower = follower.partial_adapt(batch, TEXT)
    return follower


def adapted_after_a_fit(rate):
    return fit_on_others(rate).adapt(IMAGES, TEXT)


def estimated(rate):
    return estimator(rate).adapt(IMAGES, TEXT, frequencies="balanced")


KINDS = [fit_on_others, adapted, followed, adapted_after_a_fit, estimated]


def estimator(rate):
    return ViLUEstimator(unknown_rate=rate, logit_scale=SCALE, random_state=0)


@pytest.mark.parametrize("make", KINDS)
def test_strange_images_come_later_and_others_stay_where_they_are(make, tmp_path):
    closed, default, said = (make(rate) for rate in (0, None, 0.2))
    assert closed.model_.background(closed_text := check_task(IMAGES, TEXT, LABELS).text) is None
    wrong = closed.predict(IMAGES, TEXT) != LABELS
    truth = np.repeat([0, 1], [len(IMAGES), len(STRANGE)])

    def told(scorer):
        known, strange = (scorer.decision_function(x, TEXT) for x in (IMAGES, STRANGE))
        return roc_auc_score(truth, np.concatenate([known, strange])), roc_auc_score(wrong, known)

    (of_closed, among_closed), (of_default, among_default), (of_said, _) = map(told, (closed, default, said))
    assert of_default >= of_closed - 1e-3
    assert of_said > of_closed
    assert among_default > among_closed - 0.005
    for scorer in (default, said):
        assert scorer.model_.background(closed_text) is not None
        higher = scorer.decision_function(IMAGES, TEXT) - closed.decision_function(IMAGES, TEXT)
        assert higher.min() > -1e-4
        np.testing.assert_allclose(
            scorer.predict_proba(IMAGES, TEXT), closed.predict_proba(IMAGES, TEXT), atol=1e-5
        )
    default.save_pretrained(tmp_path)
    loaded = ViLUEstimator.from_pretrained(tmp_path)
    np.testing.assert_allclose(
        loaded.novelty(IMAGES, TEXT), default.novelty(IMAGES, TEXT), rtol=1e-5, atol=1e-4
    )


def test_what_is_said_of_the_share_is_what_images_of_candidates_get():
    for rate in (0.02, 0.2):
        model = adapted(rate).model_
        text = check_task(IMAGES, TEXT, LABELS).text
        none = 1 / (1 + np.exp(-adapted(rate).novelty(IMAGES, TEXT)))
        assert model.background(text).eta == 0
        assert none.mean() == pytest.approx(rate, rel=0.1)


def test_a_level_is_that_of_all_images_at_once_after_batches_too():
    text = check_task(IMAGES, TEXT, LABELS).text
    at_once, batches = (make(None).model_.background(text).level for make in (adapted, followed))
    assert abs(at_once - batches) < 1.5


def test_where_nothing_is_said_of_candidates_it_is_mcm():
    two = MCMScorer(logit_scale=SCALE).decision_function(IMAGES, TEXT)
    unfitted = ViLUEstimator(logit_scale=SCALE).adapt(IMAGES[:1].repeat(40, axis=0), TEXT)
    assert unfitted.novelty(IMAGES, TEXT).shape == two.shape
    assert CaptionModel(SCALE).background(check_task(IMAGES, TEXT, LABELS).text) is None


def test_a_head_has_it_among_known_and_among_new_candidates():
    task = check_task(TASK.z_img[SEEN], TASK.z_txt[:20], TASK.labels[SEEN])
    head = estimator(None).fit(TASK.z_img[SEEN], TASK.z_txt[:20], TASK.labels[SEEN])
    head.model_ = learn_portable(task, SCALE, seeded(0))
    known, new = task.text, check_task(IMAGES, TEXT, LABELS).text
    assert head.model_.background(known[:7]) == head.model_.background(known) == head.model_.none_known
    assert head.model_.background(new) not in (None, head.model_.none_known)
    truth = np.repeat([0, 1], [len(IMAGES), len(STRANGE)])
    values = np.concatenate([head.novelty(x, TEXT) for x in (IMAGES, STRANGE)])
    assert roc_auc_score(truth, values) > 0.7


def test_captions_know_it_too():
    rng = np.random.default_rng(0)
    captions = rng.normal(size=(700, 24)).astype(np.float32)
    images = captions @ rng.normal(size=(24, 24)).astype(np.float32) / 5 + captions
    images += 0.5 * rng.normal(size=images.shape).astype(np.float32)
    closed, default = (estimator(rate).fit(images[:400], captions[:400]) for rate in (0, None))
    candidates, new = captions[400:550], (images[400:550], images[550:])
    by_closed, by_default = (
        [scorer.decision_function(x, candidates) for x in new] for scorer in (closed, default)
    )
    assert (by_default[1] - by_closed[1]).mean() > (by_default[0] - by_closed[0]).mean()
    truth = np.repeat([0, 1], 150)
    assert roc_auc_score(truth, np.concatenate(by_default)) >= roc_auc_score(truth, np.concatenate(by_closed))


def test_images_of_no_candidate_move_adapted_candidates_less_than_others_would(monkeypatch):
    mixed = np.concatenate([IMAGES, TASK.z_img[SEEN][:200], STRANGE[:100]])

    def moved():
        alone, among = (
            estimator(0).adapt(images, TEXT).predict_proba(IMAGES, TEXT) for images in (IMAGES, mixed)
        )
        return np.abs(among - alone).mean()

    by_likeness = moved()
    monkeypatch.setattr(adapt, "_typical", lambda logits: torch.ones(len(logits)))
    assert by_likeness < 0.9 * moved()
