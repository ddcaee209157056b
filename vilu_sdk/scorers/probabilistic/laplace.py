"""Laplace approximation of a last linear layer, and the cosine of two embeddings it makes uncertain.

The layer is z = W a, from an activation a (P,) to an embedding z (D,). Its posterior is matrix normal
with row covariance B̃⁻¹ and column covariance Ã⁻¹, Ã = √n_p A + √λ I and B̃ = √n_p B + √λ I, where A ⊗ B
is the Kronecker-factored Gauss-Newton matrix of the contrastive loss (`kfac`).
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from scipy.optimize import brentq
from torch import Tensor

from vilu_sdk.inputs.precision import working
from vilu_sdk.inputs.values import positive

# How far a factor may be from symmetric and from positive semi-definite, relative to its largest entry
# or eigenvalue, and still count as rounded: float32 estimates are off by 1e-6 to 1e-5.
ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class KroneckerFactors:
    r"""Kronecker factors of the Gauss-Newton matrix of one encoder's last linear layer.

    .. math:: A = \frac{1}{\sqrt n} \sum_i a_i a_i^\top, \qquad B = \frac{1}{\sqrt n} \sum_i H_i

    over n image-text pairs, with a the activation before the projection and H the Gauss-Newton matrix of
    the contrastive loss in the embedding. Their Kronecker product is (1/n) Σ aaᵀ ⊗ Σ H.

    Parameters
    ----------
    A : array-like of shape (P, P)
        Second moment of the activations. Stored as float64, symmetrised.
    B : array-like of shape (D, D)
        Curvature in the embedding, like `A`.
    prior_precision : float, optional
        λ > 0. By default that of the scorer, else the one of the highest evidence.
    pseudo_data_count : float, optional
        n_p > 0, how often the n pairs count. By default that of the scorer.

    Raises
    ------
    ValueError
        If a factor is not square, not finite, not symmetric or not positive semi-definite beyond
        rounding, or a number is not above 0.

    Examples
    --------
    >>> KroneckerFactors([[2.0, 0.0], [0.0, 1.0]], [[3.0]], prior_precision=4.0).B
    tensor([[3.]], dtype=torch.float64)
    """

    A: Any
    B: Any
    prior_precision: float | None = None
    pseudo_data_count: float | None = None

    def __post_init__(self) -> None:
        for name in ("A", "B"):
            object.__setattr__(self, name, _symmetric(getattr(self, name), name))
        for name in ("prior_precision", "pseudo_data_count"):
            if getattr(self, name) is not None:
                positive(getattr(self, name), name)


class LastLayer(NamedTuple):
    """Posterior of one encoder's last layer."""

    root: Tensor  # (P, P), root rootᵀ = Ã⁻¹
    variance: Tensor  # (D,), the diagonal of B̃⁻¹
    prior_precision: float

    @classmethod
    def of(
        cls,
        factors: KroneckerFactors,
        squared_weights: float | None,
        precision: float | None = None,
        pseudo_data_count: float = 1.0,
    ) -> "LastLayer":
        """Invert damped factors, whose own λ and n_p come first; finding λ by the evidence needs ‖W‖²."""
        alpha, u = torch.linalg.eigh(factors.A)
        beta, v = torch.linalg.eigh(factors.B)
        if factors.pseudo_data_count is not None:
            pseudo_data_count = factors.pseudo_data_count
        repeats = math.sqrt(positive(pseudo_data_count, "pseudo_data_count"))
        alpha, beta = repeats * alpha.clamp_min(0), repeats * beta.clamp_min(0)
        if factors.prior_precision is not None:
            precision = factors.prior_precision
        if precision is None:
            if squared_weights is None:
                raise ValueError(
                    "no prior precision is given, and finding it by the evidence needs the projection's "
                    "weights; pass prior_precision (to the scorer or the factors) or the projection."
                )
            precision = best_prior_precision(alpha, beta, squared_weights)
        precision = positive(precision, "prior_precision")
        damping = math.sqrt(precision)
        dtype = working()
        root = (u * (alpha + damping).rsqrt()).to(dtype).contiguous()
        variance = (v.square() / (beta + damping)).sum(dim=1).to(dtype)
        return cls(root, variance, precision)

    def embed(self, mean: Tensor, activation: Tensor) -> "GaussianEmbeddings":
        """Return embeddings whose covariance is aᵀÃ⁻¹a · diag(B̃⁻¹), for rows mean (n, D)."""
        leverage = (activation @ self.root.to(activation)).square().sum(dim=1)
        return GaussianEmbeddings(mean, leverage, self.variance.to(mean))


