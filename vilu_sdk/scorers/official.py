"""The authors' checkpoints, read without running anything in them, as scorers of this package."""

import os
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vilu_sdk.compute.state import plain_torch
from vilu_sdk.inputs.foreign import check_file
from vilu_sdk.inputs.places import brief, cut, listed, shown
from vilu_sdk.inputs.precision import working
from vilu_sdk.inputs.values import as_path, is_word, positive
from vilu_sdk.persistence.pickled import UnknownNameError, read_pickled
from vilu_sdk.scorers.paper.head import ViLUHead
from vilu_sdk.scorers.paper.lvu import LVUScorer
from vilu_sdk.scorers.paper.recipe import PaperModel, PaperRecipe
from vilu_sdk.scorers.vilu import ViLUEstimator

COUNTER = "iteration_count"
PROJECTIONS = ("in_proj_v.weight", "in_proj_t.weight")


@plain_torch
def convert_official_checkpoint(
    path: str | os.PathLike[str],
    *,
    logit_scale: float = 100.0,
    d: int | None = None,
    n_iter_freeze: int = 1000,
    keep_frozen: bool = False,
    target: Literal["correct", "tcp"] = "correct",
) -> LVUScorer | ViLUEstimator:
    """Turn a checkpoint of the authors' code into a fitted scorer.

    Nothing in the file is run: its pickle may name plain tensors, and numpy numbers of the training meters,
    for which there are placeholders that do nothing. The shapes determine the network; settings that a
    checkpoint does not hold are arguments.

    Parameters
    ----------
    path : path-like
        A ``.ckpt`` file that the authors' training wrote or that they published.
    logit_scale : float
        Scale of the attention and of the zero-shot logits: 100 for CLIP.
    d : int, optional
        Width of the embeddings. It is needed for one kind of checkpoint: a network without attention
        that sees the predicted text, whose input of 2d numbers cannot be told from that of a network
        which sees images of width 2d alone. The latter is assumed.
    n_iter_freeze : int
        ``n_iter_freeze_proj`` of the training; in all scripts of the authors 1000. A checkpoint with no
        more steps than these is scored with the identity in the place of the attention's projections.
    keep_frozen : bool
        ``keep_frozen`` of the training: the identity stands in for the projections at any step.
    target : {"correct", "tcp"}
        Target of a network that sees the image alone, see `LVUScorer`. The outputs of the
        published ones average to the zero-shot accuracy, not to the probability of the true class.

    Returns
    -------
    LVUScorer or ViLUEstimator
        An `LVUScorer` for a network that sees the image alone, otherwise a `ViLUEstimator` of the
        published recipe. The settings of the optimiser are not taken over.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, is no checkpoint of the authors, or its pickle names anything else than
        tensors and numbers; the message names the file and the key.

    References
    ----------
    Lafon et al., "ViLU: Learning Vision-Language Uncertainties for Failure Prediction", ICCV 2025;
    checkpoints at https://github.com/ykrmm/ViLU.

    Examples
    --------
    >>> from vilu_sdk.scorers.official import convert_official_checkpoint
    >>> scorer = convert_official_checkpoint("weights/lvu_dtd.ckpt")  # doctest: +SKIP
    >>> scorer.predict_uncertainty(z_img, z_txt)  # doctest: +SKIP
    """
    logit_scale = positive(logit_scale, "logit_scale")
    if not is_word(target, ("correct", "tcp")):
        raise ValueError(f"target must be 'correct' or 'tcp', got {target!r}.")
    path = as_path(path, "path")
    try:
        state = _weights(_read(path))
        widths = _widths(state)
        hidden = tuple(widths[1:-1])
        attends = PROJECTIONS[0] in state
        d, predicted = _inputs(state, widths[0], d)
    except _Unfit as problem:
        raise ValueError(cut(f"{path} {problem}")) from problem.__cause__
    config = {"d": d, "hidden": list(hidden), "attention_scale": logit_scale if attends else None}
    names = {key: f"attention.{key}" if key in PROJECTIONS else key for key in state if key != COUNTER}
    weights = {name: state[key].to(working()) for key, name in names.items()}
    frozen = keep_frozen or int(state[COUNTER]) <= n_iter_freeze
    head = ViLUHead.from_state({**config, "predicted": predicted, "frozen": frozen}, weights)
    scorer: LVUScorer | ViLUEstimator
    if not (attends or predicted):
        scorer = LVUScorer(logit_scale=logit_scale, target=target, hidden=hidden)
        scorer.head_, scorer.loss_curve_ = head, torch.empty(0)
    else:
        recipe = PaperRecipe(
            attention=attends, predicted=predicted, hidden=hidden, freeze_steps=n_iter_freeze
        )
        scorer = ViLUEstimator(recipe, logit_scale=logit_scale)
        scorer.model_ = PaperModel(head, logit_scale, 0.0, recipe.target, recipe.weighting, torch.empty(0))
    scorer.n_features_in_ = d
    return scorer


