"""`vilu demo`: all scorers on real handwritten digits, or these as files to try every command on."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilu_sdk.cli import _demonstration as demo
from vilu_sdk.cli._outputs import whole
from vilu_sdk.cli._parser import command
from vilu_sdk.compute.progress import set_progress
from vilu_sdk.datasets import load_digits_vlm

# What stands before each chapter of the demonstration.
TITLES = {
    "data": "A tiny vision-language model",
    "table": "Which scorer finds the failures",
    "examples": "What a user sees",
    "report": "The whole report",
    "next": "What to do now",
}


def add(commands: Any) -> None:
    """Add the command."""
    parser = command(
        commands,
        "demo",
        run,
        "compare all scorers on real handwritten digits, in less than a minute",
        "vilu demo --data digits",
    )
    parser.add_argument(
        "--random-state", type=int, default=0, metavar="N", help="seed of data and scorers (default: 0)"
    )
    parser.add_argument("--quiet", action="store_true", help="print the table only")
    parser.add_argument(
        "--report",
        metavar="PATH",
        help=f"where to write the report (default: {demo.REPORT}, with --quiet none)",
    )
    parser.add_argument(
        "--data", metavar="FOLDER", help="only write the data as files, to try the other commands on"
    )


def run(arguments: Namespace) -> int:
    """Tell the demonstration, or write its data."""
    if arguments.data is not None:
        return write_data(Path(arguments.data).expanduser(), arguments.random_state)
    report = arguments.report
    if arguments.quiet:
        set_progress(False)
    elif report is None:
        report = demo.REPORT
    for chapter, text in demo.run(arguments.random_state, report):
        if arguments.quiet and chapter != "table":
            continue
        if not arguments.quiet and chapter in TITLES:
            print(f"\n{TITLES[chapter]}\n{'=' * len(TITLES[chapter])}\n")
        print(text, flush=True)
    return 0


def write_data(folder: Path, random_state: int) -> int:
    """Write the digits as users have their embeddings, and say what to do with them."""
    data = load_digits_vlm(random_state)
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, NDArray[Any]] = {
        "images": data.z_img_fit,
        "labels": data.labels_fit,
        "new-images": data.z_img_test,
        "new-labels": data.labels_test,
        "texts": data.z_txt,
    }
    for name, values in arrays.items():
        with whole(folder / f"{name}.npy") as file:
            np.save(file, values)
    with whole(folder / "names.txt", text=True) as file:
        file.writelines(f"{name}\n" for name in data.class_names)
    print(f"""\
{len(data.labels_fit)} images to fit on and {len(data.labels_test)} new ones, {len(data.z_txt)} texts, logit \
scale {data.logit_scale:.2f}. Go on with

    cd {folder}
    vilu fit images.npy texts.npy --labels labels.npy --logit-scale {data.logit_scale:.2f} -o my-scorer
    vilu score new-images.npy texts.npy --names names.txt --scorer my-scorer -o scores.csv""")
    return 0
