"""What holds the same values gives the same answers; what has no plain meaning is named with a remedy."""

from collections import OrderedDict
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone

from support.all_scorers import EXAMPLES
from vilu_sdk import MCMScorer, TemperatureScaledMCMScorer, ViLUEstimator
from vilu_sdk.evaluation import evaluate, failure_metrics
from vilu_sdk.inputs.containers import plain, to_numpy, vector
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.task import check_task
from vilu_sdk.inputs.values import check_correct, check_groups, check_labels, check_weights
from vilu_sdk.metrics.vectors import as_vector
from vilu_sdk.selective import CoveragePredictor, ShiftMonitor

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")
sparse = pytest.importorskip("scipy.sparse")

N, K, D = 60, 4, 8
RNG = np.random.default_rng(0)
Z_TXT = RNG.normal(size=(K, D)).astype(np.float32)
LABELS = np.append(RNG.integers(K, size=N - K), np.arange(K))
Z_IMG = (Z_TXT[LABELS] + 1.2 * RNG.normal(size=(N, D))).astype(np.float32)
MCM = MCMScorer(logit_scale=5)

FLIPPED = torch.complex(torch.zeros(N, D), -torch.from_numpy(Z_IMG)).conj().imag

MATRICES = {
    "fortran": np.asfortranarray(Z_IMG),
    "objects": Z_IMG.astype(object),
    "unmasked": np.ma.array(Z_IMG),
    "lists": Z_IMG.tolist(),
    "tuple of lists": tuple(Z_IMG.tolist()),
    "list of arrays": list(Z_IMG),
    "list of tensors": list(torch.from_numpy(Z_IMG)),
    "list of tensors in a graph": [torch.tensor(row, requires_grad=True) for row in Z_IMG],
    "list of series": [pd.Series(row) for row in Z_IMG],
    "list of masked rows": [np.ma.array(row) for row in Z_IMG],
    "array of arrays": pd.Series(list(Z_IMG)).to_numpy(),
    "tensor": torch.from_numpy(Z_IMG),
    "transposed tensor": torch.from_numpy(Z_IMG.T.copy()).T,
    "tensor in a graph": torch.tensor(Z_IMG, requires_grad=True) * 1,
    "parameter": torch.nn.Parameter(torch.from_numpy(Z_IMG)),
    "float64 tensor": torch.from_numpy(Z_IMG).double(),
    "negated view": FLIPPED,
    "frame": pd.DataFrame(Z_IMG),
    "nullable frame": pd.DataFrame(Z_IMG).astype("Float32"),
    "frame of arrow columns": pd.DataFrame(Z_IMG).convert_dtypes(dtype_backend="pyarrow"),
    "frame of one column of arrays": pd.DataFrame({"e": list(Z_IMG)}),
    "series of arrays": pd.Series(list(Z_IMG)),
    "series of lists": pd.Series(Z_IMG.tolist()),
    "series of tensors": pd.Series(list(torch.from_numpy(Z_IMG))),
    "polars frame": pl.DataFrame(Z_IMG),
    "polars arrays": pl.Series(Z_IMG.tolist(), dtype=pl.Array(pl.Float32, D)),
    "polars lists": pl.Series(Z_IMG.tolist()),
    "arrow lists of one size": pa.array(Z_IMG.tolist(), pa.list_(pa.float32(), D)),
    "arrow lists": pa.array(Z_IMG.tolist()),
    "arrow chunks": pa.chunked_array([Z_IMG[:7].tolist(), Z_IMG[7:].tolist()]),
    "list of arrow scalars": list(pa.array(Z_IMG.tolist())),
    "arrow table": pa.table(pd.DataFrame(Z_IMG).rename(columns=str)),
}


