import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer
from sklearn.utils.validation import check_is_fitted

from vilu_sdk import MCMScorer, TemperatureScaledMCMScorer
from vilu_sdk.scorers._bound import BoundClassifier


def auc(scorer, toy, rows=slice(None)):
    failure = scorer.predict(toy.z_img[rows], toy.z_txt) != toy.labels[rows]
    return roc_auc_score(failure, scorer.decision_function(toy.z_img[rows], toy.z_txt))


def test_it_says_what_the_scorer_says(toy):
    scorer = MCMScorer(logit_scale=10.0)
    bound = scorer.bind(toy.z_txt)
    for one, other in [
        (bound.predict, scorer.predict),
        (bound.predict_uncertainty, scorer.predict_uncertainty),
        (bound.decision_function, scorer.decision_function),
    ]:
        np.testing.assert_array_equal(one(toy.z_img), other(toy.z_img, toy.z_txt))
    assert bound.score(toy.z_img, toy.labels) == auc(scorer, toy)
    weight = np.arange(len(toy.labels))
    assert bound.score(toy.z_img, toy.labels, sample_weight=weight) != auc(scorer, toy)


def test_it_is_a_classifier_with_scikit_learns_attributes(toy):
    bound = MCMScorer().bind(toy.z_txt)
    assert is_classifier(bound)
    np.testing.assert_array_equal(bound.classes_, np.arange(6))
    assert bound.n_features_in_ == 16
    assert bound.get_params()["scorer__logit_scale"] == 100.0
    copy = clone(bound).set_params(scorer__logit_scale=5.0)
    assert (bound.scorer.logit_scale, copy.scorer.logit_scale) == (100.0, 5.0)
    assert "MCMScorer" in repr(bound)


def test_fit_clones_and_a_fitted_scorer_scores_at_once(toy):
    bound = TemperatureScaledMCMScorer().bind(toy.z_txt)
    with pytest.raises(NotFittedError):
        bound.predict_uncertainty(toy.z_img)
    with pytest.raises(NotFittedError):
        check_is_fitted(bound)
    assert bound.fit(toy.z_img, toy.labels) is bound
    check_is_fitted(bound)
    assert not hasattr(bound.scorer, "multiplier_")
    ready = bound.scorer_.bind(toy.z_txt)
    check_is_fitted(ready)
    np.testing.assert_array_equal(ready.decision_function(toy.z_img), bound.decision_function(toy.z_img))


def test_grid_search_picks_the_scorer_that_ranks_failures_best(toy):
    scales = [0.1, 1.0, 100.0]
    search = GridSearchCV(MCMScorer().bind(toy.z_txt), {"scorer__logit_scale": scales}, cv=3)
    search.fit(toy.z_img, toy.labels)
    best = max(scales, key=lambda scale: auc(MCMScorer(logit_scale=scale), toy))
    assert search.best_params_ == {"scorer__logit_scale": best}
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0.005
    assert search.best_estimator_.predict_uncertainty(toy.z_img).shape == (640,)


def test_cross_val_predict_gives_uncertainties_out_of_fold(toy):
    bound = TemperatureScaledMCMScorer().bind(toy.z_txt)
    folds = list(StratifiedKFold(3).split(toy.z_img, toy.labels))
    out = cross_val_predict(bound, toy.z_img, toy.labels, method="decision_function", cv=folds)
    for train, test in folds:
        expected = clone(bound).fit(toy.z_img[train], toy.labels[train]).decision_function(toy.z_img[test])
        np.testing.assert_array_equal(out[test], expected)
    predicted = cross_val_predict(bound, toy.z_img, toy.labels, cv=3)
    np.testing.assert_array_equal(predicted, bound.predict(toy.z_img))


@pytest.mark.filterwarnings("ignore:Number of classes in training fold")
def test_cross_val_predict_is_loud_where_it_renumbers_classes(toy):
    rows = toy.labels != 2
    with pytest.raises((IndexError, ValueError), match=r"shape mismatch|out of bounds"):
        cross_val_predict(
            MCMScorer().bind(toy.z_txt), toy.z_img[rows], toy.labels[rows], method="decision_function"
        )


def test_frozen_keeps_what_was_fitted(toy):
    bound = TemperatureScaledMCMScorer().bind(toy.z_txt).fit(toy.z_img, toy.labels)
    out = cross_val_predict(FrozenEstimator(bound), toy.z_img, toy.labels, method="decision_function", cv=2)
    np.testing.assert_allclose(out, bound.decision_function(toy.z_img), atol=1e-5)


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


def test_errors_name_the_argument(toy):
    with pytest.raises(ValueError, match="z_txt_set must be two-dimensional"):
        MCMScorer().bind(toy.z_txt[0])
    bound = MCMScorer().bind(toy.z_txt)
    for y, message in [(toy.labels[:3], "y has 3 entries"), (toy.labels + 1, "y must lie in")]:
        for method in (bound.fit, bound.score):
            with pytest.raises(ValueError, match=message):
                method(toy.z_img, y)
    with pytest.raises(ValueError, match="expected 3"):
        BoundClassifier(MCMScorer(), toy.z_txt).predict(np.ones((2, 3)))
