"""One mechanism under every verb: one pass over the images, whatever is asked for."""

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator

from support.all_scorers import EXAMPLES, fitted
from vilu_sdk import CalibratedScorer, EntropyScorer, LVUScorer, MCMScorer
from vilu_sdk.compute.posterior import LinearPosterior, Posterior
from vilu_sdk.compute.tiles import Logits
from vilu_sdk.displays import RiskCoverageDisplay
from vilu_sdk.evaluation import compare, evaluate
from vilu_sdk.inputs.task import check_task
from vilu_sdk.report import report
from vilu_sdk.scale import score_partition
from vilu_sdk.scorers.base import verbs as base
from vilu_sdk.scorers.base.contract import VERBS, read
from vilu_sdk.selective import CostPredictor, CoveragePredictor, SelectivePredictor

# Figures do not matter here, so rows of the fit may be judged.
pytestmark = pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.FitRowsWarning")


class Foreign(BaseEstimator):
    """A scorer of somebody else: minus the largest cosine, of rows as they come."""

    def fit(self, z_img, z_txt, labels=None):
        return self

    def _cosines(self, z_img, z_txt):
        z, t = (np.float64(part) / np.linalg.norm(part, axis=1, keepdims=True) for part in (z_img, z_txt))
        return np.round(z @ t.T, 9)

    def predict(self, z_img, z_txt_set):
        return self._cosines(z_img, z_txt_set).argmax(axis=1)

    def decision_function(self, z_img, z_txt_set):
        return -self._cosines(z_img, z_txt_set).max(axis=1)

    predict_uncertainty = decision_function


@pytest.fixture
def passes(monkeypatch):
    """Number of rows that each pass over images has read."""
    seen = []
    stream = base.stream

    def counted(images, *args, **more):
        seen.append(len(images))
        return stream(images, *args, **more)

    monkeypatch.setattr(base, "stream", counted)
    return seen


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_fields_read_together_are_what_each_verb_returns(scorer, toy):
    used = fitted(scorer, toy)
    fields = [field for field, verb in VERBS.items() if hasattr(used, verb)]
    together = read(used, toy.z_img, toy.z_txt, *fields)
    for values, field in zip(together, fields, strict=True):
        alone = getattr(used, VERBS[field])(toy.z_img, toy.z_txt)
        assert values.dtype == alone.dtype
        np.testing.assert_allclose(values, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_every_verb_reads_the_images_once(scorer, toy, passes, tmp_path):
    used = fitted(scorer, toy)
    data = toy.z_img, toy.z_txt, toy.labels
    chosen = [
        SelectivePredictor(used, 0.3).fit(*data),
        SelectivePredictor(used, 0.3, per_class=True).fit(*data),
        CoveragePredictor(used).fit(*data),
        CostPredictor(used).fit(*data),
    ]
    verbs = {
        "evaluate": lambda: evaluate(used, *data),
        "compare": lambda: compare({"it": used}, *data, fit=False),
        "threshold": lambda: chosen[0].fit(*data),
        "threshold per class": lambda: chosen[1].fit(*data),
        "partition": lambda: score_partition({"z": toy.z_img}, used, toy.z_txt),
        "partition with a threshold": lambda: score_partition({"z": toy.z_img}, chosen[0], toy.z_txt),
        "display": lambda: RiskCoverageDisplay.from_estimator(used, *data),
        "report": lambda: report(used, *data, tmp_path / "report.html", selective=chosen[0]),
    }
    for one in chosen:
        verbs[f"accept {one}"] = lambda one=one: one.accept(*data[:2])
        verbs[f"predict {one}"] = lambda one=one: one.predict(*data[:2])
    for verb, call in verbs.items():
        passes.clear()
        call()
        # Beside it, a threshold looks at images near it one by one.
        assert passes[0] == len(toy.z_img), verb
        assert set(passes[1:]) <= ({1} if "thr" in verb or "Predictor" in verb else set()), verb


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_a_posterior_is_there_or_is_not(scorer, toy):
    used = fitted(scorer, toy)
    assert hasattr(used, "predict_proba") == used.has_posterior
    if used.has_posterior:
        p = used.predict_proba(toy.z_img, toy.z_txt)
        assert p.shape == (len(toy.z_img), len(toy.z_txt))
        assert (p >= 0).all()
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)


