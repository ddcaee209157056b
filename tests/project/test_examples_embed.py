"""The extraction examples on small models made on the spot, with random weights.

open_clip needs torchvision, of which there is no build for a torch without CUDA on the package index. Where
open_clip cannot be imported, a stand-in with its documented functions takes its place: that shows that our
code calls and stores them rightly, not that open_clip is as documented.
"""

import importlib.util
import runpy
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from support.paths import EXAMPLES
from vilu_sdk import MCMScorer
from vilu_sdk.inputs.shards import open_embeddings

NAMES = ("Cat", "dog", "owl")
LENGTH = 48


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three classes of two images, and a file that is none."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in NAMES:
        (root / name).mkdir()
        for i, size in enumerate([(40, 33), (21, 50)]):
            Image.fromarray(rng.integers(256, size=(*size, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    (root / "dog" / "notes.txt").write_text("no image")
    return root


def run(script, images, folder, *arguments):
    """Return what a script wrote, and the logit scale that it printed."""
    module = runpy.run_path(str(EXAMPLES / script))
    module["main"]([str(images), str(folder), *arguments])
    arrays = {name: np.load(folder / f"{name}.npy") for name in ("z_img", "z_txt", "labels")}
    return SimpleNamespace(
        **arrays, names=(folder / "class_names.txt").read_text().split("\n"), module=module
    )


def printed_scale(capsys):
    out = capsys.readouterr().out
    assert out.startswith("6 images, 3 classes, logit scale ")
    return float(out.split()[-1])


def check_files(written, folder):
    assert written.names == sorted(NAMES)
    assert written.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert written.labels.dtype.kind == "i"
    assert open_embeddings(folder / "z_img.npy").shape == written.z_img.shape
    assert len(np.unique(written.z_img.round(5), axis=0)) == 6
    assert len(np.unique(written.z_txt.round(5), axis=0)) == 3


# --- transformers ----------------------------------------------------------------------------------


def save_model(kind, folder):
    """Save a small model of random weights with its processor, as a folder that `from_pretrained` reads."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    characters = "abcdefghijklmnopqrstuvwxyz ."
    tokens = ["<start>", "<end>", "<unk>", *characters]
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    frame = "<start> $A <end>" if kind == "clip" else "$A <end>"
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single=frame, special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", "attention_mask"],
        bos_token="<start>",
        eos_token="<end>",
        pad_token="<end>",
        unk_token="<unk>",
    )
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**tower, "image_size": 32, "patch_size": 8}
    text = {**tower, "vocab_size": len(tokens), "max_position_embeddings": LENGTH}
    text |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    torch.manual_seed(0)
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
        model = transformers.CLIPModel(config)
        size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
        processor = transformers.CLIPProcessor(transformers.CLIPImageProcessor(**size), tokenizer)
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model = transformers.SiglipModel(config)
        size = {"size": {"height": 32, "width": 32}}
        processor = transformers.SiglipProcessor(transformers.SiglipImageProcessor(**size), tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        model.logit_scale.fill_(np.log(20.0))
        if kind == "siglip":
            model.logit_bias.fill_(-12.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["clip", "siglip"])
def model(request, tmp_path_factory):
    return request.param, save_model(request.param, tmp_path_factory.mktemp(request.param))


def test_transformers(model, images, tmp_path, capsys):
    kind, folder = model
    written = run("embed_with_transformers.py", images, tmp_path, "--model", str(folder))
    check_files(written, tmp_path)
    scale = printed_scale(capsys)
    assert scale == pytest.approx(20.0, abs=1e-3)

    # One template, and the model's own logits, bias and all: the softmax of ours is that of the model.
    from transformers import AutoModel, AutoProcessor

    module, whole, processor = (
        written.module,
        AutoModel.from_pretrained(folder),
        AutoProcessor.from_pretrained(folder),
    )
    template = module["TEMPLATES"][kind][0]
    with torch.inference_mode():
        z_txt = module["embed_classes"](whole, processor, written.names, [template])
        paths = sorted(images.glob("*/*.png"))
        inputs = processor(images=[Image.open(path) for path in paths], return_tensors="pt")
        texts = [template.format(name).lower() for name in written.names]
        ids = processor.tokenizer(texts, padding="max_length", max_length=LENGTH, return_tensors="pt")[
            "input_ids"
        ]
        logits = whole(input_ids=ids, pixel_values=inputs["pixel_values"]).logits_per_image
    mcm = MCMScorer(logit_scale=scale)
    np.testing.assert_allclose(
        mcm.predict_uncertainty(written.z_img, z_txt), 1 - logits.softmax(dim=1).amax(dim=1), atol=1e-4
    )
    np.testing.assert_array_equal(mcm.predict(written.z_img, z_txt), logits.argmax(dim=1))


def test_a_text_has_one_embedding_whatever_stands_beside_it(model):
    """Where SigLIP's texts are not padded to full length, a longer neighbour moves an embedding."""
    from transformers import AutoModel, AutoProcessor

    _, folder = model
    module = runpy.run_path(str(EXAMPLES / "embed_with_transformers.py"))
    whole, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    with torch.inference_mode():
        alone = module["embed_texts"](whole, processor, ["a cat"])
        beside = module["embed_texts"](
            whole, processor, ["A CAT", "a cat that sleeps on a bench", 80 * "long"]
        )
    torch.testing.assert_close(alone[0], beside[0], atol=1e-5, rtol=0)


def test_classes_average_the_templates(model):
    from transformers import AutoModel, AutoProcessor

    _, folder = model
    module = runpy.run_path(str(EXAMPLES / "embed_with_transformers.py"))
    whole, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    with torch.inference_mode():
        z_txt = module["embed_classes"](whole, processor, ["cat"], ["a {}", "the {}."])
        each = module["embed_texts"](whole, processor, ["a cat", "the cat."])
    torch.testing.assert_close(each.norm(dim=1), torch.ones(2))
    np.testing.assert_allclose(z_txt, each.mean(dim=0, keepdim=True), atol=1e-6)


def test_no_images(model, tmp_path, capsys):
    _, folder = model
    with pytest.raises(SystemExit):
        run("embed_with_transformers.py", tmp_path, tmp_path / "out", "--model", str(folder))
    assert "no images in subfolders of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- open_clip -------------------------------------------------------------------------------------


class StandInModel(torch.nn.Module):
    """What is used of open_clip's models: unnormalised encoders and the logarithm of the scale."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.randn(3 * 64, 8, generator=generator)
        self.tokens = torch.randn(77, 8, generator=generator)
        self.logit_scale = torch.nn.Parameter(torch.tensor(np.log(20.0)))
        self.logit_bias = torch.nn.Parameter(torch.tensor(-12.0))

    def encode_image(self, image, normalize=False):
        assert not self.training, "dropout would be on"
        z = image.flatten(1) @ self.pixels
        return torch.nn.functional.normalize(z, dim=1) if normalize else z

    def encode_text(self, text, normalize=False):
        assert not self.training, "dropout would be on"
        z = text.float() @ self.tokens
        return torch.nn.functional.normalize(z, dim=1) if normalize else z


def stand_in():
    """A module with the functions of open_clip that its README and docstrings document."""
    module = ModuleType("open_clip")
    module.OPENAI_IMAGENET_TEMPLATES = (lambda c: f"a photo of a {c}.", lambda c: f"a drawing of a {c}.")

    def preprocess(image):
        pixels = np.asarray(image.convert("RGB").resize((8, 8)), dtype=np.float32)
        return torch.from_numpy(pixels / 255).permute(2, 0, 1)

    def tokenize(texts):
        return torch.tensor([[ord(c) for c in text.lower().ljust(77, "\0")] for text in texts])

    def build_zero_shot_classifier(model, tokenizer, classnames, templates, *, device="cpu"):
        columns = [
            model.encode_text(tokenizer([t(name) for t in templates]).to(device), normalize=True).mean(dim=0)
            for name in classnames
        ]
        return torch.nn.functional.normalize(torch.stack(columns, dim=1), dim=0)

    def create_model_from_pretrained(model_name, pretrained=None, device="cpu"):
        assert (model_name, pretrained) == ("ViT-B-32", "openai")
        return StandInModel().to(device), preprocess

    module.create_model_from_pretrained = create_model_from_pretrained
    module.get_tokenizer = lambda model_name: tokenize
    module.build_zero_shot_classifier = build_zero_shot_classifier
    return module


def test_open_clip_stand_in(images, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", stand_in())
    check_open_clip(images, tmp_path, capsys, "ViT-B-32", "openai")


@pytest.mark.skipif(importlib.util.find_spec("open_clip") is None, reason="open_clip is not installed")
def test_open_clip(images, tmp_path, capsys):
    """A small model of random weights, saved as a checkpoint; its tokenizer comes with open_clip."""
    import json

    import open_clip

    tower = {"layers": 2, "width": 64, "heads": 2}
    config = {
        "embed_dim": 16,
        "init_logit_bias": -10,
        "vision_cfg": {"layers": 2, "width": 64, "head_width": 32, "image_size": 32, "patch_size": 8},
        "text_cfg": {**tower, "context_length": 77, "vocab_size": 49408},
    }
    (tmp_path / "vilu-small.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "vilu-small.json")
    torch.manual_seed(0)
    model = open_clip.create_model("vilu-small")
    with torch.no_grad():
        model.logit_scale.fill_(np.log(20.0))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    check_open_clip(images, tmp_path / "out", capsys, "vilu-small", str(tmp_path / "weights.pt"))


def check_open_clip(images, folder, capsys, name, pretrained):
    written = run("embed_with_open_clip.py", images, folder, "--model", name, "--pretrained", pretrained)
    check_files(written, folder)
    assert printed_scale(capsys) == pytest.approx(20.0, abs=1e-3)
    open_clip = sys.modules["open_clip"]
    model, preprocess = open_clip.create_model_from_pretrained(name, pretrained=pretrained)
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    with torch.inference_mode():
        first = Image.open(min(images.glob("*/*.png")))
        z_img = model.encode_image(torch.stack([preprocess(first)]))
        prompts = [template("dog") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
        z_txt = model.encode_text(tokenizer(prompts), normalize=True).mean(dim=0)
    np.testing.assert_allclose(written.z_img[:1], z_img, atol=1e-5)
    cosine = torch.nn.functional.cosine_similarity(torch.from_numpy(written.z_txt[1]), z_txt, dim=0)
    assert cosine == pytest.approx(1.0, abs=1e-5)
