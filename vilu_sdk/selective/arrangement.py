"""What thresholds and sets share: the labelled set, its candidates, and whose threshold is whose."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from vilu_sdk.exceptions import PromiseWarning, warn
from vilu_sdk.inputs.candidates import Candidates, Opened, open_candidates
from vilu_sdk.inputs.containers import vector
from vilu_sdk.inputs.names import NONE
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import check_groups, check_units
from vilu_sdk.persistence.persistent import Persistent
from vilu_sdk.persistence.types import check_parameters
from vilu_sdk.scorers.base.contract import FailureScorer, read, require_scorer, warn_of_fit_rows
from vilu_sdk.scorers.base.folds import fits_without
from vilu_sdk.scorers.base.groups import independent_units, one_of_each
from vilu_sdk.scorers.posterior.frequencies import check_frequencies

# One of so many equal parts is calibrated on, the rest is fitted on.
PARTS = 2
#: What reports say of rows that were drawn by frequencies.
MIXTURE = "rows drawn as frequent as given"


class Calibrated(Persistent):
    """An estimator that calibrates a scorer on labelled images, for the candidates that these have.

    The parameter `scorer` may come without a fit; `fit` then splits what it is given.
    """

    scorer: FailureScorer
    per_class: bool
    per_label: bool = False
    report_: Any
    #: Parameters that count when it is used, and not in `fit` alone.
    used_later: ClassVar[tuple[str, ...]] = ("per_class",)
    _card_use: ClassVar[tuple[str, str]] = (
        "selective",
        "answer = selective.predict(z_img, z_txt_set)  # (N,), the row of the candidate, or -1: ask a person",
    )

    #: What it is called in a sentence, and of what the risk is that it promises.
    called: ClassVar[str] = "A threshold"
    what_fails: ClassVar[str] = "the accepted predictions are wrong"

    @property
    def is_threshold(self) -> bool:
        """Whether it accepts predictions, and does not make sets."""
        return hasattr(self, "accept")

    def _risks(self) -> list[float]:
        """Return the risks that are promised, of all or of each group that accepts something."""
        return list(self.report_.risks)

    @property
    def scorer_in_use(self) -> Any:
        """The scorer that scores: the one that was given, or the clone that `fit` has fitted."""
        return getattr(self, "scorer_", self.scorer)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "report_")

    def _arrange(self, task: Task, consequence: str) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Return the rows to calibrate on, and for the report what became of the others.

        They are all rows where the scorer is fitted, else one part, and of each unit one of them at random.
        A clone is fitted on the other part, and never again. Parts have equal shares of the classes, and
        whole units. A fitted scorer is warned of where it has seen the rows, with what follows from that.
        """
        self.__dict__.pop("scorer_", None)
        units, n = independent_units(task), len(task.images)
        if not lacks_fit(self.scorer, task):
            warn_of_fit_rows(self.scorer, task.images.source, consequence)
            held = np.arange(n)
        else:
            held, self.scorer_ = next(fits_without(self.scorer, task, strata_of(task), PARTS, 0))
        rows = one_of_each(units, held)
        return rows, {"fit_rows": n - len(held), "siblings": len(held) - len(rows)}

    def _check_units(self, units: Any, groups: Any, n: int) -> None:
        """Raise where rows of one unit are of several groups: the one that calibrates would speak for all."""
        if units is None or groups is None:
            return
        of_unit, of_group = check_units(units, n, name="units"), check_units(groups, n)
        if len(torch.unique(torch.stack([of_unit, of_group]), dim=1)[0]) > len(torch.unique(of_unit)):
            raise ValueError("a unit has rows in several groups; give each group its own units.")

    def _remember(self, task: Task, opened: Opened) -> None:
        """Keep which candidates the promise is about, and which prediction."""
        names = opened.called()
        self.predicts_ = self._predicts()
        self.scorer_then_ = getattr(self.scorer_in_use, "fitted_on_", None)
        self.found_for_ = {name: getattr(self, name) for name in self.used_later}
        self.candidates_ = task.text
        self.names_ = None if names is None else list(names)
        self.caption_ = task.is_caption
        self.n_features_in_ = task.images.d

    def _open(self, z_txt_set: Any) -> Opened:
        """Return candidates of the width of the fit."""
        check_is_fitted(self)
        return open_candidates(z_txt_set, d=self.n_features_in_)

    def _knows(self, text: Tensor) -> bool:
        """Whether candidates (K, d) are those of the fit, each in its place."""
        known = self.candidates_
        return text.shape == known.shape and bool((text - known).abs().max() < 1e-3)

    def _warn_of_candidates(self, opened: Opened) -> None:
        """Warn where candidates are not those of the fit; captions are known by their number alone."""
        text = Candidates(opened, self.n_features_in_).text
        if not (text.shape == self.candidates_.shape if self.caption_ else self._knows(text)):
            warn(
                "The candidates are not those of fit in the same order. The result of fit is used as it is, "
                "but its guarantee holds only for the candidates of fit; fit again with these.",
                PromiseWarning,
            )

    def _check_unchanged(self) -> None:
        """Raise where a parameter that counts at use, or what the scorer predicts, has changed since."""
        for name, before in getattr(self, "found_for_", {}).items():
            if getattr(self, name) != before:
                raise ValueError(
                    f"the threshold was found for {name}={before!r}, but it is {getattr(self, name)!r} now; "
                    "set it back, or fit again."
                )
        if self._predicts() != getattr(self, "predicts_", self._predicts()):
            raise ValueError(
                f"the threshold was found for predicts={self.predicts_!r}, but the scorer now has "
                f"predicts={self._predicts()!r}; set it back, or fit the threshold again."
            )
        then = getattr(self, "scorer_then_", None)
        if then is not None and then != getattr(self.scorer_in_use, "fitted_on_", None):
            warn(
                f"{type(self.scorer_in_use).__name__} was fitted or adapted after the threshold was found, "
                "so its guarantee no longer holds; fit the threshold again.",
                PromiseWarning,
            )

    def _predicts(self) -> str:
        return str(getattr(self.scorer_in_use, "predicts", "zero-shot"))

    def _names_of(self, opened: Opened) -> Sequence[str] | None:
        """Return the names by which classes find their thresholds, None where `fit` saw none."""
        known: list[str] | None = getattr(self, "names_", None)
        if known is None or opened.names is not None or not (self.per_class or self.per_label):
            return None if known is None else opened.called()
        if len(opened) != len(known):
            raise ValueError(
                f"{opened.argument} has {len(opened)} rows without names, but the thresholds are "
                f"those of {len(known)} names; pass a mapping from names to embeddings."
            )
        return known

    def _keys(
        self, classes: NDArray[np.int64], groups: Any, names: Sequence[str] | None
    ) -> NDArray[Any] | None:
        """Return whose threshold each image has: its class's (n,) or its group's; None where all have one."""
        if not (self.per_class or self.per_label):
            return None if groups is None else check_groups(groups, len(classes))
        if groups is not None:
            option, which = ("per_class", "predicted") if self.per_class else ("per_label", "true")
            raise ValueError(f"{option}=True makes the {which} classes the groups; leave groups out.")
        return classes if names is None else np.array(names)[classes]

    @property
    def has_groups(self) -> bool:
        """Whether there are thresholds of groups of images, and not of classes."""
        return bool(self.report_.groups) and not (self.per_class or self.per_label)

    def _require_groups(self, groups: Any, verbs: str) -> None:
        """Raise unless groups are there if, and only if, there are thresholds of groups."""
        if (groups is not None) != self.has_groups:
            raise ValueError(f"groups must be passed to {verbs} if, and only if, they were passed to fit.")
        if groups is None:
            return
        known = [part.group for part in self.report_.groups]
        array = vector(groups, "groups")
        given = check_groups(array, len(array)).tolist()
        if given and isinstance(given[0], str) != isinstance(known[0], str):
            raise ValueError(
                f"groups are like {given[0]!r}, but those of fit were like {known[0]!r}: write both as text, "
                "or both as numbers."
            )

    def _try_scorer(self) -> None:
        """Raise where what was loaded has a scorer that cannot score, or parameters out of their range."""
        require_scorer(self.scorer_in_use)
        if isinstance(self.scorer_in_use, Persistent):
            self.scorer_in_use._try()
        self._check()

    def refuse_groups(self, who: str) -> None:
        """Raise where there are thresholds of groups, of which `who` is not told."""
        if self.has_groups:
            raise ValueError(
                f"there are thresholds of groups, and {who} is not told of which group an image is; fit a "
                "threshold for all images, or one per_class."
            )

    def _tried_groups(self) -> list[Any] | None:
        """Return a group for one image, if groups are needed."""
        return [self.report_.groups[0].group] if self.has_groups else None

    def _check(self) -> None:
        """Check the parameters: ranges, which subclasses know, and types."""
        check_parameters(self)


