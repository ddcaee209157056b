"""Tables 1 to 9 of the paper: one function each, which plans the rows."""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from _core import Bench
from _data import BACKBONES, CAPTION_SETS, CLASS_SETS, CLIP, DOMAINS, Data
from _entry import FPR95, Job, Values, entry
from _fits import CAPTIONS, METHODS, Fitted

CIFAR10, IMAGENET, CC12M = "CIFAR-10", "ImageNet-1k", "CC12M"
TRANSFER_SETS = [name for name in CLASS_SETS if name != IMAGENET]
SHOTS = 5


@entry("table1", averages=True)
def table1(bench: Bench) -> Iterator[Job]:
    """One setting of every method for all data sets, learned from the train rows.

    LVU regresses the probability of the true class. The paper chooses rate and batch for each data set and
    augments the images; embeddings have one view. BayesVLM needs what lies before the embedding; its row here
    sees embeddings alone.
    """
    for data in bench.sets(list(CLASS_SETS)):
        for key in bench.methods(*METHODS):
            yield bench.job("table1", data, key, partial(bench.evaluate, data, key))


@entry("table2")
def table2(bench: Bench) -> Iterator[Job]:
    """Candidates are the captions of a batch of 1024, or all test pairs where there are fewer.

    Training has the same batch, but at most a quarter of the train pairs.
    """
    for data in bench.sets(list(CAPTION_SETS)):
        for key in bench.methods("mcm", "entropy", "doctor", "lvu", "bayesvlm", "vilu", "auto"):
            yield bench.job("table2", data, key, partial(bench.evaluate, data, key))


@entry("table3")
def table3(bench: Bench) -> Iterator[Job]:
    """The published recipe with some of its inputs.

    They are the image z_v, the text of the prediction z_t̂ and the attention's read-out z_α.
    """
    variants: dict[str, tuple[str, dict[str, Any]]] = {
        "visual only": ("z_v", {"attention": False, "predicted": False}),
        "visual + predicted caption": ("z_v, z_t̂", {"attention": False}),
        "visual + cross attention": ("z_v, z_α", {"predicted": False}),
        "ViLU full": ("z_v, z_t̂, z_α", {}),
    }
    for data in bench.varied([CIFAR10, IMAGENET, CC12M]):
        for key in bench.methods("mcm"):
            yield bench.job("table3", data, key, partial(bench.evaluate, data, key))
        for key in bench.methods("vilu"):
            for method, (label, changes) in variants.items():
                measure = partial(bench.evaluate, data, key, **changes)
                yield bench.job("table3", data, key, measure, method=method, label=label)


@entry("table4")
def table4(bench: Bench) -> Iterator[Job]:
    """MSE regresses the zero-shot probability of the true class, BCE tells right from wrong.

    The weight of failures is -log of the failure rate of the batch.
    """
    variants = {
        "MSE": ("tcp", "static"),
        "MSE w/ weighting": ("tcp", "adaptive"),
        "BCE": ("correct", "static"),
        "BCE w/ weighting (ViLU)": ("correct", "adaptive"),
    }
    for data in bench.varied([CIFAR10, IMAGENET]):
        for key in bench.methods("vilu"):
            for method, (target, weighting) in variants.items():
                measure = partial(bench.evaluate, data, key, target=target, weighting=weighting)
                yield bench.job("table4", data, key, measure, method=method, label=method)


@entry("table5", (FPR95,), averages=True)
def table5(bench: Bench) -> Iterator[Job]:
    """A head that was trained on captions scores class sets that it has never seen.

    ViLU has MCM's score as one more input (supplement B.2). The captions must be embedded by the model of the
    class sets.
    """
    yield from _transfer(bench, "table5", ("mcm", "lvu", "vilu", "auto"))


@entry("table6")
def table6(bench: Bench) -> Iterator[Job]:
    """Trained once, with 1024 captions a batch (at most a quarter of the pairs), scored among more and more.

    Sizes of which the paper has no figures are ours.
    """
    yield from among_captions(bench, [128, 512, 1024, 2048, 4096, 8192, 16384, 32768])


