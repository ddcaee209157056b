"""Text files as users have them: encodings, line ends, separators, headers and quotes."""

import codecs
import re

import pytest

from vilu_sdk.inputs.formats import read_vector

NAMES = ["hund", "käse", "猫", "naïve $x$ <b>", "dog|cat", "007", "a\u2028b", "c\x0cd"]
ENCODINGS = {
    "utf-8": "utf-8",
    "utf-8 with a mark": "utf-8-sig",
    "utf-16": "utf-16",
    "utf-32": "utf-32",
}


def written(path, lines, encoding="utf-8", end="\n"):
    path.write_bytes(end.join(lines).encode(encoding))
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_lines_and_columns_hold_the_same(tmp_path, encoding, end):
    padded = [f" {name}\t" if end == "\n" else name for name in NAMES]
    lines = written(tmp_path / "n.txt", [*padded, "", "  ", ""], encoding, end)
    assert read_vector(lines, None).tolist() == NAMES
    for kind, mark in (("csv", ","), ("csv", ";"), ("csv", "\t"), ("tsv", "\t"), ("CSV", ";"), ("TSV", "\t")):
        rows = [f"{row}{mark}{name}" for row, name in enumerate(NAMES)]
        table = written(tmp_path / f"n.{kind}", [f"id{mark} label ", *rows, "", ""], encoding, end)
        assert read_vector(table, "label").tolist() == NAMES
        assert read_vector(table, "id").tolist() == [str(row) for row in range(len(NAMES))]


def test_big_endian_is_read_too(tmp_path):
    (tmp_path / "n.TXT").write_bytes(codecs.BOM_UTF16_BE + "\n".join(NAMES).encode("utf-16-be"))
    assert read_vector(tmp_path / "n.TXT", None).tolist() == NAMES


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["name", "a", "b"], ["a", "b"]),
        (["name,", "a,x", "b,"], ["a", "b"]),  # a column without a name is none
        ([",name", "0,a", "1,b"], ["a", "b"]),  # such as the index of pandas
        (["name;", "a;", "b;"], ["a", "b"]),
        (["name", "a,", "b,"], ["a", "b"]),  # a separator at the end
        (['"name"', '"a, b"', '"c ""q"""', '"d\ne"'], ["a, b", 'c "q"', "d\ne"]),
        (["name", *"ab", "", " ", ","], ["a", "b"]),
    ],
)
def test_a_column_alone_needs_no_name(tmp_path, lines, expected):
    assert read_vector(written(tmp_path / "n.csv", lines), None).tolist() == expected


@pytest.mark.parametrize(
    ("file", "lines", "column", "message"),
    [
        ("n.csv", ["a,b", "1,2"], None, "must have one column; pass column"),
        ("n.csv", ["a,b", "1,2"], "c", "none is called 'c'. It has: a, b."),
        ("n.csv", ["a,a", "1,2"], "a", "has 2 of the name 'a'; rename all but one column"),
        ("n.csv", ["a,a", "1,2"], None, "has 2 of the name 'a'; rename all but one column"),
        ("n.csv", [f"{','.join(f'c{n}' for n in range(500))}"], None, "c19 and 480 more"),
        ("n.csv", [], None, "begins with no header"),
        ("n.csv", ["a", "1", "", "2"], None, "has no value in row 1"),
        ("n.csv", ["a,b", "1,2", "3", "4,5"], "b", "has no value in row 1"),
        ("n.csv", ["a,b", "1,2", "3,4,5"], "b", "has 3 values in row 1 under a header of 2"),
        ("n.csv", ["a", "1", '"2'], None, "is no table in line 3"),
        ("n.csv", ["a", "x" * 200_000], None, "is no table in line 2"),
        ("n.txt", ["1", " ", "2"], None, "has no value in row 1"),
        ("n.txt", ["1"], "a", "has lines and no columns"),
    ],
)
def test_what_cannot_be_read_is_said_with_file_and_row(tmp_path, file, lines, column, message):
    path = written(tmp_path / file, lines)
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        read_vector(path, column)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "encoding", "where"),
    [
        ("käse", "cp1252", "byte 6, in line 2"),
        ("käse", "utf-16-le", "byte 12, in line 2"),
        ("kuh", "utf-16-le", "byte 1, in line 1"),
    ],
)
def test_other_encodings_are_refused_with_the_byte_and_a_remedy(tmp_path, name, encoding, where):
    for file in ("n.txt", "n.csv"):
        path = written(tmp_path / file, ["hund", name], encoding)
        with pytest.raises(
            ValueError, match=f"{file} is not in UTF-8: {where}, is no text; save it as UTF-8"
        ):
            read_vector(path, None)


def test_half_of_utf_16_is_refused(tmp_path):
    path = tmp_path / "n.txt"
    path.write_bytes("\n".join(NAMES).encode("utf-16")[:-1])
    with pytest.raises(ValueError, match="is not in UTF-16"):
        read_vector(path, None)
