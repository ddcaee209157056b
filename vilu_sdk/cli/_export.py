"""`vilu export`: a scorer and its candidates as an ONNX graph."""

from argparse import Namespace
from pathlib import Path

from vilu_sdk.cli._arguments import HEAD, NAMES, QUIET, TEXTS
from vilu_sdk.cli._exits import DONE, UsageError, usage
from vilu_sdk.cli._inputs import open_texts
from vilu_sdk.cli._outputs import say
from vilu_sdk.cli._parser import command, option
from vilu_sdk.cli._scorers import choose_one
from vilu_sdk.inputs.extras import require
from vilu_sdk.persistence.storage import check_parent


@command(
    "export",
    "write a scorer and its candidates as an ONNX graph",
    "vilu export my-scorer texts.npy --names names.txt -o my-scorer.onnx",
    *HEAD,
    TEXTS,
    NAMES,
    option("-o", "--output", metavar="FILE", required=True, help="an .onnx file"),
    QUIET,
    about="Write a scorer and its candidates as an ONNX graph, from image embeddings to prediction, answer "
    "and uncertainty. MCM, its temperature-scaled form, ViLUEstimator and thresholds around them have one.",
)
def run(arguments: Namespace) -> int:
    """Export."""
    from vilu_sdk.export import export_onnx

    path = Path(arguments.output).expanduser()
    if path.suffix != ".onnx":
        raise UsageError(f"{path} is no .onnx file; name one.")
    with usage():
        check_parent(path)
    require("onnx", "onnx")
    chosen = choose_one(arguments)
    texts = open_texts(arguments)
    export_onnx(chosen.predictor or chosen.scorer, texts, path)
    say(arguments, f"{len(texts)} candidates: {path}")
    return DONE
