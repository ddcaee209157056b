"""Reading arrays: every kind that comes in, chunk by chunk, and the errors."""

import numpy as np
import pytest
import torch

from vilu_sdk import MahalanobisScorer, MCMScorer, SelectivePredictor
from vilu_sdk.inputs.rows import CHUNK_ELEMENTS, Rows
from vilu_sdk.inputs.task import check_task
from vilu_sdk.inputs.values import check_correct, check_labels, positive


@pytest.fixture(scope="module")
def matrix():
    return np.random.default_rng(0).normal(size=(40, 8))


def sources(matrix, tmp_path):
    mapped = np.memmap(tmp_path / "rows.f16", dtype=np.float16, mode="w+", shape=matrix.shape)
    mapped[:] = matrix
    strided = np.empty((80, 16))
    strided[::2, ::2] = matrix
    return {
        "float64": matrix,
        "float16": matrix.astype(np.float16),
        "big endian": matrix.astype(">f4"),
        "lists": matrix.tolist(),
        "strided": strided[::2, ::2],
        "reversed": matrix[::-1][::-1],
        "fortran": np.asfortranarray(matrix),
        "memory map": mapped,
        "slice of a memory map": np.asarray(mapped)[:],
        "torch": torch.from_numpy(matrix),
        "bfloat16": torch.from_numpy(matrix).to(torch.bfloat16),
        "requires grad": torch.from_numpy(matrix).requires_grad_(),
        "scaled": matrix * 1e4,
    }


def test_every_source_gives_the_same_unit_rows(matrix, tmp_path):
    expected = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    for name, source in sources(matrix, tmp_path).items():
        rows = Rows(source, "z_img").read()
        assert rows.dtype == torch.float32
        np.testing.assert_allclose(
            rows, expected, atol=5e-3 if "16" in name or "map" in name else 1e-6, err_msg=name
        )


def in_memory(values: np.ndarray) -> dict[str, np.ndarray]:
    """The same numbers in other orders of memory."""
    fields = np.zeros(len(values), [("z", np.float32, values.shape[1]), ("more", np.int8)])
    fields["z"] = values
    bytes_before = np.frombuffer(b"x" + values.tobytes(), np.float32, values.size, offset=1)
    frozen = values.copy()
    frozen.flags.writeable = False
    return {
        "backwards": values[::-1].copy()[::-1],
        "each row backwards": values[:, ::-1].copy()[:, ::-1],
        "every second": np.repeat(values, 2, 0)[::2],
        "a field of records": fields["z"],
        "not aligned": bytes_before.reshape(values.shape),
        "not to be written": frozen,
    }


@pytest.mark.parametrize("part", [slice(None), slice(3, 4), slice(0, 1)])
@pytest.mark.parametrize("width", [8, 2])
def test_the_order_of_memory_changes_nothing(matrix, part, width):
    plain = np.abs(matrix[:, :width]).astype(np.float32)
    text = np.ones((3, width), np.float32)
    expected = MCMScorer().predict_uncertainty(plain[part], text)
    for name, values in in_memory(plain).items():
        for scorer in (MCMScorer(), MahalanobisScorer().fit(values, text, np.arange(40) % 3)):
            found = scorer.predict_uncertainty(values[part], text)
            if isinstance(scorer, MCMScorer):
                np.testing.assert_array_equal(found, expected, err_msg=name)
        threshold = SelectivePredictor(MCMScorer(), 0.5).fit(values, text, np.arange(40) % 3)
        assert threshold.predict(values[part], text).shape == (len(expected),)