@entry("table7")
def table7(bench: Bench) -> Iterator[Job]:
    """Each backbone has a folder of its own, and in its files its own logit scale.

    Embeddings of one backbone say nothing of another.
    """
    for backbone in BACKBONES:
        for data in bench.sets([CIFAR10, IMAGENET], backbone):
            for key in bench.methods("mcm", "vilu", "auto"):
                yield bench.job("table7", data, key, partial(bench.evaluate, data, key), setting=backbone)


@entry("table8", (FPR95,))
def table8(bench: Bench) -> Iterator[Job]:
    """Heads of ImageNet score another domain, before and after `adapt` on 5 labelled images a class.

    Those images are left out of the scoring. ViLU has MCM's score as one more input. The paper states no
    settings of the adaptation: those here are the defaults of `adapt`, chosen on train rows. Without the
    domains of the paper, other class sets of the model take their place, with classes of their own.
    """
    sources = list(bench.sets([IMAGENET], stand_ins=False))
    if not sources:
        return
    domains = list(bench.sets(list(DOMAINS)))
    others = [data for name in TRANSFER_SETS for data in bench.folder.find(name, stand_ins=False)]
    for data in domains or others:
        for key in bench.methods("mcm", "lvu", "vilu", "auto"):
            for shots in (0,) if key == "mcm" else (0, SHOTS):
                measure = partial(_few_shot, bench, sources[0], data, key, shots)
                setting = "" if key == "mcm" else f"{shots} shots"
                yield bench.job("table8", data, key, measure, setting=setting)


@entry("table9", (FPR95,), averages=True)
def table9(bench: Bench) -> Iterator[Job]:
    """As table 5, and beside it one head of the train images of all twelve sets as pairs (supplement C.6).

    The set that is scored is among them. The caption of an image is that of its class: `z_caption` of the
    file, "This is a photo of a …", or else `z_txt`; candidates are the captions of its batch. ViLU has MCM's
    score as one more input.
    """
    yield from _transfer(bench, "table9", ("mcm", "vilu", "auto"))
    found = _downstream(bench)
    for data in found:
        for key in bench.methods("vilu", "auto"):
            measure = partial(_from_pairs, bench, tuple(found), data, key)
            yield bench.job("table9", data, key, measure, setting="trained on Multi-datasets")


@entry("transfer", (FPR95,), title="Ours: zero-shot transfer from all other class sets", averages=True)
def transfer(bench: Bench) -> Iterator[Job]:
    """A set is scored by a head of all others in the folder, whose classes are put together.

    The paper has no such table. Nothing of the set that is scored has been seen. ViLU has MCM's score as one
    more input.
    """
    found = [*_downstream(bench), *bench.folder.find(IMAGENET, stand_ins=False)]
    for data in found:
        others = [other for other in found if other is not data and other.n_train]
        if data.name == IMAGENET or not others:
            continue
        for key in bench.methods("mcm", "vilu", "auto"):
            if key == "mcm":
                yield bench.job("table9", data, key, partial(bench.evaluate, data, key))
                continue
            measure = partial(_from_others, bench, others, data, key)
            yield bench.job("transfer", data, key, measure, setting="trained on the other sets")


def among_captions(bench: Bench, sizes: list[int]) -> Iterator[Job]:
    """Plan the scoring of one fit among more and more captions."""
    for data in bench.sets([CC12M]):
        room = min(len(fold.test[0]) for fold in data.folds)
        tried = [size for size in sizes if size <= room]
        if len(tried) < len(sizes):
            bench.miss(
                f"{room} test pairs to choose from", f"{data.label}, from {sizes[len(tried)]} captions on"
            )
        if len(tried) < 2:
            tried = [size for size in (32, 64, *tried, room) if size <= room]
        for key in bench.methods("mcm", "lvu", "vilu", "auto"):
            for size in dict.fromkeys(tried):
                measure = partial(_among, bench, data, key, size)
                yield bench.job("table6", data, key, measure, setting=f"{size} captions")


def _among(bench: Bench, data: Data, key: str, size: int, seed: int) -> Values:
    """Metrics among the captions of batches of a size."""
    return bench.score(bench.fits.of(data, key, seed), size).metrics()


