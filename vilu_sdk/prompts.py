"""Prompts: the texts that names of classes are embedded in, and the field's standard templates for them.

`TEMPLATES` are those that CLIP's paper was evaluated with (Radford et al., "Learning Transferable Visual
Models From Natural Language Supervision", ICML 2021), as published in ``data/prompts.md`` and in
``notebooks/Prompt_Engineering_for_ImageNet.ipynb`` of https://github.com/openai/CLIP: the 80 of ImageNet,
the 7 of them that a forward search kept (`"imagenet-7"`), and those of 26 other data sets.
"""

import re
from collections.abc import Iterable

from vilu_sdk.inputs.names import Names

__all__ = ["TEMPLATES", "fill"]

#: Where the name of a class goes.
PLACE = "{}"
# The data sets that share templates, then these, between bars.
_PUBLISHED = """
imagenet
    a bad photo of a {}. | a photo of many {}. | a sculpture of a {}. | a photo of the hard to see {}.
    a low resolution photo of the {}. | a rendering of a {}. | graffiti of a {}.
    a bad photo of the {}. | a cropped photo of the {}. | a tattoo of a {}. | the embroidered {}.
    a photo of a hard to see {}. | a bright photo of a {}. | a photo of a clean {}.
    a photo of a dirty {}. | a dark photo of the {}. | a drawing of a {}. | a photo of my {}.
    the plastic {}. | a photo of the cool {}. | a close-up photo of a {}.
    a black and white photo of the {}. | a painting of the {}. | a painting of a {}.
    a pixelated photo of the {}. | a sculpture of the {}. | a bright photo of the {}.
    a cropped photo of a {}. | a plastic {}. | a photo of the dirty {}.
    a jpeg corrupted photo of a {}. | a blurry photo of the {}. | a photo of the {}.
    a good photo of the {}. | a rendering of the {}. | a {} in a video game. | a photo of one {}.
    a doodle of a {}. | a close-up photo of the {}. | a photo of a {}. | the origami {}.
    the {} in a video game. | a sketch of a {}. | a doodle of the {}. | a origami {}.
    a low resolution photo of a {}. | the toy {}. | a rendition of the {}. | a photo of the clean {}.
    a photo of a large {}. | a rendition of a {}. | a photo of a nice {}. | a photo of a weird {}.
    a blurry photo of a {}. | a cartoon {}. | art of a {}. | a sketch of the {}. | a embroidered {}.
    a pixelated photo of a {}. | itap of the {}. | a jpeg corrupted photo of the {}.
    a good photo of a {}. | a plushie {}. | a photo of the nice {}. | a photo of the small {}.
    a photo of the weird {}. | the cartoon {}. | art of the {}. | a drawing of the {}.
    a photo of the large {}. | a black and white photo of a {}. | the plushie {}.
    a dark photo of a {}. | itap of a {}. | graffiti of the {}. | a toy {}. | itap of my {}.
    a photo of a cool {}. | a photo of a small {}. | a tattoo of the {}.
imagenet-7
    itap of a {}. | a bad photo of the {}. | a origami {}. | a photo of the large {}.
    a {} in a video game. | art of the {}. | a photo of the small {}.
birdsnap
    a photo of a {}, a type of bird.
cifar10 cifar100
    a photo of a {}. | a blurry photo of a {}. | a black and white photo of a {}.
    a low contrast photo of a {}. | a high contrast photo of a {}. | a bad photo of a {}.
    a good photo of a {}. | a photo of a small {}. | a photo of a big {}. | a photo of the {}.
    a blurry photo of the {}. | a black and white photo of the {}. | a low contrast photo of the {}.
    a high contrast photo of the {}. | a bad photo of the {}. | a good photo of the {}.
    a photo of the small {}. | a photo of the big {}.
clevr-counts
    a photo of {} objects.
caltech101
    a photo of a {}. | a painting of a {}. | a plastic {}. | a sculpture of a {}. | a sketch of a {}.
    a tattoo of a {}. | a toy {}. | a rendition of a {}. | a embroidered {}. | a cartoon {}.
    a {} in a video game. | a plushie {}. | a origami {}. | art of a {}. | graffiti of a {}.
    a drawing of a {}. | a doodle of a {}. | a photo of the {}. | a painting of the {}.
    the plastic {}. | a sculpture of the {}. | a sketch of the {}. | a tattoo of the {}. | the toy {}.
    a rendition of the {}. | the embroidered {}. | the cartoon {}. | the {} in a video game.
    the plushie {}. | the origami {}. | art of the {}. | graffiti of the {}. | a drawing of the {}.
    a doodle of the {}.
country211
    a photo i took in {}. | a photo i took while visiting {}. | a photo from my home country of {}.
    a photo from my visit to {}. | a photo showing the country of {}.
dtd
    a photo of a {} texture. | a photo of a {} pattern. | a photo of a {} thing.
    a photo of a {} object. | a photo of the {} texture. | a photo of the {} pattern.
    a photo of the {} thing. | a photo of the {} object.
eurosat
    a centered satellite photo of {}. | a centered satellite photo of a {}.
    a centered satellite photo of the {}.
fgvc-aircraft
    a photo of a {}, a type of aircraft. | a photo of the {}, a type of aircraft.
fer2013
    a photo of a {} looking face. | a photo of a face showing the emotion: {}.
    a photo of a face looking {}. | a face that looks {}. | they look {}. | look at how {} they are.
flowers102
    a photo of a {}, a type of flower.
food101
    a photo of {}, a type of food.
gtsrb
    a zoomed in photo of a "{}" traffic sign. | a centered photo of a "{}" traffic sign.
    a close up photo of a "{}" traffic sign.
hateful-memes
    a {}.
kitti
    {}
kinetics700
    a photo of {}. | a photo of a person {}. | a photo of a person using {}.
    a photo of a person doing {}. | a photo of a person during {}. | a photo of a person performing {}.
    a photo of a person practicing {}. | a video of {}. | a video of a person {}.
    a video of a person using {}. | a video of a person doing {}. | a video of a person during {}.
    a video of a person performing {}. | a video of a person practicing {}. | a example of {}.
    a example of a person {}. | a example of a person using {}. | a example of a person doing {}.
    a example of a person during {}. | a example of a person performing {}.
    a example of a person practicing {}. | a demonstration of {}. | a demonstration of a person {}.
    a demonstration of a person using {}. | a demonstration of a person doing {}.
    a demonstration of a person during {}. | a demonstration of a person performing {}.
    a demonstration of a person practicing {}.
mnist
    a photo of the number: "{}".
oxford-pets
    a photo of a {}, a type of pet.
voc2007
    a photo of a {}.
pcam
    this is a photo of {}
resisc45
    satellite imagery of {}. | aerial imagery of {}. | satellite photo of {}. | aerial photo of {}.
    satellite view of {}. | aerial view of {}. | satellite imagery of a {}. | aerial imagery of a {}.
    satellite photo of a {}. | aerial photo of a {}. | satellite view of a {}. | aerial view of a {}.
    satellite imagery of the {}. | aerial imagery of the {}. | satellite photo of the {}.
    aerial photo of the {}. | satellite view of the {}. | aerial view of the {}.
rendered-sst2
    a {} review of a movie.
stl10 sun397
    a photo of a {}. | a photo of the {}.
stanford-cars
    a photo of a {}. | a photo of the {}. | a photo of my {}. | i love my {}! | a photo of my dirty {}.
    a photo of my clean {}. | a photo of my new {}. | a photo of my old {}.
ucf101
    a photo of a person {}. | a video of a person {}. | a example of a person {}.
    a demonstration of a person {}. | a photo of the person {}. | a video of the person {}.
    a example of the person {}. | a demonstration of the person {}. | a photo of a person using {}.
    a video of a person using {}. | a example of a person using {}.
    a demonstration of a person using {}. | a photo of the person using {}.
    a video of the person using {}. | a example of the person using {}.
    a demonstration of the person using {}. | a photo of a person doing {}.
    a video of a person doing {}. | a example of a person doing {}.
    a demonstration of a person doing {}. | a photo of the person doing {}.
    a video of the person doing {}. | a example of the person doing {}.
    a demonstration of the person doing {}. | a photo of a person during {}.
    a video of a person during {}. | a example of a person during {}.
    a demonstration of a person during {}. | a photo of the person during {}.
    a video of the person during {}. | a example of the person during {}.
    a demonstration of the person during {}. | a photo of a person performing {}.
    a video of a person performing {}. | a example of a person performing {}.
    a demonstration of a person performing {}. | a photo of the person performing {}.
    a video of the person performing {}. | a example of the person performing {}.
    a demonstration of the person performing {}. | a photo of a person practicing {}.
    a video of a person practicing {}. | a example of a person practicing {}.
    a demonstration of a person practicing {}. | a photo of the person practicing {}.
    a video of the person practicing {}. | a example of the person practicing {}.
    a demonstration of the person practicing {}.
"""


