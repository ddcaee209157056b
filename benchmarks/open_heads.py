"""How well images of none of the candidates are told apart where no label taught the candidates, as tables.

    python benchmarks/open_heads.py --embeddings FOLDER [--of dtd,imagenet] [--seeds 2] [--only mixtures]

FOLDER holds .npz files as `_sets.py` reads them, the class sets all of one model. Columns are those
of `open_world.py` beside it: unknown images are of other classes of the set (near) or of other sets (far).

1. A random third of the classes are the candidates, images of another third are unknown and near. Rows: MCM;
   an estimator fitted on the last third; a head of all other sets, formed as the bundled one; an estimator
   adapted without labels to train images of the candidates, with a quarter as many of the unknown classes
   (also in batches).
2. Captions: half of the pairs are fitted on, a quarter are the candidates, images of the last are unknown.
3. A head of all other sets, which knows ImageNet's classes, on mixtures: candidates are a random half of
   ImageNet's classes (known), a half of the set's (new), or both; images of the other halves are near.
"""

import warnings
from typing import Any

import _sets
import numpy as np
from _sets import EmbeddingSet, open_sets
from numpy.typing import NDArray
from open_world import FAR, SETS, World, judge
from train_head import Problem, train

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.exceptions import NothingLearnedWarning

PAIRS = ("flickr8k_pairs", "fashion_pairs")
KNOWN = "imagenet"  # the classes that a head knows
HEAD = (
    *("set", "scorer", "near: unknown", "failures", "novelty", "far: unknown", "failures", "novelty"),
    "closed world",
)
BATCHES = 5


def head_without(name: str, sets: dict[str, EmbeddingSet]) -> ViLUEstimator:
    """Learn a head as the bundled one is, from all sets but one."""
    names = sorted((other for other in sets if other != name), key=lambda other: other != KNOWN)
    return train([Problem(*sets[other].train) for other in names], sets[name].logit_scale, 0)


