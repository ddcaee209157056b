"""Sets of candidates: their formulas, their promise over hundreds of draws, and all they do not depend on."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from mapie.classification import SplitConformalClassifier
from scipy.stats import binom, norm
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError

from support.all_scorers import EXAMPLES
from vilu_sdk import EntropyScorer, LVUScorer, MCMScorer, SelectivePredictor, SetPredictor, ViLUEstimator
from vilu_sdk.exceptions import FitRowsWarning, PromiseWarning
from vilu_sdk.metrics.ranking import rank
from vilu_sdk.scorers.base.contract import read_posterior
from vilu_sdk.selective.bounds import fixed_sequence
from vilu_sdk.selective.conformity import METHODS, conformity, rank_needed, threshold, uniform_of

DRAWS = 500
every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(scope="module")
def mcm(digits):
    return MCMScorer(logit_scale=digits.logit_scale)


@pytest.fixture(scope="module")
def posterior(digits, mcm):
    """Probabilities of a calibration set and of new images, with labels and the numbers that images draw."""
    import torch

    found = []
    for z, labels in ((digits.z_img_fit, digits.labels_fit), (digits.z_img_test, digits.labels_test)):
        p = mcm.predict_proba(z, digits.z_txt).astype(np.float64)
        unit = torch.nn.functional.normalize(torch.as_tensor(z, dtype=torch.float32), dim=1)
        found.append((p / p.sum(axis=1, keepdims=True), labels, uniform_of(unit)))
    return found


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose images are the probabilities, for MAPIE."""

    def fit(self, x, y):
        self.classes_ = np.arange(x.shape[1])
        return self

    def predict(self, x):
        return x.argmax(axis=1)

    def predict_proba(self, x):
        return x


class Drawn(np.random.RandomState):
    """A stream that gives the numbers that images draw: of the calibration set first, of new images then."""

    def __init__(self, *uniforms):
        super().__init__(0)
        self.left = list(uniforms)

    def uniform(self, size):
        return self.left.pop(0).reshape(size)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("method", ["lac", "aps"])
def test_sets_are_mapies_for_the_same_probabilities(digits, mcm, posterior, method, coverage):
    (p, labels, u), (p_new, _, u_new) = posterior
    theirs = SplitConformalClassifier(
        Given().fit(p, labels), confidence_level=coverage, conformity_score=method, prefit=True
    )
    options = {}
    if method == "aps":
        theirs._mapie_classifier.random_state = Drawn(u, u_new)
        options = {"conformity_score_params": {"include_last_label": "randomized"}}
    _, expected = theirs.conformalize(p, labels).predict_set(p_new, **options)
    ours = SetPredictor(mcm, coverage, method).fit(digits.z_img_fit, digits.z_txt, digits.labels_fit)
    found = ours.predict_sets(digits.z_img_test, digits.z_txt)
    np.testing.assert_array_equal(found, expected[:, :, 0])


@every_method
def test_scores_are_those_of_the_papers(method):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(7, 0.5), size=40)
    u = rng.random(40)
    found, _ = conformity(method, np.log(p), u, penalty=0.05, free=2)
    for i, row in enumerate(p):
        for y in range(7):
            rank = 1 + (row > row[y]).sum()
            plain = {
                "lac": -math.log(row[y]),
                "aps": row[row >= row[y]].sum() - u[i] * row[y] - 1,
                "raps": row[row >= row[y]].sum() - u[i] * row[y] - 1 + 0.05 * max(0, rank - 2),
            }
            assert found[i, y] == pytest.approx(plain[method])


@pytest.mark.parametrize(("n", "coverage", "k"), [(9, 0.9, 9), (8, 0.9, 9), (19, 0.95, 19), (99, 0.9, 90)])
def test_the_rank_has_the_exact_correction_of_finite_samples(n, coverage, k):
    assert rank_needed(n, coverage) == k
    scores = np.arange(n, dtype=float)
    assert threshold(scores, coverage) == (math.inf if k > n else k - 1)


