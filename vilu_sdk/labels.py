"""Which labels are likely wrong, by what the other images say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilu_sdk.compute.state import plain_torch
from vilu_sdk.inputs.names import NONE, name_of
from vilu_sdk.inputs.places import BadRowError
from vilu_sdk.inputs.task import Task, check_task
from vilu_sdk.inputs.values import require_candidates
from vilu_sdk.metrics.text import align, lines
from vilu_sdk.scorers import ViLUEstimator
from vilu_sdk.scorers.base.contract import (
    FailureScorer,
    in_parts,
    read_posterior,
    require_posterior,
    require_scorer,
)
from vilu_sdk.scorers.base.folds import fits_without

__all__ = ["LabelIssues", "find_label_issues"]

#: Folds for scorers that cannot leave single images out.
FOLDS = 5
#: Rows of the printed table.
TOP = 20
NO_CLASSES = (
    "labels must be the class of each image, integers in [0, K): captions and right/wrong feedback name no "
    "class that could be wrong."
)


@dataclass(frozen=True)
class LabelIssues:
    """Labels ranked by how likely they are wrong. Prints the worst as a table.

    Attributes
    ----------
    score : ndarray of shape (N,)
        Higher = the label is more likely wrong: log-odds, in nats, of the likeliest *other* candidate
        against the label. Above 0 the label is not the likeliest candidate.
    rank : ndarray of shape (N,)
        Place of each image by its score, 1 for the label that is most likely wrong.
    label : ndarray of shape (N,)
        The labels that were given.
    label_probability : ndarray of shape (N,)
        Probability of the label, of a posterior that did not see it, in [0, 1].
    suggested : ndarray of shape (N,)
        The most likely candidate; the label itself if it is the most likely.
    suggested_probability : ndarray of shape (N,)
        Its probability, in [0, 1].
    names : sequence of str or None
        Names of the candidates.
    """

    score: NDArray[np.float64]
    rank: NDArray[np.int64]
    label: NDArray[np.int64]
    label_probability: NDArray[np.float64]
    suggested: NDArray[np.int64]
    suggested_probability: NDArray[np.float64]
    names: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.score)

    def keep(self, *, share: float | None = None, threshold: float | None = None) -> NDArray[np.bool_]:
        """Return which images to keep: all but the suspects.

        Parameters
        ----------
        share : float, optional
            Share of the images to leave out, those whose labels are most likely wrong, in [0, 1).
        threshold : float, optional
            Leave out images with a score above this. Pass one of the two.

        Returns
        -------
        ndarray of shape (N,)
            True for images to keep, so that ``fit(z_img[keep], z_txt, labels[keep])`` does without the
            others.

        Raises
        ------
        ValueError
            If both are given or neither is, or if one is out of range.
        """
        if (share is None) == (threshold is None):
            raise ValueError(
                "keep takes one of share, such as 0.05 of the images, and threshold, such as a score of 0."
            )
        if share is not None:
            if not 0 <= share < 1:
                raise ValueError(f"share must be at least 0 and below 1, got {share!r}.")
            return np.asarray(self.rank > round(share * len(self)))
        if threshold is None or np.isnan(threshold):
            raise ValueError(f"threshold must be a number, got {threshold!r}.")
        return np.asarray(self.score <= threshold)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a dict for each image, in their order, with names of candidates where there are any."""
        return [self._row(image) for image in range(len(self))]

    def to_pandas(self) -> Any:
        """Return a data frame with a row for each image, in their order; needs pandas."""
        import pandas as pd

        return pd.DataFrame(self.to_dicts()).set_index("image")

    def worst(self, top: int = TOP) -> list[dict[str, Any]]:
        """Return the dicts of the labels that are most likely wrong, in order of rank.

        Parameters
        ----------
        top : int
            How many.

        Returns
        -------
        list of dict
        """
        return [self._row(image) for image in np.argsort(self.rank)[: max(0, top)]]

    def to_text(self, top: int = TOP) -> str:
        """Return the table of the labels that are most likely wrong, which printing shows.

        Parameters
        ----------
        top : int
            How many.

        Returns
        -------
        str
        """
        head = ["image", "label", "suggested", "p(label)", "p(suggested)", "score"]
        body = [
            [
                *(str(row[column]) for column in ("image", "label", "suggested")),
                f"{row['label_probability']:.3f}",
                f"{row['suggested_probability']:.3f}",
                f"{row['score']:.2f}",
            ]
            for row in self.worst(top)
        ]
        other = int((self.score > 0).sum())
        found = f"{other} of {len(self)} labels are not the likeliest candidate"
        return "\n".join([found, *lines(align([head, *body], left=3))])

    def __str__(self) -> str:
        return self.to_text()

    def _row(self, image: int) -> dict[str, Any]:
        return {
            "image": int(image),
            "rank": int(self.rank[image]),
            "label": name_of(self.names, self.label[image]),
            "suggested": name_of(self.names, self.suggested[image]),
            "label_probability": float(self.label_probability[image]),
            "suggested_probability": float(self.suggested_probability[image]),
            "score": float(self.score[image]),
        }


