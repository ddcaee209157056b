"""`vilu convert`, `vilu info` and `vilu push`: scorers from other sources, on display and on the Hub."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from vilu_sdk.cli._fit import check_folder
from vilu_sdk.cli._inputs import SEPARATOR, names_in, read_vector, split
from vilu_sdk.cli._outputs import plain_json
from vilu_sdk.cli._parser import EMBEDDINGS, add_card, add_json, add_quiet, command
from vilu_sdk.cli._scorers import card_of, load
from vilu_sdk.compute.progress import set_progress
from vilu_sdk.inputs.formats import SUFFIXES
from vilu_sdk.inputs.shards import open_embeddings
from vilu_sdk.persistence.card import backbone_of, describe
from vilu_sdk.persistence.storage import CONFIG_FILE
from vilu_sdk.scorers.official import convert_official_checkpoint


def add(commands: Any) -> None:
    """Add the three commands."""
    parser = command(
        commands,
        "convert",
        run_convert,
        "turn a checkpoint of the authors of ViLU and LVU into a scorer",
        "vilu convert lvu_dtd.ckpt --logit-scale 100 -o lvu-dtd",
        "Turn a checkpoint of the authors of ViLU and LVU into a scorer. Nothing in the file is run.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=".ckpt file")
    parser.add_argument("-o", "--output", metavar="FOLDER", required=True, help="where to save the scorer")
    parser.add_argument(
        "--logit-scale",
        type=float,
        default=100.0,
        metavar="SCALE",
        help="of the model (default: 100, CLIP's)",
    )
    parser.add_argument("--d", type=int, help="width of the embeddings, where the file does not say it")
    parser.add_argument(
        "--n-iter-freeze", type=int, default=1000, metavar="N", help="n_iter_freeze_proj of the training"
    )
    parser.add_argument("--keep-frozen", action="store_true", help="keep_frozen of the training")
    parser.add_argument(
        "--target", choices=("correct", "tcp"), default="correct", help="what LVU was trained for"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="write into a folder that holds something else than a scorer"
    )
    add_card(parser)

    parser = command(
        commands,
        "info",
        run_info,
        "print the card of a saved scorer, or what a file of embeddings holds",
        "vilu info clip-b32-imagenet",
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        help="a folder, a head that comes with vilu-sdk or a Hub repository owner/name; or embeddings: "
        + EMBEDDINGS,
    )
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit of the repository")
    add_json(parser)

    parser = command(
        commands,
        "push",
        run_push,
        "upload a saved scorer to the Hugging Face Hub",
        "vilu push my-scorer owner/name --private",
        "Upload a saved scorer to the Hugging Face Hub, with the token that hf auth login stored or the "
        "variable HF_TOKEN holds.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="what vilu fit wrote")
    parser.add_argument("repository", metavar="REPOSITORY", help="owner/name; made if it does not exist")
    parser.add_argument("--private", action="store_true", help="make a repository that only you see")
    parser.add_argument(
        "--revision", metavar="BRANCH", help="branch, made if it does not exist (default: main)"
    )
    parser.add_argument("--message", metavar="TEXT", help="of the commit")
    add_card(parser)
    add_quiet(parser)


def run_convert(arguments: Namespace) -> int:
    """Convert, save and print the scorer."""
    folder = check_folder(arguments.output, arguments.overwrite)
    scorer = convert_official_checkpoint(
        arguments.checkpoint,
        logit_scale=arguments.logit_scale,
        d=arguments.d,
        n_iter_freeze=arguments.n_iter_freeze,
        keep_frozen=arguments.keep_frozen,
        target=arguments.target,
    )
    scorer.save_pretrained(folder, card=card_of(arguments, scorer))
    print(f"{type(scorer).__name__} for embeddings of width {scorer.n_features_in_}: {folder}")
    return 0


def run_info(arguments: Namespace) -> int:
    """Print a card, or shape and type of embeddings."""
    set_progress(False)
    path, column = split(arguments.name)
    is_folder = path.is_dir() and not (path / CONFIG_FILE).exists()
    if path.is_file() or (is_folder and any(item.suffix in SUFFIXES for item in path.iterdir())):
        names = [column] if column or not names_in(path) else names_in(path)
        arrays = [_array(path, name) for name in names]
        if arguments.json:
            print(plain_json(arrays))
        for array in arrays if not arguments.json else ():
            print(f"{array['path']}  {' × '.join(map(str, array['shape']))}  {array['dtype']}")
        return 0
    scorer, predictor = load(arguments.name, arguments.revision)
    if arguments.json:
        card = getattr(scorer, "card_", None)
        facts = {"scorer": type(scorer).__name__, "parameters": scorer.get_params()}
        print(plain_json({**facts, "backbone": backbone_of(scorer, card)}))
        return 0
    if predictor is None:
        print(describe(scorer, arguments.name), end="")
    else:
        print(f"A threshold for {' '.join(repr(scorer).split())}\n\n{predictor.report_}")
    return 0


def _array(path: Path, name: str | None) -> dict[str, Any]:
    """Return shape and type of embeddings, or of one value for each row."""
    spec = str(path) if name is None else f"{path}{SEPARATOR}{name}"
    found: Any
    try:
        found = open_embeddings(path, column=name)
    except ValueError as error:
        try:
            found = read_vector(spec)
        except ValueError:
            raise error from None
    return {"path": spec, "shape": list(found.shape), "dtype": str(found.dtype)}


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
