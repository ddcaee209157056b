"""A monitor that says when images have moved away from the calibration set.

Rounding moves values that are equal, those of a frame that repeats, and a block of them would look like a
shift. So both tests take for equal what rounding could have moved apart.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import ks_2samp, mannwhitneyu
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from vilu_sdk.compute.random import check_random_state
from vilu_sdk.compute.state import plain_torch
from vilu_sdk.inputs.candidates import open_candidates
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.values import check_units, fraction, whole
from vilu_sdk.metrics.vectors import FloatVector
from vilu_sdk.persistence.persistent import Persistent
from vilu_sdk.persistence.types import check_parameters
from vilu_sdk.scorers.base.contract import FailureScorer, require_scorer, warn_of_fit_rows
from vilu_sdk.scorers.base.groups import one_of_each
from vilu_sdk.selective.alone import NEAR

# Decision values of a stream that is one frame differ by rounding alone, which comes from larger logits.
CONSTANT = 1e-5
# Equal embeddings of norm 1 that were divided by their norm in one call and not in another.
SAME_IMAGE = 1e-5


@dataclass(frozen=True)
class ShiftReport:
    """The result of a check; prints as a sentence and two lines.

    Attributes
    ----------
    n, n_reference : int
        Images checked, and images of the calibration set they were compared with, one of each unit.
    alpha : float
        Rate of false alarms of this check.
    score_p_value, embedding_p_value : float
        Of the two tests; each alarms at alpha / 2 or less.
    score_distance : float
        Largest difference of the two distribution functions of the scores, in [0, 1], that no rounding
        of the scores can make.
    more_uncertain : float
        Probability that a checked image is more uncertain than one of the calibration set; 0.5 where
        nothing changed, above it where errors are likely to have become more.
    embedding_distance : float
        Energy distance of the embeddings as a share of its maximum, in [0, 1].
    """

    n: int
    n_reference: int
    alpha: float
    score_p_value: float
    embedding_p_value: float
    score_distance: float
    more_uncertain: float
    embedding_distance: float

    @property
    def scores_moved(self) -> bool:
        """Whether the scores raise the alarm."""
        return self.score_p_value <= self.alpha / 2

    @property
    def embeddings_moved(self) -> bool:
        """Whether the embeddings raise the alarm."""
        return self.embedding_p_value <= self.alpha / 2

    @property
    def moved(self) -> bool:
        """Whether the guarantees from the calibration set should no longer be relied on."""
        return self.scores_moved or self.embeddings_moved

    def __str__(self) -> str:
        these = "this image differs" if self.n == 1 else f"these {self.n} images differ"
        alike = "This image is" if self.n == 1 else f"These {self.n} images are"
        where = [name for name in ("scores", "embeddings") if getattr(self, f"{name}_moved")]
        if where:
            first = (
                f"{alike} not like the calibration set: their {' and '.join(where)} have "
                "moved. Its guarantees may not hold for them; label some and calibrate again."
            )
        else:
            first = f"No sign that {these} from the calibration set."
        return (
            f"{first}\n"
            f"  scores      p = {self.score_p_value:.3g}, distance {self.score_distance:.3f}, "
            f"more uncertain with probability {self.more_uncertain:.2f}\n"
            f"  embeddings  p = {self.embedding_p_value:.3g}, distance {self.embedding_distance:.3f}"
        )


class ShiftMonitor(Persistent):
    """Compares images with a calibration set, without labels.

    Two tests, each at half of `alpha`: Kolmogorov and Smirnov's on the decision values, and the energy
    distance of the embeddings, whose p-value comes from permutations and is exact. Ties do no harm: a frame
    that is part of the stream before and after raises no more false alarms.

    Parameters
    ----------
    scorer : scorer
        As used later. It must not have been fitted on the images given to `fit`.
    alpha : float
        Rate of false alarms **of one check** where nothing has moved, in (0, 1). Of C checks, up to C
        times as many raise one; pass alpha / C to keep the rate for all of them together.
    n_permutations : int
        For the embeddings. The smallest p-value is 1 / (n_permutations + 1), which must reach alpha / 2.
    max_images : int
        At most so many images of either side are compared, drawn at random.
    random_state : int, RandomState instance or None
        Draws them, and the permutations.

    Notes
    -----
    The tests compare distributions, not errors. A shift need not do harm: other class frequencies can leave
    the error rate as it is. And a shift that changes neither embeddings nor scores, such as other labels
    for the same images, goes unnoticed.

    Images count as drawn independently of each other. The frames of one burst are not: pass `units`, and one
    of each is looked at. Copies without units are taken for draws of what the stream repeats.

    References
    ----------
    Székely & Rizzo, "Energy statistics: a class of statistics based on distances", Journal of
    Statistical Planning and Inference 143(8), 2013.
    Rabanser, Günnemann & Lipton, "Failing loudly: an empirical study of methods for detecting dataset
    shift", NeurIPS 2019.

    Examples
    --------
    >>> from vilu_sdk import MCMScorer
    >>> from vilu_sdk.datasets import load_digits_vlm
    >>> from vilu_sdk.selective import ShiftMonitor
    >>> data = load_digits_vlm()
    >>> monitor = ShiftMonitor(MCMScorer(logit_scale=data.logit_scale), random_state=0)
    >>> monitor = monitor.fit(data.z_img_fit, data.z_txt)
    >>> monitor.check(data.z_img_test).moved
    False
    >>> monitor.check(data.z_img_test[data.labels_test < 5]).moved
    True
    """

    _card_use = (
        "monitor",
        "print(monitor.check(z_img))  # whether images of today are like those of the fit",
    )

    def __init__(
        self,
        scorer: FailureScorer,
        alpha: float = 0.05,
        *,
        n_permutations: int = 499,
        max_images: int = 1000,
        random_state: Any = None,
    ) -> None:
        self.scorer = scorer
        self.alpha = alpha
        self.n_permutations = n_permutations
        self.max_images = max_images
        self.random_state = random_state

    @plain_torch
    def fit(self, z_img: ArrayLike, z_txt_set: ArrayLike, *, units: ArrayLike | None = None) -> Self:
        """Remember the calibration set.

        Parameters
        ----------
        z_img : array-like of shape (n, d)
            Its images.
        z_txt_set : array-like of shape (K, d)
            Candidate texts, those of later use.
        units : array-like of shape (n,), optional
            Integers or strings: what each image is a view, frame or copy of. One of each, at random, counts.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As in `Scorer.decision_function`; also if a parameter is out of its range.
        sklearn.exceptions.NotFittedError
            If the scorer learns and was not fitted.
        """
        require_scorer(self.scorer)
        check_parameters(self)
        if (self.n_permutations + 1) * fraction(self.alpha, "alpha") < 2:
            raise ValueError(
                f"n_permutations={self.n_permutations} can never raise an alarm at alpha={self.alpha:g}; it "
                f"takes at least {math.ceil(2 / self.alpha) - 1}."
            )
        whole(self.max_images, "max_images", 2)
        images = Rows(z_img, "z_img")
        warn_of_fit_rows(self.scorer, z_img, "new images will look as if they had moved")
        # As they came, since some scorers use the norms; and the same in every check.
        given = open_candidates(z_txt_set)
        self.candidates_ = Rows(given.values, "z_txt_set", normalise=False).read().clone()
        images = self._one_of_each(images, units)
        self.decision_ = self.scorer.decision_function(images.source, self.candidates_)
        self.images_ = self._draw(images)
        self.n_features_in_ = images.d
        return self

    def _try(self) -> None:
        """Raise where what was loaded cannot compare an image."""
        require_scorer(self.scorer)
        if isinstance(self.scorer, Persistent):
            self.scorer._try()
        if hasattr(self, "images_"):
            self.check(self.images_[:1])

    @plain_torch
    def check(self, z_img: ArrayLike, *, units: ArrayLike | None = None) -> ShiftReport:
        """Compare images with the calibration set.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            The latest images of the stream, drawn anew since the last check. Some hundred show a moderate
            shift, thousands a slight one.
        units : array-like of shape (N,), optional
            What each image is a view, frame or copy of, as in `fit`.

        Returns
        -------
        ShiftReport
            Its ``moved`` is the alarm.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError, TypeError
            As in `Scorer.decision_function`.
        """
        check_is_fitted(self)
        images = self._one_of_each(Rows(z_img, "z_img", d=self.n_features_in_), units)
        decision = self.scorer.decision_function(images.source, self.candidates_)
        score_distance, more_uncertain, score_p_value = compare_scores(decision, self.decision_)
        distance, p_value = self._energy_test(self._draw(images))
        return ShiftReport(
            n=len(images),
            n_reference=len(self.decision_),
            alpha=self.alpha,
            score_p_value=score_p_value,
            embedding_p_value=p_value,
            score_distance=score_distance,
            more_uncertain=more_uncertain,
            embedding_distance=distance,
        )

    def _one_of_each(self, images: Rows, units: Any) -> Rows:
        """Return one row of each unit."""
        if units is None:
            return images
        known, n = check_units(units, len(images), name="units"), len(images)
        rows = one_of_each(known, np.arange(n), check_random_state(self.random_state).randint(2**31))
        return Rows(images.source[rows], "z_img", d=images.d)

    def _draw(self, images: Rows) -> Tensor:
        """Read at most `max_images` rows."""
        if len(images) <= self.max_images:
            return images.read()
        rng = check_random_state(self.random_state)
        return images.read(np.sort(rng.choice(len(images), self.max_images, replace=False)))

    def _energy_test(self, images: Tensor) -> tuple[float, float]:
        """Return the energy coefficient and its p-value under permutations of all rows."""
        n, m = len(images), len(self.images_)
        both = torch.cat([images, self.images_])
        # In float32, the distance of equal rows would be a root of rounding errors.
        distances = torch.cdist(both.double(), both.double())
        distances[distances < SAME_IMAGE] = 0.0
        side = torch.cat([torch.full((n,), 1 / n), torch.full((m,), -1 / m)]).double()
        rng = check_random_state(self.random_state)
        shuffles = rng.random_sample((self.n_permutations, n + m)).argsort(axis=1)
        weights = torch.cat([side[None], side[torch.from_numpy(shuffles)]])
        # With weights 1/n and -1/m, the quadratic form is 2 E|X - Y| - E|X - X'| - E|Y - Y'|, negated.
        energy: FloatVector = -((weights @ distances) * weights).sum(dim=1).numpy()
        between = 2 * float(distances[:n, n:].mean())
        # Permutations that exchange equal images change nothing but the rounding.
        p_value = float((energy >= energy[0] - 1e-9 * between).mean())
        return (max(0.0, float(energy[0])) / between if between else 0.0), p_value


def compare_scores(decision: FloatVector, reference: FloatVector) -> tuple[float, float, float]:
    """Return the distance, the probability of being higher, and the p-value, of values (n,) and (m,).

    Values are moved by what rounding could have moved them, towards those they are compared with.
    """
    both = np.concatenate([decision, reference])
    rounding = max(NEAR * float(both.std()), CONSTANT * max(1.0, float(np.abs(both).max())))
    found = []
    for moved, side in ((decision + rounding, "greater"), (decision - rounding, "less")):
        test = ks_2samp(moved, reference, alternative=side, method="asymp")
        found.append((float(test.statistic), moved, test.statistic_location))
    distance, moved, at = max(found, key=lambda one: one[0])
    # Cut there, the samples are as far apart, and scipy knows the exact p-value of two-sided distances.
    p_value = ks_2samp((moved <= at).astype(int), (reference <= at).astype(int)).pvalue
    wins = [mannwhitneyu(moved, reference).statistic for _, moved, _ in found]
    return distance, float(np.mean(wins) / (len(decision) * len(reference))), float(p_value)
