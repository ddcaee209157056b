"""For those who write a scorer of their own: whether it keeps the contract of all scorers."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from vilu_sdk.exceptions import silent
from vilu_sdk.scorers.base.contract import VERBS, read_posterior, require_scorer

__all__ = ["check_scorer"]

# Numbers of the same image in another order of rows differ by rounding at most.
ROUNDING = 1e-4
#: What a scorer need not have, and what it then cannot do.
OPTIONAL = {
    "predict_proba": "no prediction sets and no posterior",
    "novelty": "no ranking of images of no candidate",
    "is_probability": "no ECE, Brier score and NLL",
}


def check_scorer(scorer: Any) -> list[str]:
    """Check on small generated data that a scorer keeps the contract, and list the optional methods it lacks.

    The contract: a scikit-learn estimator that can be cloned, with ``fit(z_img, z_txt, labels=None)``, which
    returns it, and of images (N, d) and candidates (K, d) ``predict``, integers in [0, K),
    ``decision_function``, finite and higher = more likely wrong, and ``predict_uncertainty``, in [0, 1] if
    `is_probability` is True; each (N,). What is said of an image does not depend on the rows beside it, no
    call changes its arguments, and a scorer with a `random_state` that is a number fits the same twice.
    Another number of candidates than in the fit and captions (``labels=None``) are scored, or refused by a
    ValueError or NotImplementedError.

    Parameters
    ----------
    scorer : scorer
        An instance. It is cloned, not changed.

    Returns
    -------
    list of str
        The optional methods that it lacks, each with what it therefore cannot do.

    Raises
    ------
    TypeError
        If it is a class, or lacks a method; the message names all.
    AssertionError
        If it does not keep the contract; the message has a line for each breach.

    Examples
    --------
    >>> from vilu_sdk import EntropyScorer, MCMScorer
    >>> check_scorer(MCMScorer())
    []
    >>> check_scorer(EntropyScorer())
    ['no is_probability: no ECE, Brier score and NLL']
    """
    require_scorer(scorer)
    faults: list[str] = []
    with silent():
        try:
            for fault in _faults(scorer):
                faults.append(fault)
        except Exception as error:
            faults.append(f"it raises {type(error).__name__}: {error}")
    if faults:
        name = type(scorer).__name__
        raise AssertionError("\n".join([f"{name} does not keep the contract of scorers:", *faults]))
    lacking = [verb for verb in OPTIONAL if not getattr(scorer, verb, False)]
    return [f"no {verb}: {OPTIONAL[verb]}" for verb in lacking]


def _data(k: int = 6, n: int = 240, d: int = 12) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Images, candidates and labels, of which some predictions are wrong."""
    rng = np.random.default_rng(0)
    text = rng.normal(size=(k, d))
    labels = np.arange(n) % k
    images = text[labels] + 1.3 * rng.normal(size=(n, d))
    images, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, text))
    return images, text, labels


def _faults(scorer: Any) -> Iterator[str]:
    images, text, labels = _data()
    try:
        made = clone(scorer)
    except (TypeError, RuntimeError) as error:
        yield f"clone: {error}"
        return
    before = [x.copy() for x in (images, text, labels)]
    if made.fit(images, text, labels) is not made:
        yield "fit must return the scorer itself"
    yield from _said(made, images, text, "")
    with suppress(ValueError, NotImplementedError):  # it is free to refuse them
        yield from _said(made, images[:7], text[:4], "with fewer candidates than in the fit: ")
    decision, uncertainty = (
        np.asarray(verb(images, text), dtype=float).ravel()
        for verb in (made.decision_function, made.predict_uncertainty)
    )
    if len(decision) == len(uncertainty) and (np.diff(uncertainty[np.argsort(decision)]) < -ROUNDING).any():
        yield "predict_uncertainty must rise with decision_function: higher is more likely wrong in both"
    for verb in ("predict", "decision_function", "predict_uncertainty"):
        if np.asarray(getattr(made, verb)(images, text)).shape != (len(images),):
            return  # said already
        yield from _alone(getattr(made, verb), verb, images, text)
    if not all((x == y).all() for x, y in zip(before, (images, text, labels), strict=True)):
        yield "a method changes its arguments"
    if isinstance(getattr(scorer, "random_state", None), int):
        again = clone(scorer).fit(images, text, labels).decision_function(images, text)
        if not np.allclose(again, made.decision_function(images, text), rtol=ROUNDING, atol=ROUNDING):
            yield "two fits with the same random_state differ"
    if hasattr(made, "predict_proba"):
        try:
            read_posterior(made, images, text)
        except (TypeError, ValueError) as error:
            yield str(error)
    with suppress(ValueError, NotImplementedError):
        captions = text[labels] + 0.1 * images[::-1]
        told = clone(scorer).fit(images, captions)
        yield from _said(told, images[:50], captions[:50], "of captions: ")


def _said(scorer: Any, images: Any, text: Any, where: str) -> Iterator[str]:
    """Say what is wrong with the shape, type and range of each answer."""
    for field in ("prediction", "decision", "uncertainty"):
        verb = VERBS[field]
        found = np.asarray(getattr(scorer, verb)(images, text))
        if found.shape != (len(images),):
            yield f"{where}{verb} must have shape ({len(images)},), got {found.shape}"
        elif field == "prediction":
            if found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= len(text):
                yield f"{where}predict must hold integers in [0, {len(text)}), rows of the candidates"
        elif found.dtype.kind not in "fiu" or not np.isfinite(found.astype(float)).all():
            yield f"{where}{verb} must hold finite numbers"
        elif (
            field == "uncertainty"
            and getattr(scorer, "is_probability", False)
            and not (found.min() >= 0 and found.max() <= 1)
        ):
            yield f"{where}predict_uncertainty must lie in [0, 1], since is_probability is True"


def _alone(verb: Callable[..., Any], name: str, images: Any, text: Any) -> Iterator[str]:
    """Say whether an image gets another answer in other company."""
    together, rows = np.asarray(verb(images, text), dtype=float), np.arange(len(images))[::-3]
    few = np.asarray(verb(images[rows], text), dtype=float)
    if not np.allclose(few, together[rows], rtol=ROUNDING, atol=ROUNDING):
        yield f"{name} of an image depends on the rows beside it, or on their order"
