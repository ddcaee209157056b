"""Bound classifiers among scikit-learn's tools."""

import pickle
import runpy
from typing import ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RepeatedStratifiedKFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from support.all_scorers import EXAMPLES
from support.paths import EXAMPLES as EXAMPLES_FOLDER
from vilu_sdk import LVUScorer, MCMScorer, RelUScorer, TemperatureScaledMCMScorer, ViLUEstimator
from vilu_sdk.evaluation import (
    cross_val_uncertainty,
    failure_auc_scorer,
    failure_metrics,
    neg_aurc_scorer,
    neg_fpr95_scorer,
)

# --- scikit-learn's own checks ---------------------------------------------------------------------


def expected_failures(bound):
    failures = {}
    if isinstance(bound.scorer, TemperatureScaledMCMScorer):
        failures["check_sample_weight_equivalence_on_dense_data"] = (
            "the temperature is learned from images left out of their class mean: one of weight 2 with its "
            "whole weight, of two equal ones only one"
        )
    return failures


@pytest.mark.filterwarnings(
    # What the scorers have to say about a dozen random rows.
    "ignore:Temperature scaling has no finite optimum",
    "ignore:.*was fitted on predictions that are all",
    "ignore:ViLUEstimator learned nothing",
    "ignore:MahalanobisScorer. no class has two different images",
    "ignore:.*cannot use sample weights; they enter the class means alone",
    "ignore:Nothing can be learned from the decision values",
)
@parametrize_with_checks(
    [example.values[0].bind(None) for example in EXAMPLES], expected_failed_checks=expected_failures
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# --- failure scorers -------------------------------------------------------------------------------


def test_failure_scorers_are_the_metrics_of_the_bound_classifier(toy):
    bound = TemperatureScaledMCMScorer().bind(toy.z_txt).fit(toy.z_img[:300], toy.labels[:300])
    X, y = toy.z_img[300:], toy.labels[300:]
    metrics = failure_metrics(bound.rank_uncertainty(X), bound.predict(X) != y)
    assert failure_auc_scorer(bound, X, y) == pytest.approx(metrics["auc"]) == bound.score(X, y)
    assert -neg_fpr95_scorer(bound, X, y) == metrics["fpr95"]
    assert -neg_aurc_scorer(bound, X, y) == metrics["aurc"]


def test_failure_scorers_see_through_pipelines_and_searches(toy):
    names = np.array(list("abcdef"))[toy.labels]
    pipeline = make_pipeline(StandardScaler(), PCA(8), MCMScorer().bind(None))
    search = GridSearchCV(pipeline, {"boundclassifier__scorer__logit_scale": [1.0, 100.0]}, cv=2)
    search.fit(toy.z_img, names)
    pipeline = search.best_estimator_
    for scorer in (failure_auc_scorer, neg_fpr95_scorer, neg_aurc_scorer):
        expected = scorer(pipeline[-1], pipeline[:-1].transform(toy.z_img), names)
        for estimator in (pipeline, search, make_pipeline(pipeline)):
            assert scorer(estimator, toy.z_img, names) == expected
    with pytest.raises(TypeError, match="PCA has no uncertainty"):
        failure_auc_scorer(PCA(), toy.z_img, names)


def test_failure_scorers_judge_several_at_once_and_pick_by_one(toy):
    scoring = {"auc": failure_auc_scorer, "fpr95": neg_fpr95_scorer, "aurc": neg_aurc_scorer}
    scoring["acc"] = "accuracy"
    bound = MCMScorer().bind(toy.z_txt)
    grid = {"scorer__logit_scale": [0.1, 10.0, 1e4]}
    search = GridSearchCV(bound, grid, scoring=scoring, refit="aurc", cv=3)
    results = search.fit(toy.z_img, toy.labels).cv_results_
    assert search.best_index_ == results["mean_test_aurc"].argmax()
    assert np.ptp(results["mean_test_acc"]) == 0  # all scorers make the same predictions
    assert min(np.ptp(results[f"mean_test_{name}"]) for name in ("auc", "fpr95", "aurc")) > 0
    folds = cross_validate(bound, toy.z_img, toy.labels, cv=3, scoring=scoring, error_score="raise")
    for name in scoring:
        assert np.isfinite(folds[f"test_{name}"]).all()


@pytest.mark.parametrize("right", [True, False])
def test_folds_of_one_kind_get_what_equal_uncertainties_get(right, toy):
    bound = MCMScorer().bind(toy.z_txt)
    rows = bound.find_failures(toy.z_img, toy.labels) != right
    X, y = toy.z_img[rows], toy.labels[rows]
    ties, failure = np.zeros(640), bound.find_failures(toy.z_img, toy.labels)
    equal = failure_metrics(ties, failure)
    with pytest.warns(UndefinedMetricWarning, match="right" if right else "wrong"):
        assert failure_auc_scorer(bound, X, y) == equal["auc"] == 0.5
    with pytest.warns(UndefinedMetricWarning):
        assert -neg_fpr95_scorer(bound, X, y) == pytest.approx(equal["fpr95"])
    assert -neg_aurc_scorer(bound, X, y) == (0 if right else 1)


def test_uncertainties_out_of_fold(toy):
    folds = list(StratifiedKFold(3).split(toy.z_img, toy.labels))
    pipeline = make_pipeline(StandardScaler(), TemperatureScaledMCMScorer().bind(None))
    out = cross_val_uncertainty(pipeline, toy.z_img, toy.labels, cv=3)
    for train, test in folds:
        fitted = clone(pipeline).fit(toy.z_img[train], toy.labels[train])
        expected = fitted[-1].predict_uncertainty(fitted[:-1].transform(toy.z_img[test]))
        np.testing.assert_array_equal(out[test], expected)
    frame = pd.DataFrame(toy.z_img, columns=[f"e{i}" for i in range(16)])
    framed = cross_val_uncertainty(pipeline, frame, toy.labels, cv=folds)
    np.testing.assert_allclose(framed, out, rtol=1e-5)
    assert not hasattr(pipeline[-1], "scorer_")
    for cv in (folds[:2], RepeatedStratifiedKFold(n_splits=2, n_repeats=2)):
        with pytest.raises(ValueError, match="cv must make partitions, which hold out each image once"):
            cross_val_uncertainty(pipeline, toy.z_img, toy.labels, cv=cv)


# --- searches, folds, calibration ------------------------------------------------------------------


@pytest.mark.parametrize("texts", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: pd.Series(y, dtype="Int64"),
        lambda y: pd.Series(y, dtype="int64[pyarrow]"),
        lambda y: pd.Series(y).astype("category"),
        lambda y: y.astype(object),
        lambda y: y.tolist(),
        torch.from_numpy,
        pl.Series,
    ],
)
def test_labels_of_any_container_give_the_same_folds(texts, wrap, toy):
    bound = TemperatureScaledMCMScorer().bind(toy.z_txt if texts else None)
    cv = KFold(3, shuffle=True, random_state=0)  # scikit-learn stratifies no labels that are objects
    expected = cross_val_score(bound, toy.z_img, toy.labels, cv=cv)
    found = cross_val_score(bound, toy.z_img, wrap(toy.labels), cv=cv, error_score="raise")
    np.testing.assert_array_equal(found, expected)
    fitted = clone(bound).fit(toy.z_img, wrap(toy.labels))
    assert (
        fitted.find_failures(toy.z_img, wrap(toy.labels)).sum()
        == fitted.find_failures(toy.z_img, toy.labels).sum()
    )
    assert fitted.classes_.tolist() == list(range(6))


