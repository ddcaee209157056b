"""How surely embeddings of another model than that of the fit are noticed, as Markdown tables.

    python benchmarks/backbone_check.py --embeddings FOLDER

Likeness is the mean cosine of rows to the mean direction of the rows of the fit, relative to that of the
rows of the fit themselves; 1 is "just like them". The tables give the range over all ordered pairs of sets,
for whole sets and for small calls, and how many of these calls would give a warning.

FOLDER holds dtd, stanford_cars and imagenet (CLIP ViT-B/32), flickr8k_pairs (TinyCLIP) and fashion_pairs
(FashionCLIP) as .npz files that `benchmarks/_sets.py` describes; all are 512 wide.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _sets import FOLDER, read_set
from torch import Tensor

from vilu_sdk.inputs.candidates import Candidates
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.scorers.base.backbone_check import FAR, EmbeddingStatistics

MODELS = {
    "dtd": "CLIP",
    "stanford_cars": "CLIP",
    "imagenet": "CLIP",
    "flickr8k_pairs": "TinyCLIP",
    "fashion_pairs": "FashionCLIP",
}


class Side(NamedTuple):
    """Unit rows and, of a class set, what class they are of."""

    rows: Tensor
    labels: Tensor | None


class Data(NamedTuple):
    """What a fit sees of a set, and what is scored."""

    model: str
    fit: Side
    score: Side
    text: Tensor

    @classmethod
    def read(cls, name: str, folder: Path) -> "Data":
        """Read a set; of pairs, one half is fitted and the other scored."""
        train, test, _ = read_set(folder / f"{name}.npz")
        text = Rows(train[1], "z_txt").read()
        if test is None:
            z = Rows(train[0], "z_img").read()
            return cls(MODELS[name], Side(z[::2], None), Side(z[1::2], None), text)
        sides = (Side(Rows(z, "z_img").read(), torch.from_numpy(labels)) for z, _, labels in (train, test))
        return cls(MODELS[name], *sides, text)


def calls(data: Data, generator: torch.Generator) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield (kind, images, candidates) as a user may score them."""
    z, text = data.score.rows, data.text
    yield "whole set", z, text
    labels = data.score.labels
    if labels is not None:
        for label in labels.unique():
            others = torch.randperm(len(text), generator=generator)[:2]
            yield "one class, two texts", z[labels == label], text[torch.cat([label[None], others])[:2]]
    for _ in range(300):
        some = torch.randperm(len(z), generator=generator)[:10]
        yield "ten images, ten texts", z[some], text[torch.randperm(len(text), generator=generator)[:10]]
    for row in z.split(1):
        yield "one image, two texts", row, text[torch.randperm(len(text), generator=generator)[:2]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--embeddings", type=Path, default=FOLDER)
    folder = parser.parse_args().embeddings
    sets = {name: Data.read(name, folder) for name in MODELS}
    generator = torch.Generator().manual_seed(0)
    print(f"Rows are far below a likeness of {FAR}.\n")
    print("| fitted on, scored on | call | likeness of images | likeness of texts | calls | warnings |")
    print("|---|---|---|---|---:|---:|")
    for relation in ("one model", "another model", "one model, swapped", "images of another model"):
        found: dict[str, list[tuple[float, float, bool]]] = {}
        for a, b in product(sets.values(), sets.values()):
            if (a.model == b.model) is (relation in ("another model", "images of another model")):
                continue
            seen = EmbeddingStatistics.of(Rows(a.fit.rows, "z_img"), Rows(a.text, "z_txt"))
            for kind, z, text in calls(b, generator):
                if relation == "images of another model":
                    text = a.text[torch.randperm(len(a.text), generator=generator)[: len(text)]]
                if relation == "one model, swapped":
                    z, text = text, z
                warned = seen.mismatch(Rows(z, "z_img"), Candidates(text)) is not None
                likeness = (
                    float(rows.mean(0) @ side.direction)
                    for rows, side in ((z, seen.images), (text, seen.texts))
                )
                values = *likeness, warned
                found.setdefault(kind, []).append(values)
        for kind, values in found.items():
            image, text, warned = (np.array(column) for column in zip(*values, strict=True))
            print(
                f"| {relation} | {kind} | {image.min():.2f} to {image.max():.2f} | {text.min():.2f} to "
                f"{text.max():.2f} | {len(values)} | {100 * warned.mean():.1f} % |"
            )


if __name__ == "__main__":
    main()
