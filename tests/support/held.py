"""The ways in which users hold images, texts and labels: the same values, in other hands."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import torch

from support.data import draw_task

NAMES = ["cat", "007", "naïve dog", "owl"]
TASK = draw_task(120, 4, 8, random_state=3)
PROMPTS = TASK.z_txt[:, None] + 0.3 * np.random.default_rng(4).normal(size=(4, 5, 8)).astype(np.float32)
#: How many of the five prompts each class has, where they differ.
SOME = [5, 1, 3, 2]


class FakeColumn:
    """A column of a Hugging Face data set: rows on indexing, and what the data set says of its classes."""

    def __init__(self, values: Any, feature: Any = None) -> None:
        self.values = list(values)
        self.column_name = "column"
        self.source = SimpleNamespace(features={"column": feature})
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, list):
            self.asked.append(len(key))
            return [self.values[row] for row in key]
        found = self.values[key]
        self.asked.append(len(found) if isinstance(key, slice) else 1)
        return found


def class_label(names: list[str]) -> Any:
    return SimpleNamespace(names=names)


class ModelOutput(dict):
    """What `transformers` returns: a mapping whose entries are attributes too."""

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(self.values())


class Way(NamedTuple):
    """How images, texts and labels are held; what is left out is a plain array, without names."""

    images: Callable[[Any], Any] = lambda z: z
    texts: Callable[[Any], Any] = lambda z: z
    labels: Callable[[Any], Any] = lambda y: y
    #: The plain candidates that they are.
    plain: str = "single"


def named(z: Any) -> dict[str, Any]:
    return dict(zip(NAMES, z, strict=True))


def text(labels: Any) -> list[str]:
    return [NAMES[label] for label in labels]


def unit_means(prompts: Any) -> Any:
    """What several prompts of a class are, said once more."""
    means = []
    for rows in prompts:
        rows = torch.from_numpy(np.ascontiguousarray(rows))
        unit = (rows / torch.linalg.vector_norm(rows, dim=1)[:, None]).double().mean(dim=0)
        means.append((unit / torch.linalg.vector_norm(unit)).float().numpy())
    return np.stack(means)


def some(_: Any) -> list[Any]:
    return [rows[:count] for rows, count in zip(PROMPTS, SOME, strict=True)]


PLAIN = {"single": TASK.z_txt, "prompts": unit_means(PROMPTS), "some": unit_means(some(None))}
WAYS = {
    "a mapping, names in a list": Way(texts=named, labels=text),
    "a mapping, names as objects": Way(texts=named, labels=lambda y: np.array(text(y), object)),
    "a mapping, names of numpy": Way(texts=named, labels=lambda y: np.array(text(y))),
    "a mapping, row numbers": Way(texts=named),
    "a mapping of lists, a series of names": Way(
        texts=lambda z: named(z.tolist()), labels=lambda y: pd.Series(text(y), index=range(len(y), 0, -1))
    ),
    "a mapping of tensors in a graph, categories": Way(
        texts=lambda z: named(torch.tensor(z, requires_grad=True) * 1),
        labels=lambda y: pd.Categorical(text(y), categories=["none", *NAMES]),
    ),
    "a mapping of one prompt each, nullable strings": Way(
        texts=lambda z: named(z[:, None]), labels=lambda y: pd.array(text(y), dtype="string")
    ),
    "a frame with names, arrow strings": Way(
        texts=lambda z: pd.DataFrame(z, index=NAMES), labels=lambda y: pa.array(text(y))
    ),
    "a frame of arrow, an arrow dictionary": Way(
        texts=lambda z: pd.DataFrame(z, index=NAMES).convert_dtypes(dtype_backend="pyarrow"),
        labels=lambda y: pa.array(text(y)).dictionary_encode(),
    ),
    "a column of arrays with names, polars": Way(
        images=lambda z: pl.Series(z.tolist()),
        texts=lambda z: pd.DataFrame({"e": list(z)}, index=NAMES),
        labels=lambda y: pl.Series(text(y)),
    ),
    "a series of arrays with names, polars categories": Way(
        images=lambda z: pd.Series(list(z)),
        texts=lambda z: pd.Series(list(z), index=pd.CategoricalIndex(NAMES)),
        labels=lambda y: pl.Series(text(y), dtype=pl.Categorical),
    ),
    "an axis of one": Way(images=torch.tensor, texts=lambda z: z[:, None]),
    "a list of one row each": Way(images=lambda z: pd.DataFrame(z), texts=lambda z: [row[None] for row in z]),
    "prompts (K, P, d)": Way(texts=lambda _: PROMPTS, plain="prompts"),
    "prompts in a tensor": Way(texts=lambda _: torch.from_numpy(PROMPTS), plain="prompts"),
    "prompts as lists": Way(texts=lambda _: PROMPTS.tolist(), plain="prompts"),
    "a mapping to prompts": Way(texts=lambda _: named(PROMPTS), labels=text, plain="prompts"),
    "a list of some prompts each": Way(texts=some, plain="some"),
    "a mapping to some prompts each": Way(
        texts=lambda _: named([some(0)[0], PROMPTS[1, 0], torch.from_numpy(some(0)[2]), list(some(0)[3])]),
        labels=text,
        plain="some",
    ),
    "a frame to some prompts each": Way(
        texts=lambda _: pd.DataFrame({"prompts": some(0)}, index=NAMES), labels=text, plain="some"
    ),
    "columns of a data set": Way(
        images=lambda z: FakeColumn(z.tolist()),
        texts=named,
        labels=lambda y: FakeColumn([NAMES[::-1].index(name) for name in text(y)], class_label(NAMES[::-1])),
    ),
    "what transformers returns": Way(
        images=lambda z: ModelOutput(last_hidden_state=z[:, None], pooler_output=torch.tensor(z)),
        texts=lambda z: ModelOutput(last_hidden_state=z[:, None], pooler_output=torch.tensor(z)),
    ),
}