def test_a_fold_without_a_class_has_columns_for_all(toy):
    bound, last = MCMScorer().bind(toy.z_txt), toy.labels == 5
    folds = [(np.flatnonzero(~last), np.flatnonzero(last)), (np.flatnonzero(last), np.flatnonzero(~last))]
    found = cross_val_predict(bound, toy.z_img, toy.labels, cv=folds, method="predict_proba")
    np.testing.assert_allclose(found, bound.predict_proba(toy.z_img), rtol=1e-6)


def test_halving_search_in_two_processes_gives_what_one_does(toy):
    grid = {"scorer__lam": [0.3, 0.9], "scorer__temperature": [0.5, 5.0]}
    bound = RelUScorer(logit_scale=10.0).bind(toy.z_txt)
    settings = {"cv": 2, "factor": 2, "min_resources": 200, "random_state": 0}
    one, two = (
        HalvingGridSearchCV(bound, grid, n_jobs=n_jobs, **settings).fit(toy.z_img, toy.labels)
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])
    assert one.best_params_ == two.best_params_


def test_a_search_tries_parameters_of_learned_scorers_and_scorers_themselves(toy):
    few = toy.z_img[:200], toy.labels[:200]
    estimator = ViLUEstimator(random_state=0).bind(toy.z_txt)
    search = GridSearchCV(estimator, {"scorer__logit_scale": [1.0, 10.0]}, cv=2).fit(*few)
    assert search.best_score_ > 0.5
    choice = {"scorer": [MCMScorer(), RelUScorer(), LVUScorer(epochs=1, hidden=(8,), random_state=0)]}
    search = GridSearchCV(MCMScorer().bind(None), choice, cv=2, error_score="raise").fit(*few)
    assert len(set(search.cv_results_["mean_test_score"])) == 3


