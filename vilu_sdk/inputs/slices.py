"""Consecutive slices of some rows."""


def cut(n: int, size: int) -> list[slice]:
    """Cut n rows into slices of `size` rows, of which the last can be shorter."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
