"""One cell of a benchmark: a scorer fitted and asked on one set. Finished cells are kept and not done again.

A cell is kept under a hash of all that its answers depend on: the scorer and its parameters, the rows that
it learns from and judges, the seed, and the code of this package. So whatever has changed is measured anew,
and two benchmarks that share a folder never mix. What is kept are answers; metrics are computed from them.
"""

import hashlib
import inspect
import json
import math
import pickle
import sys
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from sklearn.base import BaseEstimator

from vilu_sdk.evaluation.problem import Answers, Problem
from vilu_sdk.evaluation.run import attempt, reason
from vilu_sdk.inputs.foreign import opened_zip
from vilu_sdk.inputs.identity import identify
from vilu_sdk.persistence.files import whole_file


class Work(NamedTuple):
    """A scorer, the rows it is fitted on (None: it is asked as it is), those it judges, its seed's run."""

    scorer: Any
    fit_on: tuple[Any, ...] | None
    problem: Problem
    offset: int


class Done(NamedTuple):
    """Answers and seconds of the fit, or why there are none."""

    answers: Answers | None
    seconds: float = math.nan
    note: str = ""


def identify_rows(rows: Sequence[Any] | None) -> Any:
    """Return what tells images, candidates and labels from others, as JSON."""
    if rows is None:
        return None
    return [None if one is None else {**identify(one), "files": None} for one in rows]


def key_of(work: Work, fitted: Any, scored: Any) -> str:
    """Return the hash of all that the answers depend on, given what `identify_rows` said of the rows."""
    batches = [[batch.start, batch.stop] for batch in work.problem.batches]
    what = [_code(), _scorer(work.scorer, fitted is None), fitted, scored, batches, work.offset]
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:40]


def measure(work: Work, path: Path | None) -> Done:
    """Return what was kept at a path, or else fit, ask and keep it there; failures are never kept."""
    if path is not None and (found := _read(path)) is not None:
        return found
    try:
        done = Done(*attempt(work.scorer, work.fit_on, work.problem, work.offset))
    except Exception as error:  # one scorer of somebody must not end the work of hours
        return Done(None, note=reason(error))
    if path is not None:
        _write(path, done)
    return done


def _write(path: Path, done: Done) -> None:
    assert done.answers is not None
    fields = asdict(done.answers)
    arrays: dict[str, Any] = {n: value for n, value in fields.items() if isinstance(value, np.ndarray)}
    plain = {name: value for name, value in fields.items() if name not in arrays}
    arrays["plain"] = np.array(json.dumps({**plain, "fit_seconds": done.seconds}))
    arrays["digest"] = np.array(joblib.hash(arrays))
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)


def _read(path: Path) -> Done | None:
    """Return a finished cell; None where there is none, or a file that is damaged."""
    try:
        with opened_zip(path), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            fields: dict[str, Any] = dict(archive)
        if str(fields.pop("digest")) != joblib.hash(fields):
            return None
        plain = json.loads(str(fields.pop("plain")))
        seconds = plain.pop("fit_seconds")
        return Done(Answers(**fields, **plain), seconds)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ):
        return None


@lru_cache(maxsize=1)
def _code() -> str:
    """Hash of the code of this package."""
    root, found = Path(__file__).parents[1], hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        found.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return found.hexdigest()


def _scorer(scorer: Any, as_it_is: bool) -> Any:
    """Return what tells a scorer from others, with what it has learned where it is asked as it is."""
    known = [_described(scorer)]
    if not isinstance(scorer, BaseEstimator):
        known.append(_source(type(scorer)))
    if as_it_is and (learned := {k: v for k, v in vars(scorer).items() if k.endswith("_")}):
        known.append(_hash(learned))
    return known


def _described(value: Any) -> Any:
    if isinstance(value, BaseEstimator):
        params = {name: _described(one) for name, one in value.get_params(deep=False).items()}
        return [f"{type(value).__module__}.{type(value).__qualname__}", _source(type(value)), params]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_described(one) for one in value]
    return _hash(value)


def _hash(value: Any) -> str:
    try:
        return str(joblib.hash(value))
    except (pickle.PicklingError, TypeError, AttributeError):
        return repr(value)


def _source(cls: type) -> str:
    """Return the source of a scorer of somebody else, whose code may change between two runs."""
    found = []
    for base in cls.__mro__:
        if base.__module__.split(".")[0] in ("vilu_sdk", "sklearn", "builtins", *sys.stdlib_module_names):
            continue
        try:
            found.append(inspect.getsource(base))
        except (OSError, TypeError):
            found.append(base.__qualname__)
    return "\n".join(found)
