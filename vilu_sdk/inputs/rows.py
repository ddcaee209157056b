"""Arrays in: every check on embeddings, labels and feedback, and the one normalisation.

What leaves this room is a finite torch tensor on the CPU of the type of `precision.working`, float32, with
rows of norm 1 unless a method asks for the raw ones.
"""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from vilu_sdk.inputs.columns import Column, opened
from vilu_sdk.inputs.containers import plain, what_it_holds
from vilu_sdk.inputs.places import BadRowError
from vilu_sdk.inputs.precision import working
from vilu_sdk.inputs.shards import Shards
from vilu_sdk.inputs.slices import cut
from vilu_sdk.inputs.values import whole

# Elements of the largest intermediate array of a chunk: 16 MB in float32, which stays near the caches.
CHUNK_ELEMENTS = 1 << 22
# Below this norm a row has no direction: CLIP-like embeddings have norms of 1 to 100.
SMALLEST_NORM = 1e-12
# Coordinates of the widest embeddings; models of today have 256 to 8,192. Some fits keep a matrix of d × d.
WIDEST, WIDEST_SQUARE = 1 << 16, 1 << 14
LARGEST_NORM = float(torch.finfo(torch.float64).max)
# What is said of rows that are no embeddings.
INFINITE, ZERO = "has a NaN, infinite or overflowing value", "is all zero"
# By how much norms of rows differ from 1 after they were divided by them: some units in the last place.
SLACK = {dtype: 4 * torch.finfo(dtype).eps for dtype in (torch.float32, torch.float64)}
# So few rows are not looked at twice.
FEW = 256
# Of pictures: grey, colour, and colour with transparency.
CHANNELS = (1, 3, 4)

_ZEROS = ContextVar("zeros", default=False)


@contextmanager
def zeros_allowed() -> Iterator[None]:
    """Take rows of zeros as rows of cosine 0 to everything: features may be so, embeddings never are."""
    token = _ZEROS.set(True)
    try:
        yield
    finally:
        _ZEROS.reset(token)


def check_layers(widths: Sequence[Any], name: str) -> None:
    """Raise unless a network can have layers of such widths, of which `name` gives those inside."""
    for width in widths:
        whole(width, f"each width in {name}", 1)
    for fan_in, fan_out in pairwise(map(int, widths)):
        if fan_in * fan_out > WIDEST_SQUARE**2:
            raise ValueError(
                f"{name} makes a layer of {fan_in:,} × {fan_out:,} weights, at most {WIDEST_SQUARE**2:,} are "
                "taken: pass smaller widths, those in use are some hundred."
            )


def check_square(d: int) -> None:
    """Raise where matrices of d × d numbers, which a fit keeps several of, would fill the memory."""
    if d > WIDEST_SQUARE:
        raise ValueError(
            f"embeddings of width {d:,} are too wide for this fit, which keeps matrices of d × d numbers, "
            f"{8 * d * d / 1e9:.0f} GB each: at most {WIDEST_SQUARE:,}. Reduce their width, or take a scorer "
            "that learns nothing, such as MCMScorer."
        )