@every_method
@pytest.mark.parametrize("n", [9, 40, 300])
def test_coverage_is_kept_by_any_posterior_and_not_far_exceeded(method, n):
    """Mean coverage over draws lies between the promise and 1 / (n + 1) above it."""
    rng = np.random.default_rng(1)
    size, k = 4000, 6
    labels = rng.integers(k, size=size)
    logits = rng.normal(size=(size, k)) * 2
    logits[np.arange(size), labels] += 2.0 * rng.random(size)  # a poor posterior, too sure of itself
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    own = conformity(method, log_p, rng.random(size), penalty=0.1, free=1)[0][np.arange(size), labels]
    found = []
    for _ in range(DRAWS):
        rows = rng.permutation(size)
        found.append((own[rows[n:]] <= threshold(own[rows[:n]], 0.9)).mean())
    slack = norm.isf(0.0005) * np.std(found) / DRAWS**0.5
    assert 0.9 - slack <= np.mean(found) <= 0.9 + 1 / (n + 1) + slack


KINDS = [
    {},
    {"method": "aps"},
    {"method": "raps"},
    {"per_class": True},
    {"per_label": True},
    {"size_limit": 3},
    {"allow_empty": False},
    {"method": "aps", "allow_empty": False, "size_limit": 4},
]


def draws(digits, predictor, count, n=200, **more):
    """Fit on rows of the test set and yield new rows, their sets and whether these hold the right one."""
    rng = np.random.default_rng(2)
    for _ in range(count):
        rows = rng.permutation(len(digits.labels_test))
        cal, new = rows[:n], rows[n:]
        given = {name: values[cal] for name, values in more.items()}
        asked = {name: values[new] for name, values in more.items()}
        predictor.fit(digits.z_img_test[cal], digits.z_txt, digits.labels_test[cal], **given)
        sets = predictor.predict_sets(digits.z_img_test[new], digits.z_txt, **asked)
        yield new, sets, sets[np.arange(len(new)), digits.labels_test[new]]


@pytest.mark.parametrize("params", KINDS, ids=str)
def test_coverage_of_each_kind_of_sets(digits, mcm, params):
    kept, sizes = [], []
    predictor = SetPredictor(mcm, **params)
    for _, sets, inside in draws(digits, predictor, 30):
        kept.append(inside.mean())
        sizes.append(sets.sum(axis=1))
    assert np.mean(kept) > 0.9 - 3 * np.std(kept) / 30**0.5
    assert np.mean(kept) < 0.97
    if "size_limit" in params:
        assert np.max(sizes) <= params["size_limit"]
    if "allow_empty" in params:
        assert np.min(sizes) == 1


def test_coverage_in_each_class_each_group_and_each_predicted_class(digits, mcm):
    labels = digits.labels_test
    predicted = mcm.predict(digits.z_img_test, digits.z_txt)
    sites = np.where(labels < 3, "a", np.where(np.arange(len(labels)) % 2, "b", "c"))
    plain = {}
    for name, kinds, params, more in (
        ("label", labels, {"per_label": True}, {}),
        ("predicted", predicted, {"per_class": True}, {}),
        ("site", sites, {}, {"groups": sites}),
    ):
        for conditional in (False, True):
            predictor = SetPredictor(mcm, 0.8, **(params if conditional else {}))
            right = {kind: [] for kind in np.unique(kinds)}
            for new, _, inside in draws(digits, predictor, 20, 400, **(more if conditional else {})):
                for kind, found in right.items():
                    found.append(inside[kinds[new] == kind].mean())
            plain[name, conditional] = min(np.mean(found) for found in right.values())
        assert plain[name, True] > 0.77
    assert plain["label", False] < 0.7  # which is what the thresholds of their own are for


