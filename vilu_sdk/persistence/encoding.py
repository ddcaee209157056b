"""Estimators as JSON and tensors, and back; a file cannot make anything be imported."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import signature
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from vilu_sdk.inputs.places import brief, listed, shown
from vilu_sdk.persistence.types import fits, types_of

# Classes a file may name. A file can only choose among them, never import code.
_CLASSES: dict[str, type] = {}
_STREAMS = (np.random.RandomState, np.random.Generator, torch.Generator)

C = TypeVar("C", bound=type)
T = TypeVar("T")


@runtime_checkable
class Storable(Protocol):
    """An object that knows its own state; `storable` admits its class."""

    def to_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return settings and tensors."""

    @classmethod
    def from_state(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Build the object that `to_state` described; missing or extra tensors must raise."""


def storable(cls: C) -> C:
    """Admit a class to the contents of saved scorers; usable as a decorator.

    It is an estimator of scikit-learn (stored by parameters and fitted attributes), a dataclass (stored by
    fields) or has ``to_state`` and ``from_state``. Of two classes of one name, the first stays and the
    second cannot be saved, unless it is the first one defined again.
    """
    if not (issubclass(cls, BaseEstimator) or is_dataclass(cls) or hasattr(cls, "from_state")):
        raise TypeError(f"{cls.__name__} is no estimator, no dataclass and has no to_state and from_state.")
    known = _CLASSES.get(cls.__name__)
    if known is None or (known.__module__, known.__qualname__) == (cls.__module__, cls.__qualname__):
        _CLASSES[cls.__name__] = cls
    return cls


def encode(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    """Return `value` as JSON; arrays go into `tensors` under names that start with `where`."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else {"__float__": repr(value)}
    if isinstance(value, list):
        return [encode(item, f"{where}.{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"__tuple__": encode(list(value), where, tensors)}
    if isinstance(value, dict) and all(isinstance(key, str) and not key.startswith("__") for key in value):
        return {key: encode(item, f"{where}.{key}", tensors) for key, item in value.items()}
    if isinstance(value, torch.dtype):
        return {"__dtype__": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"__device__": str(value)}
    if isinstance(value, Tensor):
        # clone: safetensors refuses tensors that share memory.
        copy = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return _put("__tensor__", where, copy, tensors)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        native = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
        return _put("__array__", where, torch.from_numpy(native), tensors)
    if _CLASSES.get(type(value).__name__) is type(value):
        if isinstance(value, Storable):
            config, state = value.to_state()
            return {
                "__object__": type(value).__name__,
                "config": encode(config, f"{where}.config", tensors),
                "tensors": {name: encode(item, f"{where}.{name}", tensors) for name, item in state.items()},
            }
        if is_dataclass(value):
            parts = {item.name: getattr(value, item.name) for item in fields(value)}
            return {"__dataclass__": type(value).__name__, "fields": encode(parts, where, tensors)}
        return _encode_estimator(value, where, tensors)
    raise TypeError(
        f"{where or 'the scorer'} is a {type(value).__module__}.{type(value).__qualname__}, which is not "
        "stored; scorers are saved with numbers, strings, lists, dicts, arrays and classes admitted by "
        "`storable`."
    )


def _is_needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Reverse `encode`, removing the used ones from `tensors`."""
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    kind = next((key for key in value if key.startswith("__")), None)
    if kind is None:
        return {key: decode(item, tensors) for key, item in value.items()}
    expected = _ENTRIES.get(kind, {})
    if value.keys() != expected.keys():
        wrong = listed(value.keys() ^ expected.keys())
        raise ValueError(f"config.json has unknown or missing keys beside {shown(kind)[1:-1]}: {wrong}.")
    for key, form in expected.items():
        if not isinstance(value[key], form):
            found = shown(value[key])
            raise ValueError(f"config.json has {key}: {found}, which should be a {form.__name__}.")
    content = value[kind]
    if kind == "__float__":
        return float(content)
    if kind == "__tuple__":
        return tuple(decode(content, tensors))
    if kind == "__dtype__":
        return _dtype(content)
    if kind == "__device__":
        return _device(content)
    if kind == "__tensor__":
        return _take(value, content, tensors)
    if kind == "__array__":
        return _take(value, content, tensors).cpu().numpy()
    if kind == "__class__":
        return _decode_estimator(class_of(content), value["params"], value["fitted"], tensors)
    if kind == "__dataclass__":
        cls, parts = class_of(content), value["fields"]
        known = {item.name: item for item in fields(cls)} if is_dataclass(cls) else {}
        # An earlier version may have known fewer fields, where these have a default.
        lacking = [item for name, item in known.items() if name not in parts]
        if not isinstance(cls, type) or parts.keys() - known or any(map(_is_needed, lacking)):
            raise ValueError(f"The saved {content} has other fields than the class; it was changed.")
        decoded = {name: decode(item, tensors) for name, item in parts.items()}
        for name, hint in types_of(cls).items():
            if name in decoded and not fits(decoded[name], hint):
                found = brief(f"{shown(decoded[name])}, which should be {getattr(hint, '__name__', hint)}")
                raise ValueError(f"config.json has for {name} of {content} {found}; it was changed.")
        return cls(**decoded)
    taken = {name: decode(entry, tensors) for name, entry in value["tensors"].items()}
    config = decode(value["config"], tensors)
    try:
        return class_of(content).from_state(config, taken)
    except (AttributeError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(f"The saved {content} does not fit the class: {error}") from error


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise where a tensor holds NaN or infinite numbers, with which nothing can be scored."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        # Where there is NaN, it is the least and the largest. Torch has no order of float8.
        least, largest = (tensor if tensor.element_size() > 1 else tensor.float()).aminmax()
        if not (math.isfinite(least) and math.isfinite(largest)):
            raise ValueError(f"The tensor {shown(name)} {where} holds NaN or infinite numbers.")


def moved(value: T, device: torch.device) -> T:
    """Return a copy of an encodable value, with its tensors on a device."""
    tensors: dict[str, Tensor] = {}
    encoded = encode(value, "", tensors)
    copy: T = decode(encoded, {name: tensor.to(device) for name, tensor in tensors.items()})
    return copy


# The keys and types of each kind of entry that is not plain JSON; the first key names the kind.
_ENTRIES: dict[str, dict[str, type]] = {
    "__float__": {"__float__": str},
    "__tuple__": {"__tuple__": list},
    "__dtype__": {"__dtype__": str},
    "__device__": {"__device__": str},
    "__tensor__": {"__tensor__": str, "shape": list, "dtype": str},
    "__array__": {"__array__": str, "shape": list, "dtype": str},
    "__class__": {"__class__": str, "params": dict, "fitted": dict},
    "__dataclass__": {"__dataclass__": str, "fields": dict},
    "__object__": {"__object__": str, "config": object, "tensors": dict},
}


def _encode_estimator(estimator: BaseEstimator, where: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    start = f"{where}." if where else ""
    params = {
        name: None if isinstance(value, _STREAMS) else encode(value, f"{start}params.{name}", tensors)
        for name, value in estimator.get_params(deep=False).items()
    }
    learned = {name: value for name, value in vars(estimator).copy().items() if _is_learned(name)}
    fitted = {name: encode(value, f"{start}{name}", tensors) for name, value in learned.items()}
    return {"__class__": type(estimator).__name__, "params": params, "fitted": fitted}


def _decode_estimator(
    cls: type[BaseEstimator], params: Mapping[str, Any], fitted: Mapping[str, Any], tensors: dict[str, Tensor]
) -> BaseEstimator:
    if not issubclass(cls, BaseEstimator):
        raise ValueError(f"config.json has a {cls.__name__} where a scorer or an estimator belongs.")
    unknown = params.keys() - signature(cls).parameters.keys()
    if unknown:
        raise ValueError(
            f"config.json has parameters that {cls.__name__} does not know: {listed(unknown)}; it was "
            "changed or needs a newer vilu-sdk."
        )
    wrong = [name for name in fitted if not _is_learned(name)]
    if wrong:
        raise ValueError(f"config.json has learned attributes of impossible names: {listed(wrong)}.")
    estimator = cls(**{name: decode(value, tensors) for name, value in params.items()})
    for name, value in fitted.items():
        setattr(estimator, name, decode(value, tensors))
    return estimator


def _is_learned(name: str) -> bool:
    return name.isidentifier() and name.endswith("_") and not name.startswith("_")


def class_of(name: Any) -> Any:
    """Return the admitted class of this name."""
    if not isinstance(name, str) or name not in _CLASSES:
        raise ValueError(
            f"config.json names the class {shown(name)}, which this version of vilu-sdk does not have."
        )
    return _CLASSES[name]


def _put(kind: str, name: str, tensor: Tensor, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Store a tensor, at half the size where that loses no bit, and return its entry."""
    while name in tensors:  # "a.b" of one dict and "b" of the dict "a" beside it
        name += "'"
    entry = {kind: name, "shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
    if tensor.dtype == torch.float32:
        half = tensor.to(torch.float16)
        # Compared as bits, so that a negative zero or the payload of a NaN counts too.
        if torch.equal(half.to(torch.float32).view(torch.int32), tensor.view(torch.int32)):
            tensor = half
    tensors[name] = tensor
    return entry


def _take(entry: dict[str, Any], name: str, tensors: dict[str, Tensor]) -> Tensor:
    """Return the tensor of an entry, and no other than the one that was stored."""
    if name not in tensors:
        raise ValueError(f"model.safetensors lacks the tensor {shown(name)} that config.json names.")
    tensor, dtype = tensors.pop(name), _dtype(entry["dtype"])
    halved = dtype == torch.float32 and tensor.dtype == torch.float16
    if list(tensor.shape) != entry["shape"] or not (tensor.dtype == dtype or halved):
        raise ValueError(
            f"The tensor {shown(name)} in model.safetensors has shape {list(tensor.shape)} and "
            f"{tensor.dtype}, but config.json says {shown(entry['shape'])} and {dtype}."
        )
    return tensor.to(dtype)


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"config.json has the dtype {shown(name)}, which torch does not know.")
    return dtype


def _device(name: str) -> torch.device:
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"config.json has the device {shown(name)}, which torch does not know.") from error
