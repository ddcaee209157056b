"""What every scorer shares: fit, bind, and persistence, beside the verbs it is asked by."""

import copy
import os
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from vilu_sdk.compute.distributed import check_rows, from_first, leads, world_size
from vilu_sdk.compute.state import plain_torch
from vilu_sdk.compute.tiles import nearest
from vilu_sdk.inputs import escape
from vilu_sdk.inputs.candidates import Candidates, Opened, open_candidates
from vilu_sdk.inputs.names import check_same_names
from vilu_sdk.inputs.order import LOOKED_AT, warn_of_order
from vilu_sdk.inputs.places import shown
from vilu_sdk.inputs.rows import WIDEST, Rows
from vilu_sdk.inputs.task import Checkpoint, Task, check_task
from vilu_sdk.inputs.values import as_path, check_logit_scale
from vilu_sdk.persistence.card import FittedOn, expectations
from vilu_sdk.persistence.encoding import encode
from vilu_sdk.persistence.persistent import Persistent
from vilu_sdk.persistence.types import check_parameters
from vilu_sdk.scorers.base.among import Among
from vilu_sdk.scorers.base.backbone_check import EmbeddingStatistics
from vilu_sdk.scorers.base.bound import BoundClassifier
from vilu_sdk.scorers.base.fit_rows import FitRows
from vilu_sdk.scorers.base.kept import TRANSIENT, recall
from vilu_sdk.scorers.base.verbs import Verbs
from vilu_sdk.training.resume import forget, shared_fit


