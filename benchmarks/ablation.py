"""What each part of the default recipe adds, on real embeddings, as Markdown tables.

    python benchmarks/ablation.py --embeddings FOLDER [--sets dtd,flickr8k_pairs] [--seeds 3]

FOLDER holds .npz files as `benchmarks/probabilistic.py` reads them: class sets are fitted on their train
rows and scored on their test rows, pairs in four contiguous folds. A part is left out where the
recipe learns, so that the weights of the others are chosen without it. Seeds draw the landmarks of the
kernel, the images that weights are chosen on and the folds of the pairs; in the tables of few labels,
the labelled images too.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.compute.random import seeded
from vilu_sdk.evaluation import failure_metrics
from vilu_sdk.inputs.task import Task
from vilu_sdk.scorers.posterior.blend import Source, base_precision
from vilu_sdk.scorers.posterior.captions import CaptionRegression, CaptionSource, ImageBank, learn_captions
from vilu_sdk.scorers.posterior.classes import (
    GAUSSIANS,
    INTERCEPTS,
    KERNEL,
    SOURCES,
    ClassModel,
    class_model,
    learn_blend,
)
from vilu_sdk.scorers.posterior.gaussians import try_gaussians

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "embeddings"
SETS = ("dtd", "stanford_cars", "imagenet", "cifar10_tower", "flickr8k_pairs", "fashion_pairs")
FOLDS = 4
FEW_LABELS = 100


class Variant(NamedTuple):
    """Which sources there are, and the precision of the prior on the base's weight."""

    sources: tuple[Source, ...] = SOURCES
    base_precision: Callable[[int], float] = base_precision


UNLINKED = replace(GAUSSIANS, trials=partial(try_gaussians, shared_prior=0.0))
FREE = replace(GAUSSIANS, minimum_gain=lambda n, k: 0.0)
CLASS_VARIANTS = {
    "MCM": Variant(()),
    "Gaussians": Variant((GAUSSIANS,)),
    "intercepts": Variant((INTERCEPTS,)),
    "Gaussians + intercepts": Variant((GAUSSIANS, INTERCEPTS)),
    "Gaussians + kernel": Variant((GAUSSIANS, KERNEL)),
    "kernel + intercepts": Variant((KERNEL, INTERCEPTS)),
    "all (the default)": Variant(),
    "all, means not linked by texts": Variant((UNLINKED, KERNEL, INTERCEPTS)),
    "all, no prior on the base's weight": Variant(base_precision=lambda n: 0.0),
}
# The kernel needs more images, so Gaussians and intercepts are all there is.
FEW_LABEL_VARIANTS = {
    name: variant
    for name, variant in CLASS_VARIANTS.items()
    if "kernel" not in name and name != "Gaussians + intercepts"
} | {"all, no minimum gain of the Gaussians": Variant((FREE, KERNEL, INTERCEPTS))}
PAIR_VARIANTS: dict[str, tuple[type[CaptionSource], ...] | None] = {
    "MCM": None,
    "zero-shot + regression": (CaptionRegression,),
    "zero-shot + image bank": (ImageBank,),
    "both (the default)": (CaptionRegression, ImageBank),
}


class Learner(ViLUEstimator):
    """An estimator whose model a given function learns from the task."""

    def __init__(
        self, learn: Callable[[Task, float, torch.Generator], Any], logit_scale: float, random_state: int
    ) -> None:
        super().__init__(logit_scale=logit_scale, random_state=random_state)
        self.learn = learn

    def _learn(self, task: Task) -> None:
        self.model_ = self.learn(task, self.logit_scale, seeded(self.random_state))


def scale_of(arrays: Any) -> float:
    return float(arrays["logit_scale"]) if "logit_scale" in arrays.files else 100.0


