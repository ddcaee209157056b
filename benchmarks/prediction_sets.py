"""Coverage and size of prediction sets on real embeddings, and the watch on a risk, as Markdown tables.

    python benchmarks/prediction_sets.py --embeddings FOLDER [--sets dtd,imagenet] [--draws 500] [--only sets]

FOLDER holds .npz files as `benchmarks/_sets.py` reads them.

1. Sets. Scorers are fitted on train rows. Half of the test rows, drawn again and again, calibrate; on the
   others coverage and mean size are measured. A draw is "low" where its coverage is below the 5 % quantile
   that the exact theory gives for these numbers of rows, which 5 % of the draws may be.
2. One set: what a user with 200 labels gets, typed as a user would: MCM, which all labels calibrate, and an
   estimator that was not fitted, for its warnings about the zero-shot prediction and for its answers. The
   labels are drawn from the test rows, and all others are new images.
3. Folds: sets of the same 200 labels by a half that fits and a half that calibrates, and by five folds.
4. Monitor. Streams of audits of a promised risk of 5 %: false alarms over 3,000 audits where the promise
   holds, and audits until the alarm where the risk has doubled.
"""

import math
from typing import Any

import _sets
import numpy as np
from _sets import EmbeddingSet, open_sets
from scipy.stats import betabinom

from vilu_sdk import MCMScorer, SelectivePredictor, SetPredictor, TemperatureScaledMCMScorer, ViLUEstimator
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.selective import RiskMonitor
from vilu_sdk.selective.conformity import METHODS, conformity, rank_needed, threshold, uniform_of

SETS = ("dtd", "stanford_cars", "imagenet")
COVERAGES = (0.9, 0.95)
PENALTY, FREE = 0.01, 2
LABELS = 200
STREAMS, AUDITS, PROMISED = 2000, 3000, 0.05


def print_sets(sets: dict[str, EmbeddingSet], draws: int) -> None:
    print(f"\nCoverage / mean size / low draws of {draws}, %, candidates, %\n")
    head = [
        f"{scorer}, {100 * coverage:g} %"
        for coverage in COVERAGES
        for scorer in ("MCM", "temperature", "ours")
    ]
    print(f"| set | method | {' | '.join(head)} |\n|---|---|{'---:|' * len(head)}")
    for name, data in sets.items():
        z_img, z_txt, labels = data.test
        z, scale = Rows(z_img, "z_img").read(), data.logit_scale
        posteriors = [
            scorer.fit(*data.train).predict_log_proba(z_img, z_txt).astype(np.float64)
            for scorer in (
                MCMScorer(logit_scale=scale),
                TemperatureScaledMCMScorer(logit_scale=scale),
                ViLUEstimator(logit_scale=scale, random_state=0),
            )
        ]
        for method in METHODS:
            scored = [conformity(method, p, uniform_of(z), penalty=PENALTY, free=FREE)[0] for p in posteriors]
            cells = [row(scores, labels, coverage, draws) for coverage in COVERAGES for scores in scored]
            print(f"| {name} | {method.upper()} | {' | '.join(cells)} |", flush=True)


def row(scores: np.ndarray, labels: np.ndarray, coverage: float, draws: int) -> str:
    n = len(labels) // 2
    own, every = scores[np.arange(len(labels)), labels], np.sort(scores.ravel())
    rng, found, sizes = np.random.default_rng(0), [], []
    for _ in range(draws):
        rows = rng.permutation(len(labels))
        limit = threshold(own[rows[:n]], coverage)
        found.append((own[rows[n:]] <= limit).mean())
        sizes.append(np.searchsorted(every, limit, side="right") / len(labels))  # of all test rows
    k, rest = rank_needed(n, coverage), len(labels) - n
    low = (np.array(found) * rest + 0.5).astype(int) < betabinom.ppf(0.05, rest, k, n + 1 - k)
    return f"{100 * np.mean(found):.1f} / {np.mean(sizes):.1f} / {100 * low.mean():.1f}"


