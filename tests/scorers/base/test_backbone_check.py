import copy
import pickle
import threading
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from support.all_scorers import CLASSES
from support.paths import EMBEDDINGS
from vilu_sdk import MCMScorer, RelUScorer, ViLUEstimator
from vilu_sdk.exceptions import BackboneWarning, NothingLearnedWarning
from vilu_sdk.inputs.candidates import Candidates
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.scorers import Card
from vilu_sdk.scorers.base.backbone_check import SAMPLE, EmbeddingStatistics, MeanDirection

# Labels mean nothing here.
pytestmark = pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.LabelWarning")

MESSAGE = "seems to be given embeddings of another model"


class Model:
    """A made-up model: images and texts in two narrow mean directions, as those of CLIP-like models lie."""

    def __init__(self, seed: int, d: int = 64) -> None:
        self.rng = np.random.default_rng(seed)
        self.axes = np.eye(d)[2 * seed : 2 * seed + 2]
        self.d = d

    def embed(self, side: int, n: int) -> np.ndarray:
        return 1.5 * self.axes[side] + self.rng.normal(size=(n, self.d)) / self.d**0.5

    def images(self, n: int = 60) -> np.ndarray:
        return self.embed(0, n)

    def texts(self, k: int = 6) -> np.ndarray:
        return self.embed(1, k)


def fit(scorer=None, model=None):
    model = model or Model(0)
    labels = np.arange(60) % 6
    return (scorer or RelUScorer(logit_scale=10.0)).fit(model.images(), model.texts(), labels)


