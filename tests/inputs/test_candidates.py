"""Candidates in all their forms are an array and names; what has no plain meaning is told with a remedy."""

import numpy as np
import pandas as pd
import pytest
import torch

from support.held import NAMES, PROMPTS, TASK, FakeColumn, ModelOutput, class_label, named, text
from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.inputs.candidates import open_candidates
from vilu_sdk.inputs.columns import Column
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.task import check_task
from vilu_sdk.inputs.values import check_labels
from vilu_sdk.selective import CoveragePredictor

Z = TASK.z_txt
MCM = MCMScorer(logit_scale=5)


def test_an_array_passes_through_as_it_is():
    for plain in (Z, torch.from_numpy(Z), Z[:, None][:, 0], np.asfortranarray(Z), list(Z), pd.DataFrame(Z)):
        opened = open_candidates(plain)
        assert opened.values is plain
        assert (opened.names, opened.prompts) == (None, 1)
        assert open_candidates(opened) is opened


def test_of_an_array_no_number_is_looked_at():
    huge = np.lib.stride_tricks.as_strided(np.ones(1, np.float32), (10**12, 64), (0, 0))
    assert open_candidates(huge).values is huge  # which would take days


def test_one_prompt_each_is_the_row_that_was_given_with_its_norm():
    for single in (Z[:, None], torch.from_numpy(Z)[:, None], [row[None] for row in Z], named(Z[:, None])):
        values = open_candidates(single).values
        np.testing.assert_array_equal(np.asarray(values), Z)


def test_prompts_count_alike_whatever_their_norms_and_order():
    rng = np.random.default_rng(0)
    scaled = PROMPTS * rng.uniform(0.01, 100, size=(4, 5, 1)).astype(np.float32)
    one = open_candidates(PROMPTS).values
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, rtol=1e-6)
    for other in (scaled, PROMPTS[:, ::-1], np.repeat(PROMPTS, 3, axis=1)):
        np.testing.assert_allclose(open_candidates(other).values, one, rtol=1e-4, atol=1e-6)


def test_rows_numbered_as_they_are_anyway_have_no_names():
    for plain in (
        dict(enumerate(Z)),
        pd.DataFrame(Z),
        pd.Series(list(Z)),
        pd.DataFrame(Z, index=np.arange(4)),
    ):
        assert open_candidates(plain).names is None
        np.testing.assert_array_equal(MCM.predict(TASK.z_img, plain), MCM.predict(TASK.z_img, Z))


REFUSED = {
    "a name twice": (
        pd.DataFrame(Z, index=["a", "b", "a", "c"]),
        ValueError,
        "'a' twice, in row 0 and in row 2",
    ),
    "a name twice as people read": ({"é": Z[0], "e\u0301": Z[1]}, ValueError, "twice, in row 0 and in row 1"),
    "no name": ({"": Z[0], "b": Z[1]}, ValueError, "has no name in row 0"),
    "numbers for names": ({1: Z[0], 0: Z[1]}, TypeError, "names of type int, such as 1. Names are text"),
    "an index of rows left": (pd.DataFrame(Z).drop(index=1), TypeError, r"reset_index\(drop=True\)"),
    "a mixture of names": ({"a": Z[0], 1: Z[1]}, TypeError, "int and str"),
    "a missing name": (pd.DataFrame(Z, index=["a", None, "b", "c"]), TypeError, "Names are text"),
    "no candidates": ({}, ValueError, "has no rows"),
    "a batch of one": (Z[None], ValueError, r"two-dimensional.*Drop the first axis"),
    "no prompts": ({"a": Z, "b": Z[:0]}, ValueError, r"\['b'\] has shape \(0, 8\)"),
    "prompts that cancel": ({"a": Z, "b": np.stack([Z[0], -Z[0]])}, ValueError, r"\['b'\] cancel"),
    "prompts of two widths": ({"a": Z, "b": Z[:, :3]}, ValueError, r"\['b'\] has rows of width 3, .*\['a'\]"),
    "a bad prompt": (
        {"a": Z, "b": np.where(np.arange(4)[:, None] == 2, np.nan, Z)},
        ValueError,
        "prompt 2 of",
    ),
    "a bad prompt of a list": (
        [Z, np.where(np.arange(4)[:, None] == 1, 0, Z)],
        ValueError,
        r"prompt 1 of z_\w+\[1\]",
    ),
    "a bad row": ({"a": Z[0], "b": Z[1] * np.inf}, ValueError, "row 1"),
    "texts": ({"a": "a photo of a", "b": "a photo of b"}, TypeError, "Embed texts first"),
    "an array of four axes": (PROMPTS[None], ValueError, "two-dimensional"),
    "a frame with a column of names": (
        pd.DataFrame({"name": NAMES, "e": list(Z)}),
        TypeError,
        r"set_index",
    ),
}


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_set_of_candidates_is_told_with_a_remedy(what):
    given, error, message = REFUSED[what]
    for name, call in {
        "z_txt_set": lambda given: MCM.judge(TASK.z_img, given),
        "z_txt": lambda given: ViLUEstimator().fit(TASK.z_img, given, TASK.labels),
    }.items():
        with pytest.raises(error, match=message) as caught:
            call(given)
        assert name in str(caught.value)


