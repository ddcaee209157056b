"""Scoring a table of rows, which any engine can map, and embeddings on disk piece by piece.

A job over files that is killed at any moment and started again scores nothing twice and loses nothing.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from vilu_sdk.compute.distributed import from_all, from_first, rank, world_size
from vilu_sdk.compute.progress import track
from vilu_sdk.inputs.candidates import Opened, open_candidates
from vilu_sdk.inputs.containers import vector, what_it_holds
from vilu_sdk.inputs.escape import masked
from vilu_sdk.inputs.extras import require
from vilu_sdk.inputs.identity import identify
from vilu_sdk.inputs.places import BadRowError, shown
from vilu_sdk.inputs.remote import is_remote
from vilu_sdk.inputs.rows import Rows, faults
from vilu_sdk.inputs.shards import Source, open_embeddings
from vilu_sdk.inputs.tables import Parts, count_rows, keep, split
from vilu_sdk.inputs.values import is_word, whole
from vilu_sdk.persistence.encoding import encode
from vilu_sdk.persistence.storage import checksum, sweep, whole_file
from vilu_sdk.scale.pieces import BAD, MANIFEST, SKIPPED, Piece, claim, plan, write_parquet
from vilu_sdk.scorers.base.contract import FailureScorer, read
from vilu_sdk.selective._base import ThresholdPredictor

LOG = logging.getLogger(__name__)
#: Columns that scoring adds: what is judged, what a posterior of its own says beside it, and the decision.
PREDICTION, UNCERTAINTY, ANSWER, ACCEPTED = "prediction", "uncertainty", "answer", "accepted"
ANSWERS = {ANSWER: np.int64, "answer_uncertainty": np.float64, "novelty": np.float64}
#: Where candidates have names, columns of names, and what they name.
NAMED = {"name": PREDICTION, "answer_name": ANSWER}
DTYPES = {
    PREDICTION: np.int64,
    UNCERTAINTY: np.float64,
    **ANSWERS,
    ACCEPTED: np.bool_,
    **dict.fromkeys(NAMED, np.str_),
}
#: What is done with rows that cannot be scored, and the column that says why; what such a row has elsewhere.
BadRows = Literal["stop", "skip", "mark"]
BAD_ROWS = get_args(BadRows)
REASON = "reason"
MISSING = {
    **{UNCERTAINTY: np.nan, "answer_uncertainty": np.nan, "novelty": np.nan},
    **{ACCEPTED: False, **dict.fromkeys(NAMED, "")},
}
#: Rows of a piece: what a killed worker does again.
PIECE_ROWS = 1 << 18
# Rows that are scored before a job begins, to find out what is wrong with it.
TRIED_ROWS = 256


class Scored(NamedTuple):
    """What `score_to_folder` did.

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


def score_partition(
    rows: Any,
    scorer: FailureScorer | ThresholdPredictor,
    z_txt_set: Any,
    *,
    column: str | None = None,
    bad_rows: BadRows = "stop",
) -> Any:
    """Score a table of rows, one embedding each.

    It is a pure function of its arguments, for engines that map tables: ``mapInPandas`` of Spark,
    ``map_partitions`` of Dask, ``map_batches`` of Ray Data.

    Parameters
    ----------
    rows : pandas.DataFrame, pyarrow.Table, pyarrow.RecordBatch or dict of str to ndarray
        One column holds the image embeddings, as lists of numbers or, in a dict, as an array of shape (n, d).
    scorer : scorer or predictor with a threshold
        Fitted, if it learns. It keeps what it computes from the candidates for the next call.
    z_txt_set : array-like of shape (K, d)
        Candidate texts.
    column : str, optional
        Name of the column of embeddings. Not needed where it is the only one of lists of numbers.
    bad_rows : {"stop", "skip", "mark"}
        What is done with rows that hold no embedding, one of another width, NaN, infinite numbers or only
        zeros: an error for the first of them, a table without them, or a table with a column `reason` (text,
        empty for good rows), in which they have the uncertainty NaN and the prediction -1.

    Returns
    -------
    table of the same kind
        The other columns as they were, then `prediction` (int64), the row of `z_txt_set`, and
        `uncertainty` (float64), higher = more likely wrong. Of a scorer with answers of its own, such as
        `ViLUEstimator`, also `answer` (int64), `answer_uncertainty` and `novelty` (float64), as in
        `Scorer.judge`; of a predictor with a threshold `accepted` (bool). Where
        candidates have names, `name` and `answer_name` are those of prediction and answer. Of no rows, the
        same columns.

    Raises
    ------
    ValueError
        If the column is missing or ambiguous, a row has no embedding or one of another width, a name is
        taken, or as in `Scorer.decision_function`.
    TypeError
        If `rows` is no table, or the column does not hold lists of numbers.
    sklearn.exceptions.NotFittedError
        If the scorer learns and was not fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import MCMScorer
    >>> from vilu_sdk.scale import score_partition
    >>> rows = {"id": np.array([7, 8]), "z": np.array([[1.0, 0.9, 0.0], [0.0, 0.0, 1.0]])}
    >>> scored = score_partition(rows, MCMScorer(logit_scale=10.0), np.eye(3))
    >>> scored["id"], scored["prediction"], scored["uncertainty"].round(4)
    (array([7, 8]), array([0, 2]), array([3.226e-01, 1.000e-04]))
    """
    _check_bad_rows(bad_rows)
    columns = _columns(scorer)
    opened = open_candidates(z_txt_set)
    names = opened.called()
    named = {} if names is None else {name: of for name, of in NAMED.items() if of in columns}
    marked = [REASON] if bad_rows == "mark" else []
    parts = split(rows, column, (*columns, *named, *marked))
    if bad_rows == "stop":
        z_img, reasons = parts.values(None), None
    else:
        z_img, reasons = _usable(parts, Rows(opened.values, "z_txt_set", normalise=False).d)
    found: dict[str, Any] = {name: np.empty(0, DTYPES[name]) for name in (*columns, *named)}
    if len(z_img):
        found = dict(zip(columns, read(scorer, z_img, opened, *columns), strict=True))
        found |= {name: np.array(names)[found[of]] for name, of in named.items()}
    if reasons is None:
        return parts.rebuild(found)
    good = reasons == ""
    whole = {name: _spread(values, good, MISSING.get(name, -1)) for name, values in found.items()}
    if marked:
        return parts.rebuild(whole | {REASON: reasons})
    return keep(parts.rebuild(whole), good)


