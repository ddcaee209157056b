"""A real data set and a real, if tiny, vision-language model that need no download.

The images are the 1,797 handwritten digits inside scikit-learn. The model is a dual encoder in the
manner of CLIP, trained here in a second on 200 of them and captions such as "the digit seven".
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, one_hot, relu

from vilu_sdk.compute.random import check_random_state

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# The first one names the classes for zero-shot prediction.
TEMPLATES = ("a handwritten {}", "the digit {}", "a small picture of the number {}", "someone wrote {}")

HIDDEN, EMBEDDING, NGRAM_BUCKETS = 64, 32, 256
# So few images and steps leave the model as fallible as CLIP is on a hard data set: 80 to 88 % right.
TRAIN_IMAGES, TRAIN_STEPS, BATCH, LEARNING_RATE = 200, 20, 64, 6e-3


@dataclass(frozen=True, eq=False, repr=False)
class DigitsVLM:
    """Embeddings of handwritten digits and of the names of their classes by one small model.

    The images that trained the model are in neither part.

    Attributes
    ----------
    z_img_fit : ndarray of shape (798, 32), float32
        Embeddings of the images to fit scorers on, rows of norm 1.
    labels_fit : ndarray of shape (798,), int64
        Their digits.
    z_img_test : ndarray of shape (799, 32), float32
        Embeddings of the images to compare scorers on.
    labels_test : ndarray of shape (799,), int64
        Their digits.
    z_txt : ndarray of shape (10, 32), float32
        Embeddings of "a handwritten zero" to "a handwritten nine"; row k is digit k.
    class_names : tuple of 10 str
        "zero" to "nine".
    logit_scale : float
        The scale the model learnt, by which cosines become logits.
    images_test : ndarray of shape (799, 8, 8), float64
        The pixels of the test images, 0 (paper) to 16 (ink), for display.
    """

    z_img_fit: NDArray[np.float32]
    labels_fit: NDArray[np.int64]
    z_img_test: NDArray[np.float32]
    labels_test: NDArray[np.int64]
    z_txt: NDArray[np.float32]
    class_names: tuple[str, ...]
    logit_scale: float
    images_test: NDArray[np.float64]

    def __repr__(self) -> str:
        return (
            f"DigitsVLM({len(self.labels_fit)} images to fit, {len(self.labels_test)} to test, "
            f"{len(self.class_names)} classes, d={self.z_txt.shape[1]}, logit_scale={self.logit_scale:.1f})"
        )


def load_digits_vlm(random_state: int | np.random.RandomState | None = 0) -> DigitsVLM:
    """Train a tiny vision-language model on some handwritten digits and embed the others.

    An image tower (a two-layer perceptron on 8 × 8 pixels) and a text tower (a linear map of hashed
    character n-grams) learn from 200 images with captions, by the symmetric contrastive loss of CLIP
    with a learnt scale. Training is short on purpose: on images it never saw the model is right for
    about 85 % of them, so there are failures to predict. Takes less than a second.

    Parameters
    ----------
    random_state : int, RandomState or None
        Decides the three disjoint parts, the initial weights and the batches. The same integer
        gives the same arrays, up to the rounding of the machine's matrix products. Global generators
        are left alone, except numpy's if None is passed.

    Returns
    -------
    DigitsVLM
        Embeddings of a part to fit scorers on and of a part to test them on, of the class names, and
        the logit scale.

    Raises
    ------
    ValueError
        If `random_state` is none of the above.

    Examples
    --------
    >>> from vilu_sdk import MCMScorer
    >>> from vilu_sdk.datasets import load_digits_vlm
    >>> digits = load_digits_vlm()
    >>> digits.z_img_test.shape, digits.z_txt.shape
    ((799, 32), (10, 32))
    >>> mcm = MCMScorer(logit_scale=digits.logit_scale)
    >>> right = mcm.predict(digits.z_img_test, digits.z_txt) == digits.labels_test
    >>> bool(0.75 < right.mean() < 0.92)
    True
    """
    random = check_random_state(random_state)
    split_seed, weight_seed = (int(seed) for seed in random.randint(2**31 - 1, size=2))
    images, digits = load_digits(return_X_y=True)
    rows = np.arange(len(digits))
    train, others = train_test_split(rows, train_size=TRAIN_IMAGES, stratify=digits, random_state=split_seed)
    fit, test = train_test_split(others, train_size=0.5, stratify=digits[others], random_state=split_seed)

    pixels = torch.from_numpy((images / 16).astype(np.float32))
    model = _DualEncoder(torch.Generator().manual_seed(weight_seed))
    with single_thread():
        model.train(pixels[train], torch.from_numpy(digits[train]))
    with torch.no_grad():
        z_img = model.embed_images(pixels).numpy()
        z_txt = model.embed_texts([TEMPLATES[0].format(name) for name in CLASS_NAMES]).numpy()
        logit_scale = float(model.log_scale.exp())
    return DigitsVLM(
        z_img_fit=z_img[fit],
        labels_fit=digits[fit].astype(np.int64),
        z_img_test=z_img[test],
        labels_test=digits[test].astype(np.int64),
        z_txt=z_txt,
        class_names=CLASS_NAMES,
        logit_scale=logit_scale,
        images_test=images[test].reshape(-1, 8, 8),
    )


@contextmanager
def single_thread() -> Iterator[None]:
    """Keep torch on one thread."""
    # In products this small, threads only wait for each other, tenfold on a busy machine, and sums of another
    # order round differently.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _DualEncoder:
    """Two towers into one space; plain tensors, because torch modules draw from the global generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.pixels_to_hidden = self._weight(64, HIDDEN)
        self.hidden_bias = torch.zeros(HIDDEN, dtype=torch.float32, requires_grad=True)
        self.hidden_to_space = self._weight(HIDDEN, EMBEDDING)
        self.ngrams_to_space = self._weight(NGRAM_BUCKETS, EMBEDDING)
        # CLIP starts at a temperature of 0.07.
        self.log_scale = torch.tensor(float(np.log(1 / 0.07)), dtype=torch.float32, requires_grad=True)

    def _weight(self, n_in: int, n_out: int) -> Tensor:
        weight = torch.randn(n_in, n_out, generator=self.generator, dtype=torch.float32)
        return weight.div_(n_in**0.5).requires_grad_()

    def embed_images(self, pixels: Tensor) -> Tensor:
        """Embed pixels (n, 64) in [0, 1] as unit rows (n, 32)."""
        # 0.3 is about the mean of the pixels.
        hidden = relu((pixels - 0.3) @ self.pixels_to_hidden + self.hidden_bias)
        return normalize(hidden @ self.hidden_to_space, dim=1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as unit rows (n, 32)."""
        return normalize(torch.stack([_count_ngrams(text) for text in texts]) @ self.ngrams_to_space, dim=1)

    def train(self, pixels: Tensor, labels: Tensor) -> None:
        """Fit both towers and the scale to images that each get a caption from a random template."""
        parameters = [value for value in vars(self).values() if isinstance(value, Tensor)]
        optimiser = torch.optim.Adam(parameters, lr=LEARNING_RATE)
        with torch.enable_grad():
            for _ in range(TRAIN_STEPS):
                batch = torch.randint(len(pixels), (BATCH,), generator=self.generator)
                templates = torch.randint(len(TEMPLATES), (BATCH,), generator=self.generator)
                names = labels[batch]
                pairs = zip(templates, names, strict=True)
                z_txt = self.embed_texts([TEMPLATES[t].format(CLASS_NAMES[k]) for t, k in pairs])
                logits = self.log_scale.exp() * self.embed_images(pixels[batch]) @ z_txt.T
                loss = _contrastive_loss(logits, names)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()


def _contrastive_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Symmetric InfoNCE of images × captions, where all captions of an image's class are positives."""
    member = one_hot(labels, len(CLASS_NAMES)).to(logits.dtype)
    positives = member @ member.T
    target = positives / positives.sum(dim=1, keepdim=True)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def _count_ngrams(text: str) -> Tensor:
    """Count the character 2- to 4-grams of a text in hashed buckets, as a unit vector."""
    marked = f"<{text}>"
    # crc32, because Python's own hash of a string differs from process to process.
    buckets = [
        zlib.crc32(marked[start : start + n].encode()) % NGRAM_BUCKETS
        for n in (2, 3, 4)
        for start in range(len(marked) - n + 1)
    ]
    counts = torch.bincount(torch.tensor(buckets), minlength=NGRAM_BUCKETS).to(torch.float32)
    return normalize(counts, dim=0)
