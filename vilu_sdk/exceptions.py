"""Errors and warnings of the package, so that any of them can be caught or filtered by itself.

Wrong arguments raise `ValueError` and `TypeError`, scorers without a fit scikit-learn's `NotFittedError`, and
files the errors of the operating system. Beside these::

    RuntimeError
    ├── BusyError                  another process writes into the same place
    └── ProcessDiedError           another process of a shared fit has died
    UserWarning
    └── ViLUWarning                everything the package warns of
        ├── BackboneWarning        embeddings look like those of another model than that of the fit
        ├── LogitScaleWarning      a logit scale looks like its logarithm or its inverse
        ├── LabelWarning           labels agree with the predictions no better than by chance
        ├── NothingLearnedWarning  a fit learned nothing, or no more than a bound, from its rows
        ├── FitRowsWarning         a scorer is judged by images of its own fit
        ├── RepeatedImagesWarning  a fit holds near copies of images, and was not told which
        ├── SampleWeightWarning    weights of images are used in a part of the work only
        ├── PromiseWarning         what a threshold promises does not hold for these images or candidates
        ├── UndefinedScoreWarning  a metric has no value on these rows; an UndefinedMetricWarning too
        └── ScorerFailedWarning    a scorer got no values, the others did; a FitFailedWarning too

Examples
--------
>>> import warnings
>>> from vilu_sdk.exceptions import BackboneWarning
>>> with warnings.catch_warnings():
...     warnings.simplefilter("error", BackboneWarning)  # a job that must not go on with other embeddings
"""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import sklearn
from sklearn.exceptions import FitFailedWarning, UndefinedMetricWarning

__all__ = [
    "BackboneWarning",
    "BusyError",
    "FitRowsWarning",
    "LabelWarning",
    "LogitScaleWarning",
    "NothingLearnedWarning",
    "ProcessDiedError",
    "PromiseWarning",
    "RepeatedImagesWarning",
    "SampleWeightWarning",
    "ScorerFailedWarning",
    "UndefinedScoreWarning",
    "ViLUWarning",
]

# Where no line is the user's: this package, and what calls it on the user's behalf.
INSIDE = (*(str(Path(str(file)).parent) for file in (__file__, sklearn.__file__)), contextlib.__file__)


class BusyError(RuntimeError):
    """Another process, or another thread, is writing into the same place; the message says which."""


class ProcessDiedError(RuntimeError):
    """Another process of a fit has died, or has been silent for longer than the timeout.

    Attributes
    ----------
    advice : str
        How to go on.
    """

    advice = ""

    def __str__(self) -> str:
        return f"{super().__str__()} {self.advice}".rstrip()


class ViLUWarning(UserWarning):
    """Base of all warnings of the package."""


class BackboneWarning(ViLUWarning):
    """Embeddings look like those of another model than that of the fit."""


class LogitScaleWarning(ViLUWarning):
    """A logit scale looks like its logarithm or its inverse."""


class LabelWarning(ViLUWarning):
    """Labels agree with the zero-shot predictions no better than by chance."""


class NothingLearnedWarning(ViLUWarning):
    """A fit found nothing, or no more than a bound, to learn from its rows."""


class FitRowsWarning(ViLUWarning):
    """A scorer is judged by images of its own fit, of which it is surer than of new ones."""


class RepeatedImagesWarning(ViLUWarning):
    """A fit holds near copies of images as if they were independent ones."""


class SampleWeightWarning(ViLUWarning):
    """Weights of images are used in a part of the work only."""


class PromiseWarning(ViLUWarning):
    """What a threshold promises does not hold for these images or candidates."""


class UndefinedScoreWarning(ViLUWarning, UndefinedMetricWarning):
    """A metric has no value on these rows."""


class ScorerFailedWarning(ViLUWarning, FitFailedWarning):
    """A scorer got no values, while the others did."""


# Whether warnings of a context go nowhere.
_silent: ContextVar[bool] = ContextVar("silent", default=False)
# Who takes the warnings of a context; None where they are given.
_heard: ContextVar[list[ViLUWarning] | None] = ContextVar("heard", default=None)
# What the call under way has warned of; None outside of one.
_said: ContextVar[set[str] | None] = ContextVar("said", default=None)


class one_call:  # a class, which costs a third of what a generator does
    """Say nothing twice inside, however often a call comes across it."""

    def __enter__(self) -> None:
        self._token = None if _said.get() is not None else _said.set(set())

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _said.reset(self._token)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Warn of nothing inside, in this thread alone."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


@contextlib.contextmanager
def heard() -> Iterator[list[ViLUWarning]]:
    """Collect what is warned of inside, in this thread alone, in the place of giving warnings."""
    found: list[ViLUWarning] = []
    token = _heard.set(found)
    try:
        yield found
    finally:
        _heard.reset(token)


def warn(message: str, category: type[ViLUWarning], *, about: str | None = None) -> None:
    """Warn at the line outside the package that led here, once in a call of `about`, or of the message."""
    if _silent.get():
        return
    said, key = _said.get(), about or message
    if said is not None:
        if key in said:
            return
        said.add(key)
    if (found := _heard.get()) is not None:
        found.append(category(message))
        return
    frame, level = sys._getframe(1), 2
    while frame.f_code.co_filename.startswith(INSIDE) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
