"""Numbers, words, flags and names of every room: what is none of them is named, whatever it is made of."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from vilu_sdk import (
    KroneckerFactors,
    MCMScorer,
    SelectivePredictor,
    SetPredictor,
    ViLUEstimator,
    convert_official_checkpoint,
    set_progress,
)
from vilu_sdk.displays import ScoreDistributionDisplay, SetSizeDisplay
from vilu_sdk.evaluation import benchmark, compare, coverage_at_risk, fpr95, risk_at_coverage
from vilu_sdk.export import export_onnx
from vilu_sdk.inputs import open_embeddings
from vilu_sdk.report import report
from vilu_sdk.scale import score_partition, score_to_folder
from vilu_sdk.scorers import Card
from vilu_sdk.selective import CostPredictor, risk_upper_bound
from vilu_sdk.serve import app

rng = np.random.default_rng(0)
T = rng.normal(size=(4, 8)).astype(np.float32)
LABELS = rng.integers(4, size=60)
Z = (T[LABELS] + rng.normal(size=(60, 8))).astype(np.float32)
U, WRONG = np.linspace(0.1, 0.9, 60), rng.random(60) < 0.4
MCM = MCMScorer(logit_scale=10.0)
TABLE = compare({"MCM": MCM}, Z, T, LABELS, fit=False, n_bootstrap=10)
BY_ALL = SelectivePredictor(MCM, 0.5).fit(Z, T, LABELS)
BY_GROUP = SelectivePredictor(MCM, 0.5).fit(Z, T, LABELS, groups=LABELS % 2)

# None of them is a number, a word, a flag, a name of a file or one name for each of four texts.
NOTHING: dict[str, Any] = {
    "an object": object(),
    "complex": 1j,
    "bytes": b"x",
    "an empty list": [],
    "a list": [1.5, "x"],
    "a mapping": {1: 2},
    "numbers": np.ones(7),
    "no numbers": np.ones(0),
    "a tensor": torch.ones(7),
    "no values": torch.empty(7, device="meta"),
    "a series": pd.Series([0.5] * 7),
    "missing": pd.NA,
    "a class": MCMScorer,
    "a date": np.datetime64("2020"),
}


def _some(value: Any) -> Any:
    """Where nothing at all may be given, something that is wrong for that."""
    return None if isinstance(value, list | np.ndarray) and len(value) == 0 else value


CALLS: dict[str, Callable[[Any], Any]] = {
    "coverage": lambda value: risk_at_coverage(U, WRONG, value),
    "risk": lambda value: coverage_at_risk(U, WRONG, value),
    "method": lambda value: fpr95(U, WRONG, method=value),
    "errors": lambda value: risk_upper_bound(value, 20, 0.9),
    "n": lambda value: risk_upper_bound(3, value, 0.9),
    "confidence": lambda value: risk_upper_bound(3, 20, value),
    "fit": lambda value: compare({"MCM": MCM}, Z, T, LABELS, fit=value),
    "reference": lambda value: compare({"MCM": MCM}, Z, T, LABELS, reference=value),
    "recipe": lambda value: ViLUEstimator(value).fit(Z, T, LABELS),
    "top_k": lambda value: ViLUEstimator(random_state=0).fit(Z, T, LABELS).explain(Z, T, value),
    "penalty": lambda value: SetPredictor(MCM, method="raps", penalty=value).fit(Z, T, LABELS),
    "abstention_cost": lambda value: CostPredictor(MCM, 10.0, value).fit(Z, T, LABELS),
    "names": lambda value: MCM.judge(Z, T, names=value),
    "groups": lambda value: BY_GROUP.predict(Z, T, groups=value),
    "A": lambda value: KroneckerFactors(value, np.eye(2)),
    "prompts": lambda value: Card(prompts=_some(value)),
    "bad_rows": lambda value: score_partition({"z": Z}, MCM, T, bad_rows=value),
    "column": lambda value: score_partition({"z": Z}, MCM, T, column=value),
    "piece_rows": lambda value: score_to_folder([], "nowhere", MCM, T, piece_rows=value),
    "output": lambda value: score_to_folder([], value, MCM, T),
    "columns": lambda value: TABLE.to_markdown(columns=[1] if _some(value) is None else value),
    "checkpoint": lambda value: ViLUEstimator(random_state=0).fit(Z, T, LABELS, checkpoint=value),
    "folder": lambda value: MCM.save_pretrained(value),
    "labels": lambda value: benchmark({"MCM": MCM}, [], labels=value),
    "feedback": lambda value: app(BY_ALL, feedback=value),
    "enabled": lambda value: set_progress(value),
    "path": lambda value: open_embeddings(_some(value)),
    "title": lambda value: report(MCM, Z, T, LABELS, "page.html", title=value),
    "class_names": lambda value: report(MCM, Z, T, LABELS, "page.html", class_names=value),
    "probability": lambda value: ScoreDistributionDisplay.from_scores(U, WRONG, probability=value),
    "sizes": lambda value: SetSizeDisplay.from_sizes(value, [True], coverage=0.9),
}


# What messages call arguments whose names alone say little.
CALLED = {"A": "factor A", "prompts": "prompts?"}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", NOTHING)
def test_what_is_no_such_argument_is_named(call, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = NOTHING[kind]
    with pytest.raises((ValueError, TypeError)) as error:
        CALLS[call](value)
    said = str(error.value)
    assert re.search(rf"\b{CALLED.get(call, call)}\b", said)
    assert "ambiguous" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "call",
    [lambda path: export_onnx(MCM, T, path), convert_official_checkpoint],
    ids=["export_onnx", "convert_official_checkpoint"],
)
def test_what_is_no_path_is_named(call):
    for value in NOTHING.values():
        with pytest.raises(TypeError, match="path must be a path"):
            call(value)


@pytest.mark.parametrize("kind", [float, np.float32, np.array, torch.tensor, Fraction])
def test_numbers_of_any_make_are_numbers(kind):
    half = kind(0.5)
    assert risk_at_coverage(U, WRONG, half) == risk_at_coverage(U, WRONG, 0.5)
    assert risk_upper_bound(3, 20, half) == risk_upper_bound(3, 20, 0.5)


def test_costs_may_be_tensors():
    plain = CostPredictor(MCM, 10.0, 0.5).fit(Z, T, LABELS).report_
    told = CostPredictor(MCM, torch.tensor(10.0, requires_grad=True), torch.tensor([0.5])).fit(Z, T, LABELS)
    assert told.report_ == plain
