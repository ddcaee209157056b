"""Commands that use and measure scorers. Only what the parser needs is imported."""

from vilu_sdk.cli._arguments import (
    ALL,
    DATA,
    EMBEDDINGS,
    FEEDBACK,
    FREQUENCIES,
    GROUPS,
    IDS,
    IMAGES,
    JSON,
    LABELLED,
    LABELS,
    LAYOUTS,
    METHODS,
    NAMES,
    OVERWRITE,
    PIECE_ROWS,
    RAW_CSV,
    REFERENCE,
    SCORER,
    SCORERS,
    STDOUT,
    TABLE,
    TEXTS,
    TO_FIT,
    TOP,
    UNITS,
    VALUES,
    budget,
    jobs,
    output,
)
from vilu_sdk.cli._parser import COUNT, SCALE, SHARE, command, one_of, option, switch, within

SCORE = command(
    "_score.run",
    "score",
    "predict, and say how likely each prediction is wrong",
    "vilu score images.npy texts.npy --scorer my-scorer -o scores.parquet",
    option(
        "images",
        metavar="IMAGES",
        nargs="+",
        help=f"image embeddings: {EMBEDDINGS}; several sources in a row, or a pattern in quotes",
    ),
    TEXTS,
    option(
        "-o",
        "--output",
        metavar="OUT",
        default=STDOUT,
        help="a .csv, .json, .parquet or .npy file (.npy holds the uncertainty alone), a folder (of parquet "
        "files), or - for standard output (the default)",
    ),
    NAMES,
    IDS,
    *SCORER,
    option(
        "--engine", choices=("local", "ray"), default="local", help="where pieces are scored (default: local)"
    ),
    option(
        "--piece-rows",
        type=COUNT,
        default=PIECE_ROWS,
        metavar="N",
        help=f"rows in a piece; a killed run repeats only unfinished pieces (default: {PIECE_ROWS})",
    ),
    option(
        "--bad-rows",
        choices=("stop", "skip", "mark"),
        default="stop",
        help="what to do with rows that are not embeddings: stop with an error, skip them, or mark them "
        "with the uncertainty NaN and a column reason (default: stop)",
    ),
    switch("--json", help="print JSON instead of CSV"),
    RAW_CSV,
    about="Predict, and say how likely each prediction is wrong: higher = more likely wrong. A killed run "
    "resumes when you start it again with the same arguments.",
)

EVALUATE = command(
    "_evaluate.run_evaluate",
    "evaluate",
    "print all metrics of a scorer on labelled images",
    "vilu evaluate images.npy texts.npy --labels labels.npy --scorer my-scorer",
    *LABELLED,
    *SCORER,
    output(".csv, .json or .parquet"),
    RAW_CSV,
    JSON,
)

COMPARE = command(
    "_evaluate.run_compare",
    "compare",
    "compare scorers on the same labelled images",
    "vilu compare images.npy texts.npy --labels labels.npy --scorer mcm --scorer ViLU=ViLUEstimator",
    *LABELLED,
    GROUPS,
    *SCORERS,
    option(
        "--test",
        nargs="+",
        metavar="FILE",
        help="images to compare on and their labels (of captions: their texts)",
    ),
    option("--test-size", type=SHARE, metavar="SHARE", help="share to compare on (default: 0.5)"),
    option("--n-splits", type=COUNT, metavar="N", help="number of random splits (default: 1)"),
    REFERENCE,
    option(
        "--confidence", type=SHARE, default=0.95, help="confidence of intervals and tests (default: 0.95)"
    ),
    switch("--intervals", help="in Markdown, HTML and LaTeX: add an interval to each value"),
    *TABLE,
    about="Compare scorers on the same labelled images. Scorers that learn, given by name, are fitted on a "
    "part of the images (or on all, with --test) and compared on the others; saved ones are compared as "
    "they are.",
)