def score_classes(arrays: Any, variant: Variant, seed: int, n: int | None = None) -> tuple[float, float]:
    """AUC and FPR95 on the test rows, fitted on n of the train rows."""
    z_txt, labels = arrays["z_txt"], arrays["labels_train"].astype(int)
    rows = np.random.default_rng(seed).permutation(len(labels))[:n] if n else slice(None)

    def learn(task: Task, scale: float, generator: torch.Generator) -> ClassModel:
        blend = learn_blend(
            task, scale, generator, sources=variant.sources, base_precision=variant.base_precision
        )
        return class_model(blend, scale, task.text, None)

    scorer = Learner(learn, scale_of(arrays), seed).fit(arrays["z_img_train"][rows], z_txt, labels[rows])
    failure = scorer.predict(arrays["z_img_test"], z_txt) != arrays["labels_test"]
    metrics = failure_metrics(scorer.decision_function(arrays["z_img_test"], z_txt), failure)
    return 100 * metrics["auc"], 100 * metrics["fpr95"]


def score_pairs(
    arrays: Any, sources: tuple[type[CaptionSource], ...] | None, seed: int
) -> tuple[float, float]:
    """AUC and FPR95 of the pooled folds, each scored by an estimator fitted on the others."""
    z_img, z_txt = arrays["z_img"].astype(np.float32), arrays["z_txt"].astype(np.float32)
    decisions, failures = [], []
    for held in np.array_split(np.arange(len(z_img)), FOLDS):
        rest = np.setdiff1d(np.arange(len(z_img)), held)
        scorer = MCMScorer(logit_scale=scale_of(arrays))
        if sources is not None:
            learn = partial(learn_captions, sources=sources)
            scorer = Learner(learn, scale_of(arrays), seed).fit(z_img[rest], z_txt[rest])
        decisions.append(scorer.decision_function(z_img[held], z_txt[held]))
        failures.append(scorer.predict(z_img[held], z_txt[held]) != np.arange(len(held)))
    metrics = failure_metrics(np.concatenate(decisions), np.concatenate(failures))
    return 100 * metrics["auc"], 100 * metrics["fpr95"]


def open_sets(folder: Path, names: str) -> dict[str, Any]:
    """Open the files that are there, and say which are not."""
    found = {}
    for name in names.split(","):
        path = folder / f"{name}.npz"
        if path.exists():
            found[name] = np.load(path, allow_pickle=False)
        else:
            print(f"skipped {name}: there is no {path}")
    if not found:
        sys.exit("No embeddings to measure on: pass the folder of the .npz files with --embeddings.")
    return found


def cell(runs: list[tuple[float, float]]) -> str:
    """Mean and standard deviation over seeds, of AUC and of FPR95."""
    mean, spread = np.mean(runs, axis=0), np.std(runs, axis=0)
    parts = [f"{m:.1f} ± {s:.1f}" if s >= 0.05 else f"{m:.1f}" for m, s in zip(mean, spread, strict=True)]
    return " / ".join(parts)


def print_table(title: str, sets: dict[str, Any], variants: dict[str, Any], score: Any, seeds: int) -> None:
    """Print a row for each variant as soon as it is measured."""
    if not sets:
        return
    print(f"\n{title}\n\n| AUC / FPR95, % | {' | '.join(sets)} |\n|---|{'---:|' * len(sets)}")
    for name, variant in variants.items():
        runs = range(1 if name == "MCM" else seeds)
        cells = [cell([score(arrays, variant, seed) for seed in runs]) for arrays in sets.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--embeddings", type=Path, default=FOLDER)
    parser.add_argument("--sets", default=",".join(SETS), help="names of files, comma separated")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "ViLUEstimator learned nothing")

    sets = open_sets(arguments.embeddings, arguments.sets)
    classes = {name: arrays for name, arrays in sets.items() if "labels_train" in arrays.files}
    pairs = {name: arrays for name, arrays in sets.items() if name not in classes}
    print_table("All labels", classes, CLASS_VARIANTS, score_classes, arguments.seeds)
    print_table(
        f"{FEW_LABELS} labels",
        classes,
        FEW_LABEL_VARIANTS,
        lambda arrays, variant, seed: score_classes(arrays, variant, seed, FEW_LABELS),
        arguments.seeds,
    )
    print_table("Image-caption pairs", pairs, PAIR_VARIANTS, score_pairs, arguments.seeds)


if __name__ == "__main__":
    main()
