"""Train a head to give away from embeddings of your own, or measure one, beside MCM.

    python benchmarks/train_head.py --train FILE [FILE ...] --output FOLDER --test FILE [FILE ...]
        [--backbone NAME] [--dataset TEXT] [--notes FILE] [--logit-scale 100]
    python benchmarks/train_head.py --head clip-b32-imagenet --test FILE [FILE ...]
    python benchmarks/train_head.py --train FILE FILE FILE [FILE ...] --leave-one-set-out

Files are .npz. Those to train on hold `z_img_train` (N, d), `labels_train` (N,) with row numbers of
`z_txt`, and `z_txt` (K, d), one text for each class; those to test on hold `z_img_test`, `labels_test` and
their own `z_txt`. Rows need not be normalised, float16 will do. The head knows the classes of the first file;
from the further ones, of the same backbone, it learns what carries over to candidates of no file. With
`--leave-one-set-out` each file in turn is tested with a head trained on the others.

A head is the default recipe in a form to give away: no kernel, whose landmarks would be embeddings of your
images, texts kept as keys that cannot be turned back, large arrays at half precision. It is measured as it
is saved, and its card says so. The second table takes random classes of a set, or the classes of two sets
together, so that a head meets known, new and mixed candidates, many and few.
"""

import argparse
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from scipy.stats import sem

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.compute.random import seeded
from vilu_sdk.evaluation import evaluate
from vilu_sdk.inputs.task import check_task
from vilu_sdk.scorers import Card
from vilu_sdk.scorers.posterior.portable import learn_portable

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "embeddings"
DEFAULT_TEST = ("imagenet.npz", "dtd.npz", "stanford_cars.npz")
METRICS = ("accuracy", "auc", "fpr95", "aupr_error", "aurc", "ece")
SIZES = (2, 10, 100)
LEFT_OUT_SIZES = (2, 5, 10, 20)


class Problem(NamedTuple):
    """Images (N, d), candidates (K, d) and true candidates (N,)."""

    z_img: np.ndarray
    z_txt: np.ndarray
    labels: np.ndarray

    @classmethod
    def read(cls, path: Path, part: str) -> "Problem":
        """Read one part of a file, "train" or "test"."""
        with np.load(path) as arrays:
            keys = (f"z_img_{part}", "z_txt", f"labels_{part}")
            if missing := [key for key in keys if key not in arrays.files]:
                raise SystemExit(f"{path} lacks {', '.join(missing)}; it holds {', '.join(arrays.files)}.")
            z_img, z_txt, labels = (arrays[key] for key in keys)
        return cls(z_img.astype(np.float32), z_txt.astype(np.float32), labels.astype(np.int64))

    def among(self, classes: np.ndarray) -> "Problem":
        """Only some classes, and their images."""
        place = np.full(len(self.z_txt), -1)
        place[classes] = np.arange(len(classes))
        labels = place[self.labels]
        return Problem(self.z_img[labels >= 0], self.z_txt[classes], labels[labels >= 0])

    def joined(self, other: "Problem") -> "Problem":
        """The images of both among the classes of both."""
        return Problem(
            np.concatenate([self.z_img, other.z_img]),
            np.concatenate([self.z_txt, other.z_txt]),
            np.concatenate([self.labels, other.labels + len(self.z_txt)]),
        )


def train(problems: list[Problem], logit_scale: float, seed: int) -> ViLUEstimator:
    """Fit an estimator in the form to give away."""
    others = [check_task(*problem) for problem in problems[1:]]

    def learn(estimator: Any, task: Any) -> None:
        estimator.model_ = learn_portable(task, logit_scale, seeded(seed), others)

    with patch.object(ViLUEstimator, "_learn", learn):
        head = ViLUEstimator(logit_scale=logit_scale).fit(*problems[0])
    del head.fit_rows_  # by which one could ask whether an image was in the fit
    return head


def leave_one_set_out(files: list[Path], logit_scale: float, seed: int, draws: int) -> None:
    """Print AUC and FPR95 over MCM's on each set, of heads that did not see it, also among few classes."""
    few = [f"{k} classes: mean ± standard error (draws scored) | worst" for k in LEFT_OUT_SIZES]
    print(f"\n| left out | AUC | FPR95 | {' | '.join(few)} |\n|---|---:|---:|{'---:|---:|' * len(few)}")
    every = []
    for path in files:
        head = train([Problem.read(f, "train") for f in files if f != path], logit_scale, seed)
        problem = Problem.read(path, "test")
        found = measure(head, {"head": problem})
        auc, fpr95 = (100 * (found["head"][key] - found["head, MCM"][key]) for key in ("auc", "fpr95"))
        rng, cells = np.random.default_rng(0), []
        for k in LEFT_OUT_SIZES:
            some = [rng.choice(len(problem.z_txt), k, replace=False) for _ in range(draws)]
            gain = gains(head, [problem.among(classes) for classes in some])
            mean = f"{gain.mean():+.2f} ± {sem(gain):.2f} ({len(gain)})" if len(gain) > 1 else "–"
            cells.append(f"{mean} | {gain.min():+.2f}" if len(gain) else "– | –")
        print(f"| {path.stem} | {auc:+.2f} | {fpr95:+.1f} | {' | '.join(cells)} |", flush=True)
        every.append((auc, fpr95))
    auc, fpr95 = np.mean(every, axis=0)
    print(f"| mean | {auc:+.2f} | {fpr95:+.1f} | {' | '.join(['| '] * len(few))} |")