BENCHMARK = command(
    "_benchmark.run",
    "benchmark",
    "compare scorers on many sets of embeddings",
    "vilu benchmark embeddings --scorer mcm --scorer vilu --labels-used 100 all --keep cells -o table.tex",
    option(
        "sets",
        metavar="FOLDER",
        help="folder of .npz files, or of folders of .npy files, each with z_img_train, labels_train, "
        "z_img_test, labels_test and z_txt (for captions z_img and z_txt), and logit_scale if it is not "
        "CLIP's",
    ),
    *SCORERS,
    option("--only", nargs="+", metavar="SET", help="only these sets, by name"),
    option(
        "--labels-used",
        nargs="+",
        type=budget,
        metavar="N",
        help=f"most rows to fit on, or {ALL}; with several numbers, the table shows the largest",
    ),
    option("--runs", type=COUNT, metavar="N", help="number of runs, each with other draws and seeds"),
    switch("--resplit", help="pool the train and test rows of each set and split them at random"),
    option(
        "--batch-size",
        type=within(int, 2),
        metavar="N",
        help="number of captions among which each image is scored",
    ),
    option("--keep", metavar="CELLS", help="folder for finished cells, from which a killed run resumes"),
    option("--jobs", type=jobs, metavar="N", help="number of processes, -1 for one per core"),
    option("--layout", choices=LAYOUTS, default="sets", help="a row for each set, for each scorer, or means"),
    *TABLE,
    about="Compare scorers on many sets of embeddings. Scorers that learn, given by name, are fitted on the "
    "train rows of each set and compared on its test rows; saved ones are compared as they are.",
)

REPORT = command(
    "_evaluate.run_report",
    "report",
    "write one HTML page on how well failures are predicted",
    "vilu report images.npy texts.npy --labels labels.npy --scorer mcm --scorer my-scorer -o report.html",
    *LABELLED,
    *SCORERS,
    option("-o", "--output", metavar="FILE", required=True, help="file for the page"),
    option("--title", metavar="TEXT", help="title of the page"),
    option("--focus", metavar="LABEL", help="the scorer whose thresholds and examples are shown"),
    REFERENCE,
    option(
        "--top",
        type=within(int, 1),
        default=10,
        metavar="N",
        help="number of images in each list (default: 10)",
    ),
    one_of(
        IDS, option("--paths", metavar="FILE", help="the file name of each image, in a file as for --ids")
    ),
    option("--thumbnails", metavar="FILE", help="the file that shows each image, in a file as for --ids"),
    about="Write one HTML page on how well failures are predicted. Scorers are used as they are.",
)

THRESHOLD = command(
    "_threshold.run",
    "threshold",
    "find the threshold for a guaranteed error rate, coverage or cost",
    "vilu threshold images.npy texts.npy --labels labels.npy --scorer my-scorer --risk 0.05",
    *DATA,
    *FEEDBACK,
    one_of(
        option("--risk", type=SHARE, metavar="SHARE", help="highest error rate among accepted predictions"),
        option("--coverage", type=SHARE, metavar="SHARE", help="least share of accepted predictions"),
        option(
            "--costs",
            type=SCALE,
            nargs=2,
            metavar=("ERROR", "ABSTENTION"),
            help="cost of an error and of an abstention, above 0",
        ),
        required=True,
    ),
    option("--confidence", type=SHARE, default=0.95, help="confidence of the guarantee (default: 0.95)"),
    option(
        "--method",
        choices=("fixed_sequence", "sgr"),
        default="fixed_sequence",
        help="with --risk: how the threshold is found (default: fixed_sequence)",
    ),
    one_of(
        switch("--per-class", help="a threshold for each predicted class"),
        option("--groups", metavar="FILE", help=f"a threshold for each group of images: {VALUES}"),
    ),
    switch("--simultaneous", help="make the guarantees of all groups hold together"),
    UNITS,
    FREQUENCIES,
    *SCORER,
    option(
        "-o", "--output", metavar="FOLDER", help="folder for scorer and threshold, for vilu score and report"
    ),
    OVERWRITE,
    JSON,
    about="Find the threshold for a guaranteed error rate, coverage or cost, on labelled images that the "
    "scorer was not fitted on. Exit code 1 if there is none.",
)