def as_frequent(rows: NDArray[np.int64], task: Task, opened: Opened, frequencies: Any) -> NDArray[np.int64]:
    """Return some of the rows, drawn at random, whose classes are as frequent as those of later images.

    They are a draw of later images where these differ in their class frequencies alone, so that whatever is
    promised for rows drawn alike holds. The share of images of none of the candidates is left as it is.
    """
    if frequencies is None:
        return rows
    if task.labels is None:
        raise ValueError("frequencies are of true classes: pass labels.")
    shares = check_frequencies(frequencies, opened)
    if isinstance(shares, str) and shares == "balanced":
        shares = torch.ones(len(opened))
    if not isinstance(shares, Tensor):
        raise ValueError(
            f"frequencies must be one number for each candidate here, or 'balanced', got {frequencies!r}; "
            "there are no images of later use to find them from."
        )
    labels = task.labels.numpy()[rows]
    counts = np.bincount(labels[labels != NONE], minlength=len(opened))
    needed = shares.numpy().astype(np.float64)
    if (lacking := np.flatnonzero((needed > 0) & (counts == 0))).size:
        raise ValueError(
            f"frequencies[{lacking[0]}] is above 0, but no calibration image shows that candidate: add some, "
            f"or leave it out ({lacking.size} candidates lack images)."
        )
    weights = needed / np.maximum(counts, 1) * counts.sum()
    of_rows = np.where(labels == NONE, 1.0, weights[labels] / needed.sum())
    kept: NDArray[np.int64] = rows[np.random.default_rng(0).random(len(rows)) * of_rows.max() < of_rows]
    return kept


