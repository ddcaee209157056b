"""Ways to change files that somebody could take, as strategies of hypothesis."""

import json
from copy import deepcopy
from typing import Any

import torch
from hypothesis import strategies as st

#: Texts that mean something to somebody.
TEXTS = st.one_of(
    st.sampled_from(
        ["", "\x1b[2J", "=1+1", "<script>", "a\nb", "../../x", "os.system", "meta", "nan", "é" * 3000]
    ),
    st.sampled_from(
        ["MCMScorer", "ViLUHead", "PaperRecipe", "Card", "float16", "cuda:7", "int64", "posterior"]
    ),
    st.text(max_size=20),
)
NUMBERS = st.one_of(
    st.integers(-2, 9),
    st.sampled_from(
        [2**31, 2**63, -(2**63), 10**30, 30_000, 1e30, 1e-30, 1e308, -0.0, float("nan"), float("inf")]
    ),
    st.floats(),
)
ENTRIES = st.sampled_from(
    [
        {"__float__": "nan"},
        {"__float__": "-inf"},
        {"__float__": "9" * 5000},
        {"__tuple__": [1, 2]},
        {"__tuple__": []},
        {"__dtype__": "float16"},
        {"__device__": "meta"},
        {"__tensor__": "w", "shape": [2], "dtype": "float32"},
        {"__class__": "MCMScorer", "params": {}, "fitted": {}},
        {"__dataclass__": "Card", "fields": {}},
        {"__object__": "ViLUHead", "config": {}, "tensors": {}},
    ]
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, ENTRIES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


class Good:
    """What is changed, in a wrapper that takes no page in a report: JSON, and tensors."""

    def __init__(self, config: Any, tensors: dict[str, torch.Tensor] | None = None) -> None:
        self.config, self.tensors = config, tensors or {}


def places(value: Any) -> list[tuple[Any, Any]]:
    """All places in a JSON value, each as what holds it and its key there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [(value, key) for key, _ in items]
    return found + [place for holder, key in list(found) for place in places(holder[key])]


@st.composite
def changed(draw: st.DrawFn, good: Good) -> Any:
    """A configuration of which a few places are something else, gone, twice or exchanged."""
    value = deepcopy(good.config)
    for _ in range(draw(st.integers(1, 2))):
        known = places(value)
        if not known:
            return draw(VALUES)
        holder, key = draw(st.sampled_from(known))
        how = draw(st.sampled_from(["other", "other", "nudged", "gone", "exchanged", "renamed"]))
        if how == "gone":
            del holder[key]
        elif how == "exchanged":
            other, its_key = draw(st.sampled_from(known))
            holder[key] = deepcopy(other[its_key])
        elif how == "renamed" and isinstance(holder, dict):
            holder[draw(TEXTS)] = holder.pop(key)
        elif how == "nudged" and isinstance(holder[key], int | float):
            holder[key] = draw(
                st.sampled_from([holder[key] + 1, -holder[key], holder[key] * 2, 0, holder[key] / 3])
            )
        else:
            holder[key] = deepcopy(draw(VALUES))
    return value


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes of which a few are others, are gone, are there twice, or stand somewhere else."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        width = draw(st.sampled_from([1, 1, 2, 4, 8, 64]))
        how = draw(st.sampled_from(["other", "bit", "cut", "gone", "twice", "number"]))
        if how == "cut":
            del found[at:]
        elif how == "gone":
            del found[at : at + width]
        elif how == "twice":
            found[at:at] = found[at : at + width]
        elif how == "bit" and found:
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "number":
            numbers = [0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]
            found[at : at + 8] = draw(st.sampled_from(numbers)).to_bytes(8, "little")
        else:
            found[at : at + width] = draw(st.binary(min_size=width, max_size=width))
    return bytes(found)


@st.composite
def changed_tensor(draw: st.DrawFn, head: Good) -> tuple[str, str, torch.Tensor | None]:
    """The name of a tensor, and what is in its place: other numbers, another shape or type, or nothing."""
    name = draw(st.sampled_from(sorted(head.tensors)))
    tensor = head.tensors[name].clone()
    how = draw(st.sampled_from(["one", "all", "shape", "dtype", "gone"]))
    if how == "gone":
        return name, how, None
    if how in ("one", "all"):
        value = draw(st.sampled_from([float("nan"), float("inf"), -1.0, 0.0, 1e30, 1e-30, 60_000.0]))
        if tensor.numel() and (tensor.is_floating_point() or abs(value) <= 1):
            row = draw(st.integers(0, tensor.numel() - 1)) if how == "one" else slice(None)
            tensor.view(-1)[row] = value
    elif how == "shape":
        more = (
            [tensor[:-1], tensor[:0], torch.cat([tensor, tensor]), tensor.movedim(0, -1)]
            if tensor.ndim
            else []
        )
        tensor = draw(st.sampled_from([*more, tensor[None], tensor.flatten()]))
    else:
        kinds = [torch.float16, torch.float64, torch.int64, torch.bool, torch.complex64, torch.bfloat16]
        tensor = tensor.to(draw(st.sampled_from(kinds)))
    return name, how, tensor.contiguous()


def fitted_to(config: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """A configuration that says of the tensors what they are."""
    config = json.loads(json.dumps(config))
    for holder, key in places(config):
        tensor = tensors.get(holder[key]) if key in ("__tensor__", "__array__") else None
        if tensor is not None:
            holder["shape"], holder["dtype"] = list(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    return config