def test_the_softmax_of_the_cosines_is_the_posterior_of_mcm(toy):
    mcm = MCMScorer(logit_scale=10.0)
    p = mcm.predict_proba(toy.z_img, toy.z_txt)
    np.testing.assert_array_equal(p.argmax(axis=1), mcm.predict(toy.z_img, toy.z_txt))
    np.testing.assert_allclose(1 - p.max(axis=1), mcm.predict_uncertainty(toy.z_img, toy.z_txt), atol=1e-6)


@pytest.mark.parametrize("k", [5, 300, 4999])
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_a_posterior_read_tile_by_tile_is_that_of_whole_rows(k, scale):
    generator = torch.Generator().manual_seed(k)
    z, text = (
        torch.nn.functional.normalize(torch.randn(n, 16, generator=generator), dim=1) for n in (100, k)
    )
    linear, whole = LinearPosterior(z, Logits.zero_shot(text, scale)), Posterior(lambda: scale * (z @ text.T))
    some = torch.randint(k, (100,), generator=generator)
    close = {"rtol": 1e-4, "atol": 1e-4 * scale}
    torch.testing.assert_close(linear.log_odds(), whole.log_odds(), **close)  # without a search
    assert torch.equal(linear.top, whole.top)
    torch.testing.assert_close(linear.log_odds(), whole.log_odds(), **close)  # and with one
    torch.testing.assert_close(linear.log_odds(some), whole.log_odds(some), **close)
    torch.testing.assert_close(linear.probabilities, whole.probabilities, rtol=1e-3, atol=1e-5)


def test_scorers_of_others_are_evaluated_bounded_and_calibrated(toy):
    foreign, mcm = Foreign(), MCMScorer(logit_scale=1e-3)  # which ranks nearly as the cosine does
    data = toy.z_img, toy.z_txt, toy.labels
    assert evaluate(foreign, *data)["accuracy"] == evaluate(mcm, *data)["accuracy"]
    chosen = CoveragePredictor(foreign, 0.5).fit(*data)
    assert chosen.accept(*data[:2]).sum() == chosen.report_.accepted > 0.5 * len(toy.z_img)
    calibrated = CalibratedScorer(foreign, random_state=0).fit(*data)
    assert evaluate(calibrated, *data)["ece"] < 0.1
    assert not hasattr(calibrated, "predict_proba")


def test_rows_with_more_than_one_right_caption():
    """The same rule wherever failures are counted: an equal caption is as good as the own one."""
    text = np.eye(4)[[0, 1, 1, 2, 3]]
    images = np.eye(4)[[0, 1, 1, 2, 2]]
    wrong = [False, False, False, False, True]
    predicted = MCMScorer().predict(images, text)
    task = check_task(images, text)
    assert task.wrong(predicted).tolist() == wrong
    batch = task.batch(slice(None))
    assert (~batch.right(torch.from_numpy(predicted))).tolist() == wrong
    assert evaluate(MCMScorer(), images, text)["error_rate"] == 0.2


def test_an_unfitted_scorer_predicts_and_does_not_judge(toy):
    scorer = LVUScorer()
    np.testing.assert_array_equal(
        scorer.predict(toy.z_img, toy.z_txt), EntropyScorer().predict(toy.z_img, toy.z_txt)
    )
    with pytest.raises(Exception, match="not fitted"):
        scorer.decision_function(toy.z_img, toy.z_txt)


@pytest.mark.parametrize(
    "scorer", [example for example in EXAMPLES if not example.values[0].fixed_candidates]
)
def test_of_equal_candidates_the_first_is_predicted_in_a_batch_and_alone(scorer, toy):
    used = fitted(scorer, toy)
    twins = np.concatenate([toy.z_txt, toy.z_txt[::-1]])
    expected = used.predict(toy.z_img, toy.z_txt)
    np.testing.assert_array_equal(used.predict(toy.z_img, twins), expected)
    np.testing.assert_array_equal(read(used, toy.z_img, twins, "prediction", "decision")[0], expected)
    alone = [used.predict(image[None], twins)[0] for image in toy.z_img[:100]]
    np.testing.assert_array_equal(alone, expected[:100])
