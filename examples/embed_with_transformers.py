"""How do I get embeddings out of CLIP or SigLIP?

Embed images and class names with CLIP or SigLIP from transformers, and print the model's logit scale.

    pip install transformers pillow
    python embed_with_transformers.py images/ embeddings/
    python embed_with_transformers.py images/ embeddings/ --model google/siglip-base-patch16-224

The subfolders of images/ are the classes, and their names are the texts. The program writes z_img.npy,
z_txt.npy, labels.npy and class_names.txt. Pass these files to `vilu`, or load the arrays with `np.load` and
use them in other examples instead of the digits. Pass the printed logit scale to every scorer.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize
from transformers import AutoModel, AutoProcessor

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
# Class embeddings get better with more templates; open_clip has OpenAI's 80 as OPENAI_IMAGENET_TEMPLATES.
TEMPLATES = {
    "clip": ("a photo of a {}.", "a good photo of a {}.", "a photo of the {}."),
    "siglip": ("this is a photo of {}.", "a photo of a {}.", "a photo of the {}."),
}


def is_siglip(model: Any) -> bool:
    return "siglip" in model.config.model_type


def features(output: Any) -> torch.Tensor:
    # transformers 5 returns an object, transformers 4 the tensor itself.
    return getattr(output, "pooler_output", output).float()


def embed_images(model: Any, processor: Any, paths: Sequence[Path], batch_size: int = 64) -> np.ndarray:
    """Return z_img (N, d). They need no normalisation: the SDK scales rows to length 1."""
    parts = []
    for start in range(0, len(paths), batch_size):
        images = [Image.open(path).convert("RGB") for path in paths[start : start + batch_size]]
        inputs = processor(images=images, return_tensors="pt").to(model.device)
        parts.append(features(model.get_image_features(**inputs)).cpu().numpy())
    return np.concatenate(parts)


def embed_texts(model: Any, processor: Any, texts: Sequence[str]) -> torch.Tensor:
    """Return embeddings of texts (n, d) of length 1."""
    inputs = processor.tokenizer(
        [text.lower() for text in texts],  # as SigLIP 2 was trained; the tokenisers of the others do it
        padding="max_length" if is_siglip(model) else True,
        max_length=model.config.text_config.max_position_embeddings,
        truncation=True,
        return_tensors="pt",
    ).to(model.device)
    if is_siglip(model):
        # It reads the last position and was trained on texts padded to full length, without a mask. Anything
        # else gives other embeddings, and no error.
        inputs.pop("attention_mask", None)
    return normalize(features(model.get_text_features(**inputs)), dim=1)


def embed_classes(model: Any, processor: Any, names: Sequence[str], templates: Sequence[str]) -> np.ndarray:
    """Return z_txt (K, d): for each class the mean of its prompts, each scaled to length 1 before."""
    rows = [embed_texts(model, processor, [t.format(name) for t in templates]).mean(dim=0) for name in names]
    return torch.stack(rows).cpu().numpy()


@torch.inference_mode()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Embed images and class names for vilu-sdk.")
    parser.add_argument("images", type=Path, help="folder with a subfolder of images for each class")
    parser.add_argument("output", type=Path, help="folder for the .npy files")
    parser.add_argument("--model", default="openai/clip-vit-base-patch32", help="on the Hub, or a folder")
    options = parser.parse_args(arguments)
    paths = sorted(path for path in options.images.glob("*/*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        parser.error(f"no images in subfolders of {options.images}")
    names = sorted({path.parent.name for path in paths})

    model = AutoModel.from_pretrained(options.model).eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    processor = AutoProcessor.from_pretrained(options.model)
    templates = TEMPLATES["siglip" if is_siglip(model) else "clip"]

    options.output.mkdir(parents=True, exist_ok=True)
    np.save(options.output / "z_img.npy", embed_images(model, processor, paths))
    np.save(options.output / "z_txt.npy", embed_classes(model, processor, names, templates))
    np.save(options.output / "labels.npy", [names.index(path.parent.name) for path in paths])
    (options.output / "class_names.txt").write_text("\n".join(names), encoding="utf-8")

    # The parameter is the logarithm of the scale. SigLIP's logit_bias is the same for every text: it cancels
    # in the softmax over candidates that every scorer reads, so the SDK has no argument for it.
    print(f"{len(paths)} images, {len(names)} classes, logit scale {model.logit_scale.exp().item():.4f}")


if __name__ == "__main__":
    main()
