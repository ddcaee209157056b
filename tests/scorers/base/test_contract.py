"""What every scorer promises, whatever its method."""

import inspect
import pickle
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from support.all_scorers import CLASSES, EXAMPLES, fitted
from vilu_sdk import MCMScorer, SelectivePredictor, SetPredictor, TemperatureScaledMCMScorer
from vilu_sdk.inputs import rows as intake
from vilu_sdk.labels import find_label_issues
from vilu_sdk.selective import least_cost

FEW = slice(0, 40)
every_scorer = pytest.mark.parametrize("scorer", EXAMPLES)


@pytest.fixture(scope="module")
def fit_once(toy):
    """Fitted copies by representation, so that slow scorers are fitted once for all tests."""
    known = {}

    def get(scorer):
        key = repr(scorer)
        if key not in known:
            known[key] = fitted(scorer, toy)
        return known[key]

    return get


# --- scikit-learn ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", CLASSES)
def test_init_stores_what_it_is_given_and_nothing_else(cls):
    values = {name: object() for name in inspect.signature(cls).parameters}
    scorer = cls(**values)
    assert vars(scorer) == values
    assert scorer.get_params(deep=False) == values


@pytest.mark.parametrize("cls", CLASSES)
def test_every_parameter_has_a_default_and_the_scale_is_clips(cls):
    parameters = cls().get_params()
    assert parameters["logit_scale"] == 100.0
    assert parameters.get("random_state") is None


@every_scorer
def test_clone_repr_and_set_params(scorer, fit_once):
    copy = clone(fit_once(scorer))
    assert repr(copy) == repr(scorer)
    assert not [name for name in vars(copy) if name.endswith("_")]
    assert repr(scorer).startswith(f"{type(scorer).__name__}(")
    assert copy.set_params(logit_scale=7.0).logit_scale == 7.0


@every_scorer
def test_fit_returns_itself_and_keeps_its_parameters(scorer, toy):
    scorer = clone(scorer)
    before = repr(scorer)
    assert scorer.fit(toy.z_img, toy.z_txt, toy.labels) is scorer
    assert repr(scorer).startswith(before)  # then comes what it was fitted on
    assert scorer.n_features_in_ == 16
    check_is_fitted(scorer)


@every_scorer
def test_scoring_needs_a_fit_only_where_the_scorer_learns(scorer, toy):
    scorer = clone(scorer)
    np.testing.assert_array_equal(scorer.predict(toy.z_img, toy.z_txt).shape, (640,))
    for verb in (scorer.predict_uncertainty, scorer.decision_function):
        if scorer.learns:
            with pytest.raises(NotFittedError, match=type(scorer).__name__):
                verb(toy.z_img, toy.z_txt)
        else:
            verb(toy.z_img, toy.z_txt)


@every_scorer
def test_tags_say_what_a_scorer_needs(scorer, toy, fit_once):
    tags = get_tags(scorer)
    assert tags.estimator_type is None
    assert tags.requires_fit == scorer.learns
    assert tags.target_tags.required == scorer.fixed_candidates
    pairs = toy.z_img[:6], toy.z_txt
    if scorer.fixed_candidates:
        with pytest.raises(ValueError, match="captions"):
            clone(scorer).fit(*pairs)
        with pytest.raises(ValueError, match="z_txt_set has 5"):
            fit_once(scorer).decision_function(toy.z_img, toy.z_txt[:5])
    else:
        assert np.isfinite(fit_once(scorer).decision_function(toy.z_img, toy.z_txt[:5])).all()


@every_scorer
def test_a_row_of_zeros_is_no_error_where_there_are_no_texts(scorer, fit_once, toy):
    zeros = np.vstack([toy.z_img[:50], np.zeros((2, toy.z_img.shape[1]))])
    with pytest.raises(ValueError, match="all zero in row 50"):
        fit_once(scorer).predict_uncertainty(zeros, toy.z_txt)
    X, y = toy.z_img.copy(), toy.labels
    X[3] = 0
    bound = clone(scorer).bind(None).fit(X, y)
    u, decision = bound.predict_uncertainty(zeros), bound.rank_uncertainty(zeros)
    assert np.isfinite(decision).all()
    assert u[50] == u[51]
    assert bound.scorer_.softmax_scale > 0
    np.testing.assert_allclose(MCMScorer().bind(None).fit(X, y).predict_proba(zeros)[50], 1 / 6, rtol=1e-6)
    # Others are as if these were not there.
    np.testing.assert_allclose(bound.predict_uncertainty(toy.z_img[:50]), u[:50], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="all zero"):  # the door is closed again
        fit_once(scorer).predict_uncertainty(zeros, toy.z_txt)