def test_a_name_that_no_candidate_has_is_told_with_the_nearest():
    labels = text(TASK.labels)
    labels[7] = "naive dog"
    labels[9] = "bird"
    for known in (labels, np.array(labels), pd.Series(labels, dtype="string"), pd.Categorical(labels)):
        with pytest.raises(
            ValueError, match=r"labels has 'naive dog' in row 7, .*z_txt; did you mean 'naïve dog'"
        ):
            check_task(TASK.z_img, named(Z), known)
    with pytest.raises(ValueError, match="labels has '7' in row 0"):  # which is not 007
        check_task(TASK.z_img[:1], named(Z), ["7"])
    with pytest.raises(ValueError, match=r"got strings.*mapping from names to embeddings"):
        check_task(TASK.z_img, Z, labels)
    mixed = [1, *text(TASK.labels[1:])]
    with pytest.raises(ValueError, match="all names, or all row numbers"):
        check_task(TASK.z_img, named(Z), mixed)


def test_integers_are_row_numbers_beside_names_but_those_of_classes_with_other_names():
    expected = torch.from_numpy(TASK.labels)
    assert torch.equal(check_task(TASK.z_img, named(Z), TASK.labels).labels, expected)
    others = ["unused", *NAMES[::-1]]
    codes = [others.index(name) for name in text(TASK.labels)]
    column = FakeColumn(codes, class_label(others))
    assert torch.equal(check_task(TASK.z_img, named(Z), column).labels, expected)
    with pytest.raises(ValueError, match="must lie in"):  # without names it is what it says
        check_task(TASK.z_img, Z, column)
    with pytest.raises(ValueError, match="class names of labels has 'unused'"):
        check_labels(FakeColumn([0, 1], class_label(others)), 2, 4, names=open_candidates(named(Z)).names)


def test_columns_of_data_sets_are_read_in_batches(monkeypatch):
    monkeypatch.setattr("vilu_sdk.inputs.rows.CHUNK_ELEMENTS", 10 * 8)
    column = FakeColumn(TASK.z_img.tolist())
    np.testing.assert_array_equal(MCM.predict(column, Z), MCM.predict(TASK.z_img, Z))
    assert max(column.asked) == 10
    assert sum(column.asked) < 2 * len(TASK.z_img)
    rows = Column(column, "z_img")
    assert (rows.shape, rows.dtype, len(rows)) == ((120, 8), np.dtype(float), 120)
    np.testing.assert_array_equal(rows[[5, 3]], np.array(TASK.z_img.tolist())[[5, 3]])
    np.testing.assert_array_equal(rows[3], TASK.z_img[3])
    bad = TASK.z_img.tolist()
    bad[77] = None
    with pytest.raises(ValueError, match="z_img has None in row 77 where an embedding"):
        MCM.predict(FakeColumn(bad), Z)
    bad[77] = [np.nan] * 8
    with pytest.raises(ValueError, match=r"z_img has a NaN.* in row 77"):
        MCM.predict(FakeColumn(bad), Z)


def test_transformers_outputs_are_taken_where_they_hold_one_embedding():
    outputs = pytest.importorskip("transformers.modeling_outputs")
    z = torch.from_numpy(TASK.z_img)
    output = outputs.BaseModelOutputWithPooling(last_hidden_state=z[:, None], pooler_output=z)
    np.testing.assert_array_equal(MCM.predict(output, Z), MCM.predict(TASK.z_img, Z))
    assert torch.equal(Rows(output, "z_img").read(), Rows(z, "z_img").read())
    with pytest.raises(TypeError, match=r"pass z_img\.image_embeds|pass z_img\['image_embeds'\]"):
        MCM.predict(ModelOutput(image_embeds=z, text_embeds=z), Z)


def test_thresholds_of_classes_go_by_name():
    half = CoveragePredictor(MCM, 0.5, per_class=True).fit(TASK.z_img, named(Z), text(TASK.labels))
    assert {part.group for part in half.report_.groups} == set(NAMES)
    assert "naïve dog" in str(half.report_)
    plain = CoveragePredictor(MCM, 0.5, per_class=True).fit(TASK.z_img, Z, TASK.labels)
    expected = plain.accept(TASK.z_img, Z)
    order = [2, 0, 3, 1]
    swapped = {NAMES[row]: Z[row] for row in order}
    for given in (named(Z), Z):
        np.testing.assert_array_equal(half.accept(TASK.z_img, given), expected)
    with pytest.warns(UserWarning, match="not those of fit"):
        np.testing.assert_array_equal(half.accept(TASK.z_img, swapped), expected)
    with pytest.raises(ValueError, match="those of 4 names"):
        half.accept(TASK.z_img, Z[:3])