def warned(action, *arguments) -> int:
    """Count the warnings of an action."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action(*arguments)
    assert all(MESSAGE in str(warning.message) for warning in caught)
    assert all(warning.category is BackboneWarning for warning in caught)
    return len(caught)


def learners() -> list[object]:
    few = {"LVUScorer": {"epochs": 1}, "ProbVLMScorer": {"epochs": 1, "hidden": 8}}
    return [cls(**few.get(cls.__name__, {})) for cls in CLASSES if cls.learns and not cls.fixed_candidates]


@pytest.mark.parametrize("scorer", learners(), ids=lambda scorer: type(scorer).__name__)
def test_every_scorer_that_learns_warns_of_another_model_and_of_no_other_set_of_its_own(scorer):
    own, other = Model(0), Model(1)
    scorer = fit(scorer, own)
    for n, k in [(60, 9), (10, 2), (1, 2)]:
        assert warned(scorer.decision_function, own.images(n), own.texts(k)) == 0
    assert warned(scorer.predict_uncertainty, other.images(), other.texts()) == 1
    assert warned(scorer.predict_uncertainty, other.images(), other.texts()) == 0


def test_scorers_that_learn_nothing_have_seen_nothing():
    other = Model(1)
    scorer = fit(MCMScorer())
    assert not hasattr(scorer, "seen_")
    assert warned(scorer.decision_function, other.images(), other.texts()) == 0


def test_it_tells_what_it_saw_and_what_it_got():
    other = Model(1)
    with pytest.warns(
        UserWarning, match=r"RelUScorer .* mean cosine of 0\.8\d .* these have -?0\.[01]\d .* texts"
    ):
        fit().decision_function(other.images(), other.texts())
    own = Model(0)
    with pytest.warns(UserWarning, match=r"z_img looks like the texts .* Pass the images first"):
        fit().decision_function(own.texts(), own.images(6))


def test_one_side_of_another_model_is_told_from_ten_rows_on():
    own, other = Model(0), Model(1)
    for rows, expected in [(10, 1), (3, 0)]:
        assert warned(fit().decision_function, other.images(rows), own.texts()) == expected
    scorer = fit(ViLUEstimator(logit_scale=10.0))
    assert warned(scorer.decision_function, own.images(), other.texts(12)) == 1


def test_copies_warn_anew_and_clones_have_seen_nothing(tmp_path):
    other = Model(1)
    arguments = other.images(), other.texts()
    scorer = fit()
    scorer.save_pretrained(tmp_path)
    copies = copy.deepcopy(scorer), pickle.loads(pickle.dumps(scorer)), RelUScorer.from_pretrained(tmp_path)
    for copied in (scorer, *copies):
        assert warned(copied.decision_function, *arguments) == 1
        assert warned(copied.decision_function, *arguments) == 0
    assert not hasattr(clone(scorer), "seen_")
    assert warned(fit(scorer, other).decision_function, *arguments) == 0  # fitted again: now its own model
    assert warned(scorer.decision_function, Model(2).images(), Model(2).texts()) == 1


def test_threads_warn_once_together():
    other = Model(1)
    arguments = other.images(), other.texts()
    for _ in range(10):
        scorer, start = fit(), threading.Barrier(8)

        def score(scorer=scorer, start=start) -> None:
            start.wait()
            scorer.decision_function(*arguments)

        threads = [threading.Thread(target=score) for _ in range(8)]

        def run(threads=threads) -> None:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert warned(run) == 1


def test_adapt_compares_and_then_remembers_the_new_domain():
    own, other = Model(0), Model(1)
    scorer = fit(ViLUEstimator(logit_scale=10.0), own)
    scorer.card_ = Card(dataset="own")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scorer.adapt(other.images(), other.texts())  # among which one text is the nearest of most
    assert [warning.category for warning in caught] == [BackboneWarning, NothingLearnedWarning]
    assert scorer.card_ == Card()
    assert warned(scorer.explain, other.images(2), other.texts()) == 0
    assert warned(scorer.explain, own.images(2), own.texts()) == 1


def test_a_fit_forgets_the_card_of_another(tmp_path):
    fit().save_pretrained(tmp_path, card=Card(dataset="own"))
    scorer = RelUScorer.from_pretrained(tmp_path)
    assert scorer.card_.dataset == "own"
    assert fit(scorer).card_ == Card()


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(2, 600), st.integers(2, 8))
def test_random_directions_are_no_cone(seed, d, n, k):
    """Random toy data never warns: neither spread over all directions nor in a few clusters of them."""
    rng = np.random.default_rng(seed)
    centres, others = rng.normal(size=(2, k, d))
    z = centres[rng.integers(k, size=n)] + 0.3 * rng.normal(size=(n, d))
    far = others[rng.integers(k, size=n)] + 0.3 * rng.normal(size=(n, d))
    seen = EmbeddingStatistics.of(Rows(z, "z"), Rows(centres, "t"))
    assert seen.mismatch(Rows(far, "z"), Candidates(others)) is None


def test_a_cone_is_the_mean_of_an_even_sample():
    rows = np.random.default_rng(0).normal(size=(10 * SAMPLE, 4)) + np.linspace(0, 2, 10 * SAMPLE)[:, None]
    direction = EmbeddingStatistics.of(Rows(rows, "z"), Rows(rows[:50], "t"))
    whole = Rows(rows, "z").read().mean(dim=0)
    assert direction.images.n == SAMPLE
    torch.testing.assert_close(direction.images.mean, whole, atol=0.05, rtol=0)
    torch.testing.assert_close(direction.texts.mean, Rows(rows[:50], "t").read().mean(dim=0))
    assert float(whole @ MeanDirection(whole, 100).direction) == pytest.approx(1)


NAMES = ["dtd", "stanford_cars", "imagenet", "flickr8k_pairs", "fashion_pairs"]


@pytest.mark.real
@pytest.mark.skipif(not EMBEDDINGS.is_dir(), reason="needs the real embeddings")
def test_real_models_of_one_width_are_told_apart():
    """CLIP's three sets know each other, in any direction, and nobody else's."""
    sets = {}
    for name in NAMES:
        with np.load(EMBEDDINGS / f"{name}.npz") as arrays:
            fit_key, score_key = ("z_img", "z_img") if "z_img" in arrays else ("z_img_train", "z_img_test")
            sets[name] = [arrays[key].astype(np.float32) for key in (fit_key, score_key, "z_txt")]
    for i, (z_fit, _, text_fit) in enumerate(sets.values()):
        seen = EmbeddingStatistics.of(Rows(z_fit, "z"), Rows(text_fit, "t"))
        for j, (_, z, text) in enumerate(sets.values()):
            same = i == j or max(i, j) < 3
            for n, k in [(len(z), len(text)), (10, 5)]:
                mismatch = seen.mismatch(Rows(z[:n], "z"), Candidates(text[:k]))
                assert (mismatch is None) is same, (NAMES[i], NAMES[j], n)
            if same:
                swapped = seen.mismatch(Rows(text, "z"), Candidates(z))
                assert swapped is not None
                assert "images first" in swapped
