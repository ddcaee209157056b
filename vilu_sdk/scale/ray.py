"""Scoring on many machines with Ray Data: the extra ``ray``."""

import logging
import os
import pickle
from collections.abc import Iterator
from typing import Any

import torch
from numpy.typing import ArrayLike

from vilu_sdk.compute.progress import track
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.rows import CHUNK_ELEMENTS
from vilu_sdk.scale.job import PIECE_ROWS, Job, score_piece, scored_tables
from vilu_sdk.scale.partition import BadRows, loaded, score_partition
from vilu_sdk.scorers.base.contract import FailureScorer
from vilu_sdk.selective._base import ThresholdPredictor

LOG = logging.getLogger(__name__)
# Columns of the tasks: number of a piece; what went wrong with it, pickled, or None.
PIECE, ERROR = "piece", "error"


def score_dataset(
    data: Any,
    scorer: FailureScorer | ThresholdPredictor,
    z_txt_set: ArrayLike,
    *,
    column: str | None = None,
    output: str | os.PathLike[str] | None = None,
    piece_rows: int = PIECE_ROWS,
    bad_rows: BadRows = "stop",
    ids: ArrayLike | None = None,
    num_cpus: int = 1,
    concurrency: int | tuple[int, int] | None = None,
) -> Any:
    """Score a data set of Ray, or embeddings on disk, by actors that hold the scorer.

    Ray is connected to as ``ray.init`` was told to, or started on this machine, then without its own messages
    unless the logger ``vilu_sdk`` is at DEBUG. The scorer and the
    candidates are sent once; each actor computes once what depends on the candidates alone. An actor that
    dies is replaced, and what it was doing is done again.

    Parameters
    ----------
    data : ray.data.Dataset, path-like or list of path-like
        Rows with one column of image embeddings; or files or a folder of shards, as `open_embeddings` takes
        them, on a disk that all machines see.
    scorer : scorer or predictor with a threshold
        Fitted, if it learns.
    z_txt_set : array-like of shape (K, d)
        Candidate texts.
    column : str, optional
        Name of the embeddings. Not needed where there is only one column of lists of numbers or tensors.
    output : path-like, optional
        With paths: a folder on a disk that all machines see, as in `score_to_folder`. The scores are written
        there before this returns, going on where an earlier run was killed, by whichever engine. Those of a
        `Dataset` are written by its own ``write_parquet``.
    piece_rows : int
        With paths: rows of a piece, the work of one task, as in `score_to_folder`.
    bad_rows : {"stop", "skip", "mark"}
        What to do with rows that cannot be scored, as in `score_partition`.
    ids : array-like of shape (n,), optional
        With paths of arrays: names of the rows, as in `score_to_folder`.
    num_cpus : int
        Cores, and so threads, of an actor.
    concurrency : int or tuple of int, optional
        Number of actors, or their least and greatest number; by default one and as many as there is room for.

    Returns
    -------
    ray.data.Dataset
        Rows as `score_partition` and `score_to_folder` return them. Without `output` it is lazy: nothing is
        scored before its rows are asked for.

    Raises
    ------
    ImportError
        If Ray, the extra ``ray``, is not installed.
    ValueError, FileNotFoundError, OSError
        As in `score_to_folder`; also if `output` is given with a `Dataset`, or the actors have written to
        disks of their own.

    Examples
    --------
    >>> import ray
    >>> from vilu_sdk.scale import score_dataset
    >>> rows = ray.data.read_parquet("s3://bucket/embeddings/")  # doctest: +SKIP
    >>> score_dataset(rows, scorer, z_txt).write_parquet("s3://bucket/scores/")  # doctest: +SKIP
    >>> score_dataset("/mnt/img_emb", scorer, z_txt, output="/mnt/scores")  # doctest: +SKIP
    """
    require("ray.data", "ray")
    ray = require("ray", "ray")
    _start(ray)
    least, most = concurrency if isinstance(concurrency, tuple) else (concurrency or 1, concurrency)
    how: dict[str, Any] = {
        "compute": ray.data.ActorPoolStrategy(min_size=least, max_size=most),
        "num_cpus": num_cpus,
        "batch_format": "pyarrow",
    }
    if isinstance(data, ray.data.Dataset):
        if output is not None:
            raise ValueError(
                "output goes with paths; write a Dataset with score_dataset(...).write_parquet(output)."
            )
        texts = loaded(z_txt_set)
        how["fn_constructor_args"] = (ray.put((scorer, texts, [], bad_rows)), num_cpus)
        how["fn_kwargs"] = {"column": column}
        return data.map_batches(_ScoreRows, batch_size=max(1, CHUNK_ELEMENTS // texts.values.shape[1]), **how)

    job = Job.prepare(data, output, scorer, z_txt_set, column, piece_rows, bad_rows, ids)
    how["fn_constructor_args"] = (ray.put((scorer, job.texts, job.missing, bad_rows)), num_cpus)
    if numbers := [{PIECE: number} for number in range(len(job.missing))]:
        tasks = ray.data.from_items(numbers, override_num_blocks=len(numbers))
        if output is None:
            return tasks.map_batches(_ReadPieces, **how)
        tasks.context.enable_progress_bars = False  # there is one
        _finish(iter(tasks.map_batches(_WritePieces, **how).iter_rows()), job)
    return ray.data.read_parquet(str(job.pieces[0].output.parent))


def _start(ray: Any) -> None:
    """Start or join Ray where nobody has; of what it says of itself nothing but errors, unless debugging."""
    if ray.is_initialized():
        return
    if LOG.isEnabledFor(logging.DEBUG):
        ray.init()
        return
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _finish(results: Iterator[dict[str, Any]], job: Job) -> None:
    """Wait for all pieces, or for the first error."""
    for _ in track(job.missing, "scoring pieces"):
        if error := next(results)[ERROR]:
            raise pickle.loads(error)
    for piece in job.missing:
        if not piece.is_done():
            raise OSError(
                f"an actor has written {piece.output}, but it is not there; output must be on a disk that "
                "all machines see."
            )


class _Actor:
    """Holds a scorer and the candidates, and with them what the scorer computes from these once."""

    def __init__(self, state: Any, threads: int) -> None:
        torch.set_num_threads(threads)
        self.scorer, self.texts, self.pieces, self.bad_rows = require("ray", "ray").get(state)


class _ScoreRows(_Actor):
    def __call__(self, rows: Any, column: str | None) -> Any:
        return score_partition(rows, self.scorer, self.texts, column=column, bad_rows=self.bad_rows)


class _ReadPieces(_Actor):
    def __call__(self, tasks: Any) -> Iterator[Any]:
        for number in tasks[PIECE].to_pylist():
            yield from scored_tables(self.pieces[number], self.scorer, self.texts, self.bad_rows)


class _WritePieces(_Actor):
    def __call__(self, tasks: Any) -> Iterator[Any]:
        for number in tasks[PIECE].to_pylist():
            error = None
            try:
                score_piece(self.pieces[number], self.scorer, self.texts, self.bad_rows)
            except (ValueError, TypeError, OSError) as raised:  # of which Ray would hide the message
                error = pickle.dumps(raised)
            yield {PIECE: [number], ERROR: [error]}