def test_a_limit_of_the_size_that_forbids_the_promise_is_said(digits, mcm):
    known = digits.z_img_fit, digits.z_txt, digits.labels_fit
    report = SetPredictor(mcm, 0.95, size_limit=1).fit(*known).report_
    accuracy = (mcm.predict(*known[:2]) == known[2]).mean()
    assert report.observed_coverage == pytest.approx(accuracy)
    assert accuracy - 0.03 < report.coverage_bound < accuracy
    assert "Sets of at most 1 cannot guarantee that" in str(report)
    low = 0
    for _, _, inside in draws(digits, predictor := SetPredictor(mcm, 0.95, size_limit=1), 100, 300):
        low += inside.mean() < predictor.report_.coverage_bound
    assert low <= binom.ppf(0.999, 100, 0.05 + 0.05)  # the new rows are finitely many too
    assert SetPredictor(mcm, 0.95, size_limit=9).fit(*known).report_.coverage_bound == 0.95


def test_without_a_threshold_sets_hold_everything_and_it_is_said(digits, mcm):
    few = SetPredictor(mcm, 0.9).fit(digits.z_img_fit[:8], digits.z_txt, digits.labels_fit[:8])
    assert few.predict_sets(digits.z_img_test, digits.z_txt).all()
    assert "it takes 9" in str(few.report_)
    sites = np.array(["a"] * 100 + ["b"] * 5)
    parts = SetPredictor(mcm).fit(digits.z_img_fit[:105], digits.z_txt, digits.labels_fit[:105], groups=sites)
    found = parts.predict_sets(digits.z_img_test[:3], digits.z_txt, groups=["a", "b", "never seen"])
    assert found.all(axis=1).tolist() == [False, True, True]


WITH_POSTERIOR = [example for example in EXAMPLES if hasattr(example.values[0], "predict_proba")]


@pytest.mark.parametrize("scorer", WITH_POSTERIOR)
def test_the_same_image_gets_the_same_set_whatever_is_scored_with_it(scorer):
    rng = np.random.default_rng(3)
    texts = rng.normal(size=(20, 64)).astype(np.float32)

    def images(n, share=0.25):
        labels = rng.integers(20, size=n)
        z = texts[labels] + 3 * rng.normal(size=(n, 64)).astype(np.float32)
        z[rng.random(n) < share] = texts[:2].sum(axis=0)  # a placeholder
        return z.astype(np.float32), labels

    z, labels = images(250, share=0)
    used = clone(scorer).fit(z, texts, labels)
    calibration, (new, _) = images(250), images(80)
    for method in METHODS:
        sets = SetPredictor(used, 0.8, method).fit(calibration[0], texts, calibration[1])
        expected = sets.predict_sets(new, texts)
        order = rng.permutation(len(new))
        np.testing.assert_array_equal(sets.predict_sets(new[order], texts), expected[order])
        alone = np.concatenate([sets.predict_sets(image[None], texts) for image in new])
        np.testing.assert_array_equal(alone, expected)
        inside = sets.predict_sets(calibration[0], texts)[np.arange(250), calibration[1]]
        assert inside.sum() == sets.report_.covered or method == "raps"


def test_names_are_those_of_the_sets_the_likeliest_first(digits, mcm):
    sets = SetPredictor(mcm, 0.97).fit(digits.z_img_fit, digits.z_txt, digits.labels_fit)
    members = sets.predict_sets(digits.z_img_test, digits.z_txt)
    p = mcm.predict_proba(digits.z_img_test, digits.z_txt)
    rows = sets.predict_names(digits.z_img_test, digits.z_txt)
    for i, row in enumerate(rows):
        assert set(row) == set(np.flatnonzero(members[i]).tolist())
        assert (np.diff(p[i, row]) <= 0).all()
    named = sets.predict_names(digits.z_img_test, digits.z_txt, names=digits.class_names)
    assert named == [[digits.class_names[k] for k in row] for row in rows]
    with pytest.raises(ValueError, match="names has 1 entries"):
        sets.predict_names(digits.z_img_test, digits.z_txt, names=["one"])


@pytest.mark.parametrize("params", KINDS, ids=str)
def test_saved_and_loaded_it_gives_the_same_sets(digits, mcm, params, tmp_path):
    sets = SetPredictor(mcm, **params).fit(digits.z_img_fit, digits.z_txt, digits.labels_fit)
    sets.save_pretrained(tmp_path)
    loaded = SetPredictor.from_pretrained(tmp_path)
    assert loaded.report_ == sets.report_
    found = loaded.predict_sets(digits.z_img_test, digits.z_txt)
    np.testing.assert_array_equal(found, sets.predict_sets(digits.z_img_test, digits.z_txt))
    assert clone(sets).get_params()["coverage"] == 0.9


