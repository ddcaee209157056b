"""A scorer and its candidates as a classifier over images."""

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer
from sklearn.utils.validation import check_is_fitted

from vilu_sdk import DoctorScorer, MCMScorer, RelUScorer, TemperatureScaledMCMScorer
from vilu_sdk.scorers.base.bound import BoundClassifier
from vilu_sdk.scorers.base.class_means import class_means, leave_own_out


def auc(scorer, toy, rows=slice(None)):
    failure = scorer.predict(toy.z_img[rows], toy.z_txt) != toy.labels[rows]
    return roc_auc_score(failure, scorer.decision_function(toy.z_img[rows], toy.z_txt))


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


# --- with texts ------------------------------------------------------------------------------------


def test_it_says_what_the_scorer_says(toy):
    scorer = MCMScorer(logit_scale=10.0)
    bound = scorer.bind(toy.z_txt)
    for one, other in [
        (bound.predict, scorer.predict),
        (bound.predict_uncertainty, scorer.predict_uncertainty),
        (bound.rank_uncertainty, scorer.decision_function),
    ]:
        np.testing.assert_array_equal(one(toy.z_img), other(toy.z_img, toy.z_txt))
    assert bound.score(toy.z_img, toy.labels) == auc(scorer, toy)
    weight = np.arange(len(toy.labels))
    assert bound.score(toy.z_img, toy.labels, sample_weight=weight) != auc(scorer, toy)


