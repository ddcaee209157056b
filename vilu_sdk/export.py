"""Export to ONNX: a scorer and its candidates as one graph, from image rows to uncertainties."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from vilu_sdk import __version__
from vilu_sdk.inputs.candidates import Candidates, open_candidates
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.values import require_candidates
from vilu_sdk.persistence.storage import whole_file
from vilu_sdk.scorers.base.background import MOST, Background
from vilu_sdk.scorers.paper.recipe import PaperModel
from vilu_sdk.scorers.posterior.captions import CaptionModel
from vilu_sdk.scorers.posterior.model import LogLinearModel, fold
from vilu_sdk.scorers.posterior.parts import WIDTH, KernelLogits
from vilu_sdk.scorers.softmax import MCMScorer
from vilu_sdk.scorers.temperature import TemperatureScaledMCMScorer
from vilu_sdk.scorers.vilu import ViLUEstimator
from vilu_sdk.selective._base import ThresholdPredictor

__all__ = ["export_onnx"]

# Old enough for any runtime in use, and what it needs of the file's format.
OPSET, FORMAT = 17, 8
KNOWN = (MCMScorer, TemperatureScaledMCMScorer, ViLUEstimator)
IMAGES, PREDICTION, UNCERTAINTY = "z_img", "prediction", "uncertainty"


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
    onnx = require("onnx", "onnx")
    threshold = scorer if isinstance(scorer, ThresholdPredictor) else None
    if threshold is not None:
        check_is_fitted(threshold)
        threshold.refuse_groups("a graph")
    judge = scorer if threshold is None else threshold.scorer_in_use
    model = _model_of(judge)
    opened = open_candidates(z_txt_set)
    candidates = Candidates(opened, getattr(judge, "n_features_in_", None))
    require_candidates(len(candidates), type(judge).__name__)
    graph = Graph(onnx)
    with torch.no_grad():
        said = _say(graph, model, candidates.text)
    if judge.predicts == "posterior":
        said |= {PREDICTION: said["answer"], "decision": said["answer_decision"]}
    if (first := candidates.first) is not None:  # rounding tells equal candidates apart
        for name in (PREDICTION, "answer"):
            said[name] = graph("Gather", graph.constant(first), said[name])
    outputs = {PREDICTION: said[PREDICTION], UNCERTAINTY: graph.probability(said["decision"])}
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
    with whole_file(Path(path).expanduser()) as file:
        file.write(graph.written(candidates.text.shape[1], outputs, metadata))


class Graph:
    """An ONNX graph that grows by one operation a call, which returns the name of its result."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def __call__(self, operation: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operation}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operation, inputs, [name], **attributes))
        return name

    def constant(self, values: Any) -> str:
        """Return the name of an array."""
        array = np.asarray(values.numpy() if isinstance(values, Tensor) else values, order="C")
        array = array.astype(np.float64) if array.dtype.kind == "f" else array
        name = f"constant_{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def double(self, x: str) -> str:
        """Return it in float64, in which everything is computed: the package rounds at other places."""
        return self("Cast", x, to=self._onnx.TensorProto.DOUBLE)

    def row_sum(self, x: str) -> str:
        """Sum each row (n, K) to (n,)."""
        return self("ReduceSum", x, self.constant(np.array([1])), keepdims=0)

    def product(self, x: str, matrix: Tensor, offsets: Tensor | None = None) -> str:
        """Multiply rows (n, d) by a matrix (d, K), and add offsets (K,)."""
        found = self("MatMul", x, self.constant(matrix))
        return found if offsets is None else self("Add", found, self.constant(offsets))

    def largest(self, x: str) -> str:
        """Return the first column (n,) of the largest value of each row."""
        return self("ArgMax", x, axis=1, keepdims=0, select_last_index=0)

    def log_sum(self, x: str) -> str:
        """Logarithm (n,) of the sum of the exponentials of each row."""
        most = self("ReduceMax", x, axes=[1], keepdims=1)
        # Of differences float32 is exact enough, and its exponentials are many times as fast.
        near = self("Cast", self("Sub", x, most), to=self._onnx.TensorProto.FLOAT)
        total = self.double(self.row_sum(self("Exp", near)))
        return self("Add", self("Log", total), self("Squeeze", most, self.constant(np.array([1]))))

    def log_odds(self, logits: str, column: str) -> str:
        """Log-odds (n,) that a column (n,) of logits (n, K) is wrong, exact at any lead."""
        axis = self.constant(np.array([1]))
        at = self("Unsqueeze", column, axis)
        value = self("GatherElements", logits, at, axis=1)
        nothing = self("Sub", value, self.constant(np.inf))
        rest = self("ScatterElements", logits, at, nothing, axis=1)
        return self("Sub", self.log_sum(rest), self("Squeeze", value, axis))

    def probability(self, log_odds: str) -> str:
        """Undo log-odds (n,); runtimes let their own sigmoid end at 0."""
        return self("Reciprocal", self("Add", self("Exp", self("Neg", log_odds)), self.constant(1.0)))

    def written(self, d: int, outputs: dict[str, str], metadata: dict[str, Any]) -> bytes:
        """Return the file: rows of width d in, and the outputs by name."""
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        types = {PREDICTION: kinds.INT64, "answer": kinds.INT64, "accepted": kinds.BOOL}
        nodes = [*self._nodes]
        nodes += [helper.make_node("Identity", [inside], [name]) for name, inside in outputs.items()]
        graph = helper.make_graph(
            nodes,
            "vilu_sdk",
            [helper.make_tensor_value_info(IMAGES, kinds.FLOAT, ["rows", d])],
            [
                helper.make_tensor_value_info(name, types.get(name, kinds.DOUBLE), ["rows"])
                for name in outputs
            ],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=FORMAT, producer_name="vilu-sdk"
        )
        helper.set_model_props(
            model, {name: json.dumps(value, allow_nan=False) for name, value in metadata.items()}
        )
        self._onnx.checker.check_model(model, full_check=True)
        written: bytes = model.SerializeToString()
        return written