def test_sets_of_captions_hold_the_right_one():
    rng = np.random.default_rng(4)
    captions = rng.normal(size=(300, 32))
    z = captions + 1.6 * rng.normal(size=(300, 32))
    mcm = MCMScorer(logit_scale=10.0)
    sets = SetPredictor(mcm, 0.9).fit(z, captions)
    assert sets.report_.candidates == 300
    new = rng.normal(size=(300, 32))
    found = sets.predict_sets(new + 1.6 * rng.normal(size=(300, 32)), new)  # another gallery, as large
    assert 0.84 < found.diagonal().mean() < 0.96
    assert 2 < found.sum(axis=1).mean() < 150
    with pytest.warns(PromiseWarning, match="candidates are not those of fit"):
        sets.predict_sets(z[:5], captions[:200])


def test_one_labelled_set_is_split_between_scorer_and_calibration(digits):
    scorer = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    known = digits.z_img_fit, digits.z_txt, digits.labels_fit
    sets = SetPredictor(scorer, 0.95).fit(*known)
    assert not scorer.__sklearn_is_fitted__()  # what is passed stays as it is
    assert sets.report_.n == len(digits.labels_fit) // 2
    inside = sets.predict_sets(digits.z_img_test, digits.z_txt)[np.arange(799), digits.labels_test]
    assert inside.mean() > 0.92
    with pytest.warns(FitRowsWarning):  # a fitted one that has seen them is no honest arrangement
        SetPredictor(clone(scorer).fit(*known)).fit(*known)


def test_what_cannot_be_is_refused_in_words(digits, mcm):
    known = digits.z_img_fit[:50], digits.z_txt, digits.labels_fit[:50]
    for params, match in (
        ({"coverage": 1.0}, "coverage must be a number strictly between 0 and 1"),
        ({"method": "top"}, "method must be 'lac', 'aps' or 'raps'"),
        ({"size_limit": 0}, "size_limit must be an integer of at least 1"),
        ({"penalty": -1.0}, "penalty must be finite"),
        ({"per_class": True, "per_label": True}, "choose one"),
    ):
        with pytest.raises(ValueError, match=match):
            SetPredictor(mcm, **params).fit(*known)
    with pytest.raises(TypeError, match="LVUScorer has no predict_proba"):
        SetPredictor(LVUScorer()).fit(*known)
    with pytest.raises(NotFittedError):
        SetPredictor(EntropyScorer()).predict_sets(*known[:2])
    with pytest.raises(ValueError, match="makes the predicted classes the groups"):
        SetPredictor(mcm, per_class=True).fit(*known, groups=np.zeros(50, int))
    fitted = SetPredictor(mcm, per_label=True).fit(*known)
    with pytest.raises(ValueError, match="a threshold for each of 10 candidates, got 4"):
        fitted.predict_sets(known[0], known[1][:4])
    grouped = SetPredictor(mcm).fit(*known, groups=np.zeros(50, int))
    with pytest.raises(ValueError, match="if, and only if"):
        grouped.predict_sets(*known[:2])


