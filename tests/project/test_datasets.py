import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from vilu_sdk import MCMScorer
from vilu_sdk.datasets import DigitsVLM, load_digits_vlm

ARRAYS = ("z_img_fit", "labels_fit", "z_img_test", "labels_test", "z_txt", "images_test")


@pytest.mark.parametrize("random_state", range(10))
def test_model_is_fallible_on_both_parts(random_state: int) -> None:
    data = load_digits_vlm(random_state)
    for z_img, labels in ((data.z_img_fit, data.labels_fit), (data.z_img_test, data.labels_test)):
        accuracy = (MCMScorer().predict(z_img, data.z_txt) == labels).mean()
        assert 0.75 <= accuracy <= 0.92


def test_same_seed_same_arrays_other_seed_other_parts(digits: DigitsVLM) -> None:
    again, other = load_digits_vlm(0), load_digits_vlm(1)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(again, name), getattr(digits, name))
    assert again.logit_scale == digits.logit_scale
    assert not np.array_equal(other.images_test, digits.images_test)


def test_global_state_is_left_alone_and_has_no_influence(digits: DigitsVLM) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            z_txt = load_digits_vlm(0).z_txt
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(z_txt, digits.z_txt)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_shapes_dtypes_and_norms(digits: DigitsVLM) -> None:
    assert digits.z_img_fit.shape == (798, 32)
    assert digits.z_img_test.shape == (799, 32)
    assert digits.z_txt.shape == (10, 32)
    assert digits.images_test.shape == (799, 8, 8)
    assert len(digits.class_names) == 10
    for z in (digits.z_img_fit, digits.z_img_test, digits.z_txt):
        assert z.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)
    for labels in (digits.labels_fit, digits.labels_test):
        assert labels.dtype == np.int64
        assert set(labels) == set(range(10))
    assert "798 images to fit" in repr(digits)


def test_parts_are_disjoint_and_leave_200_images_for_training(digits: DigitsVLM) -> None:
    everything, _ = load_digits(return_X_y=True)
    # No two of the 1,797 images are equal, so pixels identify an image.
    assert len(np.unique(everything, axis=0)) == len(everything)
    test = {image.tobytes() for image in digits.images_test.reshape(-1, 64)}
    assert len(test) == len(digits.images_test)
    assert test < {image.tobytes() for image in everything}
    # Embeddings identify an image too: none of the fit part returns in the test part.
    embeddings = np.concatenate([digits.z_img_fit, digits.z_img_test])
    assert len(np.unique(embeddings, axis=0)) == len(embeddings) == len(everything) - 200


def test_labels_belong_to_images(digits: DigitsVLM) -> None:
    everything, labels = load_digits(return_X_y=True)
    label_of = {image.tobytes(): label for image, label in zip(everything, labels, strict=True)}
    found = [label_of[image.tobytes()] for image in digits.images_test.reshape(-1, 64)]
    np.testing.assert_array_equal(found, digits.labels_test)


def test_labels_teach_more_than_mcm_knows(digits: DigitsVLM) -> None:
    """What makes the set worth fitting on: a linear probe doubts the wrong predictions better."""
    mcm = MCMScorer(logit_scale=digits.logit_scale)
    predicted = mcm.predict(digits.z_img_test, digits.z_txt)
    failure = predicted != digits.labels_test
    probe = LogisticRegression(C=10, max_iter=1000).fit(digits.z_img_fit, digits.labels_fit)
    doubt = 1 - probe.predict_proba(digits.z_img_test)[np.arange(len(predicted)), predicted]
    auc_mcm = roc_auc_score(failure, mcm.decision_function(digits.z_img_test, digits.z_txt))
    assert 0.8 < auc_mcm < 0.95
    assert roc_auc_score(failure, doubt) > auc_mcm + 0.03


def test_random_state_follows_scikit_learn() -> None:
    from_generator = load_digits_vlm(np.random.RandomState(3))
    np.testing.assert_array_equal(from_generator.z_txt, load_digits_vlm(3).z_txt)
    with pytest.raises(ValueError, match="random_state"):
        load_digits_vlm("three")  # type: ignore[arg-type]