def place_of(classes: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    place = np.full(k, -1)
    place[classes] = np.arange(len(classes))
    return place


def far_images(names: set[str], sets: dict[str, EmbeddingSet], rng: np.random.Generator) -> NDArray[Any]:
    """Test images of all sets but some."""
    others = [sets[name].test[0] for name in sets if name not in names]
    return np.concatenate([images[rng.permutation(len(images))[:FAR]] for images in others])


def thirds(
    name: str, sets: dict[str, EmbeddingSet], head: ViLUEstimator, seed: int
) -> dict[str, list[float]]:
    rng, data = np.random.default_rng(seed), sets[name]
    (train_images, text, train_labels), (test, _, test_labels) = data.train, data.test
    candidates, fitted, unknown = (np.sort(part) for part in np.array_split(rng.permutation(len(text)), 3))
    place = place_of(candidates, len(text))
    known, near = place[test_labels] >= 0, np.isin(test_labels, unknown)
    scored = {"near": test[near], "far": far_images({name}, sets, rng)}
    labels = place[test_labels[known]]
    world = World((train_images[:0], text[candidates], labels[:0]), {}, (test[known], labels), scored)
    shown = np.flatnonzero(place[train_labels] >= 0)
    strange = rng.permutation(np.flatnonzero(np.isin(train_labels, unknown)))[: len(shown) // 4]
    stream = train_images[rng.permutation(np.concatenate([shown, strange]))]
    scale = {"logit_scale": data.logit_scale, "random_state": seed}
    rows = np.isin(train_labels, fitted)
    follower = ViLUEstimator(**scale)
    for batch in np.array_split(stream, BATCHES):
        follower = follower.partial_adapt(batch, text[candidates])
    scorers = {
        "MCM": MCMScorer(logit_scale=data.logit_scale),
        "fit on other classes": ViLUEstimator(**scale).fit(
            train_images[rows], text[fitted], place_of(fitted, len(text))[train_labels[rows]]
        ),
        "head of other sets": head,
        "adapted": ViLUEstimator(**scale).adapt(stream, text[candidates]),
        "adapted in batches": follower,
    }
    return {kind: judge({"near": scorer, "far": scorer}, world) for kind, scorer in scorers.items()}


def captions(data: EmbeddingSet, seed: int) -> dict[str, list[float]]:
    (images, text), n = data.train, len(data.train[0])
    order = np.random.default_rng(seed).permutation(n)
    fit, candidates, unknown = order[: n // 2], order[n // 2 : 3 * n // 4], order[3 * n // 4 :]
    known = images[candidates], np.arange(len(candidates))
    world = World((images[:0], text[candidates], fit[:0]), {}, known, {"near": images[unknown]})
    scale = {"logit_scale": data.logit_scale}
    fitted = ViLUEstimator(random_state=seed, **scale).fit(images[fit], text[fit])
    scorers = {"MCM": MCMScorer(**scale), "fitted on pairs": fitted}
    none = [float("nan")] * 3
    found = {kind: judge({"near": scorer}, world) for kind, scorer in scorers.items()}
    return {kind: [*cells[:3], *none, cells[3]] for kind, cells in found.items()}


def mixtures(
    name: str, sets: dict[str, EmbeddingSet], head: ViLUEstimator, seed: int
) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    far = far_images({name, KNOWN}, sets, rng)
    parts = {}
    for kind, data in (("known", sets[KNOWN]), ("new", sets[name])):
        test, text, labels = data.test
        place = place_of(np.sort(rng.permutation(len(text))[: len(text) // 2]), len(text))
        there = place[labels] >= 0
        parts[kind] = text[place >= 0], test[there], place[labels][there], test[~there]
    old, new = parts["known"], parts["new"]
    both = [np.concatenate([a, b]) for a, b in zip(old, new, strict=True)]
    both[2] = np.concatenate([old[2], new[2] + len(old[0])])
    rows = {}
    for kind, (text, test, labels, near) in (*parts.items(), ("both", both)):
        world = World((test[:0], text, labels[:0]), {}, (test, labels), {"near": near, "far": far})
        for which, scorer in (("MCM", MCMScorer(logit_scale=head.logit_scale)), ("head", head)):
            rows[f"{kind}, {which}"] = judge({"near": scorer, "far": scorer}, world)
    return rows


def print_rows(name: str, runs: list[dict[str, list[float]]]) -> None:
    for kind in runs[0]:
        mean = 100 * np.mean([run[kind] for run in runs], axis=0)
        cells = " | ".join("–" if np.isnan(value) else f"{value:.1f}" for value in mean)
        print(f"| {name} | {kind} | {cells} |", flush=True)


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--of", help="sets to print, by default all")
    parser.add_argument("--only", choices=("thirds", "captions", "mixtures"), help="one of the tables")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", NothingLearnedWarning)
    head_row = "| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD)
    seeds = range(arguments.seeds)
    if arguments.only in (None, "captions"):
        print(f"\nCaptions\n\n{head_row}")
        for name, data in open_sets(arguments.embeddings, ",".join(PAIRS)).items():
            print_rows(name, [captions(data, seed) for seed in seeds])
    if arguments.only == "captions":
        return
    sets = open_sets(arguments.embeddings, arguments.sets)
    names = (arguments.of or arguments.sets).split(",")
    heads = {name: head_without(name, sets) for name in names}
    if arguments.only in (None, "thirds"):
        print(f"\nCandidates without labels\n\n{head_row}")
        for name in names:
            print_rows(name, [thirds(name, sets, heads[name], seed) for seed in seeds])
    if arguments.only in (None, "mixtures") and KNOWN in sets:
        print(f"\nA head on mixtures\n\n{head_row}")
        for name in names:
            if name != KNOWN:
                print_rows(name, [mixtures(name, sets, heads[name], seed) for seed in seeds])


if __name__ == "__main__":
    main()
