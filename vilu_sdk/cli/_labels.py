"""`vilu labels`: which labels are likely wrong."""

from argparse import Namespace

from vilu_sdk.cli._arguments import STDOUT
from vilu_sdk.cli._exits import UsageError
from vilu_sdk.cli._inputs import open_named, read_groups, read_labels
from vilu_sdk.cli._outputs import as_blocks, check_output, plain_json, write_table
from vilu_sdk.cli._scorers import choose_to_fit
from vilu_sdk.cli._streams import LOG
from vilu_sdk.labels import find_label_issues


def run(arguments: Namespace) -> int:
    """Print the worst, or write all."""
    check_output(arguments.output)
    scorer = choose_to_fit(arguments)
    if not hasattr(scorer, "predict_proba"):
        raise UsageError(
            f"{type(scorer).__name__} has no posterior over the candidates; name another scorer."
        )
    images, texts = open_named(arguments)
    issues = find_label_issues(
        images,
        texts,
        read_labels(arguments.labels, len(images), texts),
        scorer=scorer,
        groups=read_groups(arguments.groups, len(images)),
    )
    if arguments.output != STDOUT:
        write_table(as_blocks(issues.worst(len(issues))), arguments.output, raw_csv=arguments.raw_csv)
        LOG.info(f"{len(issues)} labels: {arguments.output}")
    elif arguments.json:
        print(plain_json(issues.worst(arguments.top)))
    else:
        print(issues.to_text(arguments.top))
    return 0