@pytest.mark.parametrize("container", MATRICES)
def test_matrices_are_the_same_to_the_last_bit(container):
    given = MATRICES[container]
    assert torch.equal(Rows(given, "z_img").read(), Rows(Z_IMG, "z_img").read())
    if container == "series of arrays":
        return
    expected = MCM.decision_function(Z_IMG, Z_TXT)
    np.testing.assert_array_equal(MCM.decision_function(given, Z_TXT), expected)
    # As candidates, twice: the second time known again.
    scored = MCM.decision_function(Z_TXT, Z_IMG)
    for _ in range(2):
        np.testing.assert_array_equal(MCM.decision_function(Z_TXT, given), scored)
    assert evaluate(MCM, given, Z_TXT, LABELS)["auc"] == evaluate(MCM, Z_IMG, Z_TXT, LABELS)["auc"]
    bound = MCM.bind(Z_TXT)
    np.testing.assert_array_equal(bound.fit(given, LABELS).rank_uncertainty(given), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_short_floats_are_widened(dtype):
    short = torch.from_numpy(Z_IMG).to(dtype)
    expected = MCM.decision_function(short.float(), Z_TXT)
    column = [] if pd.__version__.startswith("2.") else [pd.Series(list(short))]  # which asks torch for numpy
    for given in (short, list(short), *column):
        np.testing.assert_array_equal(MCM.decision_function(given, Z_TXT), expected)
        np.testing.assert_array_equal(MCM.bind(Z_TXT).rank_uncertainty(given), expected)


def masked_rows(row=3):
    return np.ma.array(Z_IMG, mask=np.repeat((np.arange(N) == row)[:, None], D, 1))


def with_missing(values, missing, row=3):
    return [missing if at == row else value for at, value in enumerate(values)]


UNREADABLE = {
    "masked": (masked_rows(), ValueError, "masked in row 3"),
    "nullable": (pd.DataFrame(masked_rows()).astype("Float32"), ValueError, "row 3"),
    "a row is missing": (
        pd.Series(with_missing(Z_IMG, None)),
        ValueError,
        "None in row 3 where an embedding",
    ),
    "rows of two widths": (
        with_missing(Z_IMG, Z_IMG[0, :5]),
        ValueError,
        "width 5 in row 3 .* different len",
    ),
    "batches": ([Z_IMG[:40], Z_IMG[40:]], ValueError, r"numpy.concatenate\("),
    "equal batches": ([Z_IMG[:30], Z_IMG[30:]], ValueError, "numpy.concatenate"),
    "one row": (Z_IMG[0], ValueError, r"\[None, :\]"),
    "an axis of one": (Z_IMG[:, None], ValueError, r"\[:, 0\]"),
    "images": (np.ones((5, 16, 16, 3), np.uint8), ValueError, "images: embed them"),
    "images of torch": (torch.ones(5, 3, 16, 16), ValueError, "images: embed them"),
    "one image": (np.ones((16, 16, 3), np.uint8), ValueError, "images: embed them"),
    "texts": (["a cat", "a dog"], TypeError, "'a cat'. Embed texts first"),
    "series of texts": (pd.Series(["a cat", "a dog"]), TypeError, "Embed texts first"),
    "digits": (Z_IMG.astype(str), TypeError, "Convert digits"),
    "mixed frame": (pd.DataFrame({"id": ["a", "b"], "e": [1.0, 2.0]}), TypeError, "columns of numbers"),
    "path": ("z_img.npy", TypeError, "open_embeddings"),
    "generator": ((row for row in Z_IMG), TypeError, "list"),
    "dict": ({"a": Z_IMG}, TypeError, "dict of 'a'; pass one of its arrays"),
    "output": (OrderedDict(image_embeds=Z_IMG), TypeError, r"pass \w+\['image_embeds'\]"),
    "output object": (SimpleNamespace(pooler_output=Z_IMG), TypeError, r"pass \w+\.pooler_output"),
    "batch": ({"pixel_values": Z_IMG}, TypeError, "embed it first"),
    "values of a dict": ({0: Z_IMG[0]}.values(), TypeError, "list"),
    "pictures": (
        [SimpleNamespace(__array_interface__=1), Z_IMG],
        (TypeError, ValueError),
        "row 0|SimpleName",
    ),
    "no rows": ([], ValueError, "no rows"),
    "column beside others": (
        pd.DataFrame({"id": range(N), "e": list(Z_IMG)}),
        TypeError,
        "one column of emb",
    ),
    "masked row": ([np.ma.masked_all(D), *Z_IMG], ValueError, r"z_\w+ is masked in row 0;"),
    "none": (None, TypeError, "real numbers, got NoneType"),
    "number": (3.0, ValueError, "two-dimensional"),
    "csr": (sparse.csr_matrix(Z_IMG), TypeError, r"\.toarray\(\)"),
    "sparse tensor": (torch.from_numpy(Z_IMG).to_sparse(), TypeError, r"\.to_dense\(\)"),
    "meta": (torch.from_numpy(Z_IMG).to("meta"), TypeError, "no values"),
    "objects": (np.array([[object()] * D] * N), TypeError, "real numbers, got objects: object"),
    "records": (np.zeros(N, dtype=[("a", "f4"), ("b", "f4")]), TypeError, "records of several fields"),
}


# As candidates these have a meaning, of which tests/inputs/test_candidates.py has more.
PROMPTS = ("batches", "equal batches", "an axis of one", "dict")


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_is_no_matrix_is_named_with_a_remedy(what):
    given, error, message = UNREADABLE[what]
    for name, call in {
        "z_img": lambda given: MCM.predict(given, Z_TXT),
        "z_txt_set": lambda given: MCM.predict_uncertainty(Z_IMG, given),
        "z_txt": lambda given: evaluate(MCM, Z_IMG, given, LABELS),
    }.items():
        if what in PROMPTS and name != "z_img":
            continue
        with pytest.raises(error, match=message) as caught:
            call(given)
        assert name in str(caught.value)
    if what not in ("images", "none", "objects", "number", "digits", "texts"):  # scikit-learn's own words
        with pytest.raises((ValueError, TypeError)) as caught:
            MCM.bind(Z_TXT).rank_uncertainty(given)
        assert "X" in str(caught.value) or "sample" in str(caught.value) or "array" in str(caught.value)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_are_named_with_a_remedy(layout):
    nested = torch.nested.as_nested_tensor(list(torch.from_numpy(Z_IMG)), layout=layout)
    for call in (lambda: MCM.predict(nested, Z_TXT), lambda: MCM.predict(Z_IMG, nested)):
        with pytest.raises(TypeError, match=r"pass torch.stack\(z_\w+.unbind\(\)\)"):
            call()


def test_outputs_of_a_model_that_embeds_both_name_the_one_that_is_meant():
    output = SimpleNamespace(image_embeds=Z_IMG, text_embeds=Z_TXT)
    with pytest.raises(TypeError, match=r"z_img\.image_embeds"):
        MCM.predict(output, Z_TXT)
    with pytest.raises(TypeError, match=r"z_txt_set\.text_embeds"):
        MCM.predict(Z_IMG, output)


def test_swapped_arguments_are_told():
    with pytest.raises(ValueError, match="labels go third"):
        check_task(Z_IMG, LABELS, Z_TXT)
    with pytest.raises(ValueError, match="labels go third"):
        ViLUEstimator().fit(Z_IMG, LABELS.tolist(), torch.from_numpy(Z_TXT))


def test_swapped_images_and_candidates_are_told():
    with pytest.raises(ValueError, match=rf"labels has {N} entries but z_img has {K} rows.*swapped\?"):
        check_task(Z_TXT, Z_IMG, LABELS)


def containers(values):
    """The same vector in every container that holds one."""
    values = np.asarray(values)
    nullable = {"b": "boolean", "i": "Int64", "f": "Float64", "U": "string"}[values.dtype.kind]
    found = {
        "list": values.tolist(),
        "list of scalars": list(values),
        "tuple": tuple(values.tolist()),
        "objects": values.astype(object),
        "unmasked": np.ma.array(values),
        "series": pd.Series(values),
        "shuffled index": pd.Series(values, index=RNG.permutation(len(values))),
        "nullable": pd.Series(values, dtype=nullable),
        "nullable array": pd.array(values, dtype=nullable),
        "category": pd.Series(values).astype("category"),
        "categorical": pd.Categorical(values),
        "index": pd.Index(values),
        "arrow series": pd.Series(values.tolist()).convert_dtypes(dtype_backend="pyarrow"),
        "arrow": pa.array(values.tolist()),
        "arrow chunks": pa.chunked_array([values[:5].tolist(), values[5:].tolist()]),
        "arrow scalars": list(pa.array(values.tolist())),
        "arrow dictionary": pa.array(values.tolist()).dictionary_encode(),
        "polars": pl.Series(values.tolist()),
    }
    if values.dtype.kind != "U":
        tensor = torch.from_numpy(values)
        found |= {
            "tensor": tensor,
            "list of tensors": list(tensor),
            "strided tensor": tensor.repeat_interleave(2)[::2],
        }
    else:
        found["polars category"] = pl.Series(values.tolist(), dtype=pl.Categorical)
    return found


READERS = {
    "labels": (LABELS, lambda given: check_labels(given, N, K)),
    "correct": (LABELS > 1, lambda given: check_correct(given, N)),
    "sample_weight": (RNG.random(N), lambda given: check_weights(given, N)),
    "whole sample_weight": (1 + LABELS, lambda given: check_weights(given, N)),
    "uncertainty": (RNG.random(N), lambda given: as_vector(given, "uncertainty")),
    "failure": (LABELS > 1, lambda given: as_vector(given, "failure")),
    "whole groups": (LABELS, lambda given: check_groups(given, N)),
    "yes or no groups": (LABELS > 1, lambda given: check_groups(given, N)),
    "named groups": (np.array(["cam a", "b", "c", "1"])[LABELS], lambda given: check_groups(given, N)),
}


@pytest.mark.parametrize("argument", READERS)
def test_vectors_are_the_same_out_of_every_container(argument):
    values, read = READERS[argument]
    expected = np.asarray(read(values))
    for container, given in containers(values).items():
        found = np.asarray(read(given))
        assert found.dtype == expected.dtype, container
        np.testing.assert_array_equal(found, expected, err_msg=container)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32])
