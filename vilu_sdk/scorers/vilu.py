"""ViLU: the estimator that users meet first."""

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from vilu_sdk.intake import Task, positive
from vilu_sdk.scorers._base import Scorer
from vilu_sdk.scorers._paper import PaperRecipe
from vilu_sdk.training import seeded


class ViLUEstimator(Scorer):
    """Learned vision-language uncertainty: how likely the zero-shot prediction is wrong.

    Parameters
    ----------
    recipe : {"auto", "paper"} or PaperRecipe
        How it learns. "paper" is the published method, `PaperRecipe` varies it.
    logit_scale : float
        The model's learnt scale, by which cosines become logits: 100 for CLIP.
    random_state : int, RandomState or None
        Seeds what is random in the training.

    Attributes
    ----------
    model_ : object
        What was learned.

    References
    ----------
    Lafon et al., "ViLU: Learning Vision-Language Uncertainties for Failure Prediction", ICCV 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import PaperRecipe, ViLUEstimator
    >>> rng = np.random.default_rng(0)
    >>> z_txt = rng.normal(size=(4, 8))
    >>> labels = rng.integers(4, size=256)
    >>> z_img = z_txt[labels] + 1.5 * rng.normal(size=(256, 8))
    >>> est = ViLUEstimator(recipe=PaperRecipe(epochs=2), random_state=0).fit(z_img, z_txt, labels)
    >>> est.predict_uncertainty(z_img, z_txt).shape
    (256,)
    """

    learns = True

    def __init__(
        self,
        recipe: Literal["auto", "paper"] | PaperRecipe = "auto",
        *,
        logit_scale: float = 100.0,
        random_state: Any = None,
    ) -> None:
        self.recipe = recipe
        self.logit_scale = logit_scale
        self.random_state = random_state

    @property
    def min_candidates(self) -> int:  # type: ignore[override]
        """Fewest candidates with which the score has a meaning."""
        return self.model_.min_candidates

    def _learn(self, task: Task) -> None:
        recipe = PaperRecipe() if isinstance(self.recipe, str) else self.recipe
        self.model_ = recipe.learn(task, positive(self.logit_scale, "logit_scale"), seeded(self.random_state))

    def _decision(self, text: Tensor) -> Callable[[Tensor], Tensor]:
        return self.model_.decision(text)
