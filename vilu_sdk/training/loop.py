"""The one training loop: a module, its batches, and a fit that goes on where it was."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vilu_sdk.compute.distributed import add_up, world_size
from vilu_sdk.compute.progress import track
from vilu_sdk.training.resume import FitState

B = TypeVar("B", covariant=True)


class Batches(Protocol[B]):
    """The batches of all epochs, `steps` in each; a process yields its part of a batch if it is `shared`."""

    steps: int
    shared: bool

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[B]: ...

    def state(self) -> dict[str, Tensor]:
        """Return the states of generators by which the epoch under way is drawn again."""

    def go_on(self, done: int, state: dict[str, Tensor]) -> None:
        """Leave out the batches that were `done` when `state` was kept."""


def descend(
    module: nn.Module,
    batches: Batches[B],
    loss: Callable[[B, int], Tensor],
    optimiser: Optimizer,
    fit: FitState,
    *,
    rate: Callable[[int], float] | None = None,
    on_epoch: Callable[[], None] | None = None,
    what: str = "training",
) -> list[float]:
    """Minimise `loss`, a function of a batch and the number of steps taken, and return that of every step.

    `rate` is the learning rate of an epoch. `on_epoch` is called after each; a state that it keeps belongs
    into the module's buffers. Of a shared batch, `loss` is the part of this process, and the parts add up.
    """
    history: list[float] = []
    if fit.state:
        history = fit.state["history"].tolist()
        batches.go_on(len(history), fit.state["batches"])
        module.load_state_dict(fit.state["module"])
        remembered = {int(number): moments for number, moments in fit.state["optimiser"].items()}
        optimiser.load_state_dict({**optimiser.state_dict(), "state": remembered})

    def state() -> dict[str, Any]:
        remembered = optimiser.state_dict()["state"]
        return {
            "history": torch.tensor(history, dtype=torch.float64),
            "batches": batches.state(),
            "module": module.state_dict(),
            "optimiser": {str(number): moments for number, moments in remembered.items()},
        }

    module.train()
    for batch in track(batches, what):
        if rate is not None:
            for group in optimiser.param_groups:
                group["lr"] = rate(len(history) // batches.steps)
        optimiser.zero_grad()
        value = loss(batch, len(history))
        value.backward()  # type: ignore[no-untyped-call]
        if batches.shared and world_size() > 1:
            _add_up_gradients(module, value)
        optimiser.step()
        history.append(float(value.detach()))
        if on_epoch is not None and len(history) % batches.steps == 0:
            on_epoch()
        fit.keep(state)
    fit.keep(state, now=True)
    module.eval()
    return history


def require_finite(module: nn.Module, what: str) -> None:
    """Raise where training has left weights of no finite norm, with which nothing can be scored."""
    if not all(bool(torch.isfinite(weight.square().sum())) for weight in module.parameters()):
        raise ValueError(
            f"{what} diverged: its weights are NaN or overflow. Lower learning_rate, or what else is not as "
            "usual: momentum, weight_decay, weights of the loss."
        )


def _add_up_gradients(module: nn.Module, loss: Tensor) -> None:
    """Replace gradients and loss by their sums over the processes, in one transfer."""
    tensors = [loss.detach(), *(p.grad for p in module.parameters() if p.grad is not None)]
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    add_up(flat)
    sums = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, total in zip(tensors, sums, strict=True):
        tensor.copy_(total.view_as(tensor))
