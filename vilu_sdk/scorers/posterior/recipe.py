"""The default recipe: from any supervision to a model, and from a model to a new domain."""

from dataclasses import replace

import numpy as np
import torch

from vilu_sdk.compute.distributed import read
from vilu_sdk.exceptions import NothingLearnedWarning, warn
from vilu_sdk.inputs.task import Task
from vilu_sdk.scorers.base.groups import groups_of, one_of_each
from vilu_sdk.scorers.posterior.adapt import adapt_classes, follow
from vilu_sdk.scorers.posterior.background import (
    WIDE_MARGIN,
    learn_background,
    unknown_images,
    unlabelled_background,
)
from vilu_sdk.scorers.posterior.captions import MIN_PAIRS, CaptionModel, learn_captions
from vilu_sdk.scorers.posterior.classes import class_model, learn_blend, sample_rows, sample_size
from vilu_sdk.scorers.posterior.frequencies import Frequencies
from vilu_sdk.scorers.posterior.model import LogLinearModel, total

# With more images than this for each candidate, candidates are classes and not captions.
IMAGES_PER_CAPTION = 2


def learn_auto(
    task: Task,
    logit_scale: float,
    generator: torch.Generator,
    base: LogLinearModel | None = None,
    unknown_rate: float | None = None,
) -> LogLinearModel:
    """Learn from whatever is known, upon `base` or the zero-shot logits."""
    if not task.is_caption:
        blend = learn_blend(task, logit_scale, generator, base)
        if lack := blend.data.shortage:
            warn_fallback(f"they hold {lack}", base)
            if base is not None:
                return base
        model = class_model(blend, logit_scale, task.text, base)
        model = replace(model, none_new=unlabelled_background(unknown_rate, WIDE_MARGIN))
        if not blend.fitted:  # the posterior is the one that is built upon
            return model if base is None else replace(model, none_known=base.background(task.text))
        shown = unknown_images(task, sample_size(len(task.text)))
        unknown = None if shown is None else (total(model.parts(task.text), shown[0]), shown[1])
        return replace(model, none_known=learn_background(blend, unknown, unknown_rate))
    if task.weights is not None:
        raise ValueError("ViLUEstimator takes no sample_weight for pairs with captions; leave it out.")
    if unknown_rate:
        raise ValueError("unknown_rate is about images among classes, not pairs with captions; leave it out.")
    n = len(torch.unique(groups_of(task)))
    if n < MIN_PAIRS:
        warn_fallback(f"{n} different pairs are fewer than {MIN_PAIRS}", base)
        return CaptionModel(logit_scale) if base is None else base
    learned = learn_captions(task, logit_scale, generator)
    return replace(learned, none=unlabelled_background(unknown_rate, WIDE_MARGIN))


def adapt_auto(
    model: LogLinearModel,
    task: Task,
    generator: torch.Generator,
    *,
    frequencies: Frequencies = None,
    memory: float | None = None,
    unknown_rate: float | None = None,
) -> LogLinearModel:
    """Move a model to unlabelled images of a domain, or on by a batch of a stream with `memory`.

    Of each group one image is looked at, and of exact copies one.
    """
    text, n = task.text, len(task.images)
    distinct = one_of_each(groups_of(task), np.arange(n))
    rows = sample_rows(len(distinct), len(text), generator)
    x = read(task.images, rows if len(distinct) == n else torch.from_numpy(distinct)[rows])
    if memory is not None:
        return follow(model, x, text, memory, unknown_rate)
    few = len(x) <= IMAGES_PER_CAPTION * len(text)
    if isinstance(model, CaptionModel) and model.sources and few and frequencies is None:
        return model.adapt(x)
    return adapt_classes(model, x, text, frequencies=frequencies, unknown_rate=unknown_rate)


def warn_fallback(reason: str, base: LogLinearModel | None = None) -> None:
    """Warn that a fit learned nothing."""
    kept = "MCM's ranking" if base is None else "what was learned before"
    warn(
        f"ViLUEstimator learned nothing from the given images because {reason}; it keeps {kept}. "
        "Pass more labelled images to gain from them.",
        NothingLearnedWarning,
    )
