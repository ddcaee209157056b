"""What a table may hold a file may hold, and both name the row that has no embedding."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vilu_sdk import MCMScorer
from vilu_sdk.inputs import open_embeddings
from vilu_sdk.inputs.containers import plain
from vilu_sdk.inputs.places import BadRowError
from vilu_sdk.inputs.tables import split
from vilu_sdk.scale import score_partition, score_to_folder

N, D = 20, 6
Z = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
ROWS = [row.tolist() for row in Z]
F32 = pa.float32()


def tensors(shape):
    return lambda rows: pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(F32, shape), pa.array(rows, pa.list_(F32, D))
    )


def nested(kind):
    return lambda rows: pa.array([None if row is None else [row] for row in rows], kind)


FORMS = {
    "list": lambda rows: pa.array(rows, pa.list_(F32)),
    "large": lambda rows: pa.array(rows, pa.large_list(F32)),
    "fixed": lambda rows: pa.array(rows, pa.list_(F32, D)),
    "view": lambda rows: pa.array(rows, pa.list_view(F32)),
    "large view": lambda rows: pa.array(rows, pa.large_list_view(F32)),
    "double": lambda rows: pa.array(rows, pa.list_(pa.float64())),
    "tensor": tensors((D,)),
    "tensor of two dimensions": tensors((1, D)),
    "list of a list": nested(pa.list_(pa.list_(F32))),
    "fixed list of a fixed list": nested(pa.list_(pa.list_(F32, D), 1)),
    "chunked": lambda rows: pa.chunked_array(
        [pa.array(part, pa.list_(F32)) for part in (rows[:7], rows[7:])]
    ),
}
# Earlier ones write no views, and do not read a null in lists of one length.
if OLD := int(pa.__version__.split(".")[0]) < 20:
    FORMS = {name: make for name, make in FORMS.items() if "view" not in name}
#: Forms that only a table has.
IN_MEMORY = {
    "dictionary": lambda rows: pa.DictionaryArray.from_arrays(
        pa.array(range(len(rows))), pa.array(rows, pa.list_(F32))
    ),
    "slice": lambda rows: pa.array([rows[0], *rows, rows[0]], pa.list_(F32)).slice(1, len(rows)),
    "slice of views": lambda rows: pa.array([rows[0], *rows, [1.0]], pa.list_view(F32)).slice(1, len(rows)),
}
RAGGED = [form for form in FORMS if "fixed" not in form and "tensor" not in form]


def table(values):
    return pa.table({"id": range(len(values)), "tags": [["a"]] * len(values), "z": values})


@pytest.mark.parametrize("form", [*FORMS, *IN_MEMORY])
def test_every_form_is_the_same_rows(tmp_path, form):
    rows = table((FORMS | IN_MEMORY)[form](ROWS))
    frames = [] if form == "dictionary" else [rows.to_pandas()]  # which pandas refuses
    np.testing.assert_array_equal(plain(rows["z"], "z"), Z)
    for given in (rows, rows.to_batches()[0], *frames):
        z = split(given, None, ()).values(None)
        np.testing.assert_array_equal(z, Z[: len(z)])
        assert len(z) in (N, 7)
    if form in FORMS:
        pq.write_table(rows, tmp_path / "z.parquet", row_group_size=8)
        source = open_embeddings(tmp_path / "z.parquet")
        np.testing.assert_array_equal(source[:], Z)
        np.testing.assert_array_equal(source[[13, 2, 2]], Z[[13, 2, 2]])
        done = score_to_folder(tmp_path / "z.parquet", tmp_path / "out", MCMScorer(), np.eye(D))
        expected = MCMScorer().predict(Z, np.eye(D))
        np.testing.assert_array_equal(pq.read_table(done.files[0])["prediction"], expected)


def bad_rows():
    for form in FORMS:
        for row in (0, 5, N - 1):
            yield form, row, None
    for form in RAGGED:
        for row in (0, 5):
            yield form, row, []
        yield form, 5, [1.0, 2.0]


@pytest.mark.parametrize(("form", "row", "value"), list(bad_rows()), ids=str)
def test_a_row_without_an_embedding_is_named_like_any_other(tmp_path, form, row, value):
    values = FORMS[form]([*ROWS[:row], value, *ROWS[row + 1 :]])
    with pytest.raises(BadRowError, match=rf"'z' .* in row {row} ") as raised:
        score_partition(table(values), MCMScorer(), np.eye(D))
    assert raised.value.row == row
    if OLD and form not in RAGGED:
        pytest.skip("this pyarrow does not read a null in lists of one length")
    # As the second shard of a folder: the row of all of it, and of the file.
    pq.write_table(table(FORMS["list"](ROWS)), tmp_path / "z_0.parquet")
    pq.write_table(table(values), tmp_path / "z_1.parquet", row_group_size=8)
    for read in (
        lambda: open_embeddings(tmp_path)[:],
        lambda: MCMScorer().predict(open_embeddings(tmp_path), np.eye(D)),
        lambda: score_to_folder(tmp_path, tmp_path / "out", MCMScorer(), np.eye(D), piece_rows=8),
    ):
        if form == "double":
            pq.write_table(table(FORMS["double"](ROWS)), tmp_path / "z_0.parquet")
        with pytest.raises(BadRowError, match=rf"row {N + row} \(row {row} of z_1\.parquet\)") as raised:
            read()
        assert raised.value.row == N + row


def test_the_row_is_that_of_the_source_where_a_value_is_bad(tmp_path):
    z = Z.copy()
    z[13, 2] = np.nan
    for number, part in enumerate(np.array_split(z, 4)):
        np.save(tmp_path / f"z_{number}.npy", part)
    for read in (
        lambda: MCMScorer().predict(open_embeddings(tmp_path), np.eye(D)),
        lambda: score_to_folder(tmp_path, tmp_path / "out", MCMScorer(), np.eye(D), piece_rows=2),
    ):
        with pytest.raises(BadRowError, match=rf"in row 13 \(row 3 of z_2\.npy\) of {tmp_path};"):
            read()


def test_a_missing_number_is_not_a_number(tmp_path):
    rows = [[1, 2, 3], [4, None, 6], [7, 8, 9]]
    for kind in (pa.int8(), pa.float32()):
        values = pa.table({"z": pa.array(rows, pa.list_(kind))})
        pq.write_table(values, tmp_path / "z.parquet")
        with pytest.raises(BadRowError, match="in row 1") as raised:
            MCMScorer().predict(open_embeddings(tmp_path / "z.parquet"), np.eye(3))
        assert raised.value.row == 1
        with pytest.raises(BadRowError, match=r"NaN.* in row 1"):
            score_partition(values, MCMScorer(), np.eye(3))


@pytest.mark.parametrize("rows", [[None, None], [[], []]], ids=str)
def test_a_column_without_embeddings_is_refused(tmp_path, rows):
    pq.write_table(pa.table({"z": pa.array(rows, pa.list_(F32))}), tmp_path / "z.parquet")
    with pytest.raises(ValueError, match=r"z.parquet has no embedding in any row of the column 'z'"):
        open_embeddings(tmp_path / "z.parquet")


def test_lists_of_several_lists_are_no_embeddings(tmp_path):
    values = pa.table({"z": [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]]})
    with pytest.raises(BadRowError, match="in row 1 where an embedding belongs"):
        score_partition(values, MCMScorer(), np.eye(2))
    pq.write_table(values, tmp_path / "z.parquet")
    with pytest.raises(BadRowError, match="row 1 has none"):
        open_embeddings(tmp_path / "z.parquet")[:]
