"""Bound classifiers among scikit-learn's tools."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from all_scorers import EXAMPLES
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from vilu_sdk import LVUScorer, MCMScorer, RelUScorer, TemperatureScaledMCMScorer, ViLUEstimator
from vilu_sdk.evaluation import (
    cross_val_uncertainty,
    failure_auc_scorer,
    failure_metrics,
    neg_aurc_scorer,
    neg_fpr95_scorer,
)

# --- scikit-learn's own checks ---------------------------------------------------------------------


def expected_failures(bound):
    failures = {
        "check_estimators_dtypes": "its integers hold an image of zeros, which has no direction and is refused",
    }
    if isinstance(bound.scorer, TemperatureScaledMCMScorer):
        failures["check_sample_weight_equivalence_on_dense_data"] = (
            "the temperature is learned from images left out of their class mean; an image of weight 2 is left "
            "out with its whole weight, of two equal images the other one stays"
        )
    return failures


@pytest.mark.filterwarnings(
    # What the scorers have to say about a dozen random rows.
    "ignore:Temperature scaling has no finite optimum",
    "ignore:RelUScorer was fitted on predictions that are all",
    "ignore:ViLUEstimator learned nothing",
    "ignore:.*cannot use sample weights; they enter the class means alone",
    "ignore:.*fewer than",
)
@parametrize_with_checks(
    [example.values[0].bind(None) for example in EXAMPLES], expected_failed_checks=expected_failures
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