def test_labels_are_integers_of_any_width(dtype):
    assert check_labels(torch.from_numpy(LABELS).to(dtype), N, K).tolist() == LABELS.tolist()


def test_answers_are_the_same_out_of_every_container():
    predicted = MCM.predict(Z_IMG, Z_TXT)
    failure, u = predicted != LABELS, MCM.predict_uncertainty(Z_IMG, Z_TXT)
    half = CoveragePredictor(MCM, 0.5)
    names = np.array(["x", "y"])[LABELS % 2]

    def answers(labels, right, wrong, scores, groups):
        return [
            evaluate(MCM, Z_IMG, Z_TXT, labels)["auc"],
            failure_metrics(scores, wrong, probability=True)["ece"],
            half.fit(Z_IMG, Z_TXT, labels, groups=groups).accept(Z_IMG, Z_TXT, groups=groups).tolist(),
            half.fit(Z_IMG, Z_TXT, correct=right).report_.threshold,
            MCM.bind(Z_TXT).fit(Z_IMG, labels).score(Z_IMG, labels),
            MCM.bind(None).fit(Z_IMG, labels).predict(Z_IMG).tolist(),
            MCM.bind(None).fit(Z_IMG, groups).predict(Z_IMG).tolist(),
            TemperatureScaledMCMScorer().fit(Z_IMG, Z_TXT, labels, sample_weight=scores).temperature_,
        ]

    plainly = (LABELS, ~failure, failure, u, names)
    expected = answers(*plainly)
    kept = [containers(values) for values in plainly]
    for container in ("nullable", "objects", "arrow chunks", "category", "polars", "list of scalars"):
        assert answers(*(same[container] for same in kept)) == expected, container