@every_scorer
def test_weights_are_taken_as_the_scorer_says_and_refused_otherwise(scorer, toy):
    arguments = toy.z_img, toy.z_txt, toy.labels
    if scorer.takes_weights:
        clone(scorer).fit(*arguments, sample_weight=np.ones(640))
    else:
        error = ValueError if has_fit_parameter(scorer, "sample_weight") else TypeError
        with pytest.raises(error, match="sample_weight"):
            clone(scorer).fit(*arguments, sample_weight=np.ones(640))


@pytest.mark.parametrize("dump", [pickle, joblib], ids=["pickle", "joblib"])
@every_scorer
def test_pickles_hold_parameters_and_what_was_learned(scorer, dump, toy, fit_once, tmp_path):
    ready = fit_once(scorer)
    for one in (scorer, ready):
        with open(tmp_path / "scorer", "wb") as file:
            dump.dump(one, file)
        with open(tmp_path / "scorer", "rb") as file:
            again = dump.load(file)
        assert repr(again) == repr(one)
        assert again.__sklearn_is_fitted__() == one.__sklearn_is_fitted__()
    np.testing.assert_array_equal(
        again.decision_function(toy.z_img, toy.z_txt), ready.decision_function(toy.z_img, toy.z_txt)
    )


@every_scorer
def test_a_second_fit_forgets_the_first(scorer, toy, fit_once):
    rng = np.random.default_rng(5)
    z_txt, labels = rng.normal(size=(4, 12)), rng.integers(4, size=200)
    twice = clone(scorer).fit(z_txt[labels] + rng.normal(size=(200, 12)), z_txt, labels)
    twice.fit(toy.z_img, toy.z_txt, toy.labels)
    once = fit_once(scorer)
    assert twice.__getstate__().keys() == once.__getstate__().keys()
    np.testing.assert_array_equal(
        twice.decision_function(toy.z_img, toy.z_txt), once.decision_function(toy.z_img, toy.z_txt)
    )


# --- outputs ---------------------------------------------------------------------------------------


@every_scorer
def test_outputs(scorer, toy, fit_once):
    scorer = fit_once(scorer)
    uncertainty = scorer.predict_uncertainty(toy.z_img, toy.z_txt)
    decision = scorer.decision_function(toy.z_img, toy.z_txt)
    for out in (uncertainty, decision):
        assert isinstance(out, np.ndarray)
        assert out.shape == (640,)
        assert out.dtype == np.float64
        assert np.isfinite(out).all()
    assert len(np.unique(decision)) > 600
    order = np.argsort(decision, kind="stable")
    assert (np.diff(uncertainty[order]) >= 0).all()
    if scorer.is_probability:
        assert ((uncertainty >= 0) & (uncertainty <= 1)).all()


@every_scorer
def test_the_prediction_is_the_largest_cosine_for_every_scorer(scorer, toy, fit_once):
    predicted = fit_once(scorer).predict(toy.z_img, toy.z_txt)
    cosines = toy.z_img @ (toy.z_txt / np.linalg.norm(toy.z_txt, axis=1, keepdims=True)).T
    np.testing.assert_array_equal(predicted, cosines.argmax(axis=1))
    assert predicted.dtype == np.int64


@every_scorer
def test_one_image_scores_as_it_does_among_others(scorer, toy, fit_once):
    scorer = fit_once(scorer)
    alone = [scorer.decision_function(toy.z_img[[i]], toy.z_txt)[0] for i in range(5)]
    np.testing.assert_allclose(
        alone, scorer.decision_function(toy.z_img, toy.z_txt)[:5], rtol=1e-4, atol=1e-4
    )


@every_scorer
def test_scaling_rows_changes_nothing(scorer, toy, fit_once):
    scorer = fit_once(scorer)
    scale = np.random.default_rng(1).uniform(0.01, 100, size=(640, 1)).astype(np.float32)
    one = scorer.decision_function(toy.z_img, toy.z_txt)
    other = scorer.decision_function(toy.z_img * scale, toy.z_txt * scale[:6])
    np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-3)


