"""Bodies of requests: JSON, or arrays of numpy one after the other. Nothing is unpickled."""

import io
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from vilu_sdk.inputs.arrays import npy_header
from vilu_sdk.inputs.containers import to_numpy
from vilu_sdk.inputs.foreign import NPY_HEADER_BYTES
from vilu_sdk.inputs.places import BadRowError, brief, shown
from vilu_sdk.serve.limits import Limits

JSON, NPY = "application/json", "application/x-npy"
#: What a JSON body may hold.
FIELDS = ("z_img", "z_txt_set", "ids")
# Characters of an id.
ID_CHARACTERS = 1000
# How JSON may write half of a surrogate pair, which is no character.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Refused(Exception):
    """A request that is not answered: its status, and what is wrong where."""

    def __init__(self, status: int, message: str, *where: str | int) -> None:
        super().__init__(message)
        self.status = status
        self.details: list[dict[str, Any]] = [{"loc": ["body", *where], "msg": message}]

    @classmethod
    def rows(cls, name: str, found: Sequence[tuple[int, str]]) -> Self:
        """Refuse rows of an array, each with what is wrong with it."""
        refused = cls(422, found[0][1])
        refused.details = [{"loc": ["body", name, row], "msg": message} for row, message in found]
        return refused


class Asked(NamedTuple):
    """What a request asks about."""

    z_img: Any
    z_txt_set: Any = None
    ids: list[str | int] | None = None


def read_body(body: bytearray, kind: str, limits: Limits) -> Asked:
    """Return what is asked by a body of a media type; it is counted before anything is built of it."""
    asked = _of_npy(body) if kind == NPY else _of_json(parse(body))
    _check_count(asked.z_img, limits.rows, "z_img", "rows")
    if asked.z_txt_set is not None:
        _check_count(asked.z_txt_set, limits.candidates, "z_txt_set", "candidates")
    _check_ids(asked.ids, len(asked.z_img))
    try:
        return asked._replace(z_img=to_numpy(asked.z_img, "z_img"))
    except BadRowError as error:
        raise Refused.rows("z_img", [(error.row, str(error))]) from None


def parse(body: bytearray) -> dict[str, Any]:
    """Parse a JSON object, no name of which comes twice."""
    try:
        found = json.loads(body, object_pairs_hook=_once, parse_float=_decimal, parse_int=_whole)
    except UnicodeDecodeError:
        raise Refused(400, "the body is not valid UTF-8.") from None
    except ValueError as error:
        raise Refused(400, f"the body is not valid JSON ({brief(error)}).") from None
    if not isinstance(found, dict):
        raise Refused(422, f"the body must be an object, got {shown(found)}.")
    if _SURROGATE.search(body):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Refused(
                400, "the body holds half of a surrogate pair, which is no character; send whole ones."
            ) from None
    return found


def refuse_others(found: dict[str, Any], known: Sequence[str]) -> None:
    """Raise where a body has a field that means nothing."""
    for name in found:
        if name not in known:
            raise Refused(422, f"unknown field {shown(name)}; expected one of {', '.join(known)}.", name)


# Functions of Python, between which other threads get their turn: json itself would hold them up for seconds.
def _decimal(text: str) -> float:
    return float(text)


def _whole(text: str) -> int:
    return int(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{shown(twice)} comes twice")
    return found


def _of_json(found: dict[str, Any]) -> Asked:
    refuse_others(found, FIELDS)
    if "z_img" not in found:
        raise Refused(422, "z_img is missing: pass a list of embeddings, each a list of numbers.", "z_img")
    if not isinstance(found["z_img"], list):
        raise Refused(422, f"z_img must be a list of embeddings, got {shown(found['z_img'])}.", "z_img")
    texts, ids = found.get("z_txt_set"), found.get("ids")
    if texts is not None and not isinstance(texts, list | dict):
        message = "z_txt_set must be a list of embeddings, or an object from names to such"
        raise Refused(422, f"{message}, got {shown(texts)}.", "z_txt_set")
    if ids is not None and not isinstance(ids, list):
        raise Refused(422, f"ids must be a list, got {shown(ids)}.", "ids")
    return Asked(found["z_img"], texts, ids)


def _check_ids(ids: list[Any] | None, n: int) -> None:
    """Raise unless there is one id, a short text or an integer, for each of n images."""
    if ids is not None and len(ids) != n:
        message = f"ids has {len(ids)} entries but z_img has {n} rows; pass one for each."
        raise Refused(422, message, "ids")
    for row, one in enumerate(ids or ()):
        if type(one) not in (str, int) or len(str(one)) > ID_CHARACTERS:
            raise Refused(422, f"an id is an integer or a short text, got {shown(one)}.", "ids", row)


def _of_npy(body: bytearray) -> Asked:
    """Read the images, and after them the candidates if there is more."""
    z_img, end = _block(body, 0, "z_img")
    z_txt_set = None
    if end < len(body):
        z_txt_set, end = _block(body, end, "z_txt_set")
    if end < len(body):
        raise Refused(400, f"{len(body) - end} bytes follow the arrays z_img and z_txt_set; send no more.")
    return Asked(z_img, z_txt_set)


def _block(body: bytearray, start: int, name: str) -> tuple[Any, int]:
    """View an array that begins at a byte, and return where it ends."""
    try:
        shape, dtype, offset, order = npy_header(
            io.BytesIO(memoryview(body)[start:][:NPY_HEADER_BYTES]), name
        )
    except ValueError as error:
        raise Refused(400, str(error), name) from None
    if any(type(side) is not int or not 0 <= side <= len(body) for side in shape):
        raise Refused(422, f"{name} cannot have the shape {brief(shape)} in {len(body):,} bytes.", name)
    if dtype.kind not in "fiu":
        raise Refused(
            422, f"{name} holds {brief(dtype)}, expected real numbers (.astype(numpy.float32)).", name
        )
    count, offset = math.prod(shape), start + offset
    end = offset + count * dtype.itemsize
    if end > len(body):
        message = f"{name} is cut off: its header promises {end - start:,} bytes, there are"
        raise Refused(400, f"{message} {len(body) - start:,}.", name)
    return np.frombuffer(body, dtype, count, offset).reshape(shape, order=order), end


def _check_count(values: Any, most: int, name: str, what: str) -> None:
    """Raise where there are too many rows; of several prompts each counts."""
    if isinstance(values, np.ndarray):
        if not values.ndim:
            raise Refused(422, f"{name} must be two-dimensional, (rows, d), got one number.", name)
        n = math.prod(values.shape[:-1])
    else:
        parts = values.values() if isinstance(values, dict) else values
        n = sum(
            len(one) if isinstance(one, list) and one and isinstance(one[0], list) else 1 for one in parts
        )
    if n > most:
        raise Refused(413, f"{name} has {n:,} {what}, at most {most:,} are taken; send them in parts.", name)
