"""Torch modules of the failure predictors: cross-attention, perceptron, and the two put together."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from vilu_sdk.compute.softmax import SplitSoftmax
from vilu_sdk.compute.tiles import Logits, read_out
from vilu_sdk.inputs.places import shown
from vilu_sdk.inputs.rows import check_layers, check_square
from vilu_sdk.scorers.base.among import Chunk


class CrossAttention(nn.Module):
    """Image-conditioned summary of the candidates: softmax(scale · (W_Q z)(W_K T)ᵀ) (W_V T).

    Tied values are the keys, as in the authors' code: W_V is W_K.
    """

    def __init__(
        self, d: int, scale: float, *, tied_values: bool = True, legacy_freeze_decay: bool = False
    ) -> None:
        super().__init__()
        check_square(d)
        self.in_proj_v = nn.Linear(d, d, bias=False)  # W_Q, under the authors' name
        self.in_proj_t = nn.Linear(d, d, bias=False)  # W_K
        self.in_proj_values = None if tied_values else nn.Linear(d, d, bias=False)
        # From the identity, at the logit scale, the summary starts as the zero-shot average of candidates.
        for weight in self.parameters():
            if not weight.is_meta:  # of which torch would load a second's worth of code
                nn.init.eye_(weight)
        self.scale = scale
        self.legacy_freeze_decay = legacy_freeze_decay
        self.frozen = False  # whether the identity stands in for the projections

    def project(self, z: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (n, d), keys (K, d) and values (K, d)."""
        if self.frozen and not self.legacy_freeze_decay:
            return z, text, text
        query, key = self.in_proj_v(z), self.in_proj_t(text)
        value = key if self.in_proj_values is None else self.in_proj_values(text)
        if self.frozen:  # gradients of zero instead of none, so that weight decay shrinks them
            return z + 0 * query, text + 0 * key, text + 0 * value
        return query, key, value

    @torch.no_grad()
    def folded(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys (K, d) that hold the query's projection and the scale too, and values (K, d)."""
        if self.frozen:
            return self.scale * text, text
        keys = self.in_proj_t(text)
        values = keys if self.in_proj_values is None else self.in_proj_values(text)
        return self.scale * (keys @ self.in_proj_v.weight), values

    def forward(self, z: Tensor, text: Tensor) -> Tensor:
        """Return the read-out (n, d) of candidates (K, d) for images (n, d)."""
        query, key, value = self.project(z, text)
        return scaled_dot_product_attention(query, key, value, scale=self.scale)


class ViLUHead(nn.Module):
    """Confidence logit of a zero-shot prediction from (z_v, z_α, z_t̂) and MCM's score; see `PaperRecipe`."""

    def __init__(
        self,
        d: int,
        hidden: Sequence[int] = (512, 256, 128),
        *,
        attention_scale: float | None,
        predicted: bool = True,
        mcm_input: bool = False,
        tied_values: bool = True,
        legacy_freeze_decay: bool = False,
    ) -> None:
        super().__init__()
        self.config = {
            "d": d,
            "hidden": list(hidden),
            "attention_scale": attention_scale,
            "predicted": predicted,
            "mcm_input": mcm_input,
            "tied_values": tied_values,
            "legacy_freeze_decay": legacy_freeze_decay,
        }
        self.attention: CrossAttention | None = None
        if attention_scale is not None:
            self.attention = CrossAttention(
                d, attention_scale, tied_values=tied_values, legacy_freeze_decay=legacy_freeze_decay
            )
        self.predicted = predicted
        self.mcm_input = mcm_input
        width = d * (1 + (self.attention is not None) + predicted) + mcm_input
        check_layers([width, *hidden, 1], "hidden")
        self.mlp = perceptron([width, *hidden, 1])

    def forward(self, z: Tensor, text: Tensor, logits: Tensor | None) -> Tensor:
        """Return confidence logits (n,); a head that sees images (n, d) alone needs no logits (n, K)."""
        parts = [z]
        if self.attention is not None:
            parts.append(self.attention(z, text))
        if logits is not None and self.predicted:
            parts.append(text[logits.argmax(dim=1)])
        if logits is not None and self.mcm_input:
            parts.append(SplitSoftmax(logits).tail[:, None])
        confidence: Tensor = self.mlp(torch.cat(parts, dim=1))
        return confidence[:, 0]

    @torch.no_grad()
    def against(self, text: Tensor) -> Callable[[Chunk], Tensor]:
        """Return `forward` among texts (K, d) as a function of chunks whose posterior is zero-shot."""
        # Computed once: keys with both projections in them, and what each text adds to the first layer.
        d = text.shape[1]
        first, later = self.mlp[0], self.mlp[1:]
        assert isinstance(first, nn.Linear)
        widths = [d, d * (self.attention is not None), d * self.predicted, int(self.mcm_input)]
        by_image, by_attended, by_predicted, by_mcm = torch.split(first.weight, widths, dim=1)
        if self.attention is not None:
            keys, values = self.attention.folded(text)
            attend, attended = Logits.zero_shot(keys, 1.0), values @ by_attended.T
        if self.predicted:
            predicted = text @ by_predicted.T

        def confidence(chunk: Chunk) -> Tensor:
            x = torch.addmm(first.bias, chunk.z, by_image.T)
            if self.predicted:
                x += predicted[chunk.prediction]
            if self.attention is not None:
                x += read_out(chunk.z, attend, attended)
            if self.mcm_input:
                x += torch.sigmoid(chunk.log_odds)[:, None] * by_mcm[:, 0]
            logit: Tensor = later(x)
            return logit[:, 0]

        return confidence

    def to_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what rebuilds this head: settings and tensors."""
        frozen = self.attention is not None and self.attention.frozen
        return {**self.config, "frozen": frozen}, dict(self.state_dict())

    @classmethod
    def from_state(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Rebuild a head from `to_state`."""
        settings = dict(config)
        frozen = settings.pop("frozen")
        if not isinstance(frozen, bool):
            raise ValueError(f"frozen must be true or false, got {shown(frozen)}.")
        check_depth(settings.get("hidden"), tensors)
        with torch.device("meta"):  # shapes only: the weights are those of the file, if it has that many
            head = cls(**settings)
        head.load_state_dict(tensors, strict=True, assign=True)  # and on the device of the tensors
        if head.attention is not None:
            head.attention.frozen = frozen
        return head.eval()


def check_depth(hidden: Any, tensors: Mapping[str, Tensor]) -> None:
    """Raise unless there are as many layers as weights, before a module of so many is made."""
    if not isinstance(hidden, list) or not all(type(width) is int and width > 0 for width in hidden):
        raise ValueError(f"hidden must be a list of widths, got {shown(hidden)}.")
    if len(hidden) > len(tensors):
        raise ValueError(f"hidden has {len(hidden)} layers, but there are {len(tensors)} tensors.")


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of the given widths with ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
