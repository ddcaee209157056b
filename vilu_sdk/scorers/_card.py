"""What is known of a scorer beside its weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from vilu_sdk.scorers._encoding import storable


@storable
@dataclass(frozen=True)
class Card:
    """What a reader must know before using a saved scorer; all of it is optional.

    Parameters
    ----------
    backbone : str, optional
        The vision-language model whose embeddings it was fitted on, best by its name on the Hub, such
        as "openai/clip-vit-base-patch32".
    dataset : str, optional
        What it was fitted on.
    metrics : mapping of str to mapping
        Name of an evaluation set -> its metrics, as `vilu_sdk.evaluation.evaluate` returns them.
    notes : str, optional
        Markdown: what it is good for, and where it must not be used.
    license : str, optional
        Identifier of the weights' licence as the Hub spells it, such as "apache-2.0".

    Raises
    ------
    TypeError
        If one of the texts is not a string, or the metrics are not numbers in mappings.

    Examples
    --------
    >>> from vilu_sdk.scorers import Card
    >>> Card(backbone="openai/clip-vit-base-patch32", metrics={"DTD": {"auc": 0.93}}).metrics["DTD"]["auc"]
    0.93
    """

    backbone: str | None = None
    dataset: str | None = None
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: str | None = None
    license: str | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "metrics" and not (value is None or isinstance(value, str)):
                raise TypeError(f"{item.name} of a card must be a string, got {type(value).__name__}.")
        # A copy of plain numbers, so that what was measured cannot change afterwards.
        object.__setattr__(self, "metrics", _plain(self.metrics))


def _plain(metrics: Any) -> dict[str, dict[str, float]]:
    try:
        return {
            str(name): {str(key): float(value) for key, value in values.items()}
            for name, values in metrics.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise TypeError(
            "metrics of a card must map the name of a set to its metrics, as in "
            f'{{"test": {{"auc": 0.9}}}}: {error}.'
        ) from error
