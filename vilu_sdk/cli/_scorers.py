"""Scorers from the names and settings on a command line."""

import ast
import difflib
import importlib
import json
import os
import sys
from argparse import Namespace
from dataclasses import replace
from typing import Any, NamedTuple

from sklearn.base import BaseEstimator

import vilu_sdk
from vilu_sdk.cli import _arguments
from vilu_sdk.cli._arguments import DEFAULT
from vilu_sdk.cli._exits import UsageError
from vilu_sdk.cli._inputs import split_label
from vilu_sdk.cli._parser import given
from vilu_sdk.cli._streams import LOG
from vilu_sdk.compute.distributed import rank
from vilu_sdk.inputs.escape import masked
from vilu_sdk.persistence.persistent import Persistent
from vilu_sdk.scorers import Card, PaperRecipe, Scorer
from vilu_sdk.selective.arrangement import Calibrated

#: The scorers by the names of their classes.
CLASSES: dict[str, type[Scorer]] = {name: getattr(vilu_sdk, name) for name in _arguments.CLASSES}
#: The same by the names of a command line, in lower case: with and without Scorer or Estimator at the end.
BY_NAME = {
    short: cls
    for long, cls in ((name.lower(), cls) for name, cls in CLASSES.items())
    for short in (long, long.removesuffix("scorer").removesuffix("estimator"))
}


class Chosen(NamedTuple):
    """A scorer, the name that a table shows, whether it was loaded, and what was calibrated with it."""

    label: str
    scorer: Scorer
    saved: bool
    predictor: Calibrated | None = None

    @property
    def judge(self) -> Any:
        """What is asked about images: the threshold, if there is one."""
        if self.predictor is not None and not self.predictor.is_threshold:
            raise UsageError(f"{self.label} holds sets of candidates, which vilu sets writes.")
        return self.scorer if self.predictor is None else self.predictor


def choose_scorers(
    arguments: Namespace, *, fitted: bool = False, own: bool = False, scaled: bool = False
) -> list[Chosen]:
    """Make or load the scorers that ``--scorer`` names, with the settings of each ``--set`` after them.

    Scorers by name get the logit scale of the command line, else that of a saved one beside them, else 100.
    With `fitted`, those that learn must be saved ones. With `own`, ``MODULE:CLASS`` names one of one's own.
    With `scaled`, the data may say the logit scale.
    """
    specs = [split_label(spec) for spec in arguments.scorer]
    classes = [_class_of(name, own) for _, name in specs]
    settings: list[list[str]] = [[] for _ in specs]
    for position, text in arguments.set or []:
        settings[position].append(text)
    loaded = {n: _load(*specs[n], settings[n]) for n, cls in enumerate(classes) if cls is None}
    scale = arguments.logit_scale
    if scale is not None and len(loaded) == len(specs):
        raise UsageError("a saved scorer has its own logit scale; leave out --logit-scale, or fit anew.")
    if scale is None and loaded:
        scale = getattr(next(iter(loaded.values())).scorer, "logit_scale", None)
    chosen, unscaled = [], []
    for number, (cls, (label, _)) in enumerate(zip(classes, specs, strict=True)):
        if cls is None:
            chosen.append(loaded[number])
            continue
        if fitted and cls.learns:
            raise UsageError(
                f"{cls.__name__} learns: fit it first with vilu fit, and pass the folder that it wrote as "
                "--scorer."
            )
        scorer, is_unscaled = make(cls, settings[number], scale, arguments.random_state)
        chosen.append(Chosen(label or cls.__name__, scorer, saved=False))
        unscaled += [chosen[-1].label] * is_unscaled
    labels = [one.label for one in chosen]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UsageError(f"two scorers are called {twice!r}; name them as in --scorer 'first={twice}'.")
    for option in ("reference", "focus"):
        if (name := getattr(arguments, option, None)) is not None and name not in labels:
            raise UsageError(f"--{option} must be one of {labels}, got {name!r}.")
    if unscaled and not scaled and rank() == 0:
        LOG.info(
            f"the logit scale of {', '.join(unscaled)} is 100, CLIP's; for another model pass its own as "
            "--logit-scale",
        )
    return chosen


def refuse_to_fit_saved(chosen: list[Chosen], otherwise: str) -> None:
    """Raise where a saved scorer would be fitted anew in a comparison."""
    saved = [one.label for one in chosen if one.saved]
    if saved:
        raise UsageError(
            f"{saved[0]} is saved and would be fitted anew. Saved scorers are compared as they are, beside "
            f"scorers that learn nothing and {otherwise}: save the others too, with vilu fit."
        )


def choose_one(arguments: Namespace) -> Chosen:
    """Like `choose_scorers`, for commands that take one scorer, ready to score."""
    if len(arguments.scorer) != 1:
        raise UsageError(f"--scorer was given {len(arguments.scorer)} times; this command takes one.")
    return choose_scorers(arguments, fitted=True)[0]


def choose_to_fit(arguments: Namespace) -> Scorer:
    """Make the scorer that a command fits: the one that ``--scorer`` names, or the default."""
    arguments.scorer = arguments.scorer or [DEFAULT]
    if len(arguments.scorer) > 1:
        raise UsageError(f"--scorer was given several times; {arguments.command} takes one.")
    (chosen,) = choose_scorers(arguments)
    if chosen.saved:
        takes = f"{arguments.command} takes a scorer by name, such as {DEFAULT}."
        raise UsageError(f"{chosen.label} is a saved scorer; {takes}")
    return chosen.scorer