class GaussianEmbeddings(NamedTuple):
    """Embeddings mean_i (n, D) with independent coordinates of variance leverage_i · variance_d."""

    mean: Tensor
    leverage: Tensor
    variance: Tensor

    @property
    def squared_norm(self) -> Tensor:
        """Expectation of ‖z‖², (n,), above 0 also of a row of zeros."""
        norms = self.mean.square().sum(dim=1) + self.leverage * self.variance.sum()
        return norms.clamp_min(torch.finfo(norms.dtype).tiny)


def log_evidence(alpha: Tensor, beta: Tensor, squared_weights: float, precision: float) -> float:
    """Laplace log-evidence of λ up to a constant, for the eigenvalues (P,), (D,) of √n_p A and √n_p B."""
    # ½ [P D log λ - λ‖W‖² - D log det Ã - P log det B̃]
    p, d = len(alpha), len(beta)
    damping = math.sqrt(precision)
    # det(Ã ⊗ B̃) = det(Ã)^D det(B̃)^P: each determinant takes the size of the other factor.
    log_det = d * torch.log(alpha + damping).sum() + p * torch.log(beta + damping).sum()
    return 0.5 * (p * d * math.log(precision) - precision * squared_weights - float(log_det))


def best_prior_precision(alpha: Tensor, beta: Tensor, squared_weights: float) -> float:
    """Return the λ > 0 that maximises `log_evidence`."""
    p, d = len(alpha), len(beta)

    def slope(log_precision: float) -> float:
        """Return the derivative of the evidence in log λ, which only falls, so that it has one root."""
        damping = math.exp(log_precision / 2)
        shares = d * (damping / (alpha + damping)).sum() + p * (damping / (beta + damping)).sum()
        return p * d / 2 - float(shares) / 4 - damping**2 * squared_weights / 2

    if squared_weights > 0:
        above = math.log(p * d / squared_weights)
        below = above - 80
        if slope(below) > 0:
            return math.exp(brentq(slope, below, above, xtol=1e-12))
    raise ValueError(
        "the evidence has no maximum in the prior precision: the factors or the weights are zero. Pass "
        "prior_precision, or pairs of at least two different texts."
    )


def prob_cosine(image: GaussianEmbeddings, text: GaussianEmbeddings) -> tuple[Tensor, Tensor]:
    """Mean and variance (n, K) of the cosines of n images and K texts, exact but for their norms."""
    # Norms are replaced by the root of their expected squares.
    norms = image.squared_norm, text.squared_norm
    mean = (image.mean / norms[0].sqrt()[:, None]) @ (text.mean / norms[1].sqrt()[:, None]).T
    # Σ_d (μ_v² + σ_v²) σ_t² + σ_v² μ_t² is of rank 2, since σ² is a row's leverage times a common vector.
    image_share = image.mean.square() @ text.variance + image.leverage * (image.variance @ text.variance)
    text_share = text.mean.square() @ image.variance
    rows = torch.stack([image_share, image.leverage], dim=1) / norms[0][:, None]
    columns = torch.stack([text.leverage, text_share], dim=1) / norms[1][:, None]
    return mean, rows @ columns.T


def probit_logits(mean: Tensor, variance: Tensor, logit_scale: float) -> Tensor:
    """Logits whose softmax approximates the expected softmax under Gaussian logits (n, K)."""
    # k = 1 / √(1 + π/8 s² v), and s k = 1 / √(1/s² + π/8 v).
    return mean * torch.rsqrt(logit_scale**-2 + math.pi / 8 * variance)


def _symmetric(matrix: Any, name: str) -> Tensor:
    """Return a positive semi-definite matrix as float64, exactly symmetric."""
    tensor = torch.as_tensor(matrix).detach().to(device="cpu", dtype=torch.float64)
    if tensor.ndim != 2 or tensor.shape[0] != tensor.shape[1] or len(tensor) == 0:
        raise ValueError(f"factor {name} must be a square matrix, got shape {tuple(tensor.shape)}.")
    if not torch.isfinite(tensor).all():
        raise ValueError(f"factor {name} has NaN or infinite values.")
    if (tensor - tensor.T).abs().max() > ROUNDING * tensor.abs().max():
        raise ValueError(f"factor {name} is not symmetric, so it is not a sum of outer products.")
    tensor = (tensor + tensor.T) / 2
    eigenvalues = torch.linalg.eigvalsh(tensor)
    if eigenvalues[0] < -ROUNDING * eigenvalues.abs().max():
        raise ValueError(
            f"factor {name} has a negative eigenvalue, {float(eigenvalues[0]):.3g}, beyond rounding (the "
            f"largest is {float(eigenvalues[-1]):.3g}); it must be positive semi-definite."
        )
    return tensor
