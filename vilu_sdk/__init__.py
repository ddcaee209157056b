"""Tells when a prediction of a vision-language model is likely wrong, from embeddings alone.

Names are imported when they are asked for: `vilu --help` needs neither torch nor numpy.
"""

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Where the names above are from, unless from `scorers`.
_HOMES = {
    "SelectivePredictor": "selective",
    "SetPredictor": "selective",
    "convert_official_checkpoint": "scorers.official",
    "set_device": "compute.device",
    "set_progress": "compute.progress",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name not in __all__:
        if name.startswith("_") or find_spec(f"{__name__}.{name}") is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return import_module(f"{__name__}.{name}")
    found = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'scorers')}"), name)
    # Representations, tracebacks and pickles name what users import, not the file it is in.
    found.__module__ = __name__
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    own = {name for name in globals() if name.startswith("__")}
    return sorted({*own, *__all__, *(found.name for found in iter_modules(__path__) if found.name[0] != "_")})
