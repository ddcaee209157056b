"""A softmax over the candidates of some images, of which no array (n, K) exists before it is asked for."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from vilu_sdk.compute.softmax import SplitSoftmax
from vilu_sdk.compute.tiles import BITS, Logits, log_odds, peak_and_log_odds


class Posterior:
    """Probabilities of at least two candidates of n images, from a function that returns their logits (n, K).

    Logits are in nats, and not kept: one array of that size fewer is alive while others are made of them.
    """

    def __init__(self, logits: Callable[[], Tensor]) -> None:
        self._logits = logits

    @cached_property
    def split(self) -> SplitSoftmax:
        """The softmax, split at the largest column of each row."""
        return SplitSoftmax(self._logits())

    @property
    def top(self) -> Tensor:
        """The likeliest candidate (n,), the first of equals."""
        return self.split.column

    def log_odds(self, column: Tensor | None = None) -> Tensor:
        """Log-odds (n,) that a column (n,), by default the likeliest, is wrong; exact at any lead."""
        return self.split.log_odds if column is None else SplitSoftmax(self._logits(), column).log_odds

    @property
    def probabilities(self) -> Tensor:
        """All probabilities, (n, K)."""
        return self.split.probabilities


class LinearPosterior(Posterior):
    """A posterior whose logits are linear in features `x` (n, d) of the images, and are read tile by tile."""

    def __init__(self, x: Tensor, linear: Logits) -> None:
        super().__init__(lambda: linear(x) / BITS)
        self.x, self.linear = x, linear

    @cached_property
    def _peak(self) -> tuple[Tensor, Tensor]:
        """The likeliest candidate and the log-odds that it is wrong, out of one pass."""
        return peak_and_log_odds(self.x, self.linear)

    @property
    def top(self) -> Tensor:
        """See `Posterior`."""
        return self._peak[0]

    def log_odds(self, column: Tensor | None = None) -> Tensor:
        """See `Posterior`."""
        if column is None and "_peak" in vars(self):
            return self._peak[1]
        return log_odds(self.x, self.linear, column)  # without a search for the likeliest
