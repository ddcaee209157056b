"""The class model: a label-informed posterior over candidates, and the log-odds it gives an error."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vilu_sdk.compute.distributed import own_slices, read, world_size
from vilu_sdk.compute.progress import track
from vilu_sdk.inputs.task import Task
from vilu_sdk.persistence.encoding import storable
from vilu_sdk.scorers.posterior.densities import KernelScores, LinearScores, TextDensities
from vilu_sdk.scorers.posterior.gaussians import ClassGaussians
from vilu_sdk.scorers.posterior.learner import Blend, Evidence, learn_blend, left_out_logits
from vilu_sdk.scorers.posterior.model import LogLinearModel, Parts, total, zero_shot
from vilu_sdk.scorers.posterior.moments import Moments
from vilu_sdk.scorers.posterior.transfer import (
    PRIOR_IMAGES,
    SHRINKAGE,
    match_texts,
    text_keys,
    transferred_weight,
)

# Images kept in memory to choose weights on; the moments of the Gaussians see all of them.
SAMPLE = 25_000
SAMPLE_ELEMENTS = 20_000_000
EM_ROUNDS = 3


@storable
@dataclass(frozen=True)
class ClassModel(LogLinearModel):
    r"""Posterior over candidates, built on another one: the zero-shot softmax in the simplest case.

    .. math:: q_j = w_0\, base_j + w_1 \log N(x; m_j, C) + w_2 \log N(\phi(x); \mu_j, \Sigma) + b_j

    Among candidates that `fit` did not see, the Gaussians are those that the texts predict, at the
    weight that they earned on classes left out, and kernel and intercepts are silent.

    Attributes
    ----------
    logit_scale : float
    base : LogLinearModel or None
        What is built upon; None means the zero-shot logits.
    base_weight : float
    text : Tensor of shape (K, d)
        Known class texts; of width m where they are kept as keys.
    known : LinearScores or None
        Gaussians of the known classes, times their weight; None where they are those of `open_set`.
    kernel : KernelScores or None
        Gaussians in the likeness to training images, times their weight.
    intercepts : Tensor of shape (K,) or None
    open_set : TextDensities or None
        Gaussians of any texts.
    open_weights : tuple of float
        Their weight where all candidates are known, and where none is.
    line, base_line : tuple of float
        Slope and offset that calibrate the log-odds among known, and among new candidates.
    key : Tensor of shape (d, m) or None
        Projection of texts to the keys by which they are recognised; None compares the texts.
    """

    logit_scale: float
    base: LogLinearModel | None
    base_weight: float
    text: Tensor
    known: LinearScores | None = None
    kernel: KernelScores | None = None
    intercepts: Tensor | None = None
    open_set: TextDensities | None = None
    open_weights: tuple[float, float] = (0.0, 0.0)
    line: tuple[float, float] = (1.0, 0.0)
    base_line: tuple[float, float] = (1.0, 0.0)
    key: Tensor | None = None

    def match(self, text: Tensor) -> Tensor:
        """Return for each text (J, d) the known class that it names, or -1."""
        if self.key is None:
            return match_texts(text, self.text)
        return match_texts(text_keys(text, self.key), normalize(self.text, dim=1))

    def parts(self, text: Tensor) -> Parts:
        """See `LogLinearModel`."""
        match = self.match(text)
        is_known = bool((match >= 0).all())
        base = zero_shot(self.logit_scale, text) if self.base is None else self.base.parts(text)
        weight = self.base_weight if is_known else 1.0
        found: Parts = {name: [part.times(weight) for part in group] for name, group in base.items()}

        def add(name: str, part: LinearScores | KernelScores) -> None:
            found.setdefault(name, []).append(part)

        if not is_known:
            share = float((match >= 0).double().mean())
            weight = share * self.open_weights[0] + (1 - share) * self.open_weights[1]
            if weight and self.open_set is not None:
                add("class Gaussians", self.open_set.among(text, match).times(weight))
            return found
        if self.known is not None:
            add("class Gaussians", self.known.among(match))
        elif self.open_set is not None:
            add("class Gaussians", self.open_set.among_known(match).times(weight * self.open_weights[0]))
        if self.kernel is not None:
            add("kernel", self.kernel.among(match))
        if self.intercepts is not None:
            add("class intercepts", LinearScores.constant(self.intercepts[match], text.shape[1]))
        return found

    def unknown_share(self, text: Tensor) -> float:
        """See `LogLinearModel`."""
        below = 1.0 if self.base is None else self.base.unknown_share(text)
        if self.open_set is None:  # nothing was learned here, or only from images without labels
            return below
        return min(below, float((self.match(text) < 0).double().mean()))

    def calibration(self, text: Tensor) -> tuple[float, float]:
        """See `LogLinearModel`."""
        if bool((self.match(text) >= 0).all()):
            return self.line
        return self.base_line if self.base is None else self.base.calibration(text)


def learn_classes(
    task: Task, logit_scale: float, generator: torch.Generator, base: LogLinearModel | None = None
) -> ClassModel:
    """Learn a class model from labels, or from right and wrong, upon `base`."""
    evidence, blend = learn_sources(task, logit_scale, generator, base)
    return class_model(evidence, blend, logit_scale, task.text, base)


def learn_sources(
    task: Task,
    logit_scale: float,
    generator: torch.Generator,
    base: LogLinearModel | None = None,
    *,
    kernel: bool = True,
) -> tuple[Evidence, Blend]:
    """Choose and weigh the sources of a class model; `kernel` says whether that one is tried."""
    n, k = len(task.images), len(task.text)
    rows = sample_rows(n, k, generator)
    z = read(task.images, rows)
    labels, correct = (None if known is None else known[rows] for known in (task.labels, task.correct))
    size = len(z)
    # Leave-one-out formulas subtract nearly equal numbers where there are few images.
    dtype = torch.float64 if size <= 1000 else torch.get_default_dtype()
    text, x = task.text.to(dtype), z.to(dtype)
    with torch.no_grad():
        cosines = z @ task.text.T
        below = zero_shot(logit_scale, task.text) if base is None else base.parts(task.text)
        logits = total(below, z).to(dtype)
    prediction = cosines.argmax(dim=1)
    if labels is not None:
        if size == n:
            moments = Moments.gather([(x, labels)], k)
        else:
            shift = x.mean(dim=0) if world_size() > 1 else None
            moments = Moments.gather(_labelled_chunks(task, dtype), k, shift)
        evidence = Evidence(x, logits, text, prediction, labels, None, moments)
        return evidence, learn_blend(evidence, generator, kernel=kernel)
    assert correct is not None
    return _learn_from_bits(x, logits, text, prediction, correct, generator)


def sample_rows(n: int, k: int, generator: torch.Generator) -> slice | Tensor:
    """Rows to hold in memory with an array of rows × k beside them: all, or a random sample."""
    size = min(SAMPLE, max(SAMPLE_ELEMENTS // k, 1000))
    return slice(None) if n <= size else torch.randperm(n, generator=generator)[:size].sort().values


def _learn_from_bits(
    x: Tensor, logits: Tensor, text: Tensor, prediction: Tensor, correct: Tensor, generator: torch.Generator
) -> tuple[Evidence, Blend]:
    """Alternate between the likeliest class of each image and the model that they give.

    A right image has the predicted class, a wrong one any other.
    """
    q = logits
    for step in range(EM_ROUNDS + 1):
        others = q.scatter(1, prediction[:, None], -torch.inf).argmax(dim=1)
        labels = torch.where(correct, prediction, others)
        moments = Moments.gather([(x, labels)], len(text))
        evidence = Evidence(x, logits, text, prediction, labels, correct, moments)
        blend = learn_blend(evidence, generator, light=step < EM_ROUNDS)
        if evidence.shortage:
            break
        if step < EM_ROUNDS:
            q = left_out_logits(evidence, blend)
            if blend.intercepts is not None:
                q = q + blend.weights["intercepts"] * blend.intercepts
    return evidence, blend


def class_model(
    e: Evidence, blend: Blend, logit_scale: float, text: Tensor, base: LogLinearModel | None
) -> ClassModel:
    """Keep of a blend what scoring needs."""
    weights = blend.weights
    known = kernel = intercepts = None
    if blend.gaussians is not None:
        known = LinearScores.of(blend.gaussians).times(weights["gaussians"])
    if blend.kernel is not None:
        found = blend.kernel
        linear = LinearScores.of(found.gaussians).times(weights["kernel"])
        linear = replace(linear, directions=found.root.to(linear.directions) @ linear.directions)
        dtype = torch.get_default_dtype()
        spread = torch.tensor(found.spread, dtype=dtype)
        kernel = KernelScores(found.landmarks.to(dtype), found.centre.to(dtype), spread, linear)
    if blend.intercepts is not None:
        intercepts = (weights["intercepts"] * blend.intercepts).to(torch.get_default_dtype())
    open_set, new_weight = None, 0.0
    if blend.gaussians is not None:
        open_set = TextDensities.of(ClassGaussians(e.moments, e.text, PRIOR_IMAGES).whiten(SHRINKAGE))
        new_weight = transferred_weight(e.x, e.base, e.labels, e.text) if e.correct is None else 0.0
    return ClassModel(
        logit_scale,
        base,
        weights["base"],
        text,
        known,
        kernel,
        intercepts,
        open_set,
        (blend.text_weight, new_weight),
        blend.line,
        blend.base_line,
    )


def _labelled_chunks(task: Task, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    assert task.labels is not None
    for rows in track(own_slices(task.images), "reading classes"):
        yield task.images.read(rows).to(dtype), task.labels[rows]
