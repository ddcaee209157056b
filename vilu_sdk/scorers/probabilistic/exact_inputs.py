"""Inputs of BayesVLM's exact mode, which come from inside the encoders and must fit together."""

from typing import Any

import torch

from vilu_sdk.inputs.rows import Rows
from vilu_sdk.scorers.probabilistic.laplace import KroneckerFactors

# Rows that are read to tell whether embeddings are raw and belong to the activations.
PROBED_ROWS = 1024
# Norms this close to 1 are those of normalised rows, also if they were stored in half precision.
UNIT_TOLERANCE = 2e-3
# Largest ‖Wa - z‖ / ‖z‖ of activations and embeddings of one network, stored in half precision.
PROJECTION_TOLERANCE = 2e-2


def raw_embeddings(source: Any, name: str) -> Rows:
    """Return embeddings as they came, after a look at whether they were normalised."""
    rows = Rows(source, name, normalise=False)
    norms = torch.linalg.vector_norm(rows.read(slice(0, PROBED_ROWS)), dim=1)
    if bool(((norms - 1).abs() < UNIT_TOLERANCE).all()):
        raise ValueError(
            f"{name} is normalised, and the exact mode needs embeddings as the projection returns them: its "
            "variances have their scale. Pass those, or use mode='identity_head'."
        )
    return rows


def activations(source: Any, name: str, z: Rows, width: int | None = None) -> Rows:
    """Return activations that go with the embeddings `z`."""
    if source is None:
        raise ValueError(f"mode='exact' needs {name}, the activations in front of the projection.")
    rows = Rows(source, name, normalise=False)
    if len(rows) != len(z):
        raise ValueError(f"{name} has {len(rows)} rows but {z.name} has {len(z)}; they go row by row.")
    if width is not None and rows.d != width:
        raise ValueError(f"{name} has rows of width {rows.d}, but the activation factor is {width} wide.")
    return rows


def check_factors(
    image: KroneckerFactors | None, text: KroneckerFactors | None, image_d: int, text_d: int
) -> None:
    """Refuse factors of one encoder alone, and widths of two models."""
    if (image is None) != (text is None):
        raise ValueError("factors of one encoder were given; pass those of both, or none to estimate.")
    if image_d != text_d:
        raise ValueError(f"z_img and z_txt must have one width, got {image_d} and {text_d}.")
    for name, factors in (("image_factors", image), ("text_factors", text)):
        if factors is not None and len(factors.B) != image_d:
            raise ValueError(
                f"{name}.B is {len(factors.B)} wide, but the embeddings {image_d}: these are factors of "
                "another model."
            )


def squared_weights(z: Rows, a: Any, projection: Any, side: str) -> float | None:
    """Return ‖W‖² of a projection that maps the activations to the embeddings."""
    if projection is None:
        return None
    inputs = activations(a, f"a_{side}", z)
    weights = Rows(projection, f"projection_{side}", normalise=False).read()
    if weights.shape != (z.d, inputs.d):
        raise ValueError(
            f"projection_{side} must have shape {(z.d, inputs.d)}, that of W in z = W a, got "
            f"{tuple(weights.shape)}; some models store the transpose."
        )
    rows = slice(0, PROBED_ROWS)
    expected = z.read(rows)
    off = torch.linalg.norm(inputs.read(rows) @ weights.T - expected) / torch.linalg.norm(expected)
    if off > PROJECTION_TOLERANCE:
        raise ValueError(
            f"projection_{side} maps a_{side} to something else than {z.name} (relative difference "
            f"{float(off):.2g}): they come from different models, or W is transposed."
        )
    return float(weights.double().square().sum())