class _Unfit(Exception):
    """What is wrong with a file, as the end of a sentence that its name begins."""


def _read(path: Path) -> Any:
    """Read what torch saved, without ever running what it names."""
    check_file(path)
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise _Unfit("is not what torch.save writes, or was cut off; download it again.")
    try:
        return read_pickled(path)
    except UnknownNameError as error:
        raise _Unfit(
            f"names {brief(error)} in its pickle, which no checkpoint of the authors does; it was not "
            "loaded, and nothing in it was run."
        ) from error
    except Exception as error:
        said = f"{type(error).__name__}: {brief(error)}"
        raise _Unfit(f"is damaged or is not what torch.save writes ({said}).") from error


def _weights(content: Any) -> dict[str, Tensor]:
    """Return the weights of a checkpoint, plain tensors of finite numbers under the authors' keys."""
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        found = listed(content) if isinstance(content, Mapping) else type(content).__name__
        raise _Unfit(f"has no state_dict, so it is not a checkpoint of the authors; it holds: {found}.")
    state = {brief(key): value for key, value in state.items()}
    _check_keys(state)
    for key, value in state.items():
        plain = isinstance(value, Tensor) and value.device.type == "cpu" and value.is_contiguous()
        if not plain or value.layout is not torch.strided:
            raise _Unfit(f"has something else than a tensor of numbers at state_dict[{shown(key)}].")
        if key == COUNTER:
            if value.ndim or value.is_floating_point() or value.is_complex():
                raise _Unfit(f"has no integer at state_dict[{shown(key)}].")
        elif not value.is_floating_point():
            raise _Unfit(f"has {value.dtype} at state_dict[{shown(key)}], where weights are expected.")
        elif not torch.isfinite(value).all():
            raise _Unfit(f"has NaN or infinite weights at state_dict[{shown(key)}].")
    return state


def _layers(state: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the perceptron's layers; its activations have the numbers between."""
    depth = sum(key.startswith("mlp.") and key.endswith(".weight") for key in state)
    return [f"mlp.{2 * i}" for i in range(max(depth, 1))]


def _check_keys(state: Mapping[str, Tensor]) -> None:
    expected = {COUNTER, *(f"{layer}.{part}" for layer in _layers(state) for part in ("weight", "bias"))}
    if state.keys() & set(PROJECTIONS):
        expected |= set(PROJECTIONS)
    if missing := expected - state.keys():
        raise _Unfit(f"lacks {listed(missing)} in its state_dict.")
    if extra := state.keys() - expected:
        raise _Unfit(f"has unknown keys in its state_dict: {listed(extra)}.")


def _widths(state: Mapping[str, Tensor]) -> list[int]:
    """Return the widths of the perceptron, inputs first."""
    layers = _layers(state)
    first = state[f"{layers[0]}.weight"]
    if first.ndim != 2:
        raise _Unfit(_shape("mlp.0.weight", first, "a matrix"))
    widths = [first.shape[1], *(len(state[f"{layer}.bias"].flatten()) for layer in layers)]
    for layer, (fan_in, fan_out) in zip(layers, pairwise(widths), strict=True):
        for part, shape in (("weight", (fan_out, fan_in)), ("bias", (fan_out,))):
            value = state[f"{layer}.{part}"]
            if value.shape != shape:
                raise _Unfit(_shape(f"{layer}.{part}", value, str(shape)))
    if widths[-1] != 1:
        raise _Unfit(_shape(f"{layers[-1]}.bias", state[f"{layers[-1]}.bias"], "(1,)"))
    return widths


def _inputs(state: Mapping[str, Tensor], width: int, d: int | None) -> tuple[int, bool]:
    """Return the embeddings' width and whether the predicted text is an input."""
    if PROJECTIONS[0] not in state:
        d = width if d is None else d
        if width not in (d, 2 * d):
            raise _Unfit(
                f"has a network of {width} inputs without attention, which with embeddings of width {d} "
                f"would have {d} or {2 * d}; pass the `d` of its model."
            )
        return d, width == 2 * d
    found = len(state[PROJECTIONS[0]].flatten(1)) if state[PROJECTIONS[0]].ndim == 2 else 0
    for key in PROJECTIONS:
        if state[key].shape != (found, found) or found == 0:
            raise _Unfit(_shape(key, state[key], "(d, d) for both projections"))
    if d not in (None, found):
        raise _Unfit(f"is of embeddings of width {found}, but d={d} was passed.")
    if width not in (2 * found, 3 * found):
        summed = " (a network that adds image and attention instead of joining them has no counterpart here)"
        raise _Unfit(
            f"has {width} inputs at state_dict['mlp.0.weight'], but with attention over embeddings of "
            f"width {found} it should have {2 * found} or {3 * found}{summed if width == found else ''}."
        )
    return found, width == 3 * found


def _shape(key: str, value: Tensor, expected: str) -> str:
    return f"has shape {tuple(value.shape)} at state_dict[{shown(key)}], expected {expected}."