@pytest.mark.parametrize(
    "options", [{}, {"method": "raps"}, {"size_limit": 3}, {"per_class": True}, {"allow_empty": False}]
)
def test_images_of_no_candidate_are_in_no_set(options, digits, mcm):
    """A tenth of the images shows a digit that is no candidate, and is never counted as covered."""
    z_txt, labels = digits.z_txt[:9], np.where(digits.labels_test == 9, -1, digits.labels_test)
    none = labels == -1
    for coverage in (0.8, 0.95):
        sets = SetPredictor(mcm, coverage, **options).fit(digits.z_img_test, z_txt, labels)
        members = sets.predict_sets(digits.z_img_test, z_txt)
        covered = members[np.arange(len(labels)), labels] & ~none
        report = sets.report_
        if not options.get("method"):  # which keeps rows to choose by
            assert report.covered == covered.sum()
        assert report.observed_coverage <= 1 - none.mean() + 0.02
        if coverage > 1 - none.mean():
            assert report.coverage_bound < 1 - none.mean()
            assert options or "show none of the candidates to guarantee that" in str(report)
        elif not options:
            assert report.coverage_bound == coverage
            assert covered.mean() >= coverage
    alone = SetPredictor(mcm, 0.9, per_label=True).fit(digits.z_img_test[~none], z_txt, labels[~none])
    beside = SetPredictor(mcm, 0.9, per_label=True).fit(digits.z_img_test, z_txt, labels)
    assert beside.report_ == alone.report_
    with pytest.raises(ValueError, match="no image shows a candidate"):
        SetPredictor(mcm).fit(digits.z_img_test, z_txt, np.full(len(labels), -1))


@pytest.mark.parametrize("options", [{}, {"per_class": True}, {"per_label": True}])
def test_thresholds_of_named_candidates_are_found_by_name(options, digits, mcm):
    named = dict(zip(digits.class_names, digits.z_txt, strict=True))
    backwards = dict(reversed(named.items()))
    sets = SetPredictor(mcm, 0.9, **options).fit(digits.z_img_test, named, digits.labels_test)
    found = sets.predict_sets(digits.z_img_fit, named)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromiseWarning)
        np.testing.assert_array_equal(sets.predict_sets(digits.z_img_fit, backwards)[:, ::-1], found)
    if options:
        with pytest.raises(ValueError, match=r"without names|a threshold for each"):
            sets.predict_sets(digits.z_img_test, digits.z_txt[:4])
        assert {part.group for part in sets.report_.groups} == set(digits.class_names)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size_limit": np.inf}, ValueError, "size_limit must be an integer of at least 1, got inf"),
        ({"size_limit": True}, ValueError, "size_limit must be an integer"),
        ({"penalty": "x"}, TypeError, "penalty must be a number"),
        ({"penalty": -1.0}, ValueError, "penalty must be finite and at least 0"),
        ({"free_ranks": 1.5}, ValueError, "free_ranks must be an integer of at least 0"),
    ],
)
def test_bad_parameters_of_sets_are_named(options, error, message, digits, mcm):
    with pytest.raises(error, match=message):
        SetPredictor(mcm, **options).fit(digits.z_img_test, digits.z_txt, digits.labels_test)


@pytest.mark.parametrize("nothing", [0, np.float32(0), np.int64(0), np.zeros(()), torch.tensor(0.0)])
def test_no_penalty_is_0_of_any_make(nothing, digits, mcm):
    known = digits.z_img_test, digits.z_txt, digits.labels_test
    found = SetPredictor(mcm, method="raps", penalty=nothing, free_ranks=1).fit(*known)
    assert found.report_ == SetPredictor(mcm, method="raps", penalty=0.0, free_ranks=1).fit(*known).report_
    with pytest.raises(ValueError, match="chooses on some rows and calibrates on others"):
        SetPredictor(mcm, method="raps").fit(digits.z_img_test[:1], digits.z_txt, digits.labels_test[:1])


def test_sets_that_cannot_be_used_are_not_loaded(digits, mcm, tmp_path):
    sets = SetPredictor(mcm, 0.9).fit(digits.z_img_test, digits.z_txt, digits.labels_test)
    sets.save_pretrained(tmp_path / "sound")
    loaded = SetPredictor.from_pretrained(tmp_path / "sound")
    given = digits.z_img_test[:50], digits.z_txt
    np.testing.assert_array_equal(loaded.predict_sets(*given), sets.predict_sets(*given))
    sets.report_ = "nonsense"
    sets.save_pretrained(tmp_path / "broken")
    with pytest.raises((ValueError, AttributeError)):
        SetPredictor.from_pretrained(tmp_path / "broken")


