"""Fit and score scorers on many sets, and gather the field's table."""

import numbers
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from inspect import signature
from pathlib import Path
from pickle import PicklingError
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from vilu_sdk.compute.progress import track
from vilu_sdk.compute.state import plain_torch
from vilu_sdk.evaluation.cells import Done, Work, identify_rows, key_of, measure
from vilu_sdk.evaluation.comparison import check_scorers
from vilu_sdk.evaluation.layout import MEAN, RANK
from vilu_sdk.evaluation.over_sets import ALL
from vilu_sdk.evaluation.own import Given, Metric, check_metrics
from vilu_sdk.evaluation.problem import Problem, check_problem
from vilu_sdk.evaluation.results import Benchmark
from vilu_sdk.evaluation.run import Round, metrics_of, random_rounds
from vilu_sdk.evaluation.sets import CELL, DataSet, open_set, sets_of
from vilu_sdk.exceptions import ScorerFailedWarning, warn
from vilu_sdk.inputs.names import by_place
from vilu_sdk.inputs.values import as_path, flag, fraction, is_word, seed, whole
from vilu_sdk.metrics.ranking import COVERAGES, rank
from vilu_sdk.scorers.base.contract import FailureScorer

NO_FIT = "the set has no rows to fit on"


@plain_torch
def benchmark(
    scorers: Mapping[str, FailureScorer],
    sets: Any,
    *,
    labels: Sequence[int | str] = (ALL,),
    n_runs: int = 1,
    split: str = "own",
    test_size: float = 0.5,
    fit: bool = True,
    batch_size: int | None = None,
    metrics: Given = None,
    folder: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
) -> Benchmark:
    """Fit and score scorers on many sets, with several numbers of labels, and collect one table.

    Parameters
    ----------
    scorers : mapping of str to scorer
        The scorers under the names that tables show. They are cloned before they are fitted. Where a set has
        a logit scale, it goes to every `logit_scale` that is at its default.
    sets : mapping, str, path or iterable of (str, set)
        The sets by name, a folder of them, or a generator of names and sets, of which one is in memory at a
        time. A set is a path of an ``.npz`` file or of a folder of ``.npy`` files, a mapping of arrays, or a
        function that returns either: ``z_img_train``, ``labels_train``, ``z_img_test``, ``labels_test`` and
        ``z_txt`` (K, d), of captions ``z_txt_train`` and ``z_txt_test`` in the place of labels; of a set
        without a split ``z_img``, ``z_txt`` and, of classes, ``labels``. Optional are ``logit_scale`` and
        groups (``groups_train``, …). Other arrays are not looked at.
    labels : sequence of int or "all", default=("all",)
        How many of the rows to fit on, drawn at random, each number a part of the next; of a set with fewer
        rows all of them.
    n_runs : int, default=1
        How often to fit and score. Run j = 0, 1, … draws other rows, other random splits, and adds j to the
        seeds of scorers, as `compare` does.
    split : {"own", "random"}, default="own"
        "random" puts train and test rows together and splits them at random. Sets without a split are always
        split at random.
    test_size : float, default=0.5
        Share of the rows that a random split scores.
    fit : bool, default=True
        Whether to fit. If False, scorers are asked as they are about the test rows, or about all, and those
        that learn keep their scale.
    batch_size : int, optional
        Number of captions that are candidates at once, as in `evaluate`.
    metrics : mapping of str to callable or Metric, optional
        Metrics of your own by name, as `Metric` describes them.
    folder : str or path, optional
        Folder for finished cells (scorer, set, labels, run). The same call resumes after it was killed; cells
        whose data, scorer, source code or package version have changed are measured again. Metrics are
        computed from the cells, so other metrics need no new fit.
    n_jobs : int, optional
        Number of processes, -1 for one per core; by default this one alone. With several, times are those of
        cores that share a machine.
    random_state : int, default=0
        Of splits and drawn labels. Scorers have their own.

    Returns
    -------
    Benchmark
        Prints a row for each set, means and mean ranks; has methods for tables, learning curves and tests.

    Raises
    ------
    ValueError, TypeError
        If an argument or a set is malformed; the message names the set.

    Warns
    -----
    ScorerFailedWarning
        If a scorer lacks a verb or raises any exception: its cells are NaN with the reason, and the others go
        on. Failures are not kept in `folder`, so the next call tries again.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import EntropyScorer, MCMScorer
    >>> def classes(seed):
    ...     rng = np.random.default_rng(seed)
    ...     z_txt, labels = rng.normal(size=(5, 8)), rng.integers(5, size=200)
    ...     z_img = z_txt[labels] + rng.normal(scale=1.5, size=(200, 8))
    ...     return {"z_img": z_img, "z_txt": z_txt, "labels": labels}
    >>> scorers = {"MCM": MCMScorer(logit_scale=10), "entropy": EntropyScorer(logit_scale=10)}
    >>> found = benchmark(scorers, {"one": classes(1), "two": classes(2)})
    >>> print(found)
    AUC % ↑ of 2 scorers on 2 sets, 1 run
    set          MCM  entropy
    ---------  -----  -------
    one        75.93   77.89*
    two        73.17   75.13*
    ---------  -----  -------
    mean       74.55   76.51*
    mean rank   2.00    1.00*
    *: the best
    mean ranks by auc over 2 sets: p = 0.49 that all are equally good (Friedman), critical difference 1.39...
    """
    check_scorers(scorers)
    flag(fit, "fit")
    budgets: list[Any] = [labels]
    if not isinstance(labels, str | numbers.Number):
        budgets = by_place(labels, "labels", "of numbers of rows")
    plan = _Plan(tuple(budgets), n_runs, split, test_size, fit, batch_size, random_state)
    plan.check()
    own = check_metrics(metrics)
    if n_jobs is not None and not whole(n_jobs, "n_jobs", -1):
        raise ValueError("n_jobs must be at least 1, or -1 for one process a core, got 0.")
    place = None if folder is None else as_path(folder, "folder")
    if place is not None:
        if place.exists() and not place.is_dir():
            raise ValueError(f"folder: {place} is a file; name a folder, which is made where there is none.")
        place.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    seen: set[str] = set()
    for name, source in sets_of(sets):
        if name in seen:
            raise ValueError(f"sets: two sets are called {name!r}; give each a name of its own.")
        if name in (MEAN, RANK.header):
            raise ValueError(f"sets: a row of the table is called {name!r}; give the set another name.")
        if not name.strip():
            raise ValueError("sets: a set has an empty name; give it one, which tables show.")
        seen.add(name)
        found = _of_set(open_set(name, source, batch_size), scorers, plan, place, n_jobs, own)
        records += found
        for scorer in scorers:
            notes = [record["note"] for record in found if record["scorer"] == scorer and record["note"]]
            if notes and notes[0] != NO_FIT:
                warn(f"{scorer} has no values on {name}: {notes[0]}", ScorerFailedWarning)
    if not seen:
        raise ValueError("sets is empty; pass a set at least.")
    return Benchmark(records, [metric.column(name) for name, metric in own.items()])


