"""The shift monitor: how often it cries wolf, and what it must see."""

import numpy as np
import pytest
from scipy.stats import binom, energy_distance
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from support.all_scorers import EXAMPLES
from support.paths import EMBEDDINGS
from vilu_sdk import MCMScorer, TemperatureScaledMCMScorer
from vilu_sdk.selective import ShiftMonitor


@pytest.fixture(scope="module")
def scorer(digits):
    return MCMScorer(logit_scale=digits.logit_scale)


@pytest.fixture(scope="module")
def monitor(digits, scorer):
    return ShiftMonitor(scorer, n_permutations=199, random_state=0).fit(digits.z_img_fit, digits.z_txt)


@pytest.fixture(scope="module")
def unmoved(digits, scorer):
    """Reports on images of the very population that the calibration set was drawn from."""
    everything = np.concatenate([digits.z_img_fit, digits.z_img_test])
    reports = []
    for seed in range(200):
        one, other = np.random.default_rng(seed).integers(len(everything), size=(2, 60))
        monitor = ShiftMonitor(scorer, 0.1, n_permutations=99, random_state=seed)
        reports.append(monitor.fit(everything[one], digits.z_txt).check(everything[other]))
    return reports


def test_false_alarms_are_as_rare_as_promised(unmoved):
    for alarm in ("scores_moved", "embeddings_moved"):
        assert sum(getattr(report, alarm) for report in unmoved) <= binom.ppf(0.999, 200, 0.05)
    assert sum(report.moved for report in unmoved) <= binom.ppf(0.999, 200, 0.1)
    assert sum(report.moved for report in unmoved) > 3  # not by never raising one


def test_p_values_of_the_embeddings_are_uniform_where_nothing_moved(unmoved):
    p = np.array([report.embedding_p_value for report in unmoved])
    for level in (0.2, 0.5, 0.8):
        low, high = binom.interval(0.999, 200, level)
        assert low <= (p <= level).sum() <= high


def draw_stream(rng, texts, n, frame, share):
    """Images of which a share is one and the same frame."""
    images = texts[rng.integers(len(texts), size=n)] + 3.0 * rng.normal(size=(n, texts.shape[1]))
    images[rng.random(n) < share] = frame
    return images.astype(np.float32)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("draws", [pytest.param(500, marks=pytest.mark.slow), 40])
def test_a_frame_that_repeats_raises_no_more_alarms(draws, share):
    rng = np.random.default_rng(2)
    texts = rng.normal(size=(20, 64)).astype(np.float32)
    mcm = MCMScorer(logit_scale=20.0)
    alarms = np.zeros((2, 2), dtype=int)
    for seed in range(draws):
        frame = 2 * texts.mean(axis=0) + rng.normal(size=64)
        images = draw_stream(rng, texts, 160, frame, share)
        monitor = ShiftMonitor(mcm, 0.1, n_permutations=39, random_state=seed).fit(images[:80], texts)
        for way in range(2):
            report = monitor.check(images[80:])
            alarms[way] += report.scores_moved, report.embeddings_moved
            alone = [mcm.decision_function(image[None], texts) for image in images[:80]]
            monitor.decision_ = np.concatenate(alone)  # as a service would have scored them
    assert (alarms <= binom.ppf(0.999, draws, 0.05)).all()


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_the_same_images_are_as_they_were_with_any_scorer(scorer, toy):
    texts = 3.0 * np.asarray(toy.z_txt)  # of norms that are not 1
    used = clone(scorer).fit(toy.z_img[:400], texts, toy.labels[:400])
    stream = np.array(toy.z_img[400:520])
    stream[np.random.default_rng(0).random(120) < 0.4] = toy.z_img[520]
    monitor = ShiftMonitor(used, n_permutations=99, random_state=0).fit(stream, texts)
    report = monitor.check(np.concatenate([stream[60:], stream[:60]]))
    assert report.score_distance == pytest.approx(0, abs=1e-9)
    assert report.more_uncertain == pytest.approx(0.5, abs=1e-9)
    assert report.embedding_distance == pytest.approx(0, abs=1e-9)
    pieces = [used.decision_function(part, monitor.candidates_) for part in np.array_split(stream, 40)]
    monitor.decision_ = np.concatenate(pieces)
    assert monitor.check(stream).score_distance == pytest.approx(0, abs=1e-9)


def test_a_frame_that_becomes_more_frequent_is_seen():
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(20, 64)).astype(np.float32)
    frame = 2 * texts.mean(axis=0) + rng.normal(size=64)
    one, other = (draw_stream(rng, texts, 300, frame, share) for share in (0.1, 0.4))
    report = ShiftMonitor(MCMScorer(logit_scale=20.0), random_state=0).fit(one, texts).check(other)
    assert report.scores_moved
    assert report.embeddings_moved