SETS = command(
    "_sets.run",
    "sets",
    "find short lists of candidates that contain the right one",
    "vilu sets images.npy texts.npy --labels labels.npy --scorer my-scorer --coverage 0.9 -o my-sets",
    IMAGES,
    TEXTS,
    one_of(
        option("--labels", metavar="FILE", help=f"row of TEXTS for each image, or its name, {VALUES}"),
        switch("--captions", help="row i of TEXTS is the caption of image i"),
    ),
    NAMES,
    option("--coverage", type=SHARE, metavar="SHARE", help="share of sets with the right one (default: 0.9)"),
    option("--method", choices=METHODS, help="how candidates are chosen (default: lac)"),
    one_of(
        switch("--per-class", help="a threshold for each predicted class"),
        switch(
            "--per-label",
            help="a threshold for each candidate, so that all classes are covered equally often",
        ),
        option("--groups", metavar="FILE", help=f"a threshold for each group of images: {VALUES}"),
    ),
    UNITS,
    FREQUENCIES,
    option("--size-limit", type=COUNT, metavar="K", help="most candidates in a set"),
    switch("--no-empty", help="put the likeliest candidate into every set"),
    *SCORER,
    option(
        "-o",
        "--output",
        metavar="OUT",
        help="with labels: a folder for scorer and sets; with saved sets: a .csv, .json or .parquet file, "
        "or - for standard output (the default)",
    ),
    OVERWRITE,
    RAW_CSV,
    JSON,
    about="With labels, calibrate on images that the scorer was not fitted on: sets contain the right one "
    "as often as guaranteed. With a saved threshold as --scorer, only images that it abstains on get sets. "
    "Without labels, and with the saved sets as --scorer, print the set of each image, the most likely "
    "candidate first.",
)

DECIDE = command(
    "_decide.run",
    "decide",
    "make the decision that costs least, or ask a person",
    "vilu decide images.npy texts.npy --names names.txt --scorer my-scorer --costs costs.csv --ask-cost 0.5",
    IMAGES,
    TEXTS,
    option(
        "--costs",
        metavar="FILE",
        required=True,
        dest="cost_file",
        help="what each decision costs for each true class: a .csv or .tsv table with the decisions in its "
        "header and a row for each candidate, its name (or row number) first; or an array (texts, decisions) "
        "as .npy",
    ),
    NAMES,
    option(
        "--ask-cost",
        type=SCALE,
        metavar="COST",
        help="cost of asking a person (default: nobody is asked)",
    ),
    option("--budget", type=within(int, 0), metavar="N", help="most images to ask a person about"),
    *SCORER,
    option(
        "-o",
        "--output",
        metavar="OUT",
        default=STDOUT,
        help="a .csv, .json or .parquet file, or - for standard output (the default)",
    ),
    RAW_CSV,
    JSON,
    about="For each image, print the decision with the lowest expected cost under the posterior, or none "
    "where a person is asked. The expected cost goes to standard error.",
)

FIND_LABELS = command(
    "_labels.run",
    "labels",
    "find labels that are likely wrong",
    "vilu labels images.npy texts.npy --labels labels.npy --names names.txt",
    IMAGES,
    TEXTS,
    LABELS,
    NAMES,
    GROUPS,
    *TO_FIT,
    option("--top", type=COUNT, default=TOP, metavar="N", help=f"number of labels to print (default: {TOP})"),
    option(
        "-o",
        "--output",
        metavar="FILE",
        default=STDOUT,
        help="a .csv, .json or .parquet file for all labels; by default the worst go to standard output (-)",
    ),
    RAW_CSV,
    JSON,
    about="Find labels that are likely wrong, the worst first. Each label is judged by a posterior that was "
    "learned without it.",
)
