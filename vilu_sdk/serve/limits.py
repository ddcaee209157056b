"""What a service takes of one request, and of all."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of the number of requests at once.

    A request beyond them is refused with 413, one that takes too long with 408, and one too many with 503.
    Bodies take at most about `concurrency` × `bytes` of memory in each worker.

    Parameters
    ----------
    rows : int
        Images.
    bytes : int
        Of the body.
    candidates : int
        Of a request that brings its own; prompts count each.
    kept : int
        Number of candidate sets to cache, recognised by content; the least recently used is dropped.
    concurrency : int
        Requests that are received, computed or answered at once, by one worker.
    seconds : float
        For the body to arrive.

    Raises
    ------
    ValueError, TypeError
        If one is no whole number above 0, or `seconds` no finite number above 0.

    Examples
    --------
    >>> from vilu_sdk.serve import Limits
    >>> Limits(rows=16).bytes
    33554432
    """

    rows: int = 4096
    bytes: int = 32 << 20
    candidates: int = 20_000
    kept: int = 8
    concurrency: int = 128
    seconds: float = 30.0

    def __post_init__(self) -> None:
        from vilu_sdk.inputs.values import (  # heavy, for a parser that needs the defaults alone
            positive,
            whole,
        )

        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is float:
                positive(value, field.name)
            else:
                whole(value, field.name, 1)
