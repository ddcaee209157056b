"""How the images of a report are called and shown: by row, id, file name or thumbnail."""

import base64
import io
import os
from collections.abc import Mapping, Sequence, Set
from pathlib import PurePath
from typing import Any

import numpy as np

from vilu_sdk.report._html import Raw

# Pixels of the longer side.
SIDE = 72


class Images:
    """Names of N images, and pictures of them where there are any."""

    def __init__(
        self,
        n: int,
        ids: Sequence[Any] | None,
        paths: Sequence[str | os.PathLike[str]] | None,
        thumbnails: Sequence[Any] | None,
    ) -> None:
        if ids is not None and paths is not None:
            raise ValueError("ids and paths both name the images; give one of them.")
        self.ids = _in_order(ids, "ids", n)
        self.paths = _in_order(paths, "paths", n)
        self.thumbnails = _in_order(thumbnails, "thumbnails", n)

    @property
    def header(self) -> list[str]:
        """Heads of the columns that tell which image it is."""
        named = ["id"] if self.ids is not None else ["file"] if self.paths is not None else []
        return ["row", *named, *(["image"] if self.thumbnails is not None else [])]

    def cells(self, row: int) -> list[str]:
        """Return what stands in these columns."""
        named = []
        if self.ids is not None:
            named = [str(self.ids[row])]
        elif self.paths is not None:
            named = [PurePath(os.fspath(self.paths[row])).name]
        shown = [] if self.thumbnails is None else [_thumbnail(self.thumbnails[row], row)]
        return [str(row), *named, *shown]


def _in_order(values: Any, name: str, n: int) -> list[Any] | None:
    """Return what is given of each of n images as a list, by place: a series has an index of its own."""
    if values is None:
        return None
    if isinstance(values, str | bytes | Set | Mapping):
        raise TypeError(
            f"{name} must be a sequence with an entry for each image, got {type(values).__name__}."
        )
    found = list(values)
    if len(found) != n:
        raise ValueError(f"{name} has {len(found)} entries, expected {n}: one for each image.")
    return found


def _thumbnail(image: Any, row: int) -> Raw:
    from PIL import Image  # which matplotlib needs

    if not isinstance(image, Image.Image):
        pixels = np.asarray(image)
        if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
            raise ValueError(
                f"thumbnails[{row}] has shape {pixels.shape}, expected (height, width) or (height, width, 3)."
            )
        if pixels.dtype != np.uint8:
            low, high = float(pixels.min()), float(pixels.max())
            pixels = np.round(255 * (pixels - low) / max(high - low, 1e-12)).astype(np.uint8)
        image = Image.fromarray(pixels)
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    data = base64.b64encode(buffer.getvalue()).decode()
    return Raw(f'<img src="data:image/png;base64,{data}" alt="image {row}" height="48">')
