"""How the images of a report are called and shown: by row, id, file name or thumbnail."""

import base64
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import PurePath, PureWindowsPath
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.inputs.containers import to_numpy, what_it_holds
from vilu_sdk.inputs.names import by_place
from vilu_sdk.inputs.places import brief
from vilu_sdk.report._html import Raw

# Pixels of the longer side.
SIDE = 72
SHAPES = "expected (height, width) or (height, width, 3)"


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
        for row, path in enumerate(self.paths or []):
            if not isinstance(path, str | os.PathLike):
                raise TypeError(
                    f"paths[{row}] is {brief(repr(path))} and no file name; pass such values as ids."
                )

    @property
    def without_pictures(self) -> Self:
        """The same names alone, for a long table."""
        found = copy(self)
        found.thumbnails = None
        return found

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
            named = [_last(os.fspath(self.paths[row]))]
        shown = [] if self.thumbnails is None else [_thumbnail(self.thumbnails[row], row)]
        return [str(row), *named, *shown]


def _last(path: str) -> str:
    r"""Return the name of a file without its folders, which a list from Windows cuts by ``\``."""
    windows = PureWindowsPath(path)
    return (windows if windows.drive or "/" not in path else PurePath(path)).name


def _in_order(values: Any, name: str, n: int) -> list[Any] | None:
    """Return what is given of each of n images as a list, by place."""
    if values is None:
        return None
    found = by_place(values, name, "with an entry for each image")
    if len(found) != n:
        raise ValueError(f"{name} has {len(found)} entries, expected {n}: one for each image.")
    return found


def _thumbnail(image: Any, row: int) -> Raw:
    from PIL import Image, ImageOps  # which matplotlib needs

    name = f"thumbnails[{row}]"
    if isinstance(image, str | os.PathLike):
        image = _opened(os.fspath(image), name)
    # Pixels of more than eight bits would be cut and not stretched.
    if not isinstance(image, Image.Image) or image.mode[0] in "IF":
        image = Image.fromarray(_pixels(image, name))
    buffer = io.BytesIO()
    with _named(name):
        image = ImageOps.exif_transpose(image).convert("RGB")
        image.thumbnail((SIDE, SIDE))
        image.save(buffer, format="png")
    data = base64.b64encode(buffer.getvalue()).decode()
    return Raw(f'<img src="data:image/png;base64,{data}" alt="image {row}" height="48">')


def _opened(path: str, name: str) -> Any:
    """Read a picture, or say which one is none."""
    from PIL import Image

    named = f"{name} names {brief(path) if path else repr(path)}"
    if os.path.isdir(path):
        raise IsADirectoryError(f"{named}, which is a folder.")
    try:
        with _named(f"{named}, which"):
            image = Image.open(path)
            image.load()
    except FileNotFoundError:
        raise FileNotFoundError(f"{named}, and there is no such file.") from None
    return image


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Let an error of Pillow say which picture it is about."""
    from PIL import Image

    try:
        yield
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{name} is no picture that can be read ({brief(error)}).") from error


def _pixels(image: Any, name: str) -> NDArray[np.uint8]:
    """Return an array as bytes: fractions and booleans as they are, other numbers from black to white."""
    if hasattr(image, "getbands"):
        with _named(name):
            pixels = np.asarray(image)
    else:
        pixels = to_numpy(image, name)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ValueError(f"{name} has shape {pixels.shape}, {SHAPES}.")
    if not pixels.size:
        raise ValueError(f"{name} has shape {pixels.shape}, so it has no pixels; {SHAPES}.")
    if pixels.dtype.kind not in "biuf":
        raise TypeError(f"{name} holds {what_it_holds(pixels)}, expected numbers.")
    if pixels.dtype == np.uint8:
        return pixels
    values = pixels.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has pixels that are not finite; fill them in, or leave thumbnails out.")
    low, high = values.min(), values.max()
    if pixels.dtype.kind in "bf" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low == high:  # which says nothing of black and white, but that 0 is black
        low, high = 0.0, max(255.0, high)
    half = high / 2 - low / 2  # since the span itself may overflow
    shares = ((values / 2 - low / 2) / half).clip(0, 1)
    return np.asarray(np.round(255 * shares), dtype=np.uint8)
