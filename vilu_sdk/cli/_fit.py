"""`vilu fit`: from embeddings and labels or feedback to a saved scorer."""

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from vilu_sdk.cli._exits import UsageError
from vilu_sdk.cli._inputs import read_groups, read_task, read_weights
from vilu_sdk.cli._outputs import plain_json
from vilu_sdk.cli._scorers import card_of, choose_to_fit
from vilu_sdk.compute.distributed import process_group, rank
from vilu_sdk.inputs.escape import masked
from vilu_sdk.inputs.remote import is_remote, names_at, require_writable
from vilu_sdk.persistence.hub import find_folder
from vilu_sdk.persistence.storage import CONFIG_FILE, read_folder


def run(arguments: Namespace) -> int:
    """Fit and save; of several processes only the first prints and writes."""
    with process_group():
        folder = check_folder(arguments.output, arguments.overwrite)
        if arguments.checkpoint is not None and Path(arguments.checkpoint).expanduser().is_file():
            raise UsageError(f"{arguments.checkpoint} is a file; a checkpoint is a folder.")
        scorer: Any = choose_to_fit(arguments)
        images, texts, known = read_task(arguments)
        groups = read_groups(arguments.groups, len(images))
        if arguments.weights is not None:
            if not scorer.takes_weights:
                raise UsageError(f"{scorer!r} takes no weights; leave --weights out.")
            known["sample_weight"] = read_weights(arguments.weights, len(images))
        start = time.perf_counter()
        scorer.fit(images, texts, groups=groups, checkpoint=arguments.checkpoint, **known)
        seconds = time.perf_counter() - start
        if rank() == 0:
            scorer.save_pretrained(folder, card=card_of(arguments, scorer), overwrite=arguments.overwrite)
            name = type(scorer).__name__
            facts = {
                "folder": masked(str(folder)),
                "scorer": name,
                "images": len(images),
                "texts": len(texts.values),
            }
            if arguments.json:
                print(plain_json({**facts, "d": images.shape[1], "seconds": seconds}))
            else:
                data = f"{len(images)} images and {facts['texts']} texts"
                print(f"{name} fitted on {data} in {seconds:.1f} s: {masked(str(folder))}")
    return 0


def check_folder(output: str, overwrite: bool) -> Path | str:
    """Return a folder that a scorer may be saved into."""
    folder: Path | str
    if is_remote(output):
        require_writable(output)
        folder, there = output, names_at(output)
    else:
        folder = Path(output).expanduser()
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; a scorer is saved into a folder.")
        there = [path.name for path in folder.iterdir()] if folder.exists() else []
    if overwrite or not there:
        return folder
    if CONFIG_FILE in there and "__class__" in read_folder(find_folder(folder))[0]:
        return folder
    raise FileExistsError(  # input, as where vilu score finds a folder of other work
        f"{masked(str(folder))} holds something else than a saved scorer; name another folder, or pass "
        "--overwrite."
    )
