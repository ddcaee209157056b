"""Libraries of the extras: imported where they are used, and named where they are missing."""

from importlib import import_module
from typing import Any

# The work that fails without each extra, and the library that it needs.
NEEDED = {
    "plot": "Pictures need matplotlib",
    "data": "parquet files need pyarrow",
    "ray": "scoring with Ray needs ray",
    "remote": "addresses of object stores need fsspec",
    "serve": "vilu serve needs fastapi, uvicorn and prometheus-client",
    "onnx": "export to ONNX needs onnx",
}


def require(module: str, extra: str) -> Any:
    """Import a module of an extra, or raise an ImportError that names the extra."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f'{NEEDED[extra]}: pip install "vilu-sdk[{extra}]"') from error
