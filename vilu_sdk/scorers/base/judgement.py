"""All that a scorer says of images, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.names import name_of
from vilu_sdk.metrics.text import align, lines


@dataclass(frozen=True)
class Judgement:
    """Prediction, answer, uncertainties and novelty of each of N images. Prints as a table.

    Attributes
    ----------
    prediction : ndarray of shape (N,)
        The zero-shot prediction, a row of the candidates.
    uncertainty : ndarray of shape (N,)
        How likely the prediction is wrong, as `predict_uncertainty` returns it; higher = more likely.
    answer : ndarray of shape (N,)
        The most likely candidate under the posterior; the prediction if no posterior was learned.
    answer_uncertainty : ndarray of shape (N,)
        How likely the answer is wrong; higher = more likely.
    novelty : ndarray of shape (N,)
        Higher = more likely none of the candidates; only its order has a meaning.
    names : sequence of str or None
        Names of the candidates.
    """

    prediction: NDArray[np.int64]
    uncertainty: NDArray[np.float64]
    answer: NDArray[np.int64]
    answer_uncertainty: NDArray[np.float64]
    novelty: NDArray[np.float64]
    names: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.prediction)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a dict for each image, with names of candidates where there are any."""
        return [
            {
                "image": i,
                "prediction": name_of(self.names, self.prediction[i]),
                "uncertainty": float(self.uncertainty[i]),
                "answer": name_of(self.names, self.answer[i]),
                "answer_uncertainty": float(self.answer_uncertainty[i]),
                "novelty": float(self.novelty[i]),
            }
            for i in range(len(self))
        ]

    def to_pandas(self) -> Any:
        """Return a data frame with a row for each image; needs pandas."""
        import pandas as pd

        return pd.DataFrame(self.to_dicts()).set_index("image")

    def __str__(self) -> str:
        head = ["image", "prediction", "answer", "uncertainty", "answer uncertainty", "novelty"]
        body = [
            [
                str(row["image"]),
                str(row["prediction"]),
                str(row["answer"]),
                f"{row['uncertainty']:.3f}",
                f"{row['answer_uncertainty']:.3f}",
                f"{row['novelty']:.2f}",
            ]
            for row in self.to_dicts()
        ]
        return "\n".join(lines(align([head, *body], left=3)))
