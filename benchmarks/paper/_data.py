"""Find the paper's data sets in a folder of embeddings; docs/reproduction.md says what to extract."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

from _sets import FOLDER as FOLDER
from _sets import folds, read_arrays, scale_of

CLIP = "CLIP ViT-B/32"
# Folders of the backbones of Table 7.
BACKBONES = {
    "CLIP ViT-B/16": "clip-vit-b16",
    "CLIP ViT-L/14": "clip-vit-l14",
    "SigLIP ViT-B/16": "siglip-vit-b16",
    "SigLIP ViT-L/16": "siglip-vit-l16",
}


class Published(NamedTuple):
    """Name of the file of one of the paper's data sets; its rows and classes where they are known."""

    stem: str
    n_train: int | None = None
    n_test: int | None = None
    classes: int | None = None


CLASS_SETS = {
    "CIFAR-10": Published("cifar10", 50_000, 10_000, 10),
    "CIFAR-100": Published("cifar100", 50_000, 10_000, 100),
    "Caltech101": Published("caltech101", 4_128, 2_465, 100),
    "Flowers102": Published("flowers102", 4_093, 2_463, 102),
    "OxfordPets": Published("oxford_pets", 2_944, 3_669, 37),
    "Food101": Published("food101", 50_500, 30_300, 101),
    "ImageNet-1k": Published("imagenet", 1_281_167, 50_000, 1_000),
    "FGVCAircraft": Published("fgvc_aircraft", None, 3_333, 100),
    "EuroSAT": Published("eurosat", 13_500, 8_100, 10),
    "StanfordCars": Published("stanford_cars", 6_509, 8_041, 196),
    "DTD": Published("dtd", 2_820, 1_692, 47),
    "SUN397": Published("sun397", 15_880, 19_850, 397),
    "UCF101": Published("ucf101", 7_639, 3_783, 101),
}
CAPTION_SETS = {
    "CC3M": Published("cc3m"),
    "CC12M": Published("cc12m", 7_849_619, 19_008),
    "LAION-400M": Published("laion400m"),
}
# ImageNet in other styles, for Table 8; scored with ImageNet's classes, and without train rows.
DOMAINS = {
    "IN-V2": Published("imagenet_v2", None, 10_000, 1_000),
    "IN-S": Published("imagenet_sketch", None, 50_889, 1_000),
}
PAPER_SETS = {**CLASS_SETS, **CAPTION_SETS, **DOMAINS}


class StandIn(NamedTuple):
    """What a file that is none of the paper's is measured in the place of, and who made its embeddings."""

    of: str
    backbone: str


STAND_INS = {
    "cifar10_tower": StandIn("CIFAR-10", "a small tower trained from scratch"),
    "ucf101_objects": StandIn("UCF101", CLIP),
    "flickr8k_pairs": StandIn("CC12M", "TinyCLIP ViT-40M/32"),
    "fashion_pairs": StandIn("CC12M", "FashionCLIP"),
}

CLASS_ARRAYS = ("z_img_test", "labels_test", "z_txt")
PAIR_ARRAYS = ("z_img", "z_txt")
SPLIT_PAIR_ARRAYS = ("z_img_train", "z_txt_train", "z_img_test", "z_txt_test")


