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
#: Times that they are smaller where rows lie in memory, so that those looked at are in the caches for their
#: products, and how many rows are none too many. Files are read in larger pieces.
SMALLER, NEAR = 4, 1024


def stream(
    images: Rows,
    width: int,
    score: Callable[[Tensor], Sequence[Tensor]],
    what: str = "scoring",
    device: torch.device = CPU,
) -> Sequence[Tensor]:
    """Apply `score` to chunks of image rows and join each of its results, on the CPU, for all images.

    `score` takes rows (n, d) on the device, which it may not write to since they can be the caller's memory,
    and returns results (n, ...). `width` counts the columns of the widest array it makes, often K. Results of
    few images are not copied: they can be each other, or the images.
    """
    n, on_cpu = len(images), device.type == "cpu"
    joined: list[Tensor] = []
    if not on_cpu:
        width = -(-width // LARGER)
    elif n > NEAR and not images.on_disk:
        width = max(width, SMALLER * images.d)
    slices = images.slices(width)
    chunks = _arriving(images, slices, device)
    steps = slices if len(slices) == 1 else track(slices, what)
    # Inference mode takes an eighth off the scoring of one image; not all devices support it.
    without_gradients = torch.inference_mode if on_cpu else torch.no_grad
    with without_gradients():
        for rows, z in zip(steps, chunks, strict=True):
            results = score(z if on_cpu else z.to(device))
            if len(slices) == 1:
                return results if on_cpu else [part.to(CPU) for part in results]
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
