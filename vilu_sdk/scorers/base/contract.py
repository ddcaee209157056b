"""What a scorer must offer to be bound, evaluated, calibrated and given a threshold."""

from collections.abc import Iterator
from inspect import getattr_static
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import has_fit_parameter

from vilu_sdk.compute.progress import track
from vilu_sdk.exceptions import FitRowsWarning, warn
from vilu_sdk.inputs.candidates import Opened, open_candidates
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.scorers.base.fit_rows import FitRows

#: The verb that returns each field.
VERBS = {
    "prediction": "predict",
    "decision": "decision_function",
    "uncertainty": "predict_uncertainty",
    "probabilities": "predict_proba",
    "log_probabilities": "predict_log_proba",
    "novelty": "novelty",
}
#: What every scorer can be asked for.
NEEDED = ("prediction", "decision", "uncertainty")
# Probabilities add up to 1 to within this much.
ROUNDING = 1e-3
# What is made of a posterior of m rows takes the memory of about so many arrays (m, K) in float32.
ARRAYS = 4


@runtime_checkable
class FailureScorer(Protocol):
    """Says which predictions are likely wrong. Every scorer of this package does, and those of others may."""

    def fit(self, z_img: Any, z_txt: Any, labels: Any = None) -> Any:
        """Learn from embeddings."""

    def decision_function(self, z_img: Any, z_txt_set: Any) -> Any:
        """Rank by uncertainty."""

    def predict_uncertainty(self, z_img: Any, z_txt_set: Any) -> Any:
        """Return the uncertainty."""

    def predict(self, z_img: Any, z_txt_set: Any) -> Any:
        """Return the prediction that is judged."""


def require_scorer(value: Any, name: str = "scorer") -> None:
    """Raise where a value cannot do what `FailureScorer` asks for."""
    if isinstance(value, type):
        raise TypeError(f"{name} must be a scorer, got the class {value.__name__}; pass {value.__name__}().")
    if not isinstance(value, FailureScorer):
        verbs = ", ".join(VERBS[field] for field in NEEDED)
        lacking = ", ".join(verb for verb in ("fit", *verbs.split(", ")) if not hasattr(value, verb))
        raise TypeError(
            f"{name} must be a scorer, got {type(value).__name__}, which has no {lacking}. A scorer has "
            f"fit(z_img, z_txt, labels=None), which returns it, and of (z_img, z_txt_set) {verbs}; "
            "vilu_sdk.testing.check_scorer tries them out."
        )


def read(scorer: FailureScorer, z_img: Any, z_txt_set: Any, *fields: str) -> tuple[NDArray[Any], ...]:
    """Ask a scorer for several fields of the same images, in one pass if it is a scorer of this package.

    Parameters
    ----------
    scorer : FailureScorer
    z_img, z_txt_set : array-like of shape (N, d) and (K, d)
    *fields : str
        Keys of `VERBS`.

    Returns
    -------
    tuple of ndarray of shape (N,)
        In the order of `fields`.
    """
    if _has_one_pass(type(scorer), fields):
        found: tuple[NDArray[Any], ...] = scorer._read(z_img, z_txt_set, *fields)  # type: ignore[attr-defined]
        return found
    require_scorer(scorer)
    values = candidates_for(scorer, open_candidates(z_txt_set))
    found = tuple(np.asarray(getattr(scorer, VERBS[field])(z_img, values)) for field in fields)
    for field, array in zip(fields, found, strict=True):
        shape = (len(z_img),)
        if not field.endswith("probabilities") and array.shape != shape:
            name = f"{VERBS[field]} of {type(scorer).__name__}"
            raise ValueError(f"{name} must have shape {shape}, a value for each image, got {array.shape}.")
    return found


def candidates_for(scorer: Any, opened: Opened) -> Any:
    """Return candidates as a scorer takes them: scorers of others know arrays alone."""
    return opened if _has_one_pass(type(scorer), ()) else opened.values


def read_posterior(
    scorer: FailureScorer, z_img: Any, z_txt_set: Any
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the predictions (N,) of a scorer and the logarithms (N, K) of its posterior, of few images.

    Raises
    ------
    TypeError
        If it has no posterior.
    ValueError
        If its probabilities are none.
    """
    require_posterior(scorer)
    if _has_one_pass(type(scorer), ("probabilities", "log_probabilities")):
        predicted, logarithms = read(scorer, z_img, z_txt_set, "prediction", "log_probabilities")
        return predicted, logarithms.astype(np.float64)
    predicted, values = read(scorer, z_img, z_txt_set, "prediction", "probabilities")
    values, shape = values.astype(np.float64), (len(predicted), len(open_candidates(z_txt_set)))
    name = type(scorer).__name__
    if values.shape != shape:
        raise ValueError(f"predict_proba of {name} must have shape {shape}, got {values.shape}.")
    if not (values >= 0).all() or not np.allclose(values.sum(axis=1), 1, rtol=0, atol=ROUNDING):
        raise ValueError(f"predict_proba of {name} must have rows of probabilities, which add up to 1.")
    return predicted, np.log(np.maximum(values, np.finfo(np.float64).tiny))


def in_parts(
    images: Rows, k: int, rows: NDArray[np.int64] | None = None
) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """Yield some rows (m,) at a time, by default of all, and their images (m, d) as they were given.

    They are few enough for `read_posterior` among k candidates, and for what is made of it.
    """
    chosen = np.arange(len(images)) if rows is None else rows
    for part in track(images.slices(ARRAYS * k, len(chosen)), "posterior"):
        # All rows are viewed where they are, which gives back the pages of a memory map.
        yield chosen[part], images.source[part if rows is None else rows[part]]


def require_posterior(scorer: Any) -> None:
    """Raise where a scorer has no posterior over the candidates."""
    if not hasattr(scorer, VERBS["probabilities"]):
        raise TypeError(f"{type(scorer).__name__} has no predict_proba; pass a scorer that has a posterior.")


def groups_argument(scorer: Any, groups: Any) -> dict[str, Any]:
    """Return groups (n,) as an argument of a scorer's `fit`, where there are any and it takes them."""
    return {} if groups is None or not has_fit_parameter(scorer, "groups") else {"groups": groups}


def warn_of_fit_rows(scorer: Any, z_img: Any, consequence: str) -> None:
    """Warn where images that a scorer is judged by are those of its fit."""
    known: FitRows | None = getattr(scorer, "fit_rows_", None)
    images = Rows(z_img, "z_img")
    if known is None or not (found := known.count(images)):
        return
    warn(
        f"{found} of {len(images)} images are rows that this {type(scorer).__name__} was fitted on. It is "
        f"more certain about them than about new images, so {consequence}. Pass images that were held out of "
        "the fit.",
        FitRowsWarning,
    )


def _has_one_pass(cls: type, fields: tuple[str, ...]) -> bool:
    """Whether a class reads fields together, and has no verb of its own for one of them."""
    home = next((base for base in cls.__mro__ if "_read" in vars(base)), None)
    verbs = [VERBS[field] for field in fields if field in VERBS]
    # Not by getattr: what is there for some settings alone is another object each time.
    return home is not None and all(
        getattr_static(cls, verb, None) is getattr_static(home, verb, None) for verb in verbs
    )
