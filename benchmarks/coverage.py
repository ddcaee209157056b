"""How often intervals hold the truth, how often tests reject it, how often promises break: by simulation.

    python benchmarks/coverage.py [--draws 400] [--only intervals,splits,bounds,units,monitor,labels]

Each share is followed by its Monte-Carlo standard error. Intervals are at 95 %, tests at 5 %. Every draw is a
new sample: also the number of failures is drawn.
"""

import argparse
import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

from vilu_sdk import MCMScorer, SetPredictor
from vilu_sdk.evaluation import compare
from vilu_sdk.metrics.failure import calibration_metrics, ranking_metrics
from vilu_sdk.metrics.ranking import rank
from vilu_sdk.metrics.significance import DIRECTIONS, of_rows, pairwise_tests
from vilu_sdk.selective import CoveragePredictor, SelectivePredictor, ShiftMonitor
from vilu_sdk.selective.bounds import coverage_bound, fixed_sequence, labels_needed, sgr

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE


class World(NamedTuple):
    """Rows, error rate, shift of the scores of failures, levels that scores are rounded to (0: none)."""

    n: int
    rate: float
    shift: float
    levels: int = 0

    def __str__(self) -> str:
        ties = f", {self.levels} levels" if self.levels else ""
        return f"{self.n} rows, {100 * self.rate:g} % errors, shift {self.shift:g}{ties}"

    def draw(self, rng: np.random.Generator, n: int | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return probabilities of failure by two scorers that are equally good (2, N), and failures (N,)."""
        failure = rng.random(n or self.n) < self.rate
        common, own = rng.normal(size=len(failure)), rng.normal(size=(2, len(failure)))
        u = self.shift * failure + 0.8 * common + 0.6 * own
        p = expit(self.shift * u - self.shift**2 / 2 + logit(self.rate))
        return np.round(p * self.levels) / self.levels if self.levels else p, failure


WORLDS = (
    World(200, 0.02, 1.5),
    World(200, 0.05, 1.5),
    World(200, 0.05, 2.5),
    World(200, 0.2, 1.5),
    World(200, 0.55, 1.5),
    World(500, 0.02, 2.5),
    World(500, 0.1, 2.0, levels=20),
    World(2000, 0.02, 1.5),
    World(2000, 0.1, 2.5),
    World(2000, 0.55, 1.0),
)


def share(hits: Any, scale: float = 100.0) -> str:
    """Print a share in percent and its standard error."""
    known = np.asarray([hit for hit in hits if hit is not None], dtype=float)
    if not len(known):
        return "–"
    mean = known.mean()
    return f"{scale * mean:.1f} ± {scale * math.sqrt(mean * (1 - mean) / len(known)):.1f}"


def values(p: NDArray[Any], failure: NDArray[Any]) -> dict[str, NDArray[Any]]:
    rows = [ranking_metrics(u, failure) | calibration_metrics(u, failure) for u in p]
    return {name: np.array([row[name] for row in rows]) for name in DIRECTIONS}


def held(low: float, value: float, high: float) -> bool | None:
    return None if math.isnan(low) else low <= value <= high


def print_intervals(draws: int) -> None:
    """Intervals of values, intervals of differences, and tests of scorers that are equal."""
    names = list(DIRECTIONS)
    print(f"\nIntervals and tests of `compare` on one split, {draws} draws\n")
    print(f"| rows | of 100 | {' | '.join(names)} |\n|---|---|{'---:|' * len(names)}")
    for world in WORLDS:
        rng = np.random.default_rng(0)
        truth = values(*world.draw(rng, 400_000))
        kinds = ("intervals hold", "differences hold", "equals told apart", "have an interval")
        found: dict[str, dict[str, list[Any]]] = {kind: {name: [] for name in names} for kind in kinds}
        for _ in range(draws):
            p, failure = world.draw(rng)
            given = of_rows(values(p, failure), p, failure, dict(enumerate(p)), CONFIDENCE, 400)
            row = pairwise_tests(given, 0, CONFIDENCE)[1]
            for name in names:
                inside = held(given[name].low[0], truth[name][0], given[name].high[0])
                ends = row[f"{name}_difference_low"], row[f"{name}_difference_high"]
                found["intervals hold"][name].append(inside)
                found["differences hold"][name].append(held(ends[0], 0.0, ends[1]))
                p_value = row[f"{name}_p"]
                found["equals told apart"][name].append(None if math.isnan(p_value) else p_value < ALPHA)
                found["have an interval"][name].append(inside is not None)
        for kind, by_name in found.items():
            print(f"| {world} | {kind} | {' | '.join(share(by_name[name]) for name in names)} |", flush=True)


class Learned(BaseEstimator):
    """Logistic regression of failure on some columns of the images: equally good, whichever they are."""

    is_probability = True

    def __init__(self, first: int = 0, width: int = 4) -> None:
        self.first = first
        self.width = width

    def _columns(self, z_img: Any) -> Any:
        return np.asarray(z_img)[:, self.first : self.first + self.width]

    def fit(self, z_img: Any, z_txt: Any, labels: Any = None) -> "Learned":
        """Learn where the prediction is wrong."""
        wrong = self.predict(z_img, z_txt) != labels
        self.model_ = LogisticRegression(C=10.0).fit(self._columns(z_img), wrong)
        return self

    def predict(self, z_img: Any, z_txt_set: Any) -> Any:
        """Class by the last column."""
        return (np.asarray(z_img)[:, -1] < 0).astype(int)

    def predict_uncertainty(self, z_img: Any, z_txt_set: Any) -> Any:
        """Probability of failure."""
        return self.model_.predict_proba(self._columns(z_img))[:, 1]

    decision_function = predict_uncertainty


def print_splits(draws: int) -> None:
    """Tests over several splits, of two scorers that learn from features of the same worth."""
    names = ("auc", "aurc", "brier")
    print(f"\nEqual scorers told apart over random splits, {draws} draws, % of 100\n")
    print(f"| rows | splits | test share | {' | '.join(names)} |\n|---|---:|---:|{'---:|' * len(names)}")
    for n, n_splits, test_size in ((300, 5, 0.5), (300, 10, 0.5), (300, 10, 0.2), (1000, 10, 0.5)):
        rng = np.random.default_rng(0)
        found: dict[str, list[bool]] = {name: [] for name in names}
        for seed in range(draws):
            wrong = rng.random(n) < 0.3
            z_img = rng.normal(size=(n, 9))
            z_img[:, :8] += 0.4 * wrong[:, None]
            labels = ((z_img[:, -1] < 0) ^ wrong).astype(int)
            scorers: dict[str, Any] = {"one": Learned(0), "other": Learned(4)}
            settings: dict[str, Any] = {"n_splits": n_splits, "test_size": test_size, "reference": "one"}
            table = compare(scorers, z_img, np.eye(2, 9), labels, random_state=seed, **settings)
            for name in names:
                found[name].append(table.to_dicts()[1][f"{name}_p"] < ALPHA)
        cells = " | ".join(share(found[name]) for name in names)
        print(f"| {n} | {n_splits} | {test_size} | {cells} |", flush=True)


def print_bounds(draws: int) -> None:
    """Promised coverage where values tie."""
    print(f"\nBroken promises of coverage with ties, {10 * draws} draws, at most {100 * ALPHA:.0f} of 100\n")
    print("| rows | values | `CoveragePredictor` | bound of `SelectivePredictor` |\n|---|---|---:|---:|")
    for n in (50, 200, 600):
        for below, block in ((0.79, 0.1), (0.795, 0.2), (0.0, 0.0)):
            rng = np.random.default_rng(0)
            missed, low = [], []
            predictor = CoveragePredictor(MCMScorer(), 0.8, CONFIDENCE)
            for _ in range(10 * draws):
                u = rng.random(n)
                u[(u > below) & (u < below + block)] = below + block / 2
                ranking = rank(u, rng.random(n) < u)
                threshold = predictor._report(ranking, ALPHA).threshold
                missed.append(mass(threshold, below, block) < 0.8 - 1e-12)
                m = fixed_sequence(ranking, 0.45, ALPHA)
                accepted = mass(ranking.threshold(m), below, block)
                low.append(accepted < coverage_bound(m, n, ALPHA) - 1e-12)
            kind = f"{100 * block:g} % equal, {100 * below:g} % below" if block else "all different"
            print(f"| {n} | {kind} | {share(missed)} | {share(low)} |", flush=True)


def mass(threshold: float, below: float, block: float) -> float:
    """Share of uniform values up to a threshold, a block of which are equal."""
    t = min(max(threshold, 0.0), 1.0)
    if below < t < below + block:
        return below + block * (t >= below + block / 2)
    return t


def print_units(draws: int) -> None:
    """Promises about new images where the calibration rows are views, with and without their units."""
    print(f"\nPromises from views of images, {draws} draws, each with 4,000 new images\n")
    print("| images | views | units | risk of 10 % broken | coverage of 70 % broken | sets of 90 % hold |")
    print("|---:|---:|---|---:|---:|---:|")
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(10, 32))
    scorer = MCMScorer(logit_scale=10.0)

    def draw(n: int, views: int = 1) -> tuple[NDArray[Any], NDArray[Any]]:
        labels = rng.integers(len(texts), size=n)
        images = texts[labels] + 2.3 * rng.normal(size=(n, 32))
        moved = 0.1 * rng.normal(size=(n * views, 32))
        return np.repeat(images, views, axis=0) + moved, np.repeat(labels, views)

    for n, views in ((200, 1), (200, 4), (200, 16), (12, 6)):
        found: dict[bool, list[Any]] = {True: [], False: []}
        for _ in range(draws):
            (z, labels), (new, of_new) = draw(n, views), draw(4000)
            for told, its in found.items():
                units = np.repeat(np.arange(n), views) if told else np.arange(n * views)
                given: Any = (z, texts, labels)
                risk = SelectivePredictor(scorer, 0.1).fit(*given, units=units).predict(new, texts)
                coverage = CoveragePredictor(scorer, 0.7).fit(*given, units=units).accept(new, texts)
                sets = SetPredictor(scorer, 0.9).fit(*given, units=units).predict_sets(new, texts)
                taken = risk >= 0
                broken = taken.any() and (risk != of_new)[taken].mean() > 0.1
                its.append((broken, coverage.mean() < 0.7, sets[range(4000), of_new].mean()))
        for told, its in found.items():
            risk, coverage, held = np.array(its).T
            cells = f"{share(risk)} | {share(coverage)} | {100 * held.mean():.1f}"
            print(f"| {n} | {views} | {'given' if told else 'not given'} | {cells} |", flush=True)


def print_monitor(draws: int) -> None:
    """False alarms where one frame is a part of the stream, scored at once or one by one."""
    print(f"\nFalse alarms of `ShiftMonitor` at 5 % for each test, {draws} draws, 200 + 200 images\n")
    print("| share of one frame | scored | scores | embeddings |\n|---|---|---:|---:|")
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(20, 64)).astype(np.float32)
    scorer = MCMScorer(logit_scale=20.0)
    for part in (0.0, 0.1, 0.3, 0.5, 1.0):
        for one_by_one in (False, True):
            scores, embeddings = [], []
            for seed in range(draws):
                frame = 2 * texts.mean(axis=0) + rng.normal(size=64)
                images = texts[rng.integers(20, size=400)] + 3 * rng.normal(size=(400, 64))
                images[rng.random(400) < part] = frame
                images = images.astype(np.float32)
                monitor = ShiftMonitor(scorer, 2 * ALPHA, n_permutations=39, random_state=seed)
                monitor.fit(images[:200], texts)
                if one_by_one:
                    alone = [scorer.decision_function(image[None], texts) for image in images[:200]]
                    monitor.decision_ = np.concatenate(alone)
                report = monitor.check(images[200:])
                scores.append(report.scores_moved)
                embeddings.append(report.embeddings_moved)
            how = "one by one" if one_by_one else "at once"
            print(f"| {100 * part:g} % | {how} | {share(scores)} | {share(embeddings)} |", flush=True)


def print_labels(draws: int) -> None:
    """How often as many labels as were advised are enough."""
    worlds = {
        "certain are right, 25 % of the rows": lambda u: np.where(u < 0.25, 0.0, 0.4),
        "rises": lambda u: 0.2 * u**2,
        "just too risky": lambda u: np.full_like(u, 0.06),
        "certain are right, 7 % of the rows": lambda u: np.where(u < 0.07, 0.0, 0.5),
    }
    methods = {"fixed_sequence": fixed_sequence, "sgr": lambda *given: sgr(*given)[0]}
    print(f"\nThe labels that are advised for a risk of 5 %, {draws} draws\n")
    print("| error rate | rows | method | certified already | advised | median | certified then |")
    print("|---|---:|---|---:|---:|---:|---:|")
    for kind, rate in worlds.items():
        for n in (60, 150, 400):
            for method, certify in methods.items():
                rng = np.random.default_rng(0)

                def draw(size: int, rng: Any = rng, rate: Any = rate) -> Any:
                    u = rng.random(size)
                    return rank(u, rng.random(size) < rate(u))

                done, advised, then, numbers = [], [], [], []
                for _ in range(draws):
                    seen = draw(n)
                    done.append(certify(seen, 0.05, ALPHA) > 0)
                    if done[-1]:
                        continue
                    number = labels_needed(seen, 0.05, ALPHA, method)
                    advised.append(number is not None)
                    if number is not None:
                        numbers.append(number)
                        then.append(certify(draw(number), 0.05, ALPHA) > 0)
                middle = f"{np.median(numbers):.0f}" if numbers else "–"
                cells = f"{share(done)} | {share(advised)} | {middle} | {share(then)}"
                print(f"| {kind} | {n} | {method} | {cells} |", flush=True)


PARTS = {
    "intervals": print_intervals,
    "splits": print_splits,
    "bounds": print_bounds,
    "units": print_units,
    "monitor": print_monitor,
    "labels": print_labels,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of rows that are all right, and of embeddings that look alike
    for part in options.only.split(","):
        PARTS[part](options.draws)