def test_chunks_join_to_the_whole(matrix):
    rows = Rows(matrix, "z_img")
    joined = torch.cat([chunk for _, chunk in rows.chunks(CHUNK_ELEMENTS // 7)])
    torch.testing.assert_close(joined, rows.read())
    assert len(rows.slices(CHUNK_ELEMENTS // 7)) == 6
    assert len(rows.slices(10 * CHUNK_ELEMENTS)) == 40


def test_the_source_is_never_written_to(matrix):
    for source in (matrix.astype(np.float32), torch.from_numpy(matrix.astype(np.float32))):
        before = source.copy() if isinstance(source, np.ndarray) else source.clone()
        Rows(source, "z_img").read().zero_()
        assert (source == before).all()


def test_no_source_is_changed_by_reading_it(matrix, tmp_path):
    def values(source):
        rows = source.detach().double().numpy() if isinstance(source, torch.Tensor) else source
        return np.array(rows, dtype=float)

    for name, source in sources(matrix, tmp_path).items():
        before = values(source)
        Rows(source, "z").read()
        Rows(source, "z").look(slice(2, 30))
        np.testing.assert_array_equal(values(source), before, err_msg=name)


def test_a_look_at_rows_copies_them_only_to_divide_by_their_norms(matrix):
    unit = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)
    for source in (unit, torch.from_numpy(unit)):
        rows = Rows(source, "z")
        assert np.shares_memory(rows.look(slice(3, 9)).numpy(), unit)
        assert not np.shares_memory(rows.read(slice(3, 9)).numpy(), unit)
    for source in (unit.astype(np.float64), unit.astype(np.float16), (1 + 1e-6) * unit, 3 * unit):
        found = Rows(source, "z").look(slice(3, 9))
        assert not np.shares_memory(found.numpy(), source)
        torch.testing.assert_close(torch.linalg.vector_norm(found, dim=1), torch.ones(6), rtol=0, atol=3e-7)


def test_changes_in_a_copy_on_write_map_survive_a_scan(matrix, tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, matrix.astype(np.float32))
    mapped = np.load(path, mmap_mode="c")
    mapped[0] = 1.0
    Rows(mapped, "z_img").read()
    assert (mapped[0] == 1.0).all()


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (np.ones(3), ValueError, r"z_img must be two-dimensional.*z_img\[None, :\]"),
        (np.ones((2, 3, 4)), ValueError, "two-dimensional"),
        (np.empty((0, 3)), ValueError, "no rows"),
        (np.empty((3, 0)), ValueError, "width 0"),
        ([[1.0, 2.0], [3.0]], ValueError, "different lengths"),
        (np.array([["a", "b"]]), TypeError, "real numbers"),
        (np.ones((2, 2), dtype=complex), TypeError, "real numbers"),
        (torch.ones(2, 2, dtype=torch.bool), TypeError, "real numbers"),
        (None, TypeError, "real numbers"),
    ],
    ids=str,
)
def test_wrong_shapes_and_types(source, error, message):
    with pytest.raises(error, match=message):
        Rows(source, "z_img")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_bad_values_name_their_row(matrix, value):
    bad = matrix.copy()
    bad[17, 3] = value
    with pytest.raises(ValueError, match=r"z_img .* row 17"):
        Rows(bad, "z_img").read()
    with pytest.raises(ValueError, match=r"z_img .* row 17"):
        Rows(bad, "z_img").read(torch.tensor([3, 17]))


def test_a_zero_row_is_named_in_whatever_chunk(matrix):
    bad = np.tile(matrix, (10, 1))
    bad[333] = 0
    with pytest.raises(ValueError, match=r"all zero in row 333"):
        list(Rows(bad, "z_img").chunks(CHUNK_ELEMENTS // 50))


def test_labels_are_checked():
    assert check_labels([0, 2], 2, 3).dtype == torch.int64
    assert check_labels(torch.tensor([0, 2], dtype=torch.uint8), 2, 3).tolist() == [0, 2]
    assert check_labels([-1, 2], 2, 3).tolist() == [-1, 2]
    for labels, message in [
        ([0.0, 1.0], "integers"),
        ([True, False], "integers"),
        ([0, 3], r"labels\[1\] is 3"),
        ([-2, 0], r"labels\[0\] is -2"),
        ([0], "1 entries but z_img has 2"),
        ([[0, 1]], "one-dimensional"),
        (["a", "b"], "integers"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_labels(labels, 2, 3)


def test_correct_is_checked():
    assert check_correct([1, 0], 2).tolist() == [True, False]
    for correct in ([0, 2], [0.0, 1.0], ["yes", "no"]):
        with pytest.raises(ValueError, match="correct must be booleans"):
            check_correct(correct, 2)


def test_the_arguments_of_a_fit_are_checked_together(matrix):
    with pytest.raises(ValueError, match="pairs with caption i"):
        check_task(matrix, matrix[:5])
    with pytest.raises(ValueError, match="both given"):
        check_task(matrix, matrix[:5], np.zeros(40, int), np.zeros(40, bool))
    with pytest.raises(ValueError, match="z_txt has rows of width 7, expected 8"):
        check_task(matrix, matrix[:5, :7], np.zeros(40, int))


def test_positive_numbers():
    assert positive(torch.tensor(100.0), "logit_scale") == 100.0
    assert positive(np.float32(2), "logit_scale") == 2.0
    for value in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="logit_scale"):
            positive(value, "logit_scale")
    for value in ("100", None, True, [1.0]):
        with pytest.raises(TypeError, match="logit_scale"):
            positive(value, "logit_scale")


def test_equal_captions_count_as_right():
    texts = np.eye(3)[[0, 0, 1]]
    batch = check_task(texts, texts).batch(slice(None))
    prediction = (batch.z @ batch.text.T).argmax(dim=1)
    assert batch.right(prediction).all()
    assert not check_task(texts, texts).wrong(prediction.numpy()).any()
    assert MCMScorer().predict(texts, texts).tolist() == [0, 0, 2]


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_rows_of_a_memory_map_are_copies_so_that_its_pages_can_go(tmp_path, mode):
    np.save(tmp_path / "z.npy", np.ones((5, 3), dtype=np.float32))
    z = np.load(tmp_path / "z.npy", mmap_mode=mode)
    assert not np.shares_memory(Rows(z, "z", normalise=False).read().numpy(), z)
