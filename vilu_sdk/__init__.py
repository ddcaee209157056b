"""Tells when a prediction of a vision-language model is likely wrong, from embeddings alone."""

from vilu_sdk.progress import set_progress
from vilu_sdk.scorers import DoctorScorer, EntropyScorer, MCMScorer

__all__ = ["DoctorScorer", "EntropyScorer", "MCMScorer", "set_progress"]
__version__ = "0.1.0"
