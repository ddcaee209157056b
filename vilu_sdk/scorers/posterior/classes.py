"""The class model: a label-informed posterior over candidates, and the log-odds it gives an error."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vilu_sdk.compute.distributed import own_slices, read, world_size
from vilu_sdk.compute.progress import track
from vilu_sdk.inputs.names import NONE
from vilu_sdk.inputs.precision import working
from vilu_sdk.inputs.task import Task
from vilu_sdk.persistence.encoding import storable
from vilu_sdk.scorers.base.groups import (
    correlation_in_groups,
    distinct_rows,
    draw_groups,
    group_weights,
    importance,
    number,
    warn_of_near_copies,
)
from vilu_sdk.scorers.base.unknown import Background
from vilu_sdk.scorers.posterior.background import above
from vilu_sdk.scorers.posterior.blend import Blend, Source, base_precision
from vilu_sdk.scorers.posterior.densities import TextDensities
from vilu_sdk.scorers.posterior.gaussians import ClassGaussians, try_gaussians
from vilu_sdk.scorers.posterior.intercepts import minimum_gain, try_intercepts
from vilu_sdk.scorers.posterior.kernel import try_kernel
from vilu_sdk.scorers.posterior.model import LogLinearModel, total, zero_shot
from vilu_sdk.scorers.posterior.moments import Moments
from vilu_sdk.scorers.posterior.once import once
from vilu_sdk.scorers.posterior.parts import Part, Parts
from vilu_sdk.scorers.posterior.training_data import TrainingData
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
# Among so many candidates, some of them new, what is predicted of them counts half.
FEW_CANDIDATES = 10
GAUSSIANS, KERNEL, INTERCEPTS = SOURCES = (
    Source("class Gaussians", try_gaussians),
    Source("kernel", try_kernel),
    Source("class intercepts", try_intercepts, minimum_gain),
)


@storable
@dataclass(frozen=True)
class Stream:
    """What the batches of a stream told of its classes; older images count for less and less."""

    moments: Moments
    counts: Tensor  # (K,), how many of them each class is estimated to have

    def __post_init__(self) -> None:
        (k, d), found = self.moments.sums.shape, self.moments
        shapes = (found.counts, (k,)), (found.centre, (d,)), (found.scatter, (d, d)), (self.counts, (k,))
        if any(part.shape != shape for part, shape in shapes):
            raise ValueError("the sums of a stream are not of one number of classes and one width.")

    @property
    def images(self) -> float:
        """How many images it is worth."""
        return float(self.counts.sum())

    def among(self, columns: Tensor, kept: float) -> "Stream":
        """Put the classes in another order, and let every image count for a share of itself."""
        moments = self.moments.times(kept)
        moments = replace(moments, counts=moments.counts[columns], sums=moments.sums[columns])
        return Stream(moments, kept * self.counts[columns])


@storable
@dataclass(frozen=True)
class ClassModel(LogLinearModel):
    r"""Posterior over candidates, built on another one: the zero-shot softmax in the simplest case.

    .. math:: q_j = w_0\, base_j + w_1 \log N(x; m_j, C) + w_2 \log N(\phi(x); \mu_j, \Sigma) + w_3 b_j

    Among candidates that `fit` did not see, the Gaussians are those that the texts predict, at the
    weight that they earned on classes left out, and kernel and intercepts are silent.
    """

    logit_scale: float
    base: LogLinearModel | None  # what is built upon; None means the zero-shot logits
    base_weight: float
    text: Tensor  # (K, d) of known classes; of width m where they are kept as keys
    # What each source learned of known classes, times its weight. `open_set` stands in for missing Gaussians.
    known: dict[str, Part] = field(default_factory=dict)
    open_set: TextDensities | None = None  # Gaussians of any texts
    open_weights: tuple[float, float] = (0.0, 0.0)  # theirs where all candidates are known, and where none is
    # Slope and offset that calibrate the log-odds among known, and among new candidates.
    platt: tuple[float, float] = (1.0, 0.0)
    base_platt: tuple[float, float] = (1.0, 0.0)
    # What makes the softmax among known, and among new candidates calibrated.
    known_sharpness: float = 1.0
    base_sharpness: float = 1.0
    # Projection (d, m) of texts to the keys by which they are recognised; None compares the texts.
    key: Tensor | None = None
    # How likely an image shows none of the known candidates; None leaves that out of account.
    none_known: Background | None = None
    # The same among candidates of which some are new, relative to images as their texts predict them.
    none_new: Background | None = None
    # What is left of the Gaussians of `base` among known candidates, where others take their place.
    base_gaussians: float = 1.0
    # Where it follows a stream of images without labels.
    stream: Stream | None = None

    @once
    def match(self, text: Tensor) -> Tensor:
        """Return for each text (J, d) the known class that it names, or -1."""
        if self.key is None:
            return match_texts(text, self.text)
        return match_texts(text_keys(text, self.key), normalize(self.text, dim=1))

    @once
    def parts(self, text: Tensor) -> Parts:
        """See `LogLinearModel`."""
        match = self.match(text)
        is_known = bool((match >= 0).all())
        base = zero_shot(self.logit_scale, text) if self.base is None else self.base.parts(text)
        weight = self.base_weight if is_known else 1.0
        found: Parts = {name: [part.times(weight) for part in group] for name, group in base.items()}
        if is_known and GAUSSIANS.name in found:
            found[GAUSSIANS.name] = [part.times(self.base_gaussians) for part in found[GAUSSIANS.name]]

        def add(name: str, part: Part) -> None:
            found.setdefault(name, []).append(part)

        name = "class Gaussians"
        if not is_known:
            if (weight := self._open_weight(match)) and self.open_set is not None:
                add(name, self.open_set.among(text, match).times(weight))
            return found
        if name not in self.known and self.open_set is not None:
            add(name, self.open_set.among_known(match).times(weight * self.open_weights[0]))
        for name, part in self.known.items():
            add(name, part.among(match))
        return found

    def _open_weight(self, match: Tensor) -> float:
        """Weight of the Gaussians among candidates (J,) of which some are new."""
        share = float((match >= 0).double().mean())
        weight = share * self.open_weights[0] + (1 - share) * self.open_weights[1]
        return weight * len(match) / (len(match) + FEW_CANDIDATES)

    def unknown_share(self, text: Tensor) -> float:
        """See `LogLinearModel`."""
        below = 1.0 if self.base is None else self.base.unknown_share(text)
        match = self.match(text)
        if self.key is not None and bool((match < 0).any()):
            return below  # a head, of another set than the user's: its own classes may look otherwise there
        if self.open_set is None:  # nothing was learned here, or only from images without labels
            return below
        return min(below, float((match < 0).double().mean()))

    def calibration(self, text: Tensor) -> tuple[float, float]:
        """See `LogLinearModel`."""
        if bool((self.match(text) >= 0).all()):
            return self.platt
        return self.base_platt if self.base is None else self.base.calibration(text)

    def background(self, text: Tensor) -> Background | None:
        """See `LogLinearModel`; among new candidates where the Gaussians have a say there."""
        match = self.match(text)
        if bool((match >= 0).all()):
            return self.none_known
        if self.open_set is not None and self._open_weight(match):
            images = self.open_set.centre + self.open_set.expected(text, match)
            return above(self.none_new, self.parts(text), images)
        return None if self.base is None else self.base.background(text)

    def sharpness(self, text: Tensor) -> float:
        """See `LogLinearModel`."""
        if bool((self.match(text) >= 0).all()):
            return self.known_sharpness
        return self.base_sharpness if self.base is None else self.base.sharpness(text)


def learn_blend(
    task: Task,
    logit_scale: float,
    generator: torch.Generator,
    base: LogLinearModel | None = None,
    sources: Sequence[Source] = SOURCES,
    base_precision: Callable[[float], float] = base_precision,
) -> Blend:
    """Choose and weigh the sources of a class model from labels, or from right and wrong, upon `base`."""
    n, k = len(task.images), len(task.text)
    distinct, every_group, which = distinct_rows(task)
    important = importance(task, which, len(distinct))
    if task.labels is not None:  # what shows none of the candidates says nothing of any of them
        shown = task.labels[distinct] != NONE
        distinct, every_group, important = distinct[shown], number(every_group[shown]), important[shown]
    drawn = draw_groups(every_group, sample_size(k), generator)
    rows, groups = distinct[drawn], number(every_group[drawn])
    z = read(task.images, slice(None) if len(rows) == n else rows)
    labels, correct = (None if known is None else known[rows] for known in (task.labels, task.correct))
    size = len(z)
    # Leave-one-out formulas subtract nearly equal numbers where there are few images.
    dtype = torch.float64 if size <= 1000 else working()
    text, x = task.text.to(dtype), z.to(dtype)
    with torch.no_grad():
        cosines = z @ task.text.T
        below = zero_shot(logit_scale, task.text) if base is None else base.parts(task.text)
        logits = total(below, z).to(dtype)
    prediction = cosines.argmax(dim=1)
    classes = prediction if labels is None else labels
    if task.groups is None:
        warn_of_near_copies(z, classes, groups)
    correlation = correlation_in_groups(x, classes, groups)
    weights = group_weights(groups, correlation) * important[drawn]
    if labels is not None:
        if size == len(distinct):
            moments = Moments.gather([(x, labels, weights)], k)
        else:
            shift = x.mean(dim=0) if world_size() > 1 else None
            every = torch.zeros(n, dtype=torch.float64)
            every[distinct] = group_weights(every_group, correlation) * important
            moments = Moments.gather(_labelled_chunks(task, every, dtype), k, shift)
        data = TrainingData(x, logits, text, prediction, labels, None, moments, groups, weights)
        return Blend(data, sources, generator, base_precision=base_precision)
    assert correct is not None
    # Alternate between the likeliest class of each image and the blend that they give. A right image has
    # the predicted class, a wrong one any other.
    q = logits
    for step in range(EM_ROUNDS + 1):
        others = q.scatter(1, prediction[:, None], -torch.inf).argmax(dim=1)
        labels = torch.where(correct, prediction, others)
        moments = Moments.gather([(x, labels, weights)], k)
        data = TrainingData(x, logits, text, prediction, labels, correct, moments, groups, weights)
        blend = Blend(data, sources, generator, fast=step < EM_ROUNDS, base_precision=base_precision)
        if data.shortage:
            break
        if blend.fast:
            q = blend.left_out(torch.arange(size))
    return blend


def sample_rows(n: int, k: int, generator: torch.Generator) -> slice | Tensor:
    """Rows to hold in memory with an array of rows × k beside them: all, or a random sample."""
    size = sample_size(k)
    return slice(None) if n <= size else torch.randperm(n, generator=generator)[:size].sort().values


def sample_size(k: int) -> int:
    """Rows that are held in memory with an array of rows × k beside them."""
    return min(SAMPLE, max(SAMPLE_ELEMENTS // k, 1000))


def class_model(blend: Blend, logit_scale: float, text: Tensor, base: LogLinearModel | None) -> ClassModel:
    """Keep of a blend what scoring needs."""
    open_set, open_weights, data = None, (0.0, 0.0), blend.data
    if (name := "class Gaussians") in blend.fitted:
        # Among candidates of which some are new the kernel is silent, and the weight is that without it.
        weights = blend.weights_of(name) if "kernel" in blend.fitted else blend.weights
        new_weight = 0.0 if data.correct is not None else transferred_weight(data)
        open_set = TextDensities.of(ClassGaussians(data.moments, data.text, PRIOR_IMAGES).whiten(SHRINKAGE))
        open_weights = weights[name] / weights["base"], new_weight
    return ClassModel(
        logit_scale,
        base,
        blend.weights["base"],
        text,
        {name: fitted.part(blend.weights[name]) for name, fitted in blend.fitted.items()},
        open_set,
        open_weights,
        blend.platt,
        blend.base_platt,
        blend.sharpness,
    )


def _labelled_chunks(task: Task, weights: Tensor, dtype: torch.dtype) -> Iterator[tuple[Tensor, ...]]:
    assert task.labels is not None
    for rows in track(own_slices(task.images), "reading classes"):
        yield task.images.read(rows).to(dtype), task.labels[rows].clamp_min(0), weights[rows]
