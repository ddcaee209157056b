"""From a score to a decision: thresholds and sets with guarantees, and monitors of what they rest on."""

from vilu_sdk.metrics.binomial import risk_upper_bound
from vilu_sdk.selective.costs import CostDecisions, least_cost
from vilu_sdk.selective.predictor import SelectivePredictor
from vilu_sdk.selective.report import SelectionReport
from vilu_sdk.selective.risk import RiskMonitor, RiskReport
from vilu_sdk.selective.set_report import SetReport
from vilu_sdk.selective.sets import SetPredictor
from vilu_sdk.selective.shift import ShiftMonitor, ShiftReport
from vilu_sdk.selective.tradeoffs import CostPredictor, CoveragePredictor

__all__ = [
    "CostDecisions",
    "CostPredictor",
    "CoveragePredictor",
    "RiskMonitor",
    "RiskReport",
    "SelectionReport",
    "SelectivePredictor",
    "SetPredictor",
    "SetReport",
    "ShiftMonitor",
    "ShiftReport",
    "least_cost",
    "risk_upper_bound",
]

for _name in __all__:  # what is also at the top is known as that, however it was imported
    globals()[_name].__module__ = "vilu_sdk" if _name in ("SelectivePredictor", "SetPredictor") else __name__
del _name
