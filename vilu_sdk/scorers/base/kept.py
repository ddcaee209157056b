"""What a scorer has made of candidates alone, kept until these, the scorer or the device change."""

import operator
from typing import Any, NamedTuple

import torch

from vilu_sdk.compute.tiles import tile_width
from vilu_sdk.inputs.candidates import Candidates, open_candidates
from vilu_sdk.persistence.encoding import moved
from vilu_sdk.persistence.types import check_parameters
from vilu_sdk.scorers.base.among import Among

#: Attributes that are no part of a scorer.
TRANSIENT = ("_kept",)


class Kept(NamedTuple):
    """What a scorer made of the last candidates, and the state of the scorer for which that holds."""

    texts: Candidates
    state: dict[str, Any]
    among: Among

    def serves(self, texts: Candidates, state: dict[str, Any]) -> bool:
        """Whether it holds for these candidates and this state, whose values must be the same objects."""
        mine, text = self.texts.text, texts.text
        return (
            self.state.keys() == state.keys()
            and all(map(operator.is_, map(self.state.get, state), state.values()))
            and (mine is text or (mine.dtype == text.dtype and torch.equal(mine, text)))
        )


def recall(scorer: Any, z_txt_set: Any, d: int) -> Candidates:
    """Return candidates, checked and normalised; at once if they are those of last time."""
    kept: Kept | None = vars(scorer).get("_kept")
    opened = open_candidates(z_txt_set, d=d)
    if kept is not None and kept.texts.are(opened.values, d):
        return kept.texts
    return Candidates(opened, d)


def predict_among(scorer: Any, texts: Candidates, device: torch.device) -> Among:
    """Return what predictions need of the candidates, which takes no fit."""
    among = Among(texts.text.to(device), width=tile_width(len(texts)))
    kept: Kept | None = vars(scorer).get("_kept")
    if kept is None or kept.texts is not texts:
        vars(scorer)["_kept"] = Kept(texts, {}, among)
    return among


def judge_among(scorer: Any, texts: Candidates, device: torch.device) -> Among:
    """Return what the scorer makes of the candidates."""
    state = {name: value for name, value in vars(scorer).copy().items() if name not in TRANSIENT}
    state["device"] = device
    kept: Kept | None = vars(scorer).get("_kept")
    if kept is None or not kept.serves(texts, state):
        check_parameters(scorer)
        there = scorer if device.type == "cpu" else moved(scorer, device)
        kept = Kept(texts, state, there._among(texts.text.to(device)))
    elif kept.texts is not texts:
        kept = kept._replace(texts=texts)
    vars(scorer)["_kept"] = kept
    return kept.among
