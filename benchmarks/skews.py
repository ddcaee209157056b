"""What `ViLUEstimator().adapt` without labels gains or loses under skews of every kind, as a Markdown table.

    python benchmarks/skews.py --embeddings FOLDER [--sets dtd,sun397] [--seeds 2] [--head clip-b32-imagenet]

Every figure is the AUC on test images after adapting to train images minus that before, in points: the mean
over seeds and draws and, in brackets, the worst of them. A skew applies to the images adapted to and to those
scored alike. With `--head`, the bundled head is adapted, and before is the better of MCM and the head.

Where a skew asks for more images than there are, an image is drawn from its class mean, its own deviation
and that of another image. Sets of fewer than 10 train images a class are left out there: what is drawn then
lies too near to those few. "near": the classes of nearest texts. Runs of fewer than 15 wrong or right
predictions are left out. FOLDER holds .npz files as `benchmarks/_sets.py` reads them.
"""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import _sets
import numpy as np
import torch
from _sets import open_sets
from adaptation import ClassSet, Rows, auc, skewed
from numpy.typing import NDArray

from vilu_sdk import MCMScorer, ViLUEstimator

SETS = ("dtd", "stanford_cars", "imagenet", "sun397", "caltech101", "ucf101_objects", "cifar10_tower")
FEW_CLASSES = (2, 3, 5, 7, 10)
SHARES = (0.3, 0.6, 0.9)
SCORED = 1500
# Of a drawn image's deviation from its class mean, the share that is its own.
OWN = 0.5
LEAST = 15  # wrong, and right, predictions
LEAST_IMAGES = 10  # of a class, to draw others from


class Images(NamedTuple):
    """Images and their classes."""

    z_img: NDArray[np.float32]
    labels: Rows

    def take(self, rows: Any) -> "Images":
        """Some of the images."""
        return Images(self.z_img[rows], self.labels[rows])

    def among(self, classes: Rows) -> "Images":
        """Images of some classes, renumbered."""
        found = self.take(np.isin(self.labels, classes))
        place = np.zeros(int(self.labels.max()) + 1, dtype=np.int64)
        place[classes[classes < len(place)]] = np.flatnonzero(classes < len(place))
        return Images(found.z_img, place[found.labels])


def draw(images: Images, shares: NDArray[np.float64], n: int, rng: np.random.Generator) -> Images:
    """About `n` new images, of which class c has `shares[c]`; classes without images have none."""
    unit = images.z_img / np.linalg.norm(images.z_img, axis=1, keepdims=True)
    k = len(shares)
    counts = np.bincount(images.labels, minlength=k)
    sums = np.zeros((k, unit.shape[1]))
    np.add.at(sums, images.labels, unit)
    means = sums / np.maximum(counts, 1)[:, None]
    # Deviations from a mean that the image itself moved are too small.
    several = counts[images.labels] > 1
    deviations = unit - means[images.labels]
    size = counts[images.labels[several]]
    others = deviations[several] * np.sqrt(size / (size - 1))[:, None]
    labels = np.repeat(np.arange(k), np.where(counts > 0, np.round(shares * n), 0).astype(int))
    order = np.argsort(images.labels, kind="stable")
    start = np.cumsum(counts) - counts
    own = order[start[labels] + rng.integers(counts[labels])]
    drawn = means[labels] + OWN**0.5 * deviations[own]
    drawn += (1 - OWN) ** 0.5 * others[rng.integers(len(others), size=len(labels))]
    return Images(drawn.astype(np.float32), labels)


