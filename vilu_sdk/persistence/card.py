"""Facts on a saved scorer beside its weights, and its model card."""

import inspect
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from vilu_sdk.inputs.escape import line, markdown, markdown_block
from vilu_sdk.inputs.values import positive
from vilu_sdk.persistence.encoding import storable

TAGS = ["vilu-sdk", "uncertainty", "failure-prediction", "vision-language"]


@storable
@dataclass(frozen=True)
class Card:
    """Facts that a reader needs before using a saved scorer; all are optional.

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
        Markdown: good uses, and uses to avoid.
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
        # A copy of plain numbers, so that the card cannot change afterwards.
        object.__setattr__(self, "metrics", _plain(self.metrics))


def backbone_of(scorer: Any, card: Card | None) -> dict[str, Any]:
    """Return the properties that a scorer expects of embeddings, None for unknown ones."""
    try:
        scale: float | None = positive(getattr(scorer, "logit_scale", None), "logit_scale")
    except (TypeError, ValueError):
        scale = None
    return {
        "name": None if card is None else card.backbone,
        "dimension": getattr(scorer, "n_features_in_", None),
        "logit_scale": scale,
        # BayesVLM's exact mode takes embeddings as the projection returns them.
        "normalisation": "none" if getattr(scorer, "mode", None) == "exact" else "l2",
    }


def model_card(scorer: Any, name: str, card: Card | None) -> str:
    """Return the model card of a scorer that readers load by a name: YAML for the Hub, then Markdown."""
    from huggingface_hub import ModelCardData  # imported late: it takes a fifth of a second

    card = card or Card()
    on_the_hub = card.backbone is not None and re.fullmatch(r"[\w.-]+/[\w.-]+", card.backbone)
    data = ModelCardData(
        library_name="vilu-sdk",
        tags=TAGS,
        license=card.license and card.license.lower(),
        base_model=card.backbone if on_the_hub else None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{describe(scorer, name, card)}"


def describe(scorer: Any, name: str, card: Card | None = None) -> str:
    """Return the Markdown of `model_card`, by default with the card that the scorer was loaded with."""
    card = card or getattr(scorer, "card_", None) or Card()
    backbone = backbone_of(scorer, card)
    kind = type(scorer)
    package = kind.__module__.split(".")[0]
    facts = {
        "scorer": f"`{_code(repr(scorer))}`",
        "fitted on": markdown(card.dataset or "not recorded"),
        "backbone": markdown(card.backbone or "not recorded"),
        "width d of its embeddings": backbone["dimension"] or "any",
        "its logit scale": "not used" if backbone["logit_scale"] is None else f"{backbone['logit_scale']:g}",
        "rows": "scaled to length 1 when they are read"
        if backbone["normalisation"] == "l2"
        else "taken as they are, not normalised",
        "licence": markdown(card.license or "not recorded"),
    }
    sections = [
        f"# {markdown(name)}",
        (inspect.getdoc(kind) or "A scorer.").split("\n\n")[0],
        _table(["", ""], [[key, str(value)] for key, value in facts.items()]),
        "## How to use",
        f"""```python
from {package} import {kind.__name__}

scorer = {kind.__name__}.from_pretrained({json.dumps(name)})
u = scorer.predict_uncertainty(z_img, z_txt_set)  # (N,), higher = more likely wrong
```""",
        "`z_img` (N, d) are embeddings of images, `z_txt_set` (K, d) those of the candidate texts that the "
        "prediction is chosen from, both by the backbone above.",
    ]
    if card.metrics:
        rows = dict.fromkeys(key for values in card.metrics.values() for key in values)
        sections += [
            "## Metrics",
            "As `vilu_sdk.evaluation.evaluate` returns them: rates are fractions.",
            _table(
                ["", *map(markdown, card.metrics)],
                [
                    [markdown(key), *(_number(values.get(key)) for values in card.metrics.values())]
                    for key in rows
                ],
            ),
        ]
    if card.notes:
        sections += ["## Notes", markdown_block(card.notes.strip())]
    return "\n\n".join(sections) + "\n"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _code(text: str) -> str:
    """Return text for a span of code in a cell."""
    return line(" ".join(text.split())).replace("`", "'").replace("|", "\\|")


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.0f}" if value == round(value) and abs(value) > 1 else f"{value:.4f}"


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
