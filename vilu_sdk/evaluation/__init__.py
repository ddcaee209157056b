"""Metrics of failure prediction, and the comparison of scorers by them."""

from vilu_sdk.evaluation.bench import benchmark
from vilu_sdk.evaluation.comparison import compare, evaluate
from vilu_sdk.evaluation.over_sets import Ranking
from vilu_sdk.evaluation.own import Metric
from vilu_sdk.evaluation.results import Benchmark
from vilu_sdk.evaluation.scoring import (
    cross_val_uncertainty,
    failure_auc_scorer,
    neg_aurc_scorer,
    neg_fpr95_scorer,
)
from vilu_sdk.evaluation.table import ComparisonTable
from vilu_sdk.metrics.calibration import brier_score, expected_calibration_error, negative_log_likelihood
from vilu_sdk.metrics.failure import failure_metrics, fpr95
from vilu_sdk.metrics.risk_coverage import (
    augrc,
    aurc,
    coverage_at_risk,
    e_aurc,
    risk_at_coverage,
    risk_coverage_curve,
)

__all__ = [
    "Benchmark",
    "ComparisonTable",
    "Metric",
    "Ranking",
    "augrc",
    "aurc",
    "benchmark",
    "brier_score",
    "compare",
    "coverage_at_risk",
    "cross_val_uncertainty",
    "e_aurc",
    "evaluate",
    "expected_calibration_error",
    "failure_auc_scorer",
    "failure_metrics",
    "fpr95",
    "neg_aurc_scorer",
    "neg_fpr95_scorer",
    "negative_log_likelihood",
    "risk_at_coverage",
    "risk_coverage_curve",
]

for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
