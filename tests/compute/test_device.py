import numpy as np
import pytest
import torch

import vilu_sdk
from support.all_scorers import EXAMPLES, fitted
from support.far_device import NAME, FarDevice
from vilu_sdk import LVUScorer, MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.compute.device import compute_device


@pytest.fixture
def far():
    with FarDevice() as device:
        vilu_sdk.set_device(NAME)
        yield device
        vilu_sdk.set_device("cpu")


def test_the_far_device_refuses_what_a_gpu_refuses_and_gives_the_same_numbers(far):
    a, b = torch.randn(5, 4), torch.randn(4, 3)
    there = a.to(NAME) @ b.to(NAME)
    assert there.device == torch.device(NAME)
    assert torch.equal(there.cpu(), a @ b)
    with pytest.raises(RuntimeError, match="same device"):
        a.to(NAME) @ b
    with pytest.raises((RuntimeError, TypeError, NotImplementedError)):
        there.numpy()


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_scores_on_a_device_are_those_of_the_cpu(scorer, toy, far):
    vilu_sdk.set_device("cpu")
    used = fitted(scorer, toy)
    expected = used.decision_function(toy.z_img, toy.z_txt)
    predicted = used.predict(toy.z_img, toy.z_txt)
    far.ran.clear()
    vilu_sdk.set_device(NAME)
    np.testing.assert_allclose(used.decision_function(toy.z_img, toy.z_txt), expected, rtol=1e-6, atol=1e-6)
    assert "mm" in far.ran or "addmm" in far.ran
    np.testing.assert_array_equal(used.predict(toy.z_img, toy.z_txt), predicted)
    vilu_sdk.set_device("cpu")
    np.testing.assert_array_equal(used.decision_function(toy.z_img, toy.z_txt), expected)


@pytest.mark.parametrize(
    "scorer",
    [
        LVUScorer(epochs=3, hidden=(8,), random_state=0),
        LVUScorer(epochs=3, hidden=(8,), target="correct", random_state=0),
        ViLUEstimator(recipe=PaperRecipe(epochs=3, hidden=(8,), mcm_input=True), random_state=0),
    ],
)
@pytest.mark.parametrize("captions", [False, True])
def test_a_network_trained_on_a_device_is_the_one_trained_on_the_cpu(scorer, captions, toy, far, tmp_path):
    z_txt, labels = (toy.z_txt[toy.labels], None) if captions else (toy.z_txt, toy.labels)
    vilu_sdk.set_device("cpu")
    expected = scorer.fit(toy.z_img, z_txt, labels).decision_function(toy.z_img, toy.z_txt)
    vilu_sdk.set_device(NAME)
    far.ran.clear()
    trained = scorer.fit(toy.z_img, z_txt, labels, checkpoint=tmp_path / "state")
    assert "addmm" in far.ran
    vilu_sdk.set_device("cpu")
    np.testing.assert_allclose(
        trained.decision_function(toy.z_img, toy.z_txt), expected, rtol=1e-6, atol=1e-6
    )


def test_what_was_trained_on_a_device_is_saved_and_copied_without_it(toy, far, tmp_path):
    scorer = LVUScorer(epochs=1, hidden=(8,), random_state=0).fit(toy.z_img, toy.z_txt, toy.labels)
    there = scorer.decision_function(toy.z_img, toy.z_txt)
    scorer.save_pretrained(tmp_path / "head")
    vilu_sdk.set_device("cpu")
    again = LVUScorer.from_pretrained(tmp_path / "head")
    np.testing.assert_allclose(again.decision_function(toy.z_img, toy.z_txt), there, rtol=1e-6)


@pytest.mark.parametrize("device", ["nowhere", "cuda:99", 3.5, "meta"])
def test_a_device_that_is_not_there_is_refused_and_the_last_one_stays(device):
    with pytest.raises(ValueError, match="device"):
        vilu_sdk.set_device(device)
    assert compute_device() == torch.device("cpu")


def test_auto_is_what_there_is(toy):
    vilu_sdk.set_device("auto")
    assert compute_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    vilu_sdk.set_device("cpu")
    assert MCMScorer().predict(toy.z_img, toy.z_txt).shape == (len(toy.z_img),)


@pytest.mark.parametrize(
    ("count", "local_rank", "card"),
    [(1, None, "cuda"), (1, "3", "cuda"), (4, None, "cuda:0"), (4, "0", "cuda:0"), (4, "3", "cuda:3")],
)
@pytest.mark.parametrize("asked", ["auto", "cuda", torch.device("cuda")])
def test_each_process_of_a_machine_takes_its_own_card(monkeypatch, count, local_rank, card, asked):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    tried = []

    def zeros(*_, device, **__):
        tried.append(str(device))
        raise RuntimeError("there is no such card here")

    monkeypatch.setattr(torch, "zeros", zeros)
    with pytest.raises(ValueError, match="cannot be used"):
        vilu_sdk.set_device(asked)
    assert tried == [card]


def test_more_processes_than_cards_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="LOCAL_RANK is 2, but this machine has 2 GPUs"):
        vilu_sdk.set_device("auto")