class Rows:
    """A checked matrix (n, d) of embeddings, read chunk by chunk; bad rows raise when they are read.

    Attributes
    ----------
    d : int
        Width of the rows.
    """

    def __init__(self, source: Any, name: str, *, d: int | None = None, normalise: bool = True) -> None:
        source = opened(source, name)
        if not isinstance(source, Shards | Column):
            source = plain(source, name)
        _check_real(source, name)
        if source.ndim and source.shape[0] == 0:
            raise ValueError(f"{name}{_file(source)} has no rows; pass at least one embedding.")
        if source.ndim != 2:
            shape = tuple(source.shape)
            raise ValueError(
                f"{name} must be two-dimensional (rows, d), got shape {shape}.{_hint(shape, name)}"
            )
        if source.shape[1] == 0:
            raise ValueError(f"{name} has rows of width 0; pass embeddings with at least one coordinate.")
        if source.shape[1] > WIDEST:
            raise ValueError(
                f"{name}{_file(source)} has rows of width {source.shape[1]:,}, at most {WIDEST:,} are taken: "
                "pass embeddings, one a row."
            )
        if d is not None and source.shape[1] != d:
            raise ValueError(
                f"{name}{_file(source)} has rows of width {source.shape[1]}, expected {d}: images and "
                "texts must be embedded by the same model, and by the one the scorer was fitted with."
            )
        self.source = source
        self._n, self.d = map(int, source.shape)
        self.name = name
        self.normalise = normalise
        self.takes_zeros = _ZEROS.get()
        # What was looked at, of few rows, which are looked at more than once.
        self._whole: Tensor | None = None

    def __len__(self) -> int:
        return self._n

    def read(self, index: slice | np.ndarray | Tensor | None = None) -> Tensor:
        """Return rows, by default all; raw ones can be the source's memory, which nobody may write to."""
        rows, norms, _, is_view = self._read(index)
        return _unit(rows, norms, is_view) if self.normalise else rows

    def look(self, index: slice) -> Tensor:
        """Return the rows of `read`, uncopied where their norms are 1 already, for reading only."""
        if self._whole is not None and index == slice(0, self._n):
            return self._whole
        rows, norms, (least, most), is_view = self._read(index)
        slack = SLACK[norms.dtype]
        if self.normalise and not (1 - slack <= least and most <= 1 + slack):
            rows = _unit(rows, norms, is_view)
        if rows.shape[0] == self._n <= FEW:
            self._whole = rows
        return rows

    def _read(
        self, index: slice | np.ndarray | Tensor | None
    ) -> tuple[Tensor, Tensor, tuple[float, float], bool]:
        """Return checked rows as they are, their norms (n,), the least and the largest of these.

        Last comes whether the rows are the source's own memory.
        """
        index = slice(None) if index is None else index
        dtype = working()
        if isinstance(self.source, Tensor):
            given = self.source[index]
            rows = given.to(device="cpu", dtype=dtype).contiguous()  # the order of sums is that of memory
            is_view = rows is given
        else:
            index = index.numpy() if isinstance(index, Tensor) else index
            target = np.float64 if dtype == torch.float64 else np.float32
            values = self.source[index]
            # Strides, which may be anything where there is one row, in the flag of numpy and not for torch.
            strides = (values.shape[1] * values.itemsize, values.itemsize)
            is_plain = values.flags.carray and values.strides == strides
            on_disk = self.on_disk
            is_view = values.dtype == target and is_plain and not on_disk
            if is_view:
                rows = torch.from_numpy(values)
            elif values.dtype == np.float16:  # torch widens it several times as fast as numpy
                rows = torch.from_numpy(np.array(values, order="C")).to(dtype)
            else:
                with np.errstate(over="ignore"):  # an overflow becomes inf, reported with its row below
                    rows = torch.from_numpy(np.array(values, dtype=target, order="C"))
            if on_disk and isinstance(self.source, np.ndarray):
                release_pages(self.source)
        norms = torch.linalg.vector_norm(rows, dim=1)
        least, most = _range(norms)
        if not (least >= SMALLEST_NORM and most <= LARGEST_NORM):  # nor if one is NaN
            if not (self.takes_zeros and least >= 0.0 and most <= LARGEST_NORM):
                self._refuse(index, norms)
            norms = torch.where(norms < SMALLEST_NORM, 1.0, norms)
        return rows, norms, (least, most), is_view

    def slices(self, width: int = 0, n: int | None = None) -> list[slice]:
        """Cut n rows, by default all, evenly so that an array of a slice's rows × max(width, d) is small."""
        n, most = self._n if n is None else n, max(1, CHUNK_ELEMENTS // max(width, self.d))
        return cut(n, most if n <= most else -(-n // -(-n // most)))

    def chunks(self, width: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """Yield (slice, rows) for each of `slices(width)`."""
        for index in self.slices(width):
            yield index, self.read(index)

    @property
    def on_disk(self) -> bool:
        """Whether the rows are read from files, in which consecutive ones come at a fraction of the cost."""
        return isinstance(self.source, Shards | Column) or (
            isinstance(self.source, np.ndarray) and memory_map(self.source)[0] is not None
        )

    def blocks(self, size: int) -> list[slice]:
        """Cut the rows into blocks of about `size` that are read at little cost each."""
        if isinstance(self.source, Shards):
            return self.source.blocks(size)
        return cut(len(self), size)

    def load(self, index: Tensor | None = None) -> "Rows":
        """Return the rows at `index` (m,), by default all, checked, normalised and in memory."""
        index = torch.arange(len(self), device="cpu") if index is None else index
        rows = torch.empty(len(index), self.d, dtype=working(), device="cpu")
        for chunk in cut(len(index), max(1, CHUNK_ELEMENTS // self.d)):
            rows[chunk] = self.read(index[chunk])
        loaded = Rows(rows, self.name, normalise=False)
        loaded.takes_zeros = self.takes_zeros
        return loaded

    def _refuse(self, index: slice | np.ndarray | Tensor, norms: Tensor) -> NoReturn:
        """Raise for the first row without a finite norm, or else without one."""
        infinite = ~torch.isfinite(norms)
        bad = infinite if bool(infinite.any()) else norms < SMALLEST_NORM
        row = int(np.arange(len(self))[index][bad.numpy()][0])
        what, which = (INFINITE, "") if infinite.any() else (ZERO, ", which has no direction")
        where = self.source.place(row) if isinstance(self.source, Shards) else None
        raise BadRowError(f"{self.name} {what} in", row, f"{which}; remove the row or embed it again.", where)


def faults(values: np.ndarray) -> np.ndarray:
    """Say of each row (n, d) of numbers why it is no embedding, "" where it is one."""
    with np.errstate(over="ignore"):
        rows = torch.from_numpy(np.array(values, dtype=np.float64)).to(working())
    norms = torch.linalg.vector_norm(rows, dim=1)
    found = np.where((norms < SMALLEST_NORM).numpy(), ZERO, "")
    return np.where(torch.isfinite(norms).numpy(), found, INFINITE)


def _range(norms: Tensor) -> tuple[float, float]:
    """Return the least and the largest of some norms, NaN if one is; of none 1."""
    if norms.shape[0] < 2:
        one = norms.item() if norms.shape[0] else 1.0
        return one, one
    least, most = torch.aminmax(norms)
    return float(least), float(most)


def _unit(rows: Tensor, norms: Tensor, is_view: bool) -> Tensor:
    """Divide rows by their norms, in place where the memory is not the source's."""
    return rows / norms[:, None] if is_view else rows.div_(norms[:, None])


def _file(source: Any) -> str:
    """Name the file or folder of embeddings on disk, for an error."""
    return f" ({source.path})" if isinstance(source, Shards) else ""


def _check_real(source: Any, name: str) -> None:
    if isinstance(source, Tensor):
        real = source.dtype != torch.bool and not source.is_complex()
    else:
        # Kind "V" with a name is how ml_dtypes register bfloat16 with numpy.
        real = source.dtype.kind in "fiu" or source.dtype.name == "bfloat16"
    if not real:
        kind = "" if isinstance(source, Tensor) else source.dtype.kind
        if kind in "US" and kind:
            remedy = " Embed texts first." if source.ndim < 2 else " Convert digits to numbers first."
        else:
            remedy = (
                " Pass its columns of numbers, or its one column of embeddings, alone."
                if kind == "O" and source.ndim == 2
                else ""
            )
        raise TypeError(f"{name} must hold real numbers, got {what_it_holds(source)}.{remedy}")


def _hint(shape: tuple[int, ...], name: str) -> str:
    """Return what an array that is not two-dimensional looks like, and what to do."""
    if len(shape) == 1:
        return f" A single embedding is passed as {name}[None, :]."
    if (len(shape) == 4 and (shape[1] in CHANNELS or shape[3] in CHANNELS)) or (
        len(shape) == 3 and shape[2] in CHANNELS[1:]
    ):
        return " These look like images: embed them first."
    if len(shape) == 3 and shape[1] == 1:
        return f" Drop the axis of one with {name}[:, 0]."
    return " Pass one embedding for each row; batches of them are joined with numpy.concatenate."


def release_pages(array: np.ndarray) -> None:
    """Give back the pages a memory map has read, so that a scan of it does not stay resident."""
    pages, mode = memory_map(array)
    # A copy-on-write map ("c") keeps the caller's changes in those very pages.
    if pages is not None and mode in ("r", "r+", "w+") and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def memory_map(array: np.ndarray) -> tuple[mmap.mmap | None, str | None]:
    """Return the map that an array is a view of, and its mode."""
    mode = None
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        mode = getattr(base, "mode", mode)
        base = getattr(base, "base", None)
    return base, mode
