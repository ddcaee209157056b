"""Answers of a posterior: what they are, and that every verb can be about them."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import accuracy_score, roc_auc_score

from support.all_scorers import EXAMPLES, fitted
from support.data import draw_task
from vilu_sdk import CalibratedScorer, LVUScorer, MCMScorer, SelectivePredictor, ViLUEstimator
from vilu_sdk.evaluation import compare, evaluate, expected_calibration_error
from vilu_sdk.scale import score_partition

# Images lie beside their texts, so that labels teach more than the texts say.
TASK = draw_task(n=1600, k=8, d=24, noise=2.0, beside=1.2)
FIT = TASK.z_img[:800], TASK.z_txt, TASK.labels[:800]
NEW, LABELS = (TASK.z_img[800:], TASK.z_txt), TASK.labels[800:]


def estimator(**params):
    return ViLUEstimator(logit_scale=10.0, random_state=0, **params)


@pytest.fixture(scope="module")
def answering():
    return estimator(predicts="posterior").fit(*FIT)


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_a_judgement_holds_what_the_verbs_return(scorer, toy):
    used, data = fitted(scorer, toy), (toy.z_img, toy.z_txt)
    judged = used.judge(*data)
    close = {"rtol": 1e-4, "atol": 1e-6}
    np.testing.assert_array_equal(judged.prediction, used.predict(*data))
    np.testing.assert_allclose(judged.uncertainty, used.predict_uncertainty(*data), **close)
    np.testing.assert_allclose(judged.novelty, used.novelty(*data), **close)
    assert len(judged) == len(judged.to_dicts()) == len(judged.to_pandas()) == len(toy.z_img)
    if hasattr(used, "predict_proba"):
        p = used.predict_proba(*data)
        np.testing.assert_allclose(np.exp(used.predict_log_proba(*data)), p, **close)
        if not isinstance(used, CalibratedScorer):  # whose answers are those that were calibrated
            np.testing.assert_allclose(p[np.arange(len(p)), judged.answer], p.max(axis=1), **close)
    else:
        np.testing.assert_array_equal(judged.answer, judged.prediction)
        np.testing.assert_array_equal(judged.answer_uncertainty, judged.uncertainty)


def test_answers_are_right_more_often_than_zero_shot(answering):
    judged = answering.judge(*NEW)
    zero_shot, answers = (accuracy_score(LABELS, part) for part in (judged.prediction, judged.answer))
    assert answers > zero_shot + 0.1
    wrong = judged.answer != LABELS
    assert roc_auc_score(wrong, judged.answer_uncertainty) > 0.75
    assert expected_calibration_error(judged.answer_uncertainty, wrong) < 0.06


def test_the_probability_of_the_answer_is_one_minus_its_uncertainty():
    """Among the candidates alone; an image that may show none of them is more uncertain."""
    for rate in (0.0, 0.1):
        answering = estimator(predicts="posterior", unknown_rate=rate).fit(*FIT)
        wrong, uncertainty = (
            1 - answering.predict_proba(*NEW).max(axis=1),
            answering.predict_uncertainty(*NEW),
        )
        if not rate:
            np.testing.assert_allclose(wrong, uncertainty, atol=1e-5)
        assert (uncertainty >= wrong - 1e-5).all()


def test_every_verb_is_about_the_answers(answering, tmp_path):
    answers = answering.judge(*NEW).answer
    np.testing.assert_array_equal(answering.predict(*NEW), answers)
    accuracy = accuracy_score(LABELS, answers)
    assert evaluate(answering, *NEW, LABELS)["accuracy"] == pytest.approx(accuracy)
    scored = score_partition({"z": NEW[0]}, answering, NEW[1])
    np.testing.assert_array_equal(scored["prediction"], answers)
    np.testing.assert_array_equal(scored["uncertainty"], answering.predict_uncertainty(*NEW))
    chosen = SelectivePredictor(answering, 0.2).fit(NEW[0][:400], NEW[1], LABELS[:400])
    accepted = chosen.accept(NEW[0][400:], NEW[1])
    predicted = chosen.predict(NEW[0][400:], NEW[1])
    np.testing.assert_array_equal(predicted[accepted], answers[400:][accepted])
    calibrated = CalibratedScorer(answering).fit(*FIT)
    np.testing.assert_array_equal(calibrated.predict(*NEW), calibrated.scorer_.predict(*NEW))
    assert evaluate(calibrated, *NEW, LABELS)["accuracy"] > accuracy - 0.02


def test_it_can_be_chosen_after_the_fit_and_on_a_loaded_head(answering, tmp_path):
    after = estimator().fit(*FIT)
    zero_shot = after.predict(*NEW)
    np.testing.assert_array_equal(zero_shot, MCMScorer().predict(*NEW))
    after.save_pretrained(tmp_path)
    loaded = ViLUEstimator.from_pretrained(tmp_path)
    for one in (after.set_params(predicts="posterior"), loaded.set_params(predicts="posterior")):
        np.testing.assert_array_equal(one.predict(*NEW), answering.predict(*NEW))
        np.testing.assert_allclose(one.decision_function(*NEW), answering.decision_function(*NEW))
    np.testing.assert_array_equal(after.set_params(predicts="zero-shot").predict(*NEW), zero_shot)
    with pytest.raises(ValueError, match="predicts must be 'zero-shot' or 'posterior', got 'best'"):
        after.set_params(predicts="best").predict(*NEW)


def test_a_bound_estimator_classifies_by_its_answers(answering):
    bound = answering.bind(TASK.z_txt)
    p = bound.predict_proba(NEW[0])
    np.testing.assert_allclose(p, answering.predict_proba(*NEW))
    np.testing.assert_array_equal(bound.predict(NEW[0]), p.argmax(axis=1))
    np.testing.assert_allclose(np.exp(bound.decision_function(NEW[0])), p, atol=1e-6)
    two = estimator(predicts="posterior").bind(TASK.z_txt[:2])
    two.fit(TASK.z_img[TASK.labels < 2], TASK.labels[TASK.labels < 2])
    decision = two.decision_function(NEW[0])
    np.testing.assert_array_equal(two.predict(NEW[0]), (decision > 0).astype(int))
    np.testing.assert_allclose(two.predict_proba(NEW[0])[:, 1], 1 / (1 + np.exp(-decision)), atol=1e-5)


def test_zero_shot_answers_where_nothing_was_learned(toy):
    for scorer in (MCMScorer(), LVUScorer(epochs=1, hidden=(8,), random_state=0)):
        judged = fitted(scorer, toy).judge(toy.z_img, toy.z_txt)
        np.testing.assert_array_equal(judged.answer, judged.prediction)


def test_captions_are_answered_by_the_likeliest(toy):
    rng = np.random.default_rng(0)
    captions = rng.normal(size=(600, 24))
    images = captions + 1.2 * rng.normal(size=captions.shape)
    used = estimator(predicts="posterior").fit(images[:400], captions[:400])
    answers = used.predict(images[400:], captions[400:])
    np.testing.assert_array_equal(answers, used.predict_proba(images[400:], captions[400:]).argmax(axis=1))


def test_unknown_images_are_more_novel(answering):
    rng = np.random.default_rng(1)
    strange = rng.normal(size=(300, 24))
    known, unknown = answering.novelty(*NEW), answering.novelty(strange, TASK.z_txt)
    assert roc_auc_score(np.repeat([0, 1], [len(known), 300]), np.concatenate([known, unknown])) > 0.8


def test_log_probabilities_do_not_underflow(answering):
    far = 100 * TASK.z_txt[:1]
    logarithms = estimator().set_params(logit_scale=1e4).fit(*FIT).predict_log_proba(far, TASK.z_txt)
    assert np.isfinite(logarithms).all()
    assert logarithms.min() < -200


def test_rows_of_a_table_that_predict_otherwise(answering):
    table = compare({"zero-shot": MCMScorer(), "answers": answering}, *NEW, LABELS, fit=False)
    zero_shot, answers = (row["accuracy"] for row in table.to_dicts())
    assert answers > zero_shot


def test_a_calibrated_posterior_is_about_one_prediction(answering):
    used = CalibratedScorer(clone(answering)).fit(*FIT)
    bound = used.bind(TASK.z_txt)
    for classes in (
        bound.predict_proba(NEW[0]).argmax(axis=1),
        bound.decision_function(NEW[0]).argmax(axis=1),
    ):
        np.testing.assert_array_equal(classes, bound.predict(NEW[0]))
    before = used.predict(*NEW), used.decision_function(*NEW)
    used.set_params(scorer__predicts="zero-shot")  # which counts from the next fit on
    np.testing.assert_array_equal(used.predict(*NEW), before[0])
    np.testing.assert_array_equal(used.decision_function(*NEW), before[1])


@pytest.mark.parametrize("predicts", ["zero-shot", "posterior"])
def test_equal_candidates_have_equal_probabilities(predicts):
    texts = np.concatenate([TASK.z_txt, TASK.z_txt[2::-1]])
    used = estimator(predicts=predicts).fit(*FIT)
    for p in (used.predict_proba(NEW[0], texts), used.predict_log_proba(NEW[0], texts)):
        np.testing.assert_array_equal(p[:, 8:], p[:, 2::-1])
        assert (p.argmax(axis=1) < 8).all()


def test_a_threshold_is_for_the_predictions_that_it_was_found_for(answering):
    used = clone(answering).fit(*FIT)
    chosen = SelectivePredictor(used, 0.2).fit(NEW[0], NEW[1], LABELS)
    used.set_params(predicts="zero-shot")
    with pytest.raises(ValueError, match="found for predicts='posterior'"):
        chosen.accept(*NEW)
