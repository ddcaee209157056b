"""`vilu convert`, `vilu info` and `vilu push`: scorers from other sources, on display and on the Hub."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator

from vilu_sdk.cli._arguments import CARD, EMBEDDINGS, FOLDER, JSON, OVERWRITE, QUIET
from vilu_sdk.cli._fit import check_folder
from vilu_sdk.cli._inputs import SEPARATOR, read_values, split
from vilu_sdk.cli._outputs import plain_json
from vilu_sdk.cli._parser import command, given, option, switch
from vilu_sdk.cli._scorers import card_of, load
from vilu_sdk.compute.progress import set_progress
from vilu_sdk.inputs.formats import SUFFIXES, names_in
from vilu_sdk.inputs.shards import open_embeddings
from vilu_sdk.inputs.stored import kind
from vilu_sdk.inputs.text import SUFFIXES as TEXTS
from vilu_sdk.persistence.card import backbone_of, describe
from vilu_sdk.persistence.storage import CONFIG_FILE
from vilu_sdk.scorers.official import convert_official_checkpoint


@command(
    "convert",
    "turn a checkpoint of the authors of ViLU and LVU into a scorer",
    "vilu convert lvu_dtd.ckpt --logit-scale 100 -o lvu-dtd",
    option("checkpoint", metavar="CHECKPOINT", help=".ckpt file"),
    FOLDER,
    option(
        "--logit-scale",
        type=float,
        default=100.0,
        metavar="SCALE",
        help="of the model (default: 100, CLIP's)",
    ),
    option("--d", type=int, help="width of the embeddings, where the file does not say it"),
    option("--n-iter-freeze", type=int, default=1000, metavar="N", help="n_iter_freeze_proj of the training"),
    switch("--keep-frozen", help="keep_frozen of the training"),
    option("--target", choices=("correct", "tcp"), default="correct", help="what LVU was trained for"),
    OVERWRITE,
    *CARD,
    about="Turn a checkpoint of the authors of ViLU and LVU into a scorer. Nothing in the file is run.",
)
def run_convert(arguments: Namespace) -> int:
    """Convert, save and print the scorer."""
    folder = check_folder(arguments.output, arguments.overwrite)
    if not Path(arguments.checkpoint).expanduser().is_file():
        raise FileNotFoundError(f"there is no file {arguments.checkpoint}; pass a checkpoint of the authors.")
    options = given(arguments, "logit_scale", "d", "n_iter_freeze", "keep_frozen", "target")
    scorer = convert_official_checkpoint(arguments.checkpoint, **options)
    scorer.save_pretrained(folder, card=card_of(arguments, scorer), overwrite=arguments.overwrite)
    print(f"{type(scorer).__name__} for embeddings of width {scorer.n_features_in_}: {folder}")
    return 0


@command(
    "info",
    "print the card of a saved scorer, or what a file of embeddings holds",
    "vilu info clip-b32-imagenet",
    option(
        "name",
        metavar="NAME",
        help="a folder, a head that comes with vilu-sdk or a Hub repository owner/name; or embeddings: "
        + EMBEDDINGS,
    ),
    option("--revision", metavar="REV", help="branch, tag or commit of the repository"),
    JSON,
)
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


@command(
    "push",
    "upload a saved scorer to the Hugging Face Hub",
    "vilu push my-scorer owner/name --private",
    option("folder", metavar="FOLDER", help="what vilu fit wrote"),
    option("repository", metavar="REPOSITORY", help="owner/name; made if it does not exist"),
    switch("--private", help="make a repository that only you see"),
    option("--revision", metavar="BRANCH", help="branch, made if it does not exist (default: main)"),
    option("--message", metavar="TEXT", help="of the commit"),
    *CARD,
    QUIET,
    about="Upload a saved scorer to the Hugging Face Hub, with the token that hf auth login stored or the "
    "variable HF_TOKEN holds.",
)
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
