"""Which files of a folder are the shards of one array, and in which order."""

import re
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from vilu_sdk.inputs.formats import SUFFIXES
from vilu_sdk.inputs.places import reading
from vilu_sdk.inputs.stored import kind

# What writers append so that names differ, and what numbers no shard: a UUID; of the Hugging Face Hub, a hash
# behind the number of shards; any other that has letters and digits.
HASH = re.compile(
    r"(?<![0-9a-z])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-z])"
    r"|(?<=-of-\d{5}-)[0-9a-f]{8,}(?![0-9a-z])"
    r"|(?<![0-9a-z])(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8,}(?![0-9a-z])",
    re.IGNORECASE,
)
SHARD_OF = re.compile(r"(\d+)-of-(\d+)")
# "z_0 (1).npy" beside "z_0.npy": what a browser makes of a second download.
SECOND = re.compile(r"(.+?) ?\(\d+\)")
# Digits of dates, and of seconds, milli-, micro- and nanoseconds since 1970.
DATES = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
TIMES = (10, 13, 16, 19)
#: What helps where names do not say the order.
REMEDY = "name them otherwise, or pass open_embeddings a list of the files in your order"


def shard_paths(folder: Path) -> list[Path]:
    """Return the shards of a folder in the order of their numbers, none missing."""
    with reading(folder):  # names can be long, and steer terminals
        return _in_order(folder)


def _in_order(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if kind(path) in SUFFIXES and path.name[0] != ".")
    if not paths:
        raise FileNotFoundError(f"{folder} has no shards ({', '.join(SUFFIXES)}).{_hint(folder)}")
    _refuse_second_downloads(paths)
    names = {path: HASH.sub("#", path.stem) + kind(path) for path in paths}
    series: dict[str, Path] = {}
    for path, name in names.items():
        series.setdefault(re.sub(r"\d+", "*", name), path)
    if len(series) > 1:
        shown = ", ".join(f"{name} such as {path.name}" for name, path in [*sorted(series.items())[:3]])
        raise ValueError(
            f"{folder} has files of several series ({shown}); put each in its own folder, or pass "
            "open_embeddings a list of the files in your order."
        )
    numbers = {path: tuple(int(number) for number in re.findall(r"\d+", names[path])) for path in paths}
    paths.sort(key=lambda path: numbers[path])
    for one, other in pairwise(paths):
        if numbers[one] == numbers[other]:
            raise ValueError(
                f"{folder} has {one.name} and {other.name}, whose numbers are the same, so that their order "
                f"is not known; remove one if it is a copy, {REMEDY}."
            )
    _refuse_gaps(folder, paths, names, numbers)
    return paths


def _refuse_gaps(
    folder: Path, paths: list[Path], names: dict[Path, str], numbers: dict[Path, tuple[int, ...]]
) -> None:
    """Raise where shards are missing: of those that the names count, or between two of them."""
    counts = [SHARD_OF.search(names[path]) for path in paths]
    if counted := [(int(found[1]), int(found[2])) for found in counts if found]:
        present, totals = (set(part) for part in zip(*counted, strict=True))
        total = max(totals)
        first = 1 if total in present else 0
        missing = next((number for number in range(first, first + total) if number not in present), None)
        if len(totals) > 1 or missing is not None:
            lack = f"and others of {min(totals)}" if missing is None else f"and not {missing}"
            raise ValueError(
                f"{folder} has {len(present)} of the {total} shards that {paths[-1].name} speaks of, {lack}; "
                "copy what is missing, or pass open_embeddings a list of those that you want."
            )
        return
    columns = list(zip(*(numbers[path] for path in paths), strict=True))
    varying = [column for column in columns if len(set(column)) > 1]
    if len(varying) != 1 or _are_times(varying[0]):
        return
    found = zip(varying[0], paths, strict=True)
    for (number, path), (after, following) in pairwise(found):
        if after - number > 1:
            lack = f"{number + 1}" if after == number + 2 else f"{number + 1} to {after - 1}"
            raise ValueError(
                f"{folder} has shards {varying[0][0]} to {varying[0][-1]}, but not {lack}: after {path.name} "
                f"comes {following.name}. Copy what is missing or number the shards without holes; if the "
                f"numbers do not count, {REMEDY}."
            )


def _are_times(numbers: tuple[int, ...]) -> bool:
    """Whether numbers are plainly dates or times, which leave gaps: all of them in one form."""
    (digits, *others) = {len(str(number)) for number in numbers}
    if others:
        return False
    # From 2001 to 2096, in any unit.
    if digits in TIMES and all(1 <= int(str(number)[0]) <= 3 for number in numbers):
        return True
    try:
        years = [datetime.strptime(str(number), DATES[digits]).year for number in numbers]
    except (KeyError, ValueError):
        return False
    return all(1970 <= year < 2100 for year in years)


def _refuse_second_downloads(paths: list[Path]) -> None:
    there = {path.name for path in paths}
    for path in paths:
        found = SECOND.fullmatch(path.stem)
        if found and (first := found[1] + path.suffix) in there:
            raise ValueError(
                f"{path} is a second download or a copy of {first} beside it, by its name; remove one of the "
                "two."
            )


def _hint(folder: Path) -> str:
    """Say what an empty folder has in place of shards."""
    parts = [name for name in ("img_emb", "text_emb") if (folder / name).is_dir()]
    if parts:
        return f" It has the folder {' and '.join(parts)}: open those, or both with open_pairs."
    inner = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    if inner:
        return (
            f" It has the folder {inner[0]}: open that, or pass open_embeddings a list of the files inside."
        )
    return ""