def _usable(parts: Parts, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that can be scored, and why each of the others cannot, "" for good ones (n,)."""
    widths = parts.widths()
    reasons = np.array(
        ["" if w == d else "has no embedding" if w < 1 else f"has an embedding of width {w}" for w in widths],
        dtype=object,
    )
    right = widths == d
    if not right.any():
        return np.empty((0, d)), reasons
    values = parts.values(None if right.all() else right)
    found = faults(values)
    reasons[right] = found
    return values[found == ""], reasons


def _spread(values: np.ndarray, good: np.ndarray, missing: Any) -> np.ndarray:
    """Put the values of good rows where these are among all rows."""
    if good.all():
        return values
    whole = np.full(len(good), missing, dtype=values.dtype if len(values) else None)
    whole[good] = values
    return whole


def _columns(scorer: FailureScorer | ThresholdPredictor) -> list[str]:
    """Return the columns that scoring adds, in their order."""
    decides = isinstance(scorer, ThresholdPredictor)
    judge = scorer.scorer_in_use if isinstance(scorer, ThresholdPredictor) else scorer
    answers = ANSWERS if getattr(judge, "has_answers", False) else ()
    return [PREDICTION, UNCERTAINTY, *answers, *([ACCEPTED] if decides else ())]


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
        Rows of a piece, and so what a killed run does again. Pieces end where files end, and of a parquet
        file where row groups end.
    bad_rows : {"stop", "skip", "mark"}
        What is done with rows that cannot be scored, as in `score_partition`.
    ids : array-like of shape (n,), optional
        Of a source of arrays: what you call its rows, numbers or texts such as names of files, for a column
        `id`. The scores of parquet files keep the other columns.

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


def _check_bad_rows(bad_rows: str) -> None:
    """Raise unless it says what is done with rows that are no embeddings."""
    if not is_word(bad_rows, BAD_ROWS):
        raise ValueError(f"bad_rows must be one of {', '.join(BAD_ROWS)}, got {bad_rows!r}.")


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
        _check_bad_rows(bad_rows)
        if not isinstance(output, str | os.PathLike | None):
            raise TypeError(f"output must be the path of a folder, got {shown(output)}.")
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
        folder = Path(output or "").expanduser().absolute()
        own = None if ids is None else vector(ids, "ids")
        if own is not None and own.dtype.kind in "cV":
            raise TypeError(f"ids must hold a text or a number for each row, got {what_it_holds(own)}.")
        if output is None:
            parts = plan(opened, folder, piece_rows, ids=own)
            return cls(parts, parts, texts)
        known = identify(opened)
        parts = plan(opened, folder, piece_rows, is_noted=known["whole"] is None, ids=own)
        work: dict[str, Any] = {
            "scorer": _describe(scorer),
            "column": column,
            "piece_rows": piece_rows,
            "writes": _columns(scorer),
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


def loaded(z_txt_set: Any, d: int | None = None) -> Opened:
    """Return candidates in memory, to be sent to who scores."""
    opened = open_candidates(z_txt_set, d=d)
    return replace(opened, values=Rows(opened.values, "z_txt_set", d=d, normalise=False).read())


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
