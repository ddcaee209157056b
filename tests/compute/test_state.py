"""Torch's global state changes no number, and is left as it was found."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch
from sklearn.base import clone

from support.all_scorers import EXAMPLES
from vilu_sdk import MCMScorer, Scorer, ViLUEstimator
from vilu_sdk.evaluation import evaluate
from vilu_sdk.inputs.precision import in_float64
from vilu_sdk.selective import CoveragePredictor, SetPredictor, ShiftMonitor

# Figures do not matter here, so rows of the fit may be judged.
pytestmark = pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.FitRowsWarning")


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def threads(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def all_of(*entered):
    with ExitStack() as stack:
        for one in entered:
            stack.enter_context(one)
        yield


STATES = {
    "autocast without gradients": lambda: all_of(
        torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad()
    ),
    "float64": lambda: default_dtype(torch.float64),
    "inference mode in bfloat16": lambda: all_of(torch.inference_mode(), default_dtype(torch.bfloat16)),
    "float16 on a meta device": lambda: all_of(default_dtype(torch.float16), default_device("meta")),
    "two threads": lambda: threads(2),
}


def state():
    return (
        torch.is_autocast_enabled("cpu"),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_num_threads(),
    )


def everything(scorer, toy, folder):
    """Every verb, of arrays and of tensors that were made in the state; fitted, saved and loaded in it."""
    # As a model hands them out in this state.
    z, t = (torch.as_tensor(part, device="cpu") for part in (toy.z_img, toy.z_txt))
    used = clone(scorer).fit(z, t, toy.labels)
    used.save_pretrained(folder)
    loaded = Scorer.from_pretrained(folder)
    fields = [
        used.decision_function(z, t),
        loaded.predict_uncertainty(toy.z_img, toy.z_txt),
        used.predict(z, t),
    ]
    if used.has_posterior:
        fields.append(used.predict_proba(z, t))
        fields.append(SetPredictor(used, method="aps").fit(z, t, toy.labels).predict_sets(z, t))
    chosen = CoveragePredictor(used).fit(z, t, toy.labels)
    monitor = ShiftMonitor(used, random_state=0, n_permutations=99).fit(z[:300], t)
    fields += [chosen.accept(z, t), list(evaluate(used, z, t, toy.labels).values())]
    fields.append([monitor.check(z[300:]).embedding_p_value, monitor.check(z[300:]).score_p_value])
    fields.append(used.bind(t).predict_proba(toy.z_img))
    return [np.asarray(field, dtype=float) for field in fields]


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_no_state_of_torch_changes_a_number(scorer, toy, tmp_path):
    expected = everything(scorer, toy, tmp_path / "plain")
    for name, enter in STATES.items():
        with enter():
            before = state()
            found = everything(scorer, toy, tmp_path / name)
            assert state() == before, name
        for values, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-5, err_msg=name)


def test_adaptation_and_explanation_neither(beside):
    def both():
        data = beside.z_img, beside.z_txt
        moved = ViLUEstimator(logit_scale=5.0, random_state=0).fit(*data, beside.labels).adapt(*data)
        found = moved.explain(*data)
        return found.uncertainty, found.competitor_probability

    expected = both()
    for name, enter in STATES.items():
        with enter():
            for values, wanted in zip(both(), expected, strict=True):
                np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_what_was_fitted_under_one_default_dtype_is_the_same_under_another(scorer, toy, tmp_path):
    """Fitted, saved, loaded and asked in all of them, also for prompts and what learned numbers are."""
    prompts = {str(at): np.stack([text, toy.z_txt[0]]) for at, text in enumerate(toy.z_txt, 100)}
    expected = None
    for fitted_in in (torch.float32, torch.float64, torch.float16):
        with default_dtype(fitted_in):
            used = clone(scorer).fit(toy.z_img, prompts, toy.labels)
            used.save_pretrained(tmp_path / "head", overwrite=True)
        for asked_in in (torch.float32, torch.float64):
            with default_dtype(asked_in):
                loaded = Scorer.from_pretrained(tmp_path / "head")
                for one in (used, loaded, pickle.loads(pickle.dumps(loaded))):
                    said = one.judge(toy.z_img[:50], prompts)
                    found = [said.prediction, said.uncertainty, said.answer, said.novelty]
                    expected = found if expected is None else expected
                    np.testing.assert_array_equal(found, expected)
                assert torch.get_default_dtype() == asked_in


def test_threads_that_overlap_leave_the_default_dtype_as_it_was(toy):
    scorer = MCMScorer()
    expected = scorer.decision_function(toy.z_img, toy.z_txt)
    with default_dtype(torch.float64), ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: scorer.decision_function(toy.z_img, toy.z_txt), range(200)):
            np.testing.assert_array_equal(found, expected)
        assert torch.get_default_dtype() == torch.float64


def test_comparisons_with_exact_numbers_compute_in_float64(toy):
    with in_float64():
        exact = MCMScorer().decision_function(toy.z_img.astype(float), toy.z_txt)
    assert 0 < np.abs(exact - MCMScorer().decision_function(toy.z_img, toy.z_txt)).max() < 1e-3