class Scorer(Verbs, Persistent):
    """Base of all scorers: embeddings in, uncertainty out, higher = more likely wrong.

    A subclass defines how it learns (`_learn`, if it does) and how it scores among candidates (`_among`);
    all public methods are here.
    """

    #: Whether the scorer must be fitted before it can score.
    learns: ClassVar[bool] = False
    #: Whether it scores only the candidates of the fit, in their order, and so cannot learn from captions.
    fixed_candidates: ClassVar[bool] = False
    #: Whether `fit` takes several views of each image, (N, V, d).
    takes_views: ClassVar[bool] = False
    #: Whether `fit` takes weights of images, as the scorer is set.
    takes_weights: ClassVar[bool] = False

    @plain_torch
    def fit(
        self,
        z_img: ArrayLike,
        z_txt: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        correct: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Learn from embeddings and what is known about them.

        Scorers that learn nothing check the arguments and ignore them.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings; numpy (memory-mapped too), torch, lists, frames or columns of arrays. Rows are
            normalised. LVU and ViLU as published also learn from (N, V, d), V views of each image, of which
            each step draws one.
        z_txt : array-like of shape (K, d)
            Embeddings of the candidate texts.
        labels : array-like of shape (N,), optional
            True class of each image, an integer in [0, K), or -1 for none of the candidates, whose
            prediction is always wrong. Without labels (and without `correct`) this is a caption task: row i
            of `z_img` pairs with row i of `z_txt`, so K = N.
        correct : array-like of shape (N,), optional
            Only whether each zero-shot prediction was right, as booleans.
        groups : array-like of shape (N,), optional
            The image or video of each row, as integers or strings: one for all views of an image, frames of a
            video or captions of an image. A fit that leaves rows out leaves out whole groups. Without
            groups, rows count as independent unless they are exact copies.
        checkpoint : path-like, optional
            A folder of its own, in which a fit by gradient descent saves its state every half minute. A fit
            that is killed and called again with the same arguments resumes, and ends with the same weights
            as if it had never stopped. A finished fit removes it. Scorers that fit in one go ignore it.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an array has the wrong shape, holds NaN, infinite or all-zero rows, or labels are not
            integers in [0, K), or -1; the message names the argument. Also if the checkpoint is that of
            another scorer, of other settings or other data.
        TypeError
            If an array does not hold real numbers.
        FileExistsError
            If the folder of the checkpoint holds a ``model.safetensors`` of something else.
        BusyError
            If another fit is working with the same checkpoint.
        """
        task = check_task(z_img, z_txt, labels, correct, groups, takes_views=self.takes_views)
        return self._fit(task, checkpoint)

    def bind(self, z_txt_set: ArrayLike | None) -> BoundClassifier:
        """Return a scikit-learn classifier over images alone, for a fixed candidate set.

        Parameters
        ----------
        z_txt_set : array-like of shape (K, d) or None
            Candidate texts; row k is class k, by its name where there are names. With None, `fit` takes class
            means of the images for texts: failure prediction for any labelled features.

        Returns
        -------
        BoundClassifier
            For `GridSearchCV`, `cross_val_predict` and `Pipeline`; its score is the AUC of finding
            wrong predictions. With texts it can score without a fit if this scorer can.

        Raises
        ------
        ValueError, TypeError
            As in `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from vilu_sdk import MCMScorer
        >>> bound = MCMScorer(logit_scale=10.0).bind(np.eye(3))
        >>> bound.predict_uncertainty(np.array([[1.0, 0.9, 0.0]])).round(4)
        array([0.3226])
        """
        if z_txt_set is None:
            return BoundClassifier(self)
        Candidates(z_txt_set)  # whose errors are those of now
        if isinstance(z_txt_set, Tensor):
            z_txt_set = z_txt_set.detach()  # scikit-learn copies parameters, which torch refuses in a graph
        bound = BoundClassifier(self, z_txt_set)
        return bound._use_as_fitted() if self.__sklearn_is_fitted__() else bound

    @property
    def softmax_scale(self) -> float:
        """Factor of the cosines in zero-shot class probabilities."""
        return check_logit_scale(self.logit_scale)

    def _fit(self, task: Task, checkpoint: str | os.PathLike[str] | None) -> Self:
        """Learn from a checked task; the checkpoint is for as long as that takes."""
        check_parameters(self)
        if checkpoint is not None:
            task = replace(task, checkpoint=Checkpoint(as_path(checkpoint, "checkpoint"), self._settings()))
        if self.learns:
            self._warn_of_order(task)
        with shared_fit(task, self._settings):
            self._learn(task)
            self.n_features_in_ = task.images.d
            known = FitRows.of(task.images) if self.learns else None
            self._remember(task.images, task.texts, known, None if task.is_caption else task.given)
            if task.checkpoint is not None:
                forget(task.checkpoint)
        return self

    def _warn_of_order(self, task: Task) -> None:
        """Warn where labels, or captions, seem to be in another order than the candidates, or the images."""
        # Processes that share a fit of files read no more than their part of them.
        alone = world_size() == 1 or (leads() and not task.on_disk)
        if task.correct is None and alone:
            batch = task.sample(LOOKED_AT)
            assert batch.labels is not None
            warn_of_order(nearest(batch.z, batch.text).numpy(), batch.labels.numpy())

    def _try(self) -> None:
        """Raise unless one image can be scored, where the scorer is ready to score."""
        if not self.__sklearn_is_fitted__():
            return
        d = getattr(self, "n_features_in_", None) or self._d_tried()
        if type(d) is not int or not 0 < d <= WIDEST:
            raise ValueError(f"n_features_in_ must be a number from 1 to {WIDEST}, got {shown(d)}.")
        tried = copy.copy(self)  # which keeps what it makes of the candidates
        texts = self._texts_tried(d)
        decision, uncertainty = tried._read(texts[:1], texts, "decision", "uncertainty")
        if decision.shape != (1,) or not np.isfinite([*decision, *uncertainty]).all():
            raise ValueError(f"what it says of an image is {shown(decision.tolist())}, and no finite number.")

    def _texts_tried(self, d: int) -> NDArray[np.float32]:
        """Return candidates (K, d) among which an image can be scored."""
        return np.eye(max(2, self.min_candidates), d, dtype=np.float32) + np.float32(0.5)

    def _d_tried(self) -> int:
        """Return a width of the embeddings that can be scored without a fit."""
        return 2

    def _settings(self) -> dict[str, Any]:
        """Return as JSON what tells the fits of one scorer from those of another."""
        return {"scorer": encode(clone(self), "", {})}

    def _learn(self, task: Task) -> None:
        """Set the learned attributes; scorers that learn nothing only have bad rows reported."""
        check_rows(task.images, task.texts)

    def _among(self, text: Tensor) -> Among:
        """Return what this scorer makes of candidates (K, d) of norm 1."""
        raise NotImplementedError

    def _check_score(self, z_img: Any, z_txt_set: Any) -> tuple[Rows, Candidates]:
        if not self.__sklearn_is_fitted__():
            check_is_fitted(self)  # whose error it is; what else it looks at takes longer than a small call
        images = Rows(z_img, "z_img", d=getattr(self, "n_features_in_", None))
        opened = open_candidates(z_txt_set, d=images.d)
        if self.fixed_candidates and self.names_ is not None and opened.names is not None:
            check_same_names(opened.names.written, self.names_, opened.argument)
        return images, recall(self, opened, images.d)

    @property
    def names_(self) -> list[str] | None:
        """Names of the candidates of the fit, in their order; None where they had none."""
        known: FittedOn | None = getattr(self, "fitted_on_", None)
        return None if known is None or known.names is None else list(known.names)

    def _knows(self, text: Tensor) -> bool:
        """Whether candidates (K, d) are those of the fit, each in its place; no where none are kept."""
        return False

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        own = str(super().__repr__(N_CHAR_MAX))
        facts = self._facts()
        width = max(map(len, facts), default=0)
        return "\n".join([own, *(f"  {key:<{width}}  {value}" for key, value in facts.items())])

    def _facts(self) -> dict[str, str]:
        """Return what a fitted or loaded scorer expects; nothing of one that expects nothing."""
        knows = (self.learns and self.__sklearn_is_fitted__()) or "card_" in vars(self)
        return {key: escape.line(value) for key, value in expectations(self).items()} if knows else {}

    def _html_facts(self) -> str:
        rows = (
            f"<tr><th>{escape.html(key)}</th><td>{escape.html(value)}</td></tr>"
            for key, value in self._facts().items()
        )
        return f"<table>{''.join(rows)}</table>" if self._facts() else ""

    def _repr_html_inner(self) -> str:
        return self._html_facts() + str(super()._repr_html_inner())

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] = self._html_facts() + bundle["text/html"]
        return bundle

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in TRANSIENT}

    def _remember(self, images: Rows, texts: Rows, fit_rows: FitRows | None, given: Opened | None) -> None:
        """Keep what the embeddings look like and which they were; forget what a card said of an earlier fit.

        `given` are the candidates, None of captions. Processes that fitted together keep what the first of
        them has, to the last bit.
        """
        if self.learns:
            self.seen_ = EmbeddingStatistics.of(images, texts)
            names = None if given is None else given.called()
            self.fitted_on_ = FittedOn(
                images=len(images),
                candidates=None if given is None else len(texts),
                prompts=1 if given is None else given.prompts,
                names=None if names is None else tuple(names),
            )
        if fit_rows is not None:
            self.fit_rows_ = fit_rows
        for name in ("card_", "_warned", *TRANSIENT):
            self.__dict__.pop(name, None)
        learned = {name: value for name, value in vars(self).items() if name.endswith("_")}
        self.__dict__.update(from_first(lambda: learned))

    def __sklearn_is_fitted__(self) -> bool:
        return not self.learns or hasattr(self, "n_features_in_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = self.learns
        tags.target_tags.required = self.fixed_candidates
        return tags
