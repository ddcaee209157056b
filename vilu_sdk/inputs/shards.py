"""Embeddings on disk, in one file or in a folder of shards, as one array that is read on indexing."""

import os
import threading
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vilu_sdk.inputs.formats import SUFFIXES, File, read_header, reader
from vilu_sdk.inputs.names import by_place
from vilu_sdk.inputs.places import BadRowError, brief, place
from vilu_sdk.inputs.remote import is_remote, local
from vilu_sdk.inputs.shard_names import shard_paths
from vilu_sdk.inputs.stored import kind

#: What names embeddings on disk: a file, a folder or a list of files.
Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
# Files that are open at once.
MAX_OPEN = 16


class Shards:
    """Rows of one or more files, in order, as an array of shape (n, d) that is never loaded whole.

    Returned by `open_embeddings`. Every `fit` and every method takes it in the place of an array.
    Indexing with a slice, a row number, row numbers or a mask returns a numpy array of those rows;
    `numpy.asarray` loads all of it. Pickling keeps the path and not the rows.

    Attributes
    ----------
    path : pathlib.Path
        The file or the folder; of a list of files, the folder around all of them.
    source : pathlib.Path or list of pathlib.Path
        What was opened.
    shape : tuple of int
    dtype : numpy.dtype
        bfloat16, which numpy has not, is read as float32.
    column : str or None
        Name of the array in each file that was asked for.
    files : list
        The files, in order, each with its `shape`.
    starts : ndarray of int
        Number of the first row of each file, and of all rows.
    """

    ndim = 2

    def __init__(self, given: Path | list[Path], column: str | None, files: list[File]) -> None:
        self.path = given if isinstance(given, Path) else Path(os.path.commonpath([x.parent for x in given]))
        self.source = given
        self.dtype = files[0].dtype
        self.column = column
        self.files = files
        self.starts = np.cumsum([0, *(file.shape[0] for file in files)])
        self._reader = lru_cache(MAX_OPEN)(lambda number: reader(files[number]))
        self._lock = threading.Lock()
        self.shape = (int(self.starts[-1]), files[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        files = f"{len(self.files)} files" if len(self.files) > 1 else "1 file"
        return f"<Shards {str(self.path)!r}: {files}, {self.shape[0]} × {self.shape[1]} {self.dtype}>"

    def __getitem__(self, index: Any) -> NDArray[Any]:
        if isinstance(index, int | np.integer):
            return self._read(np.array([index], np.intp))[0, :]
        if isinstance(index, slice):
            return self._read(np.arange(*index.indices(len(self))))
        if isinstance(index, tuple) and len(index) == 2 and index[1] is ...:
            return self[index[0]]  # how scikit-learn splits data
        rows = np.asarray(() if isinstance(index, tuple) else index)
        if isinstance(index, tuple) or rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iub"):
            raise IndexError("embeddings on disk are indexed by a slice, row numbers or a mask of rows.")
        if rows.dtype.kind == "b":
            if len(rows) != len(self):
                raise IndexError(f"the mask has {len(rows)} entries for {len(self)} rows.")
            rows = np.flatnonzero(rows)
        return self._read(rows.astype(np.intp))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("embeddings on disk become an array only by reading, which copies them.")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(open_embeddings, column=self.column), (self.source,)

    def blocks(self, size: int) -> list[slice]:
        """Cut the rows into blocks of about `size` that are fast to read one by one.

        Parameters
        ----------
        size : int
            Rows of a block. A block lies in one file; of a parquet file it is a row group.

        Returns
        -------
        list of slice
            In order, covering every row once.
        """
        return [
            slice(int(start) + block.start, int(start) + block.stop)
            for start, file in zip(self.starts, self.files, strict=False)
            for block in file.blocks(size)
        ]

    def place(self, row: int) -> str:
        """Name a row in words: its number among all rows and, of several files, in its file."""
        return f"{place(row, [file.path for file in self.files], self.starts.tolist())} of {self.path}"

    def _read(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Read rows in any order, each file's at once and ascending."""
        rows = np.where(rows < 0, rows + len(self), rows)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"row {rows[(rows < 0) | (rows >= len(self))][0]} of {len(self)} rows.")
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        bounds = np.searchsorted(ascending, self.starts)
        for i in np.flatnonzero(np.diff(bounds)):
            part = slice(bounds[i], bounds[i + 1])
            with self._lock:  # a reader of parquet keeps its position
                values = self._values(int(i), ascending[part])
            if len(values) == len(rows) and order[0] == 0 and (np.diff(order) == 1).all():
                return values
            out[order[part]] = values
        return out

    def _values(self, number: int, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Read rows of a file by their numbers among all rows."""
        start = int(self.starts[number])
        try:
            return self._reader(number)(rows - start)
        except BadRowError as error:
            where = place(start + error.row, [file.path for file in self.files], self.starts.tolist())
            raise error.moved(start, where) from None


def open_embeddings(path: Source, *, column: str | None = None) -> Shards:
    """Open embeddings on disk without loading them.

    Parameters
    ----------
    path : path-like or list of path-like
        A ``.npy``, ``.npz``, ``.safetensors`` or ``.parquet`` file, or a folder of shards of one of these
        kinds, taken in the order of their numbers: ``img_emb_2.npy`` before ``img_emb_10.npy``. Hashes and
        UUIDs in names are no numbers. Or a list of files, taken in its order. Each may be an address, such as
        ``s3://bucket/z.npy`` (the extra ``remote``), whose copy in the cache is read.
    column : str, optional
        Name of the array of a ``.npz``, of the tensor of a ``.safetensors``, or of the column of lists of a
        ``.parquet`` file. Not needed where there is only one.

    Returns
    -------
    Shards
        For every `fit` and every verb. It holds at most some files open, and of their rows those that are
        being read. A compressed ``.npz`` is decompressed into a temporary file.

    Raises
    ------
    FileNotFoundError
        If the path does not exist or the folder has no shards.
    ValueError
        If a file is of another kind, damaged, truncated or not two-dimensional, if shards differ in width
        or type, or if names do not say one order: numbering with holes, which dates and times may have, the
        same number twice, several series. The message names the file.
    ImportError
        If a parquet file is read and pyarrow, the extra ``data``, is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from vilu_sdk import MCMScorer
    >>> from vilu_sdk.inputs import open_embeddings
    >>> z_txt = np.eye(2, dtype=np.float16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/img_emb_0.npy", z_txt)
    ...     np.save(f"{folder}/img_emb_1.npy", z_txt[:1])
    ...     z_img = open_embeddings(folder)
    ...     z_img.shape, MCMScorer().predict(z_img, z_txt)
    ((3, 2), array([0, 1, 0]))
    """
    given: Path | list[Path]
    if isinstance(path, str | os.PathLike):
        given = located(path)
        paths = shard_paths(given) if given.is_dir() else [given]
    else:
        listed = by_place(path, "path", "of files, or a path")
        for row, file in enumerate(listed):
            if not isinstance(file, str | os.PathLike):
                raise TypeError(f"path[{row}] is {brief(repr(file))} and no file name.")
        given = paths = [located(file) for file in listed]
        if not paths:
            raise ValueError("the list of files is empty; pass at least one.")
    files = []
    for shard in paths:
        if not shard.exists():
            raise FileNotFoundError(f"there is neither a file nor a folder {shard}.")
        if kind(shard) not in SUFFIXES or shard.is_dir():
            raise ValueError(f"{shard} is of no known kind; embeddings are read from {', '.join(SUFFIXES)}.")
        files.append(read_header(shard, column))
    d, dtype = files[0].shape[1], files[0].dtype
    for file in files[1:]:
        for name, value, expected in (("width", file.shape[1], d), ("type", file.dtype, dtype)):
            if value != expected and file.shape[0]:
                raise ValueError(
                    f"{file.path} has rows of {name} {value} but {files[0].path.name} has {expected}; shards "
                    "of one array come from one model, in one type."
                )
    return Shards(given, column, files)


def located(path: str | os.PathLike[str]) -> Path:
    """Return where a path lies on the disk: of an address, its copy."""
    if isinstance(path, str) and is_remote(path):
        return local(path)
    return Path(path).expanduser().absolute()


def open_pairs(root: str | os.PathLike[str], *, column: str | None = None) -> tuple[Shards, Shards]:
    """Open images and texts that belong together, as clip-retrieval writes them.

    Parameters
    ----------
    root : path-like
        Folder with the folders ``img_emb`` and ``text_emb``, whose shards go together one by one.
    column : str, optional
        As in `open_embeddings`, for both.

    Returns
    -------
    tuple of Shards
        Images and texts, row by row, for a caption task: ``fit(*open_pairs(root))``.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError
        As in `open_embeddings`; also if a shard of the images has not as many rows as that of the texts.
    """
    root = Path(root)
    images = open_embeddings(root / "img_emb", column=column)
    texts = open_embeddings(root / "text_emb", column=column)
    if images.shape[1] != texts.shape[1]:
        raise ValueError(
            f"the images in {root} are {images.shape[1]} wide, the texts {texts.shape[1]}; they must be "
            "embedded by the same model."
        )
    if len(images.files) != len(texts.files):
        raise ValueError(
            f"{images.path} has {len(images.files)} shards but {texts.path} has {len(texts.files)}; copy "
            "what is missing."
        )
    for image, text in zip(images.files, texts.files, strict=True):
        if image.shape[0] != text.shape[0]:
            raise ValueError(
                f"{image.path} has {image.shape[0]} rows but {text.path} has {text.shape[0]}; row i of one "
                "must belong to row i of the other."
            )
    return images, texts
