"""What a failure score is made of, image by image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.compute.streaming import stream
from vilu_sdk.inputs.names import name_of
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.metrics.text import align, lines
from vilu_sdk.scorers.base.among import Chunk
from vilu_sdk.scorers.paper.recipe import PaperModel
from vilu_sdk.scorers.posterior.model import LogLinearModel, scores


@dataclass(frozen=True)
class Explanation:
    """Competing candidates of each prediction, and the contribution of each source.

    Attributes
    ----------
    prediction : ndarray of shape (N,)
        Zero-shot prediction, a row of the candidates.
    uncertainty : ndarray of shape (N,)
        As `predict_uncertainty` gives it.
    probability : ndarray of shape (N,)
        Probability of the prediction under the posterior, in [0, 1].
    competitors : ndarray of shape (N, top_k)
        Candidates with the highest probability beside the prediction, most first.
    competitor_probability : ndarray of shape (N, top_k)
        Their probability, in [0, 1].
    contributions : dict of str to ndarray of shape (N, top_k)
        How much each source favours the competitor over the prediction, in nats. Values above 0 raise the
        uncertainty; the sources add up to the log-ratio of the two probabilities.
    names : sequence of str or None
        Names of the candidates.
    """

    prediction: NDArray[np.int64]
    uncertainty: NDArray[np.float64]
    probability: NDArray[np.float64]
    competitors: NDArray[np.int64]
    competitor_probability: NDArray[np.float64]
    contributions: dict[str, NDArray[np.float64]]
    names: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.prediction)

    def to_dicts(self) -> list[dict[str, Any]]:
        """One flat dict for each image and competitor, for a data frame."""
        return [
            {
                "image": i,
                "prediction": name_of(self.names, self.prediction[i]),
                "uncertainty": float(self.uncertainty[i]),
                "probability": float(self.probability[i]),
                "competitor": name_of(self.names, self.competitors[i, j]),
                "competitor_probability": float(self.competitor_probability[i, j]),
                **{source: float(values[i, j]) for source, values in self.contributions.items()},
            }
            for i in range(len(self))
            for j in range(self.competitors.shape[1])
        ]

    def __str__(self) -> str:
        sources = list(self.contributions)
        head = ["image", "predicted", "uncertainty", "competitor", "probability", *sources]
        body = [
            [
                str(row["image"]),
                f"{row['prediction']} ({row['probability']:.0%})",
                f"{row['uncertainty']:.3f}",
                str(row["competitor"]),
                f"{row['competitor_probability']:.0%}",
                *(f"{row[source]:+.2f}" for source in sources),
            ]
            for row in self.to_dicts()
        ]
        return "\n".join(lines(align([head, *body], left=len(head))))


def compete(
    model: LogLinearModel | PaperModel, images: Rows, text: Tensor, top_k: int
) -> tuple[list[NDArray[Any]], dict[str, NDArray[np.float64]]]:
    """Return the columns of an explanation, a decision value for the uncertainty, and its contributions."""
    parts, among, sharpness = model.parts(text), model.among(text), model.sharpness(text)

    def of(z: Tensor) -> list[Tensor]:
        chunk = Chunk(z, among)
        found = {source: sharpness * values for source, values in scores(parts, z).items()}
        prediction = chunk.prediction[:, None]
        logits = torch.stack(tuple(found.values())).sum(dim=0)
        probability = torch.softmax(logits, dim=1)
        rivals = logits.scatter(1, prediction, -torch.inf).topk(top_k, dim=1).indices
        own, theirs = probability.gather(1, prediction)[:, 0].double(), probability.gather(1, rivals).double()
        contributions = [part.gather(1, rivals) - part.gather(1, prediction) for part in found.values()]
        said = [chunk.prediction, chunk.decision.double(), own, rivals, theirs]
        return [*said, *(part.double() for part in contributions)]

    found = [part.numpy() for part in stream(images, len(text), of, "explaining")]
    return found[:5], dict(zip(parts, found[5:], strict=True))
