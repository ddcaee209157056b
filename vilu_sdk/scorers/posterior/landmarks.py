"""Likeness to some training vectors: what a kernel sees that a linear score cannot."""

import torch
from torch import Tensor

# Kernel width in units of the vectors' root mean squared distance from their mean.
WIDTH = 0.7


def likeness(x: Tensor, landmarks: Tensor, centre: Tensor, spread: float) -> Tensor:
    """Kernel exp(-‖a - b‖² w² / 2) between vectors (n, d) and landmarks (m, d), both standardised."""
    squared = WIDTH**2
    x, landmarks = (x - centre) / spread, (landmarks - centre) / spread
    products = (squared * x) @ landmarks.T
    products -= 0.5 * squared * x.square().sum(dim=1)[:, None]
    products -= 0.5 * squared * landmarks.square().sum(dim=1)
    return products.exp_()


def nystroem_root(landmarks: Tensor, centre: Tensor, spread: float) -> Tensor:
    """Matrix (m, m) that turns likenesses into features whose inner products are the kernel."""
    gram = likeness(landmarks, landmarks, centre, spread)
    gram.diagonal().add_(1e-4)
    identity = torch.eye(len(gram), dtype=gram.dtype)
    inverse = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), identity, upper=False)
    root: Tensor = inverse.T.contiguous()
    return root
