"""Whether a value that a file gives is of the type that a class says it has."""

from collections.abc import Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


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
        return value in parts
    if kind in (int, float):  # a bool is no number, and whole numbers are real ones
        return type(value) in (int, kind)
    if not isinstance(kind, type):
        return True
    if not parts or not isinstance(value, kind):
        return isinstance(value, kind)
    if isinstance(value, Mapping):
        return all(fits(key, parts[0]) and fits(item, parts[1]) for key, item in value.items())
    if isinstance(value, tuple) and kind is tuple and parts[-1] is not ...:
        return len(value) == len(parts) and all(map(fits, value, parts))
    if isinstance(value, Sequence):
        return all(fits(item, parts[0]) for item in value)
    return True
