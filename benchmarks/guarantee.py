"""Whether promises are kept on real embeddings, and what a better ranking buys, as Markdown tables.

    python benchmarks/guarantee.py --embeddings FOLDER [--sets dtd,imagenet] [--draws 500] [--rows 1000]

FOLDER holds .npz files as `benchmarks/_sets.py` reads them.

1. Guarantee. Scorers are fitted on train rows. The test rows are the population: calibration sets are drawn
   from them with replacement, and the risk of a threshold is that on all test rows, which is exact. A promise
   is broken where this risk is above the target; a draw that abstains on everything breaks none. "Limit" is
   what no method can exceed that keeps its promise in every world (`benchmarks/_limits.py`). "Every row" is
   the fixed sequence of the first version, and "closed" how much of its distance to the limit is gone.
2. Calibration: expected calibration error and Brier score on the test rows, before and after.
3. Shift: how often a monitor fitted on half of the test rows raises an alarm for 200 of the others, as they
   are (400 draws), with noise, of half of the classes, and of another data set (50 draws each).
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import _sets
import numpy as np
from _limits import most_accepted
from _sets import EmbeddingSet, open_sets
from scipy.special import bdtr

from vilu_sdk import EntropyScorer, MCMScorer, ViLUEstimator
from vilu_sdk.evaluation import brier_score, expected_calibration_error, risk_coverage_curve
from vilu_sdk.metrics.ranking import Ranking, rank
from vilu_sdk.scorers.calibrated import CalibratedScorer
from vilu_sdk.selective import ShiftMonitor
from vilu_sdk.selective.bounds import START_SHARE, fixed_sequence, rows_needed, sgr

SETS = ("dtd", "stanford_cars", "imagenet", "cifar10_tower")
TARGETS = (0.02, 0.05, 0.1)
DELTA = 0.05
CHECKED, CHECKS, UNMOVED_CHECKS = 200, 50, 400


def every_row(ranking: Ranking, target: float) -> int:
    """The fixed sequence of the first version: every row from a tenth, or from where an error is allowed."""
    n, tolerant = len(ranking), rows_needed(1, target, DELTA)
    fewest = tolerant if tolerant <= n / 2 else rows_needed(0, target, DELTA)
    m = np.arange(max(fewest, math.ceil(START_SHARE * n)), n + 1)
    kept = np.cumprod(bdtr(ranking.cumulative_errors[m], m, target) <= DELTA).sum()
    return int(np.append(0, m[:kept])[np.isin(np.append(0, m[:kept]), np.append(0, ranking.rows))].max())


def methods(target: float) -> dict[str, Callable[[Ranking], int]]:
    return {
        "every row": lambda ranking: every_row(ranking, target),
        "fixed sequence": lambda ranking: fixed_sequence(ranking, target, DELTA),
        "SGR": lambda ranking: sgr(ranking, target, DELTA)[0],
    }


def scorers_of(data: EmbeddingSet) -> dict[str, Any]:
    return {
        "MCM": MCMScorer(logit_scale=data.logit_scale),
        "ViLU": ViLUEstimator(logit_scale=data.logit_scale, random_state=0),
        "answers": ViLUEstimator(predicts="posterior", logit_scale=data.logit_scale, random_state=0),
    }


def failures_of(scorer: Any, data: EmbeddingSet) -> Any:
    z_img, z_txt, labels = data.test
    return scorer.predict(z_img, z_txt) != labels


def guarantee(decision: Any, wrong: Any, target: float, rows: int, draws: int, name: str) -> list[Any]:
    """Share of broken promises, mean accepted share and share of draws that abstain on everything."""
    order = np.argsort(decision)
    ranked, errors = decision[order], np.append(0, np.cumsum(wrong[order]))
    rng = np.random.default_rng(0)
    broken, shares = 0, []
    for _ in range(draws):
        drawn = rng.integers(len(wrong), size=rows)
        ranking = rank(decision[drawn], wrong[drawn])
        threshold = ranking.threshold(methods(target)[name](ranking))
        accepted = int(np.searchsorted(ranked, threshold, side="right"))
        broken += errors[accepted] > target * accepted
        shares.append(accepted / len(wrong))
    return [broken / draws, np.mean(shares), np.mean(np.equal(shares, 0))]


def best_share(decision: Any, wrong: Any, target: float) -> float:
    """Largest share that any threshold may accept, were the population known."""
    curve = risk_coverage_curve(decision, wrong)
    return float(curve.coverage[curve.risk <= target].max(initial=0))


def print_guarantees(sets: dict[str, EmbeddingSet], rows: int, draws: int) -> None:
    print(f"\nPromises over {draws} draws of {rows} calibration rows, 95 % confidence\n")
    kept = "possible | limit | every row | accepted | closed | abstains | broken | SGR accepted | SGR broken"
    print(f"| set | target | scorer | {kept} |")
    print(f"|---|---:|---|{'---:|' * 9}")
    for name, data in sets.items():
        scored = {}
        for kind, scorer in scorers_of(data).items():
            decision = scorer.fit(*data.train).decision_function(*data.test[:2])
            scored[kind] = decision, failures_of(scorer, data)
        for target in TARGETS:
            for kind, (decision, wrong) in scored.items():
                broken, share, none = guarantee(decision, wrong, target, rows, draws, "fixed sequence")
                _, before, _ = guarantee(decision, wrong, target, rows, draws, "every row")
                other, less, _ = guarantee(decision, wrong, target, rows, draws, "SGR")
                limit = most_accepted(decision, wrong, target, rows, DELTA)
                low, here, high = (round(100 * x, 1) for x in (before, share, limit))
                closed = f"{round(100 * (here - low) / (high - low))}" if high - low > 1 else "–"
                best = best_share(decision, wrong, target)
                cells = (best, limit, before, share, closed, none, broken, less, other)
                row = " | ".join(x if isinstance(x, str) else f"{100 * x:.1f}" for x in cells)
                print(f"| {name} | {100 * target:g} | {kind} | {row} |", flush=True)


def print_calibration(sets: dict[str, EmbeddingSet]) -> None:
    print("\nECE / Brier score on test rows, %\n")
    print(f"| scorer | {' | '.join(sets)} |\n|---|{'---:|' * len(sets)}")
    kinds = {
        "MCM": lambda s: MCMScorer(logit_scale=s),
        "entropy": lambda s: EntropyScorer(logit_scale=s),
        "ViLU": lambda s: ViLUEstimator(logit_scale=s, random_state=0),
    }
    for kind, make in kinds.items():
        for method in (None, "platt", "beta", "isotonic"):
            cells = []
            for data in sets.values():
                scorer = make(data.logit_scale)
                if method is None and not scorer.is_probability:
                    cells.append("–")
                    continue
                if method is not None:
                    scorer = CalibratedScorer(scorer, method=method, random_state=0)
                u = scorer.fit(*data.train).predict_uncertainty(*data.test[:2])
                wrong = failures_of(scorer, data)
                ece, brier = expected_calibration_error(u, wrong), brier_score(u, wrong)
                cells.append(f"{100 * ece:.1f} / {100 * brier:.1f}")
            print(f"| {kind}{f', {method}' if method else ''} | {' | '.join(cells)} |", flush=True)


def print_shifts(sets: dict[str, EmbeddingSet]) -> None:
    print(f"\nAlarms for {CHECKED} images at alpha = 5 %: scores, embeddings, either, %\n")
    print("| set | as they are | noise | half of the classes | another set |\n|---|---:|---:|---:|---:|")
    names = list(sets)
    for name, data in sets.items():
        others = [other for other in names if other != name and sets[other].logit_scale == data.logit_scale]
        z_img, z_txt, labels = data.test
        z_img = z_img / np.linalg.norm(z_img, axis=1, keepdims=True)
        other = sets[others[0]].test[0] if others else None
        few = labels < len(z_txt) / 2
        noise = 0.3 / math.sqrt(z_img.shape[1])
        scorer = scorers_of(data)["ViLU"].fit(*data.train)
        alarms: dict[str, list[list[bool]]] = {}
        for seed in range(UNMOVED_CHECKS):
            rng = np.random.default_rng(seed)
            rows = rng.permutation(len(z_img))
            half, rest = rows[: len(rows) // 2], rows[len(rows) // 2 :]
            monitor = ShiftMonitor(scorer, n_permutations=199, random_state=seed)
            monitor.fit(z_img[half], z_txt)
            streams = {
                "as they are": z_img[rest[:CHECKED]],
                "noise": z_img[rest[:CHECKED]] + noise * rng.normal(size=(CHECKED, z_img.shape[1])),
                "classes": z_img[rest[few[rest]][:CHECKED]],
                "other": None if other is None else other[rng.permutation(len(other))[:CHECKED]],
            }
            for kind, stream in streams.items():
                if stream is not None and (kind == "as they are" or seed < CHECKS):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # of embeddings that look like another model's
                        found = monitor.check(stream)
                    alarms.setdefault(kind, []).append(
                        [found.scores_moved, found.embeddings_moved, found.moved]
                    )
        cells = [
            ", ".join(f"{100 * share:.0f}" for share in np.mean(alarms[kind], axis=0))
            if kind in alarms
            else "–"
            for kind in ("as they are", "noise", "classes", "other")
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--only", choices=("guarantee", "calibration", "shift"))
    options = parser.parse_args()
    sets = open_sets(options.embeddings, options.sets)
    if options.only in (None, "guarantee"):
        print_guarantees(sets, options.rows, options.draws)
    if options.only in (None, "calibration"):
        print_calibration(sets)
    if options.only in (None, "shift"):
        print_shifts(sets)


if __name__ == "__main__":
    main()
