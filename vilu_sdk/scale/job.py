"""Scoring embeddings on disk piece by piece.

A job that is killed at any moment and started again scores nothing twice and loses nothing.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from numpy.typing import ArrayLike
from torch import Tensor

from vilu_sdk.compute.distributed import from_all, from_first, rank, world_size
from vilu_sdk.compute.progress import track
from vilu_sdk.inputs.candidates import Opened
from vilu_sdk.inputs.escape import masked
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.identity import identify
from vilu_sdk.inputs.places import BadRowError
from vilu_sdk.inputs.remote import is_remote
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.shards import Source, open_embeddings
from vilu_sdk.inputs.tables import count_rows
from vilu_sdk.inputs.values import as_path, whole
from vilu_sdk.persistence.encoding import encode
from vilu_sdk.persistence.files import sweep, whole_file
from vilu_sdk.persistence.storage import checksum
from vilu_sdk.scale.partition import REASON, BadRows, check_bad_rows, columns_of, loaded, score_partition
from vilu_sdk.scale.pieces import BAD, MANIFEST, SKIPPED, Piece, as_ids, claim, plan, write_parquet
from vilu_sdk.scorers.base.contract import FailureScorer
from vilu_sdk.selective._base import ThresholdPredictor

LOG = logging.getLogger(__name__)
#: Rows of a piece: what a killed worker does again.
PIECE_ROWS = 1 << 18
# Rows that are scored before a job begins, to find out what is wrong with it.
TRIED_ROWS = 256


class Scored(NamedTuple):
    """Result of `score_to_folder`.

    Attributes
    ----------
    files : list of pathlib.Path
        Parquet files of the scores, in the order of the rows.
    rows : int
        Rows in all of them.
    found : int
        How many of the files an earlier run had written.
    bad : int
        Rows that could not be scored, and were skipped or marked.
    """

    files: list[Path]
    rows: int
    found: int
    bad: int = 0


def score_to_folder(
    source: Source,
    output: str | os.PathLike[str],
    scorer: FailureScorer | ThresholdPredictor,
    z_txt_set: ArrayLike,
    *,
    column: str | None = None,
    piece_rows: int = PIECE_ROWS,
    bad_rows: BadRows = "stop",
    ids: ArrayLike | None = None,
) -> Scored:
    """Score embeddings on disk into a folder of parquet files, going on where an earlier run was killed.

    Processes inside `process_group` share the pieces.

    Parameters
    ----------
    source : path-like or list of path-like
        A file, a folder of shards or a list of files, as `open_embeddings` takes it.
    output : path-like
        A new folder, or that of an earlier run with the same arguments, by whatever engine. It gets a
        parquet file for each piece of the source, whole or not at all, and a manifest of what they are of.
    scorer : scorer or predictor with a threshold
        Fitted, if it learns.
    z_txt_set : array-like of shape (K, d)
        Candidate texts.
    column : str, optional
        Name of the embeddings in each file, as in `open_embeddings`.
    piece_rows : int
        Rows in a piece; a killed run repeats only unfinished pieces. Pieces end where files end, and in a
        parquet file where row groups end.
    bad_rows : {"stop", "skip", "mark"}
        What to do with rows that cannot be scored, as in `score_partition`.
    ids : array-like of shape (n,), optional
        For a source of arrays: names of its rows, numbers or texts such as file names, for a column `id`. The
        scores of parquet files keep the other columns.

    Returns
    -------
    Scored
        The files. Their columns are as `score_partition` returns them: of a parquet source its other
        columns, of arrays `row` (int64), the number of the row in the whole source; then those that scoring
        adds.

    Raises
    ------
    FileNotFoundError, ImportError
        As in `open_embeddings`.
    ValueError
        If `output` is of other work: of another scorer, other candidates, another source or other pieces.
        Also as in `open_embeddings` and `score_partition`; what was scored before stays.
    OSError
        If the output cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from vilu_sdk import MCMScorer
    >>> from vilu_sdk.scale import score_to_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/z_img.npy", np.eye(3))
    ...     for _ in range(2):
    ...         done = score_to_folder(f"{folder}/z_img.npy", f"{folder}/scores", MCMScorer(), np.eye(3))
    ...         [file.name for file in done.files], done.rows, done.found
    (['part-00000.parquet'], 3, 0)
    (['part-00000.parquet'], 3, 1)
    """
    job = Job.prepare(source, output, scorer, z_txt_set, column, piece_rows, bad_rows, ids)
    # What one of several processes found missing is what all of them share.
    missing = from_first(lambda: [job.pieces.index(piece) for piece in job.missing])
    job = job._replace(missing=[job.pieces[number] for number in missing])
    for piece in track(job.missing[rank() % world_size() :: world_size()], "scoring pieces"):
        score_piece(piece, scorer, job.texts, bad_rows)
        LOG.debug("%s: %s rows", piece.output, len(piece.rows))
    from_all(None)
    return job.done()


class Job(NamedTuple):
    """What any engine has to do: the pieces, those of them that are missing, and the candidates."""

    pieces: list[Piece]
    missing: list[Piece]
    texts: Opened

    @classmethod
    def prepare(
        cls,
        source: Source,
        output: str | os.PathLike[str] | None,
        scorer: FailureScorer | ThresholdPredictor,
        z_txt_set: ArrayLike,
        column: str | None,
        piece_rows: int,
        bad_rows: BadRows = "stop",
        ids: ArrayLike | None = None,
    ) -> Self:
        """Find out what is wrong before the work begins, and claim the folder if there is to be one."""
        whole(piece_rows, "piece_rows", 1)
        given = as_path("" if output is None else output, "output")
        check_bad_rows(bad_rows)
        if output is not None and is_remote(output):
            raise ValueError(
                f"output is {masked(str(output))}, but a folder of scores is on a disk of this machine."
            )
        if output is not None:
            require("pyarrow.parquet", "data")
        opened = open_embeddings(source, column=column)
        texts = loaded(z_txt_set, opened.shape[1])
        # Before the folder is marked, some rows are tried, which also warns of embeddings of another model.
        if not len(opened):
            raise ValueError(f"{opened.path} has no rows; there is nothing to score.")
        try:
            tried = Rows(opened, "z_img", normalise=False).read(slice(TRIED_ROWS))
            score_partition({"z_img": tried.numpy()}, scorer, texts)
        except BadRowError:
            if bad_rows == "stop":
                raise
        folder = given.absolute()
        own = as_ids(ids)
        if output is None:
            parts = plan(opened, folder, piece_rows, ids=own)
            return cls(parts, parts, texts)
        known = identify(opened)
        parts = plan(opened, folder, piece_rows, is_noted=known["whole"] is None, ids=own)
        work: dict[str, Any] = {
            "scorer": _describe(scorer),
            "column": column,
            "piece_rows": piece_rows,
            "writes": columns_of(scorer),
        }
        if own is not None:
            work["ids"] = checksum("\0".join(map(str, own.tolist())).encode())
        if bad_rows != "stop":
            work["bad_rows"] = bad_rows
        if texts.names is not None:
            work["names"] = texts.names.written
        claim(folder, parts, known, identify(texts.values, whole=True), work)
        sweep(folder, "part-*.parquet", MANIFEST)
        return cls(parts, [piece for piece in parts if not piece.is_done()], texts)

    def done(self) -> Scored:
        """Say what there is now."""
        rows = sum(len(piece.rows) for piece in self.pieces)
        bad = sum(piece.bad_rows() for piece in self.pieces)
        found = len(self.pieces) - len(self.missing)
        return Scored([piece.output for piece in self.pieces], rows, found, bad)


def score_piece(
    piece: Piece,
    scorer: FailureScorer | ThresholdPredictor,
    z_txt_set: Any,
    bad_rows: BadRows = "stop",
) -> None:
    """Write the scores of a piece unless they are there."""
    if piece.is_done():
        return
    bad: Counter[str] = Counter()

    def notes() -> dict[bytes, str]:
        count = str(bad["rows"])
        return {} if not bad["rows"] else {BAD: count} | ({SKIPPED: count} if bad_rows == "skip" else {})

    with whole_file(piece.output) as file:
        # Of a file that is found unchanged when all is scored.
        checksum = piece.file.checksum(piece.rows) if piece.is_noted else None
        write_parquet(scored_tables(piece, scorer, z_txt_set, bad_rows, bad), file, checksum, notes)


def scored_tables(
    piece: Piece,
    scorer: FailureScorer | ThresholdPredictor,
    z_txt_set: Any,
    bad_rows: BadRows = "stop",
    bad: Counter[str] | None = None,
) -> Iterator[Any]:
    """Yield the scores of a piece, batch by batch, as dicts of columns or record batches.

    How many rows are bad, of those that are skipped or marked, is added up in `bad`.
    """

    def score(rows: Any) -> Any:
        found = score_partition(rows, scorer, z_txt_set, column=piece.file.embeddings, bad_rows=bad_rows)
        if bad is not None and bad_rows == "skip":
            bad["rows"] += count_rows(rows) - count_rows(found)
        elif bad is not None and bad_rows == "mark":
            bad["rows"] += sum(str(reason) != "" for reason in found[REASON])
        return found

    return piece.map(score)


def _describe(scorer: FailureScorer | ThresholdPredictor) -> dict[str, Any]:
    """Return settings, and checksums of arrays, that would be saved but a card: the same after loading."""
    tensors: dict[str, Tensor] = {}
    config = encode(scorer, "", tensors)
    config["fitted"].pop("card_", None)
    return {**config, "arrays": {name: checksum(tensor) for name, tensor in tensors.items()}}