def test_what_counts_at_use_may_not_change_after_the_fit(digits, mcm):
    data = digits.z_img_test, digits.z_txt
    for name, value in {"per_class": True, "per_label": True, "method": "aps", "size_limit": 1}.items():
        sets = SetPredictor(mcm, 0.9).fit(*data, digits.labels_test).set_params(**{name: value})
        with pytest.raises(ValueError, match=f"was found for {name}="):
            sets.predict_sets(*data)
    threshold = SelectivePredictor(mcm, 0.1).fit(*data, digits.labels_test).set_params(per_class=True)
    with pytest.raises(ValueError, match="was found for per_class=False"):
        threshold.accept(*data)


@pytest.mark.parametrize("made", [SetPredictor, lambda scorer: SelectivePredictor(scorer, 0.2)])
def test_groups_of_another_type_are_not_taken_for_unseen_ones(made, digits, mcm):
    groups = np.arange(len(digits.labels_test)) % 2
    found = made(mcm).fit(digits.z_img_test, digits.z_txt, digits.labels_test, groups=groups)
    ask = found.predict_sets if isinstance(found, SetPredictor) else found.accept
    with pytest.raises(ValueError, match="groups are like '0', but those of fit were like 0"):
        ask(digits.z_img_test, digits.z_txt, groups=groups.astype(str))


def test_sets_come_from_logarithms_in_one_pass(digits):
    sharp = MCMScorer(logit_scale=1000.0)
    logarithms = read_posterior(sharp, digits.z_img_test, digits.z_txt)[1]
    np.testing.assert_array_equal(logarithms, sharp.predict_log_proba(digits.z_img_test, digits.z_txt))
    assert logarithms.min() < -745  # which as a probability is 0
    sets = SetPredictor(sharp, 0.95).fit(digits.z_img_test, digits.z_txt, digits.labels_test)
    assert sets.report_.mean_size < 5


def test_sets_that_are_never_empty_are_promised_from_below_alone(digits, mcm):
    sets = SetPredictor(mcm, 0.6, allow_empty=False).fit(digits.z_img_test, digits.z_txt, digits.labels_test)
    assert sets.report_.observed_coverage > 0.8  # the likeliest alone is right more often
    assert "of at least 60.0 % of later images" in str(sets.report_)
    assert "in 90 % of draws" not in str(sets.report_)


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.95, 0.99, 1 - 1e-6, 2 / 3])
def test_the_rows_needed_are_the_fewest_with_a_threshold(coverage, digits, mcm):
    report = SetPredictor(mcm, 0.9).fit(digits.z_img_test, digits.z_txt, digits.labels_test).report_
    n = replace(report, coverage=coverage).rows_needed
    assert rank_needed(n, coverage) <= n
    assert n == 1 or rank_needed(n - 1, coverage) > n - 1


@pytest.mark.parametrize("predicts", ["zero-shot", "posterior"])
def test_sets_are_on_what_a_threshold_abstains_on(predicts, digits, tmp_path):
    scorer = ViLUEstimator(predicts=predicts, logit_scale=digits.logit_scale, random_state=0)
    scorer = scorer.fit(digits.z_img_fit[:300], digits.z_txt, digits.labels_fit[:300])
    calibration = digits.z_img_fit[300:], digits.z_txt, digits.labels_fit[300:]
    selective = SelectivePredictor(scorer, 0.03).fit(*calibration)
    sets = SetPredictor(selective, 0.95).fit(*calibration)
    report, test = sets.report_, (digits.z_img_test, digits.z_txt)
    rest = ~selective.accept(*calibration[:2])
    assert (report.n, report.answers) == (rest.sum(), selective.report_)
    alone = SetPredictor(scorer, 0.95).fit(calibration[0][rest], digits.z_txt, calibration[2][rest])
    assert replace(alone.report_, answers=report.answers) == report
    answer, members = selective.predict(*test), sets.predict_sets(*test)
    answered = answer != -1
    np.testing.assert_array_equal(members[answered], answer[answered, None] == np.arange(10))
    np.testing.assert_array_equal(members[~answered], alone.predict_sets(*test)[~answered])
    said = str(report).splitlines()[0]
    assert said.startswith(selective.report_.sentence[:-1])
    assert f"the others have {report.mean_size:.1f} candidates on average" in said
    sets.save_pretrained(tmp_path)
    again = SetPredictor.from_pretrained(tmp_path)
    assert str(again.report_) == str(report)
    np.testing.assert_array_equal(again.predict_sets(*test), members)


