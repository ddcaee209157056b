"""The one pass over images that all scorers share, chunk by chunk, on the CPU or a GPU."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vilu_sdk.compute.device import CPU
from vilu_sdk.compute.prefetch import one_ahead
from vilu_sdk.compute.progress import track
from vilu_sdk.inputs.rows import Rows

#: Times that chunks are larger where a GPU computes.
LARGER = 16


def stream(
    images: Rows,
    width: int,
    score: Callable[[Tensor], Tensor],
    what: str = "scoring",
    device: torch.device = CPU,
) -> Tensor:
    """Apply `score` to chunks of image rows and join what it returns.

    Parameters
    ----------
    images : Rows
        The images, N rows.
    width : int
        Number of columns of the widest array that `score` makes for a chunk, the candidates usually.
    score : callable
        Takes rows (n, d), which can be the caller's memory, so that it may not write to them; returns
        (n, ...).
    what : str
        What the progress bar says.
    device : torch.device
        Where `score` takes rows and leaves its results.

    Returns
    -------
    Tensor of shape (N, ...)
        On the CPU.
    """
    out = None
    slices = images.slices(width if device.type == "cpu" else -(-width // LARGER))
    chunks = _arriving(images, slices, device)
    # Inference mode takes an eighth off the scoring of one image; not all devices support it.
    without_gradients = torch.inference_mode if device.type == "cpu" else torch.no_grad
    with without_gradients():
        for rows, z in zip(track(slices, what), chunks, strict=True):
            scores = score(z.to(device))
            if out is None:
                # One block for all results: small ones kept between the large temporaries would
                # fragment the heap by a chunk each time.
                out = scores.new_empty((len(images), *scores.shape[1:]), device=CPU)
            out[rows] = scores
    assert out is not None  # Rows is never empty
    return out


def _arriving(images: Rows, slices: list[slice], device: torch.device) -> Iterator[Tensor]:
    """Read chunks of rows; for a GPU in a thread, one ahead, and CUDA has them when they are yielded."""
    if device.type == "cpu":
        return map(images.look, slices)
    if device.type != "cuda":
        return one_ahead(images.look, slices)
    # A queue of its own, so that sending does not wait for what is computed.
    line = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def send(rows: slice) -> Tensor:
        waiting = images.look(rows).pin_memory()
        with torch.cuda.stream(line):
            # Its memory is taken again only after `stream` has fetched what was computed from it.
            there = waiting.to(device, non_blocking=True)
        line.synchronize()
        return there

    return one_ahead(send, slices)
