"""LVU: learning visual uncertainties, a loss predictor on the image embedding alone."""

import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from torch import Tensor

from vilu_sdk.compute.random import seeded, seeded_init
from vilu_sdk.compute.state import plain_torch
from vilu_sdk.inputs.task import Task, check_task
from vilu_sdk.inputs.values import check_logit_scale
from vilu_sdk.scorers.base.among import Among
from vilu_sdk.scorers.base.backbone_check import warn_of_mismatch
from vilu_sdk.scorers.base.fit_rows import FitRows
from vilu_sdk.scorers.base.scorer import Scorer
from vilu_sdk.scorers.paper.confidence import Target, sgd_settings, train_confidence
from vilu_sdk.scorers.paper.head import ViLUHead
from vilu_sdk.training.resume import shared_fit
from vilu_sdk.training.sgd import Weighting


class LVUScorer(Scorer):
    r"""Learned visual uncertainty: a perceptron on the image embedding, blind to the candidates.

    .. math:: u = 1 - \sigma(f(z_v)) \quad\text{or, of a loss,}\quad u = -\log \sigma(f(z_v))

    Parameters
    ----------
    logit_scale : float
        The model's learnt scale s: 100 for CLIP.
    target : {"tcp", "loss", "correct"}
        What is learned: "tcp", σ(f) is the zero-shot probability p of the true class, by squared error
        (ConfidNet); "loss", -log σ(f) is the model's loss -log p, by squared error (loss prediction);
        "correct", σ(f) is whether the prediction is right, by binary cross-entropy.
    weighting : {"adaptive", "static"}
        Whether failures weigh -log(failure rate of the batch) in the loss, or 1.
    hidden : sequence of int
        Widths of the hidden layers.
    epochs, batch_size, learning_rate, momentum, weight_decay, warmup_epochs
        Stochastic gradient descent; the rate warms up linearly and decays along a cosine.
    view_noise : float
        As in `PaperRecipe`.
    adapt_epochs, adapt_batch_size, adapt_learning_rate
        Those of `adapt`.
    random_state : int, RandomState or None
        Seeds the initialisation and the order of the batches.

    Attributes
    ----------
    head_ : ViLUHead
        The trained network, whose output is f.
    loss_curve_ : Tensor of shape (steps,)
        Training loss of every step.

    Notes
    -----
    With ``target="tcp"`` u estimates one minus the probability the zero-shot softmax gives the true
    class, which is not a probability of failure; ``is_probability`` says which it is. With
    ``target="loss"`` u is the predicted loss -log σ(f) in nats, at least 0, which ranks as 1 - σ(f) does.

    References
    ----------
    Corbière et al., "Addressing Failure Prediction by Learning Model Confidence", NeurIPS 2019; Yoo and
    Kweon, "Learning Loss for Active Learning", CVPR 2019; Kirchhof et al., "Pretrained Visual
    Uncertainties", arXiv:2402.16569; Lafon et al., ICCV 2025, for the setting.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import LVUScorer
    >>> rng = np.random.default_rng(0)
    >>> z_txt = rng.normal(size=(4, 8))
    >>> labels = rng.integers(4, size=256)
    >>> z_img = z_txt[labels] + 1.5 * rng.normal(size=(256, 8))
    >>> scorer = LVUScorer(epochs=2, random_state=0).fit(z_img, z_txt, labels)
    >>> scorer.predict_uncertainty(z_img, z_txt).shape
    (256,)
    """

    learns = True
    takes_views = True
    min_candidates = 1
    head_: ViLUHead
    loss_curve_: Tensor

    def __init__(
        self,
        *,
        logit_scale: float = 100.0,
        target: Target = "tcp",
        weighting: Weighting = "adaptive",
        hidden: Sequence[int] = (512, 256, 128),
        epochs: int = 300,
        batch_size: int = 128,
        learning_rate: float = 0.05,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        warmup_epochs: int = 5,
        view_noise: float = 0.0,
        adapt_epochs: int = 50,
        adapt_batch_size: int = 32,
        adapt_learning_rate: float = 0.05,
        random_state: Any = None,
    ) -> None:
        self.logit_scale = logit_scale
        self.target = target
        self.weighting = weighting
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.view_noise = view_noise
        self.adapt_epochs = adapt_epochs
        self.adapt_batch_size = adapt_batch_size
        self.adapt_learning_rate = adapt_learning_rate
        self.random_state = random_state

    @property
    def is_probability(self) -> bool:  # type: ignore[override]
        """Whether the uncertainty is meant as a probability of failure."""
        return self.target == "correct"

    @plain_torch
    def adapt(self, z_img: ArrayLike, z_txt_set: ArrayLike, labels: ArrayLike) -> Self:
        """Fine-tune all weights on a few labelled images of another domain (supplement C.5 of ViLU).

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Images of the domain.
        z_txt_set : array-like of shape (K, d)
            Its candidates.
        labels : array-like of shape (N,)
            Classes of the images, integers in [0, K).

        Returns
        -------
        self
            Unchanged where an error is raised.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the scorer was not fitted.
        ValueError, TypeError
            As in `fit`, or without labels.
        """
        images, text = self._check_score(z_img, z_txt_set)
        if labels is None:
            raise ValueError("LVUScorer adapts with labels; pass `labels`.")
        task = check_task(z_img, z_txt_set, labels)
        warn_of_mismatch(self, images, text)
        self._warn_of_order(task)
        head = copy.deepcopy(self.head_)
        with shared_fit(task, self._settings):
            history = self._train(head, task, seeded(self.random_state), adapt=True)
            self.head_, self.loss_curve_ = head, torch.cat([self.loss_curve_, history])
            earlier = getattr(self, "fit_rows_", None)
            self._remember(images, task.texts, FitRows.of(images).with_those_of(earlier), task.given)
        return self

    def _learn(self, task: Task) -> None:
        generator = seeded(self.random_state)
        with seeded_init(generator):
            self.head_ = ViLUHead(task.images.d, self.hidden, attention_scale=None, predicted=False)
        self.loss_curve_ = self._train(self.head_, task, generator)

    def _train(self, head: ViLUHead, task: Task, generator: torch.Generator, adapt: bool = False) -> Tensor:
        return train_confidence(
            head,
            task,
            check_logit_scale(self.logit_scale),
            sgd_settings(self, adapt),
            generator,
            target=self.target,
            weighting=self.weighting,
            view_noise=0.0 if adapt else self.view_noise,
            what="adapting LVU" if adapt else "training LVU",
        )

    def _uncertainty(self, decision: NDArray[np.float64]) -> NDArray[np.float64]:
        # -log σ(f) is the softplus of -f; the other targets lie in [0, 1].
        uncertainty: NDArray[np.float64] = (
            np.logaddexp(0, decision) if self.target == "loss" else expit(decision)
        )
        return uncertainty

    def _among(self, text: Tensor) -> Among:
        return Among(text, decision=lambda chunk: -self.head_(chunk.z, text, None))
