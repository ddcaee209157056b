"""Tells when a prediction of a vision-language model is likely wrong, from embeddings alone."""

from vilu_sdk.compute.device import set_device
from vilu_sdk.compute.progress import set_progress
from vilu_sdk.scorers import (
    BayesVLMScorer,
    CalibratedScorer,
    Card,
    DoctorScorer,
    EntropyScorer,
    LVUScorer,
    MCMScorer,
    PaperRecipe,
    ProbVLMScorer,
    RelUScorer,
    Scorer,
    TemperatureScaledMCMScorer,
    ViLUEstimator,
)
from vilu_sdk.scorers.official import convert_official_checkpoint

__all__ = [
    "BayesVLMScorer",
    "CalibratedScorer",
    "Card",
    "DoctorScorer",
    "EntropyScorer",
    "LVUScorer",
    "MCMScorer",
    "PaperRecipe",
    "ProbVLMScorer",
    "RelUScorer",
    "Scorer",
    "TemperatureScaledMCMScorer",
    "ViLUEstimator",
    "convert_official_checkpoint",
    "set_device",
    "set_progress",
]
__version__ = "0.1.0"
