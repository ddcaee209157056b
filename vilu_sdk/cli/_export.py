"""`vilu export`: a scorer and its candidates as an ONNX graph."""

from argparse import Namespace
from pathlib import Path

from vilu_sdk.cli._exits import DONE, UsageError, usage
from vilu_sdk.cli._inputs import open_texts
from vilu_sdk.cli._scorers import choose_one
from vilu_sdk.cli._streams import LOG
from vilu_sdk.export import export_onnx
from vilu_sdk.inputs.extras import require
from vilu_sdk.persistence.files import check_parent


def run(arguments: Namespace) -> int:
    """Export."""
    path = Path(arguments.output).expanduser()
    if path.suffix != ".onnx":
        raise UsageError(f"{path} is no .onnx file; name one.")
    with usage():
        check_parent(path)
    require("onnx", "onnx")
    chosen = choose_one(arguments)
    texts = open_texts(arguments)
    export_onnx(chosen.predictor or chosen.scorer, texts, path)
    LOG.info(f"{len(texts)} candidates: {path}")
    return DONE
