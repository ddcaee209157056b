"""How do I get embeddings out of open_clip?

Embed images and class names with any model of open_clip, CLIP or SigLIP, and print its logit scale.

    pip install open_clip_torch
    python embed_with_open_clip.py images/ embeddings/
    python embed_with_open_clip.py images/ embeddings/ --model ViT-B-16-SigLIP --pretrained webli

The subfolders of images/ are the classes, and their names are the texts. The program writes z_img.npy,
z_txt.npy, labels.npy and class_names.txt. Pass these files to `vilu`, or load the arrays with `np.load` and
use them in other examples instead of the digits. Pass the printed logit scale to every scorer.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def embed_images(
    model: Any, preprocess: Any, paths: Sequence[Path], device: str, batch_size: int = 64
) -> np.ndarray:
    """Return z_img (N, d). They need no normalisation: the SDK scales rows to length 1."""
    parts = []
    for start in range(0, len(paths), batch_size):
        images = [preprocess(Image.open(path)) for path in paths[start : start + batch_size]]
        parts.append(model.encode_image(torch.stack(images).to(device)).float().cpu().numpy())
    return np.concatenate(parts)


@torch.inference_mode()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Embed images and class names for vilu-sdk.")
    parser.add_argument("images", type=Path, help="folder with a subfolder of images for each class")
    parser.add_argument("output", type=Path, help="folder for the .npy files")
    parser.add_argument("--model", default="ViT-B-32", help="one of open_clip.list_models()")
    # OpenAI's weights are what the head clip-b32-imagenet of this package was made for.
    parser.add_argument("--pretrained", default="openai", help="a tag of open_clip.list_pretrained()")
    options = parser.parse_args(arguments)
    paths = sorted(path for path in options.images.glob("*/*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        parser.error(f"no images in subfolders of {options.images}")
    names = sorted({path.parent.name for path in paths})

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, preprocess = open_clip.create_model_from_pretrained(
        options.model, pretrained=options.pretrained, device=device
    )
    model.eval()  # open_clip leaves models in training mode
    # It pads to the model's full length, which SigLIP needs, and cleans texts as in the model's training.
    tokenizer = open_clip.get_tokenizer(options.model)
    # For each class the mean over 80 prompts, each scaled to length 1 before. Classes are the columns.
    z_txt = open_clip.build_zero_shot_classifier(
        model, tokenizer, names, open_clip.OPENAI_IMAGENET_TEMPLATES, device=device
    ).T

    options.output.mkdir(parents=True, exist_ok=True)
    np.save(options.output / "z_img.npy", embed_images(model, preprocess, paths, device))
    np.save(options.output / "z_txt.npy", z_txt.float().cpu().numpy())
    np.save(options.output / "labels.npy", [names.index(path.parent.name) for path in paths])
    (options.output / "class_names.txt").write_text("\n".join(names), encoding="utf-8")

    # The parameter is the logarithm of the scale. SigLIP's logit_bias is the same for every text: it cancels
    # in the softmax over candidates that every scorer reads, so the SDK has no argument for it.
    print(f"{len(paths)} images, {len(names)} classes, logit scale {model.logit_scale.exp().item():.4f}")


if __name__ == "__main__":
    main()