@every_scorer
def test_images_of_norm_one_are_scored_where_they_are_and_stay_as_they_are(scorer, toy, fit_once):
    scorer = fit_once(scorer)
    unit = toy.z_img.astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    before = unit.copy()
    one = scorer.decision_function(unit, toy.z_txt)
    scorer.predict(unit, toy.z_txt)
    np.testing.assert_array_equal(unit, before)
    np.testing.assert_allclose(one, scorer.decision_function(2 * unit, toy.z_txt), rtol=1e-4, atol=1e-4)


@every_scorer
def test_permuting_candidates_changes_nothing(scorer, toy, fit_once):
    scorer = fit_once(scorer)
    order = np.random.default_rng(2).permutation(6)
    if scorer.fixed_candidates:  # permute those of the fit too
        permuted = clone(scorer).fit(toy.z_img, toy.z_txt[order], np.argsort(order)[toy.labels])
    else:
        permuted = scorer
    one = scorer.decision_function(toy.z_img, toy.z_txt)
    other = permuted.decision_function(toy.z_img, toy.z_txt[order])
    np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(
        order[permuted.predict(toy.z_img, toy.z_txt[order])], scorer.predict(toy.z_img, toy.z_txt)
    )


@every_scorer
def test_the_global_seeds_are_neither_read_nor_moved(scorer, toy):
    numpy_state, torch_state = pickle.dumps(check_random_state(None)), torch.random.get_rng_state()
    if "random_state" in scorer.get_params():
        fitted(clone(scorer).set_params(random_state=None), toy)
    one = fitted(scorer, toy).decision_function(toy.z_img[FEW], toy.z_txt)
    assert pickle.dumps(check_random_state(None)) == numpy_state
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    with torch.random.fork_rng():
        torch.manual_seed(1234)
        other = fitted(scorer, toy).decision_function(toy.z_img[FEW], toy.z_txt)
    np.testing.assert_array_equal(one, other)


