"""Commands that make scorers, move, save and share them. Only what the parser needs is imported."""

from vilu_sdk.cli._arguments import (
    CARD,
    DATA,
    DEFAULT,
    EMBEDDINGS,
    FEEDBACK,
    FOLDER,
    GROUPS,
    IMAGES,
    JSON,
    NAMES,
    OVERWRITE,
    REPORT_PAGE,
    TEXTS,
    TO_ADAPT,
    TO_FIT,
    VALUES,
    WEIGHTS,
)
from vilu_sdk.cli._completion import SHELLS
from vilu_sdk.cli._parser import COUNT, SCALE, SEED, command, one_of, option, switch, within

DEMO = command(
    "_demo.run",
    "demo",
    "compare all scorers on real handwritten digits, in less than a minute",
    "vilu demo --data digits",
    option("--random-state", type=SEED, default=0, metavar="N", help="seed of data and scorers (default: 0)"),
    option(
        "--report",
        metavar="PATH",
        help=f"where to write the report (default: {REPORT_PAGE}, with --quiet none)",
    ),
    option("--data", metavar="FOLDER", help="only write the data as files, to try the other commands on"),
    switch("--overwrite", help="with --data: replace files of the same names"),
)

EXAMPLES = command(
    "_examples.run",
    "examples",
    "list complete example programs, or copy them",
    "vilu examples my-examples",
    option("folder", metavar="FOLDER", nargs="?", help="where to copy them (default: only list them)"),
    switch("--overwrite", help="replace files of the same names"),
)

FIT = command(
    "_fit.run",
    "fit",
    "fit a scorer and save it into a folder",
    "vilu fit images.npy texts.npy --labels labels.npy --logit-scale 100 -o my-scorer",
    *DATA,
    FOLDER,
    *FEEDBACK,
    GROUPS,
    WEIGHTS,
    *TO_FIT,
    option(
        "--checkpoint",
        metavar="FOLDER",
        help="folder for the state of a long fit, from which it resumes after it was killed",
    ),
    OVERWRITE,
    *CARD,
    JSON,
    about="Fit a scorer and save it into a folder. Started by torchrun (torchrun --nproc-per-node 4 -m "
    "vilu_sdk fit ...), the processes share the work.",
)

ADAPT = command(
    "_adapt.run",
    "adapt",
    "adapt a scorer to images without labels, and save it",
    "vilu adapt images.npy texts.npy --scorer clip-b32-imagenet -o my-scorer",
    IMAGES,
    TEXTS,
    one_of(
        option(
            "--labels",
            metavar="FILE",
            help=f"labels of a few images: rows of TEXTS, or their names, {VALUES}",
        ),
        option(
            "--frequencies",
            metavar="WHAT",
            help="how often the candidates occur among the images: balanced, estimated, or a file with one "
            "number for each; by default unknown",
        ),
    ),
    NAMES,
    GROUPS,
    *TO_ADAPT,
    FOLDER,
    OVERWRITE,
    *CARD,
    JSON,
    about="Adapt a scorer to images of a domain and their candidates, without labels or with a few, and save "
    f"it. By default it starts from the zero-shot model alone ({DEFAULT}).",
)

CONVERT = command(
    "_share.run_convert",
    "convert",
    "turn a checkpoint of the authors of ViLU and LVU into a scorer",
    "vilu convert lvu_dtd.ckpt --logit-scale 100 -o lvu-dtd",
    option("checkpoint", metavar="CHECKPOINT", help=".ckpt file"),
    FOLDER,
    option(
        "--logit-scale",
        type=SCALE,
        default=100.0,
        metavar="SCALE",
        help="logit scale of the model (default: 100, CLIP's)",
    ),
    option("--d", type=COUNT, metavar="N", help="width of the embeddings, if the file does not say it"),
    option(
        "--n-iter-freeze",
        type=within(int, 0),
        default=1000,
        metavar="N",
        help="n_iter_freeze_proj of the training",
    ),
    switch("--keep-frozen", help="keep_frozen of the training"),
    option("--target", choices=("correct", "tcp"), default="correct", help="what LVU was trained to predict"),
    OVERWRITE,
    *CARD,
    about="Turn a checkpoint of the authors of ViLU and LVU into a scorer. Nothing in the file is run.",
)

INFO = command(
    "_share.run_info",
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

PUSH = command(
    "_share.run_push",
    "push",
    "upload a saved scorer to the Hugging Face Hub",
    "vilu push my-scorer owner/name --private",
    option("folder", metavar="FOLDER", help="a folder written by vilu fit"),
    option("repository", metavar="REPOSITORY", help="owner/name; created if it does not exist"),
    switch("--private", help="create a repository that only you can see"),
    option("--revision", metavar="BRANCH", help="branch; created if it does not exist (default: main)"),
    option("--message", metavar="TEXT", help="commit message"),
    *CARD,
    about="Upload a saved scorer to the Hugging Face Hub, with the token stored by hf auth login or "
    "given in HF_TOKEN.",
)

COMPLETION = command(
    "_completion.run",
    "completion",
    "print the script that completes commands and options in a shell",
    'eval "$(vilu completion bash)"',
    option("shell", choices=tuple(SHELLS), metavar="SHELL", help="bash, zsh or fish"),
)