def dominated(k: int, share: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Equal shares of all classes but one."""
    shares = np.full(k, (1 - share) / (k - 1))
    shares[rng.integers(k)] = share
    return shares


def cases(data: ClassSet, seed: int) -> Iterator[tuple[str, Images, Images, NDArray[np.float32]]]:
    """Yield the skew, the images adapted to, the images scored (of none: label -1) and the candidates."""
    rng = np.random.default_rng(seed)
    k, text = len(data.z_txt), data.z_txt
    train, test = Images(data.z_img, data.labels), Images(data.z_img_test, data.labels_test)
    yield "all images", train, test, text
    for n in (size for size in (20, 100, 400) if size <= len(train.labels)):
        yield f"{n} images", train.take(rng.choice(len(train.labels), n, replace=False)), test, text
    for skew in ("half of the classes", "a fifth", "Zipf"):
        rows, scored = skewed(data, skew, seed)
        yield skew, train.take(rows), test.take(scored), text
    candidates = np.sort(rng.permutation(k)[: max(2, 9 * k // 10)])
    place = np.full(k, -1)
    place[candidates] = np.arange(len(candidates))
    some = Images(test.z_img, place[test.labels])
    yield "a tenth of the images of none", train, some, text[candidates]
    candidates = candidates[: max(2, 2 * k // 3)]
    place = np.where(place < len(candidates), place, -1)
    yield "a third of the images of none", train, Images(test.z_img, place[test.labels]), text[candidates]
    if len(train.labels) < LEAST_IMAGES * k:
        return
    if k <= 64:
        for n in (20_000, 100_000):
            yield f"{n:,} images", draw(train, np.full(k, 1 / k), n, rng), test, text
    unit = text / np.linalg.norm(text, axis=1, keepdims=True)
    for few in (size for size in FEW_CLASSES if size < k):
        near = np.argsort(-unit @ unit[rng.integers(k)])[:few]
        for kind, classes in (("", rng.permutation(k)[:few]), (", near", near)):
            here, there, among = train.among(classes), test.among(classes), text[classes]
            even = np.full(few, 1 / few)
            yield f"2 to 10 classes{kind}", draw(here, even, 600, rng), draw(there, even, SCORED, rng), among
            for share in (share for share in SHARES if share > 1 / few):
                shares = dominated(few, share, rng)
                for n in (100, 2000):
                    name = f"2 to 10 classes{kind}, one with {100 * share:.0f} %"
                    yield name, draw(here, shares, n, rng), draw(there, shares, SCORED, rng), among
    for share in SHARES:
        shares = dominated(k, share, rng)
        scored_images = draw(test, shares, 4 * SCORED, rng)
        for n in (100, 1000, 5000):
            parts = rng.multinomial(n, shares) / n
            yield (
                f"all classes, one with {100 * share:.0f} %",
                draw(train, parts, n, rng),
                scored_images,
                text,
            )


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--head", help="adapt this bundled head, instead of nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs: dict[str, dict[str, list[float]]] = {}
    names = []
    for name, found in open_sets(arguments.embeddings, arguments.sets).items():
        data = ClassSet.of(found)
        names.append(name)
        for seed in range(arguments.seeds):
            start, befores = data.estimator(seed), [MCMScorer(logit_scale=data.logit_scale)]
            if arguments.head:
                start = ViLUEstimator.from_pretrained(arguments.head)
                befores.append(start)
            for skew, seen, scored, text in cases(data, seed):
                wrong = befores[0].predict(scored.z_img, text) != scored.labels
                if min(wrong.sum(), (~wrong).sum()) < LEAST:
                    continue
                before = max(auc(scorer, scored.z_img, text, scored.labels) for scorer in befores)
                after = auc(copy.copy(start).adapt(seen.z_img, text), scored.z_img, text, scored.labels)
                runs.setdefault(skew, {}).setdefault(name, []).append(after - before)
    print(f"\n| | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
    for skew, found_by_set in runs.items():
        cells = []
        for name in names:
            gains = found_by_set.get(name)
            # Adding zero turns -0.0 into 0.0.
            mean_and_worst = gains and [round(value, 1) + 0.0 for value in (np.mean(gains), min(gains))]
            cells.append("{:+.1f} ({:+.1f})".format(*mean_and_worst) if mean_and_worst else "–")
        print(f"| {skew} | {' | '.join(cells)} |")
    every = np.array([gain for by_set in runs.values() for gains in by_set.values() for gain in gains])
    print(f"\n{len(every)} runs: mean {every.mean():+.2f}, worst {every.min():+.2f}, ", end="")
    print(f"{100 * np.mean(every < -0.5):.1f} % below -0.5.")


if __name__ == "__main__":
    main()