def make(
    cls: type[Scorer], settings: list[str], logit_scale: float | None, random_state: int
) -> tuple[Scorer, bool]:
    """Make a scorer with ``NAME=VALUE`` settings, and say whether it takes the default logit scale.

    The scale and the seed go wherever they are not set, in estimators inside too.
    """
    scorer = cls()
    named = set()
    for text in settings:
        name, _, value = text.partition("=")
        named.add(_set(scorer, name.strip(), value))
    open_to = {name: name.split("__")[-1] for name in scorer.get_params() if name not in named}
    common: dict[str, Any] = {"random_state": random_state}
    if logit_scale is not None:
        common["logit_scale"] = logit_scale
    scorer.set_params(**{name: common[last] for name, last in open_to.items() if last in common})
    return scorer, logit_scale is None and "logit_scale" in open_to.values()


def load(name: str, revision: str | None = None) -> tuple[Scorer, Calibrated | None]:
    """Load a saved scorer, or the scorer of a saved threshold, or of saved sets, and these."""
    loaded = Persistent.from_pretrained(name, revision=revision)
    if isinstance(loaded, Calibrated):
        scorer = loaded.scorer_in_use
        assert isinstance(scorer, Scorer)  # or it could not have been saved
        return scorer, loaded
    if not isinstance(loaded, Scorer):
        raise ValueError(f"{name} holds a {type(loaded).__name__}, which is not a scorer.")
    return loaded, None


def card_of(arguments: Namespace, scorer: Scorer) -> Card | None:
    """Return the card of a scorer with the fields of the command line added."""
    fields = given(arguments, "backbone", "dataset", "notes", "license")
    known: Card | None = vars(scorer).get("card_")
    return replace(known or Card(), **fields) if fields else known


def _load(label: str | None, name: str, settings: list[str]) -> Chosen:
    if settings:
        raise UsageError(f"{name} is a saved scorer with settings of its own; leave out --set, or fit anew.")
    try:
        scorer, predictor = load(name)
    except FileNotFoundError as error:
        if not os.path.exists(os.path.expanduser(name)):
            error.add_note(f"Scorers by name are {', '.join(CLASSES)}.")
        raise
    return Chosen(label or masked(name), scorer, saved=True, predictor=predictor)


def _class_of(name: str, own: bool) -> Any:
    """Return the class that a name says, if it does not name a saved scorer."""
    if os.path.isdir(os.path.expanduser(name)):
        return None
    module, colon, cls = name.partition(":")
    if not (own and colon and cls.isidentifier() and all(map(str.isidentifier, module.split(".")))):
        return BY_NAME.get(name.lower())
    if os.getcwd() not in sys.path:  # last, so that it hides nothing installed; other processes get it too
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), cls, None)
    except ImportError as error:
        raise UsageError(
            f"--scorer {name}: {error}; start the command where {module} can be imported."
        ) from error
    if not (isinstance(found, type) and issubclass(found, BaseEstimator)):
        raise UsageError(f"--scorer {name}: {module} has no class {cls} that is a scikit-learn estimator.")
    return found


def _set(scorer: Scorer, name: str, text: str) -> str:
    """Set one parameter and return its full name."""
    if not name or not text:
        raise UsageError(f"--set takes NAME=VALUE, got {name or text!r}.")
    value = _value(text)
    full = _full_name(scorer, name)
    before = scorer.get_params()[full]
    if not _fits(value, before):
        raise UsageError(
            f"--set {name} of {type(scorer).__name__} takes something like {before!r}, got {text!r}."
        )
    scorer.set_params(**{full: value})
    return full


def _full_name(scorer: Scorer, name: str) -> str:
    """Return where a parameter is: the scorer's own or, if it is unique, that of an estimator in it."""
    own = scorer.get_params()
    if own.get("recipe") == "paper":
        # The published recipe under its short name has parameters too.
        published = PaperRecipe().get_params()
        if name not in own and name.removeprefix("recipe__") in published:
            scorer.set_params(recipe=PaperRecipe())
            own = scorer.get_params()
    found = [name] if name in own else [full for full in own if full.endswith(f"__{name}")]
    if len(found) == 1:
        return str(found[0])
    close = difflib.get_close_matches(name, own, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise UsageError(
        f"--set: {type(scorer).__name__} has no parameter {name!r}.{hint} It has: {', '.join(own)}."
    )


def _value(text: str) -> Any:
    """Read a Python or JSON value, an estimator by the name of its class, or else a string."""
    for read in (ast.literal_eval, json.loads):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    if text == PaperRecipe.__name__:
        return PaperRecipe()
    cls = CLASSES.get(text)
    return text if cls is None else cls()


def _fits(value: Any, before: Any) -> bool:
    """Return whether a value has the type of the one before, which None and an estimator need not have."""
    if isinstance(value, BaseEstimator) or before is None:
        return True
    if isinstance(before, bool) or isinstance(value, bool):
        return isinstance(before, bool) and isinstance(value, bool)
    kinds = {str: str, int: int, float: (int, float), tuple: (tuple, list), list: (tuple, list)}
    return value is None or isinstance(value, kinds.get(type(before), object))  # type: ignore[arg-type]