MISSING = {
    "None": lambda values: with_missing(values, None),
    "NaN": lambda values: with_missing(values, float("nan")),
    "NA": lambda values: with_missing(values, pd.NA),
    "nullable": lambda values: pd.array(with_missing(values, None)),
    "arrow": lambda values: pa.array(with_missing(values, None)),
    "polars": lambda values: pl.Series(with_missing(values, None)),
    "masked": lambda values: np.ma.array(values, mask=np.arange(N) == 3),
    "masked constant": lambda values: with_missing(values, np.ma.masked),
}


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("argument", READERS)
def test_what_is_missing_is_named_by_its_row(argument, missing):
    values, read = READERS[argument]
    with pytest.raises(ValueError, match=rf"{argument.split()[-1]}.*\b3\b"):
        read(MISSING[missing](values.tolist()))


@pytest.mark.parametrize("argument", READERS)
def test_what_is_no_vector_is_named_with_a_remedy(argument):
    values, read = READERS[argument]
    name = argument.split()[-1]
    for given in (values[:, None], pd.DataFrame({"y": values}), values[None]):
        with pytest.raises(ValueError, match=rf"{name} must be one-dimensional.*ravel\({name}\)"):
            read(given)
    for given in ("labels.csv", {"a": values}, iter(values), set(values.tolist()), sparse.eye(3), object()):
        with pytest.raises((TypeError, ValueError), match=name):
            read(given)


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_every_scorer_learns_the_same_out_of_every_container(scorer):
    plainly = clone(scorer).fit(Z_IMG, Z_TXT, LABELS)
    expected = plainly.decision_function(Z_IMG, Z_TXT)
    for images, texts, labels in (
        (pd.Series(list(torch.from_numpy(Z_IMG))), pd.DataFrame(Z_TXT).astype("Float32"), pl.Series(LABELS)),
        (pa.array(Z_IMG.tolist()), list(torch.tensor(Z_TXT, requires_grad=True)), pd.array(LABELS)),
    ):
        fitted = clone(scorer).fit(images, texts, labels)
        np.testing.assert_array_equal(fitted.decision_function(images, texts), expected)
        np.testing.assert_array_equal(fitted.predict(images, texts), plainly.predict(Z_IMG, Z_TXT))
        if hasattr(scorer, "adapt"):
            moved = fitted.adapt(images, texts, labels).decision_function(images, texts)
            adapted = deepcopy(plainly).adapt(Z_IMG, Z_TXT, LABELS)
            np.testing.assert_array_equal(moved, adapted.decision_function(Z_IMG, Z_TXT))
    for given in (masked_rows(), torch.from_numpy(Z_IMG).to_sparse(), {"a": Z_IMG}, ["a cat"]):
        with pytest.raises((TypeError, ValueError), match="z_img"):
            clone(scorer).fit(given, Z_TXT, LABELS)
        with pytest.raises((TypeError, ValueError), match="z_img"):
            plainly.decision_function(given, Z_TXT)


