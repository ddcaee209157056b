"""Export to ONNX: a scorer and its candidates as one graph, from image rows to uncertainties."""

import os
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from vilu_sdk import __version__
from vilu_sdk.export.graph import PREDICTION, Graph
from vilu_sdk.export.models import model_of, say
from vilu_sdk.inputs.candidates import Candidates, open_candidates
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.values import as_path, require_candidates
from vilu_sdk.persistence.files import whole_file
from vilu_sdk.selective._base import ThresholdPredictor

__all__ = ["export_onnx"]


def export_onnx(scorer: Any, z_txt_set: Any, path: str | os.PathLike[str]) -> None:
    """Write a scorer and its candidates as an ONNX graph, which needs neither this package nor torch.

    Parameters
    ----------
    scorer : MCMScorer, TemperatureScaledMCMScorer, ViLUEstimator, or a threshold around one
        Fitted, if it learns.
    z_txt_set : array-like of shape (K, d)
        Candidate texts, in any of their forms; the graph scores these alone.
    path : path-like
        File, usually ``.onnx``. It is written completely or not at all.

    Notes
    -----
    The input is `z_img` (rows, d), float32, of any number of rows and of any norm. The outputs are

    - `prediction` (rows,), int64, and `uncertainty` (rows,), float64, of the prediction that is judged
      (`predicts`);
    - `answer` and `answer_uncertainty`, likewise, the most likely candidate under the posterior;
    - `accepted` (rows,), bool, of a threshold.

    The graph computes in float64. It differs from the package by the package's own rounding in float32: by
    less than 1e-5 in an uncertainty on seven sets of real embeddings. Where two candidates, or a decision
    value and its threshold, are that close, the outcome may differ.
    Rows are not checked: one of zeros, or with a NaN, gets the uncertainty NaN.

    The metadata have `names`, `scorer`, `version` and, of a threshold, `threshold`, the largest decision
    value that is accepted, in nats: one, or one for each predicted class, and where all or nothing is
    accepted the largest or smallest number. All are JSON.

    Raises
    ------
    ImportError
        If the extra ``onnx`` is not installed.
    TypeError
        If the scorer is of another class, which cannot be exported.
    ValueError
        If it does not go with the candidates, or has thresholds of groups.
    sklearn.exceptions.NotFittedError
        If it learns and was not fitted.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import onnxruntime
    >>> from vilu_sdk import MCMScorer
    >>> from vilu_sdk.export import export_onnx
    >>> candidates = {"cat": [1.0, 0.0], "dog": [0.0, 1.0]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_onnx(MCMScorer(logit_scale=10.0), candidates, f"{folder}/mcm.onnx")
    ...     session = onnxruntime.InferenceSession(f"{folder}/mcm.onnx")
    >>> z_img = np.array([[1.0, 0.9], [0.1, 1.0]], np.float32)
    >>> session.run(["prediction", "uncertainty"], {"z_img": z_img})
    [array([0, 1]...), array([3.2...e-01, 1.2...e-04])]
    """
    target = as_path(path, "path")
    onnx = require("onnx", "onnx")
    threshold = scorer if isinstance(scorer, ThresholdPredictor) else None
    if threshold is not None:
        check_is_fitted(threshold)
        threshold.refuse_groups("a graph")
    judge = scorer if threshold is None else threshold.scorer_in_use
    model = model_of(judge)
    opened = open_candidates(z_txt_set)
    candidates = Candidates(opened, getattr(judge, "n_features_in_", None))
    require_candidates(len(candidates), type(judge).__name__)
    graph = Graph(onnx)
    with torch.no_grad():
        said = say(graph, model, candidates.text)
    if judge.predicts == "posterior":
        said |= {PREDICTION: said["answer"], "decision": said["answer_decision"]}
    if (first := candidates.first) is not None:  # rounding tells equal candidates apart
        for name in (PREDICTION, "answer"):
            said[name] = graph("Gather", graph.constant(first), said[name])
    outputs = {PREDICTION: said[PREDICTION], "uncertainty": graph.probability(said["decision"])}
    outputs |= {"answer": said["answer"], "answer_uncertainty": graph.probability(said["answer_decision"])}
    names = opened.called()
    metadata: dict[str, Any] = {"names": names, "scorer": type(judge).__name__, "version": __version__}
    if threshold is not None:
        found = np.asarray(threshold.thresholds_among(opened))
        limit = graph.constant(found)
        if found.ndim:
            limit = graph("Gather", limit, said[PREDICTION])
        outputs["accepted"] = graph("LessOrEqual", said["decision"], limit)
        # JSON has no infinity, which accepts all or nothing as the largest number does.
        metadata["threshold"] = np.nan_to_num(found).tolist()
    with whole_file(target) as file:
        file.write(graph.written(candidates.text.shape[1], outputs, metadata))
