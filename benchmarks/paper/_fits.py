"""The methods by their short names, and their fits."""

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from _data import CAPTION_SETS, Data

from vilu_sdk import (
    BayesVLMScorer,
    DoctorScorer,
    EntropyScorer,
    LVUScorer,
    MCMScorer,
    PaperRecipe,
    RelUScorer,
    TemperatureScaledMCMScorer,
    ViLUEstimator,
)
from vilu_sdk.evaluation import evaluate

# Captions of a batch, in training and in scoring, where nothing else is said (Table 2).
CAPTIONS = 1024
# The grid of supplement A.2.
RATES, BATCHES = (0.1, 0.01, 0.001), (128, 256, 512, 1024)


class Method(NamedTuple):
    """What the paper calls it, what we print, and whether it draws random numbers."""

    published: str
    label: str
    is_random: bool = False


METHODS = {
    "mcm": Method("MCM", "MCM"),
    "ts": Method("TS+MCM", "TS+MCM"),
    "entropy": Method("Entropy", "Entropy"),
    "doctor": Method("Doctor", "DOCTOR"),
    "relu": Method("Rel-U", "Rel-U"),
    "lvu": Method("LVU", "LVU", True),
    "bayesvlm": Method("BayesVLM", "BayesVLM, identity head", True),
    "vilu": Method("ViLU", "ViLU, published recipe", True),
    "auto": Method("ViLU", "ViLU, our default", True),
}


@dataclass(frozen=True)
class Settings:
    """What the command line sets; a rate of None is each method's own, a grid chooses rate and batch."""

    epochs: int = 300
    learning_rate: float | None = None
    seeds: int = 1
    scorers: Collection[str] = tuple(METHODS)
    view_noise: float = 0.0
    grid: bool = False


class Fitted(NamedTuple):
    """A scorer and the rows to score with it."""

    scorer: Any
    test: tuple[Any, ...]


class Fits:
    """Builds and fits scorers; a fit serves every entry that scores with it.

    Parameters
    ----------
    settings : Settings
        Of LVU and the published recipe.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._cached = lru_cache(maxsize=256)(self._fit)
        self._found: dict[Hashable, Any] = {}

    def of(self, data: Data, key: str, seed: int, **changes: Any) -> list[Fitted]:
        """Fit a method on the train rows; `changes` are parameters of the published recipe."""
        return self._cached(data, key, seed, tuple(sorted(changes.items())))

    def once(self, key: Hashable, fit: Callable[[], Any]) -> Any:
        """Return what `fit` returns, called once for a key."""
        if key not in self._found:
            self._found[key] = fit()
        return self._found[key]

    def build(self, key: str, scale: float, seed: int, captions: int | None = None, **changes: Any) -> Any:
        """Return an unfitted scorer; `captions` are those of a batch, None in a class set."""
        sgd: dict[str, Any] = {"epochs": self.settings.epochs}
        if self.settings.learning_rate is not None:
            sgd["learning_rate"] = self.settings.learning_rate
        if captions is None:  # noise is that of classes
            sgd["view_noise"] = self.settings.view_noise
        else:
            sgd["batch_size"] = captions
        simple = {
            "mcm": MCMScorer,
            "ts": TemperatureScaledMCMScorer,
            "entropy": EntropyScorer,
            "doctor": DoctorScorer,
            "relu": RelUScorer,
        }
        if key in simple:
            return simple[key](logit_scale=scale)
        if key == "lvu":
            return LVUScorer(logit_scale=scale, random_state=seed, **{**sgd, **changes})
        if key == "bayesvlm":
            return BayesVLMScorer(logit_scale=scale, random_state=seed)
        recipe = "auto" if key == "auto" else PaperRecipe(**{**sgd, **changes})
        return ViLUEstimator(recipe, logit_scale=scale, random_state=seed)

    def _fit(self, data: Data, key: str, seed: int, changes: tuple[tuple[str, Any], ...]) -> list[Fitted]:
        # A batch is at most a quarter of the pairs, so that an epoch has a few steps.
        captions = min(CAPTIONS, max(2, data.n_train // 4)) if data.name in CAPTION_SETS else None
        fitted = []
        for fold in data.folds:
            settings = dict(changes)
            if self.settings.grid and key in ("lvu", "vilu") and captions is None:
                settings |= self._choose(data, key, seed, **settings)
            scorer = self.build(key, data.logit_scale, seed, captions, **settings)
            if scorer.learns:
                scorer.fit(*(fold.fit or data.train))
            fitted.append(Fitted(scorer, fold.test))
        return fitted

    def _choose(self, data: Data, key: str, seed: int, **changes: Any) -> dict[str, Any]:
        """Return the rate and batch size of the supplement's grid that rank train rows left out best."""
        images, text, labels = data.train
        order = np.random.default_rng(seed).permutation(len(labels))
        held, rest = np.sort(order[: len(order) // 5]), np.sort(order[len(order) // 5 :])
        best: dict[str, Any] = {}
        highest = -np.inf
        for rate, batch in product(RATES, BATCHES):
            tried = {"learning_rate": rate, "batch_size": batch}
            scorer = self.build(key, data.logit_scale, seed, **{**changes, **tried})
            scorer.fit(images[rest], text, labels[rest])
            auc = evaluate(scorer, images[held], text, labels[held])["auc"]
            if auc > highest:  # not where it is NaN
                best, highest = tried, auc
        return best
