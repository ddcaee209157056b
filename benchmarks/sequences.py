"""Which sequence of tests accepts most, on left-out train rows, as a Markdown table.

    python benchmarks/sequences.py --embeddings FOLDER [--sets dtd,imagenet] [--draws 100] [--rows 1000]

FOLDER holds .npz files as `benchmarks/_sets.py` reads them. Scorers are fitted on half of the train rows,
and the other half is the population: calibration sets are drawn from it with replacement. Printed is the
share of the population that is accepted, in percent, averaged over scorers and two splits. Test rows are
not looked at.

"Taken" tests every row from the first, a tenth or more, with which the errors allowed grow by one; "first
version" every row from a tenth, or from where an error is allowed; "from one error" the same as taken, but
from where one is allowed, if that is a quarter of the rows at most. "Jumps" tests only the numbers of rows
with which the errors allowed grow; or so up to a quarter, and then every row. "Two starts" tests first with
60 % of the level, and where that fails with the errors allowed at a later number of rows, so that both
together reject with at most the level, by the walk of the errors.
"""

from collections.abc import Callable
from typing import Any

import _sets
import numpy as np
from _sets import open_sets
from guarantee import DELTA, SETS, TARGETS, every_row, scorers_of
from numpy.typing import NDArray
from scipy.special import bdtr
from scipy.stats import binom

from vilu_sdk.compute.progress import track
from vilu_sdk.metrics.ranking import Ranking, rank
from vilu_sdk.selective.bounds import (
    errors_allowed,
    fixed_sequence,
    rows_needed,
    sequence_start,
)

SPLITS = 2


def along(rows: NDArray[Any]) -> Callable[[Ranking, float], int]:
    """Test at these numbers of rows, one after the other."""

    def accept(ranking: Ranking, target: float) -> int:
        kept = np.cumprod(bdtr(ranking.cumulative_errors[rows], rows, target) <= DELTA).sum()
        passed = rows[:kept]
        return int(passed[np.isin(passed, ranking.rows)].max(initial=0))

    return accept


def jumps(n: int, target: float) -> NDArray[Any]:
    """Numbers of rows with which the errors allowed grow by one, from the start."""
    found, m = [], sequence_start(n, target, DELTA)
    while m <= n:
        found.append(m)
        m = rows_needed(errors_allowed(m, target, DELTA) + 1, target, DELTA)
    return np.array(found, dtype=np.int64)


def two_starts(n: int, target: float) -> Callable[[Ranking, float], int]:
    first = sequence_start(n, target, DELTA)
    errors = errors_allowed(first, target, DELTA)
    a, b = (rows_needed(errors + more, target, DELTA * part) for more, part in ((0, 0.6), (1, 0.64)))
    if b > n:
        return along(np.arange(first, n + 1))
    fails = np.arange(errors + 1, a + 1)
    chance, left = binom.pmf(fails, a, target), DELTA - binom.cdf(errors, a, target)
    stricter = []
    for m in range(b, n + 1):
        allowed = errors_allowed(m, target, DELTA)
        while allowed >= 0 and chance @ binom.cdf(allowed - fails, m - a, target) > left:
            allowed -= 1
        stricter.append(allowed)
    later = np.arange(b, n + 1)
    dense = along(np.arange(a, n + 1))

    def accept(ranking: Ranking, target: float) -> int:
        if ranking.cumulative_errors[a] <= errors:
            return dense(ranking, target)
        kept = np.cumprod(ranking.cumulative_errors[later] <= np.array(stricter)).sum()
        passed = later[:kept]
        return int(passed[np.isin(passed, ranking.rows)].max(initial=0))

    return accept


def sequences(n: int, target: float) -> dict[str, Callable[[Ranking, float], int]]:
    start, one = sequence_start(n, target, DELTA), rows_needed(1, target, DELTA)
    grows = jumps(n, target)
    early = grows[grows <= n // 4]
    rest = np.arange(early[-1] + 1 if len(early) else start, n + 1)
    late = one if errors_allowed(start, target, DELTA) == 0 and one <= n / 4 else start
    return {
        "first version": every_row,
        "taken": lambda ranking, target: fixed_sequence(ranking, target, DELTA),
        "from one error": along(np.arange(late, n + 1)),
        "jumps": along(grows),
        "jumps, then every row": along(np.append(early, rest)),
        "two starts": two_starts(n, target),
    }


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1000)
    options = parser.parse_args()
    tried = {target: sequences(options.rows, target) for target in TARGETS}
    print(f"| set | target | {' | '.join(tried[TARGETS[0]])} |\n|---|---:|{'---:|' * len(tried[TARGETS[0]])}")
    for name, data in open_sets(options.embeddings, options.sets).items():
        z_img, z_txt, labels = data.train
        found: dict[float, list[list[float]]] = {target: [] for target in TARGETS}
        for seed in track(range(SPLITS), name):
            half = np.array_split(np.random.default_rng(seed).permutation(len(labels)), 2)
            for scorer in scorers_of(data).values():
                scorer.fit(z_img[half[0]], z_txt, labels[half[0]])
                decision = scorer.decision_function(z_img[half[1]], z_txt)
                wrong = (scorer.predict(z_img[half[1]], z_txt) != labels[half[1]])[np.argsort(decision)]
                rng = np.random.default_rng(0)
                for _ in range(options.draws):
                    rows = rng.integers(len(wrong), size=options.rows)
                    # As of a continuous score: a row that is drawn twice is two images.
                    ranking = rank(rows + rng.random(options.rows), wrong[rows])
                    for target, ways in tried.items():
                        limits = [ranking.threshold(accept(ranking, target)) for accept in ways.values()]
                        found[target].append((np.clip(limits, 0, len(wrong)) / len(wrong)).tolist())
        for target, shares in found.items():
            cells = " | ".join(f"{100 * share:.1f}" for share in np.mean(shares, axis=0))
            print(f"| {name} | {100 * target:g} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
