"""Tells when a prediction of a vision-language model is likely wrong, from embeddings alone."""

from vilu_sdk import prompts as prompts
from vilu_sdk.compute.device import set_device
from vilu_sdk.compute.progress import set_progress
from vilu_sdk.scorers import (
    BayesVLMScorer,
    CalibratedScorer,
    Card,
    DeltaKNNScorer,
    DeltaMDSScorer,
    DoctorScorer,
    EnergyScorer,
    EntropyScorer,
    ICPEScorer,
    KroneckerFactors,
    LVUScorer,
    MahalanobisScorer,
    MarginScorer,
    MaxLogitScorer,
    MCMScorer,
    NegLabelScorer,
    NeighbourScorer,
    PaperRecipe,
    ProbVLMScorer,
    RelUScorer,
    Scorer,
    SoftmaxHeadScorer,
    TemperatureScaledMCMScorer,
    TrustVLMScorer,
    ViLUEstimator,
)
from vilu_sdk.scorers.official import convert_official_checkpoint
from vilu_sdk.selective import SelectivePredictor, SetPredictor

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022, in groups
    # what most people want
    "ViLUEstimator",
    "SelectivePredictor",
    "SetPredictor",
    # the published method, and its variations
    "PaperRecipe",
    "convert_official_checkpoint",
    # scores that need no fit
    "MCMScorer",
    "EntropyScorer",
    "DoctorScorer",
    "MarginScorer",
    # scores that learn
    "TemperatureScaledMCMScorer",
    "SoftmaxHeadScorer",
    "RelUScorer",
    "LVUScorer",
    "BayesVLMScorer",
    "KroneckerFactors",
    "ProbVLMScorer",
    "TrustVLMScorer",
    "ICPEScorer",
    "DeltaKNNScorer",
    "DeltaMDSScorer",
    "CalibratedScorer",
    # scores of images that show none of the candidates
    "MaxLogitScorer",
    "EnergyScorer",
    "MahalanobisScorer",
    "NeighbourScorer",
    "NegLabelScorer",
    # to build on
    "Scorer",
    "Card",
    # the whole process
    "set_device",
    "set_progress",
]

# Representations, tracebacks and pickles name what users import, not the file it is in.
for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
