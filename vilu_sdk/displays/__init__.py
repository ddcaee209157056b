"""Pictures in the manner of scikit-learn's displays; they need the extra ``plot`` when they are drawn."""

from vilu_sdk.displays.candidates import CandidatesDisplay
from vilu_sdk.displays.classes import ClassFailureDisplay
from vilu_sdk.displays.confusions import ConfusionDisplay
from vilu_sdk.displays.learning import LearningCurveDisplay
from vilu_sdk.displays.metric_coverage import MetricCoverageDisplay
from vilu_sdk.displays.novelty import NoveltyDisplay
from vilu_sdk.displays.over_accuracy import ReliabilityOverAccuracyDisplay
from vilu_sdk.displays.pareto import ParetoDisplay
from vilu_sdk.displays.ranks import CriticalDifferenceDisplay
from vilu_sdk.displays.risk_coverage import RiskCoverageDisplay
from vilu_sdk.displays.roc import ROCDisplay
from vilu_sdk.displays.scores import ReliabilityDisplay, ScoreDistributionDisplay
from vilu_sdk.displays.set_curve import SetCurveDisplay
from vilu_sdk.displays.sets import SetClassDisplay, SetSizeDisplay

__all__ = [
    "CandidatesDisplay",
    "ClassFailureDisplay",
    "ConfusionDisplay",
    "CriticalDifferenceDisplay",
    "LearningCurveDisplay",
    "MetricCoverageDisplay",
    "NoveltyDisplay",
    "ParetoDisplay",
    "ROCDisplay",
    "ReliabilityDisplay",
    "ReliabilityOverAccuracyDisplay",
    "RiskCoverageDisplay",
    "ScoreDistributionDisplay",
    "SetClassDisplay",
    "SetCurveDisplay",
    "SetSizeDisplay",
]

for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
