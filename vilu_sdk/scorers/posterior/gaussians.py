"""Class Gaussians whose means are drawn towards their texts, and their scores with groups left out."""

from collections.abc import Iterator
from copy import copy
from typing import Self

import torch
from torch import Tensor

from vilu_sdk.compute.tiles import Logits
from vilu_sdk.scorers.posterior.blend import FEW_IMAGES, Blend, Fitted
from vilu_sdk.scorers.posterior.moments import Moments, shrunk
from vilu_sdk.scorers.posterior.parts import log_density

# Up to this many classes the means of similar texts inform one another; a K × K solve beyond is slow.
MAX_SHARED_CLASSES = 4096
# Elements of the arrays of images × classes that left-out scores are computed in.
LEFT_OUT_ELEMENTS = 500_000


def try_gaussians(blend: Blend, shared_prior: float = 0.5) -> Iterator[Fitted]:
    """Fit Gaussians under several priors and shrinkages."""
    data = blend.data

    def fitted(gaussians: "ClassGaussians") -> Fitted:
        def left_out(rows: Tensor, _: Tensor) -> Tensor:
            return gaussians.leave_groups_out(
                data.x[rows], data.labels[rows], data.groups[rows], data.weights[rows]
            )

        return Fitted(left_out, lambda weight: gaussians.density.times(weight), gaussians)

    broad = ClassGaussians(data.moments, data.text, 2.0, shared_prior)
    # A few images left out, one a class at worst, cannot tell how much they say of directions.
    few = blend.n < FEW_IMAGES and data.correct is None
    if not few:
        yield fitted(broad.whiten(0.3))
    if not blend.fast:
        yield fitted(broad.whiten(0.9))
        if blend.n >= 8 * blend.k:
            yield fitted(ClassGaussians(data.moments, data.text, 16.0, shared_prior).whiten(0.3))


