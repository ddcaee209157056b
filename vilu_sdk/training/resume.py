"""Going on with a fit that was cut short; of processes that fit together the first reads and writes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vilu_sdk.compute.distributed import from_all, from_first, leads, world_size
from vilu_sdk.exceptions import ProcessDiedError
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.task import Checkpoint, Task
from vilu_sdk.persistence import storage
from vilu_sdk.persistence.encoding import decode, encode

# Seconds of work that a killed fit may lose.
EVERY_SECONDS = 30.0
# Rows by which data are recognised, and how far they may be off on another machine.
PROBED_ROWS = 16
TOLERANCE = 1e-4


class FitState:
    """The `state` that an earlier run of the same fit kept in the checkpoint, empty if there was none."""

    def __init__(self, task: Task | None = None) -> None:
        self.state: dict[str, Any] = {}
        self._begin: dict[str, Tensor] = {}
        self._folder: Path | None = None
        if task is None or task.checkpoint is None:
            return
        self._folder = task.checkpoint.folder if leads() else None
        self._fit = _describe(task, task.checkpoint.settings)
        self._written = time.monotonic()
        self.state = from_first(self._read)

    def _read(self) -> dict[str, Any]:
        """Return the state in the folder, if any; ValueError if it belongs to another fit."""
        assert self._folder is not None
        if not (self._folder / storage.CONFIG_FILE).exists():
            return {}
        config, tensors = storage.read_folder(self._folder)
        if "fit" not in config:
            raise ValueError(
                f"checkpoint={str(self._folder)!r} holds a saved scorer and not the state of a fit; pass "
                "another folder."
            )
        if different := _different((config["fit"], tensors), self._fit):
            raise ValueError(
                f"checkpoint={str(self._folder)!r} belongs to another fit: it differs in {different}. Repeat "
                "that fit, pass another folder or remove this one."
            )
        state: dict[str, Any] = decode(config["state"], tensors)
        return state

    def begin(self, generator: torch.Generator) -> torch.Generator:
        """Return a generator as it was when the fit began, which need not be how this run would begin."""
        if self.state:
            generator.set_state(self.state["begin"])
        self._begin["begin"] = generator.get_state()
        return generator

    def keep(self, state: Callable[[], dict[str, Any]], *, now: bool = False) -> None:
        """Write the state if the last one has become old, or `now`."""
        if self._folder is None or not (now or time.monotonic() - self._written >= EVERY_SECONDS):
            return
        fit, probes = self._fit
        tensors = dict(probes)
        encoded = {name: encode(value, name, tensors) for name, value in {**self._begin, **state()}.items()}
        storage.write_folder(self._folder, {"fit": fit, "state": encoded}, tensors)
        self._written = time.monotonic()


@contextmanager
def shared_fit(task: Task, settings: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Check that all processes were given the same fit, and say how to go on where one of them dies."""
    if world_size() > 1:
        known = from_all(_describe(task, settings()))
        for number, other in enumerate(known):
            if different := _different(known[0], other):
                raise ValueError(
                    f"rank {number} (here) was given another fit than rank 0 (there): it differs in "
                    f"{different}. Pass the same settings and the whole data to every process; each reads "
                    "its own part."
                )
    try:
        yield
    except ProcessDiedError as error:
        error.advice = error.advice or _how_to_go_on(task.checkpoint)
        raise


def forget(checkpoint: Checkpoint) -> None:
    """Remove the state of a fit that is finished."""
    if not leads():
        return
    try:
        config, _ = storage.read_folder(checkpoint.folder)
    except (FileNotFoundError, ValueError):
        return
    if "fit" in config:
        storage.remove_folder(checkpoint.folder)


def _how_to_go_on(checkpoint: Checkpoint | None) -> str:
    if checkpoint is None:
        return "Fit again; with checkpoint= a fit by gradient descent would go on where it was."
    if not (checkpoint.folder / storage.CONFIG_FILE).exists():
        return f"There is no state in {str(checkpoint.folder)!r} yet; fit again."
    return (
        f"The last state of the fit is in {str(checkpoint.folder)!r}: the same call goes on from there, with "
        "any number of processes."
    )


def _describe(task: Task, settings: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings, shapes and checksums by which a fit is recognised, and some rows of its embeddings."""
    known = {item.name: getattr(task, item.name) for item in fields(task)}
    data = {
        "z_img": [len(task.images), task.images.d],
        "z_txt": [len(task.texts), task.texts.d],
        "dtype": str(torch.get_default_dtype()),
    } | {name: storage.checksum(value) for name, value in known.items() if isinstance(value, Tensor)}
    probes = {"probe.images": _probe(task.images), "probe.texts": _probe(task.texts)}
    return {**settings, "data": data}, probes


def _probe(rows: Rows) -> Tensor:
    return rows.read(np.unique(np.linspace(0, len(rows) - 1, PROBED_ROWS).astype(int))).float()


def _different(before: tuple[Any, dict[str, Tensor]], now: tuple[Any, dict[str, Tensor]]) -> str:
    """Say in what two fits, described by `_describe`, differ; empty if in nothing."""
    found = storage.differences(before[0], now[0])
    for name, argument in (("probe.images", "z_img"), ("probe.texts", "z_txt")):
        if not found and not torch.allclose(before[1][name], now[1][name], rtol=0, atol=TOLERANCE):
            found.append(f"the values of {argument}")
    return "; ".join(found[:5])
