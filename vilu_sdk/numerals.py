"""Numbers that people write, in options, files and variables of the environment. Imports nothing heavy.

They are written in digits: ``int`` and ``float`` also read ``1_000``, digits of other scripts, ``nan`` and
``inf``, none of which anybody means as a number here.
"""

import math
import os
import re

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)


def whole(text: str) -> int:
    """Return the integer that a text is, or raise a ValueError.

    Examples
    --------
    >>> whole(" -12 ")
    -12
    >>> whole("1_000")
    Traceback (most recent call last):
    ValueError: '1_000' is no whole number; write it in digits.
    """
    if not _WHOLE.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is no whole number; write it in digits.")
    return int(text)


def decimal(text: str) -> float:
    """Return the finite number that a text is, or raise a ValueError.

    Examples
    --------
    >>> decimal("1e-3"), decimal("-.5")
    (0.001, -0.5)
    """
    if not _DECIMAL.fullmatch(text.strip()) or not math.isfinite(float(text)):
        raise ValueError(f"{text!r} is no number; write it in digits, as 0.5 or 1e-3.")
    return float(text)


def from_environment(name: str, default: int, least: int = 0) -> int:
    """Return the whole number of a variable of the environment; the default where it is not set or empty.

    Raises
    ------
    ValueError
        If it is another text, or below `least`.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = whole(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise ValueError(
            f"the environment has {name}={text!r}, which must be a whole number of at least {least}; set it "
            "right, or unset it."
        )
    return value
