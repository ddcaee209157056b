"""Tells when a prediction of a vision-language model is likely wrong, from embeddings alone."""

from vilu_sdk.progress import set_progress
from vilu_sdk.scorers import (
    BayesVLMScorer,
    DoctorScorer,
    EntropyScorer,
    LVUScorer,
    MCMScorer,
    PaperRecipe,
    ProbVLMScorer,
    RelUScorer,
    TemperatureScaledMCMScorer,
    ViLUEstimator,
)

__all__ = [
    "BayesVLMScorer",
    "DoctorScorer",
    "EntropyScorer",
    "LVUScorer",
    "MCMScorer",
    "PaperRecipe",
    "ProbVLMScorer",
    "RelUScorer",
    "TemperatureScaledMCMScorer",
    "ViLUEstimator",
    "set_progress",
]
__version__ = "0.1.0"