def _transfer(bench: Bench, name: str, keys: tuple[str, ...]) -> Iterator[Job]:
    """Plan the scoring of class sets by heads of captions."""
    targets = list(bench.sets(TRANSFER_SETS, stand_ins=False))
    sources = [source for source in bench.folder.find(CC12M) if source.backbone == CLIP]
    if not sources:
        bench.miss(f"no captions embedded by {CLIP}", f"trained on {CC12M}")
    for data in targets:
        for key in bench.methods(*keys):
            if key == "mcm":
                yield bench.job(name, data, key, partial(bench.evaluate, data, key))
                continue
            for source in sources:
                measure = partial(_transferred, bench, source, data, key)
                yield bench.job(name, data, key, measure, setting=f"trained on {CC12M}")


def _transferred(bench: Bench, source: Data, data: Data, key: str, seed: int) -> Values:
    """Metrics of a head of captions on a class set."""
    changes = {"mcm_input": True} if key == "vilu" else {}
    scorer = bench.fits.of(source, key, seed, **changes)[0].scorer
    return bench.score([Fitted(scorer, data.folds[0].test)]).metrics()


def _few_shot(bench: Bench, source: Data, data: Data, key: str, shots: int, seed: int) -> Values:
    """Metrics on a domain, after adaptation to some of its images."""
    fold = data.folds[0]
    pool = fold.test if fold.fit is None else fold.fit
    chosen = _draw(pool[2], SHOTS, seed)
    images, text, labels = fold.test
    # The same rows are scored with and without shots.
    rest = np.arange(len(labels)) if fold.fit else np.setdiff1d(np.arange(len(labels)), chosen)
    changes = {"mcm_input": True} if key == "vilu" else {}
    scorer = bench.fits.of(source, key, seed, **changes)[0].scorer
    if shots:
        scorer = copy.deepcopy(scorer).adapt(pool[0][chosen], text, pool[2][chosen])
    return bench.score([Fitted(scorer, (images[rest], text, labels[rest]))]).metrics()


def _draw(labels: Any, shots: int, seed: int) -> Any:
    """Row numbers of some images of each class, at most half of them."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    return np.sort(np.concatenate([of_class[: min(shots, (len(of_class) + 1) // 2)] for of_class in rows]))


def _downstream(bench: Bench) -> list[Data]:
    """Return the twelve class sets of the transfer, as far as they are there with train rows."""
    return [
        data for name in TRANSFER_SETS for data in bench.folder.find(name, stand_ins=False) if data.n_train
    ]


def _from_pairs(bench: Bench, sets: tuple[Data, ...], data: Data, key: str, seed: int) -> Values:
    """Metrics on a class set of a head of the train images of several sets with captions of their classes."""
    changes = {"mcm_input": True} if key == "vilu" else {}

    def fit() -> Any:
        fits = [(one.train, one.arrays.get("z_caption", one.train[1])) for one in sets]
        images = np.concatenate([images for (images, _, _), _ in fits])
        captions = np.concatenate([captions[labels] for (_, _, labels), captions in fits])
        batch = min(CAPTIONS, max(2, len(images) // 4))
        return bench.fits.build(key, data.logit_scale, seed, batch, **changes).fit(images, captions)

    scorer = bench.fits.once(("pairs", sets, key, seed), fit)
    return bench.score([Fitted(scorer, data.folds[0].test)]).metrics()


def _from_others(bench: Bench, others: list[Data], data: Data, key: str, seed: int) -> Values:
    """Metrics on a class set of a head that was trained on other ones, their classes put together."""
    fits = [other.train for other in others]
    starts = np.cumsum([0, *(len(text) for _, text, _ in fits)])
    images = np.concatenate([images for images, _, _ in fits])
    text = np.concatenate([text for _, text, _ in fits])
    labels = np.concatenate([labels + start for (_, _, labels), start in zip(fits, starts, strict=False)])
    changes = {"mcm_input": True} if key == "vilu" else {}
    scorer = bench.fits.build(key, data.logit_scale, seed, **changes).fit(images, text, labels)
    return bench.score([Fitted(scorer, data.folds[0].test)]).metrics()