class ClassGaussians:
    r"""Gaussians :math:`x \mid c \sim N(m_c, C)` with one covariance, and a prior on the means.

    Without a text, means have the prior :math:`m_c \sim N(\bar x, C / k)`. With texts,
    :math:`m \sim GP(\bar x + \alpha (t - \bar t), C \otimes \kappa / k)` with
    :math:`\kappa(t, t') = (1 - \lambda) 1[t = t'] + \lambda \langle t - \bar t, t' - \bar t\rangle / v`
    (v the mean squared norm of centred texts): a class counts as k images at the place its text
    predicts, and classes of similar texts move together, seen in training or not.

    `prior_images` is k, and `shared_prior` is λ in [0, 1]: the share of the prior's variance that classes
    have in common through their texts (K, d). `text_centre` (d,) is :math:`\bar t`, by default their mean.
    """

    shrinkage: float
    root: Tensor  # of the covariance
    whitened: Tensor  # means (K, d) times the inverse of the root
    directions: Tensor  # (d, K), the precision times the means
    between: Tensor  # (K, K), products of means through the precision
    offsets: Tensor

    def __init__(
        self,
        moments: Moments,
        text: Tensor | None,
        prior_images: float = 2.0,
        shared_prior: float = 0.5,
        text_centre: Tensor | None = None,
    ) -> None:
        k, d = moments.sums.shape
        self.n = float(moments.counts.sum())
        self.centre = moments.centre
        self.prior_images = prior_images
        self.text_map = torch.zeros(d, d)
        self.text_centre = torch.zeros(d)
        self.covariance_of_means: Tensor | None = None
        counts, sums = moments.counts, moments.sums
        prior = torch.zeros_like(sums)
        if text is not None:
            self.text_centre = text.mean(dim=0) if text_centre is None else text_centre
            centred = text - self.text_centre
            alpha = _text_scale(centred, moments, prior_images)
            prior = alpha * centred
            self.text_map = alpha * torch.eye(d, dtype=sums.dtype)
        if text is not None and shared_prior > 0 and k <= MAX_SHARED_CLASSES:
            cost = self._learn_shared(counts, sums, prior, centred, shared_prior)
        else:
            self.variance_of_means = 1 / (counts + prior_images)
            self.means = (sums + prior_images * prior) * self.variance_of_means[:, None]
            shift = self.means - prior
            cost = prior_images * (shift.T @ shift)
        # Σ (x - m)(x - m)ᵀ from the moments, plus what the means cost under their prior.
        cross = sums.T @ self.means
        within = moments.scatter - cross - cross.T + (counts[:, None] * self.means).T @ self.means
        self.within = (within + cost) / self.n

    def _learn_shared(
        self, counts: Tensor, sums: Tensor, prior: Tensor, text: Tensor, shared_prior: float
    ) -> Tensor:
        r"""Learn means that move together, and return what they cost under their prior (d, d).

        About its prior a mean is :math:`a_c w + e_c`: with features a of its text, the map w (r, d) that all
        classes share, and a part of its own of variance b. Given w, the own part is a matter of the class's
        own images, so that what is solved is of r × r, for texts of rank r.
        """
        size = text.square().sum(dim=1).mean().clamp_min(torch.finfo(text.dtype).tiny)
        scale = (shared_prior / self.prior_images) ** 0.5 / size.sqrt()
        features, axes = scale * text, None
        if len(text) < text.shape[1]:
            axes = torch.linalg.qr(features.T).Q
            features = features @ axes
        own = (1 - shared_prior) / self.prior_images
        weights = counts / (1 + own * counts)  # of a class in what is shared: 1 / (b + 1 / n) for n images
        known = own * weights  # how much of the own part they tell
        residual = sums / torch.where(counts > 0, counts, 1.0)[:, None] - prior
        precision = (weights[:, None] * features).T @ features
        precision.diagonal().add_(1)
        root = torch.linalg.cholesky(precision)
        shared = torch.cholesky_solve(features.T @ (weights[:, None] * residual), root)
        left = residual - features @ shared
        moved = features @ shared + known[:, None] * left
        spread = torch.linalg.solve_triangular(root, ((1 - known)[:, None] * features).T, upper=False)
        self.covariance_of_means = spread.T @ spread
        self.covariance_of_means.diagonal().add_(own * (1 - known))
        self.variance_of_means = self.covariance_of_means.diagonal()
        self.means = prior + moved
        self.text_map = self.text_map + scale * (shared if axes is None else axes @ shared)
        cost: Tensor = (weights[:, None] * left).T @ moved
        return cost

    def whiten(self, shrinkage: float) -> Self:
        """Return a copy with the covariance shrunk towards a multiple of the identity, ready to score."""
        found = copy(self)
        found.shrinkage = shrinkage
        found.root = torch.linalg.cholesky(shrunk(self.within, shrinkage))
        whitened = torch.linalg.solve_triangular(found.root, self.means.T, upper=False)
        found.directions = torch.linalg.solve_triangular(found.root.T, whitened, upper=True)
        found.whitened = whitened.T
        found.between = found.means @ found.directions
        found.offsets = whitened.square().sum(dim=0)
        return found

    @property
    def density(self) -> Logits:
        """Log-densities of the classes, up to a constant in each row."""
        return log_density(self.means, self.directions, self.centre)

    @property
    def precision(self) -> Tensor:
        """Inverse P of the shrunk covariance, (d, d)."""
        # Two triangular products; LAPACK's inverse from a Cholesky factor crawls on busy machines.
        identity = torch.eye(len(self.root), dtype=self.root.dtype)
        inverse = torch.linalg.solve_triangular(self.root, identity, upper=False)
        precision: Tensor = inverse.T @ inverse
        return precision

    def leave_groups_out(self, x: Tensor, labels: Tensor, groups: Tensor, weights: Tensor) -> Tensor:
        """Scores (n, K) of training vectors (n, d), as if the whole group (n,) of each had not been there.

        They are those of a fit without the group about the same centre, at the same scale of texts, size of
        the covariance and n. `weights` (n,) are those of the fit.
        """
        sizes = torch.bincount(groups)
        order = torch.argsort(groups, stable=True)
        starts = torch.cumsum(sizes, dim=0) - sizes
        scores = torch.empty(len(x), len(self.means), dtype=x.dtype)
        x = x - self.centre
        for size in torch.unique(sizes[sizes > 0]).tolist():
            first = starts[sizes == size]
            rows = order[first[:, None] + torch.arange(size)]  # (groups, size)
            step = max(1, LEFT_OUT_ELEMENTS // (size * len(self.means)))
            for some in torch.split(rows, step):
                scores[some] = self._leave_out(x[some], labels[some], weights[some].to(x))
        return scores

    def _leave_out(self, x: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        r"""Scores (b, m, K) of b groups of m vectors each, (b, m, d), without them.

        With the residuals D of a group, its weights W, its classes E (one-hot) and the covariance V of the
        means in units of C, means move by :math:`-V E^\top S D` and n C by :math:`-D^\top S D`, where
        :math:`S = (W^{-1} - E V E^\top)^{-1} = U^{-\top} U^{-1}`. So both moves are of the m vectors
        :math:`F = U^{-1} D`, `moves` where they are whitened.
        """
        if self.covariance_of_means is None:  # the own means move alone
            among = torch.zeros(*labels.shape, len(self.means), dtype=x.dtype)
            among.scatter_(2, labels[:, :, None], self.variance_of_means[labels][:, :, None])
        else:
            among = self.covariance_of_means[labels]  # E V, (b, m, K)
        m = labels.shape[1]
        own = among.gather(2, labels[:, None, :].expand(-1, m, -1))  # E V Eᵀ
        root = torch.linalg.cholesky(torch.diag_embed(1 / weights) - own)
        steps = _solve(root, among)  # U⁻¹ E V
        # Products through the precision P, by whitened vectors: x P mᵀ, F P mᵀ, x P Fᵀ and F P Fᵀ.
        white = torch.linalg.solve_triangular(self.root, x.flatten(0, 1).T, upper=False).T.view_as(x)
        moves = _solve(root, white - self.whitened[labels])
        x_m = x @ self.directions
        f_m = _solve(root, x_m - self.between[labels])
        x_f, f_f = white @ moves.mT, moves @ moves.mT
        m_m = self.offsets - ((2 * f_m - _times(f_f, steps)) * steps).sum(dim=1, keepdim=True)
        x_m -= _times(x_f, steps)
        f_m -= _times(f_f, steps)
        # The covariance loses the moves, so that the precision gains them.
        share = (1 - self.shrinkage) / self.n
        sizes, axes = torch.linalg.eigh(share * f_f)
        gained = _times(axes.mT, f_m)  # (b, m, K)
        gain = (share / (1 - sizes).clamp_min(1e-6))[:, :, None] * gained
        x_m += _times(_times(x_f, axes), gain)
        m_m += (gained * gain).sum(dim=1, keepdim=True)
        return x_m - 0.5 * m_m


def _times(a: Tensor, b: Tensor) -> Tensor:
    """Products (…, K) of many small matrices, quickly also where they are of one row."""
    return a * b if a.shape[-1] == 1 else a @ b


def _solve(root: Tensor, b: Tensor) -> Tensor:
    """Solve many small lower triangular systems, quickly also where they are of one row."""
    return b / root if root.shape[-1] == 1 else torch.linalg.solve_triangular(root, b, upper=False)


def _text_scale(text: Tensor, moments: Moments, prior_images: float) -> Tensor:
    """Least-squares factor, not negative, from centred texts to centred class means."""
    seen = moments.counts > 0
    means = moments.sums[seen] / moments.counts[seen, None]
    weight = (moments.counts[seen] / (moments.counts[seen] + prior_images))[:, None]
    size = (weight * text[seen].square()).sum().clamp_min(1e-12)
    return ((weight * means * text[seen]).sum() / size).clamp_min(0)
