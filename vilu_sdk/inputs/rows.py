"""Arrays in: every check on embeddings, labels and feedback, and the one normalisation.

What leaves this room is a finite torch tensor on the CPU in torch's default dtype (float32 unless the
caller changed it), with rows of norm 1 unless a method asks for the raw ones.
"""

import mmap
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from vilu_sdk.exceptions import RowError
from vilu_sdk.inputs.shards import Shards
from vilu_sdk.inputs.slices import cut

# Elements of the largest intermediate array of a chunk: 16 MB in float32, which stays near the caches.
CHUNK_ELEMENTS = 1 << 22
# Below this norm a row has no direction: CLIP-like embeddings have norms of 1 to 100.
SMALLEST_NORM = 1e-12
# Units in the last place by which the norms of rows differ from 1 after they were divided by them.
UNIT = 4


class Rows:
    """A checked matrix (n, d) of embeddings, read chunk by chunk; bad rows raise when they are read."""

    def __init__(self, source: Any, name: str, *, d: int | None = None, normalise: bool = True) -> None:
        if not isinstance(source, Tensor | Shards):
            try:
                source = np.asanyarray(source)
            except ValueError as error:
                raise ValueError(
                    f"{name} must be a two-dimensional array, but its rows have different lengths."
                ) from error
        _check_real(source, name)
        if source.ndim != 2:
            hint = f" A single embedding is passed as {name}[None, :]." if source.ndim == 1 else ""
            raise ValueError(
                f"{name} must be two-dimensional (rows, d), got shape {tuple(source.shape)}.{hint}"
            )
        if source.shape[0] == 0:
            raise ValueError(f"{name} has no rows; pass at least one embedding.")
        if source.shape[1] == 0:
            raise ValueError(f"{name} has rows of width 0; pass embeddings with at least one coordinate.")
        if d is not None and source.shape[1] != d:
            raise ValueError(
                f"{name} has rows of width {source.shape[1]}, expected {d}: images and texts must be "
                "embedded by the same model, and by the one the scorer was fitted with."
            )
        self.source = source
        self.name = name
        self.normalise = normalise

    def __len__(self) -> int:
        return int(self.source.shape[0])

    @property
    def d(self) -> int:
        """Width of the rows."""
        return int(self.source.shape[1])

    def read(self, index: slice | np.ndarray | Tensor | None = None) -> Tensor:
        """Return rows, by default all; raw ones can be the source's memory, which nobody may write to."""
        rows, norms, is_view = self._read(index)
        if not self.normalise:
            return rows
        return rows / norms[:, None] if is_view else rows.div_(norms[:, None])

    def look(self, index: slice) -> Tensor:
        """Return the rows of `read`, uncopied where their norms are 1 already, for reading only."""
        rows, norms, is_view = self._read(index)
        if not self.normalise or bool(((norms - 1).abs() <= UNIT * torch.finfo(norms.dtype).eps).all()):
            return rows
        return rows / norms[:, None] if is_view else rows.div_(norms[:, None])

    def _read(self, index: slice | np.ndarray | Tensor | None) -> tuple[Tensor, Tensor, bool]:
        """Return checked rows as they are, their norms (n,), and whether they are the source's own memory."""
        index = slice(None) if index is None else index
        dtype = torch.get_default_dtype()
        if isinstance(self.source, Tensor):
            given = self.source.detach()[index]
            rows = given.to(device="cpu", dtype=dtype)
            is_view = rows is given
        else:
            index = index.numpy() if isinstance(index, Tensor) else index
            target = np.float64 if dtype == torch.float64 else np.float32
            values = self.source[index]
            is_plain = values.flags.c_contiguous and values.flags.writeable
            is_view = values.dtype == target and is_plain and not self.on_disk
            if is_view:
                rows = torch.from_numpy(values)
            elif values.dtype == np.float16:  # torch widens it several times as fast as numpy
                rows = torch.from_numpy(np.array(values)).to(dtype)
            else:
                with np.errstate(over="ignore"):  # an overflow becomes inf, reported with its row below
                    rows = torch.from_numpy(np.array(values, dtype=target))
            if isinstance(self.source, np.ndarray):
                release_pages(self.source)
        norms = torch.linalg.vector_norm(rows, dim=1)
        if not bool(((norms >= SMALLEST_NORM) & (norms < torch.inf)).all()):
            self._refuse(index, norms)
        return rows, norms, is_view

    def slices(self, width: int = 0) -> list[slice]:
        """Cut the rows evenly so that an array of a slice's rows × max(width, d) stays small."""
        most = max(1, CHUNK_ELEMENTS // max(width, self.d))
        return cut(len(self), -(-len(self) // -(-len(self) // most)))

    def chunks(self, width: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """Yield (slice, rows) for each of `slices(width)`."""
        for index in self.slices(width):
            yield index, self.read(index)

    @property
    def on_disk(self) -> bool:
        """Whether the rows are read from files, in which consecutive ones come at a fraction of the cost."""
        return isinstance(self.source, Shards) or (
            isinstance(self.source, np.ndarray) and memory_map(self.source)[0] is not None
        )

    def blocks(self, size: int) -> list[slice]:
        """Cut the rows into blocks of about `size` that are read at little cost each."""
        if isinstance(self.source, Shards):
            return self.source.blocks(size)
        return cut(len(self), size)

    def load(self, index: Tensor | None = None) -> "Rows":
        """Return the rows at `index` (m,), by default all, checked, normalised and in memory."""
        index = torch.arange(len(self)) if index is None else index
        rows = torch.empty(len(index), self.d)
        for chunk in cut(len(index), max(1, CHUNK_ELEMENTS // self.d)):
            rows[chunk] = self.read(index[chunk])
        return Rows(rows, self.name, normalise=False)

    def _refuse(self, index: slice | np.ndarray | Tensor, norms: Tensor) -> NoReturn:
        """Raise for the first row without a finite norm, or else without one."""
        infinite = ~torch.isfinite(norms)
        bad = infinite if bool(infinite.any()) else norms < SMALLEST_NORM
        row = int(np.arange(len(self))[index][bad.numpy()][0])
        what = (
            "has a NaN, infinite or overflowing value in row {row}; "
            if infinite.any()
            else "is all zero in row {row}, which has no direction; "
        )
        error = RowError(f"{self.name} {what}remove the row or embed it again.", row)
        if isinstance(self.source, Shards):
            self.source.locate(error)
        raise error


def _check_real(source: Tensor | np.ndarray, name: str) -> None:
    if isinstance(source, Tensor):
        real = source.dtype != torch.bool and not source.is_complex()
    else:
        # Kind "V" with a name is how ml_dtypes register bfloat16 with numpy.
        real = source.dtype.kind in "fiu" or source.dtype.name == "bfloat16"
    if not real:
        raise TypeError(f"{name} must hold real numbers, got dtype {source.dtype}.")


def release_pages(array: np.ndarray) -> None:
    """Give back the pages a memory map has read, so that a scan of it does not stay resident."""
    pages, mode = memory_map(array)
    # A copy-on-write map ("c") keeps the caller's changes in those very pages.
    if pages is not None and mode in ("r", "r+", "w+") and hasattr(pages, "madvise"):
        pages.madvise(mmap.MADV_DONTNEED)


def memory_map(array: np.ndarray) -> tuple[mmap.mmap | None, str | None]:
    """Return the map that an array is a view of, and its mode."""
    mode = None
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        mode = getattr(base, "mode", mode)
        base = getattr(base, "base", None)
    return base, mode
