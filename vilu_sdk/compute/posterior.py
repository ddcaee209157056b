"""A softmax over the candidates of some images, of which no array (n, K) exists before it is asked for."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from vilu_sdk.compute.softmax import SplitSoftmax, are_short, log_softmax, softmax
from vilu_sdk.compute.tiles import Logits, Peak

#: Logits of so few images and candidates are kept: steps are what costs then, and no memory.
FEW = 1 << 12


class Posterior:
    """Probabilities of at least two candidates of n images, from a function that returns their logits (n, K).

    Logits are in nats, and not kept: one array of that size fewer is alive while others are made of them.

    Parameters
    ----------
    logits : callable
    sharpness : float
        An inverse temperature, which makes probabilities calibrated: the logits times it are their logits.
    """

    def __init__(self, logits: Callable[[], Tensor], sharpness: float = 1.0) -> None:
        self._logits = logits
        self.sharpness = sharpness
        #: Whether `top` and `sharp_log_odds` will be asked for after `log_odds`, so that one pass finds them.
        self.searches = False

    @cached_property
    def plain(self) -> SplitSoftmax:
        """The softmax of the logits as they are, split at the largest column of each row."""
        return SplitSoftmax(self._logits())

    @cached_property
    def split(self) -> SplitSoftmax:
        """The softmax, split at the same column."""
        return self.plain if self.sharpness == 1.0 else SplitSoftmax(self._sharp(), self.plain.column)

    @property
    def top(self) -> Tensor:
        """The likeliest candidate (n,), the first of equals."""
        return self.plain.column

    def log_odds(self, column: Tensor | None = None) -> Tensor:
        """Log-odds (n,) of the logits that the likeliest is wrong, or a column (n,); exact at any lead."""
        return self.plain.log_odds if column is None else SplitSoftmax(self._logits(), column).log_odds

    @property
    def sharp_log_odds(self) -> Tensor:
        """Log-odds (n,) of the probabilities that the likeliest candidate is wrong."""
        return self.split.log_odds

    @property
    def log_sum(self) -> Tensor:
        """Logarithm (n,) of the sum of the exponentials of the logits."""
        return self.plain.log_sum

    @property
    def probabilities(self) -> Tensor:
        """All probabilities, (n, K)."""
        return softmax(self._sharp())

    @property
    def log_probabilities(self) -> Tensor:
        """Their logarithms, (n, K), finite also where a probability is 0 in floating point."""
        return log_softmax(self._sharp())

    def _sharp(self) -> Tensor:
        return self._logits() if self.sharpness == 1.0 else self.sharpness * self._logits()


def linear_posterior(x: Tensor, linear: Logits, sharpness: float = 1.0) -> Posterior:
    """Return the posterior whose logits are linear in features `x` (n, d) of the images."""
    n, k = x.shape[0], linear.directions.shape[1]
    if are_short(n, k) or n * k <= FEW:
        return FewPosterior(linear.in_nats(x), sharpness)
    return LinearPosterior(x, linear, sharpness)


class FewPosterior(Posterior):
    """A posterior of few images or few candidates, whose logits (n, K) are kept."""

    def __init__(self, logits: Tensor, sharpness: float = 1.0) -> None:
        super().__init__(lambda: logits, sharpness)

    def log_odds(self, column: Tensor | None = None) -> Tensor:
        """See `Posterior`; most often the column is the largest, at which the softmax is split for more."""
        if column is None or torch.equal(column, self.plain.column):
            return self.plain.log_odds
        return super().log_odds(column)


class LinearPosterior(Posterior):
    """A posterior whose logits are linear in features `x` (n, d) of the images, and are read tile by tile."""

    def __init__(self, x: Tensor, linear: Logits, sharpness: float = 1.0) -> None:
        super().__init__(lambda: linear.in_nats(x), sharpness)
        self.x, self.linear = x, linear
        self._peak: Peak | None = None

    @property
    def top(self) -> Tensor:
        """See `Posterior`."""
        column = self._read(search=True).column
        assert column is not None
        return column

    def log_odds(self, column: Tensor | None = None) -> Tensor:
        """See `Posterior`."""
        return self._read().log_odds if column is None else self._read(column).log_odds_of

    @property
    def sharp_log_odds(self) -> Tensor:
        """See `Posterior`."""
        return self._read(search=True).sharp_log_odds

    @property
    def log_sum(self) -> Tensor:
        """See `Posterior`."""
        return self._read().log_sum

    def _read(self, column: Tensor | None = None, *, search: bool = False) -> Peak:
        """Return what was read already, or read it in one pass."""
        known = self._peak
        lacks = known is None or (search and known.column is None)
        if lacks or (column is not None and known is not None and known.of is not column):
            search = search or self.searches
            sharpness = self.sharpness if search else 1.0
            known = self._peak = Peak(self.x, self.linear, column, search=search, sharpness=sharpness)
        assert known is not None
        return known
