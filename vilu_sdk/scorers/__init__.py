"""One file a method; each reads like its paper's equation."""

from vilu_sdk.persistence.card import Card
from vilu_sdk.scorers.base.among import Among
from vilu_sdk.scorers.base.scorer import Scorer
from vilu_sdk.scorers.calibrated import CalibratedScorer
from vilu_sdk.scorers.delta import DeltaKNNScorer, DeltaMDSScorer
from vilu_sdk.scorers.icpe import ICPEScorer
from vilu_sdk.scorers.logits import EnergyScorer, MaxLogitScorer
from vilu_sdk.scorers.mahalanobis import MahalanobisScorer
from vilu_sdk.scorers.margin import MarginScorer
from vilu_sdk.scorers.neglabel import NegLabelScorer
from vilu_sdk.scorers.neighbour import NeighbourScorer
from vilu_sdk.scorers.paper.lvu import LVUScorer
from vilu_sdk.scorers.paper.recipe import PaperRecipe
from vilu_sdk.scorers.probabilistic.bayesvlm import BayesVLMScorer
from vilu_sdk.scorers.probabilistic.laplace import KroneckerFactors
from vilu_sdk.scorers.probabilistic.probvlm import ProbVLMScorer
from vilu_sdk.scorers.relu import RelUScorer
from vilu_sdk.scorers.softmax import DoctorScorer, EntropyScorer, MCMScorer
from vilu_sdk.scorers.softmax_head import SoftmaxHeadScorer
from vilu_sdk.scorers.temperature import TemperatureScaledMCMScorer
from vilu_sdk.scorers.trustvlm import TrustVLMScorer
from vilu_sdk.scorers.vilu import ViLUEstimator

__all__ = [
    "Among",
    "BayesVLMScorer",
    "CalibratedScorer",
    "Card",
    "DeltaKNNScorer",
    "DeltaMDSScorer",
    "DoctorScorer",
    "EnergyScorer",
    "EntropyScorer",
    "ICPEScorer",
    "KroneckerFactors",
    "LVUScorer",
    "MCMScorer",
    "MahalanobisScorer",
    "MarginScorer",
    "MaxLogitScorer",
    "NegLabelScorer",
    "NeighbourScorer",
    "PaperRecipe",
    "ProbVLMScorer",
    "RelUScorer",
    "Scorer",
    "SoftmaxHeadScorer",
    "TemperatureScaledMCMScorer",
    "TrustVLMScorer",
    "ViLUEstimator",
]

for _name in __all__:  # what is also at the top is known as that, however it was imported
    globals()[_name].__module__ = __name__ if _name == "Among" else "vilu_sdk"
del _name