def _model_of(judge: Any) -> LogLinearModel | PaperModel:
    """Return what a scorer knows: MCM is a posterior that has learned nothing."""
    if isinstance(judge, MCMScorer | TemperatureScaledMCMScorer):
        if judge.learns:
            check_is_fitted(judge)
        return CaptionModel(judge.softmax_scale)
    if not isinstance(judge, ViLUEstimator):
        raise TypeError(
            f"{type(judge).__name__} has no graph; {', '.join(one.__name__ for one in KNOWN)} have one, and "
            "thresholds around them."
        )
    check_is_fitted(judge)
    return judge.model_


def _say(graph: Graph, model: LogLinearModel | PaperModel, text: Tensor) -> dict[str, str]:
    """Add what a model says of images among texts (K, d)."""
    rows = graph.double(IMAGES)
    z = graph("Div", rows, graph("ReduceL2", rows, axes=[1], keepdims=1))
    if isinstance(model, PaperModel):
        prediction = graph.largest(graph.product(z, text.T))
        return _both(prediction, _published(graph, model, text, z, prediction))
    return _log_linear(graph, model, text, z)


def _both(prediction: str, decision: str) -> dict[str, str]:
    """Of a model without answers of its own."""
    return {PREDICTION: prediction, "decision": decision, "answer": prediction, "answer_decision": decision}


def _log_linear(graph: Graph, model: LogLinearModel, text: Tensor, z: str) -> dict[str, str]:
    """Add the posterior of `LogLinearModel.among`."""
    parts = model.parts(text)
    kernels = [part for group in parts.values() for part in group if isinstance(part, KernelLogits)]
    x = graph("Concat", z, *(_kernel(graph, one, z) for one in kernels), axis=1) if kernels else z
    linear = fold(parts)[1]
    logits = graph.product(x, linear.directions, linear.offsets)
    slope, offset = model.calibration(text)
    background, sharpness = model.background(text), model.sharpness(text)
    top = graph.largest(logits)
    lead = graph.log_odds(logits, top)
    none = None
    if background is not None:
        none = _none(graph, background, graph.log_sum(logits), lead)

    def decided(log_odds: str) -> str:
        if none is None or background is None:
            return log_odds
        return _against(graph, background, log_odds, none)

    def calibrated(log_odds: str) -> str:
        return graph("Add", graph("Mul", log_odds, graph.constant(slope)), graph.constant(offset))

    if parts.keys() == {"zero-shot"}:
        return _both(top, decided(calibrated(lead)))
    prediction = graph.largest(graph.product(z, text.T))
    if sharpness != 1.0:
        lead = graph.log_odds(graph("Mul", logits, graph.constant(sharpness)), top)
    return {
        PREDICTION: prediction,
        "decision": decided(calibrated(graph.log_odds(logits, prediction))),
        "answer": top,
        "answer_decision": decided(lead),
    }


