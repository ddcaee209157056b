"""The one pass over images that all scorers share, chunk by chunk, on the CPU or a GPU."""

from collections.abc import Callable, Iterator, Sequence

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
    score: Callable[[Tensor], Sequence[Tensor]],
    what: str = "scoring",
    device: torch.device = CPU,
) -> list[Tensor]:
    """Apply `score` to chunks of image rows and join each of its results, on the CPU, for all images.

    `score` takes rows (n, d) on the device, which it may not write to since they can be the caller's memory,
    and returns results (n, ...). `width` counts the columns of the widest array it makes, often K.
    """
    n = len(images)
    joined: list[Tensor] = []
    slices = images.slices(width if device.type == "cpu" else -(-width // LARGER))
    chunks = _arriving(images, slices, device)
    steps = slices if len(slices) == 1 else track(slices, what)
    # Inference mode takes an eighth off the scoring of one image; not all devices support it.
    without_gradients = torch.inference_mode if device.type == "cpu" else torch.no_grad
    with without_gradients():
        for rows, z in zip(steps, chunks, strict=True):
            results = score(z.to(device))
            if len(slices) == 1:  # copied, as others are: results can be each other, or the images
                return [part.to(CPU, copy=True) for part in results]
            # One block for all results: small ones kept between the large temporaries would fragment
            # the heap by a chunk each time.
            joined = joined or [part.new_empty((n, *part.shape[1:]), device=CPU) for part in results]
            for whole, part in zip(joined, results, strict=True):
                whole[rows] = part
    return joined


def _arriving(images: Rows, slices: list[slice], device: torch.device) -> Iterator[Tensor]:
    """Read chunks of rows; for a GPU in a thread, one ahead, and CUDA has them when they are yielded."""
    if device.type == "cpu":
        return map(images.look, slices)
    if device.type != "cuda":
        return one_ahead(images.look, slices)
    # A separate CUDA stream lets copies overlap computation.
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def send(rows: slice) -> Tensor:
        waiting = images.look(rows).pin_memory()
        with torch.cuda.stream(copies):
            # Its memory is taken again only after `stream` has fetched what was computed from it.
            there = waiting.to(device, non_blocking=True)
        copies.synchronize()
        return there

    return one_ahead(send, slices)
