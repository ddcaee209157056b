"""What can be asked of a scorer: each verb is a line on top of one pass over the images."""

from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.utils.metaestimators import available_if
from torch import Tensor

from vilu_sdk.compute.device import compute_device
from vilu_sdk.compute.state import plain_torch
from vilu_sdk.compute.streaming import stream
from vilu_sdk.inputs.candidates import Candidates, open_candidates
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.values import is_word, require_candidates
from vilu_sdk.scorers.base.among import COLUMNS, Among, Chunk
from vilu_sdk.scorers.base.backbone_check import warn_of_mismatch
from vilu_sdk.scorers.base.judgement import Judgement
from vilu_sdk.scorers.base.kept import judge_among, predict_among, recall

#: Which prediction is judged.
Predicts = Literal["zero-shot", "posterior"]
# The columns that the judged prediction and its decision value are, by `predicts`.
JUDGED = {
    "zero-shot": {"prediction": "prediction", "decision": "decision"},
    "posterior": {"prediction": "answer", "decision": "answer_decision"},
}

# Logarithm of the largest uncertainty, near that of the largest float.
LARGEST = 709.0
# What is read for an uncertainty, to be undone.
UNCERTAINTIES = {"uncertainty": "decision", "answer_uncertainty": "answer_decision"}


@cache
def _needed(fields: tuple[str, ...], predicts: Predicts) -> tuple[str, ...]:
    """Return the column that each field is read from."""
    judged = JUDGED[predicts] | {"zero_shot": "prediction"}
    sources = [UNCERTAINTIES.get(field, field) for field in fields]
    return tuple(judged.get(source, source) for source in sources)


