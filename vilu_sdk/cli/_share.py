"""`vilu convert`, `vilu info` and `vilu push`: scorers from other sources, on display and on the Hub."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator

from vilu_sdk.cli._fit import check_folder
from vilu_sdk.cli._inputs import read_values, split
from vilu_sdk.cli._outputs import plain_json
from vilu_sdk.cli._parser import given
from vilu_sdk.cli._scorers import card_of, load
from vilu_sdk.compute.progress import set_progress
from vilu_sdk.inputs.escape import masked
from vilu_sdk.inputs.formats import SUFFIXES, names_in
from vilu_sdk.inputs.remote import SEPARATOR
from vilu_sdk.inputs.shards import open_embeddings
from vilu_sdk.inputs.stored import kind
from vilu_sdk.inputs.text import SUFFIXES as TEXTS
from vilu_sdk.persistence.card import backbone_of, describe
from vilu_sdk.persistence.storage import CONFIG_FILE
from vilu_sdk.scorers.official import convert_official_checkpoint


def run_convert(arguments: Namespace) -> int:
    """Convert, save and print the scorer."""
    folder = check_folder(arguments.output, arguments.overwrite)
    if not Path(arguments.checkpoint).expanduser().is_file():
        raise FileNotFoundError(f"there is no file {arguments.checkpoint}; pass a checkpoint of the authors.")
    options = given(arguments, "logit_scale", "d", "n_iter_freeze", "keep_frozen", "target")
    scorer = convert_official_checkpoint(arguments.checkpoint, **options)
    scorer.save_pretrained(folder, card=card_of(arguments, scorer), overwrite=arguments.overwrite)
    print(f"{type(scorer).__name__} for embeddings of width {scorer.n_features_in_}: {masked(str(folder))}")
    return 0


def run_info(arguments: Namespace) -> int:
    """Print a card, or shape and type of embeddings."""
    set_progress(False)
    path, column = split(arguments.name)
    is_folder = path.is_dir() and not (path / CONFIG_FILE).exists()
    if path.is_file() or (is_folder and any(kind(item) in SUFFIXES for item in path.iterdir())):
        names: list[str | None] = [column] if column else [*names_in(path)] or [None]
        arrays = [_array(path, name) for name in names]
        lines = [f"{one['path']}  {' × '.join(map(str, one['shape']))}  {one['dtype']}" for one in arrays]
        print(plain_json(arrays) if arguments.json else "\n".join(lines))
        return 0
    scorer, predictor = load(arguments.name, arguments.revision)
    if arguments.json:
        facts = {"scorer": type(scorer).__name__, "parameters": scorer.get_params()}
        print(plain_json({**facts, "backbone": backbone_of(scorer, scorer.card_)}))
    elif predictor is None:
        print(describe(scorer, arguments.name), end="")
    else:
        whose = " ".join(BaseEstimator.__repr__(scorer).split())
        print(f"{predictor.called} for {whose}\n\n{predictor.report_}")
    return 0


def _array(path: Path, name: str | None) -> dict[str, Any]:
    """Return shape and type of embeddings, or of one value for each row."""
    spec = str(path) if name is None else f"{path}{SEPARATOR}{name}"
    found: Any
    try:
        found = open_embeddings(path, column=name) if kind(path) not in TEXTS else read_values(spec).values
    except ValueError as error:
        try:
            found = read_values(spec).values
        except ValueError:
            raise error from None
    dtype = "text" if found.dtype == object else str(found.dtype)
    return {"path": spec, "shape": list(found.shape), "dtype": dtype}


def run_push(arguments: Namespace) -> int:
    """Upload, and print the address of the commit."""
    folder = Path(arguments.folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; pass what vilu fit wrote.")
    scorer, predictor = load(str(folder))
    address = (predictor or scorer).push_to_hub(
        arguments.repository,
        private=arguments.private or None,
        revision=arguments.revision,
        commit_message=arguments.message,
        card=card_of(arguments, scorer),
    )
    print(address)
    return 0
