"""Kronecker factors of the contrastive loss, estimated from embeddings in one pass."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vilu_sdk.compute.distributed import add_up, own_rows, own_slices, positions, read
from vilu_sdk.compute.progress import track
from vilu_sdk.inputs.rows import CHUNK_ELEMENTS, Rows, check_square
from vilu_sdk.inputs.task import Task
from vilu_sdk.scorers.probabilistic.laplace import KroneckerFactors
from vilu_sdk.scorers.probabilistic.pairs import contrastive_batches, known_pairs


class Encoder(NamedTuple):
    """Embeddings z and the activations a they are projected from, row by row."""

    z: Rows
    a: Rows


def ggn_sum(sources: Iterable[Tensor], targets: Tensor, logit_scale: float) -> Tensor:
    r"""Sum (D, D), in float64, of the Gauss-Newton matrices of the contrastive loss in its source embeddings.

    For a source x of unit direction x̄ and targets t_c of norm 1, with p = softmax(s x̄ᵀt):

    .. math:: H = s^2 J \Bigl(\sum_c p_c t_c t_c^\top - m m^\top\Bigr) J, \qquad m = \sum_c p_c t_c,
              \qquad J = (I - \bar x \bar x^\top) / \|x\|

    Sources come in chunks (n, D), and with the targets (C, D) are normalised here: O(N C D) time.
    """
    targets = normalize(targets, dim=1)
    # H does not change if all targets move by one vector. CLIP's lie in a narrow cone, so that moving them
    # to the origin saves the digits that the difference above would lose.
    centre = targets.mean(dim=0)
    targets = targets - centre
    total = torch.zeros(targets.shape[1], targets.shape[1], dtype=torch.float64)
    mass = torch.zeros(len(targets), dtype=targets.dtype)
    for x in sources:
        norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        # A source without a direction says nothing.
        norms = torch.where(norms > 0, norms, torch.inf)
        x, weight = x / norms, norms**-2
        cosines = x @ targets.T
        p = torch.softmax(logit_scale * cosines, dim=1)
        mean = p @ targets
        mean = mean - (x * mean).sum(dim=1, keepdim=True) * x
        g = weight * p * cosines
        cross = x.T @ (g @ targets)
        h = (g * cosines).sum(dim=1, keepdim=True)
        total += x.T @ (h * x) - cross - cross.T - mean.T @ (weight * mean)
        mass += (weight * p).sum(dim=0)
    total += targets.T @ (mass[:, None] * targets)
    return logit_scale**2 * (total + total.T) / 2


def estimate_factors(
    images: Encoder,
    texts: Encoder,
    task: Task,
    logit_scale: float,
    batch_size: int,
    generator: torch.Generator,
) -> list[KroneckerFactors]:
    """Return the factors of the image and of the text encoder.

    With a class set, all images are contrasted with all texts, and the texts of a batch with one image of
    each class; with captions, both with the other side of the batch.
    """
    d = images.z.d
    check_square(d)
    image_rows, text_rows = known_pairs(task)
    curvature = torch.zeros(2, d, d, dtype=torch.float64)
    batches = list(contrastive_batches(text_rows, batch_size, generator))
    own = own_rows(images.z)
    for batch in track(batches, "fitting BayesVLM"):
        z_img, z_txt = read(images.z, image_rows[batch]), read(texts.z, text_rows[batch])
        mine = positions(image_rows[batch], own)
        curvature[1] += ggn_sum(_split(z_txt[mine], len(batch)), z_img, logit_scale)
        if task.is_caption:
            curvature[0] += ggn_sum(_split(z_img[mine], len(batch)), z_txt, logit_scale)
    if not task.is_caption:
        own_images = track(own_slices(images.z, len(texts.z)), "fitting BayesVLM")
        chunks = (images.z.read(rows) for rows in own_images)
        curvature[0] = ggn_sum(chunks, texts.z.read(), logit_scale)
    add_up(curvature)

    used = torch.bincount(text_rows, minlength=len(texts.z))
    moments = (second_moment(images.a), second_moment(texts.a, used))
    counts = (len(images.z), len(text_rows))
    # A sum of matrices that float32 made of differences is positive semi-definite up to rounding only.
    return [
        KroneckerFactors(moment / n**0.5, _clip_negative(curved) / n**0.5)
        for moment, curved, n in zip(moments, curvature, counts, strict=True)
    ]


def second_moment(rows: Rows, times: Tensor | None = None) -> Tensor:
    """Sum of a aᵀ over rows, in float64, each row as often as `times` (n,) says."""
    check_square(rows.d)
    total = torch.zeros(rows.d, rows.d, dtype=torch.float64)
    for index in own_slices(rows):
        a = rows.read(index)
        total += a.T @ (a if times is None else times[index, None] * a)
    add_up(total)
    return (total + total.T) / 2


def _clip_negative(matrix: Tensor) -> Tensor:
    """Nearest positive semi-definite matrix of a symmetric one."""
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    clipped: Tensor = (vectors * eigenvalues.clamp_min(0)) @ vectors.T
    return clipped


def _split(rows: Tensor, width: int) -> tuple[Tensor, ...]:
    return torch.split(rows, max(1, CHUNK_ELEMENTS // max(width, rows.shape[1])))