def _read(text: str) -> dict[str, tuple[str, ...]]:
    """Return the templates of each data set."""
    found: dict[str, tuple[str, ...]] = {}
    for part in re.split(r"\n(?=\S)", text.strip()):
        keys, _, templates = part.partition("\n")
        found |= dict.fromkeys(keys.split(), tuple(re.split(r"\s*[|\n]\s*", templates.strip())))
    return found


#: The templates of each data set, by its name in small letters.
TEMPLATES: dict[str, tuple[str, ...]] = _read(_PUBLISHED)


def fill(names: Iterable[str], templates: str | Iterable[str] = "imagenet-7") -> list[str]:
    """Return the texts to embed: each template with each name, all of the first name first.

    Parameters
    ----------
    names : iterable of str
        Names of the K candidates, each once.
    templates : str or iterable of str
        One of `TEMPLATES`, such as "imagenet" or "dtd"; one template; or P of them, with ``{}`` where the
        name goes.

    Returns
    -------
    list of str
        K · P texts. Their embeddings (K · P, d), reshaped to (K, P, d), are candidates.

    Raises
    ------
    ValueError
        If a name is empty or given twice, or a template has no ``{}``.
    TypeError
        If names are not text, or one text and not several.

    Examples
    --------
    >>> from vilu_sdk import prompts
    >>> prompts.fill(["cat", "dog"], ["a photo of a {}.", "a {} in a video game."])
    ['a photo of a cat.', 'a cat in a video game.', 'a photo of a dog.', 'a dog in a video game.']

    With a model that embeds texts, candidates with names are then

    >>> names = ["cat", "dog"]
    >>> z = embed(prompts.fill(names, "imagenet"))  # doctest: +SKIP
    >>> z_txt = dict(zip(names, z.reshape(len(names), -1, z.shape[1])))  # doctest: +SKIP
    """
    if isinstance(names, str):
        raise TypeError(f"names must be several texts, got {names!r}; pass [{names!r}].")
    names = list(names)
    if not all(isinstance(name, str) for name in names):
        kinds = " and ".join(sorted({type(name).__name__ for name in names}))
        raise TypeError(f"names must be text, got {kinds}.")
    if isinstance(templates, str):
        if PLACE not in templates and templates not in TEMPLATES:
            raise ValueError(
                f"templates={templates!r} is no data set of TEMPLATES, which are {', '.join(TEMPLATES)}, and "
                f"no template, in which {PLACE} stands for the name."
            )
        templates = TEMPLATES.get(templates, (templates,))
    templates = list(templates)
    for number, template in enumerate(templates):
        if PLACE not in template:
            raise ValueError(f"template {number}, {template!r}, has no {PLACE} where the name goes.")
    return [template.replace(PLACE, name) for name in Names(names, "names") for template in templates]
