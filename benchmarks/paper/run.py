"""Print our tables beside the paper's, from a folder of embeddings.

    python benchmarks/paper/run.py table1 --embeddings FOLDER [--sets dtd,imagenet] [--epochs 300] [--seeds 3]

Entries are table1 to table9, figure3 to figure9, transfer (ours), or all. docs/reproduction.md says what
FOLDER holds. Rows appear as they are measured; what cannot be measured is named below them, with the reason.
A difference is ours minus the paper's; there is none where the data set is not the paper's.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import figures  # noqa: F401
import tables  # noqa: F401
import torch
from _core import Bench
from _data import FOLDER, Folder
from _entry import ENTRIES
from _fits import METHODS, Fits, Settings
from _print import as_dict, print_markdown

import vilu_sdk


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "entries", nargs="+", choices=[*sorted(ENTRIES), "all"], metavar="ENTRY", help="table1, figure4, …"
    )
    parser.add_argument("--embeddings", type=Path, default=FOLDER)
    parser.add_argument("--sets", default="", help="names of files without suffix, comma separated")
    parser.add_argument(
        "--scorers",
        default=",".join(METHODS),
        help="comma separated, of: %(default)s; vilu is the published recipe",
    )
    parser.add_argument("--epochs", type=int, default=300, help="of LVU and the published recipe")
    parser.add_argument("--learning-rate", type=float, help="of both; by default 0.05 and 0.1")
    parser.add_argument(
        "--grid", action="store_true", help="choose rate and batch size of both on train rows left out (A.2)"
    )
    parser.add_argument("--view-noise", type=float, default=0.0, help="of both, on class sets, 0 to 1")
    parser.add_argument(
        "--hold-out", type=float, help="score this random share of pairs without a split; the paper: 0.01"
    )
    parser.add_argument("--pictures", type=Path, help="a folder, into which figure 8 is drawn")
    parser.add_argument("--seeds", type=int, default=1, help="how many runs to average")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options = parser.parse_args(arguments)
    scorers = options.scorers.split(",")
    if unknown := set(scorers) - METHODS.keys():
        parser.error(f"no scorer is called {', '.join(sorted(unknown))}; known are {', '.join(METHODS)}.")
    if options.epochs < 1 or options.seeds < 1:
        parser.error("--epochs and --seeds must be at least 1.")
    if options.hold_out is not None and not 0 < options.hold_out < 1:
        parser.error("--hold-out must be a share between 0 and 1.")
    fits = Fits(
        Settings(
            options.epochs, options.learning_rate, options.seeds, scorers, options.view_noise, options.grid
        )
    )
    try:
        folder = Folder(
            options.embeddings, frozenset(filter(None, options.sets.split(","))), options.hold_out
        )
    except ValueError as error:
        parser.error(str(error))
    if options.quiet:
        vilu_sdk.set_progress(False)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "ViLUEstimator learned nothing")
    names = sorted(ENTRIES) if "all" in options.entries else options.entries
    try:
        if options.json:
            found = [as_dict(ENTRIES[name], Bench(folder, fits, options.pictures)) for name in names]
            json.dump(found, sys.stdout, indent=1)
            print()
        else:
            for name in names:
                print_markdown(ENTRIES[name], Bench(folder, fits, options.pictures))
    except ValueError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
