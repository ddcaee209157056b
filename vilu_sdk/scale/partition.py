"""Scoring a table of rows, which any engine can map."""

from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from vilu_sdk.inputs.candidates import Opened, open_candidates
from vilu_sdk.inputs.rows import Rows, faults
from vilu_sdk.inputs.tables import Parts, keep, split
from vilu_sdk.inputs.values import is_word
from vilu_sdk.scorers.base.contract import FailureScorer, read
from vilu_sdk.selective._base import ThresholdPredictor

#: Columns that scoring adds: what is judged, what a posterior of its own says beside it, and the decision.
PREDICTION, UNCERTAINTY, ANSWER, ACCEPTED = "prediction", "uncertainty", "answer", "accepted"
ANSWERS = {ANSWER: np.int64, "answer_uncertainty": np.float64, "novelty": np.float64}
#: Where candidates have names, columns of names, and what they name.
NAMES = {"name": PREDICTION, "answer_name": ANSWER}
DTYPES = {
    PREDICTION: np.int64,
    UNCERTAINTY: np.float64,
    **ANSWERS,
    ACCEPTED: np.bool_,
    **dict.fromkeys(NAMES, np.str_),
}
#: What is done with rows that cannot be scored, and the column that says why; what such a row has elsewhere.
BadRows = Literal["stop", "skip", "mark"]
BAD_ROWS = get_args(BadRows)
REASON = "reason"
MISSING = {
    **{UNCERTAINTY: np.nan, "answer_uncertainty": np.nan, "novelty": np.nan},
    **{ACCEPTED: False, **dict.fromkeys(NAMES, "")},
}


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
        What to do with rows that hold no embedding, one of another width, NaN, infinite numbers or only
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
    check_bad_rows(bad_rows)
    columns = columns_of(scorer)
    opened = open_candidates(z_txt_set)
    names = opened.called()
    named = {} if names is None else {name: of for name, of in NAMES.items() if of in columns}
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


def columns_of(scorer: FailureScorer | ThresholdPredictor) -> list[str]:
    """Return the columns that scoring adds, in their order."""
    decides = isinstance(scorer, ThresholdPredictor)
    judge = scorer.scorer_in_use if isinstance(scorer, ThresholdPredictor) else scorer
    answers = ANSWERS if getattr(judge, "has_answers", False) else ()
    return [PREDICTION, UNCERTAINTY, *answers, *([ACCEPTED] if decides else ())]


def check_bad_rows(bad_rows: str) -> None:
    """Raise unless it says what is done with rows that are no embeddings."""
    if not is_word(bad_rows, BAD_ROWS):
        raise ValueError(f"bad_rows must be one of {', '.join(BAD_ROWS)}, got {bad_rows!r}.")


def loaded(z_txt_set: Any, d: int | None = None) -> Opened:
    """Return candidates in memory, to be sent to who scores."""
    opened = open_candidates(z_txt_set, d=d)
    return replace(opened, values=Rows(opened.values, "z_txt_set", d=d, normalise=False).read())