class _Plan(NamedTuple):
    """What is fitted and scored on each set."""

    labels: tuple[int | str, ...]
    n_runs: int
    split: str
    test_size: float
    fit: bool
    batch_size: int | None
    random_state: int

    def check(self) -> None:
        for budget in self.labels:
            if budget == ALL:
                continue
            if isinstance(budget, bool) or not isinstance(budget, int | np.integer) or budget < 1:
                raise ValueError(f'labels must hold integers of at least 1 and "all", got {budget!r}.')
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise ValueError("labels must hold each number once, and one at least.")
        whole(self.n_runs, "n_runs", 1)
        fraction(self.test_size, "test_size")
        if not is_word(self.split, ("own", "random")):
            raise ValueError(f'split must be "own" or "random", got {self.split!r}.')
        seed(self.random_state, "random_state")
        if not self.fit and (self.labels != (ALL,) or self.n_runs > 1 or self.split == "random"):
            raise ValueError("fit=False fits nothing; leave out labels, n_runs and split.")

    def rounds(self, data: DataSet) -> Iterator[Round]:
        """Yield what is fitted, at most, and what is scored in each run."""
        whole, scored = data.every, data.test
        if not self.fit:
            assert whole is not None or scored is not None
            yield Round(None, scored or whole)  # type: ignore[arg-type]
            return
        if whole is None and self.split == "random" and data.train is not None and scored is not None:
            whole = _together(data.train, scored)
        for run in range(self.n_runs):
            if whole is not None:
                rng = np.random.RandomState([self.random_state, run])
                yield from random_rounds(whole, self.test_size, self.batch_size, rng, 1)
            else:
                assert scored is not None
                train = data.train
                yield Round(None if train is None else (*train[:3], train.known_groups()), scored)

    def drawn(self, fit_on: tuple[Any, ...], budget: int | str, run: int) -> tuple[Any, ...]:
        """Return so many of the rows to fit on, those of a group as near to each other as can be."""
        images, text, labels, groups = fit_on
        n = len(images)
        if budget == ALL or int(budget) >= n:
            return fit_on
        rng = np.random.RandomState([self.random_state, run, 1])
        if groups is None:
            order = rng.permutation(n)
        else:
            unit = np.unique(groups, return_inverse=True)[1]
            order = np.argsort(rng.permutation(unit.max() + 1)[unit], kind="stable")
        rows = np.sort(order[: int(budget)])
        return (
            images[rows],
            text[rows] if labels is None else text,
            *(None if one is None else one[rows] for one in (labels, groups)),
        )


