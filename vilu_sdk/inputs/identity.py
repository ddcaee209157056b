"""A source known by its content, so that a job that goes on goes on with the same numbers.

An identity is small, JSON, and does not depend on where the source lies. It has the shape and type, of files
their rows and bytes, hashes of `PROBES` rows spread evenly over the whole source, and checksums of all of it
where that costs little. Of files it also notes when they were modified, which decides nothing: it tells whose
content is worth another look.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilu_sdk.inputs.rows import memory_map, release_pages
from vilu_sdk.inputs.shards import Shards
from vilu_sdk.inputs.slices import cut
from vilu_sdk.inputs.stored import BUFFER

#: Rows that are hashed one by one.
PROBES = 1024
#: Bytes up to which files get a checksum of all their content, which takes a second for two such sources.
WHOLE_BYTES = 1 << 30
# Bytes of the hash of a row, and the number of rows that are named where they differ.
HASH_BYTES, ROWS_LISTED = 8, 5

Identity = dict[str, Any]


def identify(source: Any, *, whole: bool | None = None) -> Identity:
    """Describe an array, a tensor or embeddings on disk (n, ...); `whole` by default up to `WHOLE_BYTES`."""
    stored = _Files(source) if isinstance(source, Shards) else _Array(source)
    n = int(source.shape[0])
    if whole is None:
        whole = stored.size <= WHOLE_BYTES
    return {
        "shape": list(source.shape),
        "dtype": str(source.dtype).removeprefix("torch."),
        "files": stored.files,
        "probes": "".join(_hash(row) for row in stored.rows(probed(n))),
        "whole": stored.checksums() if whole else None,
    }


def changes(before: Identity, now: Identity, name: str = "", what: str = "has changed since") -> list[str]:
    """Say in what two sources differ, file by file; empty where their content is the same.

    Parameters
    ----------
    before, now : dict
        What `identify` returned.
    name : str
        Of the argument. Without it, files go by their own names.
    what : str
        What is said of values that differ.
    """
    one, other = (" × ".join([*map(str, x["shape"][1:]), x["dtype"]]) for x in (now, before))
    if one != other:
        return [f"{name or 'the source'} has rows of {one} here, {other} there"]
    files, were = (x["files"] or [[name, x["shape"][0], 0, 0]] for x in (now, before))
    names, old = ([file[0] for file in known] for known in (files, were))
    if len(names) != len(old):
        lost = [f"{file} is missing" for file in old if file not in names]
        return lost + [f"{file} is new" for file in names if file not in old]
    renamed = [
        file if file == then else f"{file}, then {then}," for file, then in zip(names, old, strict=True)
    ]
    labels = [file if not name or file == name else f"{file} ({name})" for file in renamed]
    sizes = [
        f"{label} has {size} {unit} here, {size_before} there"
        for label, file, then in zip(labels, files, were, strict=True)
        for unit, size, size_before in zip(("rows", "bytes of rows"), file[1:3], then[1:3], strict=True)
        if size != size_before and size and size_before
    ]
    return sizes or _changed_values(before, now, labels, [file[1] for file in files], what)


def touched(before: Identity, now: Identity) -> list[int]:
    """Return the numbers of the files that may have other content though nothing that is known differs."""
    if before["whole"] is not None and now["whole"] is not None:
        return []
    pairs = zip(before["files"], now["files"], strict=True)
    return [number for number, (file, other) in enumerate(pairs) if file[-1] != other[-1]]


def probed(n: int) -> NDArray[np.intp]:
    """Return the rows that are probed, of n."""
    return np.unique(np.linspace(0, n - 1, min(n, PROBES)).astype(np.intp))


class _Files:
    """Embeddings on disk, by the bytes in the files."""

    def __init__(self, source: Shards) -> None:
        self.source = source
        spans = [file.span for file in source.files]
        self.size = sum(stop - start for start, stop in spans)
        self.files = [
            [file.path.name, file.shape[0], stop - start, file.stamp.modified]
            for file, (start, stop) in zip(source.files, spans, strict=True)
        ]

    def rows(self, rows: NDArray[np.intp]) -> Iterator[bytes]:
        """Yield the bytes of some rows; of files that do not store rows one by one, as many nearby."""
        numbers = np.searchsorted(self.source.starts, rows, side="right") - 1
        for number in np.unique(numbers):
            file = self.source.files[number]
            start, stop = file.span
            with file.path.open("rb") as opened:
                for row in (rows[numbers == number] - self.source.starts[number]).tolist():
                    opened.seek(start + (stop - start) * row // file.shape[0])
                    yield opened.read(max(1, (stop - start) // file.shape[0]))

    def checksums(self) -> list[str]:
        return [file.checksum(range(file.shape[0])) for file in self.source.files]


class _Array:
    """An array or a tensor, in memory or mapped into it."""

    files: list[Any] = []  # noqa: RUF012, it has none

    def __init__(self, source: Any) -> None:
        self.source = source
        # What lies in memory is read at no cost.
        self.is_map = isinstance(source, np.ndarray) and memory_map(source)[0] is not None
        self.size = source.nbytes if self.is_map else 0

    def rows(self, rows: NDArray[np.intp]) -> Iterator[bytes]:
        for row in rows.tolist():
            yield _bytes(self.source[row : row + 1])

    def checksums(self) -> list[str]:
        n, found = len(self.source), hashlib.sha256()
        for part in cut(n, max(1, BUFFER * n // max(1, self.source.nbytes))):
            found.update(_bytes(self.source[part]))
            if self.is_map:
                release_pages(self.source)
        return [found.hexdigest()]


def _bytes(values: Any) -> bytes:
    if isinstance(values, Tensor):
        values = values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return bytes(values.tobytes())


def _hash(row: bytes) -> str:
    return hashlib.blake2b(row, digest_size=HASH_BYTES).hexdigest()


def _changed_values(
    before: Identity, now: Identity, labels: list[str], sizes: list[int], what: str
) -> list[str]:
    """Say in which files, of so many rows, probed rows differ, or that no more is known than that some do."""
    rows, ends = probed(now["shape"][0]), np.cumsum(sizes)
    one, other = (np.array([x["probes"]]).view(f"U{2 * HASH_BYTES}") for x in (before, now))
    numbers = np.searchsorted(ends, rows, side="right")
    found = []
    for number in np.unique(numbers[one != other]):
        own = numbers == number
        bad = rows[own & (one != other)] - (ends[number] - sizes[number])
        said = f"{len(bad):,} of {own.sum():,} probed rows differ"
        if len(bad) <= ROWS_LISTED:
            said = f"row {bad[0]} differs" if len(bad) == 1 else f"rows {', '.join(map(str, bad))} differ"
        found.append(f"{labels[number]} {what}: {said}")
    if found or before["whole"] is None or now["whole"] is None:
        return found
    said = f"not in the {len(rows):,} probed rows, but in others"
    both = zip(labels, before["whole"], now["whole"], strict=True)
    return [f"{label} {what}: {said}" for label, one, other in both if one != other]
