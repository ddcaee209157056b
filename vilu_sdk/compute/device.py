"""Where scores are computed and networks are trained: on the CPU, or on a GPU if the user says so."""

from functools import lru_cache

import torch
from torch import Tensor

from vilu_sdk.numerals import from_environment

CPU = torch.device("cpu")
_device = CPU


def set_device(device: str | torch.device) -> None:
    """Choose where scores are computed and networks are trained, for the whole process.

    Embeddings stay where they are and are moved chunk by chunk; results come back as numpy arrays, and
    what is learned is kept on the CPU. The default recipe of `ViLUEstimator` and the other closed forms
    fit on the CPU in any case.

    Parameters
    ----------
    device : {"cpu", "auto"}, str or torch.device
        "cpu" is the default. "auto" is the GPU that CUDA or ROCm has, and the CPU where there is none.
        Otherwise a device that torch knows, as "cuda:1". Of several GPUs, "auto" and "cuda" are the one with
        the number LOCAL_RANK, which torchrun gives to each process of a machine, and the first without it.

    Raises
    ------
    ValueError
        If torch does not know the device, or it is not there, or it lacks float64, in which log-odds are
        calibrated; if LOCAL_RANK is the number of no GPU.

    Examples
    --------
    >>> import vilu_sdk
    >>> vilu_sdk.set_device("auto")
    >>> vilu_sdk.set_device("cpu")
    """
    global _device
    if str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if str(device) == "cuda":
        device = _own_card()
    try:
        chosen = torch.device(device)
        torch.zeros(1, dtype=torch.float64, device=chosen).cpu()
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={str(device)!r} cannot be used: {reason}; use 'cpu' or 'auto'.") from error
    _device = chosen


def _own_card() -> str:
    """Return the card of this process: two that share one would wait for each other, and nccl refuses it."""
    count, number = torch.cuda.device_count(), from_environment("LOCAL_RANK", 0)
    if count < 2:  # there is none, or the launcher shows each process its own
        return "cuda"
    if number >= count:
        raise ValueError(
            f"LOCAL_RANK is {number}, but this machine has {count} GPUs, numbered from 0; start no more "
            "processes on it than it has GPUs, or name a device."
        )
    return f"cuda:{number}"


@lru_cache(256)
def scalar(number: float) -> Tensor:
    """Return a number as a tensor, by which torch multiplies in a third of the time, on any device."""
    with torch.inference_mode(False):
        return torch.tensor(number, dtype=torch.float64, device=CPU)


def compute_device() -> torch.device:
    """Return the device that `set_device` chose."""
    return _device