class Verbs:
    """The verbs of a scorer; a subclass says what it makes of candidates (`_among`)."""

    #: Whether `predict_uncertainty` is meant as a probability of failure. Where it is not, the
    #: decision function is the logarithm of the uncertainty instead of its log-odds.
    is_probability: ClassVar[bool] = True
    #: Fewest candidates with which the score has a meaning.
    min_candidates: ClassVar[int] = 2
    #: Whether it has a posterior over the candidates, and so `predict_proba`.
    has_posterior: ClassVar[bool] = False
    #: Whether that posterior ranks candidates otherwise than their cosines do, and so has answers of its own.
    has_answers: ClassVar[bool] = False
    #: Which prediction `predict` returns, and all verbs judge.
    predicts: Predicts = "zero-shot"

    def decision_function(self, z_img: ArrayLike, z_txt_set: ArrayLike) -> NDArray[np.float64]:
        """Rank images by uncertainty, without saturation.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings.
        z_txt_set : array-like of shape (K, d)
            Candidate texts the prediction is chosen from.

        Returns
        -------
        ndarray of shape (N,)
            Higher = more likely wrong: the log-odds of `predict_uncertainty` where that is a
            probability, its logarithm otherwise. The unit is nats.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the scorer learns and was not fitted.
        ValueError, TypeError
            As in `fit`; also with fewer candidates than the score can compare.
        """
        (decision,) = self._read(z_img, z_txt_set, "decision")
        return decision

    def predict_uncertainty(self, z_img: ArrayLike, z_txt_set: ArrayLike) -> NDArray[np.float64]:
        """Return the uncertainty of the prediction of each image.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings.
        z_txt_set : array-like of shape (K, d)
            Candidate texts the prediction is chosen from; any K, also one never seen in `fit`.

        Returns
        -------
        ndarray of shape (N,)
            Higher = more likely wrong. In [0, 1] where `is_probability` is True.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError, TypeError
            As in `decision_function`.
        """
        return self._uncertainty(self.decision_function(z_img, z_txt_set))

    def predict(self, z_img: ArrayLike, z_txt_set: ArrayLike) -> NDArray[np.int64]:
        """Return the prediction that the uncertainty is about.

        It is the zero-shot one, the candidate of the largest cosine (the first of equals), and the same for
        every scorer, so that failures do not depend on the scorer; where a scorer has
        ``predicts="posterior"``, it is the candidate that its posterior holds likeliest.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings.
        z_txt_set : array-like of shape (K, d)
            Candidate texts.

        Returns
        -------
        ndarray of shape (N,)
            Row numbers of `z_txt_set`.

        Raises
        ------
        ValueError, TypeError
            As in `fit`.
        sklearn.exceptions.NotFittedError
            For answers of a posterior that was not fitted; zero-shot predictions take no fit.
        """
        (prediction,) = self._read(z_img, z_txt_set, "prediction")
        return prediction

    @available_if(lambda self: self.has_posterior)
    def predict_proba(self, z_img: ArrayLike, z_txt_set: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each candidate, of scorers that have a posterior over them.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings.
        z_txt_set : array-like of shape (K, d)
            Candidate texts.

        Returns
        -------
        ndarray of shape (N, K)
            Rows sum to 1. The zero-shot softmax at the scorer's own scale, or what the scorer has learned
            in its place; its largest column need not be the zero-shot prediction then.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError, TypeError
            As in `decision_function`.
        """
        (probabilities,) = self._read(z_img, z_txt_set, "probabilities")
        return probabilities

    @available_if(lambda self: self.has_posterior)
    def predict_log_proba(self, z_img: ArrayLike, z_txt_set: ArrayLike) -> NDArray[np.float64]:
        """Return the logarithm of `predict_proba`, finite also where a probability rounds to 0.

        Parameters
        ----------
        z_img, z_txt_set
            As in `predict_proba`.

        Returns
        -------
        ndarray of shape (N, K)
            In nats, at most 0.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError, TypeError
            As in `decision_function`.
        """
        (logarithms,) = self._read(z_img, z_txt_set, "log_probabilities")
        return logarithms

    def novelty(self, z_img: ArrayLike, z_txt_set: ArrayLike) -> NDArray[np.float64]:
        """Rank images by how likely they show none of the candidates.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings.
        z_txt_set : array-like of shape (K, d)
            Candidate texts.

        Returns
        -------
        ndarray of shape (N,)
            Higher = more likely none of them: log-odds, where the default recipe has learned how likely that
            is; else minus the logarithm of the summed likelihoods of all candidates where there is a
            posterior, minus the largest cosine where there is none. Only its order has a meaning, unless
            the fit was shown images of the label -1.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError, TypeError
            As in `decision_function`.

        References
        ----------
        Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020, for the softmax.
        """
        (novelty,) = self._read(z_img, z_txt_set, "novelty")
        return novelty

    def judge(
        self, z_img: ArrayLike, z_txt_set: ArrayLike, *, names: Sequence[str] | None = None
    ) -> Judgement:
        """Return all there is to know about each image, out of one pass.

        Parameters
        ----------
        z_img : array-like of shape (N, d)
            Image embeddings.
        z_txt_set : array-like of shape (K, d)
            Candidate texts.
        names : sequence of str, optional
            Names of the candidates, for the table; by default those that they have.

        Returns
        -------
        Judgement
            The zero-shot prediction and its uncertainty, the answer of the posterior and its uncertainty,
            and the novelty. It does not depend on `predicts`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the scorer learns and was not fitted.
        ValueError, TypeError
            As in `decision_function`; if `names` are not K.

        Examples
        --------
        >>> import numpy as np
        >>> from vilu_sdk import MCMScorer
        >>> z_img = np.array([[1.0, 0.9, 0.0], [1.0, 0.2, 0.1]])
        >>> print(MCMScorer(logit_scale=10.0).judge(z_img, np.eye(3), names=["cat", "dog", "owl"]))
        image  prediction  answer  uncertainty  answer uncertainty  novelty
        0      cat         cat           0.323               0.323    -7.82
        1      cat         cat           0.001               0.001    -9.76
        """
        opened = open_candidates(z_txt_set, d=Rows(z_img, "z_img").d)
        names = opened.called(names)
        prediction, decision, answer, answer_decision, novelty = self._said(
            z_img, opened, ["prediction", "decision", "answer", "answer_decision", "novelty"]
        ).values()
        uncertainty, answer_uncertainty = map(self._uncertainty, (decision, answer_decision))
        return Judgement(prediction, uncertainty, answer, answer_uncertainty, novelty, names)

    def _among(self, text: Tensor) -> Among:
        """Return what this scorer makes of candidates (K, d) of norm 1."""
        raise NotImplementedError

    def _check_score(self, z_img: Any, z_txt_set: Any) -> tuple[Rows, Candidates]:
        """Check what is to be scored, and that there was a fit if there has to be one."""
        raise NotImplementedError

    def _read(self, z_img: Any, z_txt_set: Any, *fields: str) -> tuple[NDArray[Any], ...]:
        """Return some of `COLUMNS`, of `UNCERTAINTIES`, or "zero_shot", of images, out of one pass.

        Of "prediction", "decision" and "uncertainty" those that `predicts` chooses; "zero_shot" is the
        prediction that papers judge, whatever it chooses.
        """
        if not is_word(self.predicts, JUDGED):
            raise ValueError(f"predicts must be 'zero-shot' or 'posterior', got {self.predicts!r}.")
        needed = _needed(fields, self.predicts)
        said = self._said(z_img, z_txt_set, [column for column in COLUMNS if column in needed])
        return tuple(
            [
                self._uncertainty(said[column]) if field in UNCERTAINTIES else said[column]
                for field, column in zip(fields, needed, strict=True)
            ]
        )

    @plain_torch
    def _said(self, z_img: Any, z_txt_set: Any, columns: list[str]) -> dict[str, NDArray[Any]]:
        """Return some of `COLUMNS` by name."""
        device = compute_device()
        if columns == ["prediction"]:  # which needs no fit
            images = Rows(z_img, "z_img")
            texts = recall(self, z_txt_set, images.d)
            among = predict_among(self, texts, device)
        else:
            images, texts = self._check_score(z_img, z_txt_set)
            require_candidates(len(texts), type(self).__name__, self.min_candidates)
            warn_of_mismatch(self, images, texts)
            among = judge_among(self, texts, device)
        width = among.width or len(among.text)
        found = stream(images, width, lambda z: Chunk(z, among, columns).read(), device=device)
        said: dict[str, NDArray[Any]] = {}
        first = texts.first  # rounding tells equal candidates apart
        for column, part in zip(columns, found, strict=True):
            values: NDArray[Any] = part.numpy()
            if column in ("prediction", "answer"):
                said[column] = values.copy() if first is None else first[values]
                continue
            each = values if values.ndim == 1 else values[:, 0]  # of probabilities, NaN fills a row
            if np.isnan(each[row := each.argmin()]):  # the first NaN, where there is one
                raise ValueError(
                    f"what {type(self).__name__} says of row {row} of z_img is NaN, so its learned numbers "
                    "or settings are none that a fit gives; fit it again, or load it from whom you trust."
                )
            if column.endswith("probabilities"):
                said[column] = values if first is None else values[:, first]
            else:
                said[column] = values.astype(np.float64)
        return said

    def _uncertainty(self, decision: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undo the logarithm, or log-odds, that keeps the decision function from saturating."""
        uncertainty: NDArray[np.float64] = (
            expit(decision) if self.is_probability else np.exp(np.minimum(decision, LARGEST))
        )
        return uncertainty