def measure(head: ViLUEstimator, sets: dict[str, Problem]) -> dict[str, dict[str, float]]:
    """Metrics of the head and of MCM on each set."""
    mcm = MCMScorer(logit_scale=head.logit_scale)
    found = {}
    for name, problem in sets.items():
        for label, scorer in ((name, head), (f"{name}, MCM", mcm)):
            metrics = evaluate(scorer, *problem)
            found[label] = {key: metrics[key] for key in METRICS}
    return found


def mixtures(sets: dict[str, Problem], draws: int) -> Iterator[tuple[str, list[Problem]]]:
    """Random classes of each set, and of two sets together."""
    rng = np.random.default_rng(0)

    def some(problem: Problem, size: int) -> Problem:
        size = min(size, len(problem.z_txt))
        return problem.among(rng.choice(len(problem.z_txt), size, replace=False))

    for name, problem in sets.items():
        for size in SIZES:
            if size < len(problem.z_txt):
                yield f"{size} of {name}", [some(problem, size) for _ in range(draws)]
    for (a, first), (b, second) in combinations(sets.items(), 2):
        for size in SIZES:
            pairs = [some(first, size).joined(some(second, size)) for _ in range(draws)]
            yield f"up to {size} of {a} and of {b}", pairs
        yield f"all of {a} and of {b}", [first.joined(second)]


def gains(head: ViLUEstimator, problems: list[Problem]) -> np.ndarray:
    """AUC of the head minus MCM's where there are right and wrong predictions, in points."""
    mcm = MCMScorer(logit_scale=head.logit_scale)
    found = []
    for problem in problems:
        wrong = mcm.predict(problem.z_img, problem.z_txt) != problem.labels
        if wrong.any() and not wrong.all():
            found.append(evaluate(head, *problem)["auc"] - evaluate(mcm, *problem)["auc"])
    return 100 * np.array(found)


def report(head: ViLUEstimator, sets: dict[str, Problem], draws: int) -> dict[str, dict[str, float]]:
    """Print both tables; return the first."""
    metrics = measure(head, sets)
    print(f"\n| % | {' | '.join(METRICS)} |\n|---|{'---:|' * len(METRICS)}")
    for name, values in metrics.items():
        print(f"| {name} | {' | '.join(f'{100 * values[key]:.2f}' for key in METRICS)} |")
    print("\n| classes | sets scored | AUC over MCM's, mean | worst | at least MCM's |")
    print("|---|---:|---:|---:|---:|")
    for name, problems in mixtures(sets, draws):
        found = gains(head, problems)
        if len(found):
            share = f"{100 * np.mean(found >= -1e-9):.0f} %"
            print(
                f"| {name} | {len(found)} | {found.mean():+.2f} | {found.min():+.2f} | {share} |", flush=True
            )
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=Path, nargs="+", help="train on these files")
    parser.add_argument("--leave-one-set-out", action="store_true", help="test each of them on the others")
    parser.add_argument("--output", type=Path, help="folder to save the trained head in; its name names it")
    parser.add_argument("--head", default="clip-b32-imagenet", help="without --train: the head to measure")
    parser.add_argument("--test", type=Path, nargs="*", help="files to measure on")
    parser.add_argument("--backbone", help="the model of the embeddings, best by its name on the Hub")
    parser.add_argument("--dataset", help="for the card: what the images are")
    parser.add_argument("--notes", type=Path, help="for the card: a Markdown file")
    parser.add_argument("--license", default="apache-2.0", help="for the card: the licence of the weights")
    parser.add_argument("--logit-scale", type=float, default=100.0)
    parser.add_argument("--draws", type=int, default=20, help="random class sets of each kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.leave_one_set_out:
        if len(arguments.train or ()) < 3:
            parser.error("--leave-one-set-out needs three files or more after --train")
        leave_one_set_out(arguments.train, arguments.logit_scale, arguments.seed, arguments.draws)
        return
    if (arguments.train is None) != (arguments.output is None):
        parser.error("--train and --output go together")
    files = arguments.test
    if files is None:
        files = [path for path in map(FOLDER.joinpath, DEFAULT_TEST) if path.exists()]
    sets = {path.stem: Problem.read(path, "test") for path in files}
    if arguments.train is None:
        report(ViLUEstimator.from_pretrained(arguments.head), sets, arguments.draws)
        return
    problems = [Problem.read(path, "train") for path in arguments.train]
    head = train(problems, arguments.logit_scale, arguments.seed)
    metrics = report(head, sets, arguments.draws)
    card = Card(
        backbone=arguments.backbone,
        dataset=" ".join((arguments.dataset or arguments.train[0].name).split()),
        # What is said of a model on the Hub is of this model alone.
        metrics={name: metrics[name] for name in sets},
        notes=arguments.notes and arguments.notes.read_text(),
        license=arguments.license,
    )
    head.save_pretrained(arguments.output, card=card)
    size = sum(path.stat().st_size for path in arguments.output.iterdir())
    print(f"\nSaved in {arguments.output}, {size / 1e6:.2f} MB.")


if __name__ == "__main__":
    main()
