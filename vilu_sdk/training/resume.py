"""Going on with a fit that was cut short; of processes that fit together the first reads and writes."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import from_all, from_first, leads, world_size
from vilu_sdk.exceptions import ProcessDiedError
from vilu_sdk.inputs.identity import changes, identify
from vilu_sdk.inputs.precision import working
from vilu_sdk.inputs.task import Checkpoint, Task
from vilu_sdk.persistence import storage
from vilu_sdk.persistence.encoding import decode, encode
from vilu_sdk.persistence.files import sweep
from vilu_sdk.persistence.locks import held

# Seconds of work that a killed fit may lose.
EVERY_SECONDS = 30.0


class FitState:
    """The `state` that an earlier run of the same fit kept in the checkpoint, empty if there was none."""

    def __init__(self, task: Task | None = None) -> None:
        self.state: dict[str, Any] = {}
        self._begin: dict[str, Tensor] = {}
        self._folder: Path | None = None
        if task is None or task.checkpoint is None:
            return
        self._folder = task.checkpoint.folder if leads() else None
        # A first look at all data costs little of what an epoch does.
        self._fit = _describe(task, task.checkpoint.settings, whole=True) if leads() else {}
        self._written = time.monotonic()
        self.state = from_first(self._read)

    def _read(self) -> dict[str, Any]:
        """Return the state in the folder, if any; ValueError if it belongs to another fit."""
        assert self._folder is not None
        if not (self._folder / storage.CONFIG_FILE).exists():
            storage.refuse_foreign(self._folder, "fit")
            return {}
        config, tensors = storage.read_folder(self._folder)
        if "fit" not in config:
            raise ValueError(
                f"checkpoint={str(self._folder)!r} holds a saved scorer and not the state of a fit; pass "
                "another folder."
            )
        if "settings" not in config["fit"]:
            raise ValueError(
                f"checkpoint={str(self._folder)!r} was kept by an earlier version of vilu-sdk, which did not "
                "note what the data held; remove it, or finish the fit with that version."
            )
        if different := _different(config["fit"], self._fit, "has changed since"):
            raise ValueError(
                f"checkpoint={str(self._folder)!r} belongs to another fit: {different}. Repeat that fit, "
                "pass another folder or remove this one."
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
        tensors: dict[str, Tensor] = {}
        encoded = {name: encode(value, name, tensors) for name, value in {**self._begin, **state()}.items()}
        storage.write_folder(self._folder, {"fit": self._fit, "state": encoded}, tensors)
        self._written = time.monotonic()


@contextmanager
def shared_fit(task: Task, settings: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Check that all processes were given the same fit, and say how to go on where one of them dies.

    Nobody else works with the checkpoint meanwhile.
    """
    if world_size() > 1:
        known = from_all(_describe(task, settings()))
        for number, other in enumerate(known):
            if different := _different(known[0], other, "is not the same"):
                raise ValueError(
                    f"rank {number} (here) was given another fit than rank 0 (there): {different}. "
                    "Pass the same settings and the whole data to every process; each reads its own part."
                )
    try:
        with _checkpoint_held(task.checkpoint):
            yield
    except ProcessDiedError as error:
        error.advice = error.advice or _how_to_go_on(task.checkpoint)
        raise


@contextmanager
def _checkpoint_held(checkpoint: Checkpoint | None) -> Iterator[None]:
    """Hold the folder of a checkpoint, in the first process; it goes if nothing is in it in the end."""
    with ExitStack() as holding:

        def hold() -> bool:
            assert checkpoint is not None
            return holding.enter_context(held(checkpoint.folder, inside=True))

        alone = checkpoint is not None and from_first(hold)
        yield
        if checkpoint is not None and alone and leads():
            # Not before: what a kill left behind may be the tensors of the last state.
            sweep(checkpoint.folder, *storage.FILES, older=0)
    if checkpoint is not None and leads():
        with suppress(OSError):
            checkpoint.folder.rmdir()


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


def _describe(task: Task, settings: Any, *, whole: bool | None = None) -> dict[str, Any]:
    """Settings, and the identity of all data, by which a fit is recognised."""
    sources = {"z_img": task.images.source, "z_txt": task.texts.source}
    vectors = {item.name: getattr(task, item.name) for item in fields(task)}
    sources |= {name: value for name, value in vectors.items() if isinstance(value, Tensor)}
    return {
        "settings": {**settings, "dtype": str(working())},
        "data": {name: identify(source, whole=whole) for name, source in sources.items()},
    }


def _different(before: dict[str, Any], now: dict[str, Any], what: str) -> str:
    """Say in what two fits, described by `_describe`, differ; empty if in nothing."""
    found = [f"it differs in {place}" for place in storage.differences(before["settings"], now["settings"])]
    for name in sorted(before["data"].keys() | now["data"].keys()):
        one, other = before["data"].get(name), now["data"].get(name)
        if one is None or other is None:
            found.append(f"{name} was given {'there' if other is None else 'here'} only")
        else:
            found += changes(one, other, name, what)
    return "; ".join(found[:5])