def print_one_set(sets: dict[str, EmbeddingSet], draws: int) -> None:
    print(f"\nOf {LABELS} labels, {draws} draws, %, and candidates of what is left, sets at 90 %\n")
    what = "accepted | of them wrong | nothing certified | broken | rest: size / coverage"
    print(f"| set | target | by | {what} |")
    print("|---|---:|---|---:|---:|---:|---:|---:|")
    for name, data in sets.items():
        images, z_txt, classes = data.test
        ways: dict[str, Any] = {
            "MCM": MCMScorer(logit_scale=data.logit_scale),
            "ViLU": ViLUEstimator(logit_scale=data.logit_scale, random_state=0),
            "answers": ViLUEstimator(predicts="posterior", logit_scale=data.logit_scale, random_state=0),
        }
        for target in (0.05, 0.1):
            for way, scorer in ways.items():
                found = []
                for draw in range(draws):
                    rows = np.random.default_rng(draw).permutation(len(classes))
                    known, rows = rows[:LABELS], rows[LABELS:]
                    new, truth = images[rows], classes[rows]
                    both = SetPredictor(SelectivePredictor(scorer, target))
                    both.fit(images[known], z_txt, classes[known])
                    taken = both.threshold_in_use.accept(new, z_txt)
                    members = both.predict_sets(new, z_txt)
                    inside = members[np.arange(len(truth)), truth]
                    found.append(
                        (
                            taken.mean(),
                            1 - inside[taken].mean() if taken.any() else math.nan,
                            members[~taken].sum(axis=1).mean(),
                            inside[~taken].mean(),
                        )
                    )
                share, wrong, size, kept = np.array(found).T
                risk = f"{100 * np.nanmean(wrong):.1f}" if share.any() else "–"
                cells = (100 * share.mean(), 100 * (share == 0).mean(), 100 * (wrong > target).mean())
                print(
                    f"| {name} | {100 * target:g} | {way} | {cells[0]:.1f} | {risk} | {cells[1]:.0f} | "
                    f"{cells[2]:.0f} | {size.mean():.1f} / {100 * kept.mean():.1f} |",
                    flush=True,
                )


def print_folds(sets: dict[str, EmbeddingSet], draws: int) -> None:
    print(f"\nSets at 90 % of {LABELS} labels, {draws} draws: coverage, % / mean size / lowest coverage, %\n")
    print("| set | method | a half fits | five folds | proved of folds |\n|---|---|---:|---:|---:|")
    for name, data in sets.items():
        images, z_txt, classes = data.test
        scorer = ViLUEstimator(logit_scale=data.logit_scale, random_state=0)
        for method in ("lac", "aps"):
            cells = []
            for cv in (None, 5):
                found = []
                for draw in range(draws):
                    rows = np.random.default_rng(draw).permutation(len(classes))
                    known, rows = rows[:LABELS], rows[LABELS:]
                    both = SetPredictor(scorer, 0.9, method, cv=cv).fit(images[known], z_txt, classes[known])
                    members = both.predict_sets(images[rows], z_txt)
                    found.append(
                        (members[np.arange(len(rows)), classes[rows]].mean(), members.sum(axis=1).mean())
                    )
                kept, size = np.array(found).T
                cells.append(f"{100 * kept.mean():.1f} / {size.mean():.1f} / {100 * kept.min():.1f}")
            proved = f"{100 * both.report_.coverage_bound:.1f}"
            print(f"| {name} | {method.upper()} | {' | '.join(cells)} | {proved} |", flush=True)


def print_monitor(streams: int) -> None:
    print(f"\n{streams} streams of audits, a promised risk of {100 * PROMISED:g} %, alpha = 5 %\n")
    print("| the risk | false alarms, % | found within 3,000, % | median audits | 90 % quantile |")
    print("|---|---:|---:|---:|---:|")
    worlds = {
        "5 % always": (0.05, 0.05, AUDITS),
        "3 % always": (0.03, 0.03, AUDITS),
        "1 %, after 1,000 audits 5 %": (0.01, 0.05, AUDITS),
        "10 % from the start": (0.1, 0.1, 0),
        "4 %, after 1,000 audits 10 %": (0.04, 0.1, 1000),
        "4 %, after 5,000 audits 10 %": (0.04, 0.1, 5000),
        "4 %, after 1,000 audits 25 %": (0.04, 0.25, 1000),
    }
    for name, (before, after, change) in worlds.items():
        rng, steps = np.random.default_rng(0), 10
        false, delays = 0, []
        for _ in range(streams):
            monitor = RiskMonitor(PROMISED)
            if change == AUDITS:  # the promise holds
                rates = np.where(np.arange(AUDITS) < 1000, before, after)
                false += monitor.update(rng.random(AUDITS) > rates).broken
            elif change and monitor.update(rng.random(change) > before).broken:
                false += 1
            else:
                for seen in range(steps, AUDITS + 1, steps):
                    if monitor.update(rng.random(steps) > after).broken:
                        delays.append(seen)
                        break
        cells = ["–"] * 3
        if delays:
            cells = [
                f"{100 * len(delays) / (streams - false):.1f}",
                f"{np.median(delays):.0f}",
                f"{np.quantile(delays, 0.9):.0f}",
            ]
        print(f"| {name} | {100 * false / streams:.1f} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--only", choices=("sets", "one-set", "folds", "monitor"))
    options = parser.parse_args()
    if options.only in (None, "sets"):
        print_sets(open_sets(options.embeddings, options.sets), options.draws)
    if options.only in (None, "one-set"):
        print_one_set(open_sets(options.embeddings, options.sets), min(options.draws, 20))
    if options.only in (None, "folds"):
        print_folds(open_sets(options.embeddings, options.sets), min(options.draws, 20))
    if options.only in (None, "monitor"):
        print_monitor(options.streams)


if __name__ == "__main__":
    main()