def test_calibrated_classifier_cv(toy):
    for ensemble in (True, False):
        calibrated = CalibratedClassifierCV(MCMScorer().bind(toy.z_txt), cv=3, ensemble=ensemble)
        calibrated.fit(toy.z_img[:400], toy.labels[:400])
        p = calibrated.predict_proba(toy.z_img[400:])
        uncalibrated = MCMScorer().bind(toy.z_txt).predict_proba(toy.z_img[400:])
        y = toy.labels[400:]
        nll, nll_before = (-np.log(q[np.arange(len(y)), y] + 1e-12).mean() for q in (p, uncalibrated))
        assert nll < nll_before
        assert (calibrated.predict(toy.z_img[400:]) == y).mean() > 0.6


class Recorder(ClassifierMixin, BaseEstimator):
    """What candidates would come to if they were data: an argument of fit."""

    seen: ClassVar[list[int]] = []

    def fit(self, X, y, z_txt=None):
        self.classes_ = np.unique(y)
        self.seen.append(len(z_txt))
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def test_the_text_set_stays_whole_also_where_there_are_as_many_texts_as_images():
    n = 60
    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(n, 16))
    y = rng.permutation(np.repeat(np.arange(n // 2), 2))  # of as many candidates, half occur
    X = z_txt[y] + 0.8 * rng.normal(size=(n, 16))
    bound = MCMScorer(logit_scale=10.0).bind(z_txt)
    folds = cross_validate(bound, X, y, cv=KFold(3), return_estimator=True, error_score="raise")
    for fold in folds["estimator"]:
        np.testing.assert_array_equal(fold.z_txt_set_, z_txt)
    out = cross_val_predict(bound, X, y, cv=KFold(3))
    np.testing.assert_array_equal(out, MCMScorer().predict(X, z_txt))
    # As an argument of fit it would have been cut with the images, silently.
    for texts in (z_txt, z_txt[: n - 1]):
        cross_val_score(Recorder(), X, y, cv=KFold(3), params={"z_txt": texts})
    assert Recorder.seen == [40, 40, 40, 59, 59, 59]


# --- data frames -----------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [pd.DataFrame, lambda z: pl.from_numpy(z)], ids=["pandas", "polars"])
def test_frames_of_embeddings_give_the_same_everywhere(frame, toy):
    X, Z = frame(toy.z_img), frame(toy.z_txt)
    y = pd.Series(toy.labels) if frame is pd.DataFrame else pl.Series(toy.labels)
    one = TemperatureScaledMCMScorer().fit(toy.z_img, toy.z_txt, toy.labels)
    two = TemperatureScaledMCMScorer().fit(X, Z, y)
    expected = one.predict_uncertainty(toy.z_img, toy.z_txt)
    bound = TemperatureScaledMCMScorer().bind(Z).fit(X, y)
    for got in (
        two.predict_uncertainty(X, Z),
        bound.predict_uncertainty(X),
        one.bind(Z).predict_uncertainty(X),
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5)  # frames keep columns together
    score = one.bind(toy.z_txt).score(toy.z_img, toy.labels)
    assert bound.score(X, y) == pytest.approx(score, abs=1e-4)
    np.testing.assert_array_equal(clone(bound).fit(X, y).predict(X), bound.predict(X))


def test_column_names_are_remembered_and_compared(toy):
    frame = pd.DataFrame(toy.z_img, columns=[f"e{i}" for i in range(16)])
    bound = MCMScorer().bind(toy.z_txt).fit(frame, toy.labels)
    assert bound.feature_names_in_.tolist() == list(frame.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        bound.predict(frame[frame.columns[::-1]])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        bound.predict(toy.z_img)


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_frames_inside_a_pipeline(output, toy):
    X = toy.z_img.astype(np.float64)
    plain = make_pipeline(StandardScaler(), PCA(8), MCMScorer().bind(None)).fit(X, toy.labels)
    expected = plain.predict_proba(X), plain.score(X, toy.labels)
    with sklearn.config_context(transform_output=output):
        framed = clone(plain).fit(X, toy.labels)
        assert framed[-1].feature_names_in_[0] == "pca0"
        np.testing.assert_allclose(framed.predict_proba(X), expected[0], atol=1e-5)
        assert failure_auc_scorer(framed, X, toy.labels) == pytest.approx(expected[1], abs=1e-4)


# --- sample weights --------------------------------------------------------------------------------

WEIGHTED = [TemperatureScaledMCMScorer(), RelUScorer(logit_scale=5.0, lam=0.6)]


@pytest.mark.parametrize("scorer", WEIGHTED)
def test_a_weight_counts_as_repetition_and_its_unit_does_not_matter(scorer, toy):
    weights = np.random.default_rng(0).integers(4, size=640)
    repeated = [np.repeat(v, weights, axis=0) for v in (toy.z_img, toy.labels)]
    expected = clone(scorer).fit(repeated[0], toy.z_txt, repeated[1])
    for unit in (1, 1e-9, 1e9):
        weighted = clone(scorer).fit(toy.z_img, toy.z_txt, toy.labels, sample_weight=unit * weights)
        bound = scorer.bind(toy.z_txt).fit(toy.z_img, toy.labels, sample_weight=unit * weights)
        for one in (weighted, bound.scorer_):
            np.testing.assert_allclose(
                one.decision_function(toy.z_img, toy.z_txt),
                expected.decision_function(toy.z_img, toy.z_txt),
                rtol=1e-5,
                atol=1e-5,
            )
    unweighted = clone(scorer).fit(toy.z_img, toy.z_txt, toy.labels)
    difference = unweighted.decision_function(toy.z_img, toy.z_txt) - weighted.decision_function(
        toy.z_img, toy.z_txt
    )
    assert np.abs(difference).max() > 1e-3


@pytest.mark.parametrize("scorer", [one for one in EXAMPLES if one.values[0].takes_weights])
def test_of_weights_only_the_proportions_matter(scorer, toy):
    weights = np.random.default_rng(0).uniform(0, 2, 640)

    def decide(unit):
        fitted = clone(scorer).fit(toy.z_img, toy.z_txt, toy.labels, sample_weight=unit * weights)
        return fitted.decision_function(toy.z_img, toy.z_txt)

    for unit in (1e-300, 1e-3, 1e3, 1e307):
        np.testing.assert_allclose(decide(unit), decide(1.0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("known", ["labels", "correct"])
def test_the_default_recipe_weighs_images_and_only_proportions_matter(known, toy):
    given = {"labels": toy.labels, "correct": MCMScorer().predict(toy.z_img, toy.z_txt) == toy.labels}
    weights = np.random.default_rng(0).integers(4, size=640)
    some = weights > 0

    def decide(rows=slice(None), sample_weight=None, **more):
        known_rows = {known: given[known][rows], **{name: value[rows] for name, value in more.items()}}
        est = ViLUEstimator(logit_scale=5.0, random_state=0)
        est.fit(toy.z_img[rows], toy.z_txt, **known_rows, sample_weight=sample_weight)
        return est.decision_function(toy.z_img, toy.z_txt)

    plain, weighted = decide(), decide(sample_weight=weights)
    assert np.abs(plain - weighted).max() > 0.1
    np.testing.assert_array_equal(plain, decide(sample_weight=np.full(640, 7.0)))
    for unit in (1e-200, 1e200):
        np.testing.assert_allclose(decide(sample_weight=unit * weights), weighted, rtol=1e-5, atol=1e-5)
    # A weight of 0 is the image left out, also of its group.
    np.testing.assert_array_equal(decide(sample_weight=some), decide(some))
    groups = np.arange(640) // 3
    np.testing.assert_array_equal(decide(sample_weight=some, groups=groups), decide(some, groups=groups))


def test_weights_set_right_a_biased_sample(toy):
    """Half of the labels of one class are moved: small weights of these find what all labels teach."""
    moved = (toy.labels == 0) & (np.arange(640) % 2 == 0)
    labels = np.where(moved, 1, toy.labels)
    est, data = ViLUEstimator(logit_scale=5.0, random_state=0), (toy.z_img, toy.z_txt)
    truth = est.fit(*data, toy.labels).predict_proba(*data)
    wrong = est.fit(*data, labels).predict_proba(*data)
    right = est.fit(*data, labels, sample_weight=np.where(moved, 0.05, 1.0)).predict_proba(*data)
    assert np.abs(right - truth).mean() < 0.75 * np.abs(wrong - truth).mean()


@pytest.mark.parametrize("scorer", [*WEIGHTED, ViLUEstimator()])
def test_bad_weights_are_named(scorer, toy):
    for bad, error, message in [
        (np.ones(3), ValueError, "sample_weight has 3 entries"),
        (np.ones((640, 1)), ValueError, "sample_weight must be one-dimensional"),
        (np.full(640, -1.0), ValueError, r"finite and not negative, but sample_weight\[0\] is -1"),
        (np.full(640, np.nan), ValueError, "finite"),
        (np.zeros(640), ValueError, "sample_weight is zero"),
        (["heavy"] * 640, TypeError, "sample_weight must hold real numbers"),
    ]:
        with pytest.raises(error, match=message):
            clone(scorer).fit(toy.z_img, toy.z_txt, toy.labels, sample_weight=bad)
    with pytest.raises(ValueError, match=r"objective='ece'.* takes no sample_weight"):
        TemperatureScaledMCMScorer(objective="ece").fit(
            toy.z_img, toy.z_txt, toy.labels, sample_weight=np.ones(640)
        )


def test_weights_of_pairs_and_of_the_published_recipe_are_refused(toy):
    with pytest.raises(ValueError, match="no sample_weight for pairs"):
        ViLUEstimator().fit(toy.z_img, toy.z_img, sample_weight=np.ones(640))
    with pytest.raises(ValueError, match=r"recipe='paper'.* takes no sample_weight"):
        ViLUEstimator("paper").fit(toy.z_img, toy.z_txt, toy.labels, sample_weight=np.ones(640))


def test_weights_that_a_scorer_cannot_use_are_refused_or_enter_the_means_alone(toy):
    weights = np.arange(640) % 3
    scorer = LVUScorer(epochs=1, hidden=(8,), random_state=0)
    with pytest.raises(TypeError, match="sample_weight"):
        scorer.fit(toy.z_img, toy.z_txt, toy.labels, sample_weight=weights)
    with pytest.raises(ValueError, match="LVUScorer cannot use sample weights"):
        scorer.bind(toy.z_txt).fit(toy.z_img, toy.labels, sample_weight=weights)
    with pytest.warns(UserWarning, match="LVUScorer cannot use sample weights; they enter the class means"):
        bound = scorer.bind(None).fit(toy.z_img, toy.labels, sample_weight=weights)
    unit = toy.z_img / np.linalg.norm(toy.z_img, axis=1, keepdims=True)
    expected = [np.average(unit[toy.labels == k], axis=0, weights=weights[toy.labels == k]) for k in range(6)]
    np.testing.assert_allclose(bound.z_txt_set_, expected, atol=1e-6)


def test_weights_pass_through_a_pipeline(toy):
    weights = np.arange(640) % 3
    pipeline = make_pipeline(StandardScaler(), MCMScorer().bind(None))
    pipeline.fit(toy.z_img, toy.labels, boundclassifier__sample_weight=weights)
    X = pipeline[:-1].transform(toy.z_img)
    direct = MCMScorer().bind(None).fit(X, toy.labels, weights)
    np.testing.assert_array_equal(pipeline[-1].z_txt_set_, direct.z_txt_set_)


def test_a_bound_classifier_is_pickled_before_and_after_its_fit(toy):
    for bound in (MCMScorer().bind(None), MCMScorer().bind(toy.z_txt)):
        again = pickle.loads(pickle.dumps(bound)).fit(toy.z_img, toy.labels)
        twice = pickle.loads(pickle.dumps(again))
        np.testing.assert_array_equal(twice.rank_uncertainty(toy.z_img), again.rank_uncertainty(toy.z_img))
    ready = pickle.loads(pickle.dumps(MCMScorer().bind(toy.z_txt)))
    assert ready.scorer_ is ready.scorer


def test_the_grid_search_example_runs(capsys):
    runpy.run_path(str(EXAMPLES_FOLDER / "grid_search.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["the", "recipe", "default", "published,", "mean"]
    assert sum("<- best" in line for line in lines) == 1