@pytest.mark.parametrize("k", [2, 6])
@pytest.mark.parametrize(
    "scorer",
    [MCMScorer(logit_scale=10.0), TemperatureScaledMCMScorer(), DoctorScorer(), RelUScorer(logit_scale=5.0)],
)
def test_class_scores_and_probabilities_follow_scikit_learn_and_the_prediction(scorer, k, toy):
    rows = toy.labels < k
    bound = scorer.bind(toy.z_txt[:k]).fit(toy.z_img[rows], toy.labels[rows])
    scores, p = bound.decision_function(toy.z_img), bound.predict_proba(toy.z_img)
    assert scores.shape == ((640,) if k == 2 else (640, 6))
    assert p.shape == (640, k)
    np.testing.assert_array_equal(bound.predict(toy.z_img), scores > 0 if k == 2 else scores.argmax(axis=1))
    np.testing.assert_array_equal(bound.predict(toy.z_img), p.argmax(axis=1))
    np.testing.assert_allclose(p.sum(axis=1), 1)
    scale = bound.scorer_.softmax_scale
    logits = scale * unit(toy.z_img) @ unit(toy.z_txt[:k]).T
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(p, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    if isinstance(scorer, MCMScorer | TemperatureScaledMCMScorer):
        np.testing.assert_allclose(1 - p.max(axis=1), bound.predict_uncertainty(toy.z_img), atol=1e-5)


def test_the_learned_temperature_is_in_the_probabilities(toy):
    bound = TemperatureScaledMCMScorer().bind(toy.z_txt).fit(toy.z_img, toy.labels)
    assert bound.scorer_.softmax_scale == 100 / bound.scorer_.temperature_ != 100
    assert (DoctorScorer(temperature=4).softmax_scale, RelUScorer(temperature=0.5).softmax_scale) == (25, 200)


def test_classes_that_are_names_and_numbers_are_refused(toy):
    mixed = np.where(toy.labels % 2, toy.labels.astype(object), "even")
    with pytest.raises(TypeError, match="y holds objects: int and str; pass all names, or all numbers"):
        MCMScorer().bind(None).fit(toy.z_img, mixed)


def test_it_is_a_classifier_with_scikit_learns_attributes(toy):
    bound = MCMScorer().bind(toy.z_txt)
    assert is_classifier(bound)
    np.testing.assert_array_equal(bound.classes_, np.arange(6))
    assert bound.n_features_in_ == 16
    assert bound.get_params()["scorer__logit_scale"] == 100.0
    copy = clone(bound).set_params(scorer__logit_scale=5.0)
    assert (bound.scorer.logit_scale, copy.scorer.logit_scale) == (100.0, 5.0)
    assert not hasattr(copy, "classes_")
    assert "MCMScorer" in repr(bound)


def test_fit_clones_and_a_fitted_scorer_scores_at_once(toy):
    bound = TemperatureScaledMCMScorer().bind(toy.z_txt)
    for verb in (bound.predict, bound.predict_uncertainty, bound.predict_proba, check_is_fitted):
        with pytest.raises(NotFittedError):
            verb(bound if verb is check_is_fitted else toy.z_img)
    assert bound.fit(toy.z_img, toy.labels) is bound
    check_is_fitted(bound)
    assert not hasattr(bound.scorer, "temperature_")
    ready = bound.scorer_.bind(toy.z_txt)
    check_is_fitted(ready)
    np.testing.assert_array_equal(ready.rank_uncertainty(toy.z_img), bound.rank_uncertainty(toy.z_img))
    with pytest.raises(NotFittedError):
        bound.scorer_.bind(None).predict(toy.z_img)  # it knows no classes yet


def test_grid_search_picks_the_scorer_that_ranks_failures_best(toy):
    scales = [0.1, 1.0, 100.0]
    search = GridSearchCV(MCMScorer().bind(toy.z_txt), {"scorer__logit_scale": scales}, cv=3)
    search.fit(toy.z_img, toy.labels)
    best = max(scales, key=lambda scale: auc(MCMScorer(logit_scale=scale), toy))
    assert search.best_params_ == {"scorer__logit_scale": best}
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0.005
    assert search.best_estimator_.predict_uncertainty(toy.z_img).shape == (640,)


def test_cross_val_predict_gives_class_scores_out_of_fold(toy):
    bound = TemperatureScaledMCMScorer().bind(toy.z_txt)
    folds = list(StratifiedKFold(3).split(toy.z_img, toy.labels))
    for method in ("decision_function", "predict_proba"):
        out = cross_val_predict(bound, toy.z_img, toy.labels, method=method, cv=folds)
        for train, test in folds:
            fitted = clone(bound).fit(toy.z_img[train], toy.labels[train])
            np.testing.assert_array_equal(out[test], getattr(fitted, method)(toy.z_img[test]))
    predicted = cross_val_predict(bound, toy.z_img, toy.labels, cv=3)
    np.testing.assert_array_equal(predicted, MCMScorer().predict(toy.z_img, toy.z_txt))


def test_frozen_keeps_what_was_fitted(toy):
    bound = TemperatureScaledMCMScorer().bind(toy.z_txt).fit(toy.z_img, toy.labels)
    out = cross_val_predict(FrozenEstimator(bound), toy.z_img, toy.labels, method="predict_proba", cv=2)
    np.testing.assert_allclose(out, bound.predict_proba(toy.z_img), atol=1e-6)


def test_it_ends_a_pipeline(toy):
    half = FunctionTransformer(np.asarray, kw_args={"dtype": np.float16})
    pipeline = make_pipeline(Normalizer(), half, MCMScorer().bind(toy.z_txt)).fit(toy.z_img, toy.labels)
    np.testing.assert_array_equal(pipeline.classes_, np.arange(6))
    assert pipeline.score(toy.z_img, toy.labels) == pytest.approx(auc(MCMScorer(), toy), abs=1e-3)
    search = GridSearchCV(pipeline, {"boundclassifier__scorer__logit_scale": [1.0, 10.0]}, cv=2)
    assert search.fit(toy.z_img, toy.labels).best_score_ > 0.6


@pytest.mark.parametrize("right", [True, False])
def test_a_fold_of_one_kind_scores_chance_with_a_warning(right, toy):
    bound = MCMScorer().bind(toy.z_txt)
    rows = (bound.predict(toy.z_img) == toy.labels) == right
    with pytest.warns(UndefinedMetricWarning, match="right" if right else "wrong"):
        assert bound.score(toy.z_img[rows], toy.labels[rows]) == 0.5
    with pytest.warns(UndefinedMetricWarning):
        assert (cross_val_score(bound, toy.z_img[rows][:60], toy.labels[rows][:60], cv=2) == 0.5).all()


def test_labels_of_absent_classes_do_not_shift_the_candidates(toy):
    rows = toy.labels > 1
    bound = MCMScorer().bind(toy.z_txt).fit(toy.z_img[rows], toy.labels[rows])
    np.testing.assert_array_equal(bound.classes_, np.arange(6))
    assert bound.score(toy.z_img[rows], toy.labels[rows]) == auc(MCMScorer(), toy, rows)


def test_torch_candidates_in_a_graph_can_be_cloned(toy):
    text = 2 * torch.tensor(toy.z_txt, requires_grad=True)
    bound = clone(MCMScorer().bind(text)).fit(torch.tensor(toy.z_img), torch.tensor(toy.labels))
    assert bound.score(toy.z_img, toy.labels) == pytest.approx(auc(MCMScorer(), toy), abs=1e-6)
    half = torch.tensor(toy.z_img).bfloat16()
    np.testing.assert_array_equal(bound.predict(half), bound.predict(half.float().numpy()))


def test_errors_name_the_argument(toy):
    with pytest.raises(ValueError, match="z_txt_set must be two-dimensional"):
        MCMScorer().bind(toy.z_txt[0])
    bound = MCMScorer().bind(toy.z_txt)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        bound.fit(toy.z_img, toy.labels[:3])
    with pytest.raises(ValueError, match="y has 3 entries"):
        bound.score(toy.z_img, toy.labels[:3])
    for method in (bound.fit, bound.score):
        with pytest.raises(ValueError, match="y must lie in"):
            method(toy.z_img, toy.labels + 1)
    with pytest.raises(ValueError, match="X has 3 features, but BoundClassifier is expecting 16"):
        bound.predict(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"width 16, expected 3|width 3, expected 16"):
        BoundClassifier(MCMScorer(), toy.z_txt).fit(np.ones((2, 3)), [0, 1])


# --- without texts ---------------------------------------------------------------------------------


def test_without_texts_class_means_of_the_unit_images_stand_in(toy):
    names = np.array(["ant", "bee", "cat", "dog", "elk", "fox"])[toy.labels]
    bound = MCMScorer(logit_scale=10.0).bind(None).fit(toy.z_img, names)
    assert bound.classes_.tolist() == ["ant", "bee", "cat", "dog", "elk", "fox"]
    expected = np.stack([unit(toy.z_img)[toy.labels == k].mean(axis=0) for k in range(6)])
    np.testing.assert_allclose(bound.z_txt_set_, expected, atol=1e-6)
    same = MCMScorer(logit_scale=10.0).bind(expected)
    np.testing.assert_allclose(
        bound.predict_uncertainty(toy.z_img), same.predict_uncertainty(toy.z_img), atol=1e-5
    )
    assert (bound.predict(toy.z_img) == names).mean() > 0.7
    assert bound.score(toy.z_img, names) == pytest.approx(same.score(toy.z_img, toy.labels), abs=1e-5)
    assert (cross_val_score(bound, toy.z_img, names, cv=3) > 0.6).all()


def test_labels_of_unknown_classes_are_failures(toy):
    bound = MCMScorer().bind(None).fit(toy.z_img[toy.labels < 3], toy.labels[toy.labels < 3])
    assert bound.find_failures(toy.z_img[toy.labels > 2], toy.labels[toy.labels > 2]).all()


def test_one_class_and_a_mean_of_zero_are_named(toy):
    with pytest.raises(ValueError, match="y holds one class, ant"):
        MCMScorer().bind(None).fit(toy.z_img, ["ant"] * 640)
    X = np.concatenate([toy.z_img, -toy.z_img])
    with pytest.raises(ValueError, match="images of class 1 have a mean of zero"):
        MCMScorer().bind(None).fit(
            np.concatenate([X, toy.z_img]), np.repeat([1, 0], [len(X), len(toy.z_img)])
        )


def means_and_turned(z, labels, weights=None):
    weights = torch.ones(len(z)).double() if weights is None else torch.tensor(weights)
    means = class_means(z, labels, np.unique(labels), weights)
    return means, leave_own_out(z, labels, means, weights).astype(np.float64)


@pytest.mark.parametrize("k", [2, 3, 6])
def test_an_image_is_turned_to_where_the_mean_of_the_others_sees_it(k):
    """Exactly, where a class has nothing in common with the others."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(k), 5)
    z = rng.normal(size=(len(labels), 30)) + 1
    z[:5, 20:] = 0
    z[5:, :20] = 0
    z = unit(z)
    means, turned = means_and_turned(z, labels)
    left_out = unit(5 * means[labels] - z)
    np.testing.assert_allclose(turned[:5] @ unit(means)[0], (z * left_out).sum(axis=1)[:5], atol=1e-6)
    np.testing.assert_allclose(turned[:5] @ means[1:].T, 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1, atol=1e-6)
    assert ((turned - z) * unit(means)[labels]).sum(axis=1).max() < -1e-3  # all classes lose


def test_lone_images_and_one_dimension_stay():
    z = unit(np.random.default_rng(0).normal(size=(7, 5)))
    labels = np.array([0, 0, 0, 1, 1, 1, 2])
    _, turned = means_and_turned(z, labels)
    np.testing.assert_allclose(turned[-1], z[-1], atol=1e-7)
    assert (np.abs(turned[:-1] - z[:-1]).max(axis=1) > 1e-3).all()
    line = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    np.testing.assert_array_equal(means_and_turned(line, np.array([0, 0, 1, 1]))[1], line)


def test_pure_noise_is_not_taken_for_knowledge():
    """Images that say nothing of their labels: new ones are right one time in K, and so must it seem."""
    rng = np.random.default_rng(0)
    z, labels = unit(rng.normal(size=(300, 200))), np.arange(300) % 10
    means, turned = means_and_turned(z, labels)
    naive, honest = ((MCMScorer().predict(v, means) == labels).mean() for v in (z, turned))
    assert naive > 0.8
    assert honest == pytest.approx(0.1, abs=0.06)


def test_temperature_without_texts_is_calibrated_on_new_images(toy):
    """Ten images a class: those of the fit look far surer than new ones, unless left out of their mean."""
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 6
    z = toy.z_txt[labels] + 2.5 * rng.normal(size=(600, 16))
    few, new = slice(0, 60), slice(60, None)
    bound = TemperatureScaledMCMScorer().bind(None).fit(z[few], labels[few])
    naive = TemperatureScaledMCMScorer().fit(z[few], bound.z_txt_set_, labels[few]).bind(bound.z_txt_set_)
    rate = bound.find_failures(z[new], labels[new]).mean()
    gap, naive_gap = (abs(b.predict_uncertainty(z[new]).mean() - rate) for b in (bound, naive))
    assert gap < 0.5 * naive_gap


def test_names_are_classes_for_scikit_learn(toy):
    names = np.array(["f", "b", "d", "a", "e", "c"])
    labels = names[toy.labels]
    z_txt = dict(zip(names.tolist(), toy.z_txt, strict=True))
    bound = MCMScorer(logit_scale=5).bind(z_txt)
    plain = MCMScorer(logit_scale=5).bind(toy.z_txt)
    assert cross_val_score(bound, toy.z_img, labels, scoring="accuracy", cv=3) == pytest.approx(
        cross_val_score(plain, toy.z_img, toy.labels, scoring="accuracy", cv=3), abs=0.02
    )
    # Columns of probabilities are read in the sorted order of the names.
    ordered = MCMScorer(logit_scale=5).bind(dict(sorted(z_txt.items())))
    loss = log_loss(toy.labels, plain.predict_proba(toy.z_img))
    assert log_loss(labels, ordered.predict_proba(toy.z_img)) == pytest.approx(loss)
    columns = cross_val_predict(ordered, toy.z_img, labels, method="predict_proba", cv=3)
    assert log_loss(labels, columns) == pytest.approx(loss)
    with pytest.raises(ValueError, match=r"y seems to number the names in their sorted order.*dict\(sorted"):
        cross_val_predict(bound, toy.z_img, labels, method="predict_proba", cv=3)
    assert (bound.fit(toy.z_img, toy.labels).predict(toy.z_img) == bound.predict(toy.z_img)).all()
