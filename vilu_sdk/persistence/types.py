"""Whether a value that a file or a user gives is of the type that a class says it has."""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from sklearn.base import BaseEstimator
from torch import Tensor

from vilu_sdk.inputs.places import shown


@cache
def types_of(cls: type) -> dict[str, Any]:
    """Return the types of the fields of a dataclass, of those that can be found."""
    try:
        return get_type_hints(cls)
    except (NameError, TypeError):  # they are spelled with names that only a type checker imports
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, also what is in it; where a file says what it is, nobody else looks.

    Examples
    --------
    >>> fits((1, 2.0), tuple[float, float]), fits((1, None), tuple[float, float])
    (True, False)
    """
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if kind is Literal:
        return any(isinstance(value, type(part)) and value == part for part in parts)
    if kind in (int, float):  # a bool is no number, and whole numbers are real ones
        return type(value) in (int, kind)
    if not isinstance(kind, type):
        return True
    if isinstance(value, str | bytes) and parts:  # a text is no sequence of texts
        return False
    if not parts or not isinstance(value, kind):
        return isinstance(value, kind)
    if isinstance(value, Mapping):
        return all(fits(key, parts[0]) and fits(item, parts[1]) for key, item in value.items())
    if isinstance(value, tuple) and kind is tuple and parts[-1] is not ...:
        return len(value) == len(parts) and all(map(fits, value, parts))
    if isinstance(value, Sequence):
        return all(fits(item, parts[0]) for item in value)
    return True


def check_parameters(estimator: Any) -> None:
    """Raise for the first parameter of an estimator that is not of the type that its class says it has.

    Looked at are numbers, flags, words and sequences of them. Numbers may be of numpy, or the only one of an
    array or tensor; none is NaN, or too large for what computes with it.
    """
    for name, hint in _types_of_parameters(estimator.__class__).items():
        given = getattr(estimator, name, None)
        value = _plain(given, is_row=hint in (Sequence[int], Sequence[float]))
        said = f"{name} must be {_described(hint)}, got {shown(given)}."
        if not fits(value, hint):
            raise (TypeError if {float, bool} & {hint, *get_args(hint)} else ValueError)(said)
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, float) and number != 0 and not TINY <= abs(number) <= HUGE:
                raise ValueError(
                    f"{name} must be finite, 0 or from {TINY:.2g} to {HUGE:.2g} in size, got {shown(given)}."
                )
            if isinstance(number, int) and abs(number) > LARGEST:
                raise ValueError(f"{name} must be finite, at most 2**63 - 1 in size, got {shown(given)}.")


# Beyond them float32 has zero and infinity, and torch and numpy take no integers.
TINY, HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
LARGEST = 2**63 - 1
# What types are called.
_CALLED: dict[Any, str] = {
    **{int: "an integer", float: "a number", bool: "True or False", str: "a text", type(None): "None"},
    **{Sequence[int]: "a sequence of integers", Sequence[float]: "a sequence of numbers"},
}


@cache
def _types_of_parameters(cls: Any) -> dict[str, Any]:
    """Return the types of the parameters of an estimator that are made of those that have a name here."""
    try:
        found = get_type_hints(cls.__init__)
    except (NameError, TypeError):  # as in `types_of`
        return {}
    return {name: hint for name, hint in found.items() if name != "return" and _described(hint)}


def _described(hint: Any) -> str:
    """Return a type in words, nothing of one that is not looked at."""
    if get_origin(hint) is Literal:
        return _either([repr(one) for one in get_args(hint)])
    if get_origin(hint) in (Union, UnionType):
        parts = [_described(part) for part in get_args(hint)]
        return _either(parts) if all(parts) else ""
    return f"a {hint.__name__}" if _is_estimator(hint) else _CALLED.get(hint, "")


def _is_estimator(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, BaseEstimator)


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _plain(value: Any, is_row: bool = False) -> Any:
    """Return numbers of numpy and torch, alone or in a row, as those of Python."""
    if isinstance(value, np.generic | np.ndarray | Tensor):
        try:
            return value.item() if math.prod(value.shape) == 1 and not is_row else value.tolist()
        except (RuntimeError, NotImplementedError):  # of a tensor without numbers, or a sparse one
            return value
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
