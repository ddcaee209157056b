"""Get z_img, z_txt and the logit scale out of a CLIP-like model, with open_clip or with transformers.

Needs what vilu-sdk does not install: `pip install open_clip_torch`, or `pip install transformers pillow`.

    python examples/extract_clip_embeddings.py --library open_clip images/ cat dog car

writes embeddings.npz. Every image below images/ is embedded; if each lies in a folder named as its class,
labels are written too.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

# What embeds a list of PIL images, what embeds a list of texts, and the logit scale.
Model = tuple[Callable[[Sequence[Any]], torch.Tensor], Callable[[Sequence[str]], torch.Tensor], float]


def load_open_clip(name: str = "ViT-B-32", pretrained: str | None = "laion2b_s34b_b79k") -> Model:
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=pretrained)
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)

    def embed_images(images: Sequence[Any]) -> torch.Tensor:
        return model.encode_image(torch.stack([preprocess(image) for image in images]))

    def embed_texts(texts: Sequence[str]) -> torch.Tensor:
        return model.encode_text(tokenizer(texts))

    # The parameter is the logarithm; for CLIP it ends at log 100.
    return embed_images, embed_texts, model.logit_scale.exp().item()


def load_transformers(name: str = "openai/clip-vit-base-patch32") -> Model:
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(name).eval()
    processor = AutoProcessor.from_pretrained(name)
    # SigLIP was trained on texts padded to full length; CLIP does not mind a shorter batch.
    padding = "max_length" if "siglip" in model.config.model_type else True

    def tensor(features: Any) -> torch.Tensor:
        # transformers 5 returns an object here, transformers 4 the tensor itself.
        return getattr(features, "pooler_output", features)

    def embed_images(images: Sequence[Any]) -> torch.Tensor:
        return tensor(model.get_image_features(**processor(images=images, return_tensors="pt")))

    def embed_texts(texts: Sequence[str]) -> torch.Tensor:
        inputs = processor(text=texts, padding=padding, truncation=True, return_tensors="pt")
        return tensor(model.get_text_features(**inputs))

    return embed_images, embed_texts, model.logit_scale.exp().item()


def embed_classes(names: Sequence[str], templates: Sequence[str], model: Model) -> np.ndarray:
    """Return z_txt (K, d): for each class the mean over templates of the normalised embeddings."""
    _, embed_texts, _ = model
    rows = []
    for name in names:
        z = embed_texts([template.format(name) for template in templates])
        rows.append(torch.nn.functional.normalize(z, dim=1).mean(dim=0))
    # No further normalisation: the SDK scales rows to norm 1.
    return torch.stack(rows).float().numpy()


def embed_files(paths: Sequence[Path], model: Model, batch_size: int = 64) -> np.ndarray:
    """Return z_img (N, d)."""
    from PIL import Image

    def read(path: Path) -> Any:
        with Image.open(path) as image:
            return image.convert("RGB")

    def parts() -> Iterator[torch.Tensor]:
        embed_images, _, _ = model
        for start in range(0, len(paths), batch_size):
            yield embed_images([read(path) for path in paths[start : start + batch_size]]).float()

    return torch.cat(list(parts())).numpy()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write embeddings.npz for vilu-sdk.")
    parser.add_argument("--library", choices=["open_clip", "transformers"], default="open_clip")
    parser.add_argument("--output", type=Path, default=Path("embeddings.npz"))
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("classes", nargs="+", help="class names, the candidates")
    options = parser.parse_args(arguments)

    suffixes = {".jpg", ".jpeg", ".png", ".webp"}
    paths = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in suffixes)
    if not paths:
        parser.error(f"no images below {options.images}")
    model = load_open_clip() if options.library == "open_clip" else load_transformers()
    with torch.inference_mode():
        arrays: dict[str, Any] = {
            "z_img": embed_files(paths, model),
            "z_txt": embed_classes(options.classes, ["a photo of a {}."], model),
            "logit_scale": model[2],
        }
    if all(path.parent.name in options.classes for path in paths):
        arrays["labels"] = np.array([options.classes.index(path.parent.name) for path in paths])
    np.savez(options.output, **arrays)
    shapes = {name: np.shape(value) for name, value in arrays.items()}
    print(f"wrote {options.output}: {shapes}")


if __name__ == "__main__":
    main()