@pytest.mark.parametrize("kind", ["classes", "noise", "rotation"])
def test_what_has_moved_is_seen(digits, monitor, kind):
    rng = np.random.default_rng(0)
    z = digits.z_img_test[:300]
    streams = {
        "classes": digits.z_img_test[np.isin(digits.labels_test, (1, 3, 9))],
        "noise": z + 0.1 * rng.normal(size=z.shape),
        "rotation": z @ np.linalg.qr(rng.normal(size=(32, 32)))[0],
    }
    report = monitor.check(streams[kind])
    assert report.moved
    assert report.embeddings_moved
    assert report.embedding_p_value <= 0.01
    assert "not like the calibration set" in str(report)


def test_the_effect_says_whether_it_got_harder(digits, monitor, scorer):
    decision = scorer.decision_function(digits.z_img_test, digits.z_txt)
    order = np.argsort(decision)
    easy, hard = (monitor.check(digits.z_img_test[rows]) for rows in (order[:200], order[-200:]))
    assert easy.scores_moved
    assert hard.scores_moved
    assert easy.more_uncertain < 0.2 < 0.8 < hard.more_uncertain
    assert hard.score_distance > 0.5


def test_the_same_images_have_not_moved(digits, monitor):
    report = monitor.check(digits.z_img_fit)
    assert not report.moved
    assert report.score_distance < 0.01
    assert report.more_uncertain == pytest.approx(0.5, abs=1e-3)
    assert report.embedding_distance == pytest.approx(0, abs=1e-5)
    assert "No sign" in str(report)


def test_the_energy_distance_is_scipys_in_one_dimension():
    """Embeddings on a short arc, where the Euclidean distance is that of the angles."""
    rng = np.random.default_rng(0)
    one, other = 1e-3 * rng.normal(size=80), 1e-3 * rng.normal(1.0, 1.0, size=60)

    def arc(a):
        return np.column_stack([np.cos(a), np.sin(a)]).astype(np.float64)

    monitor = ShiftMonitor(MCMScorer(), n_permutations=99).fit(arc(one), np.eye(2))
    between = 2 * np.abs(other[:, None] - one[None]).mean()
    expected = energy_distance(one, other) ** 2 / between
    assert monitor.check(arc(other)).embedding_distance == pytest.approx(expected, rel=0.02)


def test_conventions(digits, monitor, scorer, tmp_path):
    assert repr(clone(monitor)) == repr(monitor)
    with pytest.raises(NotFittedError):
        ShiftMonitor(scorer).check(digits.z_img_test)
    monitor.save_pretrained(tmp_path)
    again = ShiftMonitor.from_pretrained(tmp_path)
    assert again.check(digits.z_img_test) == monitor.check(digits.z_img_test)


def test_large_sets_are_thinned(digits, scorer):
    monitor = ShiftMonitor(scorer, max_images=50, n_permutations=99, random_state=0)
    monitor.fit(digits.z_img_fit, digits.z_txt)
    assert monitor.images_.shape == (50, 32)
    report = monitor.check(digits.z_img_test)
    assert (report.n, report.n_reference) == (799, 798)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"alpha": 0.0}, ValueError, "alpha must be"),
        ({"alpha": 0.001}, ValueError, "n_permutations=499 can never raise an alarm .* at least 1999"),
        ({"max_images": 1}, ValueError, "max_images must be"),
        ({"scorer": "mcm"}, TypeError, "scorer must be a scorer"),
    ],
)
def test_bad_parameters_are_named_at_fit(params, error, message, digits, scorer):
    with pytest.raises(error, match=message):
        ShiftMonitor(**({"scorer": scorer} | params)).fit(digits.z_img_fit, digits.z_txt)


def test_bad_images_are_named(digits, monitor):
    with pytest.raises(ValueError, match="z_img has rows of width 31, expected 32"):
        monitor.check(digits.z_img_test[:, :31])
    with pytest.raises(NotFittedError):
        ShiftMonitor(TemperatureScaledMCMScorer()).fit(digits.z_img_fit, digits.z_txt)


@pytest.mark.real
@pytest.mark.skipif(not EMBEDDINGS.is_dir(), reason="no real embeddings beside the project")
def test_real_textures_are_no_cars():
    dtd, cars = (np.load(EMBEDDINGS / f"{name}.npz") for name in ("dtd", "stanford_cars"))
    monitor = ShiftMonitor(MCMScorer(), random_state=0).fit(dtd["z_img_test"][::2], dtd["z_txt"])
    assert not monitor.check(dtd["z_img_test"][1::2]).moved
    assert monitor.check(cars["z_img_test"][:50]).embeddings_moved
    skewed = dtd["z_img_test"][dtd["labels_test"] < 24]
    assert monitor.check(skewed[:200]).embeddings_moved
