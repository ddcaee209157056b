"""What the loaded object says of images: the columns of `vilu score`, and sets where there are some."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from vilu_sdk.exceptions import BackboneWarning, ViLUWarning, heard
from vilu_sdk.inputs.candidates import Candidates, Opened
from vilu_sdk.inputs.names import Names
from vilu_sdk.inputs.places import BadRowError
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.scale.partition import loaded as in_memory
from vilu_sdk.scale.partition import score_partition
from vilu_sdk.scorers.base.contract import require_scorer
from vilu_sdk.scorers.base.kept import TRANSIENT
from vilu_sdk.scorers.base.scorer import Scorer
from vilu_sdk.selective.arrangement import Calibrated
from vilu_sdk.selective.sets import SetPredictor
from vilu_sdk.serve.bodies import Asked, Refused

# Bad rows that one answer names.
MOST_BAD_ROWS = 100
SET, IMAGES = "set", "z_img"


class Said(NamedTuple):
    """What is said of the images of a request: columns by name, and what was warned of."""

    columns: dict[str, Any]
    warnings: list[ViLUWarning]


class Entry(NamedTuple):
    """Candidates, and a scorer or predictor that keeps what it computes from them."""

    judge: Any
    texts: Opened


def _named(loaded: Any, texts: Opened) -> Opened:
    """Return candidates without names under those of the fit, where they are its candidates in its order."""
    text = Candidates(texts).text
    inside = (loaded, getattr(loaded, "scorer_in_use", None))
    for one in inside if texts.names is None else ():
        if isinstance(one, Scorer | Calibrated) and one.names_ is not None and one._knows(text):
            return replace(texts, names=Names(one.names_, "the names of the fit"))
    return texts


class Judge:
    """A loaded object with its candidates, fixed or kept by their content, for any thread."""

    def __init__(self, loaded: Any, z_txt_set: Any = None, *, kept: int = 8) -> None:
        if not isinstance(loaded, Calibrated):
            require_scorer(loaded, "loaded")
        if hasattr(loaded, "__sklearn_is_fitted__"):
            check_is_fitted(loaded)
        if isinstance(loaded, Calibrated):
            loaded.refuse_groups("a service")
        self.loaded = loaded
        self._kept: OrderedDict[bytes, Entry] = OrderedDict()
        self._most, self._lock = kept, threading.Lock()
        self.fixed: Entry | None = None
        #: What was warned of when fixed candidates were tried.
        self.warned: list[ViLUWarning] = []
        if z_txt_set is not None:
            self.fixed = Entry(loaded, _named(loaded, in_memory(z_txt_set)))
            row = Rows(self.fixed.texts.values, "z_txt_set").read(slice(1)).numpy()
            # A text for an image, which is none of the model's images.
            self.warned = [
                w for w in self._say(self.fixed, row).warnings if not isinstance(w, BackboneWarning)
            ]

    @property
    def width(self) -> int | None:
        """Width of the embeddings, where the candidates are fixed."""
        return None if self.fixed is None else Rows(self.fixed.texts.values, "z_txt_set").d

    @property
    def name(self) -> str:
        """What is served."""
        return type(self.loaded).__name__

    def say(self, asked: Asked) -> tuple[Said, bool | None]:
        """Say all that there is to say, and whether the candidates were known; None where they are fixed."""
        if self.fixed is not None:
            if asked.z_txt_set is not None:
                raise Refused(
                    422, "the candidates of this service are fixed: leave out z_txt_set.", "z_txt_set"
                )
            return self._say(self.fixed, asked.z_img), None
        if asked.z_txt_set is None:
            raise Refused(
                422, "z_txt_set is missing: this service has no candidates of its own.", "z_txt_set"
            )
        try:
            entry, known = self._entry(asked.z_txt_set)
        except BadRowError as error:
            raise Refused.rows("z_txt_set", [(error.row, str(error))]) from None
        said = self._say(entry, asked.z_img)
        if not known:  # and not before: of candidates that cannot be used, nothing is kept
            self._keep(entry)
        return said, known

    def _say(self, entry: Entry, z_img: Any) -> Said:
        judge, texts = entry
        with heard() as warnings:
            z = _checked(z_img, Rows(texts.values, texts.argument).d)
            sets: Any = judge if isinstance(judge, SetPredictor) else None
            scorer = judge if sets is None else sets.threshold_in_use or sets.scorer_in_use
            columns = score_partition({IMAGES: z}, scorer, texts)
            if sets is not None:
                columns[SET] = sets.predict_names(z, texts)
        return Said(columns, warnings)

    def _entry(self, given: Any) -> tuple[Entry, bool]:
        """Return the kept candidates of the same content, or new ones with a scorer of their own."""
        texts = in_memory(given)
        key = _digest(texts)
        with self._lock:
            if (known := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return known, True
        return Entry(_own(self.loaded), texts), False

    def _keep(self, entry: Entry) -> None:
        with self._lock:
            self._kept[_digest(entry.texts)] = entry
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def _digest(texts: Opened) -> bytes:
    values = np.ascontiguousarray(texts.values)
    names = [] if texts.names is None else texts.names.written
    found = hashlib.sha256(repr((values.shape, values.dtype.str, names)).encode())
    found.update(values.data)
    return found.digest()


def _own(estimator: Any) -> Any:
    """Copy a scorer or predictor that shares all it has learned, and keeps what it computes by itself."""
    own = object.__new__(type(estimator))
    for name, value in vars(estimator).items():
        if name not in TRANSIENT:
            vars(own)[name] = _own(value) if isinstance(value, BaseEstimator) else value
    return own


def _checked(z_img: Any, d: int) -> Any:
    """Return images as they are scored, or say of each bad row what is wrong with it."""
    images = Rows(z_img, IMAGES, d=d, normalise=False)
    try:
        return images.read().numpy()
    except BadRowError:
        pass
    found: list[tuple[int, str]] = []
    for row in range(len(images)):
        try:
            images.read(slice(row, row + 1))
        except BadRowError as error:
            found.append((row, str(error)))
            if len(found) == MOST_BAD_ROWS:
                break
    raise Refused.rows(IMAGES, found)