def said_of_mixture(report: Any, frequencies: Any) -> Any:
    """Return a report that says where rows were drawn by frequencies."""
    return report if frequencies is None else replace(report, method=f"{report.method}, {MIXTURE}")


def thresholds_of(
    report: Any, keys: NDArray[Any] | None, unseen: float = -math.inf
) -> float | NDArray[np.float64]:
    """Return the threshold of a report, or that of each row's group, `unseen` where that was not there."""
    if keys is None:
        return float(report.threshold)
    thresholds = np.full(len(keys), unseen)
    for part in report.groups:
        thresholds[keys == part.group] = part.threshold
    return thresholds


def strata_of(task: Task) -> NDArray[Any]:
    """Return of what parts of the rows have equal shares, (n,): the classes, or right and wrong."""
    known = next((x.numpy() for x in (task.labels, task.correct) if x is not None), None)
    return np.zeros(len(task.images)) if known is None else known


def lacks_fit(scorer: FailureScorer, task: Task) -> bool:
    """Return whether a scorer learns and was not fitted."""
    if hasattr(scorer, "__sklearn_is_fitted__"):
        return not scorer.__sklearn_is_fitted__()
    try:
        read(scorer, task.images.source[:1], task.texts.source, "decision")
    except NotFittedError:
        return True
    return False
