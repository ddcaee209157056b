"""Score what a table or figure of the paper compares, and gather our figures beside its."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _data import CAPTION_SETS, CLASS_SETS, CLIP, Data, Folder
from _entry import Job, Row, Values
from _fits import CAPTIONS, METHODS, Fits, Fitted
from _published import published
from numpy.typing import NDArray

from vilu_sdk import MCMScorer
from vilu_sdk.evaluation import failure_metrics
from vilu_sdk.evaluation.problem import Problem, ask, check_problem


class Scored(NamedTuple):
    """What a scorer says of the pooled rows, and whether the prediction is wrong, all (N,)."""

    decision: NDArray[np.float64]
    failure: NDArray[np.bool_]
    uncertainty: NDArray[np.float64]

    def metrics(self) -> Values:
        """AUC and FPR95 in percent."""
        found = failure_metrics(self.decision, self.failure)
        return {key: 100 * found[key] for key in ("auc", "fpr95")}


@dataclass
class Bench:
    """Scores for one entry, and keeps what cannot be measured.

    Parameters
    ----------
    folder : Folder
        The embeddings.
    fits : Fits
        The fits, which entries share.
    pictures : Path, optional
        Folder into which entries draw.
    """

    folder: Folder
    fits: Fits
    pictures: Path | None = None
    missing: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def sets(self, names: Sequence[str], backbone: str = CLIP, *, stand_ins: bool = True) -> Iterator[Data]:
        """Yield the data sets that are there, and note those that are not."""
        for name in names:
            found = self.folder.find(name, backbone, stand_ins=stand_ins)
            where = name if backbone == CLIP else f"{name} by {backbone}"
            if not found:
                self.miss("no embeddings", where)
            elif found[0].stands_in:
                files = " and ".join(data.path.stem for data in found)
                self.miss(f"no embeddings, measured on {files} instead", where)
            yield from found

    def varied(self, names: Sequence[str]) -> Iterator[Data]:
        """Yield the data sets on which the paper varies its head, and other class sets asked for by name."""
        asked = [name for name in CLASS_SETS if name not in names and self.folder.asked_for(name)]
        yield from self.sets([*names, *asked])

    def miss(self, reason: str, what: str) -> None:
        """Note what cannot be measured."""
        self.missing.setdefault(reason, []).append(what)

    def methods(self, *keys: str) -> list[str]:
        """Return those of the methods that were asked for."""
        return [key for key in keys if key in self.fits.settings.scorers]

    def job(
        self,
        entry: str,
        data: Data,
        key: str,
        measure: Callable[[int], Values],
        *,
        setting: str = "",
        shown: str | None = None,
        method: str | None = None,
        label: str | None = None,
    ) -> Job:
        """Return a job, with what `entry` prints of this method (or of `method`) in this setting."""
        found = published(entry, data.name, method or METHODS[key].published, setting)
        return Job(
            data, key, label or METHODS[key].label, setting if shown is None else shown, found, measure
        )

    def evaluate(self, data: Data, key: str, seed: int, **changes: Any) -> Values:
        """Fit a method and return its metrics on the test rows."""
        return self.score(self.fits.of(data, key, seed, **changes)).metrics()

    def score(self, fitted: Sequence[Fitted], captions: int = CAPTIONS) -> Scored:
        """Score the test rows, and pool the scores of all folds and batches."""
        said = [ask(scorer, problem) for scorer, problem in problems(fitted, captions)]
        fields = ("decision", "failure", "uncertainty")
        return Scored(*(np.concatenate([getattr(one, field) for one in said]) for field in fields))

    def run(self, job: Job) -> Row | None:
        """Measure a job with every seed; None, and a note, if it cannot be done."""
        seeds = range(self.fits.settings.seeds if METHODS[job.key].is_random else 1)
        try:
            runs = [job.measure(seed) for seed in seeds]
        except ValueError as error:
            self.miss(str(error), f"{job.data.label}, {job.method} {job.setting}".strip())
            return None
        values = {key: np.array([run[key] for run in runs]) for key in runs[0]}
        means = {key: float(found.mean()) for key, found in values.items()}
        spread = {key: float(found.std(ddof=1)) for key, found in values.items() if len(found) > 1}
        data = job.data
        return Row(
            data.label,
            data.path.stem,
            data.classes,
            data.stands_in,
            job.method,
            job.setting,
            means,
            spread,
            job.paper,
        )

    def describe(self, data: Data) -> str:
        """Say how many rows a data set has here and in the paper, and how accurate the model is."""
        failure = self.score([Fitted(MCMScorer(), fold.test) for fold in data.folds]).failure
        table = "table2" if data.name in CAPTION_SETS else "table1"
        known = published(table, data.name, "CLIP zero-shot") if data.backbone == CLIP else {}
        return data.describe(known.get("accuracy"), float(1 - failure.mean()))


def problems(fitted: Sequence[Fitted], captions: int = CAPTIONS) -> Iterator[tuple[Any, Problem]]:
    """Yield each scorer with what it is to score, captions in batches of this size."""
    for scorer, (images, text, *labels) in fitted:
        yield scorer, check_problem(images, text, labels[0] if labels else None, None if labels else captions)