def _together(train: Problem, test: Problem) -> Problem:
    """Put the rows of both together; groups that are told keep apart those of the two."""
    images = np.concatenate([np.asarray(train.images), np.asarray(test.images)])
    groups: NDArray[np.int64] | None = None
    if train.told or test.told:
        groups = np.concatenate([train.groups.numpy(), test.groups.numpy() + int(train.groups.max()) + 1])
    if train.labels is None or test.labels is None:
        texts = np.concatenate([np.asarray(train.text), np.asarray(test.text)])
        return check_problem(images, texts, None, None, groups)
    return check_problem(images, train.text, np.concatenate([train.labels, test.labels]), None, groups)


def _of_set(
    data: DataSet,
    scorers: Mapping[str, FailureScorer],
    plan: _Plan,
    place: Path | None,
    n_jobs: int | None,
    own: Mapping[str, Metric],
) -> list[dict[str, Any]]:
    """Return the records of all cells of a set; cells that come to the same are done once."""
    ready = {name: _at_scale(scorer, data.logit_scale, plan.fit) for name, scorer in scorers.items()}
    cells: list[tuple[dict[str, Any], str | None]] = []
    works: dict[str, Work] = {}
    for run, (fit_on, problem) in enumerate(plan.rounds(data)):
        scored = identify_rows(problem[:3])
        for budget in plan.labels:
            given = None if fit_on is None else plan.drawn(fit_on, budget, run)
            fitted = identify_rows(given)
            for name, scorer in ready.items():
                learns = plan.fit and getattr(scorer, "learns", True)
                record = {"set": data.name, "scorer": name, "labels": budget, "run": run}
                record["n_fitted"] = len(given[0]) if learns and given is not None else 0
                if learns and given is None:
                    cells.append((record, None))
                    continue
                work = Work(scorer, given if learns else None, problem, run if learns else 0)
                key = key_of(work, fitted if learns else None, scored)
                works.setdefault(key, work)
                cells.append((record, key))
    paths = [None if place is None else place / f"{key}{CELL}" for key in works]
    calls = list(zip(works.values(), paths, strict=True))
    done = None
    if n_jobs not in (None, 1):
        with suppress(PicklingError):  # of a scorer that cannot be sent to another process
            done = Parallel(n_jobs=n_jobs)(delayed(measure)(*call) for call in track(calls, data.name))
    if done is None:
        done = [measure(*call) for call in track(calls, data.name)]
    found = dict(zip(works, done, strict=True))
    return [
        record | _values(Done(None, note=NO_FIT) if key is None else found[key], own) for record, key in cells
    ]


def _values(done: Done, own: Mapping[str, Metric]) -> dict[str, Any]:
    """Return the metrics of a cell, which rows fail, and the note."""
    if done.answers is None:
        return {"note": done.note, "failures": None}
    failures = np.packbits(done.answers.failure).tobytes()
    seconds = {"fit_seconds": done.seconds, "score_seconds": done.answers.seconds}
    kept_right = 1 - rank(done.answers.decision, done.answers.failure).risk_at(COVERAGES)
    known = {"note": "", "failures": failures, "kept_right": kept_right}
    return known | metrics_of(done.answers, own) | seconds


def _at_scale(scorer: Any, scale: float | None, fit: bool) -> Any:
    """Return a clone whose logit scales that are at their default are those of a set; fitted ones stay."""
    is_fitted = not fit and getattr(scorer, "learns", True)
    if scale is None or is_fitted or not hasattr(scorer, "get_params"):
        return scorer
    changes = {}
    for name, value in scorer.get_params().items():
        owner, _, last = name.rpartition("__")
        if last == "logit_scale" or (not owner and name == "logit_scale"):
            holder = scorer.get_params()[owner] if owner else scorer
            if value == signature(type(holder)).parameters["logit_scale"].default:
                changes[name] = scale
    return clone(scorer).set_params(**changes) if changes else scorer
