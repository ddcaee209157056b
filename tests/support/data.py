"""Tasks that tests draw."""

from types import SimpleNamespace

import numpy as np


def draw_task(
    n: int = 640,
    k: int = 6,
    d: int = 16,
    noise: float = 1.8,
    *,
    beside: float = 0.0,
    random_state: int | np.random.Generator = 0,
) -> SimpleNamespace:
    """Draw images about their texts, or `beside` them; by default predicted right about three times in four.

    Returns `z_img` (n, d), `z_txt` (k, d), both float32, and `labels` (n,).
    """
    rng = np.random.default_rng(random_state)
    z_txt = rng.normal(size=(k, d)).astype(np.float32)
    labels = rng.integers(k, size=n)
    means = z_txt + beside * rng.normal(size=(k, d)) if beside else z_txt
    z_img = (means[labels] + noise * rng.normal(size=(n, d))).astype(np.float32)
    return SimpleNamespace(z_img=z_img, z_txt=z_txt, labels=labels)
