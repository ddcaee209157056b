"""The default recipe as users meet it: what it learns, what it falls back to, what it may not depend on."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from support.data import draw_task
from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.evaluation import expected_calibration_error
from vilu_sdk.exceptions import LabelWarning
from vilu_sdk.inputs import rows as intake
from vilu_sdk.inputs.candidates import Candidates
from vilu_sdk.scorers.posterior import blend, classes, kernel
from vilu_sdk.scorers.posterior.captions import MIN_PAIRS, CaptionModel
from vilu_sdk.scorers.posterior.gaussians import ClassGaussians
from vilu_sdk.scorers.posterior.model import scores
from vilu_sdk.scorers.posterior.moments import Moments
from vilu_sdk.scorers.posterior.weights import Outcomes, fit_weights

SCALE = 20.0
# The kernel's scores are sums of large terms that cancel: float32 knows them to a hundredth of a nat.
KERNEL_TOLERANCE = {"rtol": 1e-3, "atol": 4e-2}
MCM = MCMScorer(logit_scale=SCALE)


def estimator(**options):
    return ViLUEstimator(**{"logit_scale": SCALE, "random_state": 0} | options)


def captions_of(toy, noise=0.7):
    rng = np.random.default_rng(5)
    return (toy.z_img + noise * rng.normal(size=toy.z_img.shape)).astype(np.float32)


def fit_digits(digits, labels=None, **options):
    labels = digits.labels_fit if labels is None else labels
    scorer = estimator(logit_scale=digits.logit_scale)
    return scorer.fit(digits.z_img_fit, digits.z_txt, None if "correct" in options else labels, **options)


def digits_auc(scorer, digits):
    """AUC of finding the errors among the images that were not fitted on."""
    wrong = scorer.predict(digits.z_img_test, digits.z_txt) != digits.labels_test
    return roc_auc_score(wrong, scorer.decision_function(digits.z_img_test, digits.z_txt))


def right_on_fit(digits):
    return MCM.predict(digits.z_img_fit, digits.z_txt) == digits.labels_fit


@pytest.fixture(scope="module")
def toy(beside):
    return beside


@pytest.fixture(scope="module")
def crowd():
    """Like `toy`, with more images than the smallest sample that weights are chosen on."""
    rng = np.random.default_rng(4)
    z_txt = rng.normal(size=(6, 16)).astype(np.float32)
    labels = rng.integers(6, size=1600)
    places = z_txt + 0.7 * rng.normal(size=(6, 16))
    z_img = (places[labels] + 1.8 * rng.normal(size=(1600, 16))).astype(np.float32)
    return SimpleNamespace(z_img=z_img, z_txt=z_txt, labels=labels)


@pytest.fixture(scope="module")
def fitted(toy):
    return estimator().fit(toy.z_img, toy.z_txt, toy.labels)


@pytest.fixture(scope="module")
def fitted_digits(digits):
    return fit_digits(digits)


@pytest.fixture(scope="module")
def fitted_captions(toy):
    return estimator().fit(toy.z_img, captions_of(toy))


def rows_with(toy, *, wrong=None, right=None):
    """Some rows and whether they are right, with so many of a kind."""
    correct = MCM.predict(toy.z_img, toy.z_txt) == toy.labels
    rows = np.r_[np.flatnonzero(correct)[:right], np.flatnonzero(~correct)[:wrong]]
    return toy.z_img[rows], correct[rows]


# --- what cannot be learned from -------------------------------------------------------------------

UNLEARNABLE = {
    "one image": lambda toy: ((toy.z_img[:1], toy.z_txt, toy.labels[:1]), {}),
    "nine images": lambda toy: ((toy.z_img[:9], toy.z_txt, toy.labels[:9]), {}),
    "one class": lambda toy: ((toy.z_img, toy.z_txt, np.full(640, 2)), {}),
    "two bits": lambda toy: ((toy.z_img[:2], toy.z_txt), {"correct": [True, False]}),
    "all right": lambda toy: ((toy.z_img, toy.z_txt), {"correct": np.ones(640, dtype=bool)}),
    "all wrong": lambda toy: ((toy.z_img, toy.z_txt), {"correct": np.zeros(640, dtype=bool)}),
    "four wrong": lambda toy: (
        (rows_with(toy, wrong=4)[0], toy.z_txt), {"correct": rows_with(toy, wrong=4)[1]}
    ),
    "four right": lambda toy: (
        (rows_with(toy, right=4)[0], toy.z_txt), {"correct": rows_with(toy, right=4)[1]}
    ),
    "two pairs": lambda toy: ((toy.z_img[:2], captions_of(toy)[:2]), {}),
    "few pairs": lambda toy: ((toy.z_img[: MIN_PAIRS - 1], captions_of(toy)[: MIN_PAIRS - 1]), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", UNLEARNABLE)
def test_what_nothing_can_be_learned_from_leaves_mcm_and_says_so(toy, case):
    given, options = UNLEARNABLE[case](toy)
    with pytest.warns(UserWarning, match="learned nothing .* MCM's ranking"):
        scorer = estimator().fit(*given, **options)
    for z_txt in (toy.z_txt, given[1]):
        if len(z_txt) > 1:
            np.testing.assert_array_equal(
                scorer.decision_function(toy.z_img, z_txt), MCM.decision_function(toy.z_img, z_txt)
            )


@pytest.mark.parametrize("n", [10, 12, 15])
def test_what_earns_no_place_leaves_mcm_s_ranking(digits, n):
    mcm = MCMScorer(logit_scale=digits.logit_scale).decision_function(digits.z_img_test, digits.z_txt)
    for seed in range(4):
        rows = np.random.default_rng(seed).permutation(len(digits.labels_fit))[:n]
        scorer = estimator(logit_scale=digits.logit_scale)
        scorer.fit(digits.z_img_fit[rows], digits.z_txt, digits.labels_fit[rows])
        assert not scorer.model_.known
        order = np.argsort(scorer.decision_function(digits.z_img_test, digits.z_txt), kind="stable")
        assert (np.diff(mcm[order]) >= 0).all()


ODD_LABELS = {
    "all right": lambda toy: MCM.predict(toy.z_img, toy.z_txt),
    "all wrong": lambda toy: (MCM.predict(toy.z_img, toy.z_txt) + 1) % 6,
    "a class without a label": lambda toy: np.where(toy.labels == 3, 2, toy.labels),
    "two of six classes": lambda toy: toy.labels % 2,
    "one image of another class": lambda toy: (np.arange(640) == 5).astype(int),
    "ten images": lambda toy: toy.labels,
}


@pytest.mark.parametrize("case", ODD_LABELS)
def test_odd_labels_are_learned_from_without_fuss(toy, case):
    n = 10 if case == "ten images" else 640
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if case == "all wrong":
            warnings.simplefilter("ignore", LabelWarning)
        scorer = estimator().fit(toy.z_img[:n], toy.z_txt, ODD_LABELS[case](toy)[:n])
    uncertainty = scorer.predict_uncertainty(toy.z_img, toy.z_txt)
    assert np.isfinite(scorer.decision_function(toy.z_img, toy.z_txt)).all()
    assert ((uncertainty >= 0) & (uncertainty <= 1)).all()


def test_labels_that_repeat_the_predictions_leave_the_ranking_as_it_was(toy):
    scorer = estimator().fit(toy.z_img, toy.z_txt, MCM.predict(toy.z_img, toy.z_txt))
    wrong = MCM.predict(toy.z_img, toy.z_txt) != toy.labels
    aucs = [roc_auc_score(wrong, s.decision_function(toy.z_img, toy.z_txt)) for s in (scorer, MCM)]
    assert aucs[0] > aucs[1] - 0.01
    assert scorer.predict_uncertainty(toy.z_img, toy.z_txt).mean() < 0.05


# --- candidates ------------------------------------------------------------------------------------


def test_permuting_candidates_changes_nothing(fitted, fitted_digits, fitted_captions, toy, digits):
    new = np.random.default_rng(9).normal(size=(9, 16))
    cases = [
        (fitted, toy.z_img, toy.z_txt),
        (fitted, toy.z_img, np.vstack([toy.z_txt[:3], new])),
        (fitted, toy.z_img, new),
        (fitted_digits, digits.z_img_test, digits.z_txt),
        (fitted_captions, toy.z_img, captions_of(toy)[:100]),
    ]
    for seed, (scorer, z_img, z_txt) in enumerate(cases):
        order = np.random.default_rng(seed).permutation(len(z_txt))
        tolerance = KERNEL_TOLERANCE if scorer is fitted_digits else {"atol": 1e-4}
        np.testing.assert_allclose(
            scorer.decision_function(z_img, z_txt[order]), scorer.decision_function(z_img, z_txt), **tolerance
        )


@pytest.mark.parametrize("feedback", ["labels", "correct"])
def test_the_order_of_classes_in_fit_does_not_matter(digits, feedback):
    order = np.random.default_rng(2).permutation(10)
    options = {"correct": right_on_fit(digits)} if feedback == "correct" else {}
    labels = None if options else digits.labels_fit
    moved = None if options else np.argsort(order)[digits.labels_fit]
    one = estimator(logit_scale=digits.logit_scale).fit(digits.z_img_fit, digits.z_txt, labels, **options)
    other = estimator(logit_scale=digits.logit_scale).fit(
        digits.z_img_fit, digits.z_txt[order], moved, **options
    )
    np.testing.assert_allclose(
        other.decision_function(digits.z_img_test, digits.z_txt[order]),
        one.decision_function(digits.z_img_test, digits.z_txt),
        **KERNEL_TOLERANCE,
    )


def test_the_gaussians_count_among_new_candidates_also_where_a_kernel_does_their_work(digits, monkeypatch):
    known = digits.labels_fit < 5
    weights = []
    for least in (100, 10**9):
        monkeypatch.setattr(kernel, "MIN_IMAGES", least)
        scorer = estimator(logit_scale=digits.logit_scale)
        scorer.fit(digits.z_img_fit[known], digits.z_txt[:5], digits.labels_fit[known])
        assert ("kernel" in scorer.model_.known) == (least == 100)
        weights.append(scorer.model_.open_weights[0])
    assert weights[0] == pytest.approx(weights[1], rel=0.2)
    assert weights[0] > 0.01


def test_a_subset_of_known_texts_keeps_what_was_learned(fitted_digits, digits):
    z = torch.tensor(digits.z_img_test)
    text = torch.nn.functional.normalize(torch.tensor(digits.z_txt), dim=1)
    whole = scores(fitted_digits.model_.parts(text), z)
    assert "class Gaussians" in whole
    for subset in ([7, 2, 5], [9, 0], [1, 2, 3, 4, 5, 6, 7, 8]):
        parts = scores(fitted_digits.model_.parts(text[subset]), z)
        assert parts.keys() == whole.keys()
        for name, part in parts.items():
            gap = part - whole[name][:, subset]
            torch.testing.assert_close(gap, gap[:, :1].expand_as(gap), rtol=0, atol=2e-2)


@pytest.mark.parametrize("k", [2, 3, 50])
def test_any_other_candidates_are_scored(fitted, fitted_captions, toy, k):
    text = np.random.default_rng(k).normal(size=(k, 16))
    for scorer in (fitted, fitted_captions):
        decision = scorer.decision_function(toy.z_img, text)
        assert np.isfinite(decision).all()
        assert len(np.unique(decision)) > 600


def test_halves_of_known_and_new_candidates_are_between_both(fitted, toy):
    new = np.random.default_rng(8).normal(size=(6, 16))
    share = [fitted.model_.unknown_share(Candidates(text).text) for text in (toy.z_txt, new)]
    assert share == [0.0, 1.0]
    mixed = np.vstack([toy.z_txt[:3], new[:3]])
    assert fitted.model_.unknown_share(Candidates(mixed).text) == 0.5
    assert np.isfinite(fitted.decision_function(toy.z_img, mixed)).all()


# --- what is learned -------------------------------------------------------------------------------


def test_labels_help_on_images_that_were_not_fitted_on(fitted_digits, digits):
    mcm = MCMScorer(logit_scale=digits.logit_scale)
    assert digits_auc(fitted_digits, digits) > digits_auc(mcm, digits) + 0.04


@pytest.mark.parametrize("n", [100, 200, 400])
def test_right_and_wrong_alone_are_not_worse_than_mcm(digits, n):
    scorer = estimator(logit_scale=digits.logit_scale)
    scorer.fit(digits.z_img_fit[:n], digits.z_txt, correct=right_on_fit(digits)[:n])
    assert digits_auc(scorer, digits) > digits_auc(MCMScorer(logit_scale=digits.logit_scale), digits) + 0.01


@pytest.mark.parametrize("n", [10, 20, 50, 100])
def test_few_labels_are_not_worse_than_mcm(digits, n):
    base = digits_auc(MCMScorer(logit_scale=digits.logit_scale), digits)
    for seed in range(4):
        rows = np.random.default_rng(seed).permutation(len(digits.labels_fit))[:n]
        scorer = estimator(logit_scale=digits.logit_scale)
        scorer.fit(digits.z_img_fit[rows], digits.z_txt, digits.labels_fit[rows])
        assert digits_auc(scorer, digits) > base - 0.005


@pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.LabelWarning")
@pytest.mark.parametrize("seed", range(3))
def test_shuffled_labels_rank_no_better_than_mcm(toy, digits, seed):
    shuffled = np.random.default_rng(seed).permutation(digits.labels_fit)
    scorer = fit_digits(digits, shuffled)
    assert digits_auc(scorer, digits) < digits_auc(MCMScorer(logit_scale=digits.logit_scale), digits) + 0.01
    # Nor does it claim to know anything: each image fails about as often as all do.
    uncertainty = scorer.predict_uncertainty(digits.z_img_test, digits.z_txt)
    failures = np.mean(MCM.predict(digits.z_img_fit, digits.z_txt) != shuffled)
    assert uncertainty.mean() == pytest.approx(failures, abs=0.04)
    assert uncertainty.std() < 0.1

    rows = np.arange(640) < 320
    scorer = estimator().fit(
        toy.z_img[rows], toy.z_txt, np.random.default_rng(seed).permutation(toy.labels[rows])
    )
    wrong = MCM.predict(toy.z_img, toy.z_txt)[~rows] != toy.labels[~rows]
    aucs = [roc_auc_score(wrong, s.decision_function(toy.z_img[~rows], toy.z_txt)) for s in (scorer, MCM)]
    assert aucs[0] < aucs[1] + 0.01


@pytest.mark.parametrize("seed", range(3))
def test_left_out_scores_find_nothing_in_shuffled_labels(digits, seed):
    x = torch.tensor(digits.z_img_fit).double()
    text = torch.nn.functional.normalize(torch.tensor(digits.z_txt), dim=1).double()
    labels = torch.tensor(np.random.default_rng(seed).permutation(digits.labels_fit))
    one_each = torch.arange(len(x)), torch.ones(len(x))
    fitted = ClassGaussians(Moments.gather([(x, labels)], 10), text).whiten(0.3)
    left_out = fitted.leave_groups_out(x, labels, *one_each)
    base = digits.logit_scale * x @ text.T
    _, loss = fit_weights([Outcomes.of([base, left_out], labels)], [1e-6, 1e-6])
    # Nobody can do better than chance by more than what two weights gain by luck.
    assert loss > len(x) * np.log(10) - 4


@pytest.mark.parametrize("feedback", ["labels", "correct"])
def test_probabilities_are_calibrated(digits, feedback):
    options = {"correct": right_on_fit(digits)} if feedback == "correct" else {}
    scorer = fit_digits(digits, **options)
    wrong = scorer.predict(digits.z_img_test, digits.z_txt) != digits.labels_test
    uncertainty = scorer.predict_uncertainty(digits.z_img_test, digits.z_txt)
    assert uncertainty.mean() == pytest.approx(wrong.mean(), abs=0.03)
    assert expected_calibration_error(uncertainty, wrong) < 0.06


def test_pairs_help_on_pairs_that_were_not_fitted_on():
    # Captions live in a rotated space, as those of another modality do.
    rng = np.random.default_rng(0)
    images = rng.normal(size=(900, 16))
    twist = np.eye(16) + 0.25 * rng.normal(size=(16, 16))
    texts = images @ twist + 0.4 * rng.normal(size=(900, 16))
    scorer = estimator().fit(images[:600], texts[:600])
    wrong = MCM.predict(images[600:], texts[600:]) != np.arange(300)
    aucs = [roc_auc_score(wrong, s.decision_function(images[600:], texts[600:])) for s in (scorer, MCM)]
    assert aucs[0] > aucs[1] + 0.01
    assert isinstance(scorer.model_, CaptionModel)


# --- what it may not depend on ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["labels", "correct", "pairs"])
def test_fitting_is_deterministic_and_leaves_the_global_generators_alone(crowd, monkeypatch, kind):
    monkeypatch.setattr(classes, "SAMPLE", 1200)  # so that something is drawn
    monkeypatch.setattr(kernel, "MAX_LANDMARKS", 200)
    z_txt, labels, correct = {
        "labels": (crowd.z_txt, crowd.labels, None),
        "correct": (crowd.z_txt, None, MCM.predict(crowd.z_img, crowd.z_txt) == crowd.labels),
        "pairs": (captions_of(crowd)[:500], None, None),
    }[kind]
    z_img = crowd.z_img[:500] if kind == "pairs" else crowd.z_img

    def score(seed):
        scorer = estimator(random_state=seed).fit(z_img, z_txt, labels, correct=correct)
        return scorer.decision_function(z_img[:200], z_txt)

    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002 - the legacy global state is what must not move
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one = score(3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    np.random.seed(8)  # noqa: NPY002
    np.testing.assert_array_equal(score(3), one)
    assert np.abs(score(4) - one).max() > 0


def test_images_on_disk_in_half_precision_give_the_same_model(digits, tmp_path):
    np.save(tmp_path / "images.npy", digits.z_img_fit.astype(np.float16))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    scorers = [
        estimator(logit_scale=digits.logit_scale).fit(images, digits.z_txt, digits.labels_fit)
        for images in (mapped, np.array(mapped).astype(np.float32))
    ]
    decisions = [scorer.decision_function(digits.z_img_test, digits.z_txt) for scorer in scorers]
    np.testing.assert_allclose(*decisions, atol=1e-6)


def test_data_read_in_chunks_and_weighed_on_a_sample_give_nearly_the_same_scores(crowd, monkeypatch):
    def fit():
        return estimator().fit(crowd.z_img, crowd.z_txt, crowd.labels)

    monkeypatch.setattr(kernel, "MAX_LANDMARKS", 200)
    whole = fit()
    expected = whole.decision_function(crowd.z_img, crowd.z_txt)
    monkeypatch.setattr(intake, "CHUNK_ELEMENTS", 300 * 16)
    np.testing.assert_allclose(fit().decision_function(crowd.z_img, crowd.z_txt), expected, atol=1e-4)
    monkeypatch.setattr(classes, "SAMPLE", 1200)
    sampled = fit()
    # The Gaussians saw all images; only the weights come from fewer of them.
    directions = [s.model_.known["class Gaussians"].directions for s in (whole, sampled)]
    shapes = [found / found.norm() for found in directions]
    torch.testing.assert_close(*shapes, rtol=0, atol=1e-3)
    decision = sampled.decision_function(crowd.z_img, crowd.z_txt)
    assert np.corrcoef(decision, expected)[0, 1] > 0.995


def test_weights_chosen_on_some_rows_are_nearly_those_of_all(crowd, monkeypatch):
    def decide():
        scorer = estimator().fit(crowd.z_img, crowd.z_txt, crowd.labels)
        return scorer.decision_function(crowd.z_img, crowd.z_txt)

    monkeypatch.setattr(kernel, "MAX_LANDMARKS", 200)
    expected = decide()
    monkeypatch.setattr(blend, "WEIGHT_ELEMENTS", 1000)
    assert np.corrcoef(decide(), expected)[0, 1] > 0.98


def test_more_classes_than_images_are_learned_from():
    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(1500, 8)).astype(np.float32)
    labels = rng.integers(1500, size=60)
    z_img = z_txt[labels] + 0.5 * rng.normal(size=(60, 8)).astype(np.float32)
    scorer = estimator().fit(z_img, z_txt, labels)
    assert np.isfinite(scorer.decision_function(z_img, z_txt)).all()


# --- persistence -----------------------------------------------------------------------------------


def test_every_kind_of_model_comes_back_from_a_folder(fitted_digits, digits, toy, tmp_path):
    captions = captions_of(toy)
    new = np.random.default_rng(3).normal(size=(7, 16))
    pairs = estimator().fit(toy.z_img, captions)
    scorers = {
        "classes": (fitted_digits, digits.z_img_test, digits.z_txt),
        "bits": (fit_digits(digits, correct=right_on_fit(digits)), digits.z_img_test, digits.z_txt),
        "kernel": (
            estimator().fit(np.tile(toy.z_img, (2, 1)), toy.z_txt, np.tile(toy.labels, 2)),
            toy.z_img,
            toy.z_txt,
        ),
        "captions": (pairs, toy.z_img, captions),
        "adapted": (estimator().adapt(toy.z_img, toy.z_txt, frequencies="balanced"), toy.z_img, toy.z_txt),
        "adapted twice": (
            estimator()
            .fit(toy.z_img, toy.z_txt, toy.labels)
            .adapt(toy.z_img, new)
            .adapt(toy.z_img[:300], toy.z_txt, toy.labels[:300]),
            toy.z_img,
            toy.z_txt,
        ),
        "adapted captions": (
            estimator().fit(toy.z_img[:300], captions[:300]).adapt(toy.z_img[300:500], captions[300:]),
            toy.z_img,
            captions,
        ),
    }
    for name, (scorer, z_img, z_txt) in scorers.items():
        scorer.save_pretrained(tmp_path / name)
        loaded = ViLUEstimator.from_pretrained(tmp_path / name)
        assert type(loaded.model_) is type(scorer.model_)
        for text in (z_txt, z_txt[::-1][:4]):
            # Up to the order of sums: a file stores no memory layout.
            np.testing.assert_allclose(
                loaded.decision_function(z_img, text),
                scorer.decision_function(z_img, text),
                rtol=1e-5,
                atol=1e-5,
                err_msg=name,
            )
        assert repr(loaded) == repr(scorer)


def test_more_classes_than_a_sample_has_images_for(monkeypatch):
    monkeypatch.setattr("vilu_sdk.scorers.posterior.classes.SAMPLE_ELEMENTS", 1)  # a sample of 1,000 images
    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(300, 4)).astype(np.float32)
    labels = rng.integers(300, size=1100)
    z_img = z_txt[labels] + 0.5 * rng.normal(size=(1100, 4)).astype(np.float32)
    scorer = ViLUEstimator(random_state=0).fit(z_img, z_txt, labels)
    assert np.isfinite(scorer.decision_function(z_img, z_txt)).all()


@pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.LabelWarning")
def test_toning_down_an_overconfident_base_is_no_gain_of_a_source(digits):
    drops = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rows = rng.permutation(len(digits.labels_fit))[:100]
        scorer = ViLUEstimator(logit_scale=100.0, random_state=0)
        scorer.fit(digits.z_img_fit[rows], digits.z_txt, rng.integers(10, size=100))
        wrong = scorer.predict(digits.z_img_test, digits.z_txt) != digits.labels_test
        arrays = digits.z_img_test, digits.z_txt
        mcm = MCMScorer(logit_scale=100.0).decision_function(*arrays)
        drops.append(roc_auc_score(wrong, mcm) - roc_auc_score(wrong, scorer.decision_function(*arrays)))
    assert max(drops) < 0.03


@pytest.mark.parametrize("k", [20, 50])
def test_one_image_of_each_class_makes_answers_no_worse(k):
    """Left out, its class is the only one without an image: intercepts would give it away."""
    right = []
    for seed in range(4):
        task = draw_task(2000, k, 64, 2.2, beside=1.0, random_state=seed)
        rows = np.unique(task.labels, return_index=True)[1]
        est = ViLUEstimator(logit_scale=30, random_state=0)
        est.fit(task.z_img[rows], task.z_txt, task.labels[rows])
        said = est.judge(task.z_img, task.z_txt)
        right.append([(found == task.labels).mean() for found in (said.prediction, said.answer)])
    zero_shot, answer = np.mean(right, axis=0)
    assert answer > zero_shot
