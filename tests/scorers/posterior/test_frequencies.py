"""How often classes occur among unlabelled images: given, equal or estimated."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from support.data import draw_task
from vilu_sdk import ViLUEstimator
from vilu_sdk.exceptions import NothingLearnedWarning
from vilu_sdk.inputs.candidates import open_candidates
from vilu_sdk.scorers.posterior.frequencies import check_frequencies, estimate, match

# Images lie beside their texts, so that labels teach the posterior what the texts do not say.
TASK = draw_task(n=3000, k=10, d=24, noise=2.4, beside=1.2)
FIT = TASK.z_img[:1000], TASK.z_txt, TASK.labels[:1000]
IMAGES, LABELS = TASK.z_img[1000:], TASK.labels[1000:]
PRESENT = LABELS < 3


def fitted(**params):
    return ViLUEstimator(logit_scale=10.0, random_state=0, **params).fit(*FIT)


def auc(scorer, rows):
    wrong = scorer.predict(IMAGES[rows], TASK.z_txt) != LABELS[rows]
    return roc_auc_score(wrong, scorer.decision_function(IMAGES[rows], TASK.z_txt))


def test_classes_that_do_not_occur_are_found_out():
    before = auc(fitted(), PRESENT)
    adapted = fitted().adapt(IMAGES[PRESENT], TASK.z_txt, frequencies="estimated")
    assert auc(adapted, PRESENT) > before + 0.02
    answers = adapted.judge(IMAGES[PRESENT], TASK.z_txt).answer
    plain = fitted().judge(IMAGES[PRESENT], TASK.z_txt).answer
    right, right_before = (np.mean(given == LABELS[PRESENT]) for given in (answers, plain))
    assert right > right_before + 0.02
    told = adapted.predict_proba(IMAGES[PRESENT], TASK.z_txt).mean(axis=0)
    assert told[:3].sum() > 0.95


def test_where_all_occur_it_declines_and_says_so():
    scorer, expected = fitted(), fitted().decision_function(IMAGES, TASK.z_txt)
    with pytest.warns(NothingLearnedWarning, match=r"leaves the frequencies .* as they are.* nats each"):
        scorer.adapt(IMAGES, TASK.z_txt, frequencies="estimated")
    np.testing.assert_allclose(scorer.decision_function(IMAGES, TASK.z_txt), expected, rtol=1e-5, atol=1e-5)


def test_frequencies_that_are_given_are_met():
    shares = np.bincount(LABELS[PRESENT], minlength=10)
    adapted = fitted().adapt(IMAGES[PRESENT], TASK.z_txt, frequencies=shares)
    told = adapted.predict_proba(IMAGES[PRESENT], TASK.z_txt).mean(axis=0)
    assert np.abs(told - shares / shares.sum()).max() < 0.05
    equal = [fitted().adapt(IMAGES, TASK.z_txt, frequencies=said) for said in ("balanced", np.ones(10))]
    np.testing.assert_allclose(*(one.decision_function(IMAGES, TASK.z_txt) for one in equal), rtol=1e-5)


def test_large_frequencies_do_not_overflow():
    given = open_candidates(np.eye(3))
    shares = check_frequencies([1e308, 1e308, 0], given)
    np.testing.assert_allclose(shares, [0.5, 0.5, 0])


def test_the_unit_of_frequencies_does_not_matter():
    one, other = (
        fitted().adapt(IMAGES, TASK.z_txt, frequencies=factor * np.arange(1, 11)) for factor in (1, 0.3)
    )
    np.testing.assert_allclose(
        one.decision_function(IMAGES, TASK.z_txt), other.decision_function(IMAGES, TASK.z_txt), rtol=1e-4
    )


def test_an_estimate_is_a_maximum_of_the_likelihood():
    """With a posterior that is exact, it finds the frequencies that the images were drawn with."""
    rng = np.random.default_rng(0)
    true = np.array([0.6, 0.3, 0.1, 0.0, 0.0])
    classes = rng.choice(5, size=20_000, p=true)
    x = 2.0 * np.eye(5)[classes] + rng.normal(size=(20_000, 5))
    q = torch.from_numpy(2.0 * x).float()  # of unit normals about twice the unit vectors
    b, gain = estimate(q)
    found = torch.softmax(q + b, dim=1).mean(dim=0).numpy()
    np.testing.assert_allclose(found, true, atol=0.02)
    assert gain > 0.2
    log_share, gain = estimate(q.new_zeros(50, 5))
    assert gain == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(log_share.exp(), torch.full((5,), 0.2, dtype=torch.float64))


def test_matched_shares_are_those_asked_for():
    q = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0)) * 2
    asked = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    shares = torch.softmax(q + match(q, asked), dim=1).mean(dim=0).double()
    torch.testing.assert_close(shares, asked, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ("equal", ValueError, "'balanced', 'estimated'"),
        (True, ValueError, "'balanced', 'estimated'"),
        (np.ones(9), ValueError, "9 entries for 10 candidates"),
        (np.zeros(10), ValueError, "zero everywhere"),
        (-np.ones(10), ValueError, "not negative"),
        (np.full(10, np.nan), ValueError, "finite|missing"),
    ],
)
def test_what_is_said_of_frequencies_is_checked(said, error, message):
    scorer = fitted()
    model = scorer.model_
    with pytest.raises(error, match=message):
        scorer.adapt(IMAGES, TASK.z_txt, frequencies=said)
    assert scorer.model_ is model
    with pytest.raises(TypeError, match="balanced"):
        scorer.adapt(IMAGES, TASK.z_txt, balanced=True)


def test_it_is_saved(tmp_path):
    adapted = fitted().adapt(IMAGES[PRESENT], TASK.z_txt, frequencies="estimated")
    adapted.save_pretrained(tmp_path)
    loaded = ViLUEstimator.from_pretrained(tmp_path)
    np.testing.assert_array_equal(
        loaded.decision_function(IMAGES, TASK.z_txt), adapted.decision_function(IMAGES, TASK.z_txt)
    )


def test_the_background_stays_as_likely_after_an_adaptation():
    scorer = fitted(unknown_rate=0.05)
    before = scorer.novelty(IMAGES[PRESENT], TASK.z_txt)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scorer.adapt(IMAGES[PRESENT], TASK.z_txt, frequencies="estimated")
    after = scorer.novelty(IMAGES[PRESENT], TASK.z_txt)
    shares = [np.mean(1 / (1 + np.exp(-values))) for values in (before, after)]
    assert shares[0] == pytest.approx(shares[1], rel=0.05)


def test_frequencies_with_names_are_found_by_name():
    names = [f"class {k}" for k in range(10)]
    named = dict(zip(names, TASK.z_txt, strict=True))
    shares = dict(zip(names, range(1, 11), strict=True))

    def adapted(frequencies, z_txt=named):
        return fitted().adapt(IMAGES, z_txt, frequencies=frequencies).decision_function(IMAGES, TASK.z_txt)

    expected = adapted(np.arange(1, 11))
    for given in (shares, dict(reversed(shares.items())), pd.Series(shares), pd.Series(shares)[::-1]):
        np.testing.assert_array_equal(adapted(given), expected)
    for given, z_txt, error, message in (
        ({**shares, "owl": 1}, named, ValueError, "'owl'.* not in z_txt_set"),
        ({"class 3": 1}, named, ValueError, "each of the 10 candidates once, got 1; it lacks"),
        (shares, TASK.z_txt, ValueError, "frequencies has names, but z_txt_set has none"),
        (dict(enumerate(range(1, 11))), named, TypeError, "the names of z_txt_set for keys"),
    ):
        with pytest.raises(error, match=message):
            adapted(given, z_txt)
