"""Names are text, each once, and found as people read them."""

import unicodedata

import numpy as np
import pytest

from vilu_sdk import MCMScorer
from vilu_sdk.inputs.names import Names, row_numbers
from vilu_sdk.inputs.places import BadRowError, place, reading
from vilu_sdk.inputs.shards import open_embeddings

ODD = [
    "007",
    "7",
    "1_0",
    "+3",
    "2.0",
    "True",
    "nan",
    "٣",
    "naïve $x$ <b>",
    "dog|cat",
    "a\u2028b",
    'c "q", d',
    "猫",
]


def test_every_name_finds_its_own_row_however_it_is_composed():
    rng = np.random.default_rng(0)
    order = rng.permutation(len(ODD))
    names = Names([ODD[k] for k in order], "names")
    for form in ("NFC", "NFD"):
        labels = [f"  {unicodedata.normalize(form, name)} " for name in ODD]
        np.testing.assert_array_equal(names.rows(labels, "labels"), np.argsort(order))
    assert [names[row] for row in names.rows(ODD, "labels")] == ODD
    assert list(names) == names.written
    assert len(names) == len(ODD)


@pytest.mark.parametrize("other", ["crane", " crane ", "crâne"])
def test_a_name_given_twice_is_refused_with_both_rows(other):
    first = unicodedata.normalize("NFD", other) if other == "crâne" else "crane"
    with pytest.raises(ValueError, match=r"n.txt has 'cr.ne' twice, in row 1 and in row 3"):
        Names(["dog", first, "cat", other], "n.txt")


def test_numbers_are_names_as_they_are_printed():
    assert Names(np.array([10, 2]), "names").written == ["10", "2"]
    with pytest.raises(ValueError, match="no name in row 1"):
        Names(["a", " "], "names")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["cat", "Doog"], "labels has 'Doog' in row 1, which is not in names; did you mean 'dog'"),
        (["cat", "qqqqqqq"], "whose first are 'cat', 'dog', 'cow'"),
        (["0", "2"], "every label is a row number; pass integers in .npy, or leave out the names"),
        (["0", "3"], "whose first are"),
        (["cat", "2"], "labels has '2' in row 1, which is not in names"),
        (["x" * 10_000], "labels has 'xxx"),
    ],
)
def test_what_is_no_name_is_refused_with_its_row_and_a_remedy(labels, message):
    with pytest.raises(BadRowError) as raised:
        Names(["cat", "dog", "cow"], "names").rows(labels, "labels")
    assert message in str(raised.value)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("wrong", ["2.0", "+3", "1_0", "007", "00", "-0", "٣", "True", "1e2", "", "9" * 30])
def test_only_plain_numbers_are_row_numbers(wrong):
    np.testing.assert_array_equal(row_numbers(["0", " 12 ", "-1"], "labels"), [0, 12, -1])
    with pytest.raises(BadRowError, match=r"labels has '.*' in row 1; a row number is written as"):
        row_numbers(["0", wrong], "labels")


def test_a_place_is_a_row_of_the_source_and_of_its_file(tmp_path):
    paths = [tmp_path / f"z_{number}.npy" for number in range(3)]
    z = np.random.default_rng(0).normal(size=(9, 4))
    for number, path in enumerate(paths):
        np.save(path, z[3 * number : 3 * number + 3])
    shards = open_embeddings(tmp_path)
    for row in range(9):
        where = f"row {row} (row {row % 3} of z_{row // 3}.npy)"
        assert place(row, paths, [0, 3, 6, 9]) == where
        assert shards.place(row) == f"{where} of {tmp_path}"
    assert open_embeddings(paths[0]).place(2) == f"row 2 of {paths[0]}"


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    paths = [tmp_path / folder / "z.npy" for folder in "ab"]
    for path in paths:
        path.parent.mkdir()
        np.save(path, np.eye(2))
    assert open_embeddings(paths).place(2) == f"row 2 (row 0 of b/z.npy) of {tmp_path}"


@pytest.mark.parametrize("error", [EOFError(), KeyError("x"), OSError("no number"), RuntimeError("y" * 5000)])
def test_errors_of_libraries_get_the_file_and_a_remedy(error, tmp_path):
    with pytest.raises(ValueError, match=r"damaged .*; copy or write it again") as raised, reading(tmp_path):
        raise error
    assert str(tmp_path) in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    "error",
    [ValueError("{} is wrong"), OSError(5, "Input/output error"), ImportError("pyarrow"), MemoryError()],
)
def test_other_errors_pass(error, tmp_path):
    error.args = tuple(str(part).format(tmp_path) if isinstance(part, str) else part for part in error.args)
    with pytest.raises(type(error)) as raised, reading(tmp_path):
        raise error
    assert raised.value is error
    if isinstance(error, OSError):
        assert error.filename == str(tmp_path)


def test_names_given_beside_candidates_are_taken_by_place(toy):
    import pandas as pd

    from vilu_sdk.labels import find_label_issues

    names = [f"class {k}" for k in range(len(toy.z_txt))]
    data, scorer = (toy.z_img[:60], toy.z_txt), MCMScorer()
    expected = scorer.judge(*data, names=names), find_label_issues(*data, toy.labels[:60], names=names)
    for given in (pd.Series(names, index=range(len(names))[::-1]), np.array(names), tuple(names)):
        assert str(scorer.judge(*data, names=given)) == str(expected[0])
        assert find_label_issues(*data, toy.labels[:60], names=given).to_text() == expected[1].to_text()
