"""`vilu adapt`: from a head, or from nothing, and images without labels to a saved scorer."""

import time
from argparse import Namespace
from typing import Any

from vilu_sdk.cli._arguments import DEFAULT
from vilu_sdk.cli._exits import UsageError
from vilu_sdk.cli._fit import check_folder
from vilu_sdk.cli._inputs import open_named, read_frequencies, read_groups, read_labels
from vilu_sdk.cli._outputs import plain_json
from vilu_sdk.cli._scorers import card_of, choose_scorers
from vilu_sdk.inputs.escape import masked
from vilu_sdk.scorers import ViLUEstimator

WORDS = ("balanced", "estimated")


def run(arguments: Namespace) -> int:
    """Adapt and save."""
    folder = check_folder(arguments.output, arguments.overwrite)
    arguments.scorer = arguments.scorer or [DEFAULT]
    if len(arguments.scorer) > 1:
        raise UsageError("--scorer was given several times; adapt takes one.")
    (chosen,) = choose_scorers(arguments)
    if chosen.predictor is not None:
        raise UsageError(
            f"{chosen.label} holds a promise, which is lost where its scorer moves; adapt the scorer that it "
            "was calibrated with, and calibrate again."
        )
    scorer: Any = chosen.scorer
    if not hasattr(scorer, "adapt"):
        raise UsageError(f"{type(scorer).__name__} does not adapt; {DEFAULT} does.")
    images, texts = open_named(arguments)
    labels, known = None, dict[str, Any]()
    if arguments.labels is not None:
        labels = read_labels(arguments.labels, len(images), texts)
    if (frequencies := read_frequencies(arguments.frequencies, texts, WORDS)) is not None:
        known["frequencies"] = frequencies
    if (groups := read_groups(arguments.groups, len(images))) is not None:
        known["groups"] = groups
    if known and not isinstance(scorer, ViLUEstimator):
        raise UsageError(f"{type(scorer).__name__} adapts to labels alone; leave out --{next(iter(known))}.")
    start = time.perf_counter()
    scorer.adapt(images, texts, labels, **known)
    seconds = time.perf_counter() - start
    scorer.save_pretrained(folder, card=card_of(arguments, scorer), overwrite=arguments.overwrite)
    name, where = type(scorer).__name__, masked(str(folder))
    if arguments.json:
        facts = {"folder": where, "scorer": name, "images": len(images), "texts": len(texts)}
        print(plain_json({**facts, "d": images.shape[1], "seconds": seconds}))
    else:
        what = "images without labels" if labels is None else "labelled images"
        print(f"{name} adapted to {len(images)} {what} and {len(texts)} texts in {seconds:.1f} s: {where}")
    return 0