def _kernel(graph: Graph, kernel: KernelLogits, z: str) -> str:
    """Add `KernelLogits.near`: exp(-‖a - b‖² w² / 2) of standardised rows and landmarks."""
    landmarks = (kernel.landmarks - kernel.centre) / kernel.spread
    a = graph("Div", graph("Sub", z, graph.constant(kernel.centre)), graph.constant(kernel.spread))
    half = graph("Mul", graph.row_sum(graph("Mul", a, a)), graph.constant(-0.5 * WIDTH**2))
    products = graph.product(a, WIDTH**2 * landmarks.T, -0.5 * WIDTH**2 * landmarks.square().sum(dim=1))
    return graph("Exp", graph("Add", products, graph("Unsqueeze", half, graph.constant(np.array([1])))))


def _none(graph: Graph, background: Background, log_sum: str, lead: str) -> str:
    """Add `Background.log_odds`."""
    found = graph("Mul", lead, graph.constant(background.lead))
    found = graph("Sub", found, graph("Mul", log_sum, graph.constant(background.mass)))
    return graph("Add", found, graph.constant(background.level))


def _against(graph: Graph, background: Background, log_odds: str, none: str) -> str:
    """Add `Background.against`."""
    one, zero = graph.constant(1.0), graph.constant(0.0)
    small = graph("Log", graph("Add", graph("Exp", graph("Neg", graph("Abs", none))), one))
    shift = graph("Add", graph("Max", none, zero), small)  # softplus
    if background.eta:
        times = graph("Mul", graph("Add", graph("Exp", log_odds), one), graph.constant(background.eta))
        shift = graph("Mul", shift, graph("Min", graph("Add", times, one), graph.constant(MOST)))
    a = graph("Add", log_odds, shift)
    b = graph("Add", shift, graph("Log", graph("Sub", one, graph("Exp", graph("Neg", shift)))))
    most = graph("Max", a, b)
    terms = [graph("Exp", graph("Sub", term, most)) for term in (a, b)]
    return graph("Add", most, graph("Log", graph("Add", *terms)))


def _published(graph: Graph, model: PaperModel, text: Tensor, z: str, prediction: str) -> str:
    """Add the confidence of `ViLUHead.against`."""
    head, d = model.head, text.shape[1]
    first, *later = head.mlp
    assert isinstance(first, nn.Linear)
    widths = [d, d * (head.attention is not None), d * head.predicted, int(head.mcm_input)]
    by_image, by_attended, by_predicted, by_mcm = torch.split(first.weight, widths, dim=1)
    x = graph.product(z, by_image.T, first.bias)
    if head.predicted:
        x = graph("Add", x, graph("Gather", graph.constant(text @ by_predicted.T), prediction))
    if head.attention is not None:
        keys, values = head.attention.folded(text)
        attention = graph("Softmax", graph.product(z, keys.T), axis=1)
        x = graph("Add", x, graph.product(attention, values @ by_attended.T))
    if head.mcm_input:
        logits = graph.product(z, model.logit_scale * text.T)
        score = graph.probability(graph.log_odds(logits, prediction))
        score = graph("Unsqueeze", score, graph.constant(np.array([1])))
        x = graph("Add", x, graph("Mul", score, graph.constant(by_mcm[:, 0])))
    for layer in later:
        if not isinstance(layer, nn.Linear):
            x = graph("Relu", x)
            continue
        x = graph.product(x, layer.weight.T, layer.bias)
    confidence = graph("Squeeze", x, graph.constant(np.array([1])))
    return graph("Sub", graph("Neg", confidence), graph.constant(model.log_weight))


export_onnx.__module__ = __name__