def test_a_threshold_that_leaves_nothing_or_has_groups_takes_no_sets(digits, mcm):
    calibration = digits.z_img_fit, digits.z_txt, digits.labels_fit
    with pytest.raises(ValueError, match="accepts all"):
        SetPredictor(SelectivePredictor(mcm, 0.9).fit(*calibration)).fit(*calibration)
    grouped = SelectivePredictor(mcm, 0.1).fit(*calibration, groups=np.arange(len(digits.labels_fit)) % 2)
    with pytest.raises(ValueError, match="has groups of images"):
        SetPredictor(grouped).fit(*calibration)
    nothing = SetPredictor(SelectivePredictor(mcm, 1e-6).fit(*calibration)).fit(*calibration).report_
    assert (nothing.n, nothing.sentence[:29]) == (len(digits.labels_fit), "Answers nothing by itself; th")


def test_one_labelled_set_makes_scorer_threshold_and_sets(digits):
    calibration = digits.z_img_fit, digits.z_txt, digits.labels_fit
    scorer = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    sets = SetPredictor(SelectivePredictor(scorer, 0.05)).fit(*calibration)
    alone = SelectivePredictor(scorer, 0.05).fit(*calibration)
    assert sets.report_.answers == alone.report_
    assert sets.report_.n == alone.report_.n - alone.report_.accepted
    assert sets.report_.fit_rows == alone.report_.fit_rows > 0
    members = sets.predict_sets(digits.z_img_test, digits.z_txt)
    rest = ~alone.accept(digits.z_img_test, digits.z_txt)
    assert members[rest, digits.labels_test[rest]].mean() > 0.85


def test_sets_on_abstentions_keep_their_promise_on_the_rows_that_found_the_threshold():
    """The walk of the threshold looks at no row behind the first that it rejects."""
    rng, target, covered, left = np.random.default_rng(0), 0.05, 0, 0
    for _ in range(300):
        u, hard = rng.random(250), rng.random(250)
        wrong = rng.random(250) < 0.4 * u
        score = hard * u + wrong  # high where a prediction is wrong
        ranking = rank(u, wrong)
        limit = ranking.threshold(fixed_sequence(ranking, target, 0.2))
        q = threshold(score[u > limit], 0.9)
        new, new_hard = rng.random(2000), rng.random(2000)
        new_score = new_hard * new + (rng.random(2000) < 0.4 * new)
        rest = new > limit
        covered, left = covered + (new_score[rest] <= q).mean(), left + 1
    assert covered / left > 0.9 - 0.004


def test_a_threshold_that_was_fitted_again_voids_the_sets_upon_it(digits, mcm):
    calibration = digits.z_img_fit, digits.z_txt, digits.labels_fit
    answers = SelectivePredictor(mcm, 0.1).fit(*calibration)
    sets = SetPredictor(answers, 0.9).fit(*calibration)
    sets.predict_sets(digits.z_img_test, digits.z_txt)  # without a word
    answers.set_params(target_risk=0.05).fit(*calibration)
    with pytest.warns(PromiseWarning, match="fitted again after the sets"):
        sets.predict_sets(digits.z_img_test, digits.z_txt)
    sets.fit(*calibration).predict_sets(digits.z_img_test, digits.z_txt)


def test_groups_and_classes_without_a_threshold_say_why(digits, mcm):
    few = np.flatnonzero((digits.labels_fit != 3) | (np.cumsum(digits.labels_fit == 3) <= 5))
    given = digits.z_img_fit[few], digits.z_txt, digits.labels_fit[few]
    report = SetPredictor(mcm, 0.9, per_label=True).fit(*given).report_
    assert "no threshold       1 of 10, which have fewer than 9 rows" in str(report)
    whole = SetPredictor(mcm, 0.9, per_label=True).fit(digits.z_img_fit, digits.z_txt, digits.labels_fit)
    assert "no threshold" not in str(whole.report_)
