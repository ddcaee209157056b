"""Wrong labels are found, each judged without what it says itself."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from support.all_scorers import EXAMPLES
from support.paths import EMBEDDINGS
from vilu_sdk import CalibratedScorer, LVUScorer, MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.exceptions import NothingLearnedWarning, RepeatedImagesWarning
from vilu_sdk.inputs.task import check_task
from vilu_sdk.labels import LabelIssues, find_label_issues
from vilu_sdk.scorers.base.folds import fits_without
from vilu_sdk.scorers.posterior import classes
from vilu_sdk.scorers.posterior.left_out import left_out


def move_labels(labels, logits, share=0.1, seed=0):
    """Move a share of the labels to another class, half of them to the likeliest other one."""
    rng = np.random.default_rng(seed)
    n, k = logits.shape
    given = labels.copy()
    likely, any_other = np.array_split(rng.permutation(n)[: round(share * n)], 2)
    others = logits[likely].copy()
    others[np.arange(len(likely)), labels[likely]] = -np.inf
    given[likely] = others.argmax(axis=1)
    given[any_other] = (labels[any_other] + rng.integers(1, k, size=len(any_other))) % k
    return given


def found(issues, labels):
    wrong = issues.label != labels
    return roc_auc_score(wrong, issues.score), average_precision_score(wrong, issues.score)


def log_probabilities(task, seed=0, scale=100.0):
    values = np.full((len(task.images), len(task.texts)), np.nan)
    for rows, part in left_out(task, scale, torch.Generator().manual_seed(seed)):
        assert np.isnan(values[rows]).all()
        values[rows] = part
    assert np.isfinite(values).all()
    return values


@pytest.fixture(scope="module")
def moved(digits):
    """The digits with a tenth of the labels moved."""
    mcm = MCMScorer(logit_scale=digits.logit_scale)
    return move_labels(digits.labels_fit, mcm.predict_log_proba(digits.z_img_fit, digits.z_txt))


@pytest.fixture(scope="module")
def issues(digits, moved):
    est = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    return find_label_issues(digits.z_img_fit, digits.z_txt, moved, scorer=est, names=digits.class_names)


# --- what is found ---------------------------------------------------------------------------------


def test_moved_labels_of_digits_are_found_and_put_right(issues, digits):
    auc, precision = found(issues, digits.labels_fit)
    assert auc > 0.97
    assert precision > 0.9
    wrong = issues.label != digits.labels_fit
    assert (issues.suggested == digits.labels_fit)[wrong].mean() > 0.9
    assert (issues.suggested == issues.label)[~wrong].mean() > 0.95


def test_arrays_fit_together(issues):
    n = len(issues)
    assert sorted(issues.rank) == list(range(1, n + 1))
    assert (np.diff(issues.score[np.argsort(issues.rank)]) <= 0).all()
    kept = issues.suggested == issues.label
    np.testing.assert_array_equal(kept, issues.score <= 0)
    np.testing.assert_array_equal(issues.suggested_probability[kept], issues.label_probability[kept])
    odds = np.log(issues.suggested_probability / issues.label_probability)
    np.testing.assert_allclose(odds[~kept], issues.score[~kept], rtol=1e-6)
    assert ((issues.label_probability >= 0) & (issues.suggested_probability <= 1)).all()


@pytest.mark.real
@pytest.mark.skipif(not EMBEDDINGS.is_dir(), reason="no real embeddings beside the project")
@pytest.mark.parametrize(
    ("name", "auc", "precision"),
    [("dtd", 0.92, 0.70), ("stanford_cars", 0.95, 0.81), ("imagenet", 0.88, 0.66)],
)
def test_moved_labels_of_real_sets_are_found(name, auc, precision):
    """At least as well as five folds of the posterior found them when this was planned."""
    data = np.load(EMBEDDINGS / f"{name}.npz")
    z_img, z_txt, labels = data["z_img_train"], data["z_txt"], data["labels_train"].astype(np.int64)
    given = move_labels(labels, MCMScorer().predict_log_proba(z_img, z_txt))
    reached = found(find_label_issues(z_img, z_txt, given), labels)
    assert reached[0] >= auc
    assert reached[1] >= precision


# --- left out --------------------------------------------------------------------------------------


def test_no_label_speaks_for_itself(beside):
    """A label that is changed changes what is said of its image as it does that of others, and no more."""
    n = 160
    z_img, z_txt, labels = beside.z_img[:n], beside.z_txt, beside.labels[:n]
    est = ViLUEstimator(random_state=0, logit_scale=10)

    def without(known):
        return log_probabilities(check_task(z_img, z_txt, known), scale=10)

    def fitted(known):
        return est.fit(z_img, z_txt, known).predict_log_proba(z_img, z_txt)

    before = {said: said(labels) for said in (without, fitted)}
    gains = []
    for row in range(0, n, 10):
        flipped = labels.copy()
        flipped[row] = (labels[row] + 1) % 6
        moves = {said: said(flipped) - before[said] for said in before}
        at = row, flipped[row]
        alike = np.argsort(np.abs(before[without] - before[without][at]), axis=None)[1:30]
        by_the_way = moves[without].ravel()[alike].mean()  # through weights and calibration
        gains.append([moves[said][at] - by_the_way for said in moves])
    left_out_gain, fitted_gain = np.mean(gains, axis=0)
    assert abs(left_out_gain) < 0.1
    assert fitted_gain > 0.3  # a fit believes what it was told


def test_one_fit_says_what_folds_say(digits, moved, issues):
    est = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    task = check_task(digits.z_img_fit, digits.z_txt, moved)
    said = np.empty(len(moved))
    for held, fold in fits_without(est, task, moved, 10, 0):
        values = fold.predict_log_proba(digits.z_img_fit[held], digits.z_txt)
        said[held] = values[np.arange(len(held)), moved[held]]
    assert np.corrcoef(said, np.log(issues.label_probability))[0, 1] > 0.95


def test_more_rows_than_memory_holds_are_taken_in_parts(digits, moved, issues, monkeypatch):
    monkeypatch.setattr(classes, "SAMPLE", 600)
    est = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    parts = find_label_issues(digits.z_img_fit, digits.z_txt, moved, scorer=est)
    assert not np.array_equal(parts.score, issues.score)
    auc, precision = found(parts, digits.labels_fit)
    assert auc > 0.97
    assert precision > 0.9


@pytest.mark.parametrize("sample", [25_000, 500])
def test_copies_of_an_image_are_judged_together(sample, beside, monkeypatch):
    monkeypatch.setattr(classes, "SAMPLE", sample)
    n = len(beside.labels)
    rows = np.random.default_rng(0).permutation(np.r_[np.arange(n), np.arange(0, n, 3)])
    labels = beside.labels.copy()
    labels[:5] = (labels[:5] + 1) % 6
    said = log_probabilities(check_task(beside.z_img[rows], beside.z_txt, labels[rows]))
    for row in range(0, n, 3):
        first, second = np.flatnonzero(rows == row)
        np.testing.assert_array_equal(said[first], said[second])
    twice = np.r_[np.arange(n), np.arange(n)]
    both = np.r_[beside.labels, (beside.labels + 1) % 6]  # an image with two labels supports neither
    issues = find_label_issues(beside.z_img[twice], beside.z_txt, both)
    assert found(issues, beside.labels[twice])[0] > 0.9


def test_views_of_one_image_do_not_vouch_for_each_other(beside):
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(200), 4)
    z_img = beside.z_img[rows] + 0.05 * rng.normal(size=(800, 16)).astype(np.float32)
    labels = move_labels(beside.labels[:200], beside.z_img[:200] @ beside.z_txt.T)[rows]
    together = found(find_label_issues(z_img, beside.z_txt, labels, groups=rows), beside.labels[rows])[0]
    with pytest.warns(RepeatedImagesWarning):
        apart = found(find_label_issues(z_img, beside.z_txt, labels), beside.labels[rows])[0]
    assert together > apart + 0.05


def test_groups_that_a_fit_does_not_read_whole_are_judged_by_folds(beside):
    labels = move_labels(beside.labels, beside.z_img @ beside.z_txt.T)
    groups = np.minimum(np.arange(len(labels)), 340)  # 300 rows of one video
    issues = find_label_issues(beside.z_img, beside.z_txt, labels, groups=groups)
    assert found(issues, beside.labels)[0] > 0.8


def test_too_few_images_are_judged_by_the_texts(toy):
    with pytest.warns(NothingLearnedWarning, match="learned nothing"):
        issues = find_label_issues(toy.z_img[:8], toy.z_txt, toy.labels[:8])
    expected = MCMScorer().predict_proba(toy.z_img[:8], toy.z_txt)[np.arange(8), toy.labels[:8]]
    np.testing.assert_allclose(issues.label_probability, expected, rtol=1e-4)


# --- other scorers ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.ViLUWarning")
@pytest.mark.parametrize("scorer", EXAMPLES)
def test_every_scorer_with_a_posterior_can_judge(scorer, toy):
    z_img, labels = toy.z_img[:200], toy.labels[:200]
    if not hasattr(scorer, "predict_proba"):
        with pytest.raises(TypeError, match=f"{type(scorer).__name__} has no predict_proba"):
            find_label_issues(z_img, toy.z_txt, labels, scorer=scorer)
        return
    given = move_labels(labels, z_img @ toy.z_txt.T)
    issues = find_label_issues(z_img, toy.z_txt, given, scorer=scorer)
    assert found(issues, labels)[0] > 0.5
    assert not hasattr(scorer, "n_features_in_")


def test_what_learns_nothing_says_what_it_says_anyway(toy):
    issues = find_label_issues(toy.z_img, toy.z_txt, toy.labels, scorer=MCMScorer(logit_scale=10))
    said = MCMScorer(logit_scale=10).predict_proba(toy.z_img, toy.z_txt)
    np.testing.assert_allclose(issues.label_probability, said[np.arange(640), toy.labels], rtol=1e-5)
    np.testing.assert_array_equal(issues.suggested, said.argmax(axis=1))


@pytest.mark.parametrize("k", [2, 6])
def test_rankings_beside_those_of_confident_learning(k, toy):
    """Northcutt et al. rank by self-confidence, or by its margin to the likeliest other class."""
    rows = toy.labels < k
    z_img, z_txt, labels = toy.z_img[rows], toy.z_txt[:k], toy.labels[rows]
    given = move_labels(labels, z_img @ z_txt.T)
    said = MCMScorer(logit_scale=10).predict_proba(z_img, z_txt)
    at = np.arange(len(given)), given
    confidence = said[at]
    rest = said.copy()
    rest[at] = -1
    margin = confidence - rest.max(axis=1)
    issues = find_label_issues(z_img, z_txt, given, scorer=MCMScorer(logit_scale=10))
    np.testing.assert_allclose(issues.score, np.log(rest.max(axis=1) / confidence), atol=1e-4)
    np.testing.assert_array_equal(issues.score > 0, margin < 0)
    if k == 2:  # where all three are one
        assert np.array_equal(np.argsort(issues.rank), np.argsort(margin, kind="stable"))
    else:
        wrong = given != labels
        for peer in (confidence, margin):
            assert found(issues, labels)[0] > roc_auc_score(wrong, -peer) - 0.01


def test_calibrated_and_published_recipes_are_folded(toy):
    for scorer in (
        CalibratedScorer(ViLUEstimator(random_state=0), random_state=0),
        ViLUEstimator(PaperRecipe(epochs=1, hidden=(4,)), random_state=0),
    ):
        assert len(find_label_issues(toy.z_img[:60], toy.z_txt, toy.labels[:60], scorer=scorer)) == 60


class Odd(MCMScorer):
    """Returns what no posterior is."""

    def predict_proba(self, z_img, z_txt_set):
        return self.broken(super().predict_proba(z_img, z_txt_set))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda p: p[:, 1:], "must have shape"),
        (lambda p: 2 * p, "rows of probabilities"),
        (lambda p: p - 1, "rows of probabilities"),
        (lambda p: np.nan * p, "rows of probabilities"),
    ],
)
def test_what_is_no_posterior_is_refused(broken, message, toy):
    scorer = Odd()
    type(scorer).broken = staticmethod(broken)
    with pytest.raises(
        ValueError, match=f"predict_proba of Odd must have {message.removeprefix('must have ')}"
    ):
        find_label_issues(toy.z_img, toy.z_txt, toy.labels, scorer=scorer)


# --- what a user sees ------------------------------------------------------------------------------


def test_tables_name_the_worst(issues, digits):
    rows = issues.to_dicts()
    assert [row["image"] for row in rows] == list(range(len(issues)))
    worst = issues.worst(3)
    assert [row["rank"] for row in worst] == [1, 2, 3]
    assert worst[0] == rows[int(np.argmax(issues.score))]
    assert worst[0]["label"] in digits.class_names
    text = str(issues).splitlines()
    assert text[0] == f"{(issues.score > 0).sum()} of 798 labels are not the likeliest candidate"
    assert text[1].split() == ["image", "label", "suggested", "p(label)", "p(suggested)", "score"]
    assert len(text) == 22
    assert text[2].split()[:3] == [str(worst[0]["image"]), worst[0]["label"], worst[0]["suggested"]]
    frame = issues.to_pandas()
    np.testing.assert_array_equal(frame["score"], issues.score)
    np.testing.assert_array_equal(frame["rank"], issues.rank)


def test_suspects_are_left_out_of_a_fit(issues, digits, moved):
    assert (~issues.keep(share=0.1)).sum() == 80
    assert issues.rank[~issues.keep(share=0.1)].max() == 80
    assert issues.keep(share=0).all()
    keep = issues.keep(threshold=0)
    np.testing.assert_array_equal(keep, issues.suggested == issues.label)
    answers = []
    for rows in (np.full(len(moved), True), keep):
        est = ViLUEstimator(predicts="posterior", logit_scale=digits.logit_scale, random_state=0)
        est.fit(digits.z_img_fit[rows], digits.z_txt, moved[rows])
        answers.append((est.predict(digits.z_img_test, digits.z_txt) == digits.labels_test).mean())
    assert answers[1] > answers[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of share"),
        ({"share": 0.1, "threshold": 0.0}, "one of share"),
        ({"share": 1.0}, "share must be at least 0 and below 1, got 1.0"),
        ({"share": -0.1}, "share must be"),
        ({"share": float("nan")}, "share must be"),
        ({"threshold": float("nan")}, "threshold must be a number"),
    ],
)
def test_keep_says_what_is_wrong(options, message, issues):
    with pytest.raises(ValueError, match=message):
        issues.keep(**options)


@pytest.mark.parametrize("labels", [None, [True] * 640, np.ones(640, bool)])
def test_captions_and_feedback_are_refused(labels, toy):
    with pytest.raises(ValueError, match="name no class that could be wrong"):
        find_label_issues(toy.z_img, toy.z_txt, labels)


def test_arguments_are_checked(toy):
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 6\)"):
        find_label_issues(toy.z_img, toy.z_txt, toy.labels + 1)
    with pytest.raises(ValueError, match="needs at least 2"):
        find_label_issues(toy.z_img, toy.z_txt[:1], 0 * toy.labels)
    with pytest.raises(ValueError, match="names has 1 entries but z_txt has 6 rows"):
        find_label_issues(toy.z_img, toy.z_txt, toy.labels, names=["cat"])
    with pytest.raises(TypeError, match=r"pass LVUScorer\(\)"):
        find_label_issues(toy.z_img, toy.z_txt, toy.labels, scorer=LVUScorer)
    with pytest.raises(ValueError, match="single row, or one group"):
        find_label_issues(toy.z_img[:1], toy.z_txt, toy.labels[:1], scorer=MCMScorer())


def test_it_is_the_same_again_and_leaves_its_inputs_alone(digits, moved, issues):
    before = digits.z_img_fit.copy(), moved.copy()
    est = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    again = find_label_issues(torch.tensor(digits.z_img_fit), digits.z_txt.tolist(), list(moved), scorer=est)
    assert isinstance(again, LabelIssues)
    np.testing.assert_array_equal(again.score, issues.score)
    np.testing.assert_array_equal(digits.z_img_fit, before[0])
    np.testing.assert_array_equal(moved, before[1])
