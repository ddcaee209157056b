"""ViLU: the estimator that users meet first."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vilu_sdk.compute.random import seeded
from vilu_sdk.compute.state import plain_torch
from vilu_sdk.inputs.candidates import Candidates, open_candidates
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.task import Task, check_task
from vilu_sdk.inputs.values import check_logit_scale, check_units, positive, require_candidates, whole
from vilu_sdk.persistence.card import FittedOn
from vilu_sdk.persistence.types import check_parameters
from vilu_sdk.scorers.base.among import Among
from vilu_sdk.scorers.base.backbone_check import warn_of_mismatch
from vilu_sdk.scorers.base.fit_rows import FitRows
from vilu_sdk.scorers.base.verbs import Predicts
from vilu_sdk.scorers.base.weighted import WeightedScorer
from vilu_sdk.scorers.explanation import Explanation, compete
from vilu_sdk.scorers.paper.recipe import PaperModel, PaperRecipe
from vilu_sdk.scorers.posterior.captions import CaptionModel
from vilu_sdk.scorers.posterior.classes import ClassModel
from vilu_sdk.scorers.posterior.frequencies import Frequencies, check_frequencies
from vilu_sdk.scorers.posterior.left_out import left_out, uses_all_rows
from vilu_sdk.scorers.posterior.model import LogLinearModel
from vilu_sdk.scorers.posterior.recipe import adapt_auto, learn_auto
from vilu_sdk.training.resume import shared_fit


class ViLUEstimator(WeightedScorer):
    r"""Learned vision-language uncertainty: how likely the zero-shot prediction is wrong.

    The default recipe turns whatever `fit` was given into a posterior over the candidates,

    .. math::
        q_j(x) = w_0\, s\, x^\top t_j + w_1 \log N(x; m_j, C) + w_2 \log N(\phi(x); \mu_j, \Sigma) + b_j,
        \qquad u = \sigma\Bigl(a \log \tfrac{\sum_{j \ne \hat\jmath} e^{q_j}}{e^{q_{\hat\jmath}}} + c\Bigr),

    with :math:`\hat\jmath` the zero-shot prediction. Each source gets only as much weight as it earns on
    left-out images; if none earns any, MCM remains. See ``docs/method.md``.

    Parameters
    ----------
    recipe : {"auto", "paper"} or PaperRecipe
        How it learns: "auto" is the recipe of this project, "paper" the published method, which
        `PaperRecipe` varies.
    predicts : {"zero-shot", "posterior"}
        The prediction that `predict` returns and all methods judge: the zero-shot prediction, as in published
        work, or the most likely candidate under the learned posterior, which is right far more often. It can
        be changed after the fit.
    unknown_rate : float, optional
        Share of images that show none of the candidates, in [0, 1), for the uncertainty to allow for. By
        default the share of images labelled -1 in the fit; without any, as much as costs nothing if all
        images show a candidate. 0 means that all do. Used by `fit`, `adapt` and `partial_adapt`, and only
        by "auto".
    logit_scale : float
        The model's learnt scale s, by which cosines become logits: 100 for CLIP.
    random_state : int, RandomState or None
        Seeds the training; "auto" draws only subsets of large data.

    Attributes
    ----------
    model_ : object
        What was learned.
    n_features_in_ : int
        Width d of the embeddings.

    References
    ----------
    Lafon et al., "ViLU: Learning Vision-Language Uncertainties for Failure Prediction", ICCV 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import ViLUEstimator
    >>> rng = np.random.default_rng(0)
    >>> z_txt = rng.normal(size=(4, 8))
    >>> labels = rng.integers(4, size=256)
    >>> z_img = z_txt[labels] + 1.5 * rng.normal(size=(256, 8))
    >>> est = ViLUEstimator(random_state=0).fit(z_img, z_txt, labels)
    >>> est.predict_uncertainty(z_img, z_txt).shape
    (256,)
    """

    learns = True
    has_posterior = True
    model_: LogLinearModel | PaperModel

    def __init__(
        self,
        recipe: Literal["auto", "paper"] | PaperRecipe = "auto",
        *,
        predicts: Predicts = "zero-shot",
        unknown_rate: float | None = None,
        logit_scale: float = 100.0,
        random_state: Any = None,
    ) -> None:
        self.recipe = recipe
        self.predicts = predicts
        self.unknown_rate = unknown_rate
        self.logit_scale = logit_scale
        self.random_state = random_state

    @property
    def _is_auto(self) -> bool:
        return isinstance(self.recipe, str) and self.recipe == "auto"

    @property
    def has_answers(self) -> bool:  # type: ignore[override]
        """Whether its posterior gives answers of its own, as that of the default recipe does."""
        return isinstance(getattr(self, "model_", None), LogLinearModel)

    @property
    def takes_weights(self) -> bool:  # type: ignore[override]
        """Whether `fit` takes weights of images: the default recipe does."""
        return self._is_auto

    @property
    def takes_views(self) -> bool:  # type: ignore[override]
        """Whether `fit` takes several views of each image: the networks of the published recipe do."""
        return not self._is_auto

    @property
    def min_candidates(self) -> int:  # type: ignore[override]
        """Fewest candidates with which the score has a meaning."""
        return self.model_.min_candidates

    @plain_torch
    def adapt(
        self,
        z_img: ArrayLike,
        z_txt_set: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        frequencies: Literal["balanced", "estimated"] | ArrayLike | None = None,
    ) -> Self:
        """Move to a new domain or class set, with unlabelled images or a few labelled ones.

        With labels, what they teach is built upon what is known already, as far as it predicts images
        left out better. Without, the default recipe looks for the candidates' images among the given
        ones (of captions: for captions that all images like); the published one needs labels. An
        estimator of the default recipe need not be fitted before.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Images of the domain.
        z_txt_set : array-like of shape (K, d)
            Its candidates.
        labels : array-like of shape (N,), optional
            Classes of the images, integers in [0, K).
        groups : array-like of shape (N,), optional
            What each image is a view, frame or copy of, as in `fit`. Without labels, one image of each group
            is looked at; without groups, one of exact copies.
        frequencies : {"balanced", "estimated"} or array-like of shape (K,), optional
            Only without labels: how often the candidates occur among these images. "balanced" says about
            equally often, which is worth several points of AUC where it is true, and ruins the ranking where
            it is not; an array gives their shares, in any unit. "estimated" finds them by the likelihood of
            the images under the posterior: worth 1 to 14 points where half of the candidates or fewer occur.
            Where that cannot be told from errors of the posterior, they stay as they are, with a warning.

        Returns
        -------
        self
            Unchanged where an error is raised.

        Raises
        ------
        ValueError
            As in `fit`; and for the published recipe without labels, or `frequencies` with labels.

        Warns
        -----
        NothingLearnedWarning
            If frequencies cannot be estimated from these images, or if one candidate dominates them, so that
            without labels nothing is learned.
        """
        return self._move(z_img, z_txt_set, labels, groups, frequencies)

    @plain_torch
    def partial_adapt(self, z_img: ArrayLike, z_txt_set: ArrayLike, *, memory: float = 10_000) -> Self:
        """Follow a stream of unlabelled images, batch by batch, and forget slowly what it was.

        It does for a stream what `adapt` does for images that are all there: the default recipe looks for
        the candidates' images, in sums that each batch joins and that fade. What it knows is saved with the
        estimator, so that a job can go on with the next batch. Batches are of any size; the images of one
        count alike, and exact copies among them once. Calls take turns: two threads that follow with one
        estimator lose batches.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            The next images of the stream.
        z_txt_set : array-like of shape (K, d)
            Its candidates. Where they are others than those before, it begins anew upon what `fit` and
            `adapt` taught.
        memory : float
            About how many of the last images count, beside those of the last batch: after batches of n
            images, one counts exp(-n / memory).

        Returns
        -------
        self
            Unchanged where an error is raised.

        Raises
        ------
        ValueError, TypeError
            As in `adapt`; for the published recipe; if `memory` is not above 0.

        References
        ----------
        Cappé & Moulines, "On-line expectation-maximization algorithm for latent data models", JRSS B 2009.

        Examples
        --------
        Batch by batch it comes to where `adapt` comes with all images at once:

        >>> import numpy as np
        >>> from vilu_sdk import MCMScorer, ViLUEstimator
        >>> from vilu_sdk.datasets import load_digits_vlm
        >>> from vilu_sdk.evaluation import evaluate
        >>> data = load_digits_vlm()
        >>> def auc(scorer):
        ...     found = evaluate(scorer, data.z_img_test, data.z_txt, data.labels_test)
        ...     return round(100 * float(found["auc"]), 1)
        >>> follower, scale = ViLUEstimator(logit_scale=data.logit_scale), data.logit_scale
        >>> for z_img in np.array_split(data.z_img_fit, 20):
        ...     follower = follower.partial_adapt(z_img, data.z_txt)
        >>> at_once = ViLUEstimator(logit_scale=scale).adapt(data.z_img_fit, data.z_txt)
        >>> auc(MCMScorer(logit_scale=scale)), auc(follower), auc(at_once)
        (86.9, 87.2, 87.2)
        """
        return self._move(z_img, z_txt_set, memory=positive(memory, "memory"))

    def _move(
        self,
        z_img: ArrayLike,
        z_txt_set: ArrayLike,
        labels: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        frequencies: Any = None,
        memory: float | None = None,
    ) -> Self:
        """Adapt, or follow a stream with `memory`."""
        check_parameters(self)
        scale = check_logit_scale(self.logit_scale)
        generator = seeded(self.random_state)
        images = Rows(z_img, "z_img", d=getattr(self, "n_features_in_", None))
        given = open_candidates(z_txt_set, d=images.d)
        candidates = Candidates(given, images.d)
        task = None if labels is None else check_task(z_img, given, labels, groups=groups)
        said = check_frequencies(frequencies, given)
        if task is not None and said is not None:
            raise ValueError(
                "frequencies are of images without labels; leave them out where labels are given."
            )
        warn_of_mismatch(self, images, candidates)
        if task is not None:
            self._warn_of_order(task)
        texts = Rows(candidates.text, "z_txt_set", normalise=False)
        units = None if groups is None else check_units(groups, len(images))
        shown = task or Task(images, texts, None, None, groups=units)
        with shared_fit(shown, self._settings):
            self.model_ = self._adapted(shown, scale, generator, said, memory)
            self.n_features_in_ = images.d
            # Images without labels may be judged: nobody has told the answers.
            earlier = getattr(self, "fit_rows_", None)
            known = earlier if task is None else FitRows.of(images).with_those_of(earlier)
            before = getattr(self, "fitted_on_", None) or FittedOn(0, None)
            looks = getattr(self, "seen_", None)
            self._remember(images, texts, known, given)
            if memory is not None and looks is not None and looks.images.n > self.seen_.images.n:
                # A batch of a few images says less of how they look.
                self.seen_ = looks
            labelled = before.images + len(images) * (task is not None)
            adapted = before.adapted + len(images) * (task is None)
            self.fitted_on_ = replace(self.fitted_on_, images=labelled, adapted=adapted)
        return self

    @plain_torch
    def explain(
        self,
        z_img: ArrayLike,
        z_txt_set: ArrayLike,
        top_k: int = 3,
        *,
        names: Sequence[str] | None = None,
    ) -> Explanation:
        """Return the competing candidates of each image and the parts of the failure score.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings.
        z_txt_set : array-like of shape (K, d)
            Candidate texts.
        top_k : int
            Number of competitors, at most K - 1.
        names : sequence of str, optional
            Names of the candidates, for the table; by default those that they have.

        Returns
        -------
        Explanation
            Prints as a table; ``to_dicts()`` gives rows for a data frame.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator was not fitted.
        ValueError, TypeError
            As in `decision_function`; if `top_k` is below 1 or `names` are not K.

        Examples
        --------
        >>> import numpy as np
        >>> from vilu_sdk import ViLUEstimator
        >>> rng = np.random.default_rng(0)
        >>> z_txt = rng.normal(size=(4, 8))
        >>> labels = rng.integers(4, size=256)
        >>> z_img = z_txt[labels] + 1.5 * rng.normal(size=(256, 8))
        >>> est = ViLUEstimator(random_state=0).fit(z_img, z_txt, labels)
        >>> explanation = est.explain(z_img[:2], z_txt, 1, names=["cat", "dog", "owl", "fox"])
        >>> explanation.to_dicts()[0]["prediction"] in ["cat", "dog", "owl", "fox"]
        True
        """
        opened = open_candidates(z_txt_set, d=Rows(z_img, "z_img").d)
        images, texts = self._check_score(z_img, opened)
        text, k = texts.text, len(texts)
        require_candidates(k, "explain")
        warn_of_mismatch(self, images, texts)
        columns, contributions = compete(self.model_, images, text, min(whole(top_k, "top_k", 1), k - 1))
        prediction, decision, probability, rivals, rival_probability = columns
        return Explanation(
            prediction=prediction,
            uncertainty=self._uncertainty(decision),
            probability=probability,
            competitors=rivals,
            competitor_probability=rival_probability,
            contributions=contributions,
            names=opened.called(names),
        )

    def _left_out(self, task: Task) -> Iterator[tuple[Tensor, Tensor]] | None:
        """Return what a fit would say of its rows without each of them, None where only folds can tell."""
        scale, generator = check_logit_scale(self.logit_scale), seeded(self.random_state)
        require_candidates(len(task.texts), type(self).__name__)
        if not self._is_auto or not uses_all_rows(task):
            return None
        self._warn_of_order(task)
        return left_out(task, scale, generator)

    def _learn(self, task: Task) -> None:
        scale, generator = check_logit_scale(self.logit_scale), seeded(self.random_state)
        if self._is_auto:
            require_candidates(len(task.texts), "ViLUEstimator")
            self.model_ = learn_auto(task, scale, generator, None, self._unknown_rate())
            return
        self._unknown_rate()
        self.model_ = self._published().learn(task, scale, generator)

    def _knows(self, text: Tensor) -> bool:
        known = getattr(self, "model_", None)
        every = torch.arange(len(text))
        return (
            isinstance(known, ClassModel)
            and len(known.text) == len(text)
            and torch.equal(known.match(text), every)
        )

    def _unknown_rate(self) -> float | None:
        """Return the share of images of no candidate that is given."""
        rate = self.unknown_rate
        if rate is None:
            return None
        if not 0 <= (rate := np.asarray(rate).item()) < 1:
            raise ValueError(f"unknown_rate must be a number in [0, 1), or None, got {rate!r}.")
        if not self._is_auto:
            raise ValueError("unknown_rate is for recipe='auto'; leave it out.")
        return float(rate)

    def _published(self) -> PaperRecipe:
        """Return the recipe where it is the published one, which "paper" names."""
        return self.recipe if isinstance(self.recipe, PaperRecipe) else PaperRecipe()

    def _adapted(
        self,
        task: Task,
        scale: float,
        generator: torch.Generator,
        frequencies: Frequencies,
        memory: float | None = None,
    ) -> LogLinearModel | PaperModel:
        model = getattr(self, "model_", None)
        if isinstance(model, PaperModel) or (model is None and not self._is_auto):
            if task.labels is None or model is None:
                raise ValueError(
                    "the published recipe adapts a fitted estimator with labels; fit it first and pass "
                    "`labels`, or use recipe='auto'."
                )
            return self._published().adapt(model, task, generator)
        require_candidates(len(task.texts), "adapt")
        if task.labels is not None:
            return learn_auto(task, scale, generator, model, self._unknown_rate())
        before = CaptionModel(scale) if model is None else model
        rate = self._unknown_rate()
        return adapt_auto(before, task, generator, frequencies=frequencies, memory=memory, unknown_rate=rate)

    def _among(self, text: Tensor) -> Among:
        return self.model_.among(text)