def test_labels_of_another_kind_are_told_what_to_become():
    one_hot = np.eye(K, dtype=int)[LABELS]
    for given, remedy in {
        "columns of classes": (one_hot, r"labels\.argmax\(axis=1\)"),
        "from 1": (LABELS + 1, "start at 1: subtract 1"),
        "feedback": (LABELS > 0, "correct="),
        "whole floats": (LABELS.astype(float), "convert them"),
        "names": (np.array(list("abcd"))[LABELS], r"names\.index"),
        "short floats": (torch.from_numpy(LABELS).bfloat16(), "convert them"),
    }.values():
        with pytest.raises(ValueError, match=f"labels must .*{remedy}"):
            check_labels(given, N, K)
    with pytest.raises(ValueError, match="same class order"):
        check_labels(LABELS + 2, N, K)


def test_groups_are_whatever_can_be_told_apart():
    for values in (
        pd.cut(pd.Series(LABELS), 2),
        pd.Series(pd.date_range("2024-01-01", periods=K))[LABELS],
        [b"a"] * N,
        RNG.integers(3, size=N) / 2,
    ):
        report = CoveragePredictor(MCM, 0.5).fit(Z_IMG, Z_TXT, LABELS, groups=values).report_
        assert [part.group for part in report.groups] == sorted(set(check_groups(values, N).tolist()))
    with pytest.raises(ValueError, match=r"groups must hold one integer or string.*int and str"):
        check_groups(np.array(["a", 1] * (N // 2), dtype=object), N)


def test_plain_arrays_are_not_copied():
    tensor = torch.from_numpy(Z_IMG)
    assert plain(Z_IMG, "z") is Z_IMG
    assert to_numpy(Z_IMG, "z") is Z_IMG
    assert plain(tensor, "z").data_ptr() == tensor.data_ptr()
    assert vector(LABELS, "labels", N) is LABELS


def test_a_monitor_takes_what_a_scorer_takes():
    monitor = ShiftMonitor(MCM, random_state=0).fit(pd.DataFrame(Z_IMG).astype("Float32"), list(Z_TXT))
    assert monitor.check(pd.Series(list(Z_IMG))).embedding_distance == 0
