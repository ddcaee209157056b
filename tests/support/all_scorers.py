"""Every scorer that the package exports, in settings that fit in a second."""

from types import SimpleNamespace
from typing import Any

import pytest
from sklearn.base import clone

import vilu_sdk
from vilu_sdk.scorers.base.scorer import Scorer

# Beside the defaults; a scorer that is not named here is tested with its defaults alone.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "EntropyScorer": [{}, {"normalise": True}],
    "DoctorScorer": [{}, {"variant": "beta"}],
    "MarginScorer": [{}, {"of": "logits"}],
    "LVUScorer": [
        {"epochs": 2, "hidden": (8,), "random_state": 0},
        {"epochs": 2, "hidden": (8,), "random_state": 0, "target": "correct"},
        {"epochs": 2, "hidden": (8,), "random_state": 0, "target": "loss"},
    ],
    "BayesVLMScorer": [{"random_state": 0}],
    "TrustVLMScorer": [{}, {"readout": "softmax"}],
    "ICPEScorer": [{"components": 8}],
    "DeltaKNNScorer": [{"k": 5}, {"k": 5, "margin_weight": 0.1}],
    "DeltaMDSScorer": [{}, {"margin_weight": 0.1}],
    "MahalanobisScorer": [{}, {"relative": True}],
    "NeighbourScorer": [{"k": 5}],
    "CalibratedScorer": [
        {"random_state": 0},
        {"scorer": vilu_sdk.RelUScorer(), "method": "isotonic", "random_state": 0},
    ],
    "ProbVLMScorer": [
        {"epochs": 2, "hidden": 16, "random_state": 0, "pooling": "log_mean"},
        {"epochs": 2, "hidden": 16, "random_state": 0, "readout": "cross_modal"},
    ],
    "ViLUEstimator": [
        {"random_state": 0},
        {"recipe": vilu_sdk.PaperRecipe(epochs=2, hidden=(8,)), "random_state": 0},
    ],
}
CLASSES = [
    value
    for name in vilu_sdk.__all__
    if isinstance(value := getattr(vilu_sdk, name), type)
    and issubclass(value, Scorer)
    and value is not Scorer
]
EXAMPLES = [
    pytest.param(cls(**params), id=f"{cls.__name__}{i or ''}")
    for cls in CLASSES
    for i, params in enumerate(VARIANTS.get(cls.__name__, [{}]))
]


def fitted(scorer: Scorer, toy: SimpleNamespace) -> Scorer:
    return clone(scorer).fit(toy.z_img, toy.z_txt, toy.labels)