@plain_torch
def find_label_issues(
    z_img: ArrayLike,
    z_txt: ArrayLike,
    labels: ArrayLike,
    *,
    scorer: FailureScorer | None = None,
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> LabelIssues:
    """Rank labels by how likely they are wrong.

    Each label is judged by a posterior that was learned without it. For the default recipe that costs one
    fit, whose left-out scores follow in closed form; more images than a fit holds in memory are taken in
    parts. Other scorers are fitted on five folds.

    Parameters
    ----------
    z_img : array-like of shape (N, d)
        Image embeddings.
    z_txt : array-like of shape (K, d)
        Embeddings of the candidate texts.
    labels : array-like of shape (N,)
        Class of each image, an integer in [0, K).
    scorer : scorer with `predict_proba`, optional
        `ViLUEstimator(random_state=0)` by default. Its settings, such as the logit scale, are used; an
        earlier fit is not, and stays unchanged.
    groups : array-like of shape (N,), optional
        The image or video of each row, as in `fit`: a label is judged without the whole group of its image.
    names : sequence of str, optional
        Names of the candidates, for the tables; by default those that they have.

    Returns
    -------
    LabelIssues
        Scores, ranks, suggestions and probabilities.

    Raises
    ------
    ValueError
        As in `fit`; without labels, for captions and for right/wrong feedback, which name no class that
        could be wrong; with fewer than two candidates; if `names` are not K; if folds are needed and there
        is one image or group only; if a scorer's probabilities are none.
    TypeError
        As in `fit`; if the scorer has no `predict_proba`.

    Notes
    -----
    The probabilities are calibrated for labels *like those given*, so 1 - p(label) is high for wrong labels
    and for difficult images alike: look at the suspects before you change them.

    References
    ----------
    Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk.labels import find_label_issues
    >>> rng = np.random.default_rng(0)
    >>> z_txt = np.eye(4)
    >>> labels = rng.integers(4, size=200)
    >>> z_img = z_txt[labels] + 0.2 * rng.normal(size=(200, 4))
    >>> given = labels.copy()
    >>> given[:3] = (labels[:3] + 1) % 4
    >>> issues = find_label_issues(z_img, z_txt, given)
    >>> sorted(issues.rank[:3].tolist())
    [1, 2, 3]
    >>> bool((issues.suggested[:3] == labels[:3]).all())
    True
    """
    if labels is None:
        raise ValueError(NO_CLASSES)
    scorer = ViLUEstimator(random_state=0) if scorer is None else scorer
    require_scorer(scorer)
    require_posterior(scorer)
    try:
        task = check_task(z_img, z_txt, labels, None, groups)
    except ValueError as error:
        if "correct=" in str(error):
            raise ValueError(NO_CLASSES) from None
        raise
    k = len(task.texts)
    require_candidates(k, "find_label_issues")
    assert task.labels is not None
    assert task.given is not None
    names = task.given.called(names)
    given = task.labels.numpy()
    if len(none := np.flatnonzero(given == NONE)):
        before, after = "labels must name a class that could be wrong, but", " is -1; leave such images out."
        raise BadRowError(before, int(none[0]), after, f"labels[{none[0]}]")
    n = len(given)
    own, other, rival = np.empty(n), np.empty(n), np.empty(n, dtype=np.int64)
    for rows, found in _log_probabilities(scorer, task, given):
        at = np.arange(len(rows)), given[rows]
        own[rows] = found[at]
        found[at] = -np.inf
        rival[rows] = found.argmax(axis=1)
        other[rows] = found[at[0], rival[rows]]
    score = other - own
    rank = np.empty(n, dtype=np.int64)
    rank[np.argsort(-score, kind="stable")] = 1 + np.arange(n)
    suggested = np.where(score > 0, rival, given)
    return LabelIssues(score, rank, given, np.exp(own), suggested, np.exp(np.maximum(own, other)), names)


def _log_probabilities(
    scorer: Any, task: Task, labels: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Yield rows (m,), each row once, and what a scorer that did not see them says, (m, K)."""
    left_out = scorer._left_out(task) if isinstance(scorer, ViLUEstimator) else None
    if left_out is not None:
        for part, found in left_out:
            yield part.numpy(), found.numpy()
        return
    for held, fold in fits_without(scorer, task, labels, FOLDS, 0):
        for rows, z in in_parts(task.images, len(task.texts), held):
            yield rows, read_posterior(fold, z, task.texts.source)[1]
