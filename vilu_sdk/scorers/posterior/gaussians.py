"""Class Gaussians whose means are drawn towards their texts, and their exact leave-one-out scores."""

from collections.abc import Iterator
from copy import copy
from typing import Self

import torch
from torch import Tensor

from vilu_sdk.compute.tiles import Logits
from vilu_sdk.scorers.posterior.blend import Blend, Fitted
from vilu_sdk.scorers.posterior.moments import Moments
from vilu_sdk.scorers.posterior.parts import log_density

# Up to this many classes the means of similar texts inform one another; a K × K solve beyond is slow.
MAX_SHARED_CLASSES = 4096


def try_gaussians(blend: Blend, shared_prior: float = 0.5) -> Iterator[Fitted]:
    """Fit Gaussians under several priors and shrinkages."""
    data = blend.data
    n, k = data.base.shape

    def fitted(gaussians: "ClassGaussians") -> Fitted:
        def left_out(rows: Tensor, _: Tensor) -> Tensor:
            return gaussians.leave_one_out(data.x[rows], data.labels[rows])

        return Fitted(left_out, lambda weight: gaussians.density.times(weight), gaussians)

    broad = ClassGaussians(data.moments, data.text, 2.0, shared_prior)
    yield fitted(broad.whiten(0.3))
    if not blend.fast:
        yield fitted(broad.whiten(0.9))
        if n >= 8 * k:
            yield fitted(ClassGaussians(data.moments, data.text, 16.0, shared_prior).whiten(0.3))


class ClassGaussians:
    r"""Gaussians :math:`x \mid c \sim N(m_c, C)` with one covariance, and a prior on the means.

    Without a text, means have the prior :math:`m_c \sim N(\bar x, C / k)`. With texts,
    :math:`m \sim GP(\bar x + \alpha (t - \bar t), C \otimes \kappa / k)` with
    :math:`\kappa(t, t') = (1 - \lambda) 1[t = t'] + \lambda \langle t - \bar t, t' - \bar t\rangle / v`
    (v the mean squared norm of centred texts): a class counts as k images at the place its text
    predicts, and classes of similar texts move together, seen in training or not.

    `prior_images` is k, and `shared_prior` is λ in [0, 1]: the share of the prior's variance that classes
    have in common through their texts (K, d).
    """

    shrinkage: float
    root: Tensor
    directions: Tensor
    offsets: Tensor

    def __init__(
        self, moments: Moments, text: Tensor | None, prior_images: float = 2.0, shared_prior: float = 0.5
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
            self.text_centre = text.mean(dim=0)
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
        """Learn means that move together, and return what they cost under their prior (d, d)."""
        seen = torch.nonzero(counts > 0)[:, 0]
        gram = text @ text.T
        size = gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny)
        kernel = (shared_prior / size * gram).add_(torch.diag(torch.full_like(counts, 1 - shared_prior)))
        kernel /= self.prior_images
        noisy = kernel[seen][:, seen] + torch.diag(1 / counts[seen])
        residual = sums[seen] / counts[seen, None] - prior[seen]
        solved = torch.linalg.solve(noisy, torch.cat([residual, kernel[seen]], dim=1))
        pull, gain = solved[:, : sums.shape[1]], solved[:, sums.shape[1] :]
        self.covariance_of_means = kernel - kernel[:, seen] @ gain
        self.variance_of_means = self.covariance_of_means.diagonal()
        self.means = prior + kernel[:, seen] @ pull
        self.text_map = self.text_map + (shared_prior / size / self.prior_images) * (text[seen].T @ pull)
        cost: Tensor = pull.T @ (self.means - prior)[seen]
        return cost

    def whiten(self, shrinkage: float) -> Self:
        """Return a copy with the covariance shrunk towards a multiple of the identity, ready to score."""
        found = copy(self)
        found.shrinkage = shrinkage
        covariance = (1 - shrinkage) * self.within
        size = self.within.diagonal().mean().clamp_min(1e-12)
        covariance.diagonal().add_(shrinkage * size)
        found.root = torch.linalg.cholesky(covariance)
        whitened = torch.linalg.solve_triangular(found.root, self.means.T, upper=False)
        found.directions = torch.linalg.solve_triangular(found.root.T, whitened, upper=True)
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

    def leave_one_out(self, x: Tensor, labels: Tensor) -> Tensor:
        """Scores (n, K) of training vectors (n, d), each as if it had not been in the training."""
        # Taking one vector out moves the means by a multiple of x - m and the covariance by one rank.
        x = x - self.centre
        i = torch.arange(len(x))
        towards = x @ self.directions
        gap = towards - (self.means @ self.directions)[labels]  # (x - m_y)ᵀ P m_c
        own = towards[i, labels]
        norm = torch.linalg.solve_triangular(self.root, x.T, upper=False).square().sum(dim=0)
        x_d, d_d = norm - own, norm - 2 * own + self.offsets[labels]  # xᵀPd and dᵀPd with d = x - m_y
        grow = 1 / (1 - self.variance_of_means[labels])
        weight = (1 - self.shrinkage) / self.n * grow
        rank_one = (weight / (1 - weight * d_d).clamp_min(1e-6))[:, None]
        if self.covariance_of_means is None:  # the own mean moves alone
            step = self.variance_of_means[labels] * grow
            x_m, d_m = towards.clone(), gap.clone()
            m_m = self.offsets.expand_as(towards).clone()
            x_m[i, labels] -= step * x_d
            d_m[i, labels] -= step * d_d
            m_m[i, labels] += -2 * step * gap[i, labels] + step.square() * d_d
        else:
            steps = self.covariance_of_means[labels] * grow[:, None]
            x_m, d_m = towards - steps * x_d[:, None], gap - steps * d_d[:, None]
            m_m = self.offsets - steps * (gap + d_m)
        scores: Tensor = x_m + rank_one * d_m * (x_d[:, None] - 0.5 * d_m) - 0.5 * m_m
        return scores


def _text_scale(text: Tensor, moments: Moments, prior_images: float) -> Tensor:
    """Least-squares factor, not negative, from centred texts to centred class means."""
    seen = moments.counts > 0
    means = moments.sums[seen] / moments.counts[seen, None]
    weight = (moments.counts[seen] / (moments.counts[seen] + prior_images))[:, None]
    size = (weight * text[seen].square()).sum().clamp_min(1e-12)
    return ((weight * means * text[seen]).sum() / size).clamp_min(0)
