"""`vilu benchmark`: scorers on many sets."""

from argparse import Namespace

from vilu_sdk.cli._exits import UsageError
from vilu_sdk.cli._outputs import check_printed, write_printed
from vilu_sdk.cli._parser import given
from vilu_sdk.cli._scorers import choose_scorers, refuse_to_fit_saved
from vilu_sdk.evaluation import benchmark
from vilu_sdk.evaluation.sets import sets_of


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
