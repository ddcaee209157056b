"""A class model to give away: small, and without a row of anyone's embeddings in it."""

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from vilu_sdk.compute.tiles import Logits
from vilu_sdk.inputs.task import Task
from vilu_sdk.scorers.posterior.background import MARGIN, USUAL, WIDE_MARGIN, above, unlabelled_background
from vilu_sdk.scorers.posterior.classes import GAUSSIANS, INTERCEPTS, ClassModel, class_model, learn_blend
from vilu_sdk.scorers.posterior.densities import TextDensities
from vilu_sdk.scorers.posterior.many_sets import learn_transfer
from vilu_sdk.scorers.posterior.transfer import text_keys, transferred_weight

# Numbers by which a class text is recognised: enough to tell texts apart, too few to give them back.
KEY_WIDTH = 64
# Ceiling of the weight of new texts. The Gaussians are those of the known classes, bolder than those
# that an estimator keeps for new texts, so it is half of theirs.
MAX_WEIGHT = 0.01


def learn_portable(
    task: Task, logit_scale: float, generator: torch.Generator, others: Sequence[Task] = ()
) -> ClassModel:
    """Learn a class model from labels that holds each thing once, at half precision, texts as keys.

    Its known classes are those of `task`. What is said of new texts is learned from `others` too, class sets
    of the same backbone, as far as each set's classes are predicted from the other sets.
    """
    # No kernel, whose landmarks are training images.
    blend = learn_blend(task, logit_scale, generator, sources=(GAUSSIANS, INTERCEPTS))
    model = class_model(blend, logit_scale, task.text, None)
    key = torch.randn(task.text.shape[1], KEY_WIDTH, generator=generator)
    key = _halved(key.to(task.text) / KEY_WIDTH**0.5)
    known = {name: part for name, part in model.known.items() if name != GAUSSIANS.name}
    none_new = unlabelled_background(None, MARGIN if others else WIDE_MARGIN)
    model = replace(model, known=known, key=key, text=_halved(text_keys(task.text, key)), none_new=none_new)
    if model.open_set is None:
        return model
    gaussians = blend.fitted[GAUSSIANS.name].gaussians
    assert gaussians is not None
    densities = TextDensities.of(gaussians)
    if others:
        transfer = learn_transfer([task, *others], logit_scale)
        weight = transfer.weight
        # Among known classes alone, what was learned of them is kept as it is.
        linear = densities.among_known(torch.arange(len(task.text))).times(blend.weights[GAUSSIANS.name])
        known[GAUSSIANS.name] = Logits(_halved(linear.directions), linear.offsets)
        densities = transfer.densities(densities.means + densities.centre, task.text)
        model = replace(model, base_platt=transfer.platt, base_sharpness=transfer.sharpness)
    else:
        weight = transferred_weight(blend.data, gaussians.prior_images, gaussians.shrinkage, MAX_WEIGHT)
    halves = {item.name: _halved(getattr(densities, item.name)) for item in fields(densities)}
    # Beside new texts, known ones weigh no more where the set is another one.
    open_weights = (weight if others else model.open_weights[0], weight)
    open_set = TextDensities(**halves)
    model = replace(model, known=known, open_set=open_set, open_weights=open_weights)
    # The level of left-out training images is higher, and costs ten classes of ImageNet 0.4 points of AUC.
    images = open_set.centre + open_set.expected(task.text, torch.arange(len(task.text)))
    none = above(unlabelled_background(None, USUAL), model.parts(task.text), images)
    return replace(model, none_known=none)


def _halved(values: Tensor) -> Tensor:
    """Round to what float16 holds, where it can hold it."""
    half = values.to(torch.float16).to(values)
    return half if bool(torch.isfinite(half).all()) else values