@every_scorer
def test_chunks_leave_no_trace(scorer, toy, fit_once, monkeypatch):
    ready = fit_once(scorer)
    one = ready.decision_function(toy.z_img, toy.z_txt), ready.predict(toy.z_img, toy.z_txt)
    monkeypatch.setattr(intake, "CHUNK_ELEMENTS", 7 * 16)  # seven images, at most
    other = ready.decision_function(toy.z_img, toy.z_txt), ready.predict(toy.z_img, toy.z_txt)
    np.testing.assert_allclose(other[0], one[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(other[1], one[1])


def asked_for_posteriors(toy):
    """What is made of posteriors: sets of one scorer and of folds, with a threshold, least costs, issues."""
    mcm, half = MCMScorer(logit_scale=10.0), slice(0, 320)
    known = toy.z_img[half], toy.z_txt, toy.labels[half]
    yield SetPredictor(mcm, 0.8, method="aps").fit(*known)
    yield SetPredictor(SelectivePredictor(mcm, 0.1).fit(*known), 0.8).fit(*known)
    yield SetPredictor(TemperatureScaledMCMScorer(logit_scale=10.0), 0.8, cv=2).fit(*known)
    yield least_cost(mcm, toy.z_img, toy.z_txt, 1 - np.eye(len(toy.z_txt)), ask_cost=0.2).expected_cost
    yield find_label_issues(*known, scorer=mcm).score


def test_what_is_made_of_posteriors_is_the_same_in_small_parts(toy, monkeypatch):
    found = []
    for elements in (intake.CHUNK_ELEMENTS, 7 * 4 * len(toy.z_txt)):  # seven images, at most
        monkeypatch.setattr(intake, "CHUNK_ELEMENTS", elements)
        for made in asked_for_posteriors(toy):
            found.append(made.predict_sets(toy.z_img, toy.z_txt) if hasattr(made, "predict_sets") else made)
    for one, other in zip(found[:5], found[5:], strict=True):
        np.testing.assert_allclose(other.astype(float), one.astype(float), rtol=1e-5, atol=1e-5)


@every_scorer
def test_threads_may_share_a_fitted_scorer(scorer, toy, fit_once):
    ready = fit_once(scorer)
    parts = [slice(start, start + 80) for start in range(0, 640, 80)]

    def score(part):
        z = toy.z_img[part]
        verbs = ready.predict, ready.decision_function, ready.predict_uncertainty
        return [verb(z, toy.z_txt) for verb in verbs]

    expected = [score(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for got, want in zip(pool.map(score, parts), expected, strict=True):
                np.testing.assert_array_equal(got, want)


@every_scorer
def test_the_number_of_threads_changes_no_more_than_the_order_of_sums(scorer, toy):
    # On thousands of rows, which torch does split, the decision values of one scorer differ, by 1e-7.
    rows, before, scores = slice(0, 160), torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            one = clone(scorer).fit(toy.z_img[rows], toy.z_txt, toy.labels[rows])
            scores.append(one.decision_function(toy.z_img[rows], toy.z_txt))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-5, atol=1e-5)


# --- inputs ----------------------------------------------------------------------------------------


def memory_map(array, folder):
    file = folder / f"{len(array)}.npy"
    np.save(file, array.astype(np.float16))
    return np.load(file, mmap_mode="r")


KINDS = {
    "float64": lambda z, _: z.astype(np.float64),
    "float16": lambda z, _: z.astype(np.float16),
    "big-endian": lambda z, _: z.astype(">f4"),
    "fortran": lambda z, _: np.asfortranarray(z),
    "strided": lambda z, _: np.repeat(z, 2, axis=0)[::2],
    "reversed": lambda z, _: z[::-1].copy()[::-1],
    "list": lambda z, _: z.tolist(),
    "list of arrays": lambda z, _: list(z),
    "list of tensors": lambda z, _: list(torch.tensor(z)),
    "read-only": lambda z, _: np.frombuffer(z.tobytes(), dtype=z.dtype).reshape(z.shape),
    "memory map": memory_map,
    "torch": lambda z, _: torch.tensor(z),
    "bfloat16": lambda z, _: torch.tensor(z).bfloat16(),
    "float16 tensor": lambda z, _: torch.tensor(z).half(),
    "gradient": lambda z, _: torch.tensor(z, requires_grad=True) * 1.0,
    "pandas": lambda z, _: pd.DataFrame(z, columns=[f"e{i}" for i in range(z.shape[1])]),
    "polars": lambda z, _: pl.from_numpy(z),
}


@pytest.mark.parametrize("kind", KINDS)
@every_scorer
def test_every_kind_of_array_gives_the_same_scores(scorer, kind, toy, fit_once, tmp_path):
    scorer = fit_once(scorer)
    # Values that half precision holds, so that no kind may change anything but the order of sums.
    z_img = torch.tensor(toy.z_img[FEW]).bfloat16().float().numpy()
    z_txt = torch.tensor(toy.z_txt).bfloat16().float().numpy()
    convert = KINDS[kind]
    expected = scorer.decision_function(z_img, z_txt)
    np.testing.assert_allclose(
        scorer.decision_function(convert(z_img, tmp_path), convert(z_txt, tmp_path)),
        expected,
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("kind", ["list", "bfloat16", "memory map", "gradient"])
def test_fit_takes_every_kind_of_array_too(kind, toy, tmp_path):
    scorer = MCMScorer().fit(KINDS[kind](toy.z_img, tmp_path), toy.z_txt.tolist(), torch.tensor(toy.labels))
    assert scorer.n_features_in_ == 16


@every_scorer
def test_inputs_are_never_modified(scorer, toy):
    arrays = toy.z_img.copy(), toy.z_txt.copy(), toy.labels.copy()
    tensors = torch.tensor(toy.z_img), torch.tensor(toy.z_txt), torch.tensor(toy.labels)
    for given in (arrays, tensors):
        scorer = clone(scorer).fit(*given)
        scorer.predict_uncertainty(*given[:2])
        scorer.predict(*given[:2])
        for after, before in zip(given, (toy.z_img, toy.z_txt, toy.labels), strict=True):
            np.testing.assert_array_equal(np.asarray(after), before)


# --- bad inputs ------------------------------------------------------------------------------------


def changed(array, row, value):
    array = array.copy()
    array[row] = value
    return array


def bad_embeddings(z):
    return [
        (changed(z, (3, 1), np.nan), ValueError, "NaN, infinite .* in row 3"),
        (changed(z, (2, 0), np.inf), ValueError, "NaN, infinite .* in row 2"),
        (changed(z, 4, 0), ValueError, "all zero in row 4"),
        (torch.tensor(changed(z, (3, 1), np.nan)), ValueError, "row 3"),
        (z[0], ValueError, "two-dimensional"),
        (z[None], ValueError, "two-dimensional|z_img has 1 rows"),
        (z[:0], ValueError, "no rows"),
        (z[:, :0], ValueError, "width"),
        (z[:, :3], ValueError, "width"),
        ([[1.0, 2.0], [3.0]], ValueError, "different lengths"),
        (z > 0, TypeError, "real numbers"),
        (z.astype(complex), TypeError, "real numbers"),
        (z.astype(str), TypeError, "real numbers"),
        (None, TypeError, "real numbers"),
        ("embeddings.npy", TypeError, "real numbers"),
    ]


N_BAD = len(bad_embeddings(np.ones((6, 4))))


@pytest.mark.parametrize("case", range(N_BAD))
@every_scorer
def test_bad_embeddings_are_named(scorer, case, toy, fit_once):
    ready = fit_once(scorer)
    bad, error, message = bad_embeddings(toy.z_img[:6])[case]
    width = message == "width"  # which of the two is too narrow cannot be told, so either may be named
    for verb in (ready.predict, ready.decision_function, ready.predict_uncertainty):
        with pytest.raises(error, match="width" if width else f"z_img.*{message}"):
            verb(bad, toy.z_txt)
        with pytest.raises(error, match="width" if width else f"z_txt_set.*{message}"):
            verb(toy.z_img[:6], bad)
    with pytest.raises(error, match="width" if width else f"z_img.*{message}"):
        clone(scorer).fit(bad, toy.z_txt, toy.labels[:6])
    with pytest.raises(error, match="width" if width else f"z_txt.*{message}"):
        clone(scorer).fit(toy.z_img, bad, toy.labels)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (lambda y: y + 1, ValueError, r"labels must lie in \[0, 6\)"),
        (lambda y: y - 2, ValueError, r"labels must lie in \[0, 6\)"),
        (lambda y: y[:-1], ValueError, "labels has 639 entries but z_img has 640 rows"),
        (lambda y: y[:, None], ValueError, "labels must be one-dimensional"),
        (lambda y: y.astype(float), ValueError, "labels must be integers"),
        (lambda y: y > 2, ValueError, "labels must be integers"),
        (lambda y: y.astype(str), ValueError, "labels must be integers"),
        (lambda y: torch.tensor(y).double(), ValueError, "labels must be integers"),
    ],
)
@every_scorer
def test_bad_labels_are_named(scorer, labels, error, message, toy):
    with pytest.raises(error, match=message):
        clone(scorer).fit(toy.z_img, toy.z_txt, labels(toy.labels))


@every_scorer
def test_bad_feedback_is_named(scorer, toy):
    right = np.ones(640, dtype=bool)
    with pytest.raises(ValueError, match="labels and correct were both given"):
        clone(scorer).fit(toy.z_img, toy.z_txt, toy.labels, correct=right)
    with pytest.raises(ValueError, match="correct has 3 entries"):
        clone(scorer).fit(toy.z_img, toy.z_txt, correct=right[:3])
    with pytest.raises(ValueError, match="correct must be booleans"):
        clone(scorer).fit(toy.z_img, toy.z_txt, correct=toy.labels)
    with pytest.raises(ValueError, match="z_img has 640 rows and z_txt 6"):
        clone(scorer).fit(toy.z_img, toy.z_txt)


@every_scorer
def test_one_candidate_is_refused_where_nothing_can_be_compared(scorer, toy, fit_once):
    scorer = fit_once(scorer)
    if scorer.fixed_candidates or scorer.min_candidates > 1:
        with pytest.raises(ValueError, match="z_txt_set"):
            scorer.decision_function(toy.z_img, toy.z_txt[:1])
    else:
        assert np.isfinite(scorer.decision_function(toy.z_img, toy.z_txt[:1])).all()
    assert (scorer.predict(toy.z_img, toy.z_txt[:1]) == 0).all()


@pytest.mark.parametrize(
    ("scale", "error"),
    [
        (0, ValueError),
        (-1.0, ValueError),
        (np.inf, ValueError),
        (np.nan, ValueError),
        ("100", TypeError),
        (None, TypeError),
        (True, TypeError),
    ],
)
@every_scorer
def test_a_bad_logit_scale_is_named(scorer, scale, error, toy):
    scorer = clone(scorer).set_params(logit_scale=scale)
    with pytest.raises(error, match="logit_scale must be"):
        scorer.fit(toy.z_img, toy.z_txt, toy.labels).decision_function(toy.z_img, toy.z_txt)


@every_scorer
def test_images_of_another_model_are_refused_after_a_fit(scorer, toy, fit_once):
    with pytest.raises(ValueError, match="z_img has rows of width 4, expected 16"):
        fit_once(scorer).decision_function(np.ones((2, 4)), np.eye(4))
