"""What graphs compute of each model, from the same parts as the package."""

from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from vilu_sdk.export.graph import IMAGES, PREDICTION, Graph
from vilu_sdk.scorers.base.unknown import MOST, Background
from vilu_sdk.scorers.paper.recipe import PaperModel
from vilu_sdk.scorers.posterior.captions import CaptionModel
from vilu_sdk.scorers.posterior.model import LogLinearModel, fold
from vilu_sdk.scorers.posterior.parts import WIDTH, KernelLogits
from vilu_sdk.scorers.softmax import MCMScorer
from vilu_sdk.scorers.temperature import TemperatureScaledMCMScorer
from vilu_sdk.scorers.vilu import ViLUEstimator

KNOWN = (MCMScorer, TemperatureScaledMCMScorer, ViLUEstimator)


def model_of(judge: Any) -> LogLinearModel | PaperModel:
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


def say(graph: Graph, model: LogLinearModel | PaperModel, text: Tensor) -> dict[str, str]:
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
    return graph("Exp", graph("Add", products, graph.column(half)))


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
        score = graph.column(graph.probability(graph.log_odds(logits, prediction)))
        x = graph("Add", x, graph("Mul", score, graph.constant(by_mcm[:, 0])))
    for layer in later:
        if not isinstance(layer, nn.Linear):
            x = graph("Relu", x)
            continue
        x = graph.product(x, layer.weight.T, layer.bias)
    return graph("Sub", graph("Neg", graph.flat(x)), graph.constant(model.log_weight))
