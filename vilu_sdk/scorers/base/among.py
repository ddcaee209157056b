"""The one mechanism under every verb: a scorer says what it makes of candidates, a chunk says it of images.

`Among` is the only thing a method has to give: a posterior over the candidates, a decision value, or both.
`Chunk` computes each field that a verb asks for once, the fields share what they have in common, and which
prediction is judged is decided here for all scorers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from torch import Tensor

from vilu_sdk.compute.posterior import Posterior, linear_posterior
from vilu_sdk.compute.tiles import Logits, nearest, tile_width
from vilu_sdk.scorers.base.unknown import Background

#: What can be read of a chunk, in an order in which nothing is computed twice.
COLUMNS = (
    "prediction",
    "decision",
    "answer",
    "answer_decision",
    "novelty",
    "probabilities",
    "log_probabilities",
)


class Chunk:
    """What a scorer says of some images, each field computed once when it is first asked for.

    Parameters
    ----------
    z : Tensor of shape (n, d)
        Image rows of norm 1, which can be the caller's memory.
    among : Among
        What the scorer makes of the candidates.
    columns : sequence of str
        What `read` returns: some of `COLUMNS`, in their order.
    """

    def __init__(self, z: Tensor, among: "Among", columns: Sequence[str] = ()) -> None:
        self.z = z
        self._among = among
        self._columns = columns

    @cached_property
    def posterior(self) -> Posterior:
        """The posterior over the candidates, of scorers that have one."""
        assert self._among.posterior is not None
        found = self._among.posterior(self.z)
        found.searches = self._among.answers and "answer" in self._columns
        return found

    @cached_property
    def prediction(self) -> Tensor:
        """The zero-shot prediction (n,): the first candidate of the largest cosine."""
        return self.posterior.top if self._among.top_is_prediction else nearest(self.z, self._among.text)

    @cached_property
    def decision(self) -> Tensor:
        """Decision values (n,): higher = the prediction is more likely wrong."""
        return self._with_none(self._among.decision(self))

    @property
    def answer(self) -> Tensor:
        """The candidate (n,) that the posterior holds likeliest; the prediction where none was learned."""
        return self.posterior.top if self._among.answers else self.prediction

    @property
    def answer_decision(self) -> Tensor:
        """Decision values (n,): higher = the answer is more likely wrong."""
        return self._with_none(self.posterior.sharp_log_odds) if self._among.answers else self.decision

    @property
    def novelty(self) -> Tensor:
        """How little speaks for any of the candidates (n,): higher = more likely none of them."""
        if self._none is not None:
            return self._none
        if self._among.posterior is not None:
            return -self.posterior.log_sum
        return -(self.z * self._among.text[self.prediction]).sum(dim=1)

    @cached_property
    def _none(self) -> Tensor | None:
        """Log-odds (n,) that none of the candidates is shown, where the scorer knows how likely that is."""
        background = self._among.background
        return None if background is None else background.log_odds(self.posterior)

    def _with_none(self, decision: Tensor) -> Tensor:
        """Count in decision values (n,) that an image may show none of the candidates."""
        background = self._among.background
        if background is None or self._none is None:
            return decision
        return background.against(decision, self._none)

    @property
    def log_odds(self) -> Tensor:
        """Log-odds (n,) that the prediction is wrong under the posterior."""
        # Which candidate is the top need not be searched for.
        return self.posterior.log_odds(None if self._among.top_is_prediction else self.prediction)

    @property
    def probabilities(self) -> Tensor:
        """The posterior (n, K)."""
        return self.posterior.probabilities

    @property
    def log_probabilities(self) -> Tensor:
        """Its logarithm (n, K)."""
        return self.posterior.log_probabilities

    def read(self) -> list[Tensor]:
        """Return the columns that were asked for."""
        return [getattr(self, column) for column in self._columns]


def _log_odds(chunk: Chunk) -> Tensor:
    return chunk.log_odds


@dataclass(frozen=True)
class Among:
    """How a scorer scores images among given candidates.

    Attributes
    ----------
    text : Tensor of shape (K, d)
        The candidates.
    posterior : callable, optional
        From image rows (n, d) to a `Posterior` over the candidates. Scorers that have none leave it out.
    decision : callable
        From a `Chunk` to decision values (n,), by default the log-odds under the posterior.
    width : int, optional
        Columns of the widest array that either makes for an image, by default all K.
    top_is_prediction : bool
        Whether predictions are read off the posterior, because it ranks the candidates as the cosines do.
    answers : bool
        Whether the posterior ranks them otherwise, and so gives answers of its own.
    background : Background, optional
        How likely an image shows none of the candidates, which decision values then count.
    """

    text: Tensor
    posterior: Callable[[Tensor], Posterior] | None = None
    decision: Callable[[Chunk], Tensor] = _log_odds
    width: int | None = None
    top_is_prediction: bool = False
    answers: bool = False
    background: Background | None = None

    @classmethod
    def linear(
        cls,
        text: Tensor,
        logits: Logits,
        features: Callable[[Tensor], Tensor] | None = None,
        *,
        decision: Callable[[Chunk], Tensor] = _log_odds,
        top_is_prediction: bool = False,
        answers: bool = False,
        sharpness: float = 1.0,
        background: Background | None = None,
    ) -> Self:
        """Logits that are linear in the images, or in features of them, and are read tile by tile."""
        x = features or (lambda z: z)

        def posterior(z: Tensor) -> Posterior:
            return linear_posterior(x(z), logits, sharpness)

        width = tile_width(len(text))
        return cls(text, posterior, decision, width, top_is_prediction, answers, background)

    @classmethod
    def zero_shot(cls, text: Tensor, scale: float, whole: Callable[[Chunk], Tensor] | None = None) -> Self:
        """The softmax of the cosines times a scale; `whole` is a decision that reads whole rows of it."""
        if whole is None:
            return cls.linear(text, Logits.zero_shot(text, scale), top_is_prediction=True)
        return cls(text, lambda z: Posterior(lambda: scale * (z @ text.T)), whole, top_is_prediction=True)
