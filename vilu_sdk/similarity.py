"""The one streaming pass over images × candidates, and the numerics of its softmax.

An array of images × candidates exists only for one chunk of rows at a time, so memory grows with
N + K and never with N · K.
"""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from vilu_sdk.intake import Rows
from vilu_sdk.progress import track


def stream(images: Rows, width: int, score: Callable[[Tensor], Tensor], what: str = "scoring") -> Tensor:
    """Apply `score` to chunks of image rows and join what it returns.

    Parameters
    ----------
    images : Rows
        The images, N rows.
    width : int
        Number of columns of the widest array that `score` makes for a chunk, the candidates usually.
    score : callable
        Takes rows (n, d), returns (n, ...).
    what : str
        What the progress bar says.

    Returns
    -------
    Tensor of shape (N, ...)
    """
    out = None
    with torch.no_grad():
        for rows in track(images.slices(width), what):
            scores = score(images.read(rows))
            if out is None:
                # One block for all results: small ones kept between the large temporaries would
                # fragment the heap by a chunk each time.
                out = scores.new_empty((len(images), *scores.shape[1:]))
            out[rows] = scores
    assert out is not None  # Rows is never empty
    return out


def top1(images: Rows, text: Tensor) -> Tensor:
    """Return the zero-shot prediction of each image: the first candidate of the largest cosine."""
    return stream(images, len(text), lambda z: (z @ text.T).argmax(dim=1), "predicting")


class Posterior:
    """A softmax over candidates, split into one column and the rest without cancellation.

    With ``t`` the mass outside `column`, the probabilities are ``1 - t`` there and ``t * rest``
    elsewhere. ``1 - max p`` computed in float32 is exactly 0 once the top logit leads by 17 nats
    (a lead of 0.17 in cosine at CLIP's scale), which turns a ranking into ties; `log_odds` is exact at
    any lead.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
        Logits of at least two candidates.
    column : Tensor of shape (n,), optional
        The column to split off, by default the first maximum of each row.

    Attributes
    ----------
    column : Tensor of shape (n,)
        The split column.
    log_odds : Tensor of shape (n,)
        log t / (1 - t): the log-odds that `column` is wrong under the softmax.
    """

    def __init__(self, logits: Tensor, column: Tensor | None = None) -> None:
        self.column = logits.argmax(dim=1) if column is None else column
        index = self.column[:, None]
        self._rest_logits = logits.scatter(1, index, -torch.inf)
        self._rest_lse = torch.logsumexp(self._rest_logits, dim=1)
        self.log_odds = self._rest_lse - logits.gather(1, index)[:, 0]

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
        return torch.exp(self._rest_logits - self._rest_lse[:, None])

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
