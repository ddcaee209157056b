"""Serve a head over HTTP: embeddings in, predictions and uncertainties out.

    pip install fastapi uvicorn
    python examples/serve_with_fastapi.py
    python examples/serve_with_fastapi.py --head clip-b32-imagenet --texts z_txt.npy --names class_names.txt
    curl localhost:8000/health
    curl localhost:8000/score --json '{"z_img": [[0.1, 0.2, ...]]}'

The head and the candidates are loaded once; without arguments they are those of the demo's digits. Bad
embeddings are answered with 422 and the message of the SDK, which names the row.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from vilu_sdk import Scorer, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm

MAX_ROWS = 4096


class Batch(BaseModel):
    """What a client sends."""

    z_img: list[list[float]] = Field(max_length=MAX_ROWS, description="embeddings of images, one a row")


class Scores(BaseModel):
    """What it gets: for each image the predicted class and how likely that is wrong."""

    prediction: list[str]
    uncertainty: list[float]


def create_app(scorer: Scorer, z_txt: Any, names: Sequence[str]) -> FastAPI:
    """Return the service for one head and one set of candidates."""
    if len(names) != len(z_txt):
        raise ValueError(
            f"names has {len(names)} entries but z_txt has {len(z_txt)} rows; pass one for each."
        )
    # Scoring one image now finds out whether head and texts belong together, before the first request does,
    # and prepares what depends on the candidates alone; the scorer keeps that.
    scorer.predict_uncertainty(z_txt[:1], z_txt)
    app = FastAPI(title="vilu-sdk")

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "scorer": type(scorer).__name__,
            "width": int(z_txt.shape[1]),
            "candidates": len(names),
        }

    # A plain function, not `async`: FastAPI runs it in a thread, so that requests do not wait for each other.
    # Threads may share a fitted scorer, because scoring changes nothing that matters.
    @app.post("/score")
    def score(batch: Batch) -> Scores:
        try:
            uncertainty = scorer.predict_uncertainty(batch.z_img, z_txt)
            predicted = scorer.predict(batch.z_img, z_txt)
        except (ValueError, TypeError) as error:
            raise HTTPException(422, str(error)) from error
        return Scores(prediction=[names[k] for k in predicted], uncertainty=uncertainty.tolist())

    return app


def demo_app() -> FastAPI:
    """Return the service for the demo's digits; `uvicorn --factory` takes it."""
    data = load_digits_vlm()
    head = ViLUEstimator(logit_scale=data.logit_scale, random_state=0)
    head.fit(data.z_img_fit, data.z_txt, data.labels_fit)
    return create_app(head, data.z_txt, data.class_names)


if __name__ == "__main__":
    import uvicorn

    parser = argparse.ArgumentParser(description="Serve a head over HTTP.")
    parser.add_argument(
        "--head", default="clip-b32-imagenet", help="folder, or name, of a saved ViLUEstimator"
    )
    parser.add_argument("--texts", help=".npy of the candidates' embeddings; by default the demo's digits")
    parser.add_argument("--names", type=Path, help="file with a class name a line")
    options = parser.parse_args()
    if options.texts:
        texts = np.load(options.texts)
        lines = options.names.read_text(encoding="utf-8").splitlines() if options.names else None
        app = create_app(
            ViLUEstimator.from_pretrained(options.head), texts, lines or [str(k) for k in range(len(texts))]
        )
    else:
        app = demo_app()
    uvicorn.run(app)
