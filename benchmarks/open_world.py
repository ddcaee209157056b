"""How well images of none of the candidates are told apart, as Markdown tables.

    python benchmarks/open_world.py --embeddings FOLDER [--sets dtd,imagenet] [--labels 100,all] [--seeds 3]

FOLDER holds .npz files as `benchmarks/_sets.py` reads them, all of one model. A random half of the classes
are the candidates, and an estimator is fitted on their train rows. Unknown images are test rows of the other
half of the classes (near) or of all other sets (far). AUC in percent, seeds averaged:

- unknown against known, by the uncertainty and, last, by the novelty alone;
- failures, an unknown image always being one;
- failures among known images, the closed world.

With --promises: how often a threshold breaks its promise on streams of which 0, 5 and 20 % are unknown, half
near and half far, over 500 draws of 600 calibration rows; calibrated on such a stream, or without its unknown
images. The population is the test rows at that share, so that the risk of a threshold is exact.

Rows of the first table: MCM; the estimator that takes no account of unknown images (`unknown_rate=0`); the
default; and one whose fit was given images of the label -1 (`--shown` train rows of the other half, or of the
other sets).
"""

from typing import Any, NamedTuple

import _sets
import numpy as np
from _sets import EmbeddingSet, open_sets
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.compute.progress import track
from vilu_sdk.metrics.ranking import rank
from vilu_sdk.selective.bounds import fixed_sequence

SETS = ("dtd", "stanford_cars", "imagenet", "sun397", "caltech101", "ucf101_objects")
HEAD = (
    *("set", "labels", "scorer", "near: unknown", "failures", "novelty", "far: unknown", "failures"),
    *("novelty", "closed world"),
)
# Rows of each other set that are far.
FAR = 400
# Shares of unknown images, the promise, its draws and their rows.
SHARES, TARGET, DRAWS, CALIBRATION = (0.0, 0.05, 0.2), 0.1, 500, 600


class World(NamedTuple):
    """Labelled rows to fit on, images of no candidate to fit on, and rows to score."""

    fit: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    unknown: dict[str, NDArray[Any]]
    known: tuple[NDArray[Any], NDArray[Any]]
    scored: dict[str, NDArray[Any]]


