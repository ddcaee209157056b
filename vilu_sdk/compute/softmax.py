"""The softmax over candidates of whole rows, exact at any lead of the largest logit."""

from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

#: Columns of a block in the search for a maximum, and elements for which cutting into blocks pays.
BLOCK = 64
#: So few columns make short rows, of which so many are better taken column by column.
NARROW, MANY = 50, 16
#: Stands for a logit of minus infinity, of which there would be no difference.
LOWEST = torch.finfo(torch.float32).min
WORTH_BLOCKS = 1 << 15


class SplitSoftmax:
    """A softmax over candidates, split into one column and the rest without cancellation.

    With ``t`` the mass outside `column`, the probabilities are ``1 - t`` there and ``t * rest``
    elsewhere. ``1 - max p`` computed in float32 is exactly 0 once the top logit leads by 17 nats
    (a lead of 0.17 in cosine at CLIP's scale), which turns a ranking into ties. The log-odds (n,) that
    `column` (n,), by default the first maximum of each row, is wrong are log t / (1 - t), exact at any lead.
    """

    def __init__(self, logits: Tensor, column: Tensor | None = None) -> None:
        if column is None:
            self._own, self.column = first_maximum(logits)
            index = self.column.unsqueeze(1)
        else:
            self.column, index = column, column.unsqueeze(1)
            self._own = logits.gather(1, index)[:, 0]
        rest = logits.clone().scatter_(1, index, LOWEST)  # a clone lies in memory as it does
        self._log_rest = log_softmax(rest)
        # What torch.logsumexp computes, in a third of its steps.
        self._rest_lse = rest.amax(dim=1) - self._log_rest.amax(dim=1)
        self.log_odds = self._rest_lse - self._own

    @property
    def log_sum(self) -> Tensor:
        """Logarithm of the sum of all exponentials, (n,)."""
        return torch.logaddexp(self._own, self._rest_lse)

    @cached_property
    def log_tail(self) -> Tensor:
        """Log of the mass outside `column`, (n,)."""
        return logsigmoid(self.log_odds)

    @cached_property
    def tail(self) -> Tensor:
        """The mass t outside `column`, (n,)."""
        return torch.sigmoid(self.log_odds)

    @cached_property
    def rest(self) -> Tensor:
        """Softmax over the other columns, (n, K), zero at `column`."""
        return torch.exp(self._log_rest)

    @cached_property
    def probabilities(self) -> Tensor:
        """The whole softmax, (n, K)."""
        p = self.rest * self.tail[:, None]
        return p.scatter_(1, self.column[:, None], torch.sigmoid(-self.log_odds)[:, None])

    @cached_property
    def log_entropy(self) -> Tensor:
        """Log of the Shannon entropy -Σ p log p in nats, finite for one-hot rows too."""
        t = self.tail
        # H = h(t) + t·H(rest) with h the binary entropy; dividing by t keeps it exact as t → 0.
        certain = -torch.special.xlog1py(1 - t, -t) / t.clamp_min(torch.finfo(t.dtype).tiny)
        certain = torch.where(t < torch.finfo(t.dtype).eps, torch.ones_like(t), certain)
        return self.log_tail + torch.log(certain - self.log_tail + torch.special.entr(self.rest).sum(dim=1))

    @cached_property
    def log_impurity(self) -> Tensor:
        """Log of 1 - Σ p², finite for one-hot rows too."""
        return self.log_tail + torch.log(2 - self.tail * (1 + self.rest.square().sum(dim=1)))


def are_short(n: int, k: int) -> bool:
    """Whether arrays (n, k) are computed faster column by column, several rows at a time."""
    return k <= NARROW and n >= MANY


def log_softmax(logits: Tensor) -> Tensor:
    """Logarithm (n, K) of the softmax of each row."""
    if are_short(*logits.shape):
        return torch.log_softmax(logits.T, dim=0).T
    return torch.log_softmax(logits, dim=1)


def softmax(logits: Tensor) -> Tensor:
    """Softmax (n, K) of each row, as `log_softmax`."""
    return torch.softmax(logits.T, dim=0).T if are_short(*logits.shape) else torch.softmax(logits, dim=1)


def mean_log_odds(one: Tensor, other: Tensor) -> Tensor:
    """Log-odds (n,) of the mean of two probabilities, from their log-odds (n,)."""
    wrong = torch.logaddexp(logsigmoid(one), logsigmoid(other))
    return wrong - torch.logaddexp(logsigmoid(-one), logsigmoid(-other))


def first_maximum(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maximum of each row (n,) and the first column (n,) that has it."""
    # Torch finds which column is largest one by one, but how large it is eight at a time; so the best
    # block of columns is found first.
    n, k = values.shape
    if k < 4 * BLOCK or values.numel() < WORTH_BLOCKS:
        top, column = values.max(dim=1)
        return top, column
    whole = k // BLOCK
    maxima = values.new_empty(n, -(-k // BLOCK))
    torch.amax(values[:, : whole * BLOCK].view(n, whole, BLOCK), dim=2, out=maxima[:, :whole])
    if whole * BLOCK < k:
        torch.amax(values[:, whole * BLOCK :], dim=1, out=maxima[:, -1])
    top, best = maxima.max(dim=1)
    start = (best * BLOCK).clamp_max(k - BLOCK)  # the last block may be narrower
    windows = values.contiguous().as_strided((n * k - BLOCK + 1, BLOCK), (1, 1))
    found = windows.index_select(0, torch.arange(0, n * k, k, device=values.device) + start)
    return top, start + (found == top[:, None]).byte().argmax(dim=1)