class Fold(NamedTuple):
    """Arguments of `fit`, None where there are no train rows, and of what is scored."""

    fit: tuple[Any, ...] | None
    test: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Data:
    """The embeddings of one data set.

    Parameters
    ----------
    path : Path
        An .npz file, or a folder of .npy files, which are mapped into memory.
    name : str
        The paper's name of the data set that it is, or that it is measured in the place of.
    backbone : str
        The model of the embeddings.
    hold_out : float, optional
        Random share of pairs without a split that is scored; the others are fitted. By default four folds.
    """

    path: Path
    name: str
    backbone: str
    hold_out: float | None = None

    @property
    def stands_in(self) -> bool:
        """Whether it is not the paper's data set, so that its figures say nothing about the paper's."""
        return self.path.stem in STAND_INS

    @property
    def label(self) -> str:
        """What a table calls it."""
        return f"{self.path.stem} (for {self.name})" if self.stands_in else self.name

    @cached_property
    def arrays(self) -> Mapping[str, Any]:
        """The arrays by name, read when they are asked for."""
        return read_arrays(self.path)

    @property
    def logit_scale(self) -> float:
        """The scale of the model, 100 where the file has none."""
        return scale_of(self.arrays)

    @cached_property
    def folds(self) -> list[Fold]:
        """What is fitted and what is scored: one split, or folds of pairs that have none."""
        arrays, name = self.arrays, self.name
        if name not in CAPTION_SETS:
            self._require(CLASS_ARRAYS)
            text = arrays["z_txt"]
            test = arrays["z_img_test"], text, np.asarray(arrays["labels_test"]).astype(int)
            if "z_img_train" not in arrays:
                return [Fold(None, test)]
            self._require(("labels_train",))
            return [Fold((arrays["z_img_train"], text, np.asarray(arrays["labels_train"]).astype(int)), test)]
        if "z_img" not in arrays:
            self._require(SPLIT_PAIR_ARRAYS)
            train, held = [(arrays[f"z_img_{part}"], arrays[f"z_txt_{part}"]) for part in ("train", "test")]
            return [Fold(train, held)]
        self._require(PAIR_ARRAYS)
        images, texts = arrays["z_img"], arrays["z_txt"]
        if self.hold_out is not None:
            order = np.random.default_rng(0).permutation(len(images))
            cut = min(max(2, round(self.hold_out * len(images))), len(images) - 2)
            held, rest = np.sort(order[:cut]), np.sort(order[cut:])
            return [Fold((images[rest], texts[rest]), (images[held], texts[held]))]
        return [
            Fold((images[rest], texts[rest]), (images[held], texts[held]))
            for rest, held in folds(len(images))
        ]

    @property
    def train(self) -> tuple[Any, ...]:
        """Arguments of `fit` of the first fold."""
        if (fit := self.folds[0].fit) is None:
            raise ValueError(f"{self.path} has no train rows")
        return fit

    @property
    def n_train(self) -> int:
        """Rows of the smallest fit, 0 if there are none."""
        return min(0 if fold.fit is None else len(fold.fit[0]) for fold in self.folds)

    @property
    def n_test(self) -> int:
        """Rows scored."""
        return sum(len(fold.test[0]) for fold in self.folds)

    @property
    def classes(self) -> str:
        """How many classes it has, where the paper's set has another number."""
        there = PAPER_SETS[self.name].classes
        if there is None or (here := len(self.arrays["z_txt"])) == there:
            return ""
        return f"K = {here:,}, {there:,} in the paper"

    @property
    def class_names(self) -> list[str]:
        """Names of the candidates, their numbers where the file has none."""
        names = self.arrays.get("class_names", range(len(self.arrays["z_txt"])))
        return [str(name) for name in names]

    def describe(self, published_accuracy: float | None, accuracy: float) -> str:
        """Say how its rows differ from the paper's."""
        published = PAPER_SETS[self.name]
        found = f"{self.label}: zero-shot accuracy {100 * accuracy:.1f} %"
        if self.stands_in:
            return (
                f"{found}. Not the paper's data set, and embedded by {self.backbone}; {self.n_train:,} train "
                f"rows, {self.n_test:,} test rows. Differences to the paper's figures would mean nothing."
            )
        if published_accuracy is not None:
            found += f" ({published_accuracy:.1f} in the paper)"
        found += f"; {self.classes}" if self.classes else ""
        counts = [(self.n_train, published.n_train, "train"), (self.n_test, published.n_test, "test")]
        rows = [
            f"{here:,} {what} rows" + (f" ({there:,} in the paper)" if there not in (None, here) else "")
            for here, there, what in counts
            if here
        ]
        return f"{found}; {', '.join(rows)}."

    def _require(self, names: tuple[str, ...]) -> None:
        missing = [name for name in names if name not in self.arrays]
        if missing:
            raise ValueError(
                f"{self.path} lacks {', '.join(missing)}; docs/reproduction.md says which it must have."
            )


class Folder:
    """The data sets below a folder.

    Parameters
    ----------
    path : Path
        The folder of embeddings.
    only : collection of str
        Names of the files to use; empty for all.
    hold_out : float, optional
        See `Data`.

    Raises
    ------
    ValueError
        If there is no such folder, or nothing in it that has a place in the paper.
    """

    def __init__(self, path: Path, only: frozenset[str] = frozenset(), hold_out: float | None = None) -> None:
        self.path = path
        self._only = only
        self._hold_out = hold_out
        self._opened: dict[Path, Data] = {}
        if not path.is_dir():
            raise ValueError(f"there is no folder {path}; pass the folder of the embeddings.")
        stems = {published.stem for published in PAPER_SETS.values()} | STAND_INS.keys()
        if unknown := only - stems:
            raise ValueError(
                f"no data set is called {', '.join(sorted(unknown))}; known are {sorted(stems)}."
            )
        self._stems = only or stems
        places = [path, *(path / folder for folder in BACKBONES.values())]
        if not any(self._at(place, stem) for place in places for stem in self._stems):
            raise ValueError(
                f"{path} holds none of the paper's data sets, which are .npz files or folders of .npy files "
                f"called {', '.join(sorted(self._stems))}. docs/reproduction.md says what to extract."
            )

    def find(self, name: str, backbone: str = CLIP, *, stand_ins: bool = True) -> list[Data]:
        """Return the data set of this name, else what stands in for it, else nothing."""
        place = self.path / BACKBONES.get(backbone, "")
        if path := self._at(place, PAPER_SETS[name].stem):
            return [self._data(path, name, backbone)]
        if not stand_ins or backbone != CLIP:
            return []
        return [
            self._data(path, name, other.backbone)
            for stem, other in STAND_INS.items()
            if other.of == name and (path := self._at(place, stem))
        ]

    def asked_for(self, name: str) -> bool:
        """Say whether the data set, or what stands in for it, was named among those to use."""
        stems = {PAPER_SETS[name].stem, *(stem for stem, other in STAND_INS.items() if other.of == name)}
        return not stems.isdisjoint(self._only)

    def _data(self, path: Path, name: str, backbone: str) -> Data:
        """Return the same object for the same path, so that files are read once."""
        return self._opened.setdefault(path, Data(path, name, backbone, self._hold_out))

    def _at(self, place: Path, stem: str) -> Path | None:
        if stem not in self._stems:
            return None
        return next((path for path in (place / f"{stem}.npz", place / stem) if path.exists()), None)
