"""One file a method; each reads like its paper's equation."""

from vilu_sdk.scorers.softmax import DoctorScorer, EntropyScorer, MCMScorer

__all__ = ["DoctorScorer", "EntropyScorer", "MCMScorer"]
