"""`vilu benchmark`: scorers on many sets."""

from argparse import ArgumentTypeError, Namespace

from vilu_sdk.cli._arguments import SCORERS
from vilu_sdk.cli._exits import UsageError
from vilu_sdk.cli._outputs import check_printed, write_printed
from vilu_sdk.cli._parser import COUNT, command, given, option, switch, within
from vilu_sdk.cli._scorers import choose_scorers, refuse_to_fit_saved
from vilu_sdk.cli._tables import TABLE
from vilu_sdk.evaluation import benchmark
from vilu_sdk.evaluation.layout import LAYOUTS
from vilu_sdk.evaluation.over_sets import ALL
from vilu_sdk.evaluation.sets import sets_of


def _budget(text: str) -> int | str:
    if text == ALL:
        return ALL
    try:
        return int(COUNT(text))
    except ValueError:
        raise ArgumentTypeError(f'must be a number or "{ALL}", got {text}') from None


def _jobs(text: str) -> int:
    value: int = within(int, -1)(text)
    if not value:
        raise ArgumentTypeError("must be at least 1, or -1 for one process a core, got 0")
    return value


@command(
    "benchmark",
    "compare scorers on many sets of embeddings",
    "vilu benchmark embeddings --scorer mcm --scorer vilu --labels-used 100 all --keep cells -o table.tex",
    option(
        "sets",
        metavar="FOLDER",
        help="of .npz files, or of folders of .npy files, with z_img_train, labels_train, z_img_test, "
        "labels_test and z_txt each (of captions z_img and z_txt), logit_scale where it is not CLIP's",
    ),
    *SCORERS,
    option("--only", nargs="+", metavar="SET", help="only these sets, by name"),
    option(
        "--labels-used",
        nargs="+",
        type=_budget,
        metavar="N",
        help=f"fit on so many rows at most, or on {ALL}; with several, the table shows the most",
    ),
    option("--runs", type=COUNT, metavar="N", help="fit and score so often, with other draws and seeds"),
    switch("--resplit", help="put the train and test rows of each set together and split them at random"),
    option("--batch-size", type=within(int, 2), metavar="N", help="how many captions are the candidates"),
    option("--keep", metavar="CELLS", help="keep what is finished in this folder, and go on from there"),
    option("--jobs", type=_jobs, metavar="N", help="processes side by side, -1 for one a core"),
    option("--layout", choices=LAYOUTS, default="sets", help="a row for each set, for each scorer, or means"),
    *TABLE,
    about="Compare scorers on many sets of embeddings. Scorers that learn, given by name, are fitted on the "
    "train rows of each set and compared on its test rows; saved ones are compared as they are.",
)
def run(arguments: Namespace) -> int:
    """Print or write the table."""
    check_printed(arguments)
    chosen = choose_scorers(arguments, own=True, scaled=True)
    options = given(arguments, "batch_size", "random_state")
    renamed = {"labels_used": "labels", "runs": "n_runs", "keep": "folder", "jobs": "n_jobs"}
    options |= {renamed[name]: value for name, value in given(arguments, *renamed).items()}
    if arguments.resplit:
        options["split"] = "random"
    fit = any(name in options for name in ("labels", "n_runs", "split")) or any(
        not one.saved and getattr(one.scorer, "learns", True) for one in chosen
    )
    if fit:
        refuse_to_fit_saved(chosen, "without --labels-used, --runs and --resplit")
    sets = dict(sets_of(arguments.sets))
    if arguments.only is not None:
        if unknown := [name for name in arguments.only if name not in sets]:
            raise UsageError(f"--only: {arguments.sets} has no set {unknown[0]!r}; it has {', '.join(sets)}.")
        sets = {name: sets[name] for name in arguments.only}
    found = benchmark({one.label: one.scorer for one in chosen}, sets, fit=fit, **options)
    write_printed(found, arguments, layout=arguments.layout)
    return 0
