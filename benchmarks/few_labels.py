"""What the examples about few labels print, on real embeddings: adapting a head, and choosing what to label.

    python benchmarks/few_labels.py adapt_pretrained_head --embeddings FOLDER
    python benchmarks/few_labels.py active_learning --embeddings FOLDER [--sets dtd,stanford_cars]

Takes the functions of `examples/*.py` and the train images of each set, which FOLDER holds as .npz files.
"""

import io
import runpy
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import matplotlib as mpl
from _sets import EmbeddingSet, open_sets, parser

from vilu_sdk import MCMScorer, ViLUEstimator

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SETS = {"adapt_pretrained_head": "dtd,stanford_cars", "active_learning": "dtd,stanford_cars,cifar10_tower"}
# Rows of a set that are looked at; choosing goes over all of them in every round.
MOST, STEP = 4000, 100


def adapt(given: EmbeddingSet, functions: dict[str, Any]) -> None:
    z_img, z_txt, labels = given.train
    head = ViLUEstimator.from_pretrained("clip-b32-imagenet")
    few, others = functions["choose"](labels)
    print(functions["adapt_and_compare"](head, z_img, z_txt, labels, few, others))


def choose(given: EmbeddingSet, functions: dict[str, Any]) -> None:
    z_img, z_txt, labels = given.train
    z_img, labels = z_img[:MOST], labels[:MOST]
    right = (MCMScorer().predict(z_img, z_txt) == labels).mean()
    print(f"{len(labels)} images, zero-shot accuracy {100 * right:.1f} %")
    functions["try_all"](z_img, z_txt, labels, given.logit_scale, step=STEP)


def main() -> None:
    arguments = parser(__doc__, ())
    arguments.add_argument("example", choices=SETS)
    arguments.set_defaults(sets=None)
    options = arguments.parse_args()
    mpl.use("template")  # draws nothing
    with redirect_stdout(io.StringIO()):
        functions = runpy.run_path(str(EXAMPLES / f"{options.example}.py"))
    measure = adapt if options.example == "adapt_pretrained_head" else choose
    for name, given in open_sets(options.embeddings, options.sets or SETS[options.example]).items():
        print(f"\n{name}")
        measure(given, functions)


if __name__ == "__main__":
    main()
