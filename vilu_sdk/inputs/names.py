"""Names of candidates: text, each once, by which labels find their rows.

Names are compared as people read them: in Unicode's composed form (NFC), without blanks around them, and
letter by letter otherwise. No text is ever taken for a number.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.places import BadRowError, shown

#: The label of an image that shows none of the candidates, so that every prediction for it is wrong.
NONE = -1
#: What the label `NONE`, of an image that shows none of the candidates, is called where labels are names.
NO_CANDIDATE = "none"
#: How a row number is written: no leading zeros, no sign but a minus, no other script.
ROW_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)


def plain(text: str) -> str:
    r"""Return text as names are compared.

    Examples
    --------
    >>> plain(" cafe\u0301 ") == "caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", text.strip())


def check_whole(texts: Iterable[str], where: str) -> None:
    """Raise where a text holds half of a surrogate pair, which no file and no page can hold."""
    for row, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError:
            wrong = f"{where} has half of a character (a lone surrogate) in"
            raise BadRowError(wrong, row, f", {shown(text)}; read it as UTF-8.") from None


class Names:
    """The name of each candidate, none of them twice.

    Parameters
    ----------
    names : iterable
        One for each candidate, in their order; what is not text is written out.
    where : str
        What an error calls them: a file, or an argument.

    Raises
    ------
    ValueError
        If a name is empty or given twice.

    Examples
    --------
    >>> names = Names(["cat", "007", "dog"], "names")
    >>> names.rows(["007", "cat"], "labels")
    array([1, 0])
    >>> names.rows(["cat", "fog"], "labels")
    Traceback (most recent call last):
    vilu_sdk.inputs.places.BadRowError: labels has 'fog' in row 1, which is not in names; did you mean 'dog'?
    """

    def __init__(self, names: Iterable[Any], where: str) -> None:
        self.where = where
        self.written = [str(name).strip() for name in names]
        check_whole(self.written, where)
        self._rows: dict[str, int] = {}
        for row, name in enumerate(map(plain, self.written)):
            if not name:
                raise BadRowError(f"{where} has no name in", row, "; give every candidate one.")
            if (first := self._rows.setdefault(name, row)) != row:
                raise ValueError(
                    f"{where} has {shown(name)} twice, in row {first} and in row {row}; give each "
                    "candidate a name of its own."
                )

    def __len__(self) -> int:
        return len(self.written)

    def __iter__(self) -> Iterator[str]:
        return iter(self.written)

    def __getitem__(self, row: int) -> str:
        return self.written[row]

    def rows(
        self, labels: Iterable[str], what: str, at: Callable[[int], str] = "row {}".format
    ) -> NDArray[np.int64]:
        """Return the row of each label, (n,), or raise for the first that is no name; `at` names its row.

        Where no candidate is called so, "none" is the label -1: none of the candidates.
        """
        keys = [plain(label) for label in labels]
        rows = {NO_CANDIDATE: NONE} | self._rows
        found = [rows.get(key) for key in keys]
        if None in found:
            row = found.index(None)
            if not any(key in rows for key in keys) and self._are_row_numbers(keys):
                remedy = ", but every label is a row number; pass integers in .npy, or leave out the names."
            else:
                remedy = self._nearest(keys[row])
            wrong = f"{what} has {shown(keys[row])} in"
            raise BadRowError(wrong, row, f", which is not in {self.where}{remedy}", at(row))
        return np.array(found, dtype=np.int64)

    def _are_row_numbers(self, keys: list[str]) -> bool:
        return all(ROW_NUMBER.fullmatch(key) and 0 <= int(key) < len(self) for key in keys)

    def _nearest(self, name: str) -> str:
        """Return the names that are most like one, as a question, or how many there are."""
        by_fold = {key.casefold(): self.written[row] for key, row in self._rows.items()}
        close = difflib.get_close_matches(name.casefold()[:200], by_fold, 3)
        if close:
            return f"; did you mean {' or '.join(shown(by_fold[key]) for key in close)}?"
        return f", whose first are {', '.join(map(shown, self.written[:3]))}."


def row_numbers(
    values: Iterable[str], what: str, at: Callable[[int], str] = "row {}".format
) -> NDArray[np.int64]:
    """Return texts as row numbers, (n,), or raise for the first that is not plainly one."""
    keys = [plain(value) for value in values]
    for row, key in enumerate(keys):
        if not ROW_NUMBER.fullmatch(key):
            remedy = "; a row number is written as 0, 1, 2, … ."
            raise BadRowError(f"{what} has {shown(key)} in", row, remedy, at(row))
    return np.array([int(key) for key in keys], dtype=np.int64)


def by_place(values: Any, name: str, what: str) -> list[Any]:
    """Return what is given of each of several things as a list: a series has an index of its own.

    Raises
    ------
    TypeError
        If it has no places, as a set or a mapping, or its places are characters.
    """
    has_places = hasattr(values, "__iter__") and getattr(values, "ndim", 1) != 0
    if isinstance(values, str | bytes | Set | Mapping) or not has_places:
        raise TypeError(f"{name} must be a sequence {what}, got {type(values).__name__} {shown(values)}.")
    return list(values)


def check_names(names: Sequence[str] | None, k: int, texts: str) -> None:
    """Raise where there are names of candidates, but not one for each of the k rows of `texts`."""
    if names is None:
        return
    names = by_place(names, "names", f"of texts, one for each row of {texts}")
    if len(names) != k:
        raise ValueError(f"names has {len(names)} entries but {texts} has {k} rows; pass one for each.")
    check_whole(map(str, names), "names")


def check_same_names(names: Sequence[str], known: Sequence[str], texts: str) -> None:
    """Raise where candidates have other names, or another order of them, than is known."""
    keys, other = list(map(plain, names)), list(map(plain, known))
    if len(keys) == len(other) and keys != other:
        row = next(row for row, key in enumerate(keys) if key != other[row])
        raise ValueError(
            f"{texts} has {shown(names[row])} in row {row}, where the fit had {shown(known[row])}; this "
            "scorer knows the candidates of its fit only, in their order."
        )


def name_of(names: Sequence[str] | None, index: int) -> str | int:
    """Return the name of a candidate, or its row where candidates have none; of -1, "none" or -1."""
    if names is None:
        return int(index)
    return NO_CANDIDATE if index == NONE else names[int(index)]