def draw_world(name: str, sets: dict[str, EmbeddingSet], n: int | None, shown: int, seed: int) -> World:
    rng = np.random.default_rng(seed)
    (train, text, train_labels), (test, _, test_labels) = sets[name].train, sets[name].test
    candidates = np.sort(rng.permutation(len(text))[: len(text) // 2])
    place = np.full(len(text), -1)
    place[candidates] = np.arange(len(candidates))
    train_places, test_places = place[train_labels], place[test_labels]
    rows = rng.permutation(np.flatnonzero(train_places >= 0))[:n]
    others = [other for key, other in sets.items() if key != name]

    def take(part: NDArray[Any], most: int) -> NDArray[Any]:
        return part[rng.permutation(len(part))[:most]]

    unknown = {
        "near": take(train[train_places < 0], shown),
        "far": np.concatenate([take(other.train[0], -(-shown // len(others))) for other in others]),
    }
    scored = {
        "near": test[test_places < 0],
        "far": np.concatenate([take(other.test[0], FAR) for other in others]),
    }
    known = test[test_places >= 0], test_places[test_places >= 0]
    return World((train[rows], text[candidates], train_places[rows]), unknown, known, scored)


def auc(positive: NDArray[Any], negative: NDArray[Any]) -> float:
    if not (len(positive) and len(negative)):
        return float("nan")
    truth = np.concatenate([np.ones(len(positive)), np.zeros(len(negative))])
    return float(roc_auc_score(truth, np.concatenate([positive, negative])))


def judge(scorers: dict[str, Any], world: World) -> list[float]:
    """All columns of a row; a scorer for each kind of unknown images."""
    text = world.fit[1]
    found = []
    for kind, scorer in scorers.items():
        known = scorer.decision_function(world.known[0], text)
        unknown = scorer.decision_function(world.scored[kind], text)
        wrong = scorer.predict(world.known[0], text) != world.known[1]
        found += [auc(unknown, known), auc(np.concatenate([known[wrong], unknown]), known[~wrong])]
        found.append(auc(scorer.novelty(world.scored[kind], text), scorer.novelty(world.known[0], text)))
    return [*found, auc(known[wrong], known[~wrong])]


def measure(world: World, logit_scale: float, seed: int, shown: int) -> dict[str, list[float]]:
    scale = {"logit_scale": logit_scale}
    z_img, z_txt, labels = world.fit

    def fitted(kind: str | None, rate: float | None = None) -> ViLUEstimator:
        estimator = ViLUEstimator(random_state=seed, unknown_rate=rate, **scale)
        if kind is None:
            return estimator.fit(z_img, z_txt, labels)
        more = world.unknown[kind]
        both = np.concatenate([labels, np.full(len(more), -1)])
        return estimator.fit(np.concatenate([z_img, more]), z_txt, both)

    mcm, without, default = MCMScorer(**scale), fitted(None, 0.0), fitted(None)
    rows = {
        "MCM": judge({"near": mcm, "far": mcm}, world),
        "closed": judge({"near": without, "far": without}, world),
        "default": judge({"near": default, "far": default}, world),
    }
    if shown:
        rows[f"{shown} shown"] = judge({kind: fitted(kind) for kind in ("near", "far")}, world)
    return rows


def broken_promises(world: World, logit_scale: float, seed: int) -> list[tuple[float, ...]]:
    """For each share of unknown images: accepted and broken, with and without them in the calibration."""
    text = world.fit[1]
    scorer = ViLUEstimator(random_state=seed, logit_scale=logit_scale).fit(*world.fit)
    known = scorer.decision_function(world.known[0], text)
    wrong = scorer.predict(world.known[0], text) != world.known[1]
    unknown = {kind: scorer.decision_function(images, text) for kind, images in world.scored.items()}
    values = np.concatenate([known, *unknown.values()])
    failure = np.concatenate([wrong, np.ones(len(values) - len(known), dtype=bool)])
    order = np.argsort(values)
    rows = []
    for share in SHARES:
        chance = np.concatenate(
            [np.full(len(known), (1 - share) / len(known))]
            + [np.full(len(part), share / len(unknown) / len(part)) for part in unknown.values()]
        )
        mass = np.append(0, np.cumsum(chance[order]))
        errors = np.append(0, np.cumsum((chance * failure)[order]))
        found = []
        for drawn_from in (chance, chance * (np.arange(len(values)) < len(known))):
            rng = np.random.default_rng(seed)
            accepted, broken = [], 0
            for _ in range(DRAWS):
                drawn = rng.choice(len(values), size=CALIBRATION, p=drawn_from / drawn_from.sum())
                ranking = rank(values[drawn], failure[drawn])
                threshold = ranking.threshold(fixed_sequence(ranking, TARGET, 0.05))
                at = int(np.searchsorted(values[order], threshold, side="right"))
                accepted.append(mass[at])
                broken += errors[at] > TARGET * mass[at]
            found += [float(np.mean(accepted)), broken / DRAWS]
        rows.append((share, *found))
    return rows


def print_promises(sets: dict[str, EmbeddingSet], names: list[str]) -> None:
    print(f"Error rate of at most {TARGET:.0%}, 95 % confidence, in %\n")
    print("| set | unknown | accepted | broken | accepted, none in the calibration | broken |")
    print("|---|---|---|---|---|---|")
    for name in names:
        world = draw_world(name, sets, None, 0, 0)
        for row in broken_promises(world, sets[name].logit_scale, 0):
            cells = " | ".join(f"{100 * value:.1f}" for value in row)
            print(f"| {name} | {cells} |", flush=True)


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--labels", default="all", help="numbers of labels, comma separated")
    parser.add_argument("--shown", type=int, default=50, help="images of the label -1 (default: 50)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--of", help="sets to print, by default all")
    parser.add_argument("--promises", action="store_true", help="print the second table instead")
    arguments = parser.parse_args()
    sets = open_sets(arguments.embeddings, arguments.sets)
    if arguments.promises:
        print_promises(sets, (arguments.of or arguments.sets).split(","))
        return
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for name in (arguments.of or arguments.sets).split(","):
        for size in arguments.labels.split(","):
            n = None if size == "all" else int(size)
            runs = []
            for seed in track(range(arguments.seeds), f"{name}, {size}"):
                world = draw_world(name, sets, n, arguments.shown, seed)
                runs.append(measure(world, sets[name].logit_scale, seed, arguments.shown))
            for row in runs[0]:
                mean = np.mean([run[row] for run in runs], axis=0)
                cells = " | ".join(f"{100 * value:.1f}" for value in mean)
                print(f"| {name} | {size} | {row} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
