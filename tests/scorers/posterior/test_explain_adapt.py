"""Explanations of failure scores, and moving an estimator to another domain."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from vilu_sdk import LVUScorer, MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.exceptions import NothingLearnedWarning

SCALE = 20.0


def estimator(**options):
    return ViLUEstimator(**{"logit_scale": SCALE, "random_state": 0} | options)


def auc(scorer, z_img, z_txt, labels):
    wrong = scorer.predict(z_img, z_txt) != labels
    return roc_auc_score(wrong, scorer.decision_function(z_img, z_txt))


@pytest.fixture(scope="module")
def toy(beside):
    return beside


@pytest.fixture(scope="module")
def captions(toy):
    noise = np.random.default_rng(5).normal(size=toy.z_img.shape)
    return (toy.z_img + 2.5 * noise).astype(np.float32)


@pytest.fixture(scope="module")
def scorers(toy, captions):
    """Estimators of every kind of model, with candidates."""
    paper = PaperRecipe(epochs=2, hidden=(8,))
    few = captions[:40]
    fit = (toy.z_img, toy.z_txt, toy.labels)
    return {
        "classes": (estimator().fit(*fit), toy.z_txt),
        "new candidates": (estimator().fit(*fit), few),
        "captions": (estimator().fit(toy.z_img, captions), few),
        "paper": (estimator(recipe=paper).fit(*fit), toy.z_txt),
        "adapted": (estimator().fit(*fit).adapt(toy.z_img, few, frequencies="balanced"), few),
    }


@pytest.fixture(scope="module")
def shifted():
    """A class set, and a domain of the same classes whose images all moved."""
    rng = np.random.default_rng(1)
    z_txt = rng.normal(size=(8, 16))
    drift = 1.5 * rng.normal(size=16) + 0.8 * rng.normal(size=(8, 16))

    def draw(n, moved):
        labels = rng.integers(8, size=n)
        return z_txt[labels] + moved * drift[labels] + 1.2 * rng.normal(size=(n, 16)), labels

    return SimpleNamespace(z_txt=z_txt, home=draw(600, 0), few=draw(120, 1), test=draw(1500, 1))


# --- explain ---------------------------------------------------------------------------------------

KINDS = ["classes", "new candidates", "captions", "paper", "adapted"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_evidence_adds_up_to_the_ratio_of_attentions(scorers, toy, kind):
    scorer, text = scorers[kind]
    found = scorer.explain(toy.z_img[:50], text, 3)
    ratio = np.log(found.competitor_probability) - np.log(found.probability)[:, None]
    np.testing.assert_allclose(sum(found.contributions.values()), ratio, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_competitors_are_the_strongest_of_the_others(scorers, toy, kind):
    scorer, text = scorers[kind]
    found = scorer.explain(toy.z_img[:50], text, len(text) + 7)
    assert found.competitors.shape == found.competitor_probability.shape == (50, len(text) - 1)
    np.testing.assert_array_equal(found.prediction, scorer.predict(toy.z_img[:50], text))
    everything = np.column_stack([found.prediction, found.competitors])
    np.testing.assert_array_equal(np.sort(everything, axis=1), np.tile(np.arange(len(text)), (50, 1)))
    assert (np.diff(found.competitor_probability, axis=1) <= 1e-12).all()
    np.testing.assert_allclose(found.probability + found.competitor_probability.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found.uncertainty, scorer.predict_uncertainty(toy.z_img[:50], text), atol=1e-6)
    few = scorer.explain(toy.z_img[:50], text, 2)
    np.testing.assert_array_equal(few.competitors, found.competitors[:, :2])


@pytest.mark.parametrize("kind", KINDS)
def test_an_explanation_prints_as_a_table(scorers, toy, kind):
    scorer, text = scorers[kind]
    names = [f"class {i}" for i in range(len(text))]
    found = scorer.explain(toy.z_img[:4], text, 2, names=names)
    lines = str(found).splitlines()
    assert len(lines) == 1 + 4 * 2
    for word in ("image", "predicted", "uncertainty", "competitor", "probability", *found.contributions):
        assert word in lines[0]
    assert names[found.prediction[0]] in lines[1]
    assert names[found.competitors[0, 0]] in lines[1]
    rows = found.to_dicts()
    assert len(rows) == 8
    assert rows[3]["competitor"] == names[found.competitors[1, 1]]
    assert scorer.explain(toy.z_img[:1], text).to_dicts()[0]["prediction"] == found.prediction[0]


def test_an_explanation_names_what_was_learned(scorers, toy):
    assert list(scorers["classes"][0].explain(toy.z_img[:2], toy.z_txt).contributions)[:2] == [
        "zero-shot",
        "class Gaussians",
    ]
    assert set(scorers["captions"][0].explain(toy.z_img[:2], toy.z_txt).contributions) == {
        "zero-shot",
        "caption regression",
        "image bank",
    }


def test_explain_checks_what_it_is_given(scorers, toy):
    scorer, text = scorers["classes"]
    with pytest.raises(ValueError, match="names has 5 entries but z_txt_set has 6 rows"):
        scorer.explain(toy.z_img, text, names=["a"] * 5)
    for bad in (0, -1, 1.5, "3"):
        with pytest.raises(ValueError, match="top_k must be an integer of at least 1"):
            scorer.explain(toy.z_img, text, bad)
    with pytest.raises(ValueError, match="z_txt_set has 1"):
        scorer.explain(toy.z_img, text[:1])
    with pytest.raises(ValueError, match="width"):
        scorer.explain(toy.z_img[:, :3], text)
    with pytest.raises(NotFittedError):
        estimator().explain(toy.z_img, text)


# --- adapt without labels --------------------------------------------------------------------------


def test_adapting_needs_no_fit(digits):
    scorer = estimator(logit_scale=digits.logit_scale)
    assert scorer.adapt(digits.z_img_fit, digits.z_txt) is scorer
    mcm = MCMScorer(logit_scale=digits.logit_scale)
    test = digits.z_img_test, digits.z_txt, digits.labels_test
    assert auc(scorer, *test) > auc(mcm, *test)
    balanced = estimator(logit_scale=digits.logit_scale).adapt(
        digits.z_img_fit, digits.z_txt, frequencies="balanced"
    )
    assert auc(balanced, *test) > auc(mcm, *test) + 0.02


@pytest.mark.filterwarnings("ignore:adapt leaves the ranking as it is")
@pytest.mark.parametrize("n", [1, 2, 30, 400])
def test_skewed_images_without_labels_do_no_harm(digits, n):
    rng = np.random.default_rng(0)
    frequencies = 1 / np.arange(1, 11) ** 1.5
    test = digits.z_img_test, digits.z_txt, digits.labels_test
    before = auc(MCMScorer(logit_scale=digits.logit_scale), *test)
    for _ in range(3):
        p = rng.permutation(frequencies)[digits.labels_fit]
        rows = rng.choice(len(p), size=n, p=p / p.sum(), replace=False)
        scorer = estimator(logit_scale=digits.logit_scale).adapt(digits.z_img_fit[rows], digits.z_txt)
        assert auc(scorer, *test) > before - 0.01


def test_images_of_one_class_teach_nothing_and_that_is_said(digits):
    before = MCMScorer(logit_scale=digits.logit_scale).decision_function(digits.z_img_test, digits.z_txt)
    with pytest.warns(NothingLearnedWarning, match="adapt leaves the ranking as it is"):
        moved = estimator(logit_scale=digits.logit_scale).adapt(
            digits.z_img_fit[digits.labels_fit == 0], digits.z_txt
        )
    after = moved.decision_function(digits.z_img_test, digits.z_txt)
    np.testing.assert_array_equal(np.argsort(after), np.argsort(before))


def test_images_without_labels_do_not_overrule_known_classes(toy):
    scorer = estimator().fit(toy.z_img, toy.z_txt, toy.labels)
    before = scorer.decision_function(toy.z_img, toy.z_txt)
    order = np.random.default_rng(0).permutation(6)
    moved = toy.z_img[:300] + 1.0
    for text in (toy.z_txt, toy.z_txt[order], toy.z_txt[:4]):
        scorer.adapt(moved, text)
        np.testing.assert_array_equal(scorer.decision_function(toy.z_img, toy.z_txt), before)


def test_adapting_to_new_classes_leaves_the_known_ones_as_they_were(toy):
    scorer = estimator().fit(toy.z_img, toy.z_txt, toy.labels)
    before = scorer.decision_function(toy.z_img, toy.z_txt)
    scorer.adapt(toy.z_img, np.random.default_rng(8).normal(size=(9, 16)))
    np.testing.assert_allclose(scorer.decision_function(toy.z_img, toy.z_txt), before, atol=1e-5)


def test_what_another_set_predicts_steps_back_as_images_speak(toy):
    """With 1, 100 and 10,000 images a candidate, an estimator of another set comes to where nothing comes."""
    rng = np.random.default_rng(8)
    text = rng.normal(size=(6, 16))
    labels = rng.integers(6, size=60_000)
    z_img = text[labels] + 0.5 * rng.normal(size=16) + 2.0 * rng.normal(size=(60_000, 16))
    apart = []
    for n in (6, 600, 60_000):
        fitted = estimator().fit(toy.z_img, toy.z_txt, toy.labels)
        assert "class Gaussians" in fitted.model_.parts(torch.as_tensor(text).float())
        moved = [start.adapt(z_img[:n], text) for start in (fitted, estimator())]
        one, other = (scorer.predict_proba(z_img[:500], text) for scorer in moved)
        apart.append(np.abs(one - other).max())
    assert apart[0] > 5 * apart[1] > 25 * apart[2]


def test_adapting_again_to_the_same_images_says_little_new(toy):
    new = np.random.default_rng(8).normal(size=(9, 16))
    scorer = estimator()
    logs = [np.log(MCMScorer(logit_scale=SCALE).predict_proba(toy.z_img, new))]
    logs += [np.log(scorer.adapt(toy.z_img, new).predict_proba(toy.z_img, new)) for _ in range(4)]
    first, *others = (np.abs(after - before).mean() for before, after in itertools.pairwise(logs))
    assert first > 0.01
    assert others[-1] < others[0] < 0.5 * first


def test_captions_adapt_to_images_of_their_domain(toy, captions):
    scorer = estimator().fit(toy.z_img[:300], captions[:300])
    before = scorer.decision_function(toy.z_img[300:], captions[300:])
    scorer.adapt(toy.z_img[300:500], captions[300:])
    after = scorer.decision_function(toy.z_img[300:], captions[300:])
    wrong = scorer.predict(toy.z_img[300:], captions[300:]) != np.arange(340)
    assert np.abs(after - before).max() > 1e-3
    assert roc_auc_score(wrong, after) > roc_auc_score(wrong, before) - 0.01
    # An image that comes twice says nothing new.
    twice = estimator().fit(toy.z_img[:300], captions[:300])
    twice.adapt(np.repeat(toy.z_img[300:500], 2, axis=0), captions[300:])
    np.testing.assert_allclose(twice.decision_function(toy.z_img[300:], captions[300:]), after, atol=1e-4)


# --- adapt with labels -----------------------------------------------------------------------------


def test_labels_of_a_shifted_domain_help(shifted):
    test = shifted.test[0], shifted.z_txt, shifted.test[1]
    fitted = estimator(logit_scale=10.0).fit(shifted.home[0], shifted.z_txt, shifted.home[1])
    before = auc(fitted, *test)
    fitted.adapt(shifted.few[0], shifted.z_txt, shifted.few[1])
    assert auc(fitted, *test) > before + 0.02


@pytest.mark.parametrize("n", [1, 9, 12, 40])
def test_a_few_labels_of_the_same_domain_do_no_harm(digits, n):
    test = digits.z_img_test, digits.z_txt, digits.labels_test
    fitted = estimator(logit_scale=digits.logit_scale)
    fitted.fit(digits.z_img_fit[:400], digits.z_txt, digits.labels_fit[:400])
    before = auc(fitted, *test)
    rows = slice(400, 400 + n)
    if n < 10:
        with pytest.warns(UserWarning, match="keeps what was learned before"):
            fitted.adapt(digits.z_img_fit[rows], digits.z_txt, digits.labels_fit[rows])
        assert auc(fitted, *test) == pytest.approx(before, abs=1e-6)
    else:
        fitted.adapt(digits.z_img_fit[rows], digits.z_txt, digits.labels_fit[rows])
        assert auc(fitted, *test) > before - 0.01


def test_adapting_an_unfitted_estimator_with_labels_is_fitting_it(digits):
    given = digits.z_img_fit, digits.z_txt, digits.labels_fit
    one = estimator(logit_scale=digits.logit_scale).adapt(*given)
    other = estimator(logit_scale=digits.logit_scale).fit(*given)
    np.testing.assert_array_equal(
        one.decision_function(digits.z_img_test, digits.z_txt),
        other.decision_function(digits.z_img_test, digits.z_txt),
    )


def test_the_published_recipe_adapts_a_fitted_estimator_with_labels(toy):
    paper = estimator(recipe=PaperRecipe(epochs=2, hidden=(8,)))
    with pytest.raises(ValueError, match="fit it first"):
        paper.adapt(toy.z_img, toy.z_txt, toy.labels)
    paper.fit(toy.z_img, toy.z_txt, toy.labels)
    before = paper.decision_function(toy.z_img, toy.z_txt)
    with pytest.raises(ValueError, match="with labels"):
        paper.adapt(toy.z_img, toy.z_txt)
    np.testing.assert_array_equal(paper.decision_function(toy.z_img, toy.z_txt), before)
    paper.adapt(toy.z_img[:200], toy.z_txt, toy.labels[:200])
    assert np.abs(paper.decision_function(toy.z_img, toy.z_txt) - before).max() > 0


@pytest.mark.parametrize("kind", [LVUScorer, lambda **options: estimator(recipe=PaperRecipe(**options))])
def test_networks_adapt_with_settings_of_their_own(toy, kind):
    options = {"epochs": 2, "hidden": (8,)}
    if kind is LVUScorer:
        options["random_state"] = 0
    few = (toy.z_img[:50], toy.z_txt, toy.labels[:50])
    moved = {}
    for name, more in {
        "as it is": {}, "one epoch": {"adapt_epochs": 1}, "batch": {"adapt_batch_size": 8},
        "rate": {"adapt_learning_rate": 1e-3},
    }.items():  # fmt: skip
        scorer = kind(**options, **more).fit(toy.z_img, toy.z_txt, toy.labels)
        before = scorer.decision_function(toy.z_img, toy.z_txt)
        after = scorer.adapt(*few).decision_function(toy.z_img, toy.z_txt)
        moved[name] = np.abs(after - before).max()
    assert moved["rate"] < moved["as it is"] / 5
    assert moved["one epoch"] < moved["as it is"]
    assert len(set(moved.values())) == 4
    with pytest.raises(ValueError, match="adapt_epochs must be at least 1"):
        kind(**options, adapt_epochs=0).fit(toy.z_img, toy.z_txt, toy.labels).adapt(*few)


def test_lvu_adapts_with_labels_after_a_fit_and_an_error_leaves_it_as_it_was(toy):
    scorer = LVUScorer(epochs=2, hidden=(8,), random_state=0)
    with pytest.raises(NotFittedError):
        scorer.adapt(toy.z_img, toy.z_txt, toy.labels)
    scorer.fit(toy.z_img, toy.z_txt, toy.labels)
    before = scorer.decision_function(toy.z_img, toy.z_txt)
    for wrong in (None, np.full(640, 6)):
        with pytest.raises(ValueError, match="labels"):
            scorer.adapt(toy.z_img, toy.z_txt, wrong)
    np.testing.assert_array_equal(scorer.decision_function(toy.z_img, toy.z_txt), before)
    scorer.adapt(toy.z_img[:200], toy.z_txt[:4], np.minimum(toy.labels[:200], 3))
    assert np.abs(scorer.decision_function(toy.z_img, toy.z_txt) - before).max() > 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": np.zeros(640, dtype=int), "frequencies": "balanced"}, ValueError, "frequencies"),
        ({"labels": np.full(640, 6)}, ValueError, "labels must lie in"),
        ({"labels": np.zeros(639, dtype=int)}, ValueError, "labels has 639 entries"),
        ({"z_img": np.full((640, 16), np.nan)}, ValueError, "z_img"),
        ({"z_img": np.ones((640, 4))}, ValueError, "width"),
        ({"z_txt_set": np.ones((1, 16))}, ValueError, "at least 2"),
        ({"z_txt_set": np.zeros((6, 16))}, ValueError, "z_txt_set is all zero"),
        ({"z_img": None}, TypeError, "z_img"),
    ],
)
def test_an_error_leaves_the_estimator_as_it_was(toy, change, error, message):
    scorer = estimator().fit(toy.z_img, toy.z_txt, toy.labels)
    model, before = scorer.model_, scorer.decision_function(toy.z_img, toy.z_txt)
    with pytest.raises(error, match=message):
        scorer.adapt(**{"z_img": toy.z_img, "z_txt_set": toy.z_txt} | change)
    assert scorer.model_ is model
    np.testing.assert_array_equal(scorer.decision_function(toy.z_img, toy.z_txt), before)
    fresh = estimator()
    with pytest.raises(error, match=message):
        fresh.adapt(**{"z_img": toy.z_img, "z_txt_set": toy.z_txt} | change)
    assert not vars(fresh).keys() & {"model_", "n_features_in_"}


def test_adapting_does_not_touch_a_model_that_others_share(toy):
    scorer = estimator().fit(toy.z_img, toy.z_txt, toy.labels)
    model = scorer.model_
    platt, known = model.platt, model.known["class Gaussians"].directions.clone()
    scorer.adapt(toy.z_img[:200], toy.z_txt, toy.labels[:200])
    assert scorer.model_ is not model
    assert model.platt == platt
    assert (model.known["class Gaussians"].directions == known).all()


def test_adapting_leaves_the_global_generators_alone_and_is_deterministic(toy):
    new = np.random.default_rng(8).normal(size=(9, 16))
    np.random.seed(3)  # noqa: NPY002 - the legacy global state is what must not move
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    decisions = [
        estimator().adapt(toy.z_img, new, frequencies="balanced").decision_function(toy.z_img, new)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*decisions)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_labels_stay_known_after_an_adaptation_to_another_set(toy):
    scorer = estimator().fit(toy.z_img, toy.z_txt, toy.labels)
    before = scorer.decision_function(toy.z_img, toy.z_txt)
    other = np.random.default_rng(4).normal(size=(7, 16))
    scorer.adapt(toy.z_img[:200], other).adapt(toy.z_img[:300] + 1.0, toy.z_txt)
    np.testing.assert_allclose(scorer.decision_function(toy.z_img, toy.z_txt), before, atol=1e-6)


# --- repeats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", ["exact copies", "groups"])
def test_images_that_come_many_times_count_once_in_adapt(shifted, told):
    """One class comes thirty times as often in the files, not in the world."""
    z, labels = shifted.test
    times = np.where(labels == 0, 30, 1)
    rows = np.repeat(np.arange(len(z)), times)
    views, groups = z[rows], None
    if told == "groups":
        views, groups = views + 0.05 * np.random.default_rng(0).normal(size=views.shape), rows
    once, repeated, blind = (
        estimator()
        .adapt(images, shifted.z_txt, groups=of, frequencies="balanced")
        .predict_proba(z, shifted.z_txt)
        for images, of in ((z, None), (views, groups), (views, np.arange(len(views))))
    )
    changed, not_told = (np.abs(p - once).mean() for p in (repeated, blind))
    assert changed < 0.001 < 0.03 < not_told


def test_adapt_with_labels_is_told_the_groups(shifted):
    (z, labels), rows = shifted.home, np.tile(np.arange(200), 3)
    views = z[rows] + 0.3 * np.random.default_rng(0).normal(size=(600, 16))
    given = views, shifted.z_txt, labels[rows]
    adapted, fitted = estimator().adapt(*given, groups=rows), estimator().fit(*given, groups=rows)
    assert (adapted.decision_function(*given[:2]) == fitted.decision_function(*given[:2])).all()


@pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.ViLUWarning")  # which all are of such images
@pytest.mark.parametrize("spread", [0.0, 1e-7, 1e-4])
@pytest.mark.parametrize(("k", "d"), [(5, 8), (20, 16), (2, 4)])
def test_images_that_do_not_differ_within_classes_adapt(spread, k, d):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        text = rng.normal(size=(k, d))
        labels = rng.integers(k, size=100)
        images = text[labels] + spread * rng.normal(size=(100, d))
        for adapted in (
            ViLUEstimator(random_state=0).adapt(images, text),
            ViLUEstimator(random_state=0).partial_adapt(images, text),
            ViLUEstimator(random_state=0).fit(images, text, labels).adapt(images, text),
        ):
            assert np.isfinite(adapted.decision_function(images, text)).all()
            assert (adapted.predict(images, text) == labels).all()
