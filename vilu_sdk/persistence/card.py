"""Facts on a saved scorer beside its weights, and its model card."""

import inspect
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sklearn.base import BaseEstimator

from vilu_sdk.inputs.escape import line, markdown, markdown_block
from vilu_sdk.inputs.names import by_place
from vilu_sdk.inputs.values import positive
from vilu_sdk.persistence.encoding import storable

#: What is said of what is not known, and how many names are listed.
UNKNOWN, FIRST = "not recorded", 5
#: What the Hub calls the task.
TASK = "zero-shot-image-classification"
EMBEDDED = """\
`z_img` (N, d) are embeddings of images, `z_txt_set` (K, d) those of the candidate texts that the prediction \
is chosen from, both by the backbone above."""
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
    prompts : str or sequence of str
        The templates of the candidate texts, such as "a photo of a {}.", as `vilu_sdk.prompts.fill` takes
        them.

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
    prompts: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        given = self.prompts
        prompts = (given,) if isinstance(given, str) else tuple(by_place(given, "prompts", "of templates"))
        object.__setattr__(self, "prompts", prompts)
        texts = [(item.name, getattr(self, item.name)) for item in fields(self)]
        texts = [pair for pair in texts if pair[0] not in ("metrics", "prompts")]
        for name, value in [*texts, *(("prompts", prompt) for prompt in prompts)]:
            if not (value is None or isinstance(value, str)):
                raise TypeError(f"{name} of a card must be a string, got {type(value).__name__}.")
        # A copy of plain numbers, so that the card cannot change afterwards.
        object.__setattr__(self, "metrics", _plain(self.metrics))


@storable
@dataclass(frozen=True)
class FittedOn:
    """What a scorer was fitted on, in numbers and names.

    Attributes
    ----------
    images : int
        Rows of the fit, 0 of one that was adapted alone.
    candidates : int or None
        How many there were; None for captions.
    prompts : int
        The most prompts that one of them had.
    names : tuple of str or None
        What they are called, if anything.
    adapted : int
        Images without labels that it was adapted to since.
    """

    images: int
    candidates: int | None
    prompts: int = 1
    names: tuple[str, ...] | None = None
    adapted: int = 0

    def rows(self) -> str:
        """Say in words how many images there were."""
        fitted = [f"{self.images:,}"] if self.images or not self.adapted else []
        return ", ".join([*fitted, *([f"adapted to {self.adapted:,}"] if self.adapted else [])])

    def describe(self) -> str:
        """Say in words which candidates there were."""
        if self.candidates is None:
            return "captions"
        found = f"{self.candidates:,}"
        if self.names is not None:
            found += f": {', '.join(self.names[:FIRST])}{', …' if len(self.names) > FIRST else ''}"
        return found if self.prompts == 1 else f"{found}; up to {self.prompts} prompts each"


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


def expectations(scorer: Any, card: Card | None = None) -> dict[str, str]:
    """Return in words what a scorer expects of embeddings and was fitted on, as far as it is known."""
    card = card or scorer.card_
    backbone = backbone_of(scorer, card)
    known: FittedOn | None = getattr(scorer, "fitted_on_", None)
    rows = getattr(getattr(scorer, "fit_rows_", None), "hashes", None)
    n = known.rows() if known is not None else None if rows is None else f"{len(rows):,}"
    recipe = getattr(scorer, "recipe", None)
    scale = backbone["logit_scale"]
    return {
        **({} if recipe is None else {"recipe": recipe if isinstance(recipe, str) else repr(recipe)}),
        "backbone": card.backbone or UNKNOWN,
        "width": str(backbone["dimension"] or "any"),
        "logit scale": "not used" if scale is None else f"{scale:g}",
        "candidates": UNKNOWN if known is None else known.describe(),
        **({"prompts": _first(card.prompts)} if card.prompts else {}),
        "rows of the fit": UNKNOWN if n is None else n,
    }


def _first(values: Sequence[str]) -> str:
    """Return the first of some texts, and how many there are."""
    shown = ", ".join(values[:FIRST])
    return shown if len(values) <= FIRST else f"{shown}, … ({len(values)})"


def model_card(scorer: Any, name: str, card: Card | None) -> str:
    """Return the model card of a scorer that readers load by a name: YAML for the Hub, then Markdown."""
    # Imported late: it takes a fifth of a second.
    from huggingface_hub import EvalResult, ModelCardData

    card = card or Card()
    measured = [
        EvalResult(
            task_type=TASK,
            dataset_type=kind,
            dataset_name=kind,
            metric_type=metric,
            metric_value=round(value, 4),
        )
        for kind, values in card.metrics.items()
        for metric, value in values.items()
        if math.isfinite(value)
    ]
    dataset = _on_the_hub(card.dataset)
    data = ModelCardData(
        library_name="vilu-sdk",
        tags=TAGS,
        pipeline_tag=TASK,
        license=card.license and card.license.lower(),
        base_model=_on_the_hub(card.backbone),
        datasets=None if dataset is None else [dataset],
        model_name=name if measured else None,
        eval_results=measured or None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{describe(scorer, name, card)}"


def _on_the_hub(name: str | None) -> str | None:
    """Return what may be the name of a repository on the Hub."""
    return name if name is not None and re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None


def describe(scorer: Any, name: str, card: Card | None = None) -> str:
    """Return the Markdown of `model_card`, by default with the card that the scorer was loaded with."""
    card = card or scorer.card_
    inside = getattr(scorer, "scorer_in_use", getattr(scorer, "scorer", scorer))
    backbone, known = backbone_of(inside, card), expectations(inside, card)
    kind = type(scorer)
    variable, use = scorer._card_use
    facts = {
        "scorer": f"`{_code(' '.join(BaseEstimator.__repr__(scorer).split()))}`",
        "fitted on": markdown(card.dataset or UNKNOWN),
        "images of the fit": known["rows of the fit"],
        "candidates of the fit": markdown(str(known["candidates"])),
        "prompts": markdown(str(known.get("prompts", UNKNOWN))),
        "backbone": markdown(str(known["backbone"])),
        "width d of its embeddings": known["width"],
        "its logit scale": known["logit scale"],
        "rows": "scaled to length 1 when they are read"
        if backbone["normalisation"] == "l2"
        else "taken as they are, not normalised",
        "licence": markdown(card.license or UNKNOWN),
    }
    sections = [
        f"# {markdown(name)}",
        (inspect.getdoc(kind) or "A scorer.").split("\n\n")[0],
        _table(["", ""], [[key, str(value)] for key, value in facts.items()]),
        "## How to use",
        f"""```python
from {_home(kind)} import {kind.__name__}

{variable} = {kind.__name__}.from_pretrained({json.dumps(name)})
{use}
```""",
        EMBEDDED if "z_img" in use else "",
    ]
    if hasattr(scorer, "report_"):
        found = "\n".join(line(part) for part in str(scorer.report_).split("\n"))
        sections += ["## What it guarantees", f"```text\n{found.replace('```', chr(39) * 3)}\n```"]
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
    return "\n\n".join(filter(None, sections)) + "\n"


def _home(kind: type) -> str:
    """Return the shortest module that a class can be imported from."""
    parts = kind.__module__.split(".")
    homes = (".".join(parts[:end]) for end in range(1, len(parts)))
    return next(
        (home for home in homes if getattr(sys.modules.get(home), kind.__name__, None) is kind),
        kind.__module__,
    )


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
